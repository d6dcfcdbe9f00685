use super::{super::cache::CACHE_LIMIT, *};
use crate::fixture::{address, symbols};

const KERNEL: &str = "6.12";

fn at(function: &str, offset: u64) -> u64 {
    address(KERNEL, function) + offset
}

/// The stack of a UDP datagram to a closed port, from the inside out.
fn frames() -> Vec<u64> {
    vec![
        0xffff_ffff_c000_1000,
        at("sk_skb_reason_drop", 0x6a),
        at("__udp4_lib_rcv", 0x4bc),
        at("ip_protocol_deliver_rcu", 0xb3),
        at("ip_local_deliver_finish", 0x81),
        at("__netif_receive_skb_one_core", 0x8d),
    ]
}

fn locations(depth: usize) -> Locations {
    Locations::new(symbols(KERNEL), depth)
}

/// `SITE STACK` as a line would have them.
fn describe(
    locations: &mut Locations,
    location: u64,
    source: StackSource,
    frames: impl FnOnce() -> Option<Vec<u64>>,
) -> String {
    let place = locations.describe(location, source, frames);
    let site = place.location;
    match place.stack {
        None => site.to_owned(),
        Some(Stack::Unknown) => format!("{site} -"),
        Some(Stack::Callers(callers)) => format!("{site} {callers}"),
    }
}

fn no_frames() -> Option<Vec<u64>> {
    panic!("the stack should not have been asked for")
}

#[test]
fn callers_are_those_of_the_call_site() {
    let site = at("__udp4_lib_rcv", 0x4bc);
    for source in [StackSource::Id(7), StackSource::Frames] {
        assert_eq!(
            describe(&mut locations(16), site, source, || Some(frames())),
            "__udp4_lib_rcv+0x4bc ip_protocol_deliver_rcu+0xb3,ip_local_deliver_finish+0x81,\
             __netif_receive_skb_one_core+0x8d"
        );
    }
}

#[test]
fn depth_limits_the_callers() {
    let site = at("__udp4_lib_rcv", 0x4bc);
    let stack = |depth| {
        describe(&mut locations(depth), site, StackSource::Id(7), || {
            Some(frames())
        })
    };
    assert_eq!(
        stack(1),
        "__udp4_lib_rcv+0x4bc ip_protocol_deliver_rcu+0xb3"
    );
    assert_eq!(
        stack(2),
        "__udp4_lib_rcv+0x4bc ip_protocol_deliver_rcu+0xb3,ip_local_deliver_finish+0x81"
    );
    assert_eq!(
        describe(&mut locations(0), site, StackSource::Id(7), no_frames),
        "__udp4_lib_rcv+0x4bc"
    );
}

#[test]
fn a_function_can_give_itself_as_the_call_site() {
    let mut frames = frames();
    frames[2] = at("net_rx_action", 0x123);
    assert_eq!(
        describe(
            &mut locations(1),
            at("net_rx_action", 0),
            StackSource::Frames,
            || Some(frames)
        ),
        "net_rx_action+0x0 ip_protocol_deliver_rcu+0xb3"
    );
}

#[test]
fn a_probed_function_is_known_by_its_first_bytes() {
    let locations = locations(4);
    let probed = |offset| {
        let frames = [at("sk_skb_reason_drop", offset), at("do_softirq", 0x10)];
        locations.probed_position(&frames)
    };
    assert_eq!(probed(0), Some(0));
    assert_eq!(probed(8), Some(0));
    assert_eq!(probed(0x6a), None);
    assert_eq!(locations.probed_position(&[]), None);
}

#[test]
fn the_exact_frame_goes_before_one_in_the_same_function() {
    let start = at("net_rx_action", 0);
    let frames = vec![at("net_rx_action", 0x40), start, at("do_softirq", 0x10)];
    assert_eq!(
        describe(&mut locations(4), start, StackSource::Frames, || Some(
            frames
        )),
        "net_rx_action+0x0 do_softirq+0x10"
    );
}

#[test]
fn a_stack_of_another_call_site_is_none() {
    let site = at("tcp_v4_rcv", 0x10);
    // In the function but elsewhere: only a call site that is the function's
    // start may be found that way.
    let elsewhere = vec![at("tcp_v4_rcv", 0x20), at("do_softirq", 0x10)];
    let outermost = vec![at("sk_skb_reason_drop", 0x6a), site];
    for frames in [
        None,
        Some(vec![]),
        Some(frames()),
        Some(elsewhere),
        Some(outermost),
    ] {
        for source in [StackSource::Id(7), StackSource::Frames] {
            let frames = frames.clone();
            let stack = describe(&mut locations(16), site, source, || frames);
            assert_eq!(stack, "tcp_v4_rcv+0x10 -");
        }
    }
}

#[test]
fn a_call_site_without_a_symbol_is_an_address() {
    let mut locations = locations(0);
    let mut site = |location| describe(&mut locations, location, StackSource::Frames, no_frames);
    assert_eq!(site(0xffff_ffff_0000_1234), "0xffffffff00001234");
    assert_eq!(site(u64::MAX), "0xffffffffffffffff");
    assert_eq!(site(0), "-");
    assert_eq!(
        site(at("nft_do_chain", 0x3e8)),
        "nft_do_chain+0x3e8[nf_tables]"
    );
}

#[test]
fn a_stack_is_read_once() {
    let mut locations = locations(1);
    let site = at("__udp4_lib_rcv", 0x4bc);
    let first = describe(&mut locations, site, StackSource::Id(7), || Some(frames()));
    let second = describe(&mut locations, site, StackSource::Id(7), no_frames);
    assert_eq!(first, second);
}

#[test]
fn an_id_with_another_call_site_is_another_stack() {
    let mut locations = locations(1);
    let (udp, tcp) = (at("__udp4_lib_rcv", 0x4bc), at("tcp_v4_rcv", 0x10));
    let id = StackSource::Id(7);
    describe(&mut locations, udp, id, || Some(frames()));
    let other = vec![tcp, at("do_softirq", 0x10)];
    assert_eq!(
        describe(&mut locations, tcp, id, || Some(other)),
        "tcp_v4_rcv+0x10 do_softirq+0x10"
    );
    assert_eq!(
        describe(&mut locations, udp, id, || Some(frames())),
        "__udp4_lib_rcv+0x4bc ip_protocol_deliver_rcu+0xb3"
    );
}

#[test]
fn frames_in_the_record_are_never_those_of_the_record_before() {
    let mut locations = locations(1);
    let site = at("__udp4_lib_rcv", 0x4bc);
    describe(&mut locations, site, StackSource::Frames, || Some(frames()));
    assert_eq!(
        describe(&mut locations, site, StackSource::Frames, || Some(vec![])),
        "__udp4_lib_rcv+0x4bc -"
    );
}

#[test]
fn caches_are_bounded() {
    let mut locations = locations(1);
    for number in 0..=CACHE_LIMIT as u32 {
        let site = u64::from(number) << 8;
        describe(&mut locations, site, StackSource::Id(number), || None);
        assert!(locations.sites.len() <= CACHE_LIMIT);
        assert!(locations.stacks.len() <= CACHE_LIMIT);
    }
    assert_eq!((locations.sites.len(), locations.stacks.len()), (1, 1));
}
