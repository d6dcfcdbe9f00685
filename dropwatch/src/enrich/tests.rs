use std::path::Path;

use dropwatch_common::event::{DropEvent, FIXED_SIZE, HEADERS_LEN};
use proptest::{collection::vec, prelude::*};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::*;
use crate::{
    decode::decode,
    fixture::{btf, btf_folder, symbols},
};

fn enricher() -> Enricher {
    let reasons = ReasonNames::new(&btf("6.12"), &btf_folder("6.12"));
    // Nothing of the machine that the tests run on.
    Enricher::new(
        reasons,
        symbols("6.12"),
        16,
        Host::below(Path::new("/nonexistent")),
    )
}

/// The event with zeros wherever it says that there is nothing.
fn without_leftovers(event: &DropEvent) -> DropEvent {
    let has = |bit| event.present & bit != 0;
    let kept = |bit, value| if has(bit) { value } else { 0 };
    let mut headers = [0; HEADERS_LEN];
    let len = usize::from(event.headers_len);
    headers[..len].copy_from_slice(&event.headers[..len]);
    let has_skb = has(present::SKB);
    DropEvent {
        socket_inode: if has(present::SOCKET_INODE) {
            event.socket_inode
        } else {
            0
        },
        socket_cgroup: if has(present::SOCKET_CGROUP) {
            event.socket_cgroup
        } else {
            0
        },
        dst_input: if has(present::DST_INPUT) {
            event.dst_input
        } else {
            0
        },
        reason: kept(present::REASON, event.reason),
        len: kept(present::SKB, event.len),
        mark: kept(present::SKB, event.mark),
        priority: kept(present::SKB, event.priority),
        hash: kept(present::SKB, event.hash),
        iif: kept(present::SKB, event.iif),
        queue: if has_skb { event.queue } else { 0 },
        ethertype: if has_skb { event.ethertype } else { 0 },
        vlan_proto: if has(present::VLAN) {
            event.vlan_proto
        } else {
            0
        },
        vlan_tci: if has(present::VLAN) {
            event.vlan_tci
        } else {
            0
        },
        gso_size: if has(present::GSO) { event.gso_size } else { 0 },
        gso_segs: if has(present::GSO) { event.gso_segs } else { 0 },
        pkt_type: if has(present::PKT_TYPE) {
            event.pkt_type
        } else {
            0
        },
        socket_family: if has(present::SOCKET) {
            event.socket_family
        } else {
            0
        },
        socket_state: if has(present::SOCKET) {
            event.socket_state
        } else {
            0
        },
        socket_protocol: if has(present::SOCKET) {
            event.socket_protocol
        } else {
            0
        },
        owner_tgid: kept(present::OWNER, event.owner_tgid),
        owner_comm: if has(present::OWNER) {
            event.owner_comm
        } else {
            [0; 16]
        },
        ifindex: kept(present::DEV, event.ifindex),
        ifname: if has(present::DEV) {
            event.ifname
        } else {
            [0; 16]
        },
        netns: kept(present::NETNS, event.netns),
        stack_id: kept(present::STACK_ID, event.stack_id),
        data_offset: 0,
        headers,
        ..*event
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The kernel side does not clear what it does not fill.
    #[test]
    fn what_is_not_there_is_not_shown(
        bytes in vec(any::<u8>(), size_of::<DropEvent>()),
        present in 0..1_u32 << 16,
        headers_len in 0..=144_u16,
        network_offset in prop::sample::select(vec![0, 14, 18, 22]),
        ethertype in prop::sample::select(vec![0, 0x0608, 0x0008, 0xdd86]),
    ) {
        let event = DropEvent {
            present,
            headers_len,
            network_offset,
            ethertype,
            frame_count: 0,
            ..DropEvent::read_from_bytes(&bytes).unwrap()
        };
        let clean = without_leftovers(&event);
        let mut enrichers = (enricher(), enricher());
        let len = FIXED_SIZE + usize::from(headers_len);
        let dirty = decode(&event.as_bytes()[..len]).unwrap();
        let clean = decode(&clean.as_bytes()[..len]).unwrap();
        let stack = |_| Some(vec![event.location, 0x1000]);
        prop_assert_eq!(enrichers.0.enrich(&dirty, stack), enrichers.1.enrich(&clean, stack));
    }
}
