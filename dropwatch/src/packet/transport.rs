//! Transport headers.

use dropwatch_common::uapi::has_ports;
use etherparse::IpNumber;

use super::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Part, Tuple, u16_at, u32_at};

/// What a transport header says beyond the ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// A protocol that has no more to say, or none that can be known.
    #[default]
    Other,
    /// TCP.
    Tcp(Tcp),
    /// ICMP (RFC 792).
    Icmp {
        /// Type and code; `None` where the header is not there.
        type_code: Option<(u8, u8)>,
    },
    /// ICMPv6 (RFC 4443).
    Icmpv6 {
        /// As in [`Transport::Icmp`].
        type_code: Option<(u8, u8)>,
    },
    /// IGMP (RFC 3376).
    Igmp {
        /// Type; `None` where the header is not there.
        igmp_type: Option<u8>,
    },
}

/// A TCP header (RFC 9293), integers in host byte order; `None` where they are
/// not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Sequence number.
    pub seq: Option<u32>,
    /// Acknowledgment number; `None` without the flag ACK, too.
    pub ack: Option<u32>,
    /// Flags as in the header, FIN in the lowest bit.
    pub flags: Option<u8>,
    /// Window as in the header, not scaled.
    pub window: Option<u16>,
}

impl Transport {
    /// Reads the header of `protocol`, which `header` starts with.
    pub(super) fn read(protocol: IpNumber, header: &[u8]) -> Self {
        let type_code = || {
            let &[icmp_type, code] = header.first_chunk()?;
            Some((icmp_type, code))
        };
        match protocol {
            IpNumber::TCP => Self::Tcp(Tcp::read(header)),
            IpNumber::ICMP => Self::Icmp {
                type_code: type_code(),
            },
            IpNumber::IPV6_ICMP => Self::Icmpv6 {
                type_code: type_code(),
            },
            IpNumber::IGMP => Self::Igmp {
                igmp_type: header.first().copied(),
            },
            _ => Self::Other,
        }
    }
}

impl Tcp {
    fn read(header: &[u8]) -> Self {
        const ACK: u8 = 0x10;

        let flags = header.get(13).copied();
        let has_ack = flags.is_some_and(|flags| flags & ACK != 0);
        Self {
            seq: u32_at(header, 4),
            ack: u32_at(header, 8).filter(|_| has_ack),
            flags,
            window: u16_at(header, 14),
        }
    }
}

/// The ports of a protocol that has them: those that start with the two.
pub(super) fn ports(protocol: IpNumber, header: &[u8]) -> Part<(u16, u16)> {
    if !has_ports(protocol.0) {
        return Part::Absent;
    }
    Part::present(u16_at(header, 0).zip(u16_at(header, 2)))
}

/// Length of the header of an ICMP or ICMPv6 error.
const ICMP_ERROR_LEN: usize = 8;

/// The packet that an ICMP or ICMPv6 error quotes (RFC 792; RFC 4443, 2.4).
pub(super) fn quoted(protocol: IpNumber, header: &[u8]) -> Part<Tuple> {
    let ethertype = match (protocol, header.first()) {
        // Destination unreachable, source quench, redirect, time exceeded,
        // parameter problem.
        (IpNumber::ICMP, Some(3 | 4 | 5 | 11 | 12)) => ETHERTYPE_IPV4,
        // Destination unreachable, packet too big, time exceeded, parameter
        // problem.
        (IpNumber::IPV6_ICMP, Some(1..=4)) => ETHERTYPE_IPV6,
        _ => return Part::Absent,
    };
    let quote = header.get(ICMP_ERROR_LEN..).unwrap_or_default();
    Tuple::embedded(ethertype, quote)
}
