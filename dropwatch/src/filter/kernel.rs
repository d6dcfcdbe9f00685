//! What the kernel side is given of the filters.

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive};

use anyhow::Result;
use dropwatch_common::{
    config::{IFACE_KEEP, IFACE_TURN_DOWN, Mark, PROTOCOL_BITS, RangeKind, filters},
    event::{COMM_LEN, IFNAME_LEN},
    tuple::mapped,
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
            IpAddr::V4(address) => u128::from_be_bytes(mapped(address.octets())),
            IpAddr::V6(address) => u128::from(address),
        };
        let values = match network {
            IpNet::V4(_) => number(network.network())..=number(network.broadcast()),
            IpNet::V6(_) => {
                let first = number(network.network());
                // Not `broadcast`: the last address of an IPv6 network is one as any.
                let rest = u128::MAX.checked_shr(u32::from(network.prefix_len()));
                first..=first | rest.unwrap_or(0)
            }
        };
        Self {
            kind,
            bits: 128,
            values,
        }
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
}

impl KernelFilters {
    /// Adds ranges of one kind, and turns their filter on, also if there is none.
    pub fn add(&mut self, kind: RangeKind, ranges: impl IntoIterator<Item = Range>) {
        self.range_flags |= kind.bit();
        self.ranges.extend(ranges);
    }

    fn add_if_given(&mut self, kind: RangeKind, ranges: Vec<Range>) {
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
        let kind = RangeKind::Netns;
        for name in &self.netns {
            let inode = system.netns(name)?;
            kernel.add(kind, [Range::new(kind, 32, &(inode..=inode))]);
        }
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
