use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::{collection::vec, prelude::*};

use super::*;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// A header between that of IP and that of the transport protocol.
#[derive(Clone, Debug)]
struct Extension {
    number: u8,
    /// Room for options, in units that the protocol counts in.
    units: u8,
    /// Only of a fragment: where it lies and whether more follow.
    offset: u16,
    more: bool,
}

impl Extension {
    fn bytes(&self, next: u8) -> Vec<u8> {
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

    fn is_later_fragment(&self) -> bool {
        self.number == FRAGMENT && self.offset > 0
    }
}

/// A packet that is in order, and what it says.
#[derive(Clone, Debug)]
struct Sample {
    ethertype: u16,
    bytes: Vec<u8>,
    expected: Packet,
}

/// What a header says if it is wholly there.
fn transport(protocol: u8, header: &[u8]) -> Transport {
    let ports = (header.len() >= 4).then(|| {
        let port = |at: usize| u16::from(header[at]) << 8 | u16::from(header[at + 1]);
        (port(0), port(2))
    });
    match protocol {
        6 => Transport::Tcp {
            ports,
            flags: (header.len() >= 14).then(|| header[13]),
        },
        17 | 132 | 136 => Transport::Ports { ports },
        1 | 58 => Transport::Icmp {
            type_code: (header.len() >= 2).then(|| (header[0], header[1])),
        },
        _ => Transport::None,
    }
}

fn protocol() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![1, 2, 6, 17, 47, 50, 58, 59, 132, 136, 253])
}

fn extension() -> impl Strategy<Value = Extension> {
    let number = prop::sample::select(vec![
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

prop_compose! {
    fn ipv6()(
        hop_by_hop in prop::option::of(0..3_u8),
        mut extensions in vec(extension(), 0..4),
        protocol in protocol(),
        payload in vec(any::<u8>(), 0..24),
        addresses in any::<[[u8; 16]; 2]>(),
    ) -> Sample {
        if let Some(units) = hop_by_hop {
            let number = HOP_BY_HOP;
            extensions.insert(0, Extension { number, units, offset: 0, more: false });
        }
        let mut numbers: Vec<u8> = extensions.iter().map(|it| it.number).collect();
        numbers.push(protocol);
        let mut rest = Vec::new();
        for (extension, next) in extensions.iter().zip(&numbers[1..]) {
            rest.extend(extension.bytes(*next));
        }
        rest.extend_from_slice(&payload);
        let [high, low] = (rest.len() as u16).to_be_bytes();
        let mut bytes = vec![0x60, 0, 0, 0, high, low, numbers[0], 64];
        bytes.extend(addresses.concat());
        bytes.extend(rest);

        let later = extensions.iter().position(Extension::is_later_fragment);
        let is_last = later.is_none_or(|at| at + 1 == extensions.len());
        let header: &[u8] = if later.is_some() { &[] } else { &payload };
        let [source, destination] = addresses.map(|address| Ipv6Addr::from(address).into());
        Sample {
            ethertype: 0x86dd,
            bytes,
            expected: Packet {
                protocol: if is_last {
                    Protocol::Ip(protocol)
                } else {
                    Protocol::Ethertype(0x86dd)
                },
                addresses: Some(Addresses { source, destination }),
                transport: if is_last { transport(protocol, header) } else { Transport::None },
            },
        }
    }
}

prop_compose! {
    fn ipv4()(
        options in 0..=10_u8,
        fragment in extension(),
        authentication in prop::option::of(0..3_u8),
        protocol in protocol(),
        payload in vec(any::<u8>(), 0..24),
        padding in 0..30_usize,
        addresses in any::<[[u8; 4]; 2]>(),
    ) -> Sample {
        let authentication = authentication.map(|units| {
            let number = AUTHENTICATION;
            Extension { number, units, offset: 0, more: false }.bytes(protocol)
        });
        let first = if authentication.is_some() { AUTHENTICATION } else { protocol };
        let mut rest = authentication.clone().unwrap_or_default();
        rest.extend_from_slice(&payload);
        let header_len = 20 + usize::from(options) * 4;
        let [high, low] = ((header_len + rest.len()) as u16).to_be_bytes();
        let [flags, offset] = (u16::from(fragment.more) << 13 | fragment.offset).to_be_bytes();
        let mut bytes =
            vec![0x45 + options, 0, high, low, 0, 0, flags, offset, 64, first, 0, 0];
        bytes.extend(addresses.concat());
        bytes.resize(header_len, 1);
        bytes.extend(rest);
        // What Ethernet adds to short packets is none of theirs.
        bytes.resize(bytes.len() + padding, 0x11);

        let is_later = fragment.offset > 0;
        let is_known = !(is_later && authentication.is_some());
        let header: &[u8] = if is_later { &[] } else { &payload };
        let [source, destination] = addresses.map(|address| Ipv4Addr::from(address).into());
        Sample {
            ethertype: 0x0800,
            bytes,
            expected: Packet {
                protocol: if is_known {
                    Protocol::Ip(protocol)
                } else {
                    Protocol::Ethertype(0x0800)
                },
                addresses: Some(Addresses { source, destination }),
                transport: if is_known { transport(protocol, header) } else { Transport::None },
            },
        }
    }
}

/// Whether `part` says nothing but what `whole` says.
fn is_part<T: PartialEq>(part: Option<T>, whole: Option<T>) -> bool {
    part.is_none() || part == whole
}

/// Whether the start of a packet is taken for nothing else than the packet.
fn agrees(part: Packet, whole: Packet, ethertype: u16) -> bool {
    let protocol =
        part.protocol == whole.protocol || part.protocol == Protocol::Ethertype(ethertype);
    let transport = match (part.transport, whole.transport) {
        (Transport::None, _) => true,
        (Transport::Ports { ports }, Transport::Ports { ports: all }) => is_part(ports, all),
        (
            Transport::Tcp { ports, flags },
            Transport::Tcp {
                ports: all_ports,
                flags: all_flags,
            },
        ) => is_part(ports, all_ports) && is_part(flags, all_flags),
        (Transport::Icmp { type_code }, Transport::Icmp { type_code: all }) => {
            is_part(type_code, all)
        }
        _ => false,
    };
    protocol && transport && is_part(part.addresses, whole.addresses)
}

/// The data of a later fragment that looks like an extension header longer than
/// what there is: etherparse's iterator would read past the end of the bytes.
#[test]
fn a_later_fragment_is_not_read_beyond_its_end() {
    let mut bytes = vec![0x60, 0, 0, 0, 0, 16, FRAGMENT, 64];
    bytes.resize(40, 0);
    let later = Extension {
        number: FRAGMENT,
        units: 0,
        offset: 100,
        more: false,
    };
    for next in [
        HOP_BY_HOP,
        ROUTING,
        FRAGMENT,
        AUTHENTICATION,
        DESTINATION_OPTIONS,
    ] {
        let mut bytes = bytes.clone();
        bytes.extend(later.bytes(next));
        bytes.extend([17, 255, 0, 0, 0, 0, 0, 0]);
        for len in 0..=bytes.len() {
            let packet = Packet::parse(0x86dd, &bytes[..len]);
            assert_eq!(packet.protocol, Protocol::Ethertype(0x86dd));
            assert_eq!(packet.addresses.is_some(), len >= 40);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_is_invented(sample in prop_oneof![ipv4(), ipv6()]) {
        let Sample { ethertype, bytes, expected } = sample;
        prop_assert_eq!(Packet::parse(ethertype, &bytes), expected);
        for len in 0..bytes.len() {
            let part = Packet::parse(ethertype, &bytes[..len]);
            prop_assert!(agrees(part, expected, ethertype), "{len} bytes give {part:?}");
        }
    }

    #[test]
    fn random_bytes_are_no_reason_to_panic(
        ethertype in prop_oneof![Just(0x0800), Just(0x86dd), any::<u16>()],
        first in prop_oneof![Just(0x45), Just(0x60), any::<u8>()],
        next in prop_oneof![Just(FRAGMENT), any::<u8>()],
        mut bytes in vec(any::<u8>(), 0..=96),
    ) {
        if let [start, _, _, _, _, _, number, ..] = bytes.as_mut_slice() {
            (*start, *number) = (first, next);
        }
        let whole = Packet::parse(ethertype, &bytes);
        for len in 0..bytes.len() {
            let part = Packet::parse(ethertype, &bytes[..len]);
            prop_assert!(ethertype == 0 || agrees(part, whole, ethertype));
        }
        let is_ip = matches!((ethertype, bytes.first()), (0x0800, Some(0x40..=0x4f)) | (0x86dd, Some(0x60..=0x6f)));
        prop_assert!(is_ip || whole.addresses.is_none());
    }
}
