//! Call sites and stacks as text, cached.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

use super::{
    cache::insert_bounded,
    symbol::{Symbol, Symbols},
};
use crate::record::Stack;

/// How often the modules are looked at. A module that takes the place of
/// another one within this time can lend its names to the other one's stacks.
const MODULES_CHECK: Duration = Duration::from_secs(1);

/// Whether a call leaves its return address in a register, from where the called function brings it to
/// the stack: the kernel's unwinder knows only what is there (`arch/arm64/kernel/stacktrace.c`).
const HAS_LINK_REGISTER: bool = cfg!(target_arch = "aarch64");

/// Bytes of a function's start in which that has not happened: a landing pad, and what tracers patch.
const ENTRY_LEN: u64 = 12;

/// Where the frames of a stack come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StackSource {
    /// The stack-trace map, by this id.
    Id(u32),
    /// The record itself.
    Frames,
}

/// Text of call sites and stacks.
pub(crate) struct Locations {
    symbols: Symbols,
    /// Most callers that are shown; 0 where stacks are off.
    depth: usize,
    /// Text of call sites by address.
    sites: FxHashMap<u64, String>,
    /// Text of stacks by id, with the call site they belong to.
    stacks: FxHashMap<u32, (u64, Option<String>)>,
    /// Text of the stack that came in the record.
    inline: Option<String>,
    /// When the modules were last looked at.
    checked: Instant,
    /// Counts how often names have changed.
    generation: u64,
}

/// Where a drop happened.
pub(crate) struct Described<'a> {
    /// Text of the call site.
    pub(crate) location: &'a str,
    /// The stack; `None` where stacks are off.
    pub(crate) stack: Option<Stack<'a>>,
    /// Changes when names change.
    pub(crate) generation: u64,
}

impl Locations {
    /// Names addresses by `symbols`, and shows at most `depth` callers.
    pub(crate) fn new(symbols: Symbols, depth: usize) -> Self {
        Self {
            symbols,
            depth,
            sites: FxHashMap::default(),
            stacks: FxHashMap::default(),
            inline: None,
            checked: Instant::now(),
            generation: 0,
        }
    }

    /// Loads the symbols again if modules have come or gone. Cheap, and to be
    /// called before each batch of records.
    pub(crate) fn refresh(&mut self) {
        if self.checked.elapsed() >= MODULES_CHECK {
            self.reload_if_changed(false);
        }
    }

    /// Loads the symbols again if an address has no name: it may be that of a
    /// new module or eBPF program.
    fn learn(&mut self, addresses: &[u64]) {
        let known = |address| self.symbols.is_known(address);
        if !addresses.iter().copied().all(known) {
            self.reload_if_changed(true);
        }
    }

    fn reload_if_changed(&mut self, unknown_seen: bool) {
        self.checked = Instant::now();
        match self.symbols.refresh_if_changed(self.checked, unknown_seen) {
            Ok(true) => self.forget(),
            Ok(false) => {}
            Err(error) => log::warn!("keeping the kernel symbols of before: {error:#}"),
        }
    }

    /// Names addresses as of `at_ns` of `CLOCK_BOOTTIME`, the time of a drop, from here on.
    pub(crate) fn go_to(&mut self, at_ns: u64) {
        if self.symbols.go_to(at_ns) {
            self.forget();
        }
    }

    /// Forgets all texts.
    fn forget(&mut self) {
        self.sites.clear();
        self.stacks.clear();
        self.generation += 1;
    }

    /// Name of the function that `address` is in.
    pub(crate) fn function(&self, address: u64) -> Option<&str> {
        self.symbols.lookup(address).map(|symbol| symbol.name)
    }

    /// Text of a call site, and of the stack whose frames `frames` gives.
    pub(crate) fn describe(
        &mut self,
        location: u64,
        source: StackSource,
        frames: impl FnOnce() -> Option<Vec<u64>>,
    ) -> Described<'_> {
        // The stack first: it may bring new symbols and with them empty caches.
        if self.depth > 0 {
            self.cache_stack(location, source, frames);
        }
        if !self.sites.contains_key(&location) {
            if self.depth == 0 {
                self.learn(&[location]);
            }
            let text = self.site(location);
            insert_bounded(&mut self.sites, location, text);
        }
        Described {
            location: self.sites.get(&location).map_or("-", String::as_str),
            stack: self.stack(source),
            generation: self.generation,
        }
    }

    fn stack(&self, source: StackSource) -> Option<Stack<'_>> {
        if self.depth == 0 {
            return None;
        }
        let text = match source {
            StackSource::Id(id) => self.stacks.get(&id).and_then(|(_, text)| text.as_ref()),
            StackSource::Frames => self.inline.as_ref(),
        };
        Some(text.map_or(Stack::Unknown, |text| Stack::Callers(text)))
    }

    fn cache_stack(
        &mut self,
        location: u64,
        source: StackSource,
        frames: impl FnOnce() -> Option<Vec<u64>>,
    ) {
        match source {
            StackSource::Id(id) => {
                // The kernel can hand out an id again after two processors have
                // raced for it; another call site shows that it has.
                if !matches!(self.stacks.get(&id), Some((site, _)) if *site == location) {
                    let text = frames().and_then(|frames| self.callers(location, &frames));
                    insert_bounded(&mut self.stacks, id, (location, text));
                }
            }
            StackSource::Frames => {
                self.inline = frames().and_then(|frames| self.callers(location, &frames));
            }
        }
    }

    /// Text of the call site, `-` if the kernel side could not read it.
    fn site(&self, location: u64) -> String {
        if location == 0 {
            return "-".to_owned();
        }
        let mut text = String::new();
        write_symbol(location, self.symbols.lookup(location), &mut text);
        text
    }

    /// Text of the callers of the call site, `None` if the stack is not one of
    /// this call site or ends with it.
    ///
    /// What lies inside of the call site is the freeing function, the hook and
    /// the eBPF program.
    fn callers(&mut self, location: u64, frames: &[u64]) -> Option<String> {
        let site = self.site_position(location, frames)?;
        // Not the frames before it: dropwatch's own program is among them.
        self.learn(&frames[site..]);
        let mut text = String::new();
        for frame in frames.iter().skip(site + 1).take(self.depth) {
            if !text.is_empty() {
                text.push(',');
            }
            write_symbol(*frame, self.symbols.lookup_return(*frame), &mut text);
        }
        (!text.is_empty()).then_some(text)
    }

    /// Which frame is the call site: the one with its address or, where a
    /// function gives itself as the call site (`net_tx_action` in
    /// `net/core/dev.c`), the one in that function. It is missing where a probe was hit before the
    /// return address was on the stack: then it stands behind the probed function.
    fn site_position(&self, location: u64, frames: &[u64]) -> Option<usize> {
        let is_in_site = |frame: &u64| {
            self.symbols
                .lookup_return(*frame)
                .is_some_and(|symbol| frame - symbol.offset == location)
        };
        frames
            .iter()
            .position(|frame| *frame == location)
            .or_else(|| frames.iter().position(is_in_site))
            .or_else(|| self.probed_position(frames).filter(|_| HAS_LINK_REGISTER))
    }

    /// Which frame is a function that was just entered: a probe's registers come first.
    fn probed_position(&self, frames: &[u64]) -> Option<usize> {
        let entered = self.symbols.lookup(*frames.first()?)?;
        (entered.offset <= ENTRY_LEN).then_some(0)
    }
}

/// Appends `symbol+0xoff[module]`, or the address where no symbol covers it.
fn write_symbol(address: u64, symbol: Option<Symbol<'_>>, text: &mut String) {
    let written = match symbol {
        Some(symbol) => match symbol.module {
            Some(module) => write!(text, "{}+{:#x}[{module}]", symbol.name, symbol.offset),
            None => write!(text, "{}+{:#x}", symbol.name, symbol.offset),
        },
        None => write!(text, "{address:#x}"),
    };
    debug_assert!(written.is_ok(), "writing to a string can't fail");
}

#[cfg(test)]
#[path = "location/tests.rs"]
mod tests;
