//! Tunnels, and the packet inside.

use etherparse::IpNumber;

use super::{
    ETHERTYPE_ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Part, Tuple,
    link::{self, ETHERTYPE_MIN},
    transport, u16_at, u32_at,
};

/// A way to carry a packet inside of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// VXLAN (RFC 7348).
    Vxlan {
        /// Network identifier, 24 bits.
        vni: u32,
    },
    /// Geneve (RFC 8926).
    Geneve {
        /// As in [`Tunnel::Vxlan`].
        vni: u32,
    },
    /// GRE (RFC 2784).
    Gre {
        /// Key (RFC 2890).
        key: Part<u32>,
    },
    /// IPv4 in IPv4.
    Ipip,
    /// IPv6 in IPv4.
    Sit,
    /// IPv6 in IPv6.
    Ip6ip6,
    /// IPv4 in IPv6.
    Ip4ip6,
}

/// Reads the tunnel that `protocol` over `outer` (an ethertype) makes, and the
/// packet inside; `header` are the bytes behind the IP headers.
pub(super) fn read(outer: u16, protocol: IpNumber, header: &[u8]) -> Option<(Tunnel, Part<Tuple>)> {
    match (protocol, outer) {
        (IpNumber::UDP, _) => over_udp(header),
        (IpNumber::GRE, _) => Some(gre(header)),
        (IpNumber::IPV4, ETHERTYPE_IPV4) => {
            Some((Tunnel::Ipip, Tuple::embedded(ETHERTYPE_IPV4, header)))
        }
        (IpNumber::IPV4, _) => Some((Tunnel::Ip4ip6, Tuple::embedded(ETHERTYPE_IPV4, header))),
        (IpNumber::IPV6, ETHERTYPE_IPV4) => {
            Some((Tunnel::Sit, Tuple::embedded(ETHERTYPE_IPV6, header)))
        }
        (IpNumber::IPV6, _) => Some((Tunnel::Ip6ip6, Tuple::embedded(ETHERTYPE_IPV6, header))),
        _ => None,
    }
}

/// Port of VXLAN (IANA).
const VXLAN_PORT: u16 = 4789;
/// Port of VXLAN that Linux takes unless told otherwise
/// (`drivers/net/vxlan/vxlan_core.c`).
const VXLAN_LINUX_PORT: u16 = 8472;
/// Port of Geneve (IANA).
const GENEVE_PORT: u16 = 6081;
/// Length of a UDP header, and of the fixed part of those below.
const HEADER_LEN: usize = 8;

/// A tunnel over UDP: known by its port, and by a header that is in order.
fn over_udp(header: &[u8]) -> Option<(Tunnel, Part<Tuple>)> {
    let Part::Known((_, port)) = transport::ports(IpNumber::UDP, header) else {
        return None;
    };
    let header = header.get(HEADER_LEN..)?;
    match port {
        VXLAN_PORT | VXLAN_LINUX_PORT => vxlan(header),
        GENEVE_PORT => geneve(header),
        _ => None,
    }
}

/// RFC 7348, 5: the flag I alone, reserved bits zero.
fn vxlan(header: &[u8]) -> Option<(Tunnel, Part<Tuple>)> {
    let &[0x08, 0, 0, 0, a, b, c, 0] = header.first_chunk()? else {
        return None;
    };
    let vni = u32::from_be_bytes([0, a, b, c]);
    let inner = payload(ETHERTYPE_ETHERNET, header.get(HEADER_LEN..));
    Some((Tunnel::Vxlan { vni }, inner))
}

/// RFC 8926, 3.4: version 0, reserved bits zero, an ethertype.
fn geneve(header: &[u8]) -> Option<(Tunnel, Part<Tuple>)> {
    let &[options, flags, _, _, a, b, c, 0] = header.first_chunk()? else {
        return None;
    };
    let ethertype = u16_at(header, 2)?;
    let (version, options) = (options >> 6, options & 0x3f);
    if version != 0 || flags & 0x3f != 0 || ethertype < ETHERTYPE_MIN {
        return None;
    }
    let vni = u32::from_be_bytes([0, a, b, c]);
    let options_len = usize::from(options) * 4;
    let inner = payload(ethertype, header.get(HEADER_LEN + options_len..));
    Some((Tunnel::Geneve { vni }, inner))
}

/// RFC 2784 with the key and the sequence number of RFC 2890.
///
/// Other versions and source routes (RFC 1701) are GRE of which nothing else is
/// known.
fn gre(header: &[u8]) -> (Tunnel, Part<Tuple>) {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const VERSION: u16 = 0x0007;

    let (Some(flags), ethertype) = (u16_at(header, 0), u16_at(header, 2)) else {
        return (Tunnel::Gre { key: Part::CutOff }, Part::CutOff);
    };
    if flags & (VERSION | ROUTING) != 0 {
        return (Tunnel::Gre { key: Part::Absent }, Part::CutOff);
    }
    // The optional fields are four bytes each.
    let size_of = |flag| if flags & flag != 0 { 4 } else { 0 };
    let key_at = 4 + size_of(CHECKSUM);
    let key = match flags & KEY {
        0 => Part::Absent,
        _ => Part::present(u32_at(header, key_at)),
    };
    let payload_at = key_at + size_of(KEY) + size_of(SEQUENCE);
    let inner = match ethertype {
        Some(ethertype) => payload(ethertype, header.get(payload_at..)),
        None => Part::CutOff,
    };
    (Tunnel::Gre { key }, inner)
}

/// What a tunnel carries; `ethertype` says whether that is a frame or a packet.
fn payload(ethertype: u16, bytes: Option<&[u8]>) -> Part<Tuple> {
    let bytes = bytes.unwrap_or_default();
    if ethertype != ETHERTYPE_ETHERNET {
        return Tuple::embedded(ethertype, bytes);
    }
    match link::in_frame(bytes) {
        Some((ethertype, packet)) => Tuple::embedded(ethertype, packet),
        None => Part::CutOff,
    }
}
