//! Formats: each turns a [`DropRecord`] into bytes, and knows nothing else.

mod dimension;
mod folded;
mod json;
mod pcapng;
mod places;
#[cfg(test)]
pub(crate) mod samples;
mod summary;
mod text;
mod timestamp;

pub use dimension::write_dimension;
pub use folded::{FlameGraph, FoldedSummary};
pub use json::JsonFormat;
pub(crate) use json::ascii_json;
pub(crate) use pcapng::is_pcapng;
pub use pcapng::{Host, PcapngFormat, PcapngOptions};
pub use places::{write_places, write_places_json};
pub use summary::{JsonSummary, Summary, TextSummary};
pub use text::{ExtraField, TextFormat, TextOptions};
pub(crate) use text::{write_name, write_netns};
pub use timestamp::TimestampStyle;

use std::{fmt, io::Write as _};

use jiff::tz::TimeZone;

use crate::{
    account::Account, cli::SummaryFormat, config::SummaryOptions, counters::Moved,
    record::DropRecord,
};

/// An output format.
pub trait Format {
    /// Appends what output begins with, if the format has such a thing.
    fn write_head(&mut self, _line: &mut Vec<u8>) {}

    /// Appends one drop to `line`, final newline included.
    fn write(&mut self, record: &DropRecord<'_>, line: &mut Vec<u8>);

    /// Tells the columns of the terminal that lines go to, `None` for a pipe or
    /// a file. To be ignored by formats that are not for people.
    fn set_width(&mut self, _columns: Option<usize>) {}

    /// Tells which counters moved, before the account is written.
    fn set_counters(&mut self, _moved: &[Moved]) {}

    /// Tells what local time is from here on, in place of the system's. To be ignored by
    /// formats without local time.
    fn set_zone(&mut self, _zone: TimeZone) {}

    /// Appends the account, the last line, if the format has it there.
    fn write_account(&mut self, _account: &Account, _line: &mut Vec<u8>) {}
}

/// A format, and what may be chosen of it.
#[derive(Clone, Debug)]
pub enum LineFormat {
    /// For people.
    Text(TextOptions),
    /// For programs.
    Json,
}

impl LineFormat {
    /// Whether drops are shown with this field.
    #[must_use]
    pub fn shows(&self, field: ExtraField) -> bool {
        match self {
            Self::Text(options) => options.fields.contains(&field),
            Self::Json => true,
        }
    }
}

/// The format that the user asked for.
pub fn new(format: &LineFormat) -> Box<dyn Format> {
    match format {
        LineFormat::Text(options) => Box::new(TextFormat::new(options)),
        LineFormat::Json => Box::new(JsonFormat::new()),
    }
}

/// The format of groups that the user asked for. Stacks have `depth` callers at most; `host` is whose
/// drops they are. Text has the time in each line if there are several tables.
pub fn summary(options: &SummaryOptions, depth: u32, host: String) -> Box<dyn Summary> {
    match options.format {
        SummaryFormat::Text => Box::new(TextSummary::new(options.interval.is_some())),
        SummaryFormat::Json => Box::new(JsonSummary::new()),
        SummaryFormat::Folded => Box::new(FoldedSummary::new(depth)),
        SummaryFormat::Svg => Box::new(FlameGraph::new(depth, host)),
    }
}

/// Appends formatted text. Slower than copying bytes: for what is rare.
fn append(line: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    let written = line.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a vector can't fail");
}
