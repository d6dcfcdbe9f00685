//! Names for kernel code addresses, from `/proc/kallsyms`.
//!
//! kallsyms gives addresses without sizes, so a function ends where the next symbol begins. Where
//! nothing follows closely, that would label any address: such ends are found by the rules at
//! [`Table::end_of`], and an address outside every function has no name, never a far-away one.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::clock::boot_ns;
use crate::pattern::{Pattern, nearest};

/// The kernel's symbols.
pub const KALLSYMS: &str = "/proc/kallsyms";
/// The loaded modules; the file is absent on kernels without modules.
pub const MODULES: &str = "/proc/modules";

/// What [`Symbols::hidden`] means for lines.
pub const HIDDEN: &str = "the kernel hides the addresses of its symbols, so call sites and stacks \
     are printed as addresses";
/// What to do then, as `kallsyms_show_value` decides (`kernel/ksyms_common.c`, in older kernels
/// `kernel/kallsyms.c`).
pub const HIDDEN_REMEDY: &str = "run with CAP_SYSLOG and kernel.kptr_restrict below 2, or set \
     kernel.kptr_restrict=0 and kernel.perf_event_paranoid=1";

/// No function is longer; beyond it, an address belongs to something that has no symbol. The
/// largest ones (drivers with generated tables, instrumented kernels) stay below 200 KB.
const MAX_FUNCTION: u64 = 256 << 10;
/// The same for a BPF program: programs that are loaded later land between those that are known.
const MAX_BPF_PROGRAM: u64 = 64 << 10;
/// Code of different modules never shares a page.
const PAGE: u64 = 4096;
/// The kernel hands out one page at most for each read, so that more would not be faster.
const CHUNK: usize = 16 << 10;
/// Shortest time between two reloads: each costs the kernel some 0.1 s.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);
/// Most pieces of code that are told apart while no drop comes: where eBPF programs come and go all the
/// time.
const MAX_MOVED: usize = 1024;
/// How much earlier than the one before it a drop may be, in nanoseconds: each processor writes its
/// own at its own pace.
const DISORDER_NS: u64 = 100_000_000;
/// What kallsyms calls the module of eBPF programs (`kernel/bpf/core.c`).
const BPF: &str = "bpf";
/// Longest pause after unknown addresses that reloading did not explain.
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// A kernel code address by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Name of the function.
    pub name: &'a str,
    /// Distance in bytes from the function's start.
    pub offset: u64,
    /// Module that the function is part of; `bpf` for BPF programs, `None` for the kernel itself.
    pub module: Option<&'a str>,
}

/// The symbols of the running kernel.
#[derive(Debug)]
pub struct Symbols {
    kallsyms: PathBuf,
    modules: PathBuf,
    table: Table,
    /// Fingerprint of the modules when `table` was read.
    modules_seen: u64,
    loaded: Instant,
    /// The same in nanoseconds of `CLOCK_BOOTTIME`, the clock of drops.
    loaded_ns: u64,
    /// Time to wait after `loaded` before an unknown address causes a reload.
    pause: Duration,
    /// Code that has other names than in the table before, until drops come that are later than the
    /// change.
    moved: Vec<Moved>,
    /// The time of the drop whose addresses are looked up, of the same clock; now, until one comes.
    at_ns: u64,
}

/// Code that was loaded to where other code was, or nothing.
#[derive(Debug)]
struct Moved {
    code: Range<u64>,
    /// It was not there before; of `CLOCK_BOOTTIME`, in nanoseconds.
    since_ns: u64,
}

impl Moved {
    /// One that stands for all of these, and for what lies between them.
    fn all_between(moved: &[Self]) -> Option<Self> {
        let start = moved.iter().map(|moved| moved.code.start).min()?;
        let end = moved.iter().map(|moved| moved.code.end).max()?;
        let since_ns = moved.iter().map(|moved| moved.since_ns).max()?;
        Some(Self {
            code: start..end,
            since_ns,
        })
    }
}

impl Symbols {
    /// Reads the symbols; usually from [`KALLSYMS`] and [`MODULES`].
    ///
    /// # Errors
    /// `kallsyms` can't be read (kernels without `CONFIG_KALLSYMS` have none).
    pub fn load(kallsyms: &Path, modules: &Path) -> Result<Self> {
        // The modules first: one that is loaded in between is noticed at the next refresh.
        let modules_seen = modules_fingerprint(modules)?;
        let loaded_ns = boot_ns();
        Ok(Self {
            table: read_table(kallsyms)?,
            kallsyms: kallsyms.to_owned(),
            modules: modules.to_owned(),
            modules_seen,
            loaded: Instant::now(),
            loaded_ns,
            pause: RELOAD_PAUSE,
            moved: Vec::new(),
            at_ns: u64::MAX,
        })
    }

    /// No symbols at all, for kernels that do not show theirs.
    pub fn none() -> Self {
        Self::fixed(Table {
            hidden: true,
            ..Table::default()
        })
    }

    /// The symbols of a text as [`KALLSYMS`] has it. They can't be reloaded.
    ///
    /// # Errors
    /// It can't be read.
    pub fn of_text(text: impl Read) -> Result<Self> {
        Ok(Self::fixed(Table::read(text)?))
    }

    /// Symbols that come from no file.
    fn fixed(table: Table) -> Self {
        Self {
            table,
            kallsyms: PathBuf::new(),
            modules: PathBuf::new(),
            modules_seen: 0,
            loaded: Instant::now(),
            loaded_ns: 0,
            pause: LONGEST_PAUSE,
            moved: Vec::new(),
            at_ns: u64::MAX,
        }
    }

    /// Whether the kernel showed names but no addresses; then no lookup finds anything, and the
    /// caller says so once: [`HIDDEN`], [`HIDDEN_REMEDY`].
    pub fn hidden(&self) -> bool {
        self.table.hidden
    }

    /// Number of addresses with a name.
    pub fn len(&self) -> usize {
        self.table.entries.iter().filter(|e| e.len != 0).count()
    }

    /// Whether no address has a name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The function that contains `address`.
    ///
    /// This is the one for the call site that the kernel gives with a drop: mostly that is a return
    /// address, but `net_tx_action` (`net/core/dev.c`) gives its own start.
    pub fn lookup(&self, address: u64) -> Option<Symbol<'_>> {
        let came_later =
            |moved: &Moved| moved.since_ns > self.at_ns && moved.code.contains(&address);
        let is_new = self.moved.iter().any(came_later);
        self.table.lookup(address).filter(|_| !is_new)
    }

    /// Whether the kernel has a name for `address` now.
    pub(crate) fn is_known(&self, address: u64) -> bool {
        self.table.lookup(address).is_some()
    }

    /// Looks addresses up as of `at_ns` of `CLOCK_BOOTTIME`, the time of a drop, from here on: code that
    /// came later has no name. Drops come in the order of their time, as good as; true once no code is
    /// newer than they are: caches of lookups then have to be cleared.
    pub(crate) fn go_to(&mut self, at_ns: u64) -> bool {
        self.at_ns = at_ns;
        let is_over = |moved: &Moved| moved.since_ns.saturating_add(DISORDER_NS) <= at_ns;
        if self.moved.is_empty() || !self.moved.iter().all(is_over) {
            return false;
        }
        self.moved.clear();
        true
    }

    /// The function that contains the call after which `address` is next; `offset` still is that
    /// of `address`, as perf and bpftrace print it. This is the one for the callers in a stack.
    ///
    /// A call to a function that never returns can be the last instruction of its caller: the
    /// return address then is the start of whatever follows, and [`lookup`](Self::lookup) would
    /// name that. So the byte before it, which is part of the call, is looked up.
    pub fn lookup_return(&self, address: u64) -> Option<Symbol<'_>> {
        let mut symbol = self.lookup(address.checked_sub(1)?)?;
        symbol.offset += 1;
        Some(symbol)
    }

    /// The code of the functions that `pattern` stands for, in order; empty if there is none.
    ///
    /// The pattern is the whole name as [`lookup`](Self::lookup) gives it, with `*` and `?`, or
    /// that without what the compiler adds: `nft_do_chain` also is `nft_do_chain.isra.0` and the
    /// `nft_do_chain.cold` that lies elsewhere. With `[nf_tables]` behind it (a pattern too), only
    /// that module's functions count. Ranges that touch are one.
    ///
    /// A call site is in a function if the range contains it, as with [`lookup`](Self::lookup). A
    /// caller's return address is if the range contains the byte before, as with
    /// [`lookup_return`](Self::lookup_return).
    pub fn functions_matching(&self, pattern: &str) -> Vec<Range<u64>> {
        self.functions_matching_any(&[pattern])
    }

    /// The code of the functions that any of `patterns` stands for, in order, see
    /// [`functions_matching`](Self::functions_matching): one look at all symbols, some 3 ms.
    pub fn functions_matching_any(&self, patterns: &[&str]) -> Vec<Range<u64>> {
        let wanted: Vec<_> = patterns.iter().map(|it| FunctionPattern::new(it)).collect();
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (index, entry) in self.table.entries.iter().enumerate() {
            let name = FunctionName::of(&self.table, entry);
            if !name.is_some_and(|name| wanted.iter().any(|it| it.matches(name))) {
                continue;
            }
            let end = self.table.end_of(index, entry);
            match ranges.last_mut() {
                Some(last) if last.end == entry.address => last.end = end,
                _ => ranges.push(entry.address..end),
            }
        }
        ranges
    }

    /// The `count` functions whose names look most like `name`, for a message that there is none
    /// of that name. Takes some 0.1 s.
    pub fn nearest_functions(&self, name: &str, count: usize) -> Vec<&str> {
        let (name, _) = split_module(name);
        let names = self.table.entries.iter().filter(|entry| entry.len != 0);
        let names = names.filter_map(|entry| std::str::from_utf8(self.table.name(entry)).ok());
        nearest(name, names.map(without_suffix), count)
    }

    /// Reloads the symbols if modules came or went since the last load, or if an address had no
    /// name (`unknown_seen`: it may be that of a new BPF program). True if any name or address
    /// changed: caches of lookups then have to be cleared.
    ///
    /// Reading the modules takes some 20 µs; call this about once a second and after unknown
    /// addresses. At most one reload a second is made, and fewer and fewer if unknown addresses
    /// stay unknown.
    ///
    /// # Errors
    /// The kernel's files can't be read any more; the symbols stay as they were.
    pub fn refresh_if_changed(&mut self, now: Instant, unknown_seen: bool) -> Result<bool> {
        let age = now.saturating_duration_since(self.loaded);
        if self.table.hidden || age < RELOAD_PAUSE {
            return Ok(false);
        }
        let modules_seen = modules_fingerprint(&self.modules)?;
        let modules_changed = modules_seen != self.modules_seen;
        if !(modules_changed || unknown_seen && age >= self.pause) {
            return Ok(false);
        }
        self.loaded = now;
        let now_ns = boot_ns();
        let table = read_table(&self.kallsyms)?;
        self.modules_seen = modules_seen;
        let changed = table != self.table;
        self.moved
            .extend(table.moved_since(&self.table, self.loaded_ns, now_ns));
        if self.moved.len() > MAX_MOVED {
            self.moved = Moved::all_between(&self.moved).into_iter().collect();
        }
        self.table = table;
        self.loaded_ns = now_ns;
        self.pause = if changed || modules_changed {
            RELOAD_PAUSE
        } else {
            (self.pause * 2).min(LONGEST_PAUSE)
        };
        Ok(changed)
    }
}

/// All symbols in the order of their addresses.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    entries: Vec<Entry>,
    /// The names of all entries.
    names: Vec<u8>,
    /// The names of the modules; `Entry::module` counts from 1.
    modules: Vec<Box<str>>,
    /// There were symbols, and all addresses were 0.
    hidden: bool,
}

/// A named function, or with `len` 0 a boundary: the start of data, of a gap, or of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    address: u64,
    /// Where the name is in `Table::names`.
    name: u32,
    len: u16,
    /// 0 for the kernel itself.
    module: u16,
}

impl Table {
    /// Reads kallsyms piece by piece: its text is several times as large as what is kept of it.
    fn read(mut text: impl Read) -> io::Result<Self> {
        let mut builder = Builder::default();
        let mut buffer = vec![0; CHUNK];
        let mut filled = 0;
        loop {
            let len = match text.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            filled += len;
            let whole = buffer[..filled].iter().rposition(|&b| b == b'\n');
            let used = match whole {
                Some(end) => {
                    buffer[..end]
                        .split(|&b| b == b'\n')
                        .for_each(|line| builder.line(line));
                    end + 1
                }
                // A line as long as the buffer is garbage.
                None if filled == buffer.len() => filled,
                None => 0,
            };
            buffer.copy_within(used..filled, 0);
            filled -= used;
        }
        builder.line(&buffer[..filled]);
        Ok(builder.finish())
    }

    fn lookup(&self, address: u64) -> Option<Symbol<'_>> {
        let next = self.entries.partition_point(|e| e.address <= address);
        let index = next.checked_sub(1)?;
        let entry = self.entries.get(index)?;
        if entry.len == 0 || address >= self.end_of(index, entry) {
            return None;
        }
        Some(Symbol {
            name: std::str::from_utf8(self.name(entry)).ok()?,
            offset: address - entry.address,
            module: self.module(entry),
        })
    }

    /// Where the function at `index` ends at the latest: where the next symbol starts, whatever
    /// that is. But the last function of a module, after which memory of another owner follows,
    /// ends with its page, and no function is longer than any that exists.
    fn end_of(&self, index: usize, entry: &Entry) -> u64 {
        let next = self.entries.get(index + 1);
        let limit = match next {
            Some(next) if next.module == entry.module => {
                if self.module(entry) == Some(BPF) {
                    entry.address.saturating_add(MAX_BPF_PROGRAM)
                } else {
                    entry.address.saturating_add(MAX_FUNCTION)
                }
            }
            _ => (entry.address | (PAGE - 1)).saturating_add(1),
        };
        next.map_or(limit, |next| limit.min(next.address))
    }

    /// The functions in a range, and the one that reaches into it.
    fn functions_in(&self, range: Range<u64>) -> impl Iterator<Item = &Entry> {
        let at = |address| self.entries.partition_point(|e| e.address < address);
        let reaches_in = self.lookup(range.start).is_some();
        let first = self.entries.partition_point(|e| e.address <= range.start);
        let first = first.saturating_sub(usize::from(reaches_in));
        let inside = self.entries.get(first..at(range.end)).unwrap_or_default();
        inside.iter().filter(|entry| entry.len > 0)
    }

    /// For each module, by the number that entries have, whether a newer table has it in the same place.
    /// eBPF programs are as good as modules of their own, and are none of these.
    fn stayed(&self, newer: &Self) -> Vec<bool> {
        let mut stayed = vec![false; self.modules.len() + 1];
        for entry in &self.entries {
            let Some(module) = self.module(entry).filter(|module| *module != BPF) else {
                continue;
            };
            if let Some(stayed) = stayed.get_mut(usize::from(entry.module))
                && !*stayed
            {
                *stayed = newer.lookup(entry.address).is_some_and(|symbol| {
                    symbol.offset == 0
                        && symbol.name.as_bytes() == self.name(entry)
                        && symbol.module == Some(module)
                });
            }
        }
        stayed
    }

    /// Code outside of the kernel itself that has another name than in an older table: since this one
    /// was read at the latest if it took another one's place, and else since the older one was at the
    /// earliest. A module's code for its start is given back to the kernel once that is over, and what
    /// comes there then takes nobody's place.
    fn moved_since(&self, older: &Self, older_ns: u64, now_ns: u64) -> Vec<Moved> {
        let stayed = older.stayed(self);
        let has_stayed = |entry: &Entry| stayed.get(usize::from(entry.module)) == Some(&true);
        let mut moved: Vec<Moved> = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.module == 0 || entry.len == 0 {
                continue;
            }
            if older.lookup(entry.address) == self.lookup(entry.address) {
                continue;
            }
            let end = self.end_of(index, entry);
            let was_free = older.functions_in(entry.address..end).all(has_stayed);
            let since_ns = if was_free { older_ns } else { now_ns };
            match moved.last_mut() {
                Some(last) if last.code.end == entry.address && last.since_ns == since_ns => {
                    last.code.end = end;
                }
                _ => moved.push(Moved {
                    code: entry.address..end,
                    since_ns,
                }),
            }
        }
        moved
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        let start = entry.name as usize;
        self.names
            .get(start..start + usize::from(entry.len))
            .unwrap_or_default()
    }

    fn module(&self, entry: &Entry) -> Option<&str> {
        let index = usize::from(entry.module).checked_sub(1)?;
        self.modules.get(index).map(AsRef::as_ref)
    }
}

/// What [`Symbols::functions_matching`] looks for.
#[derive(Clone, Debug)]
pub(crate) struct FunctionPattern {
    name: Pattern,
    module: Option<Pattern>,
}

impl FunctionPattern {
    /// A pattern as [`Symbols::functions_matching`] takes it.
    pub(crate) fn new(text: &str) -> Self {
        let (name, module) = split_module(text);
        Self {
            name: Pattern::new(name),
            module: module.map(Pattern::new),
        }
    }

    /// Whether it stands for the function of this name, and in this module.
    fn matches(&self, name: FunctionName<'_>) -> bool {
        let in_module = match (&self.module, name.module) {
            (None, _) => true,
            (Some(wanted), Some(module)) => wanted.matches(module),
            (Some(_), None) => false,
        };
        in_module && (self.name.matches(name.whole) || self.name.matches(name.in_source))
    }

    /// Whether a call site or caller, as lines show it, is in such a function.
    pub(crate) fn matches_frame(&self, frame: &str) -> bool {
        let (place, module) = split_module(frame);
        // Without a name there is an address alone.
        place
            .rsplit_once("+0x")
            .is_some_and(|(name, _)| self.matches(FunctionName::new(name, module)))
    }
}

/// What a [`FunctionPattern`] is compared with.
#[derive(Clone, Copy, Debug)]
struct FunctionName<'a> {
    whole: &'a str,
    in_source: &'a str,
    module: Option<&'a str>,
}

impl<'a> FunctionName<'a> {
    fn new(whole: &'a str, module: Option<&'a str>) -> Self {
        Self {
            whole,
            in_source: without_suffix(whole),
            module,
        }
    }

    /// `None` if it is no function's.
    fn of(table: &'a Table, entry: &Entry) -> Option<Self> {
        let whole = std::str::from_utf8(table.name(entry)).ok();
        let whole = whole.filter(|_| entry.len != 0)?;
        Some(Self::new(whole, table.module(entry)))
    }
}

/// `name[module]` as name and module.
fn split_module(text: &str) -> (&str, Option<&str>) {
    let split = text
        .strip_suffix(']')
        .and_then(|text| text.rsplit_once('['));
    split.map_or((text, None), |(name, module)| (name, Some(module)))
}

/// The name of a function in the source: compilers add `.isra.0`, `.constprop.0`, `.part.0` or
/// `.cold` to names, and C has no dots in them.
pub fn without_suffix(name: &str) -> &str {
    match name.split_once('.') {
        Some((name, _)) if !name.is_empty() => name,
        _ => name,
    }
}

/// Builds a [`Table`] line by line.
#[derive(Default)]
struct Builder {
    table: Table,
    /// Whether an entry is of a global symbol, by `Entry::name`: sorted, as names are appended.
    globals: Vec<u32>,
    zeros: bool,
    non_zeros: bool,
}

impl Builder {
    /// Takes one line, `ffffffff81000000 T name` and for modules a tab and `[module]`. A line that
    /// isn't like that is left out.
    fn line(&mut self, line: &[u8]) {
        let Some((address, kind, name, module)) = split_line(line) else {
            return;
        };
        if address == 0 {
            self.zeros = true;
            return;
        }
        self.non_zeros = true;
        let is_text = matches!(kind, b't' | b'T' | b'w' | b'W');
        if is_text && is_padding(name) {
            return;
        }
        let Some(module) = self.module(module) else {
            return;
        };
        let name = if is_text && !is_marker(name) {
            name
        } else {
            b""
        };
        let (Ok(at), Ok(len)) = (
            u32::try_from(self.table.names.len()),
            u16::try_from(name.len()),
        ) else {
            return;
        };
        self.table.names.extend_from_slice(name);
        if kind.is_ascii_uppercase() && len != 0 {
            self.globals.push(at);
        }
        self.table.entries.push(Entry {
            address,
            name: at,
            len,
            module,
        });
    }

    /// The number of the module, 0 for none; `None` if there are too many.
    fn module(&mut self, name: &[u8]) -> Option<u16> {
        if name.is_empty() {
            return Some(0);
        }
        let modules = &mut self.table.modules;
        // A module's symbols follow each other, so it is nearly always the last one.
        let known = modules.iter().rposition(|it| it.as_bytes() == name);
        let index = known.unwrap_or_else(|| {
            modules.push(String::from_utf8_lossy(name).into());
            modules.len() - 1
        });
        u16::try_from(index + 1).ok()
    }

    fn finish(mut self) -> Table {
        let mut entries = std::mem::take(&mut self.table.entries);
        // Not the unstable sort: this one profits from what is in order already, nearly all.
        entries.sort_by(|a, b| {
            let by_address = a.address.cmp(&b.address);
            by_address.then_with(|| self.preference(a).cmp(&self.preference(b)))
        });
        // A boundary right after another one of the same owner bounds nothing further.
        entries.dedup_by(|e, before| {
            e.address == before.address
                || (e.len, before.len) == (0, 0) && e.module == before.module
        });
        entries.shrink_to_fit();
        self.table.names.shrink_to_fit();
        self.table.hidden = self.zeros && !self.non_zeros;
        Table {
            entries,
            ..self.table
        }
    }

    /// Of several symbols at one address, the smallest of these counts: a name before a boundary,
    /// global before local, then the shortest name, then the first one in the alphabet.
    fn preference(&self, entry: &Entry) -> (bool, bool, u16, &[u8]) {
        let global = self.globals.binary_search(&entry.name).is_ok();
        let name = self.table.name(entry);
        (entry.len == 0, !global, entry.len, name)
    }
}

/// Address, type, name and module (empty if it has none) of a line.
fn split_line(line: &[u8]) -> Option<(u64, u8, &[u8], &[u8])> {
    let mut address = 0u64;
    let mut digits = 0;
    for &byte in line {
        let Some(digit) = char::from(byte).to_digit(16) else {
            break;
        };
        address = address << 4 | u64::from(digit);
        digits += 1;
    }
    if digits == 0 || digits > 16 {
        return None;
    }
    let (&[space, kind, space2], rest) = line.get(digits..)?.split_first_chunk()?;
    if space != b' ' || space2 != b' ' {
        return None;
    }
    let end = rest.iter().position(|&b| b == b'\t' || b == b' ');
    let (name, module) = rest.split_at(end.unwrap_or(rest.len()));
    let module = module.trim_ascii_start();
    let module = match module.strip_prefix(b"[") {
        Some(module) => module.strip_suffix(b"]")?,
        None if module.is_empty() => b"",
        None => return None,
    };
    let valid = std::str::from_utf8(name).is_ok() && !name.is_empty();
    valid.then_some((address, kind, name, module))
}

/// Symbols that mark the room for patching before a function (`scripts/kallsyms.c`: FUNCTION_PADDING)
/// or that assemblers leave behind: neither a function nor the end of one.
fn is_padding(name: &[u8]) -> bool {
    name.starts_with(b"__pfx_") || name.starts_with(b"__cfi_") || name.starts_with(b"$")
}

/// Symbols of the linker script (`arch/*/kernel/vmlinux.lds.S`, `include/asm-generic/sections.h`)
/// that mark where a region starts or ends and aren't functions.
fn is_marker(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 11] = [
        b"_text",
        b"_stext",
        b"_etext",
        b"_sinittext",
        b"_einittext",
        b"_end",
        b"__init_begin",
        b"__init_end",
        b"__pi__text",
        b"__indirect_thunk_start",
        b"__indirect_thunk_end",
    ];
    let is_region = name.ends_with(b"_text_start") || name.ends_with(b"_text_end");
    name.starts_with(b"__") && is_region || NAMES.contains(&name)
}

fn read_table(path: &Path) -> Result<Table> {
    let context = || format!("reading the kernel's symbols from {}", path.display());
    let file = File::open(path).with_context(context)?;
    Table::read(file).with_context(context)
}

/// A number that changes when a module is loaded or removed, but not with its use.
fn modules_fingerprint(path: &Path) -> Result<u64> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("reading the loaded modules from {}", path.display()));
        }
    };
    let mut hasher = DefaultHasher::new();
    for line in text.split(|&b| b == b'\n') {
        // name size references dependants state address
        let mut fields = line.split(|&b| b == b' ');
        (fields.next(), fields.next(), fields.nth(3)).hash(&mut hasher);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
#[path = "symbol/tests.rs"]
mod tests;
