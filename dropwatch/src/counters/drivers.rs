//! Counters that drivers keep beside the interface's own, as `ethtool -S` shows them: losses in the
//! device, and by XDP programs, come before there is a packet that could be freed.
#![allow(
    unsafe_code,
    reason = "the counters come by an ioctl for which there is no safe crate, see below"
)]

use std::{ffi::c_char, io, os::fd::AsRawFd as _, os::fd::OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use zerocopy::FromZeros;

use super::interfaces::STATISTICS;

// `include/uapi/linux/ethtool.h`.
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETH_SS_STATS: u32 = 1;
const ETH_GSTRING_LEN: usize = 32;

/// Counters of an interface that are read at most; a network card with a hundred queues has some
/// thousand.
const LIMIT: usize = 16 * 1024;

/// What the buffers have room for. The kernel writes as many counters as the driver has when it is
/// asked for them, whatever the caller has room for: the queues can be reconfigured after they were
/// counted.
const ROOM: usize = 4 * LIMIT;

/// The names of counters of lost packets contain one of these. Errors do not count: what is lost by
/// them is in the interface's statistics, and drivers count as such what is no loss, too.
const LOSSES: [&str; 11] = [
    "drop",
    "discard",
    "miss",
    "overrun",
    "overflow",
    "no_buf",
    "nobuf",
    "out_of_buf",
    "no_dma",
    "alloc_fail",
    "alloc_err",
];

/// Reads counters of interfaces in the network namespace that it was made in.
pub(super) struct Drivers {
    /// Any socket will do (`dev_ioctl` in `net/core/dev_ioctl.c`).
    socket: OwnedFd,
}

/// `struct ethtool_sset_info` for one set of strings.
#[repr(C)]
struct StringSet {
    command: u32,
    reserved: u32,
    /// Which sets are asked for, then which of them there are.
    mask: u64,
    /// How many strings it has.
    len: u32,
}

/// `struct ethtool_gstrings` with room for the strings.
#[derive(FromZeros)]
#[repr(C)]
struct Strings {
    command: u32,
    set: u32,
    len: u32,
    names: [[u8; ETH_GSTRING_LEN]; ROOM],
}

/// `struct ethtool_stats` with room for the numbers.
#[derive(FromZeros)]
#[repr(C)]
struct Numbers {
    command: u32,
    len: u32,
    numbers: [u64; ROOM],
}

/// What `SIOCETHTOOL` can be given.
///
/// # Safety
/// The first member is the command, and the kernel writes no more for it than the type has room for.
unsafe trait Command {}

// SAFETY: one set is asked for, so one length is written.
unsafe impl Command for StringSet {}
// SAFETY: `ROOM` is four times what was counted a moment ago; no driver gains 48,000 counters.
unsafe impl Command for Strings {}
// SAFETY: as above.
unsafe impl Command for Numbers {}

impl Drivers {
    /// # Errors
    /// The kernel gives no socket.
    pub(super) fn new() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Self { socket })
    }

    /// The counters of lost packets of an interface, without those that [`STATISTICS`] has by the
    /// same name.
    ///
    /// # Errors
    /// There is no such interface, or its driver does not tell or has too many.
    pub(super) fn losses(&self, interface: &[u8]) -> io::Result<Vec<(String, u64)>> {
        let count = self.count(interface)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        if count > LIMIT {
            return Err(io::Error::other(format!("{count} counters")));
        }
        let len = u32::try_from(count).map_err(io::Error::other)?;
        let mut strings = zeroed::<Strings>()?;
        (strings.command, strings.set, strings.len) = (ETHTOOL_GSTRINGS, ETH_SS_STATS, len);
        self.ask(interface, &mut *strings)?;
        let mut numbers = zeroed::<Numbers>()?;
        (numbers.command, numbers.len) = (ETHTOOL_GSTATS, len);
        self.ask(interface, &mut *numbers)?;
        // Between the two the driver has changed: no name fits its number for sure.
        if strings.len != len || numbers.len != len {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let pairs = strings.names.iter().zip(&numbers.numbers).take(count);
        let pairs = pairs.map(|(name, number)| (name_of(name), *number));
        Ok(pairs.filter(|(name, _)| is_loss(name)).collect())
    }

    /// How many counters there are.
    fn count(&self, interface: &[u8]) -> io::Result<usize> {
        let mut set = StringSet {
            command: ETHTOOL_GSSET_INFO,
            reserved: 0,
            mask: 1 << ETH_SS_STATS,
            len: 0,
        };
        self.ask(interface, &mut set)?;
        // Without the bit the driver has no such set, and nothing was written.
        Ok(if set.mask == 0 { 0 } else { set.len as usize })
    }

    fn ask(&self, interface: &[u8], command: &mut impl Command) -> io::Result<()> {
        let mut name = [0; libc::IFNAMSIZ];
        // The last byte stays 0.
        for (to, from) in name.iter_mut().zip(interface).take(libc::IFNAMSIZ - 1) {
            *to = c_char::from_ne_bytes([*from]);
        }
        let mut request = libc::ifreq {
            ifr_name: name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: (&raw mut *command).cast(),
            },
        };
        // SAFETY: the name ends with 0, and the kernel writes no more to `command` than it has room
        // for, by the promise of `Command`.
        let done =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        match done {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

/// Megabytes that are not on the stack, of which the kernel only provides what is written.
fn zeroed<T: FromZeros>() -> io::Result<Box<T>> {
    T::new_box_zeroed().map_err(|_too_large| io::ErrorKind::OutOfMemory.into())
}

/// The text of a name, which need not end with 0.
fn name_of(bytes: &[u8; ETH_GSTRING_LEN]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    // Some drivers pad their names.
    text.trim_ascii().escape_ascii().to_string()
}

fn is_loss(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let in_statistics = |(statistic, _): &(&str, _)| {
        statistic
            .strip_prefix("interface ")
            .is_some_and(|statistic| statistic == lower)
    };
    LOSSES.iter().any(|loss| lower.contains(loss)) && !STATISTICS.iter().any(in_statistics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_losses() {
        for (name, expected) in [
            ("rx_queue_0_xdp_drops", true),
            ("rx_out_of_buffer", true),
            ("rx_no_dma_resources", true),
            ("port.rx_discards", true),
            ("[3]: rx_discards", true),
            ("rx_fifo_overrun", true),
            ("rx_packets", false),
            ("tx_queue_0_xdp_tx", false),
            ("rx_csum_offload_errors", false),
            ("peer_ifindex", false),
            // These are there already.
            ("rx_missed_errors", false),
            ("tx_dropped", false),
        ] {
            assert_eq!(is_loss(name), expected, "{name}");
        }
    }

    #[test]
    fn names_are_text() {
        let mut bytes = [0; ETH_GSTRING_LEN];
        bytes[..9].copy_from_slice(b" rx\x1b[mdr ");
        assert_eq!(name_of(&bytes), r"rx\x1b[mdr");
        assert_eq!(name_of(&[b'x'; ETH_GSTRING_LEN]).len(), ETH_GSTRING_LEN);
    }

    #[test]
    fn devices_without_counters() {
        let drivers = Drivers::new().unwrap();
        assert_eq!(drivers.losses(b"lo").unwrap(), []);
        let error = drivers.losses(b"a name that is too long").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
