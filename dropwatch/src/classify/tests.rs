use std::collections::HashSet;

use super::*;
use crate::{enrich::reason::ReasonNames, fixture};

const DOCS: &str = include_str!("../../../docs/classes.md");

fn packet(protocol: Protocol) -> Packet {
    Packet {
        protocol,
        delivery: Delivery::Host,
    }
}

fn delivered(protocol: Protocol, delivery: Delivery) -> Packet {
    Packet { protocol, delivery }
}

const TCP: Protocol = Protocol::Tcp {
    flags: Some(0x10),
    time_wait: false,
};
const FIN: Protocol = Protocol::Tcp {
    flags: Some(0x11),
    time_wait: false,
};
const TIME_WAIT: Protocol = Protocol::Tcp {
    flags: Some(0x18),
    time_wait: true,
};
const LLDP: Protocol = Protocol::Ethertype(0x88cc);
const CUSTOM: Protocol = Protocol::Ethertype(0x88b5);

/// A drop: reason (`-` for none), call site, innermost caller (`-` for unknown), packet.
type Case = (&'static str, &'static str, &'static str, Packet);
/// Drops that a row decides, and drops that differ a little, with their class.
type Cases = (Vec<Case>, Vec<(Case, Class)>);

/// The cases of each row, in the order of `RULES`.
fn cases() -> Vec<Cases> {
    use Class::{Drop, Teardown};
    use Protocol::{Icmp, Icmpv6, Ip, Netlink, Udp, Unix, Unknown};
    let udp = packet(Udp);
    let tcp = packet(TCP);
    let other = delivered(Udp, Delivery::OtherHost);
    let multicast = delivered(Udp, Delivery::Multicast);
    let broadcast = delivered(Udp, Delivery::Broadcast);
    let (lldp, custom) = (packet(LLDP), packet(CUSTOM));
    let ethertype = |number| packet(Protocol::Ethertype(number));
    let (unix, netlink, unknown) = (packet(Unix), packet(Netlink), packet(Unknown));
    let receive = "__netif_receive_skb_one_core";
    vec![
        (
            vec![
                (
                    "QUEUE_PURGE",
                    "neigh_invalidate",
                    "neigh_timer_handler",
                    udp,
                ),
                ("QUEUE_PURGE", "__neigh_update", "-", udp),
                ("QUEUE_PURGE", "wg_packet_purge_staged_packets", "-", udp),
            ],
            vec![(("QUEUE_PURGE", "neigh_destroy", "-", udp), Teardown)],
        ),
        (
            vec![
                ("OTHERHOST", "ip_rcv_core", "ip_rcv", other),
                ("OTHERHOST", "ip6_rcv_core", "-", packet(Unknown)),
                (
                    "IPV6_NDISC_NS_OTHERHOST",
                    "icmpv6_rcv",
                    "-",
                    packet(Icmpv6(Some(135))),
                ),
                ("TAP_TXFILTER", "tun_net_xmit", "-", custom),
            ],
            vec![(("TAP_FILTER", "tun_net_xmit", "-", custom), Drop)],
        ),
        (
            vec![
                ("-", "ip_rcv_core", "ip_rcv", other),
                (
                    "-",
                    "ip6_rcv_core",
                    "-",
                    delivered(Icmpv6(None), Delivery::OtherHost),
                ),
                ("NOT_SPECIFIED", "ip_rcv_core.constprop.0", "-", other),
            ],
            vec![
                // Its header is wrong, perhaps.
                (("-", "ip_rcv_core", "ip_rcv", udp), Drop),
                (("-", "nf_hook_slow", "br_forward", other), Drop),
                (("IP_CSUM", "ip_rcv_core", "ip_rcv", other), Drop),
            ],
        ),
        (
            vec![(
                "UNHANDLED_PROTO",
                "__netif_receive_skb_core.constprop.0",
                receive,
                delivered(CUSTOM, Delivery::OtherHost),
            )],
            vec![
                (
                    (
                        "-",
                        "__netif_receive_skb_core",
                        receive,
                        delivered(CUSTOM, Delivery::OtherHost),
                    ),
                    Drop,
                ),
                (
                    ("TC_INGRESS", "__netif_receive_skb_core", receive, other),
                    Drop,
                ),
            ],
        ),
        (
            vec![
                ("UNHANDLED_PROTO", "__netif_receive_skb_core", receive, lldp),
                ("-", "__netif_receive_skb_core", receive, lldp),
                (
                    "UNHANDLED_PROTO",
                    "__netif_receive_skb_core",
                    receive,
                    ethertype(4),
                ),
            ],
            vec![
                (("-", "__netif_receive_skb_core", receive, custom), Drop),
                (
                    ("TC_INGRESS", "__netif_receive_skb_core", receive, lldp),
                    Drop,
                ),
                (("-", "__dev_queue_xmit", "-", lldp), Drop),
            ],
        ),
        (
            vec![(
                "MAC_IEEE_MAC_CONTROL",
                "br_handle_frame",
                "-",
                ethertype(0x8808),
            )],
            vec![(
                (
                    "BRIDGE_INGRESS_STP_STATE",
                    "br_handle_frame",
                    "-",
                    ethertype(0x8808),
                ),
                Drop,
            )],
        ),
        (
            vec![("-", "br_handle_frame", "-", ethertype(0x8808))],
            vec![
                (("NOT_SPECIFIED", "br_handle_frame", "-", custom), Drop),
                (
                    (
                        "NOT_SPECIFIED",
                        "br_handle_frame_finish",
                        "-",
                        ethertype(0x8808),
                    ),
                    Drop,
                ),
            ],
        ),
        (
            vec![
                ("NOT_SPECIFIED", "stp_pdu_rcv", "llc_rcv", ethertype(4)),
                ("-", "br_stp_rcv", "stp_pdu_rcv", ethertype(4)),
            ],
            vec![(("NOT_SPECIFIED", "stp_pdu_rcv", "llc_rcv", custom), Drop)],
        ),
        (
            vec![
                (
                    "NOT_SPECIFIED",
                    "ip6_mc_input",
                    receive,
                    packet(Icmpv6(Some(143))),
                ),
                ("-", "ip6_mc_input", receive, udp),
                ("-", "ip6_mc_input", receive, ethertype(0x86dd)),
            ],
            vec![
                (("-", "ip6_input", receive, udp), Drop),
                (("NETFILTER_DROP", "ip6_mc_input", receive, udp), Drop),
                (("-", "ip6_mc_input", receive, unknown), Drop),
            ],
        ),
        (
            vec![(
                "NOT_SPECIFIED",
                "ip_rcv_finish_core.isra.0",
                "ip_rcv",
                multicast,
            )],
            vec![
                (
                    ("NOT_SPECIFIED", "ip_rcv_finish_core", "ip_rcv", broadcast),
                    Drop,
                ),
                (("NOT_SPECIFIED", "ip_rcv_finish_core", "ip_rcv", udp), Drop),
                // That may be the reverse path filter.
                (("-", "ip_rcv_finish_core", "ip_rcv", multicast), Drop),
                (
                    ("IP_RPFILTER", "ip_rcv_finish_core", "ip_rcv", multicast),
                    Drop,
                ),
            ],
        ),
        (
            vec![("IPV6DISABLED", "ip6_rcv_core", "ipv6_rcv", udp)],
            vec![(("-", "ip6_rcv_core", "ipv6_rcv", udp), Drop)],
        ),
        (
            vec![
                ("TCP_OLD_DATA", "tcp_data_queue", "tcp_rcv_established", tcp),
                ("TCP_OLD_SEQUENCE", "tcp_validate_incoming", "-", tcp),
                ("TCP_OFOMERGE", "tcp_data_queue", "-", tcp),
                ("TCP_OFO_DROP", "tcp_data_queue", "-", tcp),
                ("TCP_RFC7323_PAWS_ACK", "tcp_validate_incoming", "-", tcp),
                ("DUP_FRAG", "ip_defrag", "ip_local_deliver", udp),
            ],
            vec![
                (
                    ("TCP_INVALID_SEQUENCE", "tcp_validate_incoming", "-", tcp),
                    Drop,
                ),
                (
                    ("TCP_RFC7323_PAWS", "tcp_validate_incoming", "-", tcp),
                    Drop,
                ),
                (
                    ("TCP_RFC7323_TW_PAWS", "tcp_v4_rcv", "-", packet(TIME_WAIT)),
                    Drop,
                ),
                (("TCP_OVERWINDOW", "tcp_data_queue", "-", tcp), Drop),
                (("TCP_OFO_QUEUE_PRUNE", "tcp_data_queue", "-", tcp), Drop),
                (("TCP_RESET", "tcp_validate_incoming", "-", tcp), Drop),
                (("FRAG_REASM_TIMEOUT", "ip_expire", "-", udp), Drop),
                (
                    ("NOT_SPECIFIED", "ip_defrag", "ip_local_deliver", udp),
                    Drop,
                ),
            ],
        ),
        (
            vec![
                ("NOT_SPECIFIED", "igmp_rcv", "-", packet(Ip(2))),
                ("-", "igmp_rcv", "-", packet(Ip(2))),
            ],
            vec![
                (("NOT_SPECIFIED", "igmp_rcv", "-", udp), Drop),
                (("NOT_SPECIFIED", "ip_forward", "-", packet(Ip(2))), Drop),
            ],
        ),
        (
            vec![
                ("-", "icmpv6_rcv", "-", packet(Icmpv6(Some(135)))),
                (
                    "NOT_SPECIFIED",
                    "icmpv6_rcv",
                    "-",
                    packet(Icmpv6(Some(143))),
                ),
                ("NOT_SPECIFIED", "icmpv6_rcv", "-", packet(Icmpv6(Some(1)))),
            ],
            vec![
                (
                    ("ICMP_CSUM", "icmpv6_rcv", "-", packet(Icmpv6(Some(135)))),
                    Drop,
                ),
                (
                    (
                        "NOT_SPECIFIED",
                        "icmpv6_rcv",
                        "-",
                        packet(Icmpv6(Some(200))),
                    ),
                    Drop,
                ),
                (
                    ("NOT_SPECIFIED", "icmpv6_rcv", "-", packet(Icmpv6(None))),
                    Drop,
                ),
                (
                    ("NOT_SPECIFIED", "icmpv6_rcv", "-", packet(Icmp(Some(3)))),
                    Drop,
                ),
                (
                    (
                        "NOT_SPECIFIED",
                        "ip6_forward",
                        "-",
                        packet(Icmpv6(Some(135))),
                    ),
                    Drop,
                ),
            ],
        ),
        (
            vec![
                (
                    "NOT_SPECIFIED",
                    "netlink_unicast",
                    "netlink_sendmsg",
                    unknown,
                ),
                ("-", "nfnetlink_rcv_batch", "nfnetlink_rcv", netlink),
            ],
            vec![
                (
                    ("NOT_SPECIFIED", "netlink_unicast", "netlink_sendmsg", unix),
                    Drop,
                ),
                (("NOT_SPECIFIED", "netlink_broadcast", "-", netlink), Drop),
            ],
        ),
        (
            vec![
                ("NOT_SPECIFIED", "unix_dgram_sendmsg", "__sys_sendto", unix),
                ("-", "unix_stream_connect", "__sys_connect", unknown),
                ("-", "unix_stream_sendmsg", "-", unix),
                ("NOT_SPECIFIED", "unix_stream_read_generic", "-", unix),
            ],
            vec![
                (
                    (
                        "NOT_SPECIFIED",
                        "unix_dgram_sendmsg",
                        "__sys_sendto",
                        netlink,
                    ),
                    Drop,
                ),
                (
                    ("SOCKET_FILTER", "unix_dgram_sendmsg", "__sys_sendto", unix),
                    Drop,
                ),
            ],
        ),
        (
            vec![("UNIX_SKIP_OOB", "unix_stream_read_generic", "-", unix)],
            vec![(
                ("UNIX_DISCONNECT", "unix_stream_read_generic", "-", unix),
                Teardown,
            )],
        ),
        (
            vec![
                ("NO_SOCKET", "udp_rcv", "ip_protocol_deliver_rcu", udp),
                ("NO_SOCKET", "tcp_v4_rcv", "-", packet(FIN)),
                ("NO_SOCKET", "ping_rcv", "icmp_rcv", packet(Icmp(Some(0)))),
                (
                    "IP_NOPROTO",
                    "ip_local_deliver_finish",
                    "-",
                    packet(Ip(253)),
                ),
            ],
            vec![
                (
                    ("UDP_CSUM", "udp_rcv", "ip_protocol_deliver_rcu", udp),
                    Drop,
                ),
                (
                    ("-", "__udp4_lib_rcv", "ip_protocol_deliver_rcu", udp),
                    Drop,
                ),
                (("-", "tcp_v4_rcv", "ip_protocol_deliver_rcu", tcp), Drop),
                (("-", "ip_local_deliver_finish", "-", packet(Ip(253))), Drop),
                (("SOCKET_RCVBUFF", "udp_queue_rcv_one_skb", "-", udp), Drop),
            ],
        ),
        (
            vec![
                (
                    "UNHANDLED_PROTO",
                    "__netif_receive_skb_core",
                    receive,
                    custom,
                ),
                ("UNHANDLED_PROTO", "__netif_receive_skb_core", receive, udp),
            ],
            vec![(
                ("UNHANDLED_PROTO", "icmp_rcv", "-", packet(Icmp(Some(200)))),
                Drop,
            )],
        ),
        (
            vec![
                (
                    "NOT_SPECIFIED",
                    "udp_rcv",
                    "ip_protocol_deliver_rcu",
                    broadcast,
                ),
                (
                    "NOT_SPECIFIED",
                    "__udp4_lib_rcv",
                    "ip_protocol_deliver_rcu",
                    multicast,
                ),
                (
                    "NOT_SPECIFIED",
                    "udpv6_rcv",
                    "ip6_protocol_deliver_rcu",
                    multicast,
                ),
                (
                    "NOT_SPECIFIED",
                    "__udp6_lib_rcv",
                    "ip6_protocol_deliver_rcu",
                    multicast,
                ),
            ],
            vec![
                (
                    ("NOT_SPECIFIED", "udp_rcv", "ip_protocol_deliver_rcu", udp),
                    Drop,
                ),
                // That may be a bad checksum.
                (
                    ("-", "__udp4_lib_rcv", "ip_protocol_deliver_rcu", multicast),
                    Drop,
                ),
                (("NOT_SPECIFIED", "udp_recvmsg", "-", multicast), Drop),
            ],
        ),
        (
            vec![
                ("-", "icmp_rcv", "-", packet(Icmp(Some(0)))),
                ("-", "icmpv6_rcv", "-", packet(Icmpv6(Some(129)))),
            ],
            vec![
                (("-", "icmp_rcv", "-", packet(Icmp(Some(8)))), Drop),
                (("-", "icmp_rcv", "-", packet(Icmp(None))), Drop),
                (("ICMP_CSUM", "icmp_rcv", "-", packet(Icmp(Some(0)))), Drop),
            ],
        ),
        (
            vec![
                (
                    "QUEUE_PURGE",
                    "skb_queue_purge_reason",
                    "packet_release",
                    udp,
                ),
                ("QUEUE_PURGE", "inet_sock_destruct", "__sk_destruct", udp),
                ("SOCKET_CLOSE", "unix_release_sock", "unix_release", unknown),
                ("UNIX_DISCONNECT", "skb_queue_purge_reason", "-", unix),
                ("TCP_CLOSE", "tcp_rcv_state_process", "-", tcp),
                ("TCP_ABORT_ON_DATA", "tcp_v4_do_rcv", "-", tcp),
            ],
            vec![(("TCP_FLAGS", "tcp_rcv_state_process", "-", tcp), Drop)],
        ),
        (
            vec![
                (
                    "NOT_SPECIFIED",
                    "tcp_v4_rcv",
                    "ip_protocol_deliver_rcu",
                    packet(FIN),
                ),
                (
                    "NOT_SPECIFIED",
                    "tcp_v6_rcv",
                    "ip6_protocol_deliver_rcu",
                    packet(TIME_WAIT),
                ),
                ("-", "tcp_v4_rcv", "ip_protocol_deliver_rcu", packet(FIN)),
            ],
            vec![
                // That may be a connection that a full accept queue has no room for.
                (
                    (
                        "NOT_SPECIFIED",
                        "tcp_v4_rcv",
                        "ip_protocol_deliver_rcu",
                        tcp,
                    ),
                    Drop,
                ),
                (
                    ("NOT_SPECIFIED", "tcp_v4_do_rcv", "tcp_v4_rcv", packet(FIN)),
                    Drop,
                ),
                (
                    (
                        "TCP_CSUM",
                        "tcp_v4_rcv",
                        "ip_protocol_deliver_rcu",
                        packet(FIN),
                    ),
                    Drop,
                ),
                (("TCP_MD5FAILURE", "tcp_v4_rcv", "-", packet(FIN)), Drop),
                (
                    (
                        "NOT_SPECIFIED",
                        "tcp_v4_rcv",
                        "-",
                        packet(Protocol::Tcp {
                            flags: None,
                            time_wait: false,
                        }),
                    ),
                    Drop,
                ),
            ],
        ),
        (
            vec![
                (
                    "NOT_SPECIFIED",
                    "udp_destruct_common",
                    "udp_destruct_sock",
                    udp,
                ),
                (
                    "-",
                    "inet_sock_destruct",
                    "__sk_destruct",
                    packet(Icmp(Some(3))),
                ),
            ],
            vec![
                (
                    (
                        "NOT_SPECIFIED",
                        "udp_destruct_common",
                        "udp_destruct_sock",
                        unix,
                    ),
                    Drop,
                ),
                (("NOT_SPECIFIED", "udp_recvmsg", "sock_recvmsg", udp), Drop),
            ],
        ),
        (
            vec![
                ("-", "sk_stream_kill_queues", "inet_csk_destroy_sock", tcp),
                ("NOT_SPECIFIED", "tcp_disconnect", "inet_child_forget", tcp),
            ],
            vec![(
                ("-", "sk_stream_kill_queues", "inet_csk_destroy_sock", udp),
                Drop,
            )],
        ),
        (
            vec![
                (
                    "NOT_SPECIFIED",
                    "skb_rbtree_purge",
                    "tcp_v4_destroy_sock",
                    tcp,
                ),
                ("-", "skb_rbtree_purge", "tcp_disconnect", tcp),
            ],
            vec![
                (("-", "skb_rbtree_purge", "-", tcp), Drop),
                (("-", "skb_rbtree_purge", "tcp_prune_ofo_queue", tcp), Drop),
                (("-", "skb_rbtree_purge", "tcp_v4_destroy_sock", udp), Drop),
            ],
        ),
        (
            vec![
                (
                    "NOT_SPECIFIED",
                    "__ip_flush_pending_frames.isra.0",
                    "udp_destroy_sock",
                    unknown,
                ),
                (
                    "-",
                    "__ip6_flush_pending_frames",
                    "udpv6_destroy_sock",
                    ethertype(0x86dd),
                ),
            ],
            vec![(
                ("-", "__ip_flush_pending_frames", "udp_sendmsg", unknown),
                Drop,
            )],
        ),
        (
            vec![
                ("NOT_SPECIFIED", "unix_release_sock", "unix_release", unix),
                ("-", "unix_gc", "unix_release_sock", unknown),
                ("NOT_SPECIFIED", "__unix_gc", "process_one_work", unix),
            ],
            vec![(("-", "unix_release_sock", "unix_release", udp), Drop)],
        ),
        (
            vec![
                (
                    "NOT_SPECIFIED",
                    "skb_queue_purge",
                    "unix_dgram_disconnected",
                    unix,
                ),
                ("-", "skb_queue_purge", "unix_sock_destructor", unknown),
            ],
            vec![
                (
                    ("-", "skb_queue_purge", "unix_dgram_disconnected", udp),
                    Drop,
                ),
                (
                    ("-", "skb_queue_purge", "xfrm_policy_queue_process", unknown),
                    Drop,
                ),
                (("-", "skb_queue_purge", "-", unix), Drop),
            ],
        ),
        (
            vec![(
                "NOT_SPECIFIED",
                "netlink_release",
                "__sock_release",
                netlink,
            )],
            vec![(
                ("NOT_SPECIFIED", "netlink_release", "__sock_release", tcp),
                Drop,
            )],
        ),
        (
            vec![("-", "skb_queue_purge", "netlink_sock_destruct", netlink)],
            vec![(("-", "skb_queue_purge", "netlink_sock_destruct", tcp), Drop)],
        ),
        (
            vec![("-", "skb_queue_purge", "packet_release", udp)],
            vec![(("-", "skb_queue_purge", "ppp_push", udp), Drop)],
        ),
        (
            vec![
                ("NOT_SPECIFIED", "__rtnl_unlock", "netdev_run_todo", udp),
                ("NOT_SPECIFIED", "qdisc_reset", "tbf_reset", udp),
                ("-", "pfifo_fast_reset", "qdisc_reset", udp),
                ("-", "cake_reset", "qdisc_reset", udp),
                ("-", "tun_queue_purge", "__tun_detach", packet(Icmpv6(None))),
            ],
            vec![
                (
                    ("QDISC_DROP", "__dev_queue_xmit", "ip_finish_output2", udp),
                    Drop,
                ),
                (("qdisc:OVERLIMIT", "qdisc_reset", "-", udp), Drop),
                (("FULL_RING", "tun_net_xmit", "-", udp), Drop),
            ],
        ),
        (
            vec![
                ("-", "kfree_skb_list", "qdisc_reset", udp),
                (
                    "NOT_SPECIFIED",
                    "kfree_skb_list_reason",
                    "__rtnl_unlock",
                    udp,
                ),
            ],
            vec![
                (("-", "kfree_skb_list", "__dev_queue_xmit", udp), Drop),
                (
                    ("QDISC_DROP", "kfree_skb_list_reason", "qdisc_reset", udp),
                    Drop,
                ),
                (("-", "kfree_skb_list", "-", udp), Drop),
            ],
        ),
        (
            vec![(
                "NOT_SPECIFIED",
                "neigh_destroy",
                "neigh_flush_dev.isra.0",
                udp,
            )],
            vec![
                (
                    (
                        "NEIGH_FAILED",
                        "neigh_invalidate",
                        "neigh_timer_handler",
                        udp,
                    ),
                    Drop,
                ),
                (("-", "neigh_invalidate", "neigh_timer_handler", udp), Drop),
                (("-", "neigh_destroy", "-", custom), Drop),
            ],
        ),
    ]
}

fn candidates(&(reason, site, caller, _): &Case) -> Candidates {
    let callers = [caller];
    Candidates::at(Place {
        reason: (reason != NONE).then_some(reason),
        site: Some(site),
        callers: if caller == "-" { &[] } else { &callers },
    })
}

#[test]
fn every_row_decides_its_drops_and_no_others() {
    let cases = cases();
    assert_eq!(cases.len(), RULES.len());
    for (index, (matching, misses)) in cases.iter().enumerate() {
        let rule = &RULES[index];
        for case in matching {
            let found = candidates(case).rule(&case.3);
            let found = found.map(|found| std::ptr::eq(found, rule));
            assert_eq!(found, Some(true), "row {index}: {case:?}");
            assert_eq!(candidates(case).class(&case.3), rule.class, "{case:?}");
        }
        for (case, class) in misses {
            assert_eq!(candidates(case).class(&case.3), *class, "{case:?}");
        }
        // Each name is there for something.
        let used = |name: &&str, of: fn(&Case) -> &'static str| {
            matching
                .iter()
                .any(|case| without_suffix(of(case)) == *name)
        };
        assert!(
            rule.reasons
                .iter()
                .filter(|it| **it != NONE && **it != "NOT_SPECIFIED")
                .all(|it| used(it, |case| case.0)),
            "row {index}"
        );
        assert!(
            rule.sites.iter().all(|it| used(it, |case| case.1)),
            "row {index}"
        );
        assert!(
            rule.callers.iter().all(|it| used(it, |case| case.2)),
            "row {index}"
        );
    }
}

#[test]
fn the_same_reason_elsewhere_is_a_drop() {
    for (index, (matching, _)) in cases().iter().enumerate() {
        let rule = &RULES[index];
        for &(reason, site, caller, packet) in matching {
            if !rule.sites.is_empty() && rule.reasons.iter().all(|it| UNSPECIFIED.contains(it)) {
                for elsewhere in ["nf_hook_slow", "ip_forward", "xtcp_v4_rcv"] {
                    let case = (reason, elsewhere, caller, packet);
                    assert_eq!(candidates(&case).class(&packet), Class::Drop, "{case:?}");
                }
                let unknown = Place {
                    reason: Some(reason),
                    site: None,
                    callers: &[],
                };
                assert_eq!(Candidates::at(unknown).class(&packet), Class::Drop);
            }
            if !rule.callers.is_empty() {
                let case = (reason, site, "do_softirq", packet);
                assert_eq!(candidates(&case).class(&packet), Class::Drop, "{case:?}");
            }
        }
    }
}

#[test]
fn handled_icmpv6_is_told_by_its_type() {
    let place = Place {
        reason: None,
        site: Some("icmpv6_rcv"),
        callers: &[],
    };
    let handled = [1, 2, 3, 4, 128, 130, 131, 132, 133, 134, 135, 136, 137, 143];
    for kind in 0..=u8::MAX {
        let expected = match kind {
            129 => Class::Refused,
            _ if handled.contains(&kind) => Class::Expected,
            _ => Class::Drop,
        };
        let packet = packet(Protocol::Icmpv6(Some(kind)));
        assert_eq!(Candidates::at(place).class(&packet), expected, "{kind}");
    }
}

#[test]
fn only_near_callers_count() {
    let at = |callers: &[&str]| {
        let place = Place {
            reason: None,
            site: Some("skb_queue_purge"),
            callers,
        };
        Candidates::at(place).class(&packet(Protocol::Udp))
    };
    assert_eq!(at(&["packet_release.cold"]), Class::Teardown);
    assert_eq!(at(&["x", "packet_release"]), Class::Teardown);
    assert_eq!(at(&["x", "y", "packet_release"]), Class::Drop);
}

#[test]
fn what_nothing_is_known_about_is_a_drop() {
    let place = Place {
        reason: None,
        site: None,
        callers: &[],
    };
    assert_eq!(Candidates::at(place).class(&Packet::default()), Class::Drop);
    assert_eq!(Class::Drop.as_str(), "drop");
    assert_eq!(Class::Refused.as_str(), "refused");
    assert_eq!(Class::Teardown.as_str(), "teardown");
    assert_eq!(Class::Expected.as_str(), "expected");
}

#[test]
fn packet_types_are_the_kernels() {
    for (pkt_type, delivery) in [
        (0, Delivery::Host),
        (1, Delivery::Broadcast),
        (2, Delivery::Multicast),
        (3, Delivery::OtherHost),
        (4, Delivery::Unknown),
        (5, Delivery::Multicast),
        (255, Delivery::Unknown),
    ] {
        assert_eq!(Delivery::from_pkt_type(pkt_type), delivery);
    }
}

#[test]
fn all_reasons_exist() {
    let mut known = HashSet::new();
    for kernel in fixture::KERNELS {
        let names = ReasonNames::new(&fixture::btf(kernel), &fixture::btf_folder(kernel));
        known.extend(names.known().map(|(_, name)| name.to_owned()));
    }
    for reason in RULES.iter().flat_map(|rule| rule.reasons) {
        assert!(*reason == NONE || known.contains(*reason), "{reason}");
    }
}

/// Rows of the table in the documentation: class, reasons, call sites, callers.
fn documented() -> Vec<[String; 4]> {
    let rows = DOCS.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.map(|line| line.split(" | ").map(|cell| cell.replace('`', "")));
    rows.filter_map(|mut cells| {
        let row = [cells.next()?, cells.next()?, cells.next()?, cells.next()?];
        cells.nth(2)?;
        (row[0] != "class").then_some(row)
    })
    .collect()
}

#[test]
fn the_documentation_has_the_same_table() {
    let names = |names: &[&str]| {
        if names.is_empty() {
            "any".to_owned()
        } else {
            names.join(", ")
        }
    };
    let table: Vec<[String; 4]> = RULES
        .iter()
        .map(|rule| {
            let reasons = if rule.reasons == UNSPECIFIED {
                "none".to_owned()
            } else {
                names(rule.reasons)
            };
            [
                rule.class.as_str().to_owned(),
                reasons,
                names(rule.sites),
                names(rule.callers),
            ]
        })
        .collect();
    for (written, rule) in documented().iter().zip(&table) {
        assert_eq!(written, rule);
    }
    assert_eq!(documented().len(), table.len());
}

#[test]
fn every_function_of_the_table_can_be_explained() {
    let texts = crate::explain::texts::Texts::load().unwrap();
    for rule in RULES {
        for function in rule.sites.iter().chain(rule.callers) {
            assert!(texts.site(function).is_some(), "{function}");
        }
    }
}
