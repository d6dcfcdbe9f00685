//! The filters over recorded drops, where no kernel has decided before.
//!
//! What each flag means is what the kernel side makes of it (`dropwatch-ebpf/src/filter.rs`)
//! and, for `--pid` and `--comm`, [`Enricher::decide`](crate::enrich::Enricher::decide).

use std::{net::IpAddr, ops::RangeInclusive};

use anyhow::{Context as _, Result, bail, ensure};
use dropwatch_common::{config::IP_PROTOCOL, event::IFNAME_LEN};
use ipnet::IpNet;

use super::{Filters, parse::padded};
use crate::{
    classify::Class,
    enrich::{
        container::{identity::identify, is_id_prefix},
        reason::ReasonNames,
        symbol::FunctionPattern,
    },
    packet::{Addresses, Part, Protocol},
    record::{DropRecord, Owner, Stack, Workload},
};

/// Where names of namespaces are bound.
const NETNS_FOLDERS: [&str; 2] = ["/run/netns/", "/var/run/netns/"];

/// Where cgroup2 is mounted: beside the old trees, or alone.
const CGROUP_FOLDERS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// What becomes of a recorded drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All filters match.
    Keep,
    /// A filter turns it down.
    Filter,
    /// `--hide-expected` hides it.
    Hide,
}

/// The filters, with all that need not be done for each drop.
#[derive(Debug)]
pub struct RecordFilters<'a> {
    filters: &'a Filters,
    functions: Vec<FunctionPattern>,
    exclude_functions: Vec<FunctionPattern>,
    stack_functions: Vec<FunctionPattern>,
    netns: Vec<NetnsName<'a>>,
    /// Paths from the top of the tree, without a slash at the end.
    cgroups: Vec<&'a str>,
    reasons: Reasons,
}

/// A value of `--netns` that a recording can be asked for.
#[derive(Debug, PartialEq, Eq)]
enum NetnsName<'a> {
    Inode(u32),
    Name(&'a str),
}

/// What the values of `--reason` and `--exclude-reason` stand for on the host that was recorded.
#[derive(Debug, Default)]
struct Reasons {
    kept: Vec<RangeInclusive<u32>>,
    excluded: Vec<RangeInclusive<u32>>,
}

impl<'a> RecordFilters<'a> {
    /// Prepares `filters`.
    ///
    /// # Errors
    /// Names the value that means something on a running host alone, and what to give instead.
    pub fn new(filters: &'a Filters) -> Result<Self> {
        let functions = |patterns: &[String]| {
            let patterns = patterns.iter();
            patterns.map(|text| FunctionPattern::new(text)).collect()
        };
        let netns = filters.netns.iter().map(|value| NetnsName::new(value));
        let cgroups = filters.cgroups.iter().map(|path| cgroup(path));
        Ok(Self {
            functions: functions(&filters.functions),
            exclude_functions: functions(&filters.exclude_functions),
            stack_functions: functions(&filters.stack_functions),
            netns: netns.collect::<Result<_>>()?,
            cgroups: cgroups.collect::<Result<_>>()?,
            reasons: Reasons::default(),
            filters,
        })
    }

    /// Takes over the drop reasons of the host whose drops come next.
    ///
    /// # Errors
    /// It has no such reason.
    pub fn set_reasons(&mut self, names: &mut ReasonNames) -> Result<()> {
        let Filters {
            reasons,
            exclude_reasons,
            ..
        } = self.filters;
        let mut resolve = |flag: &str, patterns: &[String]| {
            let patterns = patterns.iter();
            let ranges = patterns.map(|pattern| {
                let found = names.matching(pattern);
                found.with_context(|| flag.to_owned())
            });
            ranges
                .collect::<Result<Vec<_>>>()
                .map(|ranges| ranges.concat())
        };
        self.reasons = Reasons {
            kept: resolve("--reason", reasons)?,
            excluded: resolve("--exclude-reason", exclude_reasons)?,
        };
        Ok(())
    }

    /// Whether there is a filter by drop reason.
    #[must_use]
    pub fn by_reason(&self) -> bool {
        !self.filters.reasons.is_empty() || !self.filters.exclude_reasons.is_empty()
    }

    /// Whether there is a filter by what is anywhere in the stack.
    #[must_use]
    pub fn by_stack(&self) -> bool {
        !self.stack_functions.is_empty()
    }

    /// Decides on a drop.
    #[must_use]
    pub fn judge(&self, record: &DropRecord<'_>) -> Verdict {
        let matches = self.reason_matches(record.origin.reason)
            && self.place_matches(record.location)
            && self.skb_matches(record)
            && self.device_matches(record)
            && self.tuple_matches(record)
            && self.workload_matches(record)
            && self.process_matches(record)
            && self.stack_matches(record);
        match record.class {
            _ if !matches => Verdict::Filter,
            Class::Teardown | Class::Expected if self.filters.hide_expected => Verdict::Hide,
            Class::Drop | Class::Refused | Class::Teardown | Class::Expected => Verdict::Keep,
        }
    }

    fn reason_matches(&self, reason: Option<u32>) -> bool {
        let is_in = |ranges: &[RangeInclusive<u32>]| {
            reason.is_some_and(|reason| ranges.iter().any(|range| range.contains(&reason)))
        };
        let is_kept = self.filters.reasons.is_empty() || is_in(&self.reasons.kept);
        is_kept && !is_in(&self.reasons.excluded)
    }

    fn place_matches(&self, location: &str) -> bool {
        let is_in = |functions: &[FunctionPattern]| is_in_any(functions, location);
        (self.functions.is_empty() || is_in(&self.functions)) && !is_in(&self.exclude_functions)
    }

    fn stack_matches(&self, record: &DropRecord<'_>) -> bool {
        let is_in = |frame: &str| is_in_any(&self.stack_functions, frame);
        self.stack_functions.is_empty()
            || is_in(record.location)
            || matches!(record.stack, Some(Stack::Callers(callers)) if callers.split(',').any(is_in))
    }

    fn skb_matches(&self, record: &DropRecord<'_>) -> bool {
        let Filters { lengths, marks, .. } = self.filters;
        let len_matches = |len| lengths.iter().any(|range| range.contains(&len));
        let mark_matches = |mark| marks.iter().any(|it| mark & it.mask == it.value);
        (lengths.is_empty() || record.skb.is_some_and(|skb| len_matches(skb.len)))
            && (marks.is_empty() || record.skb.is_some_and(|skb| mark_matches(skb.mark)))
    }

    fn device_matches(&self, record: &DropRecord<'_>) -> bool {
        let Filters {
            ifaces,
            exclude_ifaces,
            ..
        } = self.filters;
        let name = record.device.map(|it| padded::<IFNAME_LEN>(it.name));
        let is_excluded = name.is_some_and(|name| exclude_ifaces.contains(&name));
        (ifaces.is_empty() || name.is_some_and(|name| ifaces.contains(&name)))
            && !is_excluded
            && self.netns_matches(record)
    }

    fn netns_matches(&self, record: &DropRecord<'_>) -> bool {
        let is_one = |netns: crate::record::Netns<'_>| {
            self.netns.iter().any(|wanted| match wanted {
                NetnsName::Inode(inode) => netns.inode == *inode,
                NetnsName::Name(name) => netns.name == Some(name.as_bytes()),
            })
        };
        self.netns.is_empty() || record.netns.is_some_and(is_one)
    }

    fn tuple_matches(&self, record: &DropRecord<'_>) -> bool {
        let tuple = &record.packet.tuple;
        let addresses = tuple.addresses;
        self.family_matches(addresses.filter(|_| record.packet.ip.is_some()))
            && self.addresses_match(addresses)
            && self.ports_match(tuple.ports)
            && self.protocol_matches(tuple.protocol)
    }

    /// `addresses` are those of an IP header.
    fn family_matches(&self, addresses: Option<Addresses>) -> bool {
        let Filters { ipv4, ipv6, .. } = *self.filters;
        let is_one = |addresses: Addresses| match addresses.source {
            IpAddr::V4(_) => ipv4,
            IpAddr::V6(_) => ipv6,
        };
        !(ipv4 || ipv6) || addresses.is_some_and(is_one)
    }

    fn addresses_match(&self, addresses: Option<Addresses>) -> bool {
        let matches = |wanted: &[IpNet], of: fn(Addresses) -> [IpAddr; 2]| {
            let lies_in = |address: &IpAddr| wanted.iter().any(|network| network.contains(address));
            wanted.is_empty() || addresses.is_some_and(|it| of(it).iter().any(lies_in))
        };
        matches(&self.filters.addresses, |it| [it.source, it.destination])
            && matches(&self.filters.sources, |it| [it.source; 2])
            && matches(&self.filters.destinations, |it| [it.destination; 2])
    }

    fn ports_match(&self, ports: Part<(u16, u16)>) -> bool {
        let matches = |wanted: &[RangeInclusive<u16>], of: fn((u16, u16)) -> [u16; 2]| {
            let lies_in = |port: &u16| wanted.iter().any(|range| range.contains(port));
            let is_one = match ports {
                Part::Known(ports) => of(ports).iter().any(lies_in),
                Part::Absent | Part::CutOff => false,
            };
            wanted.is_empty() || is_one
        };
        matches(&self.filters.ports, |(source, port)| [source, port])
            && matches(&self.filters.source_ports, |(source, _)| [source; 2])
            && matches(&self.filters.destination_ports, |(_, port)| [port; 2])
    }

    fn protocol_matches(&self, protocol: Protocol) -> bool {
        let value = match protocol {
            Protocol::Ip(protocol) => Some(IP_PROTOCOL | u32::from(protocol)),
            Protocol::Ethertype(ethertype) => Some(u32::from(ethertype)),
            Protocol::Unknown | Protocol::Family(_) => None,
        };
        let wanted = &self.filters.protocols;
        wanted.is_empty() || value.is_some_and(|value| wanted.contains(&value))
    }

    fn workload_matches(&self, record: &DropRecord<'_>) -> bool {
        let cgroup = record.origin.cgroup;
        (self.cgroups.is_empty() || cgroup.is_some_and(|cgroup| self.cgroup_matches(cgroup)))
            && (self.filters.containers.is_empty()
                || self.container_matches(&record.workload, cgroup))
    }

    fn cgroup_matches(&self, cgroup: &[u8]) -> bool {
        self.cgroups.iter().any(|wanted| {
            let rest = cgroup.strip_prefix(wanted.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }

    /// A socket's control group decides; without one, the network namespace does, as it has for
    /// the names in `workload`.
    fn container_matches(&self, workload: &Workload<'_>, cgroup: Option<&[u8]>) -> bool {
        if cgroup.is_some_and(|path| !identify(path).is_workload()) {
            return false;
        }
        let names = [workload.container, workload.pod];
        self.filters.containers.iter().any(|wanted| {
            let id = workload.container_id.filter(|_| is_id_prefix(wanted));
            names.contains(&Some(wanted.as_bytes()))
                || id.is_some_and(|id| id.starts_with(wanted.as_bytes()))
        })
    }

    /// By the process that holds the socket or, where none is known, by the task on the CPU.
    /// Where that is the same process, the name of its thread counts as well.
    fn process_matches(&self, record: &DropRecord<'_>) -> bool {
        let matches = |pid, name| self.filters.process_matches(pid, name);
        let by_task = matches(record.pid, record.comm);
        match record.owner {
            Some(Owner { comm, pid, .. }) => matches(pid, comm) || pid == record.pid && by_task,
            None => by_task,
        }
    }
}

fn is_in_any(functions: &[FunctionPattern], frame: &str) -> bool {
    functions
        .iter()
        .any(|function| function.matches_frame(frame))
}

impl<'a> NetnsName<'a> {
    fn new(value: &'a str) -> Result<Self> {
        let shown = value.escape_debug();
        if let Ok(inode) = value.parse() {
            return Ok(Self::Inode(inode));
        }
        let mut folders = NETNS_FOLDERS.iter();
        let name = folders.find_map(|folder| value.strip_prefix(folder));
        match name.unwrap_or(value) {
            name if value.starts_with("pid:") || name.contains('/') => bail!(
                "--netns {shown}: a recording knows names and inode numbers of namespaces alone, \
                 those that its lines show as netns="
            ),
            name => Ok(Self::Name(name)),
        }
    }
}

/// The path of a control group from the top of the tree.
fn cgroup(path: &str) -> Result<&str> {
    ensure!(
        path.starts_with('/'),
        "--cgroup takes a path from the top, as /system.slice/nginx.service, not '{}'",
        path.escape_debug()
    );
    let below = |folder: &&str| {
        let rest = path.strip_prefix(*folder)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    };
    let in_tree = CGROUP_FOLDERS.iter().find_map(below).unwrap_or(path);
    Ok(in_tree.trim_end_matches('/'))
}

#[cfg(test)]
#[path = "recorded/tests.rs"]
mod tests;
