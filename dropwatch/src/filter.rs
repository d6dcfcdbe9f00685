//! Which drops the user wants: the flags, validated, and what the kernel side is
//! given of them.
//!
//! Within a flag any of its values is enough, and every flag that is given must
//! match. What a line would show as `-` does not match, and is not excluded.

mod kernel;
mod parse;
mod recorded;

pub use kernel::{KernelFilters, Range, Resolver};
pub use parse::Family;
pub use recorded::{RecordFilters, Verdict};

use std::{collections::BTreeSet, ops::RangeInclusive};

use anyhow::{Result, bail, ensure};
use dropwatch_common::{
    config::{MAX_FILTER_ENTRIES, MAX_MARKS, Mark},
    event::{COMM_LEN, IFNAME_LEN},
};
use ipnet::IpNet;

use crate::cli::FilterArgs;

/// The filter flags, validated but for what only the running system can tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    /// `--pid`
    pub pids: BTreeSet<u32>,
    /// `--comm`, as the kernel holds names.
    pub comms: BTreeSet<[u8; COMM_LEN]>,
    /// `--iface`, NUL-padded.
    pub ifaces: BTreeSet<[u8; IFNAME_LEN]>,
    /// `--exclude-iface`, NUL-padded.
    pub exclude_ifaces: BTreeSet<[u8; IFNAME_LEN]>,
    /// `-4`
    pub ipv4: bool,
    /// `-6`
    pub ipv6: bool,
    /// `--addr`
    pub addresses: Vec<IpNet>,
    /// `--saddr`
    pub sources: Vec<IpNet>,
    /// `--daddr`
    pub destinations: Vec<IpNet>,
    /// `--port`
    pub ports: Vec<RangeInclusive<u16>>,
    /// `--sport`
    pub source_ports: Vec<RangeInclusive<u16>>,
    /// `--dport`
    pub destination_ports: Vec<RangeInclusive<u16>>,
    /// `--proto`, as values of `RangeKind::Protocol`.
    pub protocols: Vec<u32>,
    /// `--len`
    pub lengths: Vec<RangeInclusive<u32>>,
    /// `--mark`
    pub marks: Vec<Mark>,
    /// `--reason`, patterns.
    pub reasons: Vec<String>,
    /// `--exclude-reason`, patterns.
    pub exclude_reasons: Vec<String>,
    /// `--func`, patterns.
    pub functions: Vec<String>,
    /// `--exclude-func`, patterns.
    pub exclude_functions: Vec<String>,
    /// `--stack-func`, patterns.
    pub stack_functions: Vec<String>,
    /// `--netns`: paths, names, inode numbers, `pid:N`.
    pub netns: Vec<String>,
    /// `--cgroup`: paths.
    pub cgroups: Vec<String>,
    /// `--container`: names and starts of ids.
    pub containers: Vec<String>,
    /// `--hide-expected`
    pub hide_expected: bool,
}

impl Filters {
    /// Validates the flags.
    ///
    /// # Errors
    /// Names the flag whose value makes no sense, and what would; or the flags
    /// that no drop can match together.
    pub fn new(args: FilterArgs) -> Result<Self> {
        let filters = Self {
            pids: args.pid.into_iter().collect(),
            comms: parse::names("--comm", "the name of a process", &args.comm)?,
            ifaces: parse::interfaces("--iface", &args.iface)?,
            exclude_ifaces: parse::interfaces("--exclude-iface", &args.exclude_iface)?,
            ipv4: args.ipv4,
            ipv6: args.ipv6,
            addresses: parse::networks("--addr", &args.addr)?,
            sources: parse::networks("--saddr", &args.saddr)?,
            destinations: parse::networks("--daddr", &args.daddr)?,
            ports: parse::ranges("--port", &args.port)?,
            source_ports: parse::ranges("--sport", &args.sport)?,
            destination_ports: parse::ranges("--dport", &args.dport)?,
            protocols: parse::protocols(&args.proto)?,
            lengths: parse::ranges("--len", &args.len)?,
            marks: parse::marks(&args.mark)?,
            reasons: parse::words("--reason", args.reason)?,
            exclude_reasons: parse::words("--exclude-reason", args.exclude_reason)?,
            functions: parse::words("--func", args.func)?,
            exclude_functions: parse::words("--exclude-func", args.exclude_func)?,
            stack_functions: parse::words("--stack-func", args.stack_func)?,
            netns: parse::words("--netns", args.netns)?,
            cgroups: parse::words("--cgroup", args.cgroup)?,
            containers: parse::words("--container", args.container)?,
            hide_expected: args.hide_expected,
        };
        filters.check_numbers()?;
        filters.check_contradictions()?;
        Ok(filters)
    }

    fn check_numbers(&self) -> Result<()> {
        let limited = [
            ("--pid", self.pids.len(), MAX_FILTER_ENTRIES),
            ("--comm", self.comms.len(), MAX_FILTER_ENTRIES),
            (
                "--iface and --exclude-iface",
                self.ifaces.len() + self.exclude_ifaces.len(),
                MAX_FILTER_ENTRIES,
            ),
            ("--mark", self.marks.len(), MAX_MARKS),
        ];
        for (flag, entries, most) in limited {
            ensure!(
                entries <= most as usize,
                "{flag} takes at most {most} values, not {entries}"
            );
        }
        Ok(())
    }

    /// Whether `--pid` and `--comm` match a process of this name.
    pub fn process_matches(&self, pid: u32, name: &[u8]) -> bool {
        (self.pids.is_empty() || self.pids.contains(&pid)) && self.comm_matches(name)
    }

    /// Whether `--comm` matches this name.
    pub fn comm_matches(&self, name: &[u8]) -> bool {
        self.comms.is_empty() || self.comms.contains(&parse::padded::<COMM_LEN>(name))
    }

    /// Refuses flags that no drop can match together.
    fn check_contradictions(&self) -> Result<()> {
        if let Some(name) = self.ifaces.intersection(&self.exclude_ifaces).next() {
            bail!(
                "--iface and --exclude-iface both name {}: no drop can match",
                parse::printable(name)
            );
        }
        let mut family = Family::Any;
        if self.ipv4 != self.ipv6 {
            let flag = if self.ipv4 { "-4" } else { "-6" };
            family = if self.ipv4 { Family::V4 } else { Family::V6 };
            for (other, networks) in self.address_flags() {
                if let Some(network) = networks.iter().find(|it| !family.has(it.addr())) {
                    bail!("{flag} and {other} {network}: no drop can match both");
                }
            }
        }
        for (flag, networks) in self.address_flags() {
            let only = Family::of(networks.iter().map(IpNet::addr));
            family = family.and(only).ok_or_else(|| {
                anyhow::anyhow!(
                    "{flag} has addresses of another family than the other flags: no drop can \
                     match them all"
                )
            })?;
        }
        self.check_protocols(family)
    }

    fn address_flags(&self) -> [(&'static str, &[IpNet]); 3] {
        [
            ("--addr", &self.addresses),
            ("--saddr", &self.sources),
            ("--daddr", &self.destinations),
        ]
    }

    fn check_protocols(&self, family: Family) -> Result<()> {
        if self.protocols.is_empty() {
            return Ok(());
        }
        let has_ports = [&self.ports, &self.source_ports, &self.destination_ports]
            .iter()
            .any(|ports| !ports.is_empty());
        ensure!(
            !has_ports
                || self
                    .protocols
                    .iter()
                    .any(|it| parse::protocol_has_ports(*it)),
            "--proto names no protocol that has ports (tcp, udp, udplite, sctp, dccp), so no drop can match \
             --port, --sport or --dport"
        );
        ensure!(
            self.protocols.iter().any(|it| parse::protocol_fits(
                *it,
                family,
                self.ipv4 || self.ipv6
            )),
            "--proto names no protocol of the address family that the other flags ask for: no drop \
             can match them all"
        );
        Ok(())
    }
}

#[cfg(test)]
#[path = "filter/tests.rs"]
mod tests;
