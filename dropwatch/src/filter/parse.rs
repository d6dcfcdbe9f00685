//! The values of filter flags, from text.

use std::{collections::BTreeSet, fmt::Display, net::IpAddr, ops::RangeInclusive};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use dropwatch_common::{
    config::{IP_PROTOCOL, Mark},
    event::{COMM_LEN, IFNAME_LEN},
    uapi::{IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_IGMP, has_ports},
};
use ipnet::IpNet;

use crate::names::{ETHERTYPES, IP_PROTOCOLS};

/// Address families that can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Both, or packets that are not IP.
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

impl Family {
    /// The family that all of `addresses` are of.
    pub fn of(addresses: impl Iterator<Item = IpAddr>) -> Self {
        let mut family = Self::Any;
        for address in addresses {
            let this = match address {
                IpAddr::V4(_) => Self::V4,
                IpAddr::V6(_) => Self::V6,
            };
            match family.and(this) {
                Some(both) => family = both,
                None => return Self::Any,
            }
        }
        family
    }

    /// Whether an address can match.
    pub fn has(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    /// What both leave, `None` for nothing.
    pub fn and(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, other) => Some(other),
            (this, Self::Any) => Some(this),
            (this, other) => (this == other).then_some(this),
        }
    }
}

/// The IP protocol of a value of `RangeKind::Protocol`, `None` for an ethertype.
fn ip_protocol(value: u32) -> Option<u8> {
    (value & IP_PROTOCOL != 0).then_some(value as u8)
}

/// Whether packets of a protocol have ports.
pub(super) fn protocol_has_ports(value: u32) -> bool {
    ip_protocol(value).is_some_and(has_ports)
}

/// Whether packets of a protocol can be of `family`; if `is_ip` is set, they must
/// be IP at all.
pub(super) fn protocol_fits(value: u32, family: Family, is_ip: bool) -> bool {
    let Some(protocol) = ip_protocol(value) else {
        // ARP has IPv4 addresses, and no IP header.
        return !is_ip && family != Family::V6;
    };
    match family {
        Family::Any => true,
        Family::V4 => protocol != IPPROTO_ICMPV6,
        Family::V6 => !matches!(protocol, IPPROTO_ICMP | IPPROTO_IGMP),
    }
}

/// A name as the kernel holds it: cut to `N - 1` bytes, padded with NULs.
pub(super) fn padded<const N: usize>(name: &[u8]) -> [u8; N] {
    let mut key = [0; N];
    for (byte, &source) in key.iter_mut().take(N - 1).zip(name) {
        *byte = source;
    }
    key
}

/// A NUL-padded name for a message.
pub(super) fn printable(name: &[u8]) -> String {
    let name = crate::decode::until_nul(name);
    String::from_utf8_lossy(name).escape_debug().to_string()
}

/// Names of processes, cut as the kernel cuts them.
pub(super) fn names(flag: &str, what: &str, names: &[String]) -> Result<BTreeSet<[u8; COMM_LEN]>> {
    let key = |name: &String| {
        ensure!(
            !name.is_empty() && !name.contains('\0'),
            "{flag} takes {what}, not '{}'",
            name.escape_debug()
        );
        Ok(padded(name.as_bytes()))
    };
    names.iter().map(key).collect()
}

/// Names of interfaces, by the kernel's rules (`dev_valid_name` in
/// `net/core/dev.c`).
pub(super) fn interfaces(flag: &str, names: &[String]) -> Result<BTreeSet<[u8; IFNAME_LEN]>> {
    let key = |name: &String| {
        let is_valid = !name.is_empty()
            && name.len() < IFNAME_LEN
            && !matches!(name.as_str(), "." | "..")
            && !name
                .contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace());
        ensure!(
            is_valid,
            "{flag} takes the name of an interface (at most {} bytes), not '{}'",
            IFNAME_LEN - 1,
            name.escape_debug()
        );
        Ok(padded(name.as_bytes()))
    };
    names.iter().map(key).collect()
}

/// Words that only the running system can tell the meaning of.
pub(super) fn words(flag: &str, words: Vec<String>) -> Result<Vec<String>> {
    ensure!(
        words.iter().all(|word| !word.is_empty()),
        "{flag} has an empty value"
    );
    Ok(words)
}

/// Addresses and networks.
pub(super) fn networks(flag: &str, values: &[String]) -> Result<Vec<IpNet>> {
    values.iter().map(|value| network(flag, value)).collect()
}

fn network(flag: &str, value: &str) -> Result<IpNet> {
    let bare = value.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(value).parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = value.parse().map_err(|_error| {
        anyhow!(
            "{flag} takes an address or a network as 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32, not '{}'",
            value.escape_debug()
        )
    })?;
    ensure!(
        network.addr() == network.network(),
        "{flag} {network} has bits behind the prefix; did you mean {} or {}?",
        network.trunc(),
        network.addr()
    );
    Ok(network)
}

/// A number, decimal or with 0x.
fn number<N: TryFrom<u32>>(text: &str) -> Option<N> {
    let (digits, base) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // `from_str_radix` would take a sign.
    let are_digits = digits.chars().all(|digit| digit.is_digit(base));
    let value = u32::from_str_radix(digits, base)
        .ok()
        .filter(|_| are_digits)?;
    N::try_from(value).ok()
}

/// Numbers and ranges `A-B`.
pub(super) fn ranges<N>(flag: &str, values: &[String]) -> Result<Vec<RangeInclusive<N>>>
where
    N: TryFrom<u32> + PartialOrd + Copy + Display + Bounded,
{
    let range = |value: &String| {
        let (first, last) = value.split_once('-').unwrap_or((value, value));
        let (Some(first), Some(last)) = (number::<N>(first), number::<N>(last)) else {
            bail!(
                "{flag} takes a number from 0 to {} or a range as 100-200, not '{}'",
                N::MAX,
                value.escape_debug()
            );
        };
        ensure!(first <= last, "{flag} {value} ends before it starts");
        Ok(first..=last)
    };
    values.iter().map(range).collect()
}

/// Integers with a largest value.
pub(super) trait Bounded {
    /// The largest value.
    const MAX: Self;
}

impl Bounded for u16 {
    const MAX: Self = Self::MAX;
}

impl Bounded for u32 {
    const MAX: Self = Self::MAX;
}

/// Protocols by name or number, as values of `RangeKind::Protocol`.
pub(super) fn protocols(values: &[String]) -> Result<Vec<u32>> {
    values.iter().map(|value| protocol(value)).collect()
}

fn protocol(value: &str) -> Result<u32> {
    let name = value.to_ascii_lowercase();
    if let Some(protocol) = number::<u8>(name.strip_prefix("proto-").unwrap_or(&name)) {
        return Ok(IP_PROTOCOL | u32::from(protocol));
    }
    let ethertype = name.strip_prefix("ethertype-").and_then(number::<u16>);
    // 0 is where the kernel has not set one: lines show `-`.
    if let Some(ethertype) = ethertype.filter(|it| *it != 0) {
        return Ok(u32::from(ethertype));
    }
    let ip = IP_PROTOCOLS.iter().find(|(_, known)| *known == name);
    let other = ETHERTYPES.iter().find(|(_, known)| *known == name);
    match (ip, other) {
        (Some((protocol, _)), _) => Ok(IP_PROTOCOL | u32::from(*protocol)),
        (None, Some((ethertype, _))) => Ok(u32::from(*ethertype)),
        (None, None) => bail!(
            "--proto knows no IP protocol or ethertype '{}'; it takes {} and others that lines show, or \
             the number of an IP protocol",
            value.escape_debug(),
            IP_PROTOCOLS
                .iter()
                .map(|(_, name)| *name)
                .chain(["arp"])
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

/// Marks `VALUE` or `VALUE/MASK`.
pub(super) fn marks(values: &[String]) -> Result<Vec<Mark>> {
    values.iter().map(|value| mark(value)).collect()
}

fn mark(text: &str) -> Result<Mark> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (number(value), number(mask)),
        None => (number(text), Some(u32::MAX)),
    };
    let (value, mask) = value.zip(mask).with_context(|| {
        format!(
            "--mark takes a number, or a number and a mask as 0x10/0xff, not '{}'",
            text.escape_debug()
        )
    })?;
    ensure!(
        value & !mask == 0,
        "--mark {text} has bits that are not in the mask: no mark can match"
    );
    Ok(Mark { value, mask })
}
