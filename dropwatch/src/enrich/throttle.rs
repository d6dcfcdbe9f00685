//! How often something costly may be done again.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Work may take one twentieth of a processor.
const PAUSE_PER_COST: u32 = 20;

/// Spaces out work that is triggered by what the kernel reports, so that it can't take more
/// than one twentieth of a processor, however often it is asked for.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    last: Option<Instant>,
    /// Processor time that it took.
    cost: Duration,
}

impl Throttle {
    /// Whether the work may be done at `now`: it never was, or `pause` has passed since, and
    /// twenty times what it cost.
    pub(super) fn allows(&self, now: Instant, pause: Duration) -> bool {
        let pause = pause.max(self.cost * PAUSE_PER_COST);
        self.last
            .is_none_or(|last| now.saturating_duration_since(last) >= pause)
    }

    /// Does the work and takes its time.
    pub(super) fn run<T>(&mut self, now: Instant, work: impl FnOnce() -> T) -> T {
        let start = processor_time();
        let result = work();
        self.last = Some(now);
        self.cost = processor_time().saturating_sub(start);
        result
    }
}

/// What this thread has used so far.
fn processor_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative.
    Duration::from_secs(tv_sec.unsigned_abs()) + Duration::from_nanos(tv_nsec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costly_work_waits_longer() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let mut throttle = Throttle::default();
        assert!(throttle.allows(now, ms(100)));
        throttle.run(now, || ());
        throttle.cost = ms(1);
        assert!(!throttle.allows(now + ms(99), ms(100)));
        assert!(throttle.allows(now + ms(100), ms(100)));
        throttle.cost = ms(50);
        assert!(!throttle.allows(now + ms(999), ms(100)));
        assert!(throttle.allows(now + ms(1000), ms(100)));
    }
}
