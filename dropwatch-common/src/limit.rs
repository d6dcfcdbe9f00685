//! The token bucket of `--rate-limit`. Both sides have one: the kernel side's saves
//! the cost of records, user space's keeps the promise.

/// A token bucket that holds so many tokens as it gets in one unit of time.
///
/// All there is to remember of it is the time at which it is full again
/// (`full_ns`), which every token that is taken puts off: one integer, so that
/// the kernel side needs no lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Nanoseconds in which it gets a token, at least 1.
    pub interval_ns: u64,
    /// Nanoseconds in which it gets all tokens but one.
    pub burst_ns: u64,
}

impl RateLimit {
    /// `count` tokens, at least 1, in `unit_ns` nanoseconds; rounded to fewer.
    #[must_use]
    pub const fn new(count: u32, unit_ns: u64) -> Self {
        let interval_ns = unit_ns.div_ceil(count as u64);
        Self {
            interval_ns,
            burst_ns: interval_ns * (count as u64 - 1),
        }
    }

    /// Takes a token at the time `now_ns`; false if there is none.
    #[inline(always)]
    pub const fn take(self, full_ns: &mut u64, now_ns: u64) -> bool {
        let full = if *full_ns > now_ns { *full_ns } else { now_ns };
        if full - now_ns > self.burst_ns {
            return false;
        }
        *full_ns = full + self.interval_ns;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 77 * SECOND;

    fn taken(limit: RateLimit, full: &mut u64, times: impl Iterator<Item = u64>) -> usize {
        times.filter(|now| limit.take(full, *now)).count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let limit = RateLimit::new(10, SECOND);
        let mut full = 0;
        assert_eq!(taken(limit, &mut full, [START; 1000].into_iter()), 10);
        // A token every tenth of a second, however many ask for it.
        let later = (0..3000).map(|ms| START + ms * 1_000_000);
        assert_eq!(taken(limit, &mut full, later), 29);
    }

    #[test]
    fn it_never_holds_more_than_a_burst() {
        let limit = RateLimit::new(3, 60 * SECOND);
        let mut full = 0;
        assert_eq!(taken(limit, &mut full, [START; 9].into_iter()), 3);
        let hour = START + 3600 * SECOND;
        assert_eq!(taken(limit, &mut full, [hour; 9].into_iter()), 3);
        assert!(!limit.take(&mut full, hour + 20 * SECOND - 1));
        assert!(limit.take(&mut full, hour + 20 * SECOND));
    }

    #[test]
    fn one_at_a_time_and_clocks_that_disagree() {
        let limit = RateLimit::new(1, SECOND);
        let mut full = 0;
        assert!(limit.take(&mut full, START));
        // Another processor's record, which is a little older.
        assert!(!limit.take(&mut full, START - 5));
        assert!(limit.take(&mut full, START + SECOND));
    }

    #[test]
    fn rates_that_do_not_divide_are_rounded_down() {
        let limit = RateLimit::new(7, SECOND);
        let mut full = 0;
        let all = (0..2_000_000).map(|us| START + us * 1000);
        // Seven at once, and the last token of the second second is just not there yet.
        assert_eq!(taken(limit, &mut full, all), 20);
        assert_eq!(RateLimit::new(u32::MAX, SECOND).interval_ns, 1);
    }
}
