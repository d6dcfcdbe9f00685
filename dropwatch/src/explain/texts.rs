//! The texts: `texts.toml`, which says at its top what an entry holds.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Deserialize;

use crate::{
    enrich::{reason::plain_name, symbol::without_suffix},
    pattern::{Pattern, nearest},
};

const FILE: &str = include_str!("texts.toml");

/// Behind a counter that moves in some of the cases only.
const PERHAPS: char = '?';

/// How many names an error suggests.
const SUGGESTIONS: usize = 5;

/// What there is to say of a drop reason or a call site.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Entry {
    /// What happened, in one or two sentences.
    pub means: String,
    /// Usual causes, the most frequent first.
    pub causes: Vec<String>,
    /// Counters that move with it, by the names that [`super::present`] knows.
    pub counters: Vec<String>,
    /// Counters of the interface and its qdisc that move with it.
    pub moves: Vec<String>,
    /// Which of both do so in some of its cases only.
    #[serde(skip)]
    pub perhaps: FxHashSet<String>,
    /// What else counts or shows it.
    pub see: Vec<String>,
    /// Commands and settings that show more, or help.
    #[serde(rename = "do")]
    pub steps: Vec<String>,
    /// Settings whose present values matter, as `net.core.somaxconn`.
    pub sysctls: Vec<String>,
    /// Sockets to look at.
    pub show: Option<Queues>,
    /// The group whose lists are appended to these.
    group: Option<String>,
    /// Other functions that mean the same.
    also: Vec<String>,
    /// Whether it says little, so that the callers matter.
    pub outwards: bool,
}

/// Which sockets' queues matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Queues {
    /// Accept queues of listening TCP sockets.
    Listeners,
    /// Receive buffers of UDP sockets.
    Receivers,
}

impl Entry {
    /// Appends what a group has in common.
    fn extend(&mut self, group: &Self) {
        for (own, common) in [
            (&mut self.causes, &group.causes),
            (&mut self.counters, &group.counters),
            (&mut self.moves, &group.moves),
            (&mut self.see, &group.see),
            (&mut self.steps, &group.steps),
            (&mut self.sysctls, &group.sysctls),
        ] {
            own.extend_from_slice(common);
        }
    }

    /// Takes off the question marks.
    fn settle(&mut self) {
        for counter in self.counters.iter_mut().chain(&mut self.moves) {
            if let Some(name) = counter.strip_suffix(PERHAPS) {
                *counter = name.to_owned();
                self.perhaps.insert(counter.clone());
            }
        }
    }

    /// The first sentence of what it means.
    #[must_use]
    pub fn headline(&self) -> &str {
        let end = self.means.find(". ").unwrap_or(self.means.len());
        self.means[..end].trim_end_matches('.')
    }
}

/// A counter of losses.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// How it can move without a packet that is freed as a drop.
    pub unseen: Option<String>,
    /// The entry that says more.
    pub explain: Option<String>,
    /// Sockets to look at.
    pub show: Option<Queues>,
}

/// The file as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    reason: BTreeMap<String, Entry>,
    site: BTreeMap<String, Entry>,
    group: BTreeMap<String, Entry>,
    #[serde(default)]
    counter: BTreeMap<String, Loss>,
    #[serde(default)]
    no_losses: BTreeSet<String>,
}

/// A reason or function, and what there is to say of it.
pub type Named<'t> = (&'t str, &'t Entry);

/// All texts.
#[derive(Debug)]
pub struct Texts {
    reasons: BTreeMap<String, Entry>,
    sites: BTreeMap<String, Entry>,
    /// Functions that mean the same as a site, and its name.
    also: FxHashMap<String, String>,
    losses: BTreeMap<String, Loss>,
}

impl Texts {
    /// Reads the texts that the program brings along.
    ///
    /// # Errors
    /// They are broken, which a test rules out.
    pub fn load() -> Result<Self> {
        Self::parse(FILE).context("reading texts.toml")
    }

    fn parse(text: &str) -> Result<Self> {
        let File {
            reason: mut reasons,
            site: mut sites,
            group: groups,
            counter: losses,
            no_losses,
        } = toml::from_str(text)?;
        for (name, entry) in reasons.iter_mut().chain(&mut sites) {
            if let Some(group) = entry.group.take() {
                let group = groups.get(&group);
                entry.extend(group.with_context(|| format!("{name} is of no known group"))?);
            }
            entry.settle();
            for counter in entry.counters.iter().chain(&entry.moves) {
                ensure!(
                    losses.contains_key(counter) || no_losses.contains(counter),
                    "{name} has the counter {counter}, which is in no table"
                );
            }
        }
        let mut also = FxHashMap::default();
        for (name, entry) in &sites {
            for function in &entry.also {
                let is_new = also.insert(function.clone(), name.clone()).is_none();
                ensure!(
                    is_new && !sites.contains_key(function),
                    "{function} is there twice"
                );
            }
        }
        Ok(Self {
            reasons,
            sites,
            also,
            losses,
        })
    }

    /// The drop reason of this name, as lines show it.
    #[must_use]
    pub fn reason(&self, name: &str) -> Option<Named<'_>> {
        let (name, entry) = self.reasons.get_key_value(name)?;
        Some((name, entry))
    }

    /// The call site in this function, under the name that the function has here. A suffix from
    /// the compiler does not matter.
    #[must_use]
    pub fn site(&self, function: &str) -> Option<Named<'_>> {
        let function = without_suffix(function);
        if let Some((name, site)) = self.also.get_key_value(function) {
            return Some((name, self.sites.get(site)?));
        }
        let (name, entry) = self.sites.get_key_value(function)?;
        Some((name, entry))
    }

    /// The reasons that a word stands for: a name in either case, with or without its prefix,
    /// several by `*` and `?`, or a subsystem.
    #[must_use]
    pub fn reasons_matching(&self, word: &str) -> Vec<Named<'_>> {
        let plain = plain_name(word);
        let pattern = Pattern::any_case(plain);
        // The name of a subsystem has no colon in it.
        let subsystem = |reason| str::split_once(reason, ':').map(|(subsystem, _)| subsystem);
        let found = self.reasons().filter(|(reason, _)| {
            pattern.matches(reason) || subsystem(reason).is_some_and(|it| pattern.matches(it))
        });
        found.collect()
    }

    /// The names that look most like `word`.
    #[must_use]
    pub fn nearest(&self, word: &str) -> Vec<&str> {
        let reasons = self.reasons.keys().chain(self.sites.keys());
        nearest(
            word,
            reasons.chain(self.also.keys()).map(String::as_str),
            SUGGESTIONS,
        )
    }

    /// The counters of losses, by name.
    pub fn losses(&self) -> impl Iterator<Item = (&str, &Loss)> {
        self.losses.iter().map(|(name, loss)| (&**name, loss))
    }

    /// The counter of losses of this name.
    #[must_use]
    pub fn loss(&self, name: &str) -> Option<&Loss> {
        self.losses.get(name)
    }

    /// All drop reasons, by name.
    pub fn reasons(&self) -> impl Iterator<Item = Named<'_>> {
        self.reasons.iter().map(|(name, entry)| (&**name, entry))
    }

    /// All call sites, by name, without those that only mean the same as another one.
    pub fn sites(&self) -> impl Iterator<Item = Named<'_>> {
        self.sites.iter().map(|(name, entry)| (&**name, entry))
    }
}

#[cfg(test)]
#[path = "texts/tests.rs"]
mod tests;
