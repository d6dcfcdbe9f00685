//! The account: where every drop went.

use std::fmt;

use dropwatch_common::config::Counters;

/// Where every drop that was seen went.
///
/// Displays as `1234 seen = 1000 printed + 230 filtered + 4 lost`, or with
/// `counted` in place of `printed`; terms that are zero are left out, all but the
/// first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Drops that the kernel side counted.
    pub seen: u64,
    /// Lines that reached standard output.
    pub printed: u64,
    /// Drops that were counted in groups, the ones without room for their group
    /// included. In place of `printed` where drops are counted.
    pub counted: Option<u64>,
    /// Drops of the classes that `--hide-expected` hides.
    pub hidden: u64,
    /// Drops that a filter turned down.
    pub filtered: u64,
    /// Drops that `--sample` left out.
    pub sampled_out: u64,
    /// Drops past the limits given with `--rate-limit` and `--count`.
    pub limited: u64,
    /// Drops for which there was no buffer space, or that the kernel did not
    /// hand to the program, or whose line could not be written any more.
    pub lost: u64,
}

impl Account {
    /// Sums up the kernel's counters, the drops that the kernel kept from the
    /// program (`missed`), and what user space did with the records it got.
    pub fn new(kernel: Counters, missed: u64, user: UserCounts) -> Self {
        Self {
            seen: kernel.seen + missed,
            printed: user.printed,
            counted: user
                .counted
                .map(|counted| counted + kernel.grouped + kernel.no_group),
            hidden: user.hidden(),
            filtered: kernel.filtered + user.filtered,
            sampled_out: kernel.sampled_out,
            limited: kernel.limited + user.limited,
            lost: kernel.lost + missed + user.lost,
        }
    }

    /// The account of a moment while tracing goes on: the kernel's counters are
    /// read one processor after the other, and a drop that was filtered in
    /// between was seen as well.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.seen = self.seen.max(self.accounted_for());
        self
    }

    /// Drops that are in none of the terms: records on their way while tracing
    /// goes on; always 0 at the end.
    pub fn in_flight(&self) -> i128 {
        i128::from(self.seen) - i128::from(self.accounted_for())
    }

    /// The sum of the terms.
    fn accounted_for(&self) -> u64 {
        let counted = self.counted.unwrap_or(0);
        self.printed
            + counted
            + self.hidden
            + self.filtered
            + self.sampled_out
            + self.limited
            + self.lost
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, name) = match self.counted {
            Some(counted) => (counted, "counted"),
            None => (self.printed, "printed"),
        };
        write!(f, "{} seen = {shown} {name}", self.seen)?;
        for (count, name) in [
            (i128::from(self.hidden), "hidden"),
            (i128::from(self.filtered), "filtered"),
            (i128::from(self.sampled_out), "sampled out"),
            (i128::from(self.limited), "limited"),
            (i128::from(self.lost), "lost"),
            (self.in_flight(), "in flight"),
        ] {
            if count != 0 {
                write!(f, " + {count} {name}")?;
            }
        }
        Ok(())
    }
}

/// What user space did with the records it received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserCounts {
    /// Records received.
    pub records: u64,
    /// Lines written.
    pub printed: u64,
    /// Drops that user space counted in groups; `None` where each drop becomes a
    /// line.
    pub counted: Option<u64>,
    /// Drops that `--pid` and `--comm` turned down, where the kernel side could
    /// not decide.
    pub filtered: u64,
    /// Drops of the class `teardown` that were hidden.
    pub hidden_teardown: u64,
    /// Drops of the class `expected` that were hidden.
    pub hidden_expected: u64,
    /// Records past the limits given with `--rate-limit` and `--count`.
    pub limited: u64,
    /// Records that could not be decoded, and lines that could not be written.
    pub lost: u64,
    /// Drops that lines were made of.
    pub lines: u64,
    /// Packets that they would have been on the wire: the segments of those that
    /// were to be cut into segments.
    pub packets: u64,
}

impl UserCounts {
    /// Drops that were hidden.
    pub fn hidden(&self) -> u64 {
        self.hidden_teardown + self.hidden_expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: Counters = Counters {
        seen: 1234,
        filtered: 230,
        sampled_out: 0,
        limited: 0,
        lost: 4,
        grouped: 0,
        no_group: 0,
        no_group_packets: 0,
        no_group_bytes: 0,
        nesting: 0,
        sampled_from: 0,
    };

    #[test]
    fn adds_up() {
        let user = UserCounts {
            printed: 1000,
            ..UserCounts::default()
        };
        let account = Account::new(KERNEL, 0, user);
        assert_eq!(
            account.to_string(),
            "1234 seen = 1000 printed + 230 filtered + 4 lost"
        );
        assert_eq!(account.in_flight(), 0);
    }

    #[test]
    fn missed_drops_are_seen_and_lost() {
        let user = UserCounts {
            printed: 990,
            limited: 7,
            lost: 3,
            ..UserCounts::default()
        };
        let account = Account::new(KERNEL, 6, user);
        assert_eq!(
            account.to_string(),
            "1240 seen = 990 printed + 230 filtered + 7 limited + 13 lost"
        );
    }

    #[test]
    fn both_sides_limit() {
        let kernel = Counters {
            sampled_out: 900,
            limited: 60,
            ..KERNEL
        };
        let user = UserCounts {
            printed: 30,
            limited: 10,
            ..UserCounts::default()
        };
        assert_eq!(
            Account::new(kernel, 0, user).to_string(),
            "1234 seen = 30 printed + 230 filtered + 900 sampled out + 70 limited + 4 lost"
        );
    }

    #[test]
    fn what_user_space_turns_down_is_filtered_or_hidden() {
        let user = UserCounts {
            printed: 900,
            filtered: 50,
            hidden_teardown: 30,
            hidden_expected: 20,
            ..UserCounts::default()
        };
        assert_eq!(
            Account::new(KERNEL, 0, user).to_string(),
            "1234 seen = 900 printed + 50 hidden + 280 filtered + 4 lost"
        );
    }

    #[test]
    fn what_is_counted_by_either_side_is_in_one_term() {
        let kernel = Counters {
            grouped: 900,
            no_group: 70,
            ..KERNEL
        };
        let user = UserCounts {
            counted: Some(30),
            ..UserCounts::default()
        };
        let account = Account::new(kernel, 0, user);
        assert_eq!(
            account.to_string(),
            "1234 seen = 1000 counted + 230 filtered + 4 lost"
        );
        assert_eq!(account.in_flight(), 0);
    }

    #[test]
    fn records_on_their_way_are_shown() {
        let user = UserCounts {
            printed: 999,
            ..UserCounts::default()
        };
        assert_eq!(
            Account::new(KERNEL, 0, user).to_string(),
            "1234 seen = 999 printed + 230 filtered + 4 lost + 1 in flight"
        );
    }
}
