//! ARP, RFC 826.

use std::net::Ipv4Addr;

use super::{Addresses, ETHERTYPE_IPV4, u16_at};

/// `ARPHRD_ETHER` in `include/uapi/linux/if_arp.h`.
const HARDWARE_ETHERNET: u16 = 1;

/// The operation, which is at the same place for all kinds of addresses.
pub(super) fn operation(bytes: &[u8]) -> Option<u16> {
    u16_at(bytes, 6)
}

/// Sender's and target's protocol address; only of IPv4 over Ethernet.
pub(super) fn addresses(bytes: &[u8]) -> Option<Addresses> {
    let is_ipv4_over_ethernet = u16_at(bytes, 0)? == HARDWARE_ETHERNET
        && u16_at(bytes, 2)? == ETHERTYPE_IPV4
        && bytes.get(4..6)? == [6, 4];
    is_ipv4_over_ethernet
        .then(|| {
            let address = |at| {
                let octets: &[u8; 4] = bytes.get(at..)?.first_chunk()?;
                Some(Ipv4Addr::from(*octets).into())
            };
            Some(Addresses {
                source: address(14)?,
                destination: address(24)?,
            })
        })
        .flatten()
}
