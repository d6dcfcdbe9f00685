use dropwatch_common::event::{DropEvent, HEADERS_LEN};
use proptest::{collection::vec, prelude::*};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::*;
use crate::{
    decode::decode,
    fixture::{btf, btf_folder, symbols},
};

fn enricher() -> Enricher {
    let reasons = ReasonNames::new(&btf("6.12"), &btf_folder("6.12"));
    Enricher::new(reasons, symbols("6.12"), 16)
}

/// The event with zeros wherever it says that there is nothing.
fn without_leftovers(event: &DropEvent) -> DropEvent {
    let has = |bit| event.present & bit != 0;
    let kept = |bit, value| if has(bit) { value } else { 0 };
    let mut headers = [0; HEADERS_LEN];
    let len = usize::from(event.headers_len);
    headers[..len].copy_from_slice(&event.headers[..len]);
    DropEvent {
        reason: kept(present::REASON, event.reason),
        len: kept(present::LEN, event.len),
        ethertype: if has(present::LEN) {
            event.ethertype
        } else {
            0
        },
        ifindex: kept(present::DEV, event.ifindex),
        ifname: if has(present::DEV) {
            event.ifname
        } else {
            [0; 16]
        },
        netns: kept(present::NETNS, event.netns),
        stack_id: kept(present::STACK_ID, event.stack_id),
        padding: [0; 3],
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
        present in 0..32_u32,
        headers_len in 0..=96_u16,
        ethertype in prop::sample::select(vec![0, 0x0608, 0x0008, 0xdd86]),
    ) {
        let event = DropEvent {
            present,
            headers_len,
            ethertype,
            frame_count: 0,
            ..DropEvent::read_from_bytes(&bytes).unwrap()
        };
        let clean = without_leftovers(&event);
        let mut enrichers = (enricher(), enricher());
        let dirty = decode(event.as_bytes()).unwrap();
        let clean = decode(clean.as_bytes()).unwrap();
        let stack = |_| Some(vec![event.location, 0x1000]);
        prop_assert_eq!(enrichers.0.enrich(&dirty, stack), enrichers.1.enrich(&clean, stack));
    }
}
