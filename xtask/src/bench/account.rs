//! The line that dropwatch ends with.

use anyhow::{Context, Result, ensure};

/// Where every drop went, by dropwatch's own word.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) printed: u64,
    pub(super) lost: u64,
}

impl Account {
    /// Reads the last account in what dropwatch wrote to standard error.
    ///
    /// Fails if the terms do not add up: no other figure means anything then.
    pub(super) fn last(stderr: &str) -> Result<Self> {
        let line = stderr.lines().rev().find(|line| line.contains(" seen = "));
        let line = line.with_context(|| format!("dropwatch gave no account: {stderr:?}"))?;
        Self::parse(line).with_context(|| format!("reading the account {line:?}"))
    }

    fn parse(line: &str) -> Result<Self> {
        let counts = line.strip_prefix("dropwatch: ").unwrap_or(line);
        let (seen, terms) = counts.split_once(" seen = ").context("no terms")?;
        let (mut sum, mut account) = (
            0,
            Self {
                printed: 0,
                lost: 0,
            },
        );
        for term in terms.split(" + ") {
            let (count, name) = term.split_once(' ').context("a term without a name")?;
            let count: u64 = count.parse().context("a term that is no number")?;
            sum += count;
            match name {
                "printed" => account.printed = count,
                "lost" => account.lost = count,
                // Not at its end, when nothing can be on its way any more.
                "in flight" => sum -= count,
                _ => {}
            }
        }
        let seen: u64 = seen.parse().context("the drops seen are no number")?;
        ensure!(seen == sum, "{seen} drops seen, {sum} accounted for");
        Ok(account)
    }
}

#[cfg(test)]
mod tests {
    use super::Account;

    #[test]
    fn the_last_account_counts() {
        let stderr = "dropwatch: 1 seen = 1 printed\n\
                      dropwatch: 1234 seen = 1000 printed + 230 filtered + 4 lost\n\
                      dropwatch: warning: something else\n";
        let account = Account::last(stderr).unwrap();
        assert_eq!((account.printed, account.lost), (1000, 4));
    }

    #[test]
    fn broken_accounts_fail() {
        for stderr in [
            "",
            "dropwatch: 5 seen = 4 printed",
            "dropwatch: 5 seen = 4 printed + 1 in flight",
            "dropwatch: 5 seen = 5",
            "dropwatch: 5 seen = -1 printed + 6 lost",
        ] {
            assert!(Account::last(stderr).is_err(), "{stderr}");
        }
    }
}
