//! Names for the numbers of protocols.

/// Numbers and their names, the usual ones first.
pub(crate) type Names<N> = [(N, &'static str)];

/// The name of `number`.
pub(crate) fn name_of<N: PartialEq>(names: &Names<N>, number: N) -> Option<&'static str> {
    names
        .iter()
        .find(|(candidate, _)| *candidate == number)
        .map(|(_, name)| *name)
}

/// Names of ethertypes, `include/uapi/linux/if_ether.h`.
pub(crate) const ETHERTYPES: &Names<u16> = &[
    (0x0800, "ipv4"),
    (0x0806, "arp"),
    (0x86dd, "ipv6"),
    (0x0001, "802.3"),
    (0x0004, "802.2"),
    (0x22f0, "tsn"),
    (0x8035, "rarp"),
    (0x8100, "vlan"),
    (0x8847, "mpls"),
    (0x8848, "mpls-mc"),
    (0x8863, "pppoe-disc"),
    (0x8864, "pppoe"),
    (0x888e, "eapol"),
    (0x88a8, "qinq"),
    (0x88cc, "lldp"),
    (0x88e5, "macsec"),
    (0x88f7, "ptp"),
];

/// Names of IP protocols: the IANA keyword in lower case.
pub(crate) const IP_PROTOCOLS: &Names<u8> = &[
    (6, "tcp"),
    (17, "udp"),
    (1, "icmp"),
    (58, "icmpv6"),
    (132, "sctp"),
    (136, "udplite"),
    (2, "igmp"),
    (4, "ipip"),
    (33, "dccp"),
    (41, "ipv6-in-ip"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (59, "ipv6-nonxt"),
    (88, "eigrp"),
    (89, "ospf"),
    (103, "pim"),
    (112, "vrrp"),
    (115, "l2tp"),
];

/// Names of ARP's operations, IANA "Address Resolution Protocol Parameters".
pub(crate) const ARP_OPERATIONS: &Names<u16> = &[
    (1, "request"),
    (2, "reply"),
    (3, "rarp-request"),
    (4, "rarp-reply"),
    (8, "inarp-request"),
    (9, "inarp-reply"),
    (10, "nak"),
];

/// Names of IGMP's types, IANA "IGMP Type Numbers".
pub(crate) const IGMP_TYPES: &Names<u8> = &[
    (0x11, "query"),
    (0x12, "v1-report"),
    (0x16, "v2-report"),
    (0x22, "v3-report"),
    (0x17, "leave"),
];

/// Names of IPv4 options, IANA "IP Option Numbers".
pub(crate) const IPV4_OPTIONS: &Names<u8> = &[
    (7, "rr"),
    (25, "qs"),
    (68, "ts"),
    (82, "tr"),
    (130, "sec"),
    (131, "lsrr"),
    (133, "esec"),
    (134, "cipso"),
    (136, "sid"),
    (137, "ssrr"),
    (148, "ra"),
];

/// Names of IPv6 extension headers, by IP protocol number.
pub(crate) const IPV6_EXTENSIONS: &Names<u8> = &[
    (0, "hbh"),
    (43, "route"),
    (44, "frag"),
    (60, "dst"),
    (51, "auth"),
];

/// A type of ICMP message, and the names of its codes.
pub(crate) struct IcmpType {
    /// Its name.
    pub(crate) name: &'static str,
    /// Codes; empty where only 0 is in use.
    pub(crate) codes: &'static Names<u8>,
}

/// A type whose codes have no names.
const fn plain(name: &'static str) -> Option<IcmpType> {
    Some(IcmpType { name, codes: &[] })
}

/// A type whose codes have names.
const fn coded(name: &'static str, codes: &'static Names<u8>) -> Option<IcmpType> {
    Some(IcmpType { name, codes })
}

/// The type of an ICMP message, IANA "ICMP Type Numbers" and "Code Fields".
pub(crate) fn icmp_type(number: u8) -> Option<IcmpType> {
    match number {
        0 => plain("echo-reply"),
        3 => coded(
            "dest-unreachable",
            &[
                (0, "net"),
                (1, "host"),
                (2, "protocol"),
                (3, "port"),
                (4, "frag-needed"),
                (5, "source-route"),
                (6, "net-unknown"),
                (7, "host-unknown"),
                (8, "source-isolated"),
                (9, "net-prohibited"),
                (10, "host-prohibited"),
                (11, "net-tos"),
                (12, "host-tos"),
                (13, "admin-prohibited"),
                (14, "host-precedence"),
                (15, "precedence-cutoff"),
            ],
        ),
        4 => plain("source-quench"),
        5 => coded(
            "redirect",
            &[(0, "net"), (1, "host"), (2, "net-tos"), (3, "host-tos")],
        ),
        8 => plain("echo-request"),
        9 => plain("router-advertisement"),
        10 => plain("router-solicitation"),
        11 => coded("time-exceeded", &[(0, "ttl"), (1, "reassembly")]),
        12 => coded(
            "parameter-problem",
            &[(0, "pointer"), (1, "missing-option"), (2, "bad-length")],
        ),
        13 => plain("timestamp"),
        14 => plain("timestamp-reply"),
        15 => plain("information-request"),
        16 => plain("information-reply"),
        17 => plain("address-mask-request"),
        18 => plain("address-mask-reply"),
        40 => plain("photuris"),
        42 => plain("extended-echo-request"),
        43 => coded("extended-echo-reply", EXTENDED_ECHO_CODES),
        _ => None,
    }
}

/// The type of an ICMPv6 message, IANA "ICMPv6 Parameters".
pub(crate) fn icmpv6_type(number: u8) -> Option<IcmpType> {
    match number {
        1 => coded(
            "dest-unreachable",
            &[
                (0, "no-route"),
                (1, "admin-prohibited"),
                (2, "beyond-scope"),
                (3, "address"),
                (4, "port"),
                (5, "source-policy"),
                (6, "reject-route"),
                (7, "source-route"),
                (8, "headers-too-long"),
            ],
        ),
        2 => plain("packet-too-big"),
        3 => coded("time-exceeded", &[(0, "hop-limit"), (1, "reassembly")]),
        4 => coded(
            "parameter-problem",
            &[
                (0, "header-field"),
                (1, "next-header"),
                (2, "option"),
                (3, "first-fragment"),
                (4, "sr-upper-layer"),
                (5, "next-header-at-router"),
                (6, "extension-too-big"),
                (7, "chain-too-long"),
                (8, "too-many-extensions"),
                (9, "too-many-options"),
                (10, "option-too-big"),
            ],
        ),
        128 => plain("echo-request"),
        129 => plain("echo-reply"),
        130 => plain("mld-query"),
        131 => plain("mld-report"),
        132 => plain("mld-done"),
        133 => plain("router-solicitation"),
        134 => plain("router-advertisement"),
        135 => plain("neighbor-solicitation"),
        136 => plain("neighbor-advertisement"),
        137 => plain("redirect"),
        138 => plain("router-renumbering"),
        139 => plain("node-information-query"),
        140 => plain("node-information-response"),
        141 => plain("inverse-nd-solicitation"),
        142 => plain("inverse-nd-advertisement"),
        143 => plain("mldv2-report"),
        144 => plain("home-agent-request"),
        145 => plain("home-agent-reply"),
        146 => plain("mobile-prefix-solicitation"),
        147 => plain("mobile-prefix-advertisement"),
        148 => plain("certification-path-solicitation"),
        149 => plain("certification-path-advertisement"),
        151 => plain("multicast-router-advertisement"),
        152 => plain("multicast-router-solicitation"),
        153 => plain("multicast-router-termination"),
        155 => plain("rpl-control"),
        157 => plain("duplicate-address-request"),
        158 => plain("duplicate-address-confirmation"),
        160 => plain("extended-echo-request"),
        161 => coded("extended-echo-reply", EXTENDED_ECHO_CODES),
        _ => None,
    }
}

/// RFC 8335, 3.
const EXTENDED_ECHO_CODES: &Names<u8> = &[
    (0, "no-error"),
    (1, "malformed-query"),
    (2, "no-such-interface"),
    (3, "no-such-entry"),
    (4, "multiple-interfaces"),
];

/// Names of TCP states, `include/net/tcp_states.h`.
const TCP_STATES: &Names<u8> = &[
    (1, "ESTABLISHED"),
    (2, "SYN_SENT"),
    (3, "SYN_RECV"),
    (4, "FIN_WAIT1"),
    (5, "FIN_WAIT2"),
    (6, "TIME_WAIT"),
    (7, "CLOSE"),
    (8, "CLOSE_WAIT"),
    (9, "LAST_ACK"),
    (10, "LISTEN"),
    (11, "CLOSING"),
    (12, "NEW_SYN_RECV"),
    (13, "BOUND_INACTIVE"),
];

/// Name of a TCP state.
pub(crate) fn state_name(state: u8) -> Option<&'static str> {
    name_of(TCP_STATES, state)
}

/// Names of the address families whose packets have no ethertype, `AF_*` in
/// `include/linux/socket.h`.
pub(crate) const FAMILIES: &Names<u16> = &[
    (1, "unix"),
    (16, "netlink"),
    (15, "key"),
    (29, "can"),
    (30, "tipc"),
    (31, "bluetooth"),
    (38, "alg"),
    (40, "vsock"),
];
