//! Numbers that the kernel promises not to change, in host byte order.

/// `AF_UNIX`, an address family in `include/linux/socket.h`, as the other `AF_*`.
pub const AF_UNIX: u16 = 1;
/// `AF_INET`: IPv4.
pub const AF_INET: u16 = 2;
/// `AF_INET6`: IPv6.
pub const AF_INET6: u16 = 10;
/// `AF_NETLINK`.
pub const AF_NETLINK: u16 = 16;
/// `AF_PACKET`.
pub const AF_PACKET: u16 = 17;

/// `ETH_P_IP`, an ethertype in `include/uapi/linux/if_ether.h`, as the other
/// `ETHERTYPE_*`.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// `ETH_P_ARP`.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// `ETH_P_8021Q`.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// `ETH_P_IPV6`.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// `ETH_P_8021AD`.
pub const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

/// `IPPROTO_ICMP`, an IP protocol in `include/uapi/linux/in.h`, as the other
/// `IPPROTO_*`.
pub const IPPROTO_ICMP: u8 = 1;
/// `IPPROTO_IGMP`.
pub const IPPROTO_IGMP: u8 = 2;
/// `IPPROTO_TCP`.
pub const IPPROTO_TCP: u8 = 6;
/// `IPPROTO_UDP`.
pub const IPPROTO_UDP: u8 = 17;
/// `IPPROTO_DCCP`.
pub const IPPROTO_DCCP: u8 = 33;
/// `IPPROTO_ICMPV6`, in `include/uapi/linux/in6.h`.
pub const IPPROTO_ICMPV6: u8 = 58;
/// `IPPROTO_SCTP`.
pub const IPPROTO_SCTP: u8 = 132;
/// `IPPROTO_UDPLITE`.
pub const IPPROTO_UDPLITE: u8 = 136;

/// `TCP_SYN_RECV`, a state in `include/net/tcp_states.h`, as the other `TCP_*`.
pub const TCP_SYN_RECV: u8 = 3;
/// `TCP_TIME_WAIT`: also that of a socket that only waits for the last packets.
pub const TCP_TIME_WAIT: u8 = 6;
/// `TCP_LISTEN`.
pub const TCP_LISTEN: u8 = 10;
/// `TCP_NEW_SYN_RECV`: that of a request, which is no socket yet.
pub const TCP_NEW_SYN_RECV: u8 = 12;

/// Whether packets of an IP protocol start with the source and the destination
/// port (RFC 9293, RFC 768, RFC 4340, RFC 9260, RFC 3828).
#[inline(always)]
pub const fn has_ports(protocol: u8) -> bool {
    matches!(
        protocol,
        IPPROTO_TCP | IPPROTO_UDP | IPPROTO_DCCP | IPPROTO_SCTP | IPPROTO_UDPLITE
    )
}
