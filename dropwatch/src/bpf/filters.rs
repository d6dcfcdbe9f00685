//! The filters and what is known of socket owners, as entries of the eBPF maps.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, Pod,
    maps::{
        Array, HashMap, MapData,
        lpm_trie::{Key, LpmTrie},
    },
};
use dropwatch_common::{
    config::{
        CGROUP_NAMED, CGROUP_OF_CONTAINER, MAX_FILTER_ENTRIES, MAX_MARKS, MAX_RANGE_ENTRIES,
        MAX_TABLE_REASONS, OwnerEntry, PORT_WORDS, RANGE_KIND_BITS, RangeKey, RangeKind, range_key,
    },
    event::IFNAME_LEN,
};
use zerocopy::IntoBytes as _;

use super::loader::{map_mut, take_map};
use crate::filter::{KernelFilters, Range};

/// An entry of the map `MARKS` that no mark matches: value and mask.
const NO_MARK: [u32; 2] = [1, 0];

/// An entry of the map `OWNERS` as bytes.
type OwnerBytes = [u8; size_of::<OwnerEntry>()];

/// The maps that change while drops are traced.
pub struct LiveMaps {
    ranges: LpmTrie<MapData, RangeKey, u8>,
    cgroups: HashMap<MapData, u64, u8>,
    owners: HashMap<MapData, u64, OwnerBytes>,
    /// The entries of `ranges` and `cgroups`.
    prefixes: BTreeSet<(RangeKey, u32)>,
    cgroup_flags: BTreeMap<u64, u8>,
}

impl LiveMaps {
    /// Fills the maps with the filters.
    ///
    /// # Errors
    /// There are too many values, or the kernel has no memory for them.
    pub(crate) fn fill(ebpf: &mut Ebpf, filters: &KernelFilters) -> Result<Self> {
        fill_set(ebpf, "PIDS", &filters.pids)?;
        fill_set(ebpf, "COMMS", &filters.comms)?;
        fill_ifaces(ebpf, filters)?;
        fill_marks(ebpf, filters)?;
        fill_reasons(ebpf, filters)?;
        fill_ports(ebpf, filters)?;
        let mut live = Self {
            ranges: LpmTrie::try_from(take_map(ebpf, "RANGES")?)?,
            cgroups: HashMap::try_from(take_map(ebpf, "CGROUPS")?)?,
            owners: HashMap::try_from(take_map(ebpf, "OWNERS")?)?,
            prefixes: BTreeSet::new(),
            cgroup_flags: BTreeMap::new(),
        };
        live.update(filters)?;
        Ok(live)
    }

    /// Makes the ranges and control groups those of `filters`.
    ///
    /// # Errors
    /// As of [`LiveMaps::fill`].
    pub fn update(&mut self, filters: &KernelFilters) -> Result<()> {
        let ranges = filters.ranges.iter();
        let in_trie = ranges.filter(|range| range.kind.port_table().is_none());
        let prefixes: BTreeSet<_> = in_trie.flat_map(entries).collect();
        ensure!(
            prefixes.len() <= MAX_RANGE_ENTRIES as usize,
            "the filters consist of {} ranges of numbers, at most {MAX_RANGE_ENTRIES} are possible; \
             ask for fewer functions, reasons or networks",
            prefixes.len()
        );
        // First those that go: both together may be too many.
        for (key, bits) in self.prefixes.difference(&prefixes) {
            self.ranges
                .remove(&Key::new(*bits, *key))
                .context("removing a range from the filters")?;
        }
        for (key, bits) in prefixes.difference(&self.prefixes) {
            self.ranges
                .insert(&Key::new(*bits, *key), 0, 0)
                .context("adding a range to the filters")?;
        }
        self.prefixes = prefixes;
        self.update_cgroups(filters)
    }

    fn update_cgroups(&mut self, filters: &KernelFilters) -> Result<()> {
        let mut cgroups = BTreeMap::new();
        for id in &filters.cgroups {
            *cgroups.entry(*id).or_default() |= CGROUP_NAMED;
        }
        for id in &filters.container_cgroups {
            *cgroups.entry(*id).or_default() |= CGROUP_OF_CONTAINER;
        }
        ensure!(
            cgroups.len() <= MAX_FILTER_ENTRIES as usize,
            "--cgroup and --container name {} control groups, at most {MAX_FILTER_ENTRIES} are \
             possible",
            cgroups.len()
        );
        for (id, flags) in &cgroups {
            if self.cgroup_flags.get(id) != Some(flags) {
                self.cgroups
                    .insert(id, flags, 0)
                    .context("adding a control group to the filters")?;
            }
        }
        for id in self.cgroup_flags.keys() {
            if !cgroups.contains_key(id) {
                self.cgroups
                    .remove(id)
                    .context("removing a control group from the filters")?;
            }
        }
        self.cgroup_flags = cgroups;
        Ok(())
    }

    /// Tells the kernel side who holds a socket, and whether that is wanted.
    ///
    /// # Errors
    /// The map can't be written.
    pub fn set_owner(&mut self, socket_inode: u64, owner: &OwnerEntry) -> Result<()> {
        let mut bytes = [0; size_of::<OwnerEntry>()];
        bytes.copy_from_slice(owner.as_bytes());
        self.owners
            .insert(socket_inode, bytes, 0)
            .context("noting the owner of a socket")
    }
}

/// The prefixes that a range consists of, as keys with their length in bits.
fn entries(range: &Range) -> Vec<(RangeKey, u32)> {
    let prefixes = range.prefixes().into_iter();
    let entry = |(value, bits): (u128, u32)| {
        let left_aligned = value << (128 - range.bits);
        let key = range_key(
            range.key_kind(),
            (left_aligned >> 64) as u64,
            left_aligned as u64,
        );
        (key, RANGE_KIND_BITS + bits)
    };
    prefixes.map(entry).collect()
}

fn fill_set<K: Pod>(ebpf: &mut Ebpf, name: &str, keys: &[K]) -> Result<()> {
    let mut map: HashMap<_, K, u8> = HashMap::try_from(map_mut(ebpf, name)?)?;
    for key in keys {
        map.insert(key, 0, 0)
            .with_context(|| format!("filling the map {name}"))?;
    }
    Ok(())
}

fn fill_ifaces(ebpf: &mut Ebpf, filters: &KernelFilters) -> Result<()> {
    let mut map: HashMap<_, [u8; IFNAME_LEN], u8> = HashMap::try_from(map_mut(ebpf, "IFACES")?)?;
    for (name, choice) in &filters.ifaces {
        map.insert(name, choice, 0)
            .context("adding an interface to the filters")?;
    }
    Ok(())
}

fn fill_marks(ebpf: &mut Ebpf, filters: &KernelFilters) -> Result<()> {
    let mut map: Array<_, [u32; 2]> = Array::try_from(map_mut(ebpf, "MARKS")?)?;
    let marks = filters.marks.iter().map(|mark| [mark.value, mark.mask]);
    let marks = marks.chain(std::iter::repeat(NO_MARK));
    for (index, mark) in (0..MAX_MARKS).zip(marks) {
        map.set(index, mark, 0)
            .context("adding a mark to the filters")?;
    }
    Ok(())
}

fn fill_reasons(ebpf: &mut Ebpf, filters: &KernelFilters) -> Result<()> {
    let is_on = RangeKind::Reason.bit() | RangeKind::ExcludeReason.bit();
    if filters.range_flags & is_on == 0 {
        return Ok(());
    }
    let mut map: Array<_, u32> = Array::try_from(map_mut(ebpf, "REASONS")?)?;
    for reason in (0..MAX_TABLE_REASONS).filter(|reason| filters.passes_reason(*reason)) {
        map.set(reason, 1, 0)
            .context("adding a drop reason to the filters")?;
    }
    Ok(())
}

fn fill_ports(ebpf: &mut Ebpf, filters: &KernelFilters) -> Result<()> {
    let mut map: Array<_, u64> = Array::try_from(map_mut(ebpf, "PORTS")?)?;
    let mut words = BTreeMap::<u32, u64>::new();
    for range in &filters.ranges {
        let Some(table) = range.kind.port_table() else {
            continue;
        };
        for port in range.values.clone() {
            let port = port as u32;
            *words.entry(table * PORT_WORDS + port / 64).or_default() |= 1 << (port % 64);
        }
    }
    for (index, word) in words {
        map.set(index, word, 0)
            .context("adding ports to the filters")?;
    }
    Ok(())
}
