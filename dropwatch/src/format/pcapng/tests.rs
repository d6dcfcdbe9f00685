use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{format::samples::parts, packet::VlanTag, record::PacketBytes};

fn u32_at(bytes: &[u8], at: usize) -> usize {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    u32::from_le_bytes(*bytes.expect("it is cut off")) as usize
}

/// Types and contents of all blocks, which have to say their length at both ends.
fn blocks(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let len = u32_at(bytes, 4);
        assert!(len.is_multiple_of(4) && u32_at(bytes, len - 4) == len);
        blocks.push((u32_at(bytes, 0) as u32, &bytes[8..len - 4]));
        bytes = &bytes[len..];
    }
    blocks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_packet_makes_whole_blocks(
        parts in parts(),
        (head, tail) in (vec(any::<u8>(), 0..144), vec(any::<u8>(), 0..300)),
        network_offset in 0..22_usize,
        original_len in any::<Option<u32>>(),
        ethertype in prop_oneof![Just(0x0800_u16), Just(0x8100), any::<u16>()],
        tag in any::<Option<(u16, u16)>>(),
        pkt_type in any::<Option<u8>>(),
        has_bytes in any::<bool>(),
        snaplen in 1..500_u32,
        is_cooked in any::<bool>(),
    ) {
        let bytes = PacketBytes {
            head: &head,
            tail: &tail,
            network_offset,
            original_len,
            ethertype,
            vlan_tag: tag.map(|(tpid, tci)| VlanTag { tpid, tci }),
            pkt_type,
        };
        let record = DropRecord {
            bytes: has_bytes.then_some(bytes),
            ..parts.record()
        };
        let mut format = PcapngFormat::new(PcapngOptions {
            snaplen,
            is_cooked,
            text: TextOptions::default(),
            host: Host::default(),
        });
        let mut out = Vec::new();
        format.write_head(&mut out);
        format.write(&record, &mut out);
        format.write(&record, &mut out);
        format.write_account(&Account::default(), &mut out);
        let blocks = blocks(&out);
        let types: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        prop_assert_eq!(types, [
            SECTION_HEADER, INTERFACE_DESCRIPTION, INTERFACE_DESCRIPTION, ENHANCED_PACKET,
            ENHANCED_PACKET, INTERFACE_STATISTICS,
        ]);
        let (_, packet) = blocks[3];
        prop_assert_eq!(packet, blocks[4].1);
        let (captured, original) = (u32_at(packet, 12), u32_at(packet, 16));
        prop_assert!(captured <= original && captured <= snaplen as usize);
        prop_assert!(packet.len() > 20 + captured);
    }
}
