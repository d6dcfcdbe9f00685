//! Boot time to wall-clock time.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::record::DropTime;

const NS_PER_SECOND: i64 = 1_000_000_000;

/// Readings of the clocks that are this close together are good enough; others
/// are tried again.
const GOOD_WINDOW_NS: i64 = 20_000;

/// Most readings in a row.
const ATTEMPTS: usize = 3;

/// The distance of the wall clock from the clock that the kernel side uses.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME`, in nanoseconds.
    offset_ns: i64,
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Distance of the clocks.
    offset_ns: i64,
    /// How far off it can be.
    window_ns: i64,
}

impl Reading {
    /// Reads the wall clock between two looks at the boot clock: the process
    /// can lose the processor in between.
    fn take() -> Self {
        let before = nanoseconds(clock_gettime(ClockId::Boottime));
        let wall = nanoseconds(clock_gettime(ClockId::Realtime));
        let after = nanoseconds(clock_gettime(ClockId::Boottime));
        Self {
            offset_ns: wall - before - (after - before) / 2,
            window_ns: after - before,
        }
    }
}

impl Clock {
    /// Reads both clocks. To be repeated, because somebody may set the wall
    /// clock.
    pub(crate) fn sample(&mut self) {
        let mut best = Reading::take();
        for _ in 1..ATTEMPTS {
            if best.window_ns <= GOOD_WINDOW_NS {
                break;
            }
            let again = Reading::take();
            if again.window_ns < best.window_ns {
                best = again;
            }
        }
        self.adopt(best);
    }

    /// Takes the new offset, unless the old one is as likely: times must not
    /// jump back and forth with the precision of the readings.
    fn adopt(&mut self, reading: Reading) {
        let moved = (reading.offset_ns - self.offset_ns).abs();
        if moved > reading.window_ns.max(GOOD_WINDOW_NS) {
            self.offset_ns = reading.offset_ns;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_differences_are_noise_and_large_ones_a_set_clock() {
        let mut clock = Clock {
            offset_ns: 1_000_000,
        };
        let offset_after = |clock: &mut Clock, offset_ns, window_ns| {
            clock.adopt(Reading {
                offset_ns,
                window_ns,
            });
            clock.offset_ns
        };
        assert_eq!(offset_after(&mut clock, 1_010_000, 300), 1_000_000);
        assert_eq!(offset_after(&mut clock, 5_000_000, 9_000_000), 1_000_000);
        assert_eq!(offset_after(&mut clock, 5_000_000, 300), 5_000_000);
        assert_eq!(clock.time(7).unix_ns, 5_000_007);
    }
}
