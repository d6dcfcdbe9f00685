//! Counters of interfaces and their queueing disciplines, as `NETLINK_ROUTE` tells them for the
//! network namespace of the calling thread.
//!
//! Of each message only a few attributes are read: the library knows hundreds, and one of a newer
//! kernel that it does not understand would cost the whole interface.

use std::io;

use netlink_packet_core::{DecodeError, NlasIterator, parse_string};
use netlink_packet_route::{
    link::{LinkHeader, Stats64},
    tc::{TcHandle, TcHeader, TcStatsQueue},
};

use crate::netlink::{self, Request};

// `include/uapi/linux/rtnetlink.h`, `if_link.h`, `gen_stats.h`.
const RTM_GETLINK: u16 = 18;
const RTM_GETQDISC: u16 = 38;
const IFLA_IFNAME: u16 = 3;
const IFLA_STATS64: u16 = 23;
const TCA_KIND: u16 = 1;
const TCA_STATS2: u16 = 7;
const TCA_STATS_QUEUE: u16 = 3;

/// Bytes of `struct ifinfomsg` and `struct tcmsg`, before the attributes.
const LINK_HEADER: usize = 16;
const TC_HEADER: usize = 20;

/// A counter of `struct rtnl_link_stats64`.
type Statistic = fn(&Stats64) -> u64;

/// Those that count losses, by the names of the entries in `texts.toml`.
pub(super) const STATISTICS: [(&str, Statistic); 15] = [
    ("interface rx_dropped", |it| it.rx_dropped),
    ("interface tx_dropped", |it| it.tx_dropped),
    ("interface rx_errors", |it| it.rx_errors),
    ("interface tx_errors", |it| it.tx_errors),
    ("interface rx_missed_errors", |it| it.rx_missed_errors),
    ("interface rx_fifo_errors", |it| it.rx_fifo_errors),
    ("interface rx_over_errors", |it| it.rx_over_errors),
    ("interface rx_crc_errors", |it| it.rx_crc_errors),
    ("interface rx_frame_errors", |it| it.rx_frame_errors),
    ("interface rx_length_errors", |it| it.rx_length_errors),
    ("interface tx_aborted_errors", |it| it.tx_aborted_errors),
    ("interface tx_carrier_errors", |it| it.tx_carrier_errors),
    ("interface tx_fifo_errors", |it| it.tx_fifo_errors),
    ("interface tx_heartbeat_errors", |it| it.tx_heartbeat_errors),
    ("interface tx_window_errors", |it| it.tx_window_errors),
];

/// The name of the counter of queueing disciplines.
pub(super) const QDISC_DROPS: &str = "qdisc drops";

/// An interface.
pub(super) struct Link {
    /// Its index.
    pub(super) index: u32,
    /// Its name, any bytes but NUL and `/`.
    pub(super) name: Vec<u8>,
    /// What it has counted.
    pub(super) statistics: Stats64,
}

/// The queueing discipline at the root of an interface, or of what it receives. What its classes
/// drop it counts as well.
pub(super) struct Qdisc {
    /// Index of the interface.
    pub(super) interface: u32,
    /// Its handle, `major << 16`.
    pub(super) handle: u32,
    /// As `fq_codel`.
    pub(super) kind: String,
    /// Packets that it dropped.
    pub(super) drops: u32,
}

/// Reads all interfaces.
///
/// # Errors
/// The kernel does not tell.
pub(super) fn links() -> io::Result<Vec<Link>> {
    let mut links = Vec::new();
    let request = Request {
        kind: RTM_GETLINK,
        body: LinkHeader::default(),
    };
    netlink::dump(None, request, |message| match link(message) {
        Ok(link) => links.extend(link),
        Err(error) => log::debug!("an interface that is not understood: {error}"),
    })?;
    Ok(links)
}

/// Reads the queueing disciplines at the roots of all interfaces.
///
/// # Errors
/// The kernel does not tell.
pub(super) fn qdiscs() -> io::Result<Vec<Qdisc>> {
    let mut qdiscs = Vec::new();
    let request = Request {
        kind: RTM_GETQDISC,
        body: TcHeader::default(),
    };
    netlink::dump(None, request, |message| match qdisc(message) {
        Ok(qdisc) => qdiscs.extend(qdisc),
        Err(error) => log::debug!("a qdisc that is not understood: {error}"),
    })?;
    Ok(qdiscs)
}

fn link(message: &[u8]) -> Result<Option<Link>, DecodeError> {
    let header = LinkHeader::parse(message)?;
    let (mut name, mut statistics) = (None, None);
    for attribute in NlasIterator::new(message.get(LINK_HEADER..).unwrap_or_default()) {
        let attribute = attribute?;
        match attribute.kind() {
            IFLA_IFNAME => {
                let text = attribute.value();
                name = Some(text.strip_suffix(&[0]).unwrap_or(text).to_vec());
            }
            IFLA_STATS64 => statistics = Some(Stats64::parse(attribute.value())?),
            _ => {}
        }
    }
    Ok(name.zip(statistics).map(|(name, statistics)| Link {
        index: header.index,
        name,
        statistics,
    }))
}

fn qdisc(message: &[u8]) -> Result<Option<Qdisc>, DecodeError> {
    let header = TcHeader::parse(message)?;
    if header.parent != TcHandle::ROOT && header.parent != TcHandle::INGRESS {
        return Ok(None);
    }
    let (mut kind, mut drops) = (None, None);
    for attribute in NlasIterator::new(message.get(TC_HEADER..).unwrap_or_default()) {
        let attribute = attribute?;
        match attribute.kind() {
            TCA_KIND => kind = Some(parse_string(attribute.value())?),
            TCA_STATS2 => {
                for nested in NlasIterator::new(attribute.value()) {
                    let nested = nested?;
                    if nested.kind() == TCA_STATS_QUEUE {
                        drops = Some(TcStatsQueue::parse(nested.value())?.drops);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(kind.zip(drops).map(|(kind, drops)| Qdisc {
        interface: header.index.cast_unsigned(),
        handle: header.handle.into(),
        kind,
        drops,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_loopback_device_of_this_host() {
        let links = links().unwrap();
        let loopback = links.iter().find(|link| link.name == b"lo").unwrap();
        assert_eq!(loopback.index, 1);
        let statistics = loopback.statistics;
        assert_eq!(STATISTICS[0].1(&statistics), statistics.rx_dropped);
        // Whether it has one depends on the kernel.
        for qdisc in qdiscs().unwrap() {
            assert!(links.iter().any(|link| link.index == qdisc.interface));
            assert!(!qdisc.kind.is_empty());
        }
    }

    proptest! {
        #[test]
        fn no_message_is_too_broken(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop((link(&bytes), qdisc(&bytes)));
        }
    }
}
