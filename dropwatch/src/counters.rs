//! What `kfree_skb` never sees: the kernel's counters of losses that moved during a run, beside the
//! traced drops that explain them.
//!
//! Which counters are losses, and which drops move them, is in `explain/texts.toml`. Nothing here
//! is done, and no drop costs more, unless counters are asked for.

mod drivers;
mod interfaces;
mod namespaces;
mod snapshot;
mod traced;

use std::{
    cmp::Reverse,
    fmt,
    path::{Path, PathBuf},
};

use anyhow::Result;

pub use self::traced::Cause;
use self::{
    namespaces::Namespaces,
    snapshot::{Key, Snapshot, Value},
    traced::{Drops, Movers, Traced},
};
use crate::{
    enrich::Host,
    explain::{
        present::Present,
        sockets::{self, Socket},
        texts::{Loss, Queues, Texts},
    },
    groups::Groups,
    record::DropRecord,
};

/// Most full queues that a remark names.
const QUEUES: usize = 2;

/// The name by which `texts.toml` has all counters of drivers.
const OF_DRIVERS: &str = "ethtool -S";

/// Names of the counters that interfaces, their drivers and queueing disciplines have.
#[cfg(test)]
pub(crate) fn of_interfaces() -> impl Iterator<Item = &'static str> {
    let statistics = interfaces::STATISTICS.iter().map(|(name, _)| *name);
    statistics.chain([interfaces::QDISC_DROPS, OF_DRIVERS])
}

/// Which counters are told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// None, and nothing is read.
    #[default]
    None,
    /// Those that moved more than traced drops explain.
    Unexplained,
    /// All that moved.
    All,
}

/// A counter of losses that moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// As `nstat` has it, or `TABLE COUNTER`.
    pub name: String,
    /// The network namespace as lines show it; `None` if it counts for all together.
    pub netns: Option<String>,
    /// The namespace's inode number.
    pub netns_inode: Option<u32>,
    /// The interface that it is of.
    pub interface: Option<String>,
    /// The kind of queueing discipline that it is of.
    pub qdisc: Option<String>,
    /// By how much.
    pub count: u64,
    /// What explains it; `None` if the drops' reasons are not known.
    pub causes: Option<Vec<Cause>>,
    /// How it can have moved without a drop, if a part of it is unexplained.
    pub remark: Option<String>,
}

impl Moved {
    /// What traced drops can't explain; `None` if their reasons are not known.
    #[must_use]
    pub fn unexplained(&self) -> Option<u64> {
        let causes = self.causes.as_ref()?;
        let explained: u64 = causes.iter().map(|cause| cause.drops).sum();
        Some(self.count.saturating_sub(explained))
    }
}

/// `UdpRcvbufErrors +12 netns=blue: SOCKET_RCVBUFF 12`
impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} +{}", self.name, self.count)?;
        for (key, value) in [
            ("netns", &self.netns),
            ("if", &self.interface),
            ("qdisc", &self.qdisc),
        ] {
            if let Some(value) = value {
                write!(f, " {key}={value}")?;
            }
        }
        let mut separator = ": ";
        for cause in self.causes.iter().flatten() {
            let perhaps = if cause.perhaps { "perhaps " } else { "" };
            write!(f, "{separator}{perhaps}{} {}", cause.by, cause.drops)?;
            separator = ", ";
        }
        if let Some(unexplained) = self.unexplained().filter(|count| *count > 0) {
            write!(f, "{separator}{unexplained} unexplained")?;
            separator = "; ";
        }
        if let Some(remark) = &self.remark {
            write!(f, "{separator}{remark}")?;
        }
        Ok(())
    }
}

/// The counters of losses, from the start of a run on.
pub struct Counters {
    texts: Texts,
    namespaces: Namespaces,
    before: Reading,
    after: Reading,
    traced: Traced,
}

/// All counters at a moment.
#[derive(Default)]
struct Reading {
    /// What counts for all namespaces.
    global: Snapshot,
    /// By the places of [`Namespaces::all`].
    local: Vec<Option<Local>>,
}

/// A namespace at a moment.
#[derive(Default)]
struct Local {
    counters: Snapshot,
    /// Listening sockets whose accept queues are full, if that matters.
    full: Vec<Socket>,
}

impl Counters {
    /// Reads the counters of all namespaces that are known; or of the wanted ones, whose files can be
    /// given as well.
    ///
    /// # Errors
    /// The program's texts are broken.
    pub fn start(host: &mut Host, wanted: Option<&[(u32, Option<PathBuf>)]>) -> Result<Self> {
        let texts = Texts::load()?;
        let namespaces = Namespaces::find(host, wanted);
        let before = read(&texts, &namespaces, &Reading::default());
        Ok(Self {
            texts,
            namespaces,
            before,
            after: Reading::default(),
            traced: Traced::default(),
        })
    }

    /// Notes a drop that was traced.
    pub fn note(&mut self, record: &DropRecord<'_>) {
        self.traced.note(record);
    }

    /// Reads the counters again.
    pub fn end(&mut self) {
        self.after = read(&self.texts, &self.namespaces, &self.before);
    }

    /// How many counters were read in how many namespaces, those that all have in common included.
    #[must_use]
    pub fn readable(&self) -> (usize, usize) {
        let local = || self.before.local.iter().flatten();
        let counters: usize = local().map(|local| local.counters.len()).sum();
        (counters + self.before.global.len(), local().count())
    }

    /// What moved, what is least explained first; and what of `seen` drops is not among those that
    /// explain it. The drops are those of groups, if there are any.
    #[must_use]
    pub fn report(&self, groups: Option<&Groups>, seen: u64) -> Report {
        let drops = match groups {
            Some(groups) => Drops::of_groups(groups),
            None => Some(self.traced.drops()),
        };
        let movers = drops.as_ref().map(|drops| drops.movers(&self.texts));
        let mut present = Present::new(Path::new("/proc"));
        let mut moved = Vec::new();
        let globals = snapshot::moved(&self.before.global, &self.after.global);
        moved.extend(globals.map(|counter| self.one(counter, None, movers.as_ref(), &mut present)));
        let places = self.before.local.iter().zip(&self.after.local).enumerate();
        for (place, (before, after)) in places {
            let (Some(before), Some(after)) = (before, after) else {
                continue;
            };
            let counters = snapshot::moved(&before.counters, &after.counters);
            let place = Some((place, after));
            moved.extend(
                counters.map(|counter| self.one(counter, place, movers.as_ref(), &mut present)),
            );
        }
        moved.sort_by_key(|counter| Reverse(counter.unexplained()));
        Report {
            moved,
            not_looked_at: drops.map_or(0, |drops| seen.saturating_sub(drops.count())),
            left_out: self.left_out(),
        }
    }

    fn one(
        &self,
        (key, value, count): (&Key, &Value, u64),
        place: Option<(usize, &Local)>,
        movers: Option<&Movers<'_, '_>>,
        present: &mut Present,
    ) -> Moved {
        let namespace = place.and_then(|(place, _)| self.namespaces.all.get(place));
        let netns = namespace.map(|namespace| namespace.shown.clone());
        let interface = value.interface.as_deref();
        let causes = movers.map(|movers| movers.causes(known_as(key), netns.as_deref(), interface));
        let mut moved = Moved {
            name: key.0.clone(),
            netns,
            netns_inode: namespace.map(|namespace| namespace.inode),
            interface: value.interface.clone(),
            qdisc: value.qdisc.clone(),
            count,
            causes,
            remark: None,
        };
        if moved.unexplained() != Some(0)
            && let Some(loss) = self.texts.loss(known_as(key))
        {
            let full = place.filter(|_| loss.show.is_some());
            let full = full.map_or(&[][..], |(_, local)| &local.full);
            moved.remark = remark(loss, full, present);
        }
        moved
    }

    /// Namespaces that are not looked at.
    fn left_out(&self) -> usize {
        let not_entered = self.after.local.iter().filter(|local| local.is_none());
        self.namespaces.left_out + not_entered.count()
    }
}

fn read(texts: &Texts, namespaces: &Namespaces, before: &Reading) -> Reading {
    let names = || texts.losses().map(|(name, _)| name);
    Reading {
        global: snapshot::global(names()),
        local: namespaces.visit(|place, _| {
            let counters = snapshot::local(names());
            let before = before.local.get(place).and_then(Option::as_ref);
            let shows = before.is_some_and(|before| {
                let mut moved = snapshot::moved(&before.counters, &counters);
                moved.any(|(key, ..)| {
                    texts
                        .loss(known_as(key))
                        .is_some_and(|loss| loss.show.is_some())
                })
            });
            Local {
                full: if shows { full_listeners() } else { Vec::new() },
                counters,
            }
        }),
    }
}

/// The name by which `texts.toml` has a counter.
fn known_as((name, ..): &Key) -> &str {
    let is_of_driver = name.starts_with(snapshot::DRIVER);
    if is_of_driver { OF_DRIVERS } else { name }
}

/// Listening sockets of the calling thread's namespace whose accept queues are full: the kernel
/// takes one connection more than the limit (`sk_acceptq_is_full` in `include/net/sock.h`).
fn full_listeners() -> Vec<Socket> {
    let mut listeners = sockets::read(Queues::Listeners).unwrap_or_default();
    listeners.retain(|listener| listener.waiting > listener.limit);
    listeners
}

fn remark(loss: &Loss, full: &[Socket], present: &mut Present) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for listener in full.iter().take(QUEUES) {
        parts.push(format!(
            "accept queue of {} (owner {}) full, {}/{}",
            address(listener),
            present.owner(listener),
            listener.waiting,
            listener.limit
        ));
    }
    if full.len() > QUEUES {
        parts.push(format!("{} more are full", full.len() - QUEUES));
    }
    parts.extend(loss.unseen.clone());
    parts.extend(
        loss.explain
            .as_ref()
            .map(|entry| format!("see dropwatch explain {entry}")),
    );
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// `*:80` for a socket that listens on every address.
fn address(listener: &Socket) -> String {
    match listener.local.ip().is_unspecified() {
        true => format!("*:{}", listener.local.port()),
        false => listener.local.to_string(),
    }
}

/// What is told at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The counters that moved.
    pub moved: Vec<Moved>,
    /// Drops that were seen, and explain nothing: filtered, limited or lost.
    pub not_looked_at: u64,
    /// Namespaces whose counters were not read.
    pub left_out: usize,
}

impl Report {
    /// The lines of text.
    #[must_use]
    pub fn lines(&self, wanted: Wanted) -> Vec<String> {
        let (told, others): (Vec<&Moved>, Vec<&Moved>) =
            self.moved.iter().partition(|moved| match wanted {
                Wanted::All => true,
                Wanted::Unexplained => moved.unexplained().is_some_and(|count| count > 0),
                Wanted::None => false,
            });
        let mut lines: Vec<String> = told.iter().map(ToString::to_string).collect();
        if wanted == Wanted::Unexplained {
            if !told.is_empty() && !others.is_empty() {
                lines.push(format!(
                    "{} more counters of losses moved, see them with --counters",
                    others.len()
                ));
            }
            return lines;
        }
        if wanted == Wanted::All {
            if told.is_empty() {
                lines.push("no counter of losses moved".to_owned());
            }
            if self.not_looked_at > 0 && !told.is_empty() {
                lines.push(format!(
                    "counters are of whole namespaces; {} drops that were filtered, limited or lost \
                     explain none of them",
                    self.not_looked_at
                ));
            }
            if self.left_out > 0 {
                lines.push(format!(
                    "counters of {} more network namespaces were not read",
                    self.left_out
                ));
            }
        }
        lines
    }
}

#[cfg(test)]
#[path = "counters/tests.rs"]
mod tests;
