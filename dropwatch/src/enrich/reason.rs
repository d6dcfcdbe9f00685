//! Names for drop reasons, from the running kernel's BTF.
//!
//! The numbers differ between kernel versions and backports, so none is written down here. Bits 16
//! and up of a reason select a subsystem (`include/net/dropreason.h`); the names of a subsystem's
//! reasons are in the BTF of the module that registers them, which is read when the first such
//! reason is seen: until then the module may not even be loaded.

use std::fmt::Write as _;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use rustc_hash::FxHashMap;

use crate::btf::{Btf, Enumerator};
use crate::pattern::{Pattern, has_wildcards, nearest};

/// Folder with the BTF of the kernel (`vmlinux`) and of each loaded module.
pub const BTF_FOLDER: &str = "/sys/kernel/btf";

const PREFIX: &str = "SKB_DROP_REASON_";
const SUBSYS_PREFIX: &str = "SKB_DROP_REASON_SUBSYS_";
/// `SKB_DROP_REASON_SUBSYS_SHIFT` in `include/net/dropreason-core.h`.
const SUBSYS_SHIFT: u32 = 16;
/// The bits that tell the reasons of a subsystem apart.
const LOW_MASK: u32 = (1 << SUBSYS_SHIFT) - 1;
/// Every enum of drop reasons has this in its name: `skb_drop_reason`, `ovs_drop_reason`,
/// `mac80211_drop_reason`, `qdisc_drop_reason`. Without asking for it, the many enums of flags
/// that have values in a subsystem's range would be taken for reasons.
const ENUM_NAME: &str = "drop_reason";

/// How many names an error suggests.
const SUGGESTIONS: usize = 3;

/// A drop reason that this kernel has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// Value, with the subsystem in the high 16 bits.
    pub number: u32,
    /// In lower case, as `openvswitch`; `None` for the core.
    pub subsystem: Option<String>,
    /// Without the subsystem, as `NO_SOCKET` or `LAST_ACTION`.
    pub name: String,
}

/// The names of drop reasons.
///
/// A core reason is printed without its prefix, as `NO_SOCKET`; a subsystem's as
/// `openvswitch:LAST_ACTION`. A reason without a name prints as its number: `123`, as
/// `openvswitch:7` (the low 16 bits) if its subsystem has a name, and as `subsys5:7` if not.
#[derive(Debug)]
pub struct ReasonNames {
    names: FxHashMap<u32, Box<str>>,
    subsystems: FxHashMap<u32, Subsystem>,
    has_reasons: bool,
    consumed: Option<u32>,
    not_dropped_yet: Option<u32>,
    folder: PathBuf,
    /// The last reason without a name.
    number: String,
    /// Whose reasons they are, for messages.
    whose: &'static str,
    /// What shows the names that there are, for the end of a message.
    listing: &'static str,
}

#[derive(Debug)]
struct Subsystem {
    /// In lower case, as `openvswitch`.
    name: String,
    /// Whether the names of its reasons have been looked for.
    searched: bool,
}

impl ReasonNames {
    /// Takes the names from the kernel's BTF; those in modules will be looked for in `folder`
    /// (usually [`BTF_FOLDER`]).
    pub fn new(kernel: &Btf, folder: &Path) -> Self {
        let core = kernel.enum_values("skb_drop_reason").unwrap_or_default();
        let value_of = |name| {
            let found = core.iter().find(|it| it.name == name)?;
            u32::try_from(found.value).ok()
        };
        let mut this = Self {
            names: FxHashMap::default(),
            subsystems: subsystems(kernel),
            has_reasons: !core.is_empty(),
            consumed: value_of("SKB_CONSUMED"),
            not_dropped_yet: value_of("SKB_NOT_DROPPED_YET"),
            folder: folder.to_owned(),
            number: String::new(),
            whose: "this kernel",
            listing: "; --list-reasons shows those that it has",
        };
        for Enumerator { name, value } in &core {
            let name = name.strip_prefix(PREFIX).unwrap_or(name);
            // The number of reasons and the mask of the subsystem are no reasons.
            if let (Ok(value), false) =
                (u32::try_from(*value), matches!(name, "MAX" | "SUBSYS_MASK"))
            {
                this.names.entry(value).or_insert_with(|| name.into());
            }
        }
        // Subsystems that are never modules, as qdisc from 7.x on.
        this.learn(kernel);
        this
    }

    /// The names that were written down on another kernel, in a recording: those of its reasons
    /// and of their subsystems, by number.
    pub(crate) fn written_down<'a>(
        reasons: impl IntoIterator<Item = (u32, &'a str)>,
        subsystems: impl IntoIterator<Item = (u32, &'a str)>,
    ) -> Self {
        let names: FxHashMap<u32, Box<str>> = reasons
            .into_iter()
            .map(|(number, name)| (number, name.into()))
            .collect();
        let value_of = |name: &str| {
            let found = names.iter().find(|(_, it)| ***it == *name);
            found.map(|(number, _)| *number)
        };
        let subsystem = |(number, name): (u32, &str)| {
            let name = name.to_owned();
            let searched = true;
            (number, Subsystem { name, searched })
        };
        Self {
            has_reasons: !names.is_empty(),
            consumed: value_of("SKB_CONSUMED"),
            not_dropped_yet: value_of("SKB_NOT_DROPPED_YET"),
            names,
            subsystems: subsystems.into_iter().map(subsystem).collect(),
            folder: PathBuf::new(),
            number: String::new(),
            whose: "the recorded kernel",
            listing: "",
        }
    }

    /// The names of the subsystems, with their numbers, in no order.
    pub(crate) fn subsystems(&self) -> impl Iterator<Item = (u32, &str)> {
        let all = self.subsystems.iter();
        all.map(|(&number, subsystem)| (number, subsystem.name.as_str()))
    }

    /// Whether this kernel gives reasons at all (5.17 and later do).
    pub fn has_reasons(&self) -> bool {
        self.has_reasons
    }

    /// The reason that means a packet was used up, not dropped (6.2 and later).
    pub fn consumed(&self) -> Option<u32> {
        self.consumed
    }

    /// The reason that means a packet lives on.
    pub fn not_dropped_yet(&self) -> Option<u32> {
        self.not_dropped_yet
    }

    /// The name of a reason. Allocates only for the first reason of a subsystem that a module
    /// has, which also takes some milliseconds.
    pub fn name(&mut self, reason: u32) -> &str {
        if !self.names.contains_key(&reason) {
            self.search(reason >> SUBSYS_SHIFT);
        }
        match self.names.get(&reason) {
            Some(name) => name,
            None => as_number(reason, &self.subsystems, &mut self.number),
        }
    }

    /// The names that are known so far, with their numbers, in no order.
    pub fn known(&self) -> impl Iterator<Item = (u32, &str)> {
        self.names.iter().map(|(&number, name)| (number, &**name))
    }

    /// All reasons of this kernel and of the modules that are loaded now, by number; those that
    /// mean no drop are left out. Takes some milliseconds for each subsystem.
    pub fn all(&mut self) -> Vec<Reason> {
        self.search_all();
        let mut all: Vec<Reason> = self
            .drops()
            .map(|(number, name)| {
                let (subsystem, name) = match name.split_once(':') {
                    Some((subsystem, name)) => (Some(subsystem.to_owned()), name),
                    None => (None, name),
                };
                let name = name.to_owned();
                Reason {
                    number,
                    subsystem,
                    name,
                }
            })
            .collect();
        all.sort_unstable();
        all
    }

    /// The reasons that `pattern` stands for, as sorted ranges of numbers that do not touch.
    ///
    /// A pattern is a name as lines show it, with or without `SKB_DROP_REASON_`, in either case;
    /// several names by `*` and `?`, as `TCP_*` or `openvswitch:*`; a subsystem, as `openvswitch`,
    /// which is its whole range even before its module is loaded; or a number, as `3` or
    /// `0x30001`.
    ///
    /// # Errors
    /// The kernel has no such reason, or gives no reasons at all.
    pub fn matching(&mut self, pattern: &str) -> Result<Vec<RangeInclusive<u32>>> {
        ensure!(
            self.has_reasons,
            "'{pattern}' can't be looked for: {} gives no drop reasons (5.17 and later do)",
            self.whose
        );
        if let Some(number) = parse_number(pattern) {
            return self.numbered(number, pattern);
        }
        let plain = plain_name(pattern);
        // Without a subsystem and wildcards, what the modules have is not asked for.
        if plain.contains([':', '*', '?']) {
            self.search_all();
        }
        let mut found = self.named(plain);
        if found.is_empty() {
            match self.unnamed(plain) {
                Some(number) => found.push(number..=number),
                None => return Err(self.unknown(pattern, plain)),
            }
        }
        Ok(merged(found))
    }

    /// What a pattern without the prefix stands for.
    fn named(&self, pattern: &str) -> Vec<RangeInclusive<u32>> {
        let whole = pattern.strip_suffix(":*").unwrap_or(pattern);
        let (names, subsystems) = (Pattern::any_case(pattern), Pattern::any_case(whole));
        let names = self.drops().filter(|(_, name)| names.matches(name));
        let subsystems = self
            .subsystems
            .iter()
            .filter(|(_, subsystem)| subsystems.matches(&subsystem.name))
            .map(|(number, _)| number << SUBSYS_SHIFT..=number << SUBSYS_SHIFT | LOW_MASK);
        names
            .map(|(number, _)| number..=number)
            .chain(subsystems)
            .collect()
    }

    /// The number of a reason that is printed as its subsystem and a number, as `openvswitch:92`.
    fn unnamed(&self, pattern: &str) -> Option<u32> {
        let (subsystem, low) = pattern.split_once(':')?;
        let low = low.parse::<u16>().ok()?;
        let of_name = |(_, it): &(&u32, &Subsystem)| it.name.eq_ignore_ascii_case(subsystem);
        let (number, _) = self.subsystems.iter().find(of_name)?;
        Some(number << SUBSYS_SHIFT | u32::from(low))
    }

    /// A reason by its number, which has to be one that can be met: a name or a subsystem shows it.
    fn numbered(&self, number: u32, pattern: &str) -> Result<Vec<RangeInclusive<u32>>> {
        let is_drop = self.drops().any(|(known, _)| known == number);
        ensure!(
            is_drop || self.subsystems.contains_key(&(number >> SUBSYS_SHIFT)),
            "{} has no drop reason {pattern}{}",
            self.whose,
            self.listing
        );
        Ok(vec![number..=number])
    }

    /// The error for a pattern that stands for nothing.
    fn unknown(&mut self, pattern: &str, plain: &str) -> anyhow::Error {
        self.search_all();
        let subsystem_of = plain.split_once(':').map(|(subsystem, _)| subsystem);
        let hidden = self.subsystems.iter().find(|(number, it)| {
            let named = subsystem_of.is_some_and(|name| it.name.eq_ignore_ascii_case(name));
            named && !self.has_names(**number)
        });
        if let Some((_, Subsystem { name, .. })) = hidden {
            return anyhow!(
                "the drop reasons of {name} have names only while its module is loaded; \
                 '{name}' stands for all of them"
            );
        }
        let subsystems = self.subsystems.values().map(|it| it.name.as_str());
        let names = self.drops().map(|(_, name)| name).chain(subsystems);
        let nearest = nearest(plain, names, SUGGESTIONS).join(", ");
        let hint = if nearest.is_empty() {
            String::new()
        } else {
            format!("; it has {nearest}")
        };
        let what = if has_wildcards(plain) {
            "that fits"
        } else {
            "named"
        };
        anyhow!(
            "{} has no drop reason {what} '{pattern}'{hint}{}",
            self.whose,
            self.listing
        )
    }

    /// The names without those that mean no drop.
    fn drops(&self) -> impl Iterator<Item = (u32, &str)> {
        let none = [self.consumed, self.not_dropped_yet];
        self.known()
            .filter(move |(number, _)| !none.contains(&Some(*number)))
    }

    fn has_names(&self, subsystem: u32) -> bool {
        let mut numbers = self.names.keys();
        numbers.any(|reason| reason >> SUBSYS_SHIFT == subsystem)
    }

    /// Looks for the names of all subsystems.
    pub(crate) fn search_all(&mut self) {
        let numbers: Vec<u32> = self.subsystems.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.search(number));
    }

    /// Looks once for the names of a subsystem's reasons in the BTF of the loaded modules.
    fn search(&mut self, number: u32) {
        let Some(subsystem) = self.subsystems.get_mut(&number) else {
            return;
        };
        if std::mem::replace(&mut subsystem.searched, true) {
            return;
        }
        let name = subsystem.name.clone();
        if let Err(error) = self.search_modules(number, &name) {
            log::debug!("no names for the drop reasons of {name}: {error:#}");
        }
    }

    fn search_modules(&mut self, number: u32, name: &str) -> Result<()> {
        let kernel = Btf::load(Some(&self.folder.join("vmlinux")))?;
        for module in modules(&self.folder, name)? {
            match kernel.load_module(&module) {
                Ok(module) => self.learn(&module),
                Err(error) => log::debug!("{error:#}"),
            }
            if self.has_names(number) {
                break;
            }
        }
        Ok(())
    }

    /// Adds the reasons of all subsystems that `btf` has enums of.
    fn learn(&mut self, btf: &Btf) {
        for (_, values) in btf.enums(|name| name.contains(ENUM_NAME)) {
            for (&number, subsystem) in &mut self.subsystems {
                let reasons = reasons_of(number, &values);
                subsystem.searched |= !reasons.is_empty();
                let prefix = common_prefix(number, &reasons);
                for (value, name) in reasons {
                    let name = name.strip_prefix(prefix).unwrap_or(name);
                    let name = name.trim_start_matches('_');
                    // The end of the range is no reason.
                    if name != "MAX" {
                        self.names
                            .entry(value)
                            .or_insert_with(|| format!("{}:{name}", subsystem.name).into());
                    }
                }
            }
        }
    }
}

/// A number in decimal or, after `0x`, in hexadecimal digits.
fn parse_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The name that lines show, of one with or without `SKB_DROP_REASON_`, in either case.
pub(crate) fn plain_name(name: &str) -> &str {
    strip_prefix_any_case(name, PREFIX)
}

/// `text` without `prefix`, which is ASCII and may be in another case.
fn strip_prefix_any_case<'a>(text: &'a str, prefix: &str) -> &'a str {
    match text.split_at_checked(prefix.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(prefix) => rest,
        _ => text,
    }
}

/// The same numbers in order, in ranges that neither overlap nor touch.
fn merged(mut ranges: Vec<RangeInclusive<u32>>) -> Vec<RangeInclusive<u32>> {
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u32>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// Writes a reason without a name into `text`.
fn as_number<'a>(
    reason: u32,
    subsystems: &FxHashMap<u32, Subsystem>,
    text: &'a mut String,
) -> &'a str {
    text.clear();
    let (subsystem, low) = (reason >> SUBSYS_SHIFT, reason & LOW_MASK);
    let written = match subsystems.get(&subsystem) {
        Some(known) => write!(text, "{}:{low}", known.name),
        // Before 6.4 there are no subsystems.
        None if subsystem == 0 || subsystems.is_empty() => write!(text, "{reason}"),
        None => write!(text, "subsys{subsystem}:{low}"),
    };
    debug_assert!(written.is_ok(), "writing to a string can't fail");
    text
}

/// The subsystems by number, without the core one; empty before 6.4.
fn subsystems(kernel: &Btf) -> FxHashMap<u32, Subsystem> {
    let values = kernel.enum_values("skb_drop_reason_subsys");
    let mut subsystems = FxHashMap::default();
    for Enumerator { name, value } in values.unwrap_or_default() {
        let Some(name) = name.strip_prefix(SUBSYS_PREFIX) else {
            continue;
        };
        match u32::try_from(value) {
            Ok(number) if number != 0 && name != "NUM" => {
                let name = name.to_ascii_lowercase();
                let searched = false;
                subsystems.insert(number, Subsystem { name, searched });
            }
            _ => {}
        }
    }
    subsystems
}

/// The enumerators in the range of a subsystem. Names that begin with `__` mark the start of the
/// range, except where all do (`___mac80211_drop_reason`).
fn reasons_of(subsystem: u32, values: &[Enumerator]) -> Vec<(u32, &str)> {
    let in_range: Vec<_> = values
        .iter()
        .filter_map(|it| Some((u32::try_from(it.value).ok()?, it.name.as_str())))
        .filter(|(value, _)| value >> SUBSYS_SHIFT == subsystem)
        .collect();
    if in_range.iter().all(|(_, name)| name.starts_with("__")) {
        in_range
    } else {
        in_range
            .into_iter()
            .filter(|(_, name)| !name.starts_with("__"))
            .collect()
    }
}

/// The longest start, up to and with a `_`, that all names have in common. The name of number 0
/// does not count: it can be that of the subsystem as a whole (`RX_DROP_UNUSABLE`).
fn common_prefix<'a>(subsystem: u32, reasons: &[(u32, &'a str)]) -> &'a str {
    let mut names = reasons
        .iter()
        .filter(|&&(value, _)| value != subsystem << SUBSYS_SHIFT)
        .map(|&(_, name)| name);
    let (Some(first), Some(second)) = (names.next(), names.next()) else {
        return "";
    };
    let common = names.fold(common_len(first, second), |len, name| {
        len.min(common_len(first, name))
    });
    let end = first[..common].rfind('_').map_or(0, |at| at + 1);
    &first[..end]
}

/// How many bytes two names have in common at the start; always a character boundary of both.
fn common_len(a: &str, b: &str) -> usize {
    let same = a.char_indices().zip(b.chars());
    same.take_while(|((_, a), b)| a == b)
        .last()
        .map_or(0, |((at, c), _)| at + c.len_utf8())
}

/// The BTF files of the modules, those first whose name fits the subsystem's.
fn modules(folder: &Path, subsystem: &str) -> Result<Vec<PathBuf>> {
    let context = || format!("listing the modules' BTF in {}", folder.display());
    let mut files = Vec::new();
    for file in fs::read_dir(folder).with_context(context)? {
        let file = file.with_context(context)?;
        let name = file.file_name().to_string_lossy().into_owned();
        if name != "vmlinux" {
            files.push((!subsystem.starts_with(&name), file.path()));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
#[path = "reason/tests.rs"]
mod tests;
