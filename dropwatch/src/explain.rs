//! `dropwatch explain`, and `--explain`: what a drop means, and what to do.
//!
//! The texts are in `explain/texts.toml`. A *kind* of drop is its reason; where the reason says
//! little, also its call site and, if that says little, too, one of its callers. Each kind is
//! explained once. Nothing here needs root, BPF, or the kernel's type information.

pub mod present;
pub mod query;
mod render;
pub(crate) mod sockets;
pub mod texts;

use std::{
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Error, Result, anyhow};
use rustc_hash::FxHashSet;

use self::{
    present::Present,
    query::{Place, Query, function_of},
    texts::{Entry, Named, Texts},
};
use crate::{
    output::{Plain, Quoted, Reader, print, terminal_width},
    record::{DropRecord, Stack},
    stderr::Stderr,
    stdin::{INPUT, each_line},
};

/// Most kinds of drops that are explained; this host's would be some hundred.
const MAX_KINDS: usize = 1000;

/// How many callers are looked at: from the rule of an nftables chain to the function that calls
/// the hook there are three. What happens further out has little to do with the drop.
pub(crate) const NEAR: usize = 4;

/// A kind of drop, by the names of its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What tells it from others, as `NETFILTER_DROP at nft_do_chain, called by ip_forward`.
    title: String,
    reason: Option<String>,
    /// Functions with a text, from the call site outwards.
    sites: Vec<String>,
}

/// The kinds of drops that were met, in the order in which they were.
pub struct Kinds {
    texts: Texts,
    /// [`MAX_KINDS`] at most.
    met: Vec<Kind>,
    titles: FxHashSet<String>,
    /// Whether there were more than that, which is told.
    has_more: bool,
}

impl Kinds {
    /// None yet.
    ///
    /// # Errors
    /// The program's texts are broken.
    pub fn new() -> Result<Self> {
        Ok(Self {
            texts: Texts::load()?,
            met: Vec::new(),
            titles: FxHashSet::default(),
            has_more: false,
        })
    }

    /// Notes the drop of a record. A reason that says enough, and was met before, costs a look
    /// into a table.
    pub fn note(&mut self, record: &DropRecord<'_>) {
        if let Some(reason) = record.reason
            && self.titles.contains(reason)
            && says_enough(self.texts.reason(reason))
        {
            return;
        }
        let stack = match record.stack {
            Some(Stack::Callers(callers)) => Some(callers),
            Some(Stack::Unknown) | None => None,
        };
        let place = Place::new(record.reason, record.location, stack);
        if let Some(kind) = kind_of(&self.texts, &place) {
            self.meet(kind);
        }
    }

    /// Notes a kind; true if it is new, and to be explained.
    fn meet(&mut self, kind: Kind) -> bool {
        if self.titles.contains(&kind.title) {
            return false;
        }
        if self.met.len() >= MAX_KINDS {
            if !std::mem::replace(&mut self.has_more, true) {
                log::warn!(
                    "there are more than {MAX_KINDS} kinds of drops; the first ones are explained"
                );
            }
            return false;
        }
        self.titles.insert(kind.title.clone());
        self.met.push(kind);
        true
    }

    /// The explanations of all kinds, with the present values of this host; empty without any.
    #[must_use]
    pub fn explained(&self) -> String {
        let mut present = Present::new(Path::new("/proc"));
        let blocks = self
            .met
            .iter()
            .map(|kind| explain(&self.texts, kind, &mut present));
        blocks.collect::<Vec<_>>().join("\n")
    }

    /// Explains all kinds on standard error, behind what is there.
    pub fn tell(&self) {
        let text = self.explained();
        if !text.is_empty() {
            // Nobody is left to tell if standard error is closed.
            drop(Stderr.write_all(format!("\n{text}").as_bytes()));
        }
    }
}

/// Whether there is a text that needs no look at the callers.
fn says_enough(entry: Option<Named<'_>>) -> bool {
    entry.is_some_and(|(_, entry)| !entry.outwards)
}

/// What kind of drop it is; `None` if nothing is known of it.
fn kind_of(texts: &Texts, place: &Place<'_>) -> Option<Kind> {
    let reason = place.reason.and_then(|name| texts.reason(name));
    let mut kind = Kind {
        title: Plain(place.reason.unwrap_or_default()).to_string(),
        reason: reason.map(|(name, _)| name.to_owned()),
        sites: Vec::new(),
    };
    if says_enough(reason) {
        return Some(kind);
    }
    let name = |(name, _): Named<'_>| name.to_owned();
    let at = place.at.and_then(|function| texts.site(function));
    kind.sites.extend(at.map(name));
    if let Some(function) = place.at {
        let space = if kind.title.is_empty() { "" } else { " " };
        kind.title += &format!("{space}at {}", Plain(function));
    }
    if !says_enough(at)
        && let Some(caller) = caller(texts, &place.callers)
    {
        kind.title += &format!(", called by {}", caller.0);
        kind.sites.push(name(caller));
    }
    (!kind.title.is_empty()).then_some(kind)
}

/// The entries that a drop is explained by: each by its name, and whether it is that of a call site.
pub(crate) fn entries<'t>(texts: &'t Texts, place: &Place<'_>) -> Vec<(Named<'t>, bool)> {
    let Some(kind) = kind_of(texts, place) else {
        return Vec::new();
    };
    let reason = kind.reason.as_deref().and_then(|name| texts.reason(name));
    let sites = kind.sites.iter().filter_map(|name| texts.site(name));
    let reason = reason.into_iter().map(|named| (named, false));
    reason.chain(sites.map(|named| (named, true))).collect()
}

/// The caller that says most: the innermost one that says enough, otherwise the outermost one.
fn caller<'t>(texts: &'t Texts, callers: &[&str]) -> Option<Named<'t>> {
    let near = callers.iter().take(NEAR);
    let mut known: Vec<_> = near.filter_map(|function| texts.site(function)).collect();
    let enough = known.iter().position(|(_, entry)| !entry.outwards);
    match enough {
        Some(place) => Some(known.swap_remove(place)),
        None => known.pop(),
    }
}

/// The block of a kind.
#[must_use]
pub fn explain(texts: &Texts, kind: &Kind, present: &mut Present) -> String {
    let mut parts: Vec<(String, &Entry)> = Vec::new();
    let reason = kind.reason.as_deref().and_then(|name| texts.reason(name));
    // A reason that says nothing gives way to the call site.
    let reason = reason.filter(|(_, entry)| kind.sites.is_empty() || !entry.causes.is_empty());
    parts.extend(reason.map(|(_, entry)| (String::new(), entry)));
    for site in &kind.sites {
        let Some((name, entry)) = texts.site(site) else {
            continue;
        };
        // Alone, it is what the title names last.
        let lead = if parts.is_empty() && kind.sites.len() == 1 && kind.title.ends_with(name) {
            String::new()
        } else {
            format!("{name}: ")
        };
        parts.push((lead, entry));
    }
    if parts.is_empty() {
        return format!(
            "{}\n  There is no text for this yet. The function's source tells more:\n  \
             git grep -n FUNCTION in the kernel's tree, or faddr2line vmlinux FUNCTION+0xOFF\n",
            kind.title
        );
    }
    render::block(&kind.title, &parts, present)
}

/// The kinds that a text asks about, an argument or a line of the input; `None` if it is nothing that
/// can be explained, which [`unknown`] says.
#[must_use]
pub fn asked(texts: &Texts, text: &str) -> Option<Vec<Kind>> {
    match Query::parse(text)? {
        Query::Drop(place) => Some(kind_of(texts, &place).into_iter().collect()),
        Query::Word(word) => named(texts, word),
    }
}

/// The reasons, or the call site, of this name.
fn named(texts: &Texts, word: &str) -> Option<Vec<Kind>> {
    let reasons = texts.reasons_matching(word);
    if !reasons.is_empty() {
        let kind = |(name, _): Named<'_>| Kind {
            title: name.to_owned(),
            reason: Some(name.to_owned()),
            sites: Vec::new(),
        };
        return Some(reasons.into_iter().map(kind).collect());
    }
    let (name, _) = texts.site(function_of(word))?;
    Some(vec![Kind {
        title: name.to_owned(),
        reason: None,
        sites: vec![name.to_owned()],
    }])
}

/// Why [`asked`] makes nothing of an argument, and what is similar. That takes much longer.
#[must_use]
pub fn unknown(texts: &Texts, argument: &str) -> Error {
    let Some(Query::Word(word)) = Query::parse(argument) else {
        return anyhow!(
            "{} is neither a drop reason, nor a function, nor a line of dropwatch",
            Quoted(argument)
        );
    };
    let nearest = texts.nearest(function_of(word)).join(", ");
    let hint = if nearest.is_empty() {
        String::new()
    } else {
        format!("; similar: {nearest}")
    };
    anyhow!(
        "there is no text for {}{hint}; 'dropwatch explain' lists all",
        Quoted(word)
    )
}

/// What `dropwatch explain` was asked to do, validated.
pub struct Explain {
    kinds: Kinds,
    /// Whether standard input is to be read as well.
    reads_input: bool,
    /// Whether all entries are to be listed.
    lists: bool,
}

impl Explain {
    /// Looks up the arguments.
    ///
    /// # Errors
    /// One of them is nothing that can be explained.
    pub fn new(arguments: &[String]) -> Result<Self> {
        let mut kinds = Kinds::new()?;
        for argument in arguments.iter().filter(|argument| *argument != INPUT) {
            let asked = asked(&kinds.texts, argument);
            for kind in asked.ok_or_else(|| unknown(&kinds.texts, argument))? {
                kinds.meet(kind);
            }
        }
        Ok(Self {
            reads_input: arguments.iter().any(|argument| argument == INPUT),
            lists: arguments.is_empty(),
            kinds,
        })
    }

    /// Prints the explanations: those of the arguments, and those of the input's lines as they
    /// come.
    ///
    /// # Errors
    /// Standard input or output can't be used, or the input held nothing that can be explained.
    pub fn run(mut self) -> Result<()> {
        if self.lists {
            print(list(&self.kinds.texts, terminal_width()))?;
            return Ok(());
        }
        let reader = match self.kinds.met.is_empty() {
            true => Reader::Present,
            false => print(self.kinds.explained())?,
        };
        if self.reads_input && reader == Reader::Present {
            self.explain_input()?;
        }
        Ok(())
    }

    fn explain_input(&mut self) -> Result<()> {
        let mut present = Present::new(Path::new("/proc"));
        let kinds = &mut self.kinds;
        each_line(io::stdin().lock(), "is one of dropwatch", |line| {
            let Some(asked) = asked(&kinds.texts, line) else {
                return Ok(None);
            };
            for kind in asked {
                let gap = if kinds.met.is_empty() { "" } else { "\n" };
                if kinds.meet(kind.clone()) {
                    let block = explain(&kinds.texts, &kind, &mut present);
                    if print(format!("{gap}{block}"))? == Reader::Gone {
                        return Ok(Some(Reader::Gone));
                    }
                }
            }
            Ok(Some(Reader::Present))
        })?;
        Ok(())
    }
}

/// The names of all entries, and what they mean; lines are cut to the width of a terminal.
fn list(texts: &Texts, width: Option<usize>) -> String {
    let mut list = String::new();
    for (name, entry) in texts.reasons().chain(texts.sites()) {
        let line = format!("{name:<NAMES$}  {}", entry.headline());
        match width {
            Some(width) if line.len() > width => {
                list.extend(line.chars().take(width.saturating_sub(1)));
                list.push('…');
            }
            _ => list.push_str(&line),
        }
        list.push('\n');
    }
    list
}

/// Columns for names in the list; longer ones move what is behind them.
const NAMES: usize = 32;

#[cfg(test)]
#[path = "explain/tests.rs"]
mod tests;
