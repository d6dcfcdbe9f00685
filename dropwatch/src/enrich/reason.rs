//! Names for drop reasons, from the running kernel's BTF.
//!
//! The numbers differ between kernel versions and backports, so none is written down here. Bits 16
//! and up of a reason select a subsystem (`include/net/dropreason.h`); the names of a subsystem's
//! reasons are in the BTF of the module that registers them, which is read when the first such
//! reason is seen: until then the module may not even be loaded.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustc_hash::FxHashMap;

use crate::btf::{Btf, Enumerator};

/// Folder with the BTF of the kernel (`vmlinux`) and of each loaded module.
pub const BTF_FOLDER: &str = "/sys/kernel/btf";

const PREFIX: &str = "SKB_DROP_REASON_";
const SUBSYS_PREFIX: &str = "SKB_DROP_REASON_SUBSYS_";
/// `SKB_DROP_REASON_SUBSYS_SHIFT` in `include/net/dropreason-core.h`.
const SUBSYS_SHIFT: u32 = 16;
/// Every enum of drop reasons has this in its name: `skb_drop_reason`, `ovs_drop_reason`,
/// `mac80211_drop_reason`, `qdisc_drop_reason`. Without asking for it, the many enums of flags
/// that have values in a subsystem's range would be taken for reasons.
const ENUM_NAME: &str = "drop_reason";

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
            if self
                .names
                .keys()
                .any(|reason| reason >> SUBSYS_SHIFT == number)
            {
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
                    self.names
                        .entry(value)
                        .or_insert_with(|| format!("{}:{name}", subsystem.name).into());
                }
            }
        }
    }
}

/// Writes a reason without a name into `text`.
fn as_number<'a>(
    reason: u32,
    subsystems: &FxHashMap<u32, Subsystem>,
    text: &'a mut String,
) -> &'a str {
    text.clear();
    let (subsystem, low) = (reason >> SUBSYS_SHIFT, reason & 0xffff);
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
