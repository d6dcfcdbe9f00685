//! What a packet starts with in a file: its link type.
//!
//! - An Ethernet header, where the record has one that fits the rest of it: the frame, as
//!   it was or would have been on the wire. A VLAN tag that the kernel keeps beside it is
//!   put back, as libpcap does.
//! - IP without such a header: from the IP header on.
//! - Anything else has nothing in it that says what it is, so it gets a Linux cooked
//!   header (`LINKTYPE_LINUX_SLL`), which holds what the kernel keeps beside the packet:
//!   ethertype and packet type. So does IP with a tag beside it.

use dropwatch_common::uapi::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN,
};

use super::Way;
use crate::{
    packet::{MacAddresses, VlanTag},
    record::{DropRecord, PacketBytes},
};

/// Bytes of the two addresses at the start of an Ethernet header.
const ADDRESSES: usize = 12;
/// Bytes of an Ethernet header without tags.
const ETHERNET_HEADER: usize = 14;
/// Smaller numbers in the place of an ethertype are lengths, `ETH_P_802_3_MIN` in
/// `include/uapi/linux/if_ether.h`.
const ETHERTYPE_MIN: u16 = 0x0600;
/// `ETH_P_802_2`, likewise: an LLC header follows.
const ETHERTYPE_802_2: u16 = 0x0004;
/// `PACKET_OUTGOING` in `include/uapi/linux/if_packet.h`.
const PACKET_OUTGOING: u8 = 4;
/// `ARPHRD_ETHER` in `include/uapi/linux/if_arp.h`.
const ARPHRD_ETHER: u16 = 1;
/// `ARPHRD_VOID`, likewise: "void type, nothing is known".
const ARPHRD_VOID: u16 = 0xffff;

/// What packets of an interface start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LinkType {
    /// An Ethernet header.
    Ethernet,
    /// An IP header.
    Ip,
    /// A Linux cooked header.
    Cooked,
}

impl LinkType {
    /// The number of `LINKTYPE_ETHERNET`, `LINKTYPE_RAW` or `LINKTYPE_LINUX_SLL`
    /// (tcpdump.org's list of link types).
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Ethernet => 1,
            Self::Ip => 101,
            Self::Cooked => 113,
        }
    }
}

/// How a packet is written.
struct Layout {
    link: LinkType,
    /// How many of the captured bytes are not written as they are.
    skipped: usize,
}

/// Replaces `frame` by the packet of `record`, all that was captured of it, and returns
/// what it starts with and how many bytes it had in all.
pub(super) fn write(
    record: &DropRecord<'_>,
    is_cooked: bool,
    frame: &mut Vec<u8>,
) -> (LinkType, u32) {
    frame.clear();
    let bytes = record.bytes.unwrap_or(NOTHING);
    let Layout { link, skipped } = match record.packet.mac {
        Some(_) if !is_cooked => ethernet(&bytes, frame),
        None if !is_cooked && is_ip(bytes.ethertype) && bytes.vlan_tag.is_none() => Layout {
            link: LinkType::Ip,
            skipped: bytes.network_offset,
        },
        mac => cooked(record, &bytes, mac.as_ref(), frame),
    };
    let captured = bytes.head.len() + bytes.tail.len();
    let original = bytes.original_len.unwrap_or(captured as u32) as usize;
    let skipped = skipped.min(bytes.head.len());
    let original = original.max(captured) - skipped + frame.len();
    frame.extend_from_slice(bytes.head.get(skipped..).unwrap_or_default());
    frame.extend_from_slice(bytes.tail);
    (link, u32::try_from(original).unwrap_or(u32::MAX))
}

/// A packet that could not be looked at.
const NOTHING: PacketBytes<'static> = PacketBytes {
    head: &[],
    tail: &[],
    network_offset: 0,
    original_len: None,
    ethertype: 0,
    vlan_tag: None,
    pkt_type: None,
};

/// Begins an Ethernet frame, up to where its bytes go on unchanged.
fn ethernet(bytes: &PacketBytes<'_>, frame: &mut Vec<u8>) -> Layout {
    let addresses = bytes.head.get(..ADDRESSES).unwrap_or_default();
    let skipped = match bytes.vlan_tag {
        Some(VlanTag { tpid, tci }) => {
            frame.extend_from_slice(addresses);
            frame.extend_from_slice(&tpid.to_be_bytes());
            frame.extend_from_slice(&tci.to_be_bytes());
            addresses.len()
        }
        None => 0,
    };
    Layout {
        link: LinkType::Ethernet,
        skipped,
    }
}

/// Begins a packet with a Linux cooked header, `mac` being the addresses of its own.
fn cooked(
    record: &DropRecord<'_>,
    bytes: &PacketBytes<'_>,
    mac: Option<&MacAddresses>,
    frame: &mut Vec<u8>,
) -> Layout {
    let mut address = [0; 8];
    let (hardware, address_len, skipped, ethertype) = match mac {
        Some(mac) => {
            address[..mac.source.len()].copy_from_slice(&mac.source);
            let field = bytes.head.get(ADDRESSES..).and_then(<[u8]>::first_chunk);
            let field = field.map_or(0, |field| u16::from_be_bytes(*field));
            (ARPHRD_ETHER, mac.source.len(), ETHERNET_HEADER, field)
        }
        // Only a MAC header tells whether a tag is next, or has been passed already.
        None if is_vlan(bytes.ethertype) => (ARPHRD_VOID, 0, bytes.network_offset, 0),
        None => (ARPHRD_VOID, 0, bytes.network_offset, bytes.ethertype),
    };
    let protocol = match bytes.vlan_tag {
        Some(VlanTag { tpid, .. }) => tpid,
        None if mac.is_some() && ethertype < ETHERTYPE_MIN => ETHERTYPE_802_2,
        None => ethertype,
    };
    for word in [
        packet_type(record, bytes).into(),
        hardware,
        address_len as u16,
    ] {
        frame.extend_from_slice(&word.to_be_bytes());
    }
    frame.extend_from_slice(&address);
    frame.extend_from_slice(&protocol.to_be_bytes());
    if let Some(VlanTag { tci, .. }) = bytes.vlan_tag {
        frame.extend_from_slice(&tci.to_be_bytes());
        frame.extend_from_slice(&ethertype.to_be_bytes());
    }
    Layout {
        link: LinkType::Cooked,
        skipped,
    }
}

/// The kernel's packet type, as a packet socket would have it of a packet that is sent.
fn packet_type(record: &DropRecord<'_>, bytes: &PacketBytes<'_>) -> u8 {
    match Way::of(record) {
        Some(Way::Out) => PACKET_OUTGOING,
        _ => bytes.pkt_type.unwrap_or(0),
    }
}

fn is_ip(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_IPV4 | ETHERTYPE_IPV6)
}

/// As `eth_type_vlan` in `include/linux/if_vlan.h`.
fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN)
}
