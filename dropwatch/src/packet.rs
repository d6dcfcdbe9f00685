//! What a packet's headers say, as far as the captured bytes go.
//!
//! Nothing here guesses: a header that is cut off, garbled or of the wrong
//! version gives no value for any field that it would have held. Whatever the
//! start of a packet says, the whole packet says, too.
//!
//! # What the columns show
//!
//! The protocol and the addresses of a line are [`Packet::tuple`], by these
//! rules. Anything else that picks packets by protocol, address or port has to
//! follow them.
//!
//! - The packet starts at the network header, and its ethertype is
//!   `sk_buff.protocol`, unless that is a VLAN's (0x8100, 0x88a8).
//! - If it is a VLAN's, the columns show the packet inside, provided that the
//!   MAC header proves where that is. From the MAC header to the network header
//!   there have to be two addresses (12 bytes), no more than two tags (TPID and
//!   TCI, 4 bytes) and an ethertype; and `sk_buff.protocol` has to be the first
//!   ethertype or TPID of these, or the last. If the last one is a VLAN's, the
//!   network header is a TCI with another ethertype behind it, and the packet
//!   starts behind that; two tags in all are followed. Otherwise, and where there
//!   are more tags, the protocol is the VLAN's ethertype and nothing else is
//!   known.
//! - An ethertype behind a tag that is below 0x0600 is a length: `ETH_P_802_2`.
//! - `Ethertype(n)` without addresses: no IP, or an IP header that is cut off,
//!   of another version than the ethertype says, or shorter than its minimum.
//! - `Ethertype(0x0806)` with addresses: ARP for IPv4 over Ethernet; the
//!   sender's and the target's protocol address.
//! - IP with addresses: those of the outermost IP header. In a tunnel and in an
//!   ICMP error they are never those of the packet inside.
//! - `Ip(n)` is the protocol number behind the extension headers of IPv6
//!   (hop-by-hop, routing, fragment, destination options, authentication: those
//!   that `ipv6_skip_exthdr` in the kernel's `net/ipv6/exthdrs_core.c` skips, in
//!   any order, [`MAX_EXTENSIONS`] at most) and behind the authentication header
//!   of IPv4. It is `Ethertype(n)` with addresses where these headers are cut
//!   off or too many, or begin in an earlier fragment.
//! - Ports: TCP, UDP, UDP-Lite, SCTP and DCCP have them, in the first four bytes
//!   behind these headers. They are `CutOff` if fewer bytes are there, and in
//!   every fragment whose offset is not zero.
//! - No byte counts that lies behind the IPv4 total length or the IPv6 payload
//!   length (padding of the frame). A total length below the header's length and
//!   a payload length of 0 stand for packets that are longer than the field can
//!   say, or not finished: all bytes count.

mod arp;
mod ip;
mod link;
mod list;
#[cfg(test)]
pub(crate) mod samples;
mod transport;
mod tunnel;

use std::net::IpAddr;

use dropwatch_common::uapi::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6};

use self::{ip::Ip, link::Network};
pub use self::{
    ip::{Fragment, IpHeader, Ipv4Options, Ipv6Extensions, MAX_EXTENSIONS},
    link::{MacAddresses, VlanIds},
    list::List,
    transport::{Tcp, Transport},
    tunnel::Tunnel,
};

/// `ETH_P_TEB` in `include/uapi/linux/if_ether.h`: an Ethernet frame.
const ETHERTYPE_ETHERNET: u16 = 0x6558;

/// What the kernel side captured of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capture<'a> {
    /// `sk_buff.protocol`: the ethertype in host byte order, 0 where it is not
    /// known.
    pub ethertype: u16,
    /// The VLAN tag that the kernel keeps outside of the frame.
    pub vlan_tag: Option<VlanTag>,
    /// The packet from the MAC header on if that was captured, else from the
    /// network header on; possibly cut off anywhere.
    pub bytes: &'a [u8],
    /// Where the network header is in `bytes`; 0 without MAC header.
    pub network_offset: usize,
}

/// A VLAN tag, IEEE 802.1Q: `sk_buff.vlan_proto` and `sk_buff.vlan_tci`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanTag {
    /// 0x8100 or 0x88a8, in host byte order.
    pub tpid: u16,
    /// Priority, drop eligibility and, in the low 12 bits, the VLAN's id; in
    /// host byte order.
    pub tci: u16,
}

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Protocol, addresses, ports.
    pub tuple: Tuple,
    /// The IP header; `None` where there is none that can be read.
    pub ip: Option<IpHeader>,
    /// What the transport header says beyond the ports.
    pub transport: Transport,
    /// ARP's operation (RFC 826), in host byte order.
    pub arp: Part<u16>,
    /// VLANs, outermost first.
    pub vlan: VlanIds,
    /// Addresses of the Ethernet header.
    pub mac: Option<MacAddresses>,
    /// The tunnel that the packet is part of.
    pub tunnel: Option<Tunnel>,
    /// The packet in the tunnel: there if `tunnel` is.
    pub inner: Part<Tuple>,
    /// The packet that an ICMP or ICMPv6 error is about.
    pub quoted: Part<Tuple>,
}

/// Something that only some packets have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part<T> {
    /// The packet has no such thing, as far as it can be read.
    #[default]
    Absent,
    /// The packet has it, but the bytes are not there or make no sense.
    CutOff,
    /// What it says.
    Known(T),
}

impl<T> Part<T> {
    /// A part that the packet has.
    fn present(value: Option<T>) -> Self {
        value.map_or(Self::CutOff, Self::Known)
    }

    /// The part with its value changed.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Part<U> {
        match self {
            Self::Absent => Part::Absent,
            Self::CutOff => Part::CutOff,
            Self::Known(value) => Part::Known(change(value)),
        }
    }
}

/// Who sent a packet to whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    /// Innermost protocol that the headers name, not counting tunnels.
    pub protocol: Protocol,
    /// Network addresses.
    pub addresses: Option<Addresses>,
    /// Source and destination port, in host byte order.
    pub ports: Part<(u16, u16)>,
}

/// The protocol of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The kernel has not set an ethertype.
    #[default]
    Unknown,
    /// The kernel has not set an ethertype, and the packet's socket is of this
    /// address family (`AF_*` in `include/linux/socket.h`), which has none.
    Family(u16),
    /// The ethertype, in host byte order, where the packet is not IP or its IP
    /// headers can't be read up to the transport protocol's number. IEEE 802.3
    /// frames, which have a length in its place, are `ETH_P_802_2`.
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

impl Packet {
    /// Reads the headers of a packet whose socket, if there is one, is of the address
    /// family `family`.
    pub fn of(capture: &Capture<'_>, family: Option<u16>) -> Self {
        let mut packet = Self::parse(capture);
        if packet.tuple.protocol == Protocol::Unknown
            && let Some(family) = family
        {
            packet.tuple.protocol = Protocol::Family(family);
        }
        packet
    }

    /// Reads the headers of a packet.
    pub fn parse(capture: &Capture<'_>) -> Self {
        let network = link::read(capture);
        let packet = Self {
            tuple: Tuple::of_ethertype(network.ethertype),
            vlan: network.vlan,
            mac: network.mac,
            ..Self::default()
        };
        if network.ethertype == ETHERTYPE_ARP {
            return packet.with_arp(&network);
        }
        match Ip::read(network.ethertype, network.bytes) {
            Some(ip) => packet.with_ip(network.ethertype, &ip),
            None => packet,
        }
    }

    fn with_arp(mut self, network: &Network<'_>) -> Self {
        self.arp = Part::present(arp::operation(network.bytes));
        self.tuple.addresses = arp::addresses(network.bytes);
        self
    }

    fn with_ip(self, ethertype: u16, ip: &Ip<'_>) -> Self {
        let packet = Self {
            tuple: Tuple::of_ip(ethertype, ip),
            ip: Some(ip.header),
            ..self
        };
        let Some(protocol) = ip.protocol else {
            return packet;
        };
        let tunnel = tunnel::read(ethertype, protocol, ip.payload);
        Self {
            transport: Transport::read(protocol, ip.payload),
            tunnel: tunnel.map(|(tunnel, _)| tunnel),
            inner: tunnel.map_or(Part::Absent, |(_, inner)| inner),
            quoted: transport::quoted(protocol, ip.payload),
            ..packet
        }
    }
}

impl Tuple {
    /// Reads the packet inside of another one; `bytes` are those from its
    /// network header on. It counts as cut off if it is IP without a header that
    /// can be read.
    fn embedded(ethertype: u16, bytes: &[u8]) -> Part<Self> {
        match ethertype {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => {
                let ip = Ip::read(ethertype, bytes);
                Part::present(ip.map(|ip| Self::of_ip(ethertype, &ip)))
            }
            _ => Part::Known(Self::of_ethertype(ethertype)),
        }
    }

    fn of_ethertype(ethertype: u16) -> Self {
        Self {
            protocol: match ethertype {
                0 => Protocol::Unknown,
                ethertype => Protocol::Ethertype(ethertype),
            },
            ..Self::default()
        }
    }

    fn of_ip(ethertype: u16, ip: &Ip<'_>) -> Self {
        Self {
            protocol: match ip.protocol {
                Some(protocol) => Protocol::Ip(protocol.0),
                None => Protocol::Ethertype(ethertype),
            },
            addresses: Some(ip.addresses),
            ports: ip.protocol.map_or(Part::Absent, |protocol| {
                transport::ports(protocol, ip.payload)
            }),
        }
    }
}

/// The integer in network byte order at `offset`.
fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

/// As [`u16_at`].
fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
