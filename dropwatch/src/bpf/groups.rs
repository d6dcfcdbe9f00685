//! Reads what the kernel side has counted in groups.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuHashMap},
};
use dropwatch_common::group::{GroupCounts, GroupKey};
use zerocopy::FromBytes as _;

use super::loader::take_map;
use crate::groups::Counts;

/// A key of the map `GROUPS`: [`GroupKey`] as bytes.
type KeyBytes = [u8; size_of::<GroupKey>()];
/// A value of it: [`GroupCounts`] as plain integers.
type CountWords = [u64; size_of::<GroupCounts>() / size_of::<u64>()];

/// The groups of the kernel side. None is ever removed, and counts only grow.
pub struct GroupReader {
    map: PerCpuHashMap<MapData, KeyBytes, CountWords>,
    /// How many groups there can be.
    pub capacity: u32,
}

impl GroupReader {
    /// Takes the map, which was made for `capacity` groups.
    pub(super) fn open(ebpf: &mut Ebpf, capacity: u32) -> Result<Self> {
        Ok(Self {
            map: PerCpuHashMap::try_from(take_map(ebpf, "GROUPS")?)?,
            capacity,
        })
    }

    /// Hands over each group with its counts, the sum of all processors.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn read(&self, mut handle: impl FnMut(&GroupKey, Counts)) -> Result<()> {
        for entry in self.map.iter() {
            let (key, per_cpu) = entry.context("reading the kernel side's groups")?;
            let mut counts = Counts::default();
            for [drops, packets, bytes, _example] in per_cpu.iter() {
                counts += Counts {
                    drops: *drops,
                    packets: *packets,
                    bytes: *bytes,
                };
            }
            if let Ok(key) = GroupKey::read_from_bytes(&key) {
                handle(&key, counts);
            }
        }
        Ok(())
    }
}
