//! Packets for property tests, here and in the formats.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{Capture, VlanTag};

pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const AUTHENTICATION: u8 = 51;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;

/// A header between that of IP and that of the transport protocol.
#[derive(Clone, Debug)]
pub(crate) struct Extension {
    pub(crate) number: u8,
    /// Room for options, in units that the protocol counts in.
    pub(crate) units: u8,
    /// Only of a fragment: where it lies and whether more follow.
    pub(crate) offset: u16,
    pub(crate) more: bool,
}

impl Extension {
    pub(crate) fn bytes(&self, next: u8) -> Vec<u8> {
        match self.number {
            FRAGMENT => {
                let [high, low] = (self.offset << 3 | u16::from(self.more)).to_be_bytes();
                vec![next, 0, high, low, 0, 0, 0, 1]
            }
            // Counted in words of 4 bytes, two of them not counted.
            AUTHENTICATION => {
                let mut bytes = vec![FRAGMENT; 12 + usize::from(self.units) * 4];
                bytes[..2].copy_from_slice(&[next, 1 + self.units]);
                bytes
            }
            // The content is such that it makes sense as a header, too.
            _ => {
                let mut bytes = vec![FRAGMENT; 8 + usize::from(self.units) * 8];
                bytes[..2].copy_from_slice(&[next, self.units]);
                bytes
            }
        }
    }

    pub(crate) fn is_later_fragment(&self) -> bool {
        self.number == FRAGMENT && self.offset > 0
    }
}

pub(crate) fn extension() -> impl Strategy<Value = Extension> {
    let number = select(vec![
        ROUTING,
        FRAGMENT,
        FRAGMENT,
        AUTHENTICATION,
        DESTINATION_OPTIONS,
    ]);
    let offset = prop_oneof![Just(0), 0..8192_u16];
    (number, 0..3_u8, offset, any::<bool>()).prop_map(|(number, units, offset, more)| Extension {
        number,
        units,
        offset,
        more,
    })
}

/// An IPv4 packet; `options` are whole words, `fragment` is the header's field.
pub(crate) fn ipv4(protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let [high, low] = ((header_len + payload.len()) as u16).to_be_bytes();
    let [flags, offset] = fragment.to_be_bytes();
    let words = 0x40 | (header_len / 4) as u8;
    let header = [words, 0, high, low, 0, 1, flags, offset, 64, protocol, 0, 0];
    let addresses = [10, 0, 0, 1, 10, 0, 0, 2];
    [&header, &addresses[..], options, payload].concat()
}

/// An IPv6 packet whose payload starts with a header of the number `next`.
pub(crate) fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, high, low, next, 64];
    for last in [1, 2] {
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    [&bytes, payload].concat()
}

/// A UDP datagram.
pub(crate) fn udp(destination: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = destination.to_be_bytes();
    [&[0x9b, 0xc1, high, low, 0, 0, 0, 0], payload].concat()
}

/// An Ethernet frame with tags (TPID and TCI).
pub(crate) fn frame(tags: &[[u16; 2]], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for field in tags.as_flattened().iter().chain([&ethertype]) {
        bytes.extend(field.to_be_bytes());
    }
    [&bytes, packet].concat()
}

/// What the kernel side captured, and more than it would.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) ethertype: u16,
    pub(crate) vlan_tag: Option<VlanTag>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) network_offset: usize,
}

impl Sample {
    /// The first `len` bytes.
    pub(crate) fn start(&self, len: usize) -> Capture<'_> {
        Capture {
            bytes: &self.bytes[..len],
            ..self.capture()
        }
    }

    pub(crate) fn capture(&self) -> Capture<'_> {
        Capture {
            ethertype: self.ethertype,
            vlan_tag: self.vlan_tag,
            bytes: &self.bytes,
            network_offset: self.network_offset,
        }
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..24)
}

/// Number and bytes of a transport header without a packet inside.
fn leaf() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let any_protocol = select(vec![1, 2, 6, 17, 33, 47, 50, 58, 59, 132, 136, 253]);
    prop_oneof![
        (any_protocol, bytes()),
        (Just(6), vec(any::<u8>(), 20)),
        (select(vec![1, 58]), vec(any::<u8>(), 8)),
    ]
}

/// Number and bytes of a transport header with a packet inside, `inner`.
fn carrier(inner: impl Strategy<Value = (u16, Vec<u8>)>) -> impl Strategy<Value = (u8, Vec<u8>)> {
    (inner, any::<[u8; 4]>(), 0..8_u8).prop_map(|((ethertype, packet), [a, b, c, d], kind)| {
        let is_ipv4 = ethertype == 0x0800;
        let inner_frame = frame(&[], ethertype, &packet);
        let [high, low] = ethertype.to_be_bytes();
        match kind {
            0 => (if is_ipv4 { 4 } else { 41 }, packet),
            1 => {
                let kind = if is_ipv4 { 3 + a % 3 } else { 1 + a % 4 };
                let error = [&[kind, b % 4, 0, 0, 0, 0, 0, 0], &packet[..]].concat();
                (if is_ipv4 { 1 } else { 58 }, error)
            }
            2 => {
                let header = [0x08, 0, 0, 0, a, b, c, 0];
                let port = if d > 127 { 4789 } else { 8472 };
                (17, udp(port, &[&header, &inner_frame[..]].concat()))
            }
            3 => {
                let options = vec![d; usize::from(d % 4) * 4];
                let header = [d % 4, 0x40, 0x65, 0x58, a, b, c, 0];
                let header = [&header, &options[..], &inner_frame].concat();
                (17, udp(6081, &header))
            }
            4 => {
                let header = [0, 0, high, low, a, b, c, 0];
                (17, udp(6081, &[&header, &packet[..]].concat()))
            }
            _ => {
                let fields = vec![d; (a >> 4 & 0xb).count_ones() as usize * 4];
                let header = [a & 0xb0, 0, high, low];
                (47, [&header, &fields[..], &packet].concat())
            }
        }
    })
}

/// A packet with its ethertype and `depth` packets inside, at most.
fn packet(depth: usize) -> BoxedStrategy<(u16, Vec<u8>)> {
    let transport = match depth {
        0 => leaf().boxed(),
        _ => prop_oneof![leaf(), carrier(packet(depth - 1))].boxed(),
    };
    let fragment = prop_oneof![4 => Just(0), 1 => select(vec![0x2000, 0x20b9, 0x00b9])];
    let options = prop_oneof![
        Just(vec![]),
        Just(vec![148, 4, 0, 0]),
        Just(vec![1, 7, 7, 4, 0, 0, 0, 0]),
        vec(any::<u8>(), 8),
    ];
    let over_ipv4 = (
        transport.clone(),
        fragment,
        options,
        prop::option::of(0..3_u8),
    )
        .prop_map(|((protocol, payload), fragment, options, authentication)| {
            let packet = match authentication {
                None => ipv4(protocol, fragment, &options, &payload),
                Some(units) => {
                    let (number, more) = (AUTHENTICATION, false);
                    let header = Extension {
                        number,
                        units,
                        offset: 0,
                        more,
                    }
                    .bytes(protocol);
                    ipv4(number, fragment, &options, &[header, payload].concat())
                }
            };
            (0x0800, packet)
        });
    let over_ipv6 =
        (transport, vec(extension(), 0..4)).prop_map(|((protocol, mut payload), extensions)| {
            let mut next = protocol;
            for extension in extensions.iter().rev() {
                payload = [extension.bytes(next), payload].concat();
                next = extension.number;
            }
            (0x86dd, ipv6(next, &payload))
        });
    let arp = (1..12_u8).prop_map(|operation| {
        let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation];
        packet.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        (0x0806, packet)
    });
    let other = (select(vec![0x0004, 0x88cc, 0x88b5, 0]), bytes());
    prop_oneof![4 => over_ipv4, 4 => over_ipv6, 1 => arp, 1 => other].boxed()
}

/// A packet in order, as the kernel holds it.
pub(crate) fn sample() -> impl Strategy<Value = Sample> {
    let tag = || prop_oneof![Just(0x8100_u16), Just(0x88a8)].prop_map(|tpid| [tpid, 100]);
    let vlan_tag = prop::option::of(any::<u16>().prop_map(|tci| VlanTag { tpid: 0x8100, tci }));
    let padding = 0..20_usize;
    (packet(2), vec(tag(), 0..=3), vlan_tag, 0..5_u8, padding).prop_map(
        |((ethertype, packet), tags, vlan_tag, layout, padding)| {
            let of_frame = frame(&tags, ethertype, &packet);
            let first = tags.first().map_or(ethertype, |[tpid, _]| *tpid);
            let behind_tags = 14 + tags.len() * 4;
            let (ethertype, mut bytes, network_offset) = match layout {
                // No MAC header.
                0 => (ethertype, packet, 0),
                1 => (first, of_frame[14..].to_vec(), 0),
                // The network header is the first tag.
                2 => (first, of_frame, 14),
                // It is the packet's.
                3 => (first, of_frame, behind_tags),
                _ => (ethertype, of_frame, behind_tags),
            };
            bytes.resize(bytes.len() + padding, 0x11);
            Sample {
                ethertype,
                vlan_tag,
                bytes,
                network_offset,
            }
        },
    )
}

/// A packet that is out of order somewhere, or no packet at all.
pub(crate) fn garbled() -> impl Strategy<Value = Sample> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let changed = (sample(), vec(change, 1..6)).prop_map(|(mut sample, changes)| {
        for (place, byte) in changes {
            if let Some(place) = sample.bytes.get_mut(place.index(usize::MAX) % 160) {
                *place = byte;
            }
        }
        sample
    });
    let ethertype = prop_oneof![
        select(vec![0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 1, 4]),
        any::<u16>(),
    ];
    let network_offset = prop_oneof![select(vec![0, 14, 18, 22]), 0..170_usize, any::<usize>()];
    let tag = prop::option::of(any::<(u16, u16)>());
    let random = (ethertype, tag, vec(any::<u8>(), 0..160), network_offset).prop_map(
        |(ethertype, tag, bytes, network_offset)| Sample {
            ethertype,
            vlan_tag: tag.map(|(tpid, tci)| VlanTag { tpid, tci }),
            bytes,
            network_offset,
        },
    );
    prop_oneof![3 => changed, 1 => random]
}
