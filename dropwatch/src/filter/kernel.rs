//! What the kernel side is given of the filters.

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive};

use anyhow::{Result, ensure};
use dropwatch_common::{
    config::{IFACE_KEEP, IFACE_TURN_DOWN, Mark, PROTOCOL_BITS, RANGE_IPV4, RangeKind, filters},
    event::{COMM_LEN, IFNAME_LEN},
};
use ipnet::IpNet;

use super::Filters;
use crate::enrich::container::ContainerMatch;

/// A range of values for the map `RANGES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// What the values are.
    pub kind: RangeKind,
    /// Bits that a value has.
    pub bits: u32,
    /// First and last value.
    pub values: RangeInclusive<u128>,
}

impl Range {
    fn new<N: Into<u128> + Copy>(kind: RangeKind, bits: u32, values: &RangeInclusive<N>) -> Self {
        let values = (*values.start()).into()..=(*values.end()).into();
        Self { kind, bits, values }
    }

    fn of_network(kind: RangeKind, network: &IpNet) -> Self {
        let number = |address| match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        };
        Self {
            kind,
            bits: u32::from(network.max_prefix_len()),
            values: number(network.network())..=number(network.broadcast()),
        }
    }

    /// The first part of the keys of the map `RANGES`.
    pub fn key_kind(&self) -> u32 {
        let is_address = matches!(
            self.kind,
            RangeKind::Address | RangeKind::Source | RangeKind::Destination
        );
        let family = if is_address && self.bits == 32 {
            RANGE_IPV4
        } else {
            0
        };
        self.kind as u32 | family
    }

    /// A range of code addresses.
    pub fn of_code(kind: RangeKind, code: &std::ops::Range<u64>) -> Self {
        Self {
            kind,
            bits: 64,
            values: u128::from(code.start)..=u128::from(code.end.saturating_sub(1)),
        }
    }

    /// The fewest prefixes that the range consists of: value and length in bits.
    pub fn prefixes(&self) -> Vec<(u128, u32)> {
        let mut prefixes = Vec::new();
        let (mut next, last) = (*self.values.start(), *self.values.end());
        while next <= last {
            let aligned = next.trailing_zeros().min(self.bits);
            // The largest block that starts here and does not reach beyond the end.
            let free = (0..=aligned)
                .rev()
                .find(|free| last - next >= block(*free) - 1)
                .unwrap_or(0);
            prefixes.push((next, self.bits - free));
            let Some(following) = next.checked_add(block(free)).filter(|_| free < 128) else {
                break;
            };
            next = following;
        }
        prefixes
    }
}

/// Number of values that share all but their last `free` bits.
fn block(free: u32) -> u128 {
    1_u128.checked_shl(free).unwrap_or(u128::MAX)
}

/// Tells what words mean on the running system.
pub trait Resolver {
    /// Numbers of the drop reasons that a pattern of `flag` names.
    ///
    /// # Errors
    /// This kernel has none.
    fn reasons(&mut self, flag: &str, pattern: &str) -> Result<Vec<RangeInclusive<u32>>>;

    /// Code of the functions that a pattern of `flag` names.
    ///
    /// # Errors
    /// This kernel has none.
    fn functions(&mut self, flag: &str, pattern: &str) -> Result<Vec<std::ops::Range<u64>>>;

    /// Inode number of the network namespace that `name` stands for.
    ///
    /// # Errors
    /// There is none.
    fn netns(&mut self, name: &str) -> Result<u32>;

    /// Id of the cgroup at `path`.
    ///
    /// # Errors
    /// There is none.
    fn cgroup(&mut self, path: &str) -> Result<u64>;

    /// What the container of this name has.
    ///
    /// # Errors
    /// There is none.
    fn container(&mut self, name: &str) -> Result<ContainerMatch>;
}

/// The filters as numbers.
#[derive(Clone, Debug, Default)]
pub struct KernelFilters {
    /// Value of the global `FILTERS`.
    pub flags: u32,
    /// Value of the global `RANGE_FILTERS`.
    pub range_flags: u32,
    /// Entries of the map `RANGES`.
    pub ranges: Vec<Range>,
    /// Keys of the map `PIDS`.
    pub pids: Vec<u32>,
    /// Keys of the map `COMMS`.
    pub comms: Vec<[u8; COMM_LEN]>,
    /// Entries of the map `IFACES`.
    pub ifaces: BTreeMap<[u8; IFNAME_LEN], u8>,
    /// Keys of the map `CGROUPS` from `--cgroup`.
    pub cgroups: Vec<u64>,
    /// Keys of the map `CGROUPS` from `--container`.
    pub container_cgroups: Vec<u64>,
    /// Entries of the map `MARKS`.
    pub marks: Vec<Mark>,
    /// Inode numbers that the values of `--netns` stand for, if any.
    pub netns: BTreeMap<String, Option<u32>>,
}

/// Whether a value of `--netns` is a name or path, which can come to stand for
/// another namespace.
fn is_name(value: &str) -> bool {
    !value.starts_with("pid:") && !value.bytes().all(|byte| byte.is_ascii_digit())
}

impl KernelFilters {
    /// Adds ranges of one kind, and turns their filter on, also if there is none.
    pub fn add(&mut self, kind: RangeKind, ranges: impl IntoIterator<Item = Range>) {
        self.range_flags |= kind.bit();
        self.ranges.extend(ranges);
    }

    /// Whether `--reason` and `--exclude-reason` let a drop reason pass.
    pub fn passes_reason(&self, reason: u32) -> bool {
        let lies_in = |kind| {
            let mut of_kind = self.ranges.iter().filter(|range| range.kind == kind);
            of_kind.any(|range| range.values.contains(&reason.into()))
        };
        let is_on = self.range_flags & RangeKind::Reason.bit() != 0;
        (!is_on || lies_in(RangeKind::Reason)) && !lies_in(RangeKind::ExcludeReason)
    }

    /// Adds ranges of one kind; with none, their filter stays as it is.
    pub fn add_if_given(&mut self, kind: RangeKind, ranges: Vec<Range>) {
        if !ranges.is_empty() {
            self.add(kind, ranges);
        }
    }
}

impl Filters {
    /// The filters as numbers, with what `system` tells.
    ///
    /// # Errors
    /// A word means nothing on this system.
    pub fn resolve(&self, system: &mut dyn Resolver) -> Result<KernelFilters> {
        let mut kernel = KernelFilters {
            pids: self.pids.iter().copied().collect(),
            comms: self.comms.iter().copied().collect(),
            marks: self.marks.clone(),
            flags: self.flags(),
            ..KernelFilters::default()
        };
        for name in &self.ifaces {
            *kernel.ifaces.entry(*name).or_default() |= IFACE_KEEP;
        }
        for name in &self.exclude_ifaces {
            *kernel.ifaces.entry(*name).or_default() |= IFACE_TURN_DOWN;
        }
        self.add_packet_ranges(&mut kernel);
        self.add_resolved_ranges(system, &mut kernel)?;
        for path in &self.cgroups {
            kernel.cgroups.push(system.cgroup(path)?);
        }
        if !self.containers.is_empty() {
            self.set_containers(&mut kernel, |name| system.container(name))?;
        }
        Ok(kernel)
    }

    fn flags(&self) -> u32 {
        let choices = [
            (filters::PID, !self.pids.is_empty()),
            (filters::COMM, !self.comms.is_empty()),
            (filters::IFACE, !self.ifaces.is_empty()),
            (filters::EXCLUDE_IFACE, !self.exclude_ifaces.is_empty()),
            (filters::CGROUP, !self.cgroups.is_empty()),
            (filters::CONTAINER, !self.containers.is_empty()),
            (filters::MARK, !self.marks.is_empty()),
            (filters::IPV4, self.ipv4),
            (filters::IPV6, self.ipv6),
        ];
        choices
            .into_iter()
            .filter(|(_, is_on)| *is_on)
            .fold(0, |flags, (flag, _)| flags | flag)
    }

    /// Ranges of what the packet itself says.
    fn add_packet_ranges(&self, kernel: &mut KernelFilters) {
        for (kind, networks) in [
            (RangeKind::Address, &self.addresses),
            (RangeKind::Source, &self.sources),
            (RangeKind::Destination, &self.destinations),
        ] {
            let ranges = networks.iter().map(|it| Range::of_network(kind, it));
            kernel.add_if_given(kind, ranges.collect());
        }
        for (kind, ports) in [
            (RangeKind::Port, &self.ports),
            (RangeKind::SourcePort, &self.source_ports),
            (RangeKind::DestinationPort, &self.destination_ports),
        ] {
            let ranges = ports.iter().map(|it| Range::new(kind, 16, it));
            kernel.add_if_given(kind, ranges.collect());
        }
        let kind = RangeKind::Protocol;
        let protocols = self.protocols.iter().map(|value| *value..=*value);
        let ranges = protocols.map(|it| Range::new(kind, PROTOCOL_BITS, &it));
        kernel.add_if_given(kind, ranges.collect());
        let kind = RangeKind::Length;
        let ranges = self.lengths.iter().map(|it| Range::new(kind, 32, it));
        kernel.add_if_given(kind, ranges.collect());
    }

    /// Ranges of what only the running system can tell.
    fn add_resolved_ranges(
        &self,
        system: &mut dyn Resolver,
        kernel: &mut KernelFilters,
    ) -> Result<()> {
        for (kind, flag, patterns) in [
            (RangeKind::Reason, "--reason", &self.reasons),
            (
                RangeKind::ExcludeReason,
                "--exclude-reason",
                &self.exclude_reasons,
            ),
        ] {
            for pattern in patterns {
                let reasons = system.reasons(flag, pattern)?;
                kernel.add(kind, reasons.iter().map(|it| Range::new(kind, 32, it)));
            }
        }
        for (kind, flag, patterns) in [
            (RangeKind::Function, "--func", &self.functions),
            (
                RangeKind::ExcludeFunction,
                "--exclude-func",
                &self.exclude_functions,
            ),
            (
                RangeKind::StackFunction,
                "--stack-func",
                &self.stack_functions,
            ),
        ] {
            for pattern in patterns {
                let code = system.functions(flag, pattern)?;
                kernel.add(kind, code.iter().map(|it| Range::of_code(kind, it)));
            }
        }
        self.refuse_excluded(kernel)?;
        if !self.netns.is_empty() {
            self.set_netns(kernel, |name| system.netns(name))?;
        }
        Ok(())
    }

    /// Refuses what is asked for and excluded as well.
    fn refuse_excluded(&self, kernel: &KernelFilters) -> Result<()> {
        for (kept, excluded, flags) in [
            (
                RangeKind::Reason,
                RangeKind::ExcludeReason,
                "--reason and --exclude-reason",
            ),
            (
                RangeKind::Function,
                RangeKind::ExcludeFunction,
                "--func and --exclude-func",
            ),
        ] {
            let is_excluded = |range: &Range| {
                let mut others = kernel.ranges.iter().filter(|other| other.kind == excluded);
                others.any(|other| {
                    other.values.contains(range.values.start())
                        && other.values.contains(range.values.end())
                })
            };
            let mut ranges = kernel
                .ranges
                .iter()
                .filter(|range| range.kind == kept)
                .peekable();
            ensure!(
                ranges.peek().is_none() || !ranges.all(is_excluded),
                "{flags} leave nothing: no drop can match both"
            );
        }
        Ok(())
    }

    /// Makes the network namespaces those that `find` finds now. Numbers and
    /// processes stand for what they did at first.
    ///
    /// # Errors
    /// Those of `find`, the first time; later, a name that stands for nothing any
    /// more waits until it does.
    pub fn set_netns(
        &self,
        kernel: &mut KernelFilters,
        mut find: impl FnMut(&str) -> Result<u32>,
    ) -> Result<()> {
        let is_first = kernel.netns.is_empty();
        for name in &self.netns {
            if is_first {
                kernel.netns.insert(name.clone(), Some(find(name)?));
            } else if is_name(name) {
                let before = kernel.netns.insert(name.clone(), find(name).ok());
                if before.flatten().is_some() && kernel.netns.get(name) == Some(&None) {
                    log::warn!("--netns {name}: it has gone; waiting for it to come again");
                }
            }
        }
        let kind = RangeKind::Netns;
        kernel.ranges.retain(|range| range.kind != kind);
        let inodes: Vec<u32> = kernel.netns.values().copied().flatten().collect();
        kernel.add(
            kind,
            inodes.iter().map(|it| Range::new(kind, 32, &(*it..=*it))),
        );
        Ok(())
    }

    /// Makes the containers those that `find` finds now, for they come and go.
    ///
    /// # Errors
    /// Those of `find`.
    pub fn set_containers(
        &self,
        kernel: &mut KernelFilters,
        mut find: impl FnMut(&str) -> Result<ContainerMatch>,
    ) -> Result<()> {
        let kind = RangeKind::ContainerNetns;
        kernel.ranges.retain(|range| range.kind != kind);
        kernel.container_cgroups.clear();
        for name in &self.containers {
            let found = find(name)?;
            kernel.container_cgroups.extend(found.cgroups);
            let namespaces = found.own_namespaces.iter();
            kernel.add(
                kind,
                namespaces.map(|it| Range::new(kind, 32, &(*it..=*it))),
            );
        }
        Ok(())
    }
}
