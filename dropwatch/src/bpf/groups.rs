//! Reads what the kernel side has counted in groups.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, Pod,
    maps::{MapData, PerCpuHashMap},
};
use dropwatch_common::group::{GroupCounts, GroupKey, ShortKey, by};
use zerocopy::FromBytes as _;

use super::loader::take_map;
use crate::groups::Counts;

/// A key of the map `GROUPS`: [`GroupKey`] as bytes.
type KeyBytes = [u8; size_of::<GroupKey>()];
/// A key of the map `GROUPS_SHORT`: [`ShortKey`] as bytes.
type ShortKeyBytes = [u8; size_of::<ShortKey>()];
/// A value of both: [`GroupCounts`] as plain integers.
type CountWords = [u64; size_of::<GroupCounts>() / size_of::<u64>()];

/// The groups of the kernel side. None is ever removed, and counts only grow.
pub struct GroupReader {
    map: GroupMap,
    /// How many groups there can be.
    pub capacity: u32,
}

enum GroupMap {
    Short(PerCpuHashMap<MapData, ShortKeyBytes, CountWords>),
    Whole(PerCpuHashMap<MapData, KeyBytes, CountWords>),
}

/// The map that has the groups which are told apart by `group_by`, bits of
/// `group::by`.
pub(super) fn map_name(group_by: u32) -> &'static str {
    match group_by & !by::SHORT {
        0 => "GROUPS_SHORT",
        _ => "GROUPS",
    }
}

impl GroupReader {
    /// Takes the map of what is told apart by `group_by`, which was made for `capacity`
    /// groups.
    pub(super) fn open(ebpf: &mut Ebpf, group_by: u32, capacity: u32) -> Result<Self> {
        let map = take_map(ebpf, map_name(group_by))?;
        Ok(Self {
            map: match group_by & !by::SHORT {
                0 => GroupMap::Short(PerCpuHashMap::try_from(map)?),
                _ => GroupMap::Whole(PerCpuHashMap::try_from(map)?),
            },
            capacity,
        })
    }

    /// Hands over each group with its counts, the sum of all processors.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn read(&self, mut handle: impl FnMut(&GroupKey, Counts)) -> Result<()> {
        match &self.map {
            GroupMap::Short(map) => each(map, |bytes, counts| {
                if let Ok(short) = ShortKey::read_from_bytes(bytes) {
                    let key = GroupKey {
                        short,
                        ..GroupKey::default()
                    };
                    handle(&key, counts);
                }
            }),
            GroupMap::Whole(map) => each(map, |bytes, counts| {
                if let Ok(key) = GroupKey::read_from_bytes(bytes) {
                    handle(&key, counts);
                }
            }),
        }
    }
}

fn each<K: Pod + AsRef<[u8]>>(
    map: &PerCpuHashMap<MapData, K, CountWords>,
    mut handle: impl FnMut(&[u8], Counts),
) -> Result<()> {
    for entry in map.iter() {
        let (key, per_cpu) = entry.context("reading the kernel side's groups")?;
        let mut counts = Counts::default();
        for [drops, packets, bytes, ..] in per_cpu.iter() {
            counts += Counts {
                drops: *drops,
                packets: *packets,
                bytes: *bytes,
            };
        }
        handle(key.as_ref(), counts);
    }
    Ok(())
}
