//! What kind of drop it is: a loss, or one of those that every machine has all the time.
//!
//! [`RULES`] is the table, `docs/classes.md` says why each of its rows is there. What is in no row is
//! a [`Class::Drop`]: in doubt, a drop is a loss. That a kernel gives no reason, or `NOT_SPECIFIED`,
//! says nothing; then a row asks for the call site and for the packet.

use crate::enrich::symbol::without_suffix;

/// What kind of drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A loss that somebody may care about.
    Drop,
    /// Nobody here takes such a packet: a closed port, a protocol without a handler.
    Refused,
    /// What waited in the queue of a socket, device or neighbour that goes away.
    Teardown,
    /// The protocol or the kernel's way of working makes it happen: duplicates, packets for others.
    Expected,
}

impl Class {
    /// As lines show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Refused => "refused",
            Self::Teardown => "teardown",
            Self::Expected => "expected",
        }
    }
}

/// Where and why the kernel dropped a packet.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Drop reason, as `NO_SOCKET`; `None` on kernels that give none.
    pub reason: Option<&'a str>,
    /// Function of the call site, without offset; a suffix from the compiler does not matter. `None`
    /// if it is unknown.
    pub site: Option<&'a str>,
    /// Functions that called it, innermost first; empty if they are unknown.
    pub callers: &'a [&'a str],
}

/// What a drop's packet is, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Its protocol.
    pub protocol: Protocol,
    /// Whom the link layer says it is for.
    pub delivery: Delivery,
}

/// The protocol of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Neither an ethertype nor a socket's family is known.
    #[default]
    Unknown,
    /// Not IP, or IP whose headers can't be read: the ethertype in host byte order.
    Ethertype(u16),
    /// UDP or UDP-Lite.
    Udp,
    /// TCP.
    Tcp {
        /// Flags as in the header (RFC 9293), FIN in the lowest bit.
        flags: Option<u8>,
        /// Whether the kernel took it for a connection that is in `TIME_WAIT`.
        time_wait: bool,
    },
    /// ICMP, with its type.
    Icmp(Option<u8>),
    /// ICMPv6, with its type.
    Icmpv6(Option<u8>),
    /// Another protocol over IP, by its number.
    Ip(u8),
    /// A message of an `AF_UNIX` socket.
    Unix,
    /// A message of an `AF_NETLINK` socket.
    Netlink,
}

/// Whom the link layer says a packet is for, `skb->pkt_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Not known, or none of the others.
    #[default]
    Unknown,
    /// This machine.
    Host,
    /// All on the link.
    Broadcast,
    /// A group on the link; also what this machine itself sent to many and gets back.
    Multicast,
    /// Another machine.
    OtherHost,
}

impl Delivery {
    /// From the kernel's number, `PACKET_*` in `include/uapi/linux/if_packet.h`.
    pub fn from_pkt_type(pkt_type: u8) -> Self {
        match pkt_type {
            0 => Self::Host,
            1 => Self::Broadcast,
            // PACKET_MULTICAST, PACKET_LOOPBACK.
            2 | 5 => Self::Multicast,
            3 => Self::OtherHost,
            _ => Self::Unknown,
        }
    }
}

/// The rows that fit a [`Place`]. Looking for them compares names; a caller keeps the result by
/// location, stack and reason, and asks it about each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidates(u64);

impl Candidates {
    /// Looks for the rows.
    pub fn at(place: Place<'_>) -> Self {
        let rules = RULES.iter().enumerate();
        let fitting = rules.filter(|(_, rule)| rule.fits(&place));
        Self(fitting.fold(0, |bits, (index, _)| bits | 1 << index))
    }

    /// The class of a packet that was dropped there.
    pub fn class(self, packet: &Packet) -> Class {
        self.rule(packet).map_or(Class::Drop, |rule| rule.class)
    }

    /// The first row that fits the packet as well.
    fn rule(self, packet: &Packet) -> Option<&'static Rule> {
        let mut bits = self.0;
        while bits != 0 {
            let rule = RULES.get(bits.trailing_zeros() as usize)?;
            if (rule.packet)(packet) {
                return Some(rule);
            }
            bits &= bits - 1;
        }
        None
    }
}

/// A row: which drops are of a class.
struct Rule {
    class: Class,
    /// Any of these reasons; [`NONE`] is that of kernels without reasons. Empty for any.
    reasons: &'static [&'static str],
    /// Any of these call sites, empty for any.
    sites: &'static [&'static str],
    /// Any of these among the [`NEAR`] innermost callers, empty for any.
    callers: &'static [&'static str],
    packet: fn(&Packet) -> bool,
}

/// Where most rows say nothing.
const ANY: Rule = Rule {
    class: Class::Drop,
    reasons: &[],
    sites: &[],
    callers: &[],
    packet: |_| true,
};

/// Stands for the reason where a kernel gives none.
const NONE: &str = "-";
/// The reasons that say nothing.
const UNSPECIFIED: &[&str] = &[NONE, "NOT_SPECIFIED"];
/// How many callers are looked at: a function may have been inlined or not, but what happens far
/// out on the stack has nothing to do with the drop.
pub(crate) const NEAR: usize = 2;

impl Rule {
    fn fits(&self, place: &Place<'_>) -> bool {
        let is_among = |names: &[&str], name| names.is_empty() || names.contains(&name);
        let site = place.site.map_or("", without_suffix);
        let callers = || place.callers.iter().take(NEAR).copied();
        is_among(self.reasons, place.reason.unwrap_or(NONE))
            && is_among(self.sites, site)
            && (self.callers.is_empty()
                || callers().any(|name| self.callers.contains(&without_suffix(name))))
    }
}

fn is_ip(packet: &Packet) -> bool {
    match packet.protocol {
        Protocol::Udp
        | Protocol::Tcp { .. }
        | Protocol::Icmp(_)
        | Protocol::Icmpv6(_)
        | Protocol::Ip(_) => true,
        // ETH_P_IP, ETH_P_IPV6.
        Protocol::Ethertype(ethertype) => matches!(ethertype, 0x0800 | 0x86dd),
        Protocol::Unknown | Protocol::Unix | Protocol::Netlink => false,
    }
}

fn is_udp_for_many(packet: &Packet) -> bool {
    let is_for_many = matches!(packet.delivery, Delivery::Broadcast | Delivery::Multicast);
    packet.protocol == Protocol::Udp && is_for_many
}

fn is_tcp(packet: &Packet) -> bool {
    matches!(packet.protocol, Protocol::Tcp { .. })
}

/// The end of a connection, or for one that is at its end.
fn is_closing_tcp(packet: &Packet) -> bool {
    const FIN: u8 = 1;
    match packet.protocol {
        Protocol::Tcp { flags, time_wait } => {
            time_wait || flags.is_some_and(|flags| flags & FIN != 0)
        }
        _ => false,
    }
}

/// Messages of netlink sockets have no ethertype, and before they are delivered no socket.
fn is_netlink(packet: &Packet) -> bool {
    matches!(packet.protocol, Protocol::Netlink | Protocol::Unknown)
}

fn is_unix(packet: &Packet) -> bool {
    matches!(packet.protocol, Protocol::Unix | Protocol::Unknown)
}

fn is_for_others(packet: &Packet) -> bool {
    packet.delivery == Delivery::OtherHost
}

/// Protocols between neighbours on a link, which switches and routers speak whether anybody listens
/// or not (`include/uapi/linux/if_ether.h`).
fn is_link_control(packet: &Packet) -> bool {
    matches!(
        packet.protocol,
        Protocol::Ethertype(
            0x0004 // ETH_P_802_2: STP, and CDP and its like in SNAP
            | 0x8808 // ETH_P_PAUSE
            | 0x8809 // ETH_P_SLOW: LACP
            | 0x888e // ETH_P_PAE: 802.1X
            | 0x88cc // ETH_P_LLDP
            | 0x88f5 // ETH_P_MVRP
            | 0x8902 // ETH_P_CFM
            | 0x9000 // ETH_P_LOOPBACK: keepalives of switches
        )
    )
}

/// The table; of two rows that fit, the first one counts.
static RULES: &[Rule] = &[
    // Losses that look like one of the kinds below.
    Rule {
        reasons: &["QUEUE_PURGE"],
        sites: &[
            "__neigh_update",
            "neigh_invalidate",
            "wg_packet_purge_staged_packets",
        ],
        ..ANY
    },
    // For others, and duplicates.
    Rule {
        class: Class::Expected,
        reasons: &["OTHERHOST", "IPV6_NDISC_NS_OTHERHOST", "TAP_TXFILTER"],
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: UNSPECIFIED,
        sites: &["ip_rcv_core", "ip6_rcv_core"],
        packet: is_for_others,
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: &["UNHANDLED_PROTO"],
        sites: &["__netif_receive_skb_core"],
        packet: is_for_others,
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: &[NONE, "NOT_SPECIFIED", "UNHANDLED_PROTO"],
        sites: &["__netif_receive_skb_core"],
        packet: is_link_control,
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: &["MAC_IEEE_MAC_CONTROL"],
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: UNSPECIFIED,
        sites: &["br_handle_frame"],
        packet: |packet| packet.protocol == Protocol::Ethertype(0x8808),
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: UNSPECIFIED,
        sites: &["stp_pdu_rcv", "br_stp_rcv"],
        packet: |packet| packet.protocol == Protocol::Ethertype(0x0004),
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: UNSPECIFIED,
        sites: &["ip6_mc_input"],
        packet: is_ip,
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: &["NOT_SPECIFIED"],
        sites: &["ip_rcv_finish_core"],
        packet: |packet| is_ip(packet) && packet.delivery == Delivery::Multicast,
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: &["IPV6DISABLED"],
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: &[
            "DUP_FRAG",
            "TCP_OFOMERGE",
            "TCP_OFO_DROP",
            "TCP_OLD_DATA",
            "TCP_OLD_SEQUENCE",
            "TCP_RFC7323_PAWS_ACK",
        ],
        ..ANY
    },
    // Handled, and freed in a way that looks like a drop.
    Rule {
        class: Class::Expected,
        reasons: UNSPECIFIED,
        sites: &["igmp_rcv"],
        packet: |packet| packet.protocol == Protocol::Ip(2),
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: UNSPECIFIED,
        sites: &["icmpv6_rcv"],
        // Errors, echo requests, multicast listeners, neighbours and routers.
        packet: |packet| {
            matches!(
                packet.protocol,
                Protocol::Icmpv6(Some(1..=4 | 128 | 130..=137 | 143))
            )
        },
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: UNSPECIFIED,
        sites: &["netlink_unicast", "nfnetlink_rcv_batch"],
        packet: is_netlink,
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: UNSPECIFIED,
        sites: &[
            "unix_dgram_sendmsg",
            "unix_stream_connect",
            "unix_stream_read_generic",
            "unix_stream_sendmsg",
        ],
        packet: is_unix,
        ..ANY
    },
    Rule {
        class: Class::Expected,
        reasons: &["UNIX_SKIP_OOB"],
        ..ANY
    },
    // Nobody takes it.
    Rule {
        class: Class::Refused,
        reasons: &["NO_SOCKET", "IP_NOPROTO"],
        ..ANY
    },
    Rule {
        class: Class::Refused,
        reasons: &["UNHANDLED_PROTO"],
        sites: &["__netif_receive_skb_core"],
        ..ANY
    },
    Rule {
        class: Class::Refused,
        reasons: &["NOT_SPECIFIED"],
        sites: &["__udp4_lib_rcv", "__udp6_lib_rcv", "udp_rcv", "udpv6_rcv"],
        packet: is_udp_for_many,
        ..ANY
    },
    Rule {
        class: Class::Refused,
        reasons: &[NONE],
        sites: &["icmp_rcv", "icmpv6_rcv"],
        // Echo replies.
        packet: |packet| {
            matches!(
                packet.protocol,
                Protocol::Icmp(Some(0)) | Protocol::Icmpv6(Some(129))
            )
        },
        ..ANY
    },
    // Sockets, devices and neighbours that go away.
    Rule {
        class: Class::Teardown,
        reasons: &[
            "QUEUE_PURGE",
            "SOCKET_CLOSE",
            "TCP_ABORT_ON_DATA",
            "TCP_CLOSE",
            "UNIX_DISCONNECT",
        ],
        ..ANY
    },
    Rule {
        class: Class::Teardown,
        reasons: UNSPECIFIED,
        sites: &["tcp_v4_rcv", "tcp_v6_rcv"],
        packet: is_closing_tcp,
        ..ANY
    },
    Rule {
        class: Class::Teardown,
        reasons: UNSPECIFIED,
        sites: &["inet_sock_destruct", "udp_destruct_common"],
        packet: is_ip,
        ..ANY
    },
    Rule {
        class: Class::Teardown,
        reasons: UNSPECIFIED,
        sites: &["sk_stream_kill_queues", "tcp_disconnect"],
        packet: is_tcp,
        ..ANY
    },
    Rule {
        class: Class::Teardown,
        reasons: UNSPECIFIED,
        sites: &["skb_rbtree_purge"],
        callers: &["tcp_disconnect", "tcp_v4_destroy_sock"],
        packet: is_tcp,
    },
    Rule {
        class: Class::Teardown,
        reasons: UNSPECIFIED,
        sites: &["__ip_flush_pending_frames", "__ip6_flush_pending_frames"],
        callers: &["udp_destroy_sock", "udpv6_destroy_sock"],
        // Its headers are not written yet.
        ..ANY
    },
    Rule {
        class: Class::Teardown,
        reasons: UNSPECIFIED,
        sites: &["__unix_gc", "unix_gc", "unix_release_sock"],
        packet: is_unix,
        ..ANY
    },
    Rule {
        class: Class::Teardown,
        reasons: UNSPECIFIED,
        sites: &["skb_queue_purge"],
        callers: &["unix_dgram_disconnected", "unix_sock_destructor"],
        packet: is_unix,
    },
    Rule {
        class: Class::Teardown,
        reasons: UNSPECIFIED,
        sites: &["netlink_release"],
        packet: is_netlink,
        ..ANY
    },
    Rule {
        class: Class::Teardown,
        reasons: UNSPECIFIED,
        sites: &["skb_queue_purge"],
        callers: &["netlink_sock_destruct"],
        packet: is_netlink,
    },
    Rule {
        class: Class::Teardown,
        reasons: UNSPECIFIED,
        sites: &["skb_queue_purge"],
        // Whatever passed a tap.
        callers: &["packet_release"],
        ..ANY
    },
    Rule {
        class: Class::Teardown,
        reasons: UNSPECIFIED,
        // Whatever waited in a device's queue.
        sites: &[
            "__rtnl_unlock",
            "cake_reset",
            "pfifo_fast_reset",
            "qdisc_reset",
            "tun_queue_purge",
        ],
        ..ANY
    },
    Rule {
        class: Class::Teardown,
        reasons: UNSPECIFIED,
        sites: &["kfree_skb_list", "kfree_skb_list_reason"],
        callers: &["__rtnl_unlock", "qdisc_reset"],
        ..ANY
    },
    Rule {
        class: Class::Teardown,
        reasons: UNSPECIFIED,
        sites: &["neigh_destroy"],
        packet: is_ip,
        ..ANY
    },
];

// `Candidates` has a bit for each row.
const _: () = assert!(RULES.len() <= 64);

#[cfg(test)]
#[path = "classify/tests.rs"]
mod tests;
