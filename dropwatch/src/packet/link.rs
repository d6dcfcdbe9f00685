//! The Ethernet header and VLAN tags: where the packet starts.
//!
//! The kernel has two layouts for a frame whose `sk_buff.protocol` is that of a
//! VLAN. As received, or as a VLAN device without tag offload builds it
//! (`vlan_dev_hard_header` in `net/8021q/vlan_dev.c`), the network header is the
//! tag: it points right behind the tag's ethertype. Where the kernel put a tag
//! into a finished frame (`vlan_insert_tag` in `include/linux/if_vlan.h`), the
//! network header still is that of IP, behind all tags. Only the MAC header
//! tells them apart.

use dropwatch_common::uapi::{ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN};

use super::{Capture, List, u16_at};

/// Ids of VLANs, outermost first: a tag beside the frame and two in it.
pub type VlanIds = List<u16, 3>;

/// Most tags in a frame that are followed.
const MAX_TAGS: usize = 2;

/// `ETH_P_802_3` in `include/uapi/linux/if_ether.h`, as the others here: a frame with a length for an ethertype, and no LLC in it.
const ETHERTYPE_802_3: u16 = 0x0001;
/// `ETH_P_802_2`: a frame with a length for an ethertype.
const ETHERTYPE_802_2: u16 = 0x0004;
/// `ETH_P_802_3_MIN`: smaller numbers are lengths.
pub(super) const ETHERTYPE_MIN: u16 = 0x0600;

/// Source and destination of an Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddresses {
    /// The sending interface.
    pub source: [u8; 6],
    /// The interface or group that it was sent to.
    pub destination: [u8; 6],
}

/// What the link layer holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network<'a> {
    /// Ethertype of the packet, in host byte order; a VLAN's where it can't be
    /// known what is behind the tag.
    pub(super) ethertype: u16,
    /// The packet from its network header on.
    pub(super) bytes: &'a [u8],
    /// Ids of the tags in front of it.
    pub(super) vlan: VlanIds,
    /// Addresses of the Ethernet header.
    pub(super) mac: Option<MacAddresses>,
}

/// Finds the packet in what was captured.
pub(super) fn read<'a>(capture: &Capture<'a>) -> Network<'a> {
    let mut vlan = VlanIds::default();
    if let Some(tag) = capture.vlan_tag {
        vlan.push(id(tag.tci));
    }
    let network = Network {
        ethertype: capture.ethertype,
        bytes: capture
            .bytes
            .get(capture.network_offset..)
            .unwrap_or_default(),
        vlan,
        mac: None,
    };
    match MacHeader::read(capture) {
        Some(header) => network.with_mac_header(&header),
        // It can't be known which header this is.
        None if is_vlan(capture.ethertype) => network.behind_tags(0),
        None => network,
    }
}

/// Finds the packet in an Ethernet frame: ethertype and bytes from the network
/// header on.
pub(super) fn in_frame(frame: &[u8]) -> Option<(u16, &[u8])> {
    let network = Network {
        ethertype: ethertype_of(u16_at(frame, 12)?),
        bytes: frame.get(14..)?,
        vlan: VlanIds::default(),
        mac: None,
    };
    let network = network.behind_tags(MAX_TAGS);
    Some((network.ethertype, network.bytes))
}

impl<'a> Network<'a> {
    fn with_mac_header(mut self, header: &MacHeader<'a>) -> Self {
        for [_, _, high, low] in header.tags {
            self.vlan.push(id(u16::from_be_bytes([*high, *low])));
        }
        self.mac = Some(header.addresses);
        if is_vlan(self.ethertype) {
            self.ethertype = ethertype_of(header.ethertype);
        }
        self.behind_tags(MAX_TAGS.saturating_sub(header.tags.len()))
    }

    /// Follows at most `count` tags, where the network header is that of a tag.
    fn behind_tags(mut self, count: usize) -> Self {
        for _ in 0..count {
            if !is_vlan(self.ethertype) {
                break;
            }
            let Some((&[high, low], rest)) = self.bytes.split_first_chunk() else {
                break;
            };
            self.vlan.push(id(u16::from_be_bytes([high, low])));
            let Some((&[high, low], rest)) = rest.split_first_chunk() else {
                break;
            };
            self.ethertype = ethertype_of(u16::from_be_bytes([high, low]));
            self.bytes = rest;
        }
        if is_vlan(self.ethertype) {
            // There is another tag, or it can't be known whether there is.
            self.vlan.cut();
            self.bytes = &[];
        }
        self
    }
}

/// An Ethernet header that fits the rest of what was captured.
struct MacHeader<'a> {
    addresses: MacAddresses,
    /// The tags in front of the network header: TPID and TCI.
    tags: &'a [[u8; 4]],
    /// The ethertype right in front of the network header.
    ethertype: u16,
}

impl<'a> MacHeader<'a> {
    /// Reads what lies before the network header.
    ///
    /// `None` where that is no Ethernet header with at most [`MAX_TAGS`] tags, or
    /// one that does not say what `sk_buff.protocol` says: it is stale, or that
    /// of another kind of link.
    fn read(capture: &Capture<'a>) -> Option<Self> {
        let header = capture.bytes.get(..capture.network_offset)?;
        let (&[destination, source], types) = split_addresses(header)?;
        let (tags, ethertype) = types.split_last_chunk()?;
        let ethertype = u16::from_be_bytes(*ethertype);
        let (tags, []) = tags.as_chunks::<4>() else {
            return None;
        };
        let are_tags = tags
            .iter()
            .all(|[high, low, ..]| is_vlan(u16::from_be_bytes([*high, *low])));
        let outermost = u16_at(types, 0)?;
        let is_same = match capture.ethertype {
            0 => false,
            ETHERTYPE_802_2 | ETHERTYPE_802_3 => ethertype < ETHERTYPE_MIN,
            it => it == ethertype || (it == outermost && is_vlan(it)),
        };
        (are_tags && tags.len() <= MAX_TAGS && is_same).then_some(Self {
            addresses: MacAddresses {
                source,
                destination,
            },
            tags,
            ethertype,
        })
    }
}

/// The two addresses at the start of an Ethernet header, and the rest of it.
fn split_addresses(header: &[u8]) -> Option<(&[[u8; 6]; 2], &[u8])> {
    let (addresses, rest) = header.split_first_chunk::<12>()?;
    let (addresses, _) = addresses.as_chunks();
    Some((addresses.first_chunk()?, rest))
}

/// Whether a tag follows (`eth_type_vlan` in `include/linux/if_vlan.h`).
fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN)
}

/// The ethertype that the kernel gives a frame with this in its place
/// (`eth_type_trans` in `net/ethernet/eth.c`).
fn ethertype_of(field: u16) -> u16 {
    if field < ETHERTYPE_MIN {
        ETHERTYPE_802_2
    } else {
        field
    }
}

/// `VLAN_VID_MASK` in `include/linux/if_vlan.h`.
fn id(tci: u16) -> u16 {
    tci & 0x0fff
}
