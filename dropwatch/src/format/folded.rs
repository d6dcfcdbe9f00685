//! Groups as stacks: folded, a line for each (`root;…;leaf COUNT`, what flame graph tools read),
//! and as a flame graph. Both are written at the end, when all groups are there.
//!
//! A stack begins with what it is told apart by besides (`netns=blue`), then come the callers from
//! the outermost one on, by function, for where in it the next one is called matters to nobody; the
//! call site as lines have it, and the drop reason as the leaf.

use std::collections::BTreeMap;

use inferno::flamegraph::{
    self, Options, TextTruncateDirection,
    color::{BasicPalette, Color, Palette, PaletteMap},
};

use super::{Summary, append};
use crate::{
    account::Account,
    groups::{Counts, Dimension, hash},
    output::Plain,
    record::DropTime,
};

/// What stands for a value that can't be known.
const UNKNOWN: &str = "-";

/// Drops by stack, added up.
struct Stacks {
    /// Most callers of a stack.
    depth: usize,
    /// The drops of each stack, frames joined by `;`.
    drops: BTreeMap<String, u64>,
    kinds: BTreeMap<String, Kind>,
}

/// What a frame stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Not a function: what stacks are told apart by, or that there may be more of it.
    Label,
    Caller,
    CallSite,
    Reason,
}

impl Stacks {
    fn new(depth: u32) -> Self {
        Self {
            depth: depth as usize,
            drops: BTreeMap::new(),
            kinds: BTreeMap::new(),
        }
    }

    fn add(&mut self, counts: Counts, group: Option<&[(Dimension, &str)]>) {
        let frames = match group {
            Some(values) => self.frames(values),
            None => vec![("other".to_owned(), Kind::Label)],
        };
        let names: Vec<&str> = frames.iter().map(|(name, _)| name.as_str()).collect();
        *self.drops.entry(names.join(";")).or_default() += counts.drops;
        self.kinds.extend(frames);
    }

    /// The frames of a group, from the root on.
    fn frames(&self, values: &[(Dimension, &str)]) -> Vec<(String, Kind)> {
        let mut frames: Vec<(String, Kind)> = Vec::new();
        let (mut site, mut reason) = (None, None);
        let mut callers = Vec::new();
        for (dimension, value) in values {
            match dimension {
                Dimension::At => site = Some((frame(value), Kind::CallSite)),
                Dimension::Reason => reason = Some((frame(value), Kind::Reason)),
                Dimension::Stack => callers = self.callers(value),
                other => {
                    let label = format!("{}={}", other.name(), frame(value));
                    frames.push((label, Kind::Label));
                }
            }
        }
        frames.extend(callers);
        frames.extend(site);
        frames.extend(reason);
        frames
    }

    /// The callers of `stack`, which has them from the innermost one on.
    fn callers(&self, stack: &str) -> Vec<(String, Kind)> {
        if stack == UNKNOWN {
            return vec![(UNKNOWN.to_owned(), Kind::Label)];
        }
        let callers: Vec<&str> = stack.split(',').collect();
        let mut frames = Vec::with_capacity(callers.len() + 1);
        if callers.len() >= self.depth {
            let cut = format!("[--stack {} reached]", self.depth);
            frames.push((cut, Kind::Label));
        }
        let outwards = callers.iter().rev();
        frames.extend(outwards.map(|caller| (frame(&without_offset(caller)), Kind::Caller)));
        frames
    }
}

/// A value as a frame. Only what separates frames has to be escaped still; white space has been.
fn frame(value: &str) -> String {
    value.replace(';', "\\x3b")
}

/// `function[module]` of `function+0xoffset[module]`.
fn without_offset(caller: &str) -> String {
    let Some((function, rest)) = caller.split_once('+') else {
        return caller.to_owned();
    };
    let module = rest.find('[').map_or("", |start| &rest[start..]);
    format!("{function}{module}")
}

/// Folded stacks.
pub struct FoldedSummary(Stacks);

impl FoldedSummary {
    /// Stacks of `depth` callers at most.
    #[must_use]
    pub fn new(depth: u32) -> Self {
        Self(Stacks::new(depth))
    }
}

impl Summary for FoldedSummary {
    fn write(
        &mut self,
        _time: DropTime,
        counts: Counts,
        group: Option<&[(Dimension, &str)]>,
        _line: &mut Vec<u8>,
    ) {
        self.0.add(counts, group);
    }

    fn write_account(&mut self, _account: &Account, line: &mut Vec<u8>) {
        for (stack, drops) in &self.0.drops {
            append(line, format_args!("{stack} {drops}\n"));
        }
    }
}

/// A flame graph, as SVG.
pub struct FlameGraph {
    stacks: Stacks,
    /// Whose drops they are.
    host: String,
}

impl FlameGraph {
    /// Stacks of `depth` callers at most, of the machine `host`.
    #[must_use]
    pub fn new(depth: u32, host: String) -> Self {
        Self {
            stacks: Stacks::new(depth),
            host,
        }
    }

    fn title(&self) -> String {
        format!("Packets dropped by the kernel of {}", Plain(&self.host))
    }
}

impl Summary for FlameGraph {
    fn write(
        &mut self,
        _time: DropTime,
        counts: Counts,
        group: Option<&[(Dimension, &str)]>,
        _line: &mut Vec<u8>,
    ) {
        self.stacks.add(counts, group);
    }

    fn write_account(&mut self, account: &Account, line: &mut Vec<u8>) {
        let Stacks { drops, kinds, .. } = &self.stacks;
        if drops.is_empty() {
            // The library takes that for a failure.
            write_empty(&self.title(), account, line);
            return;
        }
        let mut colors = PaletteMap::default();
        for (name, kind) in kinds {
            colors.insert(name, color(*kind, name));
        }
        // The one below all others.
        colors.insert("", color(Kind::Label, ""));
        let mut options = Options::default();
        options.title = self.title();
        options.subtitle = Some(account.to_string());
        options.count_name = "drops".to_owned();
        options.name_type = "Frame:".to_owned();
        // Names of functions begin with what they are about.
        options.text_truncate_direction = TextTruncateDirection::Right;
        options.colors = Palette::Basic(BasicPalette::Blue);
        options.palette_map = Some(&mut colors);
        let lines: Vec<String> = drops
            .iter()
            .map(|(stack, drops)| format!("{stack} {drops}"))
            .collect();
        let lines = lines.iter().map(String::as_str);
        let written = flamegraph::from_lines(&mut options, lines, &mut *line);
        debug_assert!(written.is_ok(), "there are stacks, and memory to write to");
        line.push(b'\n');
    }
}

/// Appends a picture that says that there is nothing to show.
fn write_empty(title: &str, account: &Account, line: &mut Vec<u8>) {
    append(
        line,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\" height=\"80\" \
             font-family=\"monospace\">\n<text x=\"10\" y=\"30\">{}</text>\n\
             <text x=\"10\" y=\"60\">no drops: {account}</text>\n</svg>\n",
            title.replace('&', "&amp;").replace('<', "&lt;")
        ),
    );
}

/// The color of a frame: its kind's, a little lighter or darker so that neighbours differ.
fn color(kind: Kind, name: &str) -> Color {
    let (r, g, b) = match kind {
        Kind::Label => (190, 190, 190),
        // Those of modules.
        Kind::Caller if name.ends_with(']') => (130, 190, 150),
        Kind::Caller => (150, 180, 215),
        Kind::CallSite => (225, 150, 55),
        Kind::Reason => (215, 85, 75),
    };
    let shade = (hash(name) >> 32) as u8 % 30;
    Color::new(r + shade, g + shade, b + shade)
}

#[cfg(test)]
#[path = "folded/tests.rs"]
mod tests;
