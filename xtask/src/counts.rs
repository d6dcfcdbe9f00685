//! How many tests passed, failed and were skipped.

use std::{fmt, ops::AddAssign};

/// Shown as the closing line of every test command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Counts {
    pub(crate) const PASSED: Self = Self::new(1, 0, 0);
    pub(crate) const FAILED: Self = Self::new(0, 1, 0);
    pub(crate) const SKIPPED: Self = Self::new(0, 0, 1);

    const fn new(passed: u32, failed: u32, skipped: u32) -> Self {
        Self {
            passed,
            failed,
            skipped,
        }
    }

    /// The closing line of the scenarios: `3 passed, 0 failed, 1 skipped`.
    pub(crate) fn of_scenarios(line: &str) -> Option<Self> {
        Self::parse(line, ", ", ["passed", "failed", "skipped"])
    }

    /// A closing line of cargo's: `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    pub(crate) fn of_cargo(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        Self::parse(counts, "; ", ["passed", "failed", "ignored"])
    }

    /// Nothing failed and something passed: a run without tests proves nothing.
    pub(crate) fn is_success(self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    fn parse(text: &str, separator: &str, words: [&str; 3]) -> Option<Self> {
        let mut parts = text.split(separator);
        let mut count = |word| parts.next()?.strip_suffix(word)?.trim_end().parse().ok();
        let [passed, failed, skipped] = words;
        Some(Self::new(count(passed)?, count(failed)?, count(skipped)?))
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_is_read_back() {
        let counts = Counts::new(12, 3, 4);
        assert_eq!(Counts::of_scenarios(&counts.to_string()), Some(counts));
        assert_eq!(Counts::of_scenarios("test a ... ok"), None);
        assert_eq!(Counts::of_scenarios("1 passed, 2 failed"), None);
    }

    #[test]
    fn cargo_lines_are_read() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(Counts::of_cargo(line), Some(Counts::new(3, 1, 2)));
        assert_eq!(Counts::of_cargo("test counts ... ok"), None);
    }

    #[test]
    fn no_test_at_all_is_no_success() {
        assert!(Counts::new(1, 0, 5).is_success());
        assert!(!Counts::new(0, 0, 5).is_success());
        assert!(!Counts::new(7, 1, 0).is_success());
    }
}
