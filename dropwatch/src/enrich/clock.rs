//! Boot time to wall-clock time.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::record::DropTime;

const NS_PER_SECOND: i64 = 1_000_000_000;

/// The distance of the wall clock from the clock that the kernel side uses.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME`, in nanoseconds.
    offset_ns: i64,
}

impl Clock {
    /// Reads both clocks. To be repeated, because somebody may set the wall
    /// clock.
    pub(crate) fn sample(&mut self) {
        let wall = nanoseconds(clock_gettime(ClockId::Realtime));
        let boot = nanoseconds(clock_gettime(ClockId::Boottime));
        self.offset_ns = wall - boot;
    }

    /// The point in time at which `CLOCK_BOOTTIME` was `boot_ns`.
    pub(crate) fn time(&self, boot_ns: u64) -> DropTime {
        DropTime {
            boot_ns,
            unix_ns: self.offset_ns.saturating_add_unsigned(boot_ns),
        }
    }
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec * NS_PER_SECOND + time.tv_nsec
}
