//! What a packet's headers say, as far as the captured bytes go.
//!
//! Nothing here guesses: a header that is cut off, garbled or of the wrong
//! version gives `None` for every field that it would have held.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv6ExtensionSlice, LaxIpSlice};

/// The addresses and protocol of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Innermost protocol that the headers name.
    pub protocol: Protocol,
    /// Network addresses.
    pub addresses: Option<Addresses>,
    /// What the transport header says.
    pub transport: Transport,
}

/// The protocol of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The kernel has not set an ethertype.
    #[default]
    Unknown,
    /// The ethertype, in host byte order, where the packet is not IP or its IP
    /// headers can't be read up to the transport protocol's number.
    Ethertype(u16),
    /// The IP protocol number, after IPv6 extension headers.
    Ip(u8),
}

/// Source and destination address, both of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Who sent the packet.
    pub source: IpAddr,
    /// Whom it was sent to.
    pub destination: IpAddr,
}

/// The transport header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// A protocol without ports, or none that can be known.
    #[default]
    None,
    /// A protocol with ports that is not TCP.
    Ports {
        /// Source and destination port in host byte order; `None` where the
        /// header is not there (a later fragment, or cut off).
        ports: Option<(u16, u16)>,
    },
    /// TCP.
    Tcp {
        /// As in [`Transport::Ports`].
        ports: Option<(u16, u16)>,
        /// Flags as in the header (RFC 9293), FIN in the lowest bit; `None`
        /// where they are not there.
        flags: Option<u8>,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Type and code (RFC 792, RFC 4443); `None` where the header is not
        /// there.
        type_code: Option<(u8, u8)>,
    },
}

/// `ETH_P_IP` in `include/uapi/linux/if_ether.h`.
const ETHERTYPE_IPV4: u16 = 0x0800;
/// `ETH_P_IPV6` in `include/uapi/linux/if_ether.h`.
const ETHERTYPE_IPV6: u16 = 0x86dd;

impl Packet {
    /// Reads the headers of a packet.
    ///
    /// `ethertype` is in host byte order, 0 where it is not known; `headers`
    /// are the bytes from the network header on, possibly cut off anywhere.
    pub fn parse(ethertype: u16, headers: &[u8]) -> Self {
        let version = headers.first().map(|byte| byte >> 4);
        let is_ip = matches!(
            (ethertype, version),
            (ETHERTYPE_IPV4, Some(4)) | (ETHERTYPE_IPV6, Some(6))
        );
        let packet = Self {
            protocol: match ethertype {
                0 => Protocol::Unknown,
                ethertype => Protocol::Ethertype(ethertype),
            },
            ..Self::default()
        };
        if is_ip {
            packet.with_ip(headers)
        } else {
            packet
        }
    }

    /// Adds what the IP headers say.
    fn with_ip(self, headers: &[u8]) -> Self {
        let Ok((ip, stopped)) = LaxIpSlice::from_slice(headers) else {
            return self;
        };
        let packet = Self {
            addresses: Some(Addresses {
                source: ip.source_addr(),
                destination: ip.destination_addr(),
            }),
            ..self
        };
        // etherparse must not be asked for the extension headers where it could
        // not read them all: its iterator then runs past the end of the bytes.
        let payload = match stopped {
            None => transport_payload(&ip),
            Some(_) => None,
        };
        match payload {
            Some((protocol, header)) => Self {
                protocol: Protocol::Ip(protocol.0),
                transport: Transport::parse(protocol, header),
                ..packet
            },
            None => packet,
        }
    }
}

/// The transport protocol and its header, which is empty in a later fragment.
///
/// `None` if a later fragment leaves the protocol open. The extension headers
/// of `ip` must be complete.
fn transport_payload<'a>(ip: &LaxIpSlice<'a>) -> Option<(IpNumber, &'a [u8])> {
    let payload = ip.payload();
    let (is_later_fragment, has_more_headers) = match ip {
        LaxIpSlice::Ipv4(ip) => (
            ip.header().fragments_offset().value() != 0,
            ip.extensions().auth.is_some(),
        ),
        LaxIpSlice::Ipv6(ip) => {
            let mut extensions = ip.extensions().clone().into_iter();
            let is_later_fragment = extensions.any(|extension| {
                matches!(extension, Ipv6ExtensionSlice::Fragment(fragment)
                    if fragment.fragment_offset().value() != 0)
            });
            (is_later_fragment, extensions.next().is_some())
        }
    };
    match (is_later_fragment, has_more_headers) {
        (false, _) => Some((payload.ip_number, payload.payload)),
        (true, false) => Some((payload.ip_number, &[])),
        // They were read from what is the middle of something.
        (true, true) => None,
    }
}

impl Transport {
    fn parse(protocol: IpNumber, header: &[u8]) -> Self {
        match protocol {
            // As TCP, they start with the two ports.
            IpNumber::UDP | IpNumber::UDP_LITE | IpNumber::SCTP => Self::Ports {
                ports: ports(header),
            },
            IpNumber::TCP => Self::Tcp {
                ports: ports(header),
                flags: header.get(13).copied(),
            },
            IpNumber::ICMP | IpNumber::IPV6_ICMP => Self::Icmp {
                type_code: header
                    .first_chunk()
                    .map(|&[icmp_type, code]| (icmp_type, code)),
            },
            _ => Self::None,
        }
    }
}

fn ports(header: &[u8]) -> Option<(u16, u16)> {
    let &[a, b, c, d] = header.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

#[cfg(test)]
#[path = "packet/tests.rs"]
mod tests;
