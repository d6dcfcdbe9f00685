//! The account of a replay: that of the runs that were recorded, with what the replay's own
//! filters turned down.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;

use super::input::Input;
use crate::{
    account::Account,
    output::say,
    recording::{About, Damage, Tally},
};

/// What became of a recorded drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was printed.
    Printed,
    /// A filter turned it down.
    Filtered,
    /// `--hide-expected` hid it.
    Hidden,
}

/// Most runs that are told apart; the number of all others is [`OTHERS`].
const MAX_RUNS: usize = 1000;

/// Stands for runs beyond [`MAX_RUNS`].
const OTHERS: u64 = u64::MAX;

/// The runs whose drops were read.
#[derive(Default)]
pub(super) struct Runs {
    runs: BTreeMap<u64, Run>,
    damaged: Vec<(String, Damage)>,
    /// Packets on the wire of the drops that were printed.
    packets: u64,
}

/// A run, and what was read of it.
#[derive(Default)]
struct Run {
    about: About,
    /// Its own account; `None` if it is not there.
    tally: Option<Tally>,
    printed: u64,
    filtered: u64,
    hidden: u64,
}

impl Runs {
    /// Notes where a section comes from.
    pub(super) fn add(&mut self, about: &About) {
        self.of(about.run).about = about.clone();
    }

    /// Notes the account of a run.
    pub(super) fn add_tally(&mut self, run: u64, tally: Tally) {
        self.of(run).tally = Some(tally);
    }

    fn of(&mut self, run: u64) -> &mut Run {
        let is_told_apart = self.runs.len() < MAX_RUNS || self.runs.contains_key(&run);
        self.runs
            .entry(if is_told_apart { run } else { OTHERS })
            .or_default()
    }

    /// Counts a drop that would have been so many packets on the wire.
    pub(super) fn count(&mut self, run: u64, fate: Fate, packets: u64) {
        if fate == Fate::Printed {
            self.packets += packets;
        }
        let run = self.of(run);
        match fate {
            Fate::Printed => run.printed += 1,
            Fate::Filtered => run.filtered += 1,
            Fate::Hidden => run.hidden += 1,
        }
    }

    /// Notes what could not be read.
    pub(super) fn add_damage(&mut self, input: &Input) {
        let damaged = input.damaged().map(|(name, it)| (name.to_owned(), it));
        self.damaged
            .extend(damaged.filter(|(_, it)| *it != Damage::default()));
    }

    /// The account of all runs; of what was read alone, unless that is the whole.
    pub(super) fn account(&self, is_whole: bool) -> Account {
        let mut sum = Account::default();
        for run in self.runs.values() {
            let Account {
                seen,
                printed,
                counted: _,
                hidden,
                filtered,
                sampled_out,
                limited,
                lost,
            } = run.account(is_whole);
            sum.seen += seen;
            sum.printed += printed;
            sum.hidden += hidden;
            sum.filtered += filtered;
            sum.sampled_out += sampled_out;
            sum.limited += limited;
            sum.lost += lost;
        }
        sum
    }

    /// Says on standard error where every drop went, and what is missing.
    pub(super) fn report(&self, account: &Account, is_whole: bool) {
        say(account);
        if self.packets != account.printed {
            say(&format_args!(
                "{} packets on the wire in {} drops (GSO)",
                self.packets, account.printed
            ));
        }
        for run in self.runs.values() {
            say(&format_args!("{run}"));
            if is_whole {
                run.warn();
            }
        }
        for (name, damage) in &self.damaged {
            warn_of_damage(name, damage);
        }
    }
}

impl Run {
    /// Drops that were read.
    fn read(&self) -> u64 {
        self.printed + self.filtered + self.hidden
    }

    fn account(&self, is_whole: bool) -> Account {
        let tally = self.tally.filter(|_| is_whole).unwrap_or_default();
        let mut account = Account {
            seen: tally.seen,
            printed: self.printed,
            counted: None,
            hidden: tally.hidden.saturating_add(self.hidden),
            filtered: tally.filtered.saturating_add(self.filtered),
            sampled_out: tally.sampled_out,
            limited: tally.limited,
            lost: 0,
        };
        // What the run lost, and what it recorded and is not there any more.
        let missing = account.in_flight().max(0);
        account.lost = u64::try_from(missing).unwrap_or(u64::MAX);
        account.settled()
    }

    /// Says what is missing.
    fn warn(&self) {
        let host = self.about.host.escape_debug();
        match self.tally {
            None => log::warn!(
                "the account of the run on {host} is missing: it was killed, or goes on; nobody \
                 knows what it lost"
            ),
            Some(tally) if tally.recorded > self.read() => log::warn!(
                "{} of {} drops that were recorded on {host} are not in these files; the account \
                 has them as lost",
                tally.recorded - self.read(),
                tally.recorded
            ),
            Some(_) => {}
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let About {
            dropwatch,
            host,
            kernel,
            machine,
            started_ns,
            flags,
            ..
        } = &self.about;
        let started = Timestamp::from_nanosecond((*started_ns).into())
            .unwrap_or(Timestamp::UNIX_EPOCH)
            .strftime("%Y-%m-%dT%H:%M:%SZ");
        write!(
            f,
            "{} recorded drops of {} (Linux {} {}), dropwatch {} started {started}",
            self.read(),
            host.escape_debug(),
            kernel.escape_debug(),
            machine.escape_debug(),
            dropwatch.escape_debug(),
        )?;
        if !flags.is_empty() {
            write!(f, " with {}", flags.escape_debug())?;
        }
        Ok(())
    }
}

fn warn_of_damage(name: &str, damage: &Damage) {
    let Damage {
        bytes,
        is_inside,
        unknown,
        nonsense,
    } = *damage;
    match (bytes, is_inside) {
        (0, _) => {}
        (_, false) => log::warn!(
            "{name}: the last {bytes} bytes are cut off or damaged; all before them was read"
        ),
        (_, true) => log::warn!(
            "{name}: {bytes} bytes are damaged; what comes before and after them was read"
        ),
    }
    if unknown > 0 {
        log::warn!("{name}: {unknown} parts are of kinds that a newer dropwatch knows");
    }
    if nonsense > 0 {
        log::warn!("{name}: {nonsense} parts make no sense and were left out");
    }
}
