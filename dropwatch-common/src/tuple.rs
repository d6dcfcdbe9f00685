//! What the filters of the kernel side need to know of a packet: protocol,
//! addresses, ports, as the columns of the line show them.
//!
//! Written so that both sides can run it: in the kernel it decides the filters,
//! in user space the tests hold it against what the line shows.

use crate::uapi::{
    self, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN,
};

/// Where the bytes of a packet come from.
pub trait Bytes {
    /// The `N` bytes at `at`, `None` unless all of them were captured.
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]>;
}

/// The columns of the line, as numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    /// Source address, IPv4 as mapped IPv6 (RFC 4291, 2.5.5.2); means something
    /// only with `has_addresses`.
    pub source: [u8; 16],
    /// Destination address, likewise.
    pub destination: [u8; 16],
    /// Ethertype in host byte order, behind VLAN tags; 0 where unknown.
    pub ethertype: u16,
    /// Source port in host byte order; means something only with `has_ports`.
    pub source_port: u16,
    /// Destination port, likewise.
    pub destination_port: u16,
    /// Version of the IP header, 0 where there is none that can be read.
    pub version: u8,
    /// Whether the addresses are known: of IP, or of ARP.
    pub has_addresses: bool,
    /// Whether they are those of IPv4.
    pub is_ipv4: bool,
    /// Whether the IP protocol is known.
    pub has_protocol: bool,
    /// IP protocol, behind IPv6 extension headers.
    pub protocol: u8,
    /// Whether the protocol has ports and they were captured.
    pub has_ports: bool,
}

/// Most extension headers that are followed. A packet in order has seven at most
/// (RFC 8200, 4.1).
pub const MAX_EXTENSIONS: u32 = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// ARP for IPv4 over Ethernet (RFC 826): hardware type 1, protocol type IPv4,
/// addresses of 6 and 4 bytes.
const ARP_IPV4_ETHERNET: [u8; 6] = [0, 1, 8, 0, 6, 4];

#[inline(always)]
const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN)
}

/// Where the rest of a packet is: no byte counts that lies behind `end`.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    at: u32,
    end: u32,
}

/// How far the headers between the IP header and the transport header were
/// followed.
///
/// Kept in memory from header to header, where the verifier does not know values:
/// all headers but the first then look the same to it, and it looks at one of them
/// in place of every way to get to the last one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    rest: Rest,
    /// Number of the next header.
    next: u8,
    is_later_fragment: bool,
}

impl Rest {
    #[inline(always)]
    fn read<const N: usize, B: Bytes>(self, bytes: &B) -> Option<[u8; N]> {
        if self.at > self.end || self.end - self.at < N as u32 {
            return None;
        }
        bytes.read(self.at)
    }
}

impl Tuple {
    /// Reads the tuple of a packet.
    ///
    /// `ethertype` is `sk_buff.protocol` in host byte order, and the network
    /// header is at `network_offset` of `bytes`, behind a link-layer header if
    /// that is not 0. `progress` is room to work in, outside of the stack.
    #[inline(always)]
    pub fn read<B: Bytes>(
        &mut self,
        bytes: &B,
        ethertype: u16,
        network_offset: u32,
        progress: &mut Progress,
    ) {
        self.ethertype = ethertype;
        self.version = 0;
        self.has_addresses = false;
        self.is_ipv4 = false;
        self.has_protocol = false;
        self.has_ports = false;
        let at = self.skip_vlan_tags(bytes, network_offset);
        match self.ethertype {
            ETHERTYPE_IPV4 => self.read_ipv4(bytes, at, progress),
            ETHERTYPE_IPV6 => self.read_ipv6(bytes, at, progress),
            ETHERTYPE_ARP => self.read_arp(bytes, at),
            _ => {}
        }
    }

    /// Where the header of [`Tuple::ethertype`] is, behind tags in the frame. The
    /// ethertype stays a VLAN's where that can't be known.
    #[inline(always)]
    fn skip_vlan_tags<B: Bytes>(&mut self, bytes: &B, network_offset: u32) -> u32 {
        if !is_vlan(self.ethertype) {
            return network_offset;
        }
        // Tags that were put in front of the network header.
        let tags = match network_offset {
            14 => 0,
            18 => 1,
            22 => 2,
            _ => return network_offset,
        };
        let Some(innermost) = bytes.read(network_offset - 2) else {
            return network_offset;
        };
        let innermost = u16::from_be_bytes(innermost);
        let outermost = ethertype_at(bytes, 12);
        let are_tags =
            (tags < 1 || is_vlan(outermost)) && (tags < 2 || is_vlan(ethertype_at(bytes, 16)));
        // A header that says something else is stale, or that of another link.
        let is_same = self.ethertype == innermost || self.ethertype == outermost;
        if !are_tags || !is_same {
            return network_offset;
        }
        self.follow_tags(bytes, innermost, network_offset, 2 - tags)
    }

    /// Follows at most `count` tags from the network header on, the first one of
    /// which is of the type `ethertype`.
    #[inline(always)]
    fn follow_tags<B: Bytes>(
        &mut self,
        bytes: &B,
        ethertype: u16,
        network_offset: u32,
        count: u32,
    ) -> u32 {
        self.ethertype = ethertype_of(ethertype);
        let mut at = network_offset;
        for tag in 0..2 {
            if tag < count
                && is_vlan(self.ethertype)
                && let Some([_, _, high, low]) = bytes.read(at)
            {
                self.ethertype = ethertype_of(u16::from_be_bytes([high, low]));
                at += 4;
            }
        }
        at
    }

    #[inline(always)]
    fn read_ipv4<B: Bytes>(&mut self, bytes: &B, at: u32, progress: &mut Progress) {
        let Some(header) = bytes.read::<20>(at) else {
            return;
        };
        let header_len = u32::from(header[0] & 0xf) * 4;
        // The whole header has to be there, options included.
        let is_whole = header_len >= 20 && bytes.read::<1>(at + header_len - 1).is_some();
        if header[0] >> 4 != 4 || !is_whole {
            return;
        }
        self.version = 4;
        self.has_addresses = true;
        self.is_ipv4 = true;
        self.source = mapped([header[12], header[13], header[14], header[15]]);
        self.destination = mapped([header[16], header[17], header[18], header[19]]);
        let total_len = u32::from(u16::from_be_bytes([header[2], header[3]]));
        let is_later_fragment = header[6] & 0x1f != 0 || header[7] != 0;
        let rest = Rest {
            at: at + header_len,
            // A length below the header's stands for one that the field can't say.
            end: if total_len < header_len {
                u32::MAX
            } else {
                at + total_len
            },
        };
        *progress = Progress {
            rest,
            next: header[9],
            is_later_fragment,
        };
        self.follow_extensions(bytes, progress, false);
    }

    #[inline(always)]
    fn read_ipv6<B: Bytes>(&mut self, bytes: &B, at: u32, progress: &mut Progress) {
        let Some(header) = bytes.read::<8>(at) else {
            return;
        };
        if header[0] >> 4 != 6 {
            return;
        }
        match bytes.read(at + 8) {
            Some(source) => self.source = source,
            None => return,
        }
        match bytes.read(at + 24) {
            Some(destination) => self.destination = destination,
            None => return,
        }
        self.version = 6;
        self.has_addresses = true;
        let payload_len = u32::from(u16::from_be_bytes([header[4], header[5]]));
        let rest = Rest {
            at: at + 40,
            end: if payload_len == 0 {
                u32::MAX
            } else {
                at + 40 + payload_len
            },
        };
        *progress = Progress {
            rest,
            next: header[6],
            is_later_fragment: false,
        };
        self.follow_extensions(bytes, progress, true);
    }

    #[inline(always)]
    fn read_arp<B: Bytes>(&mut self, bytes: &B, at: u32) {
        let Some(header) = bytes.read::<6>(at) else {
            return;
        };
        // Operation and the sender's hardware address lie between.
        let (Some(sender), Some(target)) = (bytes.read(at + 14), bytes.read(at + 24)) else {
            return;
        };
        if header == ARP_IPV4_ETHERNET {
            self.has_addresses = true;
            self.is_ipv4 = true;
            self.source = mapped(sender);
            self.destination = mapped(target);
        }
    }

    /// Follows the headers between the IP header and the transport header.
    #[inline(always)]
    fn follow_extensions<B: Bytes>(&mut self, bytes: &B, progress: &mut Progress, is_ipv6: bool) {
        for count in 0..=MAX_EXTENSIONS {
            // SAFETY: a reference is valid. Volatile, for the compiler would keep the
            // values in registers.
            let Progress {
                rest,
                next,
                is_later_fragment,
            } = unsafe { core::ptr::from_ref(progress).read_volatile() };
            let is_extension = next == AUTHENTICATION
                || is_ipv6 && matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS);
            if !is_extension {
                self.set_protocol(next);
                if !is_later_fragment {
                    self.read_ports(bytes, rest);
                }
                return;
            }
            // The header is in the first fragment, or there are too many.
            if is_later_fragment || count == MAX_EXTENSIONS {
                return;
            }
            let Some(following) = behind_extension(bytes, next, rest) else {
                return;
            };
            // SAFETY: as above.
            unsafe { core::ptr::from_mut(progress).write_volatile(following) };
        }
    }

    #[inline(always)]
    fn set_protocol(&mut self, protocol: u8) {
        self.protocol = protocol;
        self.has_protocol = true;
    }

    #[inline(always)]
    fn read_ports<B: Bytes>(&mut self, bytes: &B, rest: Rest) {
        if uapi::has_ports(self.protocol)
            && let Some([a, b, c, d]) = rest.read(bytes)
        {
            self.source_port = u16::from_be_bytes([a, b]);
            self.destination_port = u16::from_be_bytes([c, d]);
            self.has_ports = true;
        }
    }
}

/// What follows an extension header of the number `number`, `None` unless all of
/// the header is there.
#[inline(always)]
fn behind_extension<B: Bytes>(bytes: &B, number: u8, rest: Rest) -> Option<Progress> {
    let [next, len] = rest.read(bytes)?;
    let len = match number {
        FRAGMENT => 8,
        AUTHENTICATION => (u32::from(len) + 2) * 4,
        _ => (u32::from(len) + 1) * 8,
    };
    let last = Rest {
        at: rest.at + len - 1,
        ..rest
    };
    let [_last] = last.read(bytes)?;
    let is_later_fragment = number == FRAGMENT
        && matches!(rest.read(bytes), Some([_, _, high, low])
            if u16::from_be_bytes([high, low]) >> 3 != 0);
    Some(Progress {
        rest: Rest {
            at: rest.at + len,
            ..rest
        },
        next,
        is_later_fragment,
    })
}

/// The two bytes at `at`, 0 where they were not captured.
#[inline(always)]
fn ethertype_at<B: Bytes>(bytes: &B, at: u32) -> u16 {
    match bytes.read(at) {
        Some(bytes) => u16::from_be_bytes(bytes),
        None => 0,
    }
}

/// The ethertype that the kernel gives a frame with this in its place
/// (`eth_type_trans` in `net/ethernet/eth.c`): `ETH_P_802_2` for a length.
#[inline(always)]
const fn ethertype_of(field: u16) -> u16 {
    if field < 0x0600 { 0x0004 } else { field }
}

/// An IPv4 address as mapped IPv6 address.
#[must_use]
#[inline(always)]
pub const fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
