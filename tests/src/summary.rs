//! What `dropwatch summary` counts has to be what lines tell, drop by drop.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    dropwatch::{Dropwatch, Ended},
    line::Line,
};

/// What groups are told apart by: the columns of a line, as far as they do not change while it is
/// looked for the owner.
const BY: [&str; 9] = [
    "reason", "at", "if", "proto", "saddr", "daddr", "dport", "comm", "netns",
];

/// More groups than all scenarios make; a guest has 1 GB.
const MAX_GROUPS: &str = "8192";

/// The values of [`BY`].
type Key = [String; BY.len()];

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    drops: u64,
    packets: u64,
    bytes: u64,
}

type Groups = BTreeMap<Key, Counts>;

/// Starts a summary that can be compared with lines.
pub fn spawn(binary: &Path, hook: &str) -> Result<Dropwatch> {
    let by = BY.join(",");
    let args = ["summary", "--hook", hook, "--by", &by];
    let args = [&args[..], &["--max-groups", MAX_GROUPS]].concat();
    Dropwatch::spawn(binary, &args)
}

/// Fails unless the summary has counted what the lines tell of these namespaces.
pub fn agrees(summary: &Ended, lines: &[String], namespaces: &BTreeSet<String>) -> Result<()> {
    summary.expect_status(0)?;
    let account = summary.counted()?;
    let mut counted = parse(&summary.stdout)?;
    let total: u64 = counted.values().map(|counts| counts.drops).sum();
    ensure!(
        total == account,
        "{total} drops in the groups, {account} in the account"
    );
    let own = |key: &Key| namespaces.contains(&key[BY.len() - 1]);
    counted.retain(|key, _| own(key));
    let mut told = of_lines(lines)?;
    told.retain(|key, _| own(key));
    ensure!(!told.is_empty(), "no line to compare with");
    for key in counted.keys().chain(told.keys()) {
        let [summed, told] = [&counted, &told].map(|groups| groups.get(key).copied());
        ensure!(
            summed == told,
            "the summary has {summed:?}, the lines have {told:?}: {key:?}"
        );
    }
    Ok(())
}

fn parse(stdout: &str) -> Result<Groups> {
    let lines = stdout.lines();
    lines
        .map(|line| parse_group(line).with_context(|| format!("in group {line:?}")))
        .collect()
}

fn parse_group(line: &str) -> Result<(Key, Counts)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [
        drops,
        "drops",
        packets,
        "packets",
        bytes,
        "bytes",
        values @ ..,
    ] = words.as_slice()
    else {
        anyhow::bail!("not `N drops N packets N bytes ...`");
    };
    ensure!(values.len() == BY.len(), "not a value for each of {BY:?}");
    let mut key = Key::default();
    for ((place, name), word) in key.iter_mut().zip(BY).zip(values) {
        let value = word
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='));
        *place = value
            .with_context(|| format!("{word} is no {name}"))?
            .to_owned();
    }
    let counts = Counts {
        drops: drops.parse()?,
        packets: packets.parse()?,
        bytes: bytes.parse()?,
    };
    Ok((key, counts))
}

fn of_lines(lines: &[String]) -> Result<Groups> {
    let mut groups = Groups::new();
    for text in lines {
        let line = Line::parse(text)?;
        let (source, _) = endpoint(&line.source);
        let (destination, port) = endpoint(&line.destination);
        let token = |key| line.get(key).unwrap_or("-").to_owned();
        let key = [
            line.reason.clone(),
            token("at"),
            token("if"),
            line.protocol.clone(),
            source.to_owned(),
            destination.to_owned(),
            port.to_owned(),
            token("comm"),
            token("netns"),
        ];
        let number = |key, unknown| match line.get(key) {
            None | Some("-") => Ok(unknown),
            Some(number) => number.parse::<u64>(),
        };
        let counts = groups.entry(key).or_default();
        counts.drops += 1;
        counts.packets += number("segs", 1)?;
        counts.bytes += number("len", 0)?;
    }
    Ok(groups)
}

/// Address and port of `1.2.3.4:5`, `[::1]:5`, `::1`, or `-`.
fn endpoint(text: &str) -> (&str, &str) {
    if let Some((address, port)) = text
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]:"))
    {
        return (address, port);
    }
    match text.split_once(':') {
        Some((address, port)) if !port.contains(':') && !address.is_empty() => (address, port),
        _ => (text, "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, endpoint, of_lines, parse};

    #[test]
    fn endpoints() {
        assert_eq!(endpoint("10.0.0.1:53"), ("10.0.0.1", "53"));
        assert_eq!(endpoint("10.0.0.1:-"), ("10.0.0.1", "-"));
        assert_eq!(endpoint("10.0.0.1"), ("10.0.0.1", "-"));
        assert_eq!(endpoint("[fd00::1]:53"), ("fd00::1", "53"));
        assert_eq!(endpoint("fd00::1"), ("fd00::1", "-"));
        assert_eq!(endpoint("::"), ("::", "-"));
        assert_eq!(endpoint("-"), ("-", "-"));
    }

    #[test]
    fn lines_and_groups_compare() {
        let line = "07:30:01.739587 NO_SOCKET udp 10.0.0.1:1 > 10.0.0.2:53 len=60 segs=3 if=lo \
                    class=drop at=f+0x1 pid=7 comm=a owner=- netns=4026532177";
        let group = "  2 drops  6 packets  120 bytes  reason=NO_SOCKET at=f+0x1 if=lo proto=udp \
                     saddr=10.0.0.1 daddr=10.0.0.2 dport=53 comm=a netns=4026532177";
        let told = of_lines(&[line.to_owned(), line.to_owned()]).expect("lines");
        assert_eq!(parse(group).expect("a group"), told);
        let counts = Counts {
            drops: 2,
            packets: 6,
            bytes: 120,
        };
        assert_eq!(told.values().copied().collect::<Vec<_>>(), [counts]);
        assert!(parse(&group.replace("at=", "if=")).is_err());
        assert!(parse("2 drops").is_err());
    }
}
