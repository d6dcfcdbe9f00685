mod layouts;

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::{collection::vec, prelude::*};

use super::{samples::*, *};

/// What a packet without MAC header says.
fn parse(ethertype: u16, bytes: &[u8]) -> Packet {
    Packet::parse(&Capture {
        ethertype,
        bytes,
        ..Capture::default()
    })
}

/// A packet that is in order, and what it says.
#[derive(Clone, Debug)]
struct IpSample {
    ethertype: u16,
    bytes: Vec<u8>,
    expected: Tuple,
}

/// The ports of a header if they are there.
fn expected_ports(protocol: u8, header: &[u8]) -> Part<(u16, u16)> {
    let port = |at: usize| u16::from(header[at]) << 8 | u16::from(header[at + 1]);
    match protocol {
        6 | 17 | 33 | 132 | 136 if header.len() >= 4 => Part::Known((port(0), port(2))),
        6 | 17 | 33 | 132 | 136 => Part::CutOff,
        _ => Part::Absent,
    }
}

fn protocol() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![1, 2, 6, 17, 33, 47, 50, 58, 59, 132, 136, 253])
}

prop_compose! {
    fn ipv6_sample()(
        hop_by_hop in prop::option::of(0..3_u8),
        mut extensions in vec(extension(), 0..4),
        protocol in protocol(),
        payload in vec(any::<u8>(), 0..24),
        addresses in any::<[[u8; 16]; 2]>(),
    ) -> IpSample {
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
        IpSample {
            ethertype: 0x86dd,
            bytes,
            expected: Tuple {
                protocol: if is_last {
                    Protocol::Ip(protocol)
                } else {
                    Protocol::Ethertype(0x86dd)
                },
                addresses: Some(Addresses { source, destination }),
                ports: if is_last { expected_ports(protocol, header) } else { Part::Absent },
            },
        }
    }
}

prop_compose! {
    fn ipv4_sample()(
        options in 0..=10_u8,
        fragment in extension(),
        authentication in prop::option::of(0..3_u8),
        protocol in protocol(),
        payload in vec(any::<u8>(), 0..24),
        padding in 0..30_usize,
        addresses in any::<[[u8; 4]; 2]>(),
    ) -> IpSample {
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
        IpSample {
            ethertype: 0x0800,
            bytes,
            expected: Tuple {
                protocol: if is_known {
                    Protocol::Ip(protocol)
                } else {
                    Protocol::Ethertype(0x0800)
                },
                addresses: Some(Addresses { source, destination }),
                ports: if is_known { expected_ports(protocol, header) } else { Part::Absent },
            },
        }
    }
}

/// Whether `part` says nothing but what `whole` says.
fn is_part<T: PartialEq>(part: Option<T>, whole: Option<T>) -> bool {
    part.is_none() || part == whole
}

/// As [`is_part`], by `agrees` where both are known.
fn is_part_by<T>(part: Part<T>, whole: Part<T>, agrees: impl Fn(T, T) -> bool) -> bool {
    match (part, whole) {
        (Part::Absent, _) | (Part::CutOff, Part::CutOff | Part::Known(_)) => true,
        (Part::Known(part), Part::Known(whole)) => agrees(part, whole),
        _ => false,
    }
}

/// Whether `part` is the start of `whole`, and says so.
fn is_start<T: Copy + Default + PartialEq, const N: usize>(
    part: &List<T, N>,
    whole: &List<T, N>,
) -> bool {
    part == whole || (part.is_cut() && whole.items().starts_with(part.items()))
}

/// Whether a protocol can hold what `whole` is.
fn encloses(protocol: Protocol, whole: &Tuple) -> bool {
    match protocol {
        Protocol::Ethertype(0x8100 | 0x88a8) => true,
        Protocol::Ethertype(0x0800) => whole.addresses.is_some_and(|it| it.source.is_ipv4()),
        Protocol::Ethertype(0x86dd) => whole.addresses.is_some_and(|it| it.source.is_ipv6()),
        _ => false,
    }
}

fn tuple_agrees(part: Tuple, whole: Tuple) -> bool {
    (part.protocol == whole.protocol || encloses(part.protocol, &whole))
        && is_part(part.addresses, whole.addresses)
        && is_part_by(part.ports, whole.ports, |part, whole| part == whole)
}

fn ip_agrees(part: IpHeader, whole: IpHeader) -> bool {
    let extensions = match (part.extensions, whole.extensions) {
        (Some(part), Some(whole)) => is_start(&part, &whole),
        (part, whole) => part == whole,
    };
    part.ttl == whole.ttl
        && part.options == whole.options
        && extensions
        && is_part_by(part.fragment, whole.fragment, |part, whole| part == whole)
        && is_part_by(part.spi, whole.spi, |part, whole| part == whole)
}

fn transport_agrees(part: Transport, whole: Transport) -> bool {
    use Transport::{Icmp, Icmpv6, Igmp, Other, Tcp};
    match (part, whole) {
        (Other, _) => true,
        (Tcp(part), Tcp(whole)) => {
            is_part(part.seq, whole.seq)
                && is_part(part.ack, whole.ack)
                && is_part(part.flags, whole.flags)
                && is_part(part.window, whole.window)
        }
        (Icmp { type_code: part }, Icmp { type_code: whole })
        | (Icmpv6 { type_code: part }, Icmpv6 { type_code: whole }) => is_part(part, whole),
        (Igmp { igmp_type: part }, Igmp { igmp_type: whole }) => is_part(part, whole),
        _ => false,
    }
}

fn tunnel_agrees(part: Option<Tunnel>, whole: Option<Tunnel>) -> bool {
    match (part, whole) {
        // Nobody knows whether there is a key.
        (Some(Tunnel::Gre { key: Part::CutOff }), Some(Tunnel::Gre { .. })) => true,
        _ => is_part(part, whole),
    }
}

/// Whether the start of a packet is taken for nothing else than the packet.
fn agrees(part: Packet, whole: Packet) -> bool {
    let ip = match (part.ip, whole.ip) {
        (Some(part), Some(whole)) => ip_agrees(part, whole),
        (part, _) => part.is_none(),
    };
    // Without MAC header, only the tag beside the frame is known.
    let vlan = is_start(&part.vlan, &whole.vlan)
        || (part.mac.is_none() && whole.vlan.items().starts_with(part.vlan.items()));
    ip && tuple_agrees(part.tuple, whole.tuple)
        && transport_agrees(part.transport, whole.transport)
        && is_part_by(part.arp, whole.arp, |part, whole| part == whole)
        && vlan
        && is_part(part.mac, whole.mac)
        && tunnel_agrees(part.tunnel, whole.tunnel)
        && is_part_by(part.inner, whole.inner, tuple_agrees)
        && is_part_by(part.quoted, whole.quoted, tuple_agrees)
}

/// Compares each start of a packet with the packet.
fn check_starts(sample: &Sample) -> Result<(), TestCaseError> {
    let whole = Packet::parse(&sample.capture());
    for len in 0..sample.bytes.len() {
        let part = Packet::parse(&sample.start(len));
        prop_assert!(
            agrees(part, whole),
            "{len} bytes of {whole:?} give {part:?}"
        );
    }
    Ok(())
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
            let packet = parse(0x86dd, &bytes[..len]).tuple;
            assert_eq!(packet.protocol, Protocol::Ethertype(0x86dd));
            assert_eq!(packet.addresses.is_some(), len >= 40);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn columns_are_what_the_headers_say(sample in prop_oneof![ipv4_sample(), ipv6_sample()]) {
        let IpSample { ethertype, bytes, expected } = sample;
        prop_assert_eq!(parse(ethertype, &bytes).tuple, expected);
    }

    #[test]
    fn nothing_is_invented(sample in sample()) {
        check_starts(&sample)?;
    }

    #[test]
    fn garbled_packets_are_no_reason_to_panic_or_invent(sample in garbled()) {
        check_starts(&sample)?;
        let whole = Packet::parse(&sample.capture());
        prop_assert_eq!(whole.tunnel.is_some(), whole.inner != Part::Absent);
        if sample.ethertype == 0 {
            let vlan = whole.vlan;
            prop_assert_eq!(whole, Packet { vlan, ..Packet::default() });
        }
    }
}
