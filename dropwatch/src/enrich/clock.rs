//! Boot time to wall-clock time.

use std::fmt;

use jiff::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::record::DropTime;

const NS_PER_SECOND: i64 = 1_000_000_000;

/// Readings of the clocks that are this close together are good enough; others
/// are tried again.
const GOOD_WINDOW_NS: i64 = 20_000;

/// Most readings in a row.
const ATTEMPTS: usize = 3;

/// A clock that is set by less is not worth a word. Slewing (NTP, `adjtime`) moves both clocks and
/// leaves their distance as it is; what changes it is setting the clock, or a leap second.
const STEP_NS: i64 = 10_000_000;

/// The distance of the wall clock from the clock that the kernel side uses.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// What times are worked out by; `None` before the first reading.
    adopted: Option<Reading>,
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME`, in nanoseconds.
    offset_ns: i64,
    /// How far off it can be.
    window_ns: i64,
}

/// Somebody has set the wall clock: times of lines do so as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// By how much, in nanoseconds.
    pub(crate) by_ns: i64,
    /// What it said when this was noticed, in nanoseconds since the epoch.
    pub(crate) unix_ns: i64,
}

impl Step {
    /// Whether the clock was set between two drops of one run, as their times tell.
    pub(crate) fn between(before: DropTime, now: DropTime) -> Option<Self> {
        let offset_ns = |time: DropTime| time.unix_ns.wrapping_sub_unsigned(time.boot_ns);
        let by_ns = offset_ns(now).wrapping_sub(offset_ns(before));
        (by_ns.saturating_abs() > STEP_NS).then_some(Self {
            by_ns,
            unix_ns: now.unix_ns,
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.by_ns < 0 { '-' } else { '+' };
        let by_ms = self.by_ns.unsigned_abs() / 1_000_000;
        write!(
            out,
            "the wall clock was set by {sign}{}.{:03} s",
            by_ms / 1000,
            by_ms % 1000
        )?;
        if let Ok(at) = Timestamp::from_nanosecond(self.unix_ns.into()) {
            write!(out, ", to {at:.3}")?;
        }
        write!(
            out,
            ": lines from here on follow it; -t boot shows a clock that nobody sets"
        )
    }
}

/// The time now of `CLOCK_BOOTTIME`, the clock of drops, in nanoseconds.
pub(crate) fn boot_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Boottime)).unsigned_abs()
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
    /// clock: then it says so.
    pub(crate) fn sample(&mut self) -> Option<Step> {
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
        let by_ns = self.adopt(best)?;
        Some(Step {
            by_ns,
            unix_ns: nanoseconds(clock_gettime(ClockId::Realtime)),
        })
    }

    /// Takes the new offset, unless the old one is as likely: times must not
    /// jump back and forth with the precision of the readings. Returns by how much the
    /// clock was set, if it certainly was.
    fn adopt(&mut self, reading: Reading) -> Option<i64> {
        let Some(before) = self.adopted else {
            self.adopted = Some(reading);
            return None;
        };
        let by_ns = reading.offset_ns.saturating_sub(before.offset_ns);
        let moved = by_ns.saturating_abs();
        if moved <= reading.window_ns.max(GOOD_WINDOW_NS) {
            return None;
        }
        self.adopted = Some(reading);
        let certain = moved > before.window_ns + reading.window_ns + STEP_NS;
        certain.then_some(by_ns)
    }

    /// The point in time at which `CLOCK_BOOTTIME` was `boot_ns`.
    pub(crate) fn time(&self, boot_ns: u64) -> DropTime {
        let offset_ns = self.adopted.map_or(0, |reading| reading.offset_ns);
        DropTime {
            boot_ns,
            unix_ns: offset_ns.saturating_add_unsigned(boot_ns),
        }
    }
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec * NS_PER_SECOND + time.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(offset_ns: i64, window_ns: i64) -> Reading {
        Reading {
            offset_ns,
            window_ns,
        }
    }

    #[test]
    fn small_differences_are_noise_and_large_ones_a_set_clock() {
        let mut clock = Clock::default();
        let mut adopt = |offset_ns, window_ns| {
            let step = clock.adopt(reading(offset_ns, window_ns));
            (step, clock.time(7).unix_ns - 7)
        };
        // The first one is no step.
        assert_eq!(adopt(1_000_000, 300), (None, 1_000_000));
        assert_eq!(adopt(1_010_000, 300), (None, 1_000_000));
        assert_eq!(adopt(5_000_000, 9_000_000), (None, 1_000_000));
        assert_eq!(adopt(51_000_000, 300), (Some(50_000_000), 51_000_000));
        // Too little to talk about.
        assert_eq!(adopt(60_000_000, 300), (None, 60_000_000));
        // What a bad reading was off by is no step.
        assert_eq!(adopt(-1_000_000, 55_000_000), (None, -1_000_000));
        assert_eq!(adopt(60_000_000, 300), (None, 60_000_000));
        assert_eq!(adopt(-1_000_000, 300), (Some(-61_000_000), -1_000_000));
    }

    #[test]
    fn steps_between_drops() {
        let time = |boot_ns, unix_ns| DropTime { boot_ns, unix_ns };
        let before = time(5, 1_000_000_005);
        let by = |now| Step::between(before, now).map(|step| step.by_ns);
        assert_eq!(by(time(1_000, 1_000_001_000)), None);
        assert_eq!(by(time(1_000, 1_009_001_000)), None);
        assert_eq!(by(time(7, 3_000_000_007)), Some(2_000_000_000));
        assert_eq!(by(time(7, -3_000_000_000)), Some(-4_000_000_007));
        // A damaged recording can say anything.
        by(time(0, i64::MIN));
    }

    #[test]
    fn steps_as_text() {
        let text = |by_ns| {
            let unix_ns = 1_700_000_000_123_456_789;
            Step { by_ns, unix_ns }.to_string()
        };
        let forward = text(3_600_000_400_000);
        assert!(
            forward.starts_with(
                "the wall clock was set by +3600.000 s, to 2023-11-14T22:13:20.123Z: lines"
            ),
            "{forward}"
        );
        assert!(text(-1_500_000_000).contains(" by -1.500 s,"));
    }
}
