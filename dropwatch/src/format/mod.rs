//! Formats: each turns a [`DropRecord`] into bytes, and knows nothing else.

mod dimension;
mod summary;
mod text;
mod timestamp;

pub use dimension::write_dimension;
pub use summary::{JsonSummary, Summary, TextSummary};
pub use text::{ExtraField, TextFormat, TextOptions};
pub use timestamp::TimestampStyle;

use std::{fmt, io::Write as _};

use crate::{cli::SummaryFormat, record::DropRecord};

/// An output format.
pub trait Format {
    /// Appends one drop to `line`, final newline included.
    fn write(&mut self, record: &DropRecord<'_>, line: &mut Vec<u8>);

    /// Tells the columns of the terminal that lines go to, `None` for a pipe or
    /// a file. To be ignored by formats that are not for people.
    fn set_width(&mut self, _columns: Option<usize>) {}
}

/// The format that the user asked for.
pub fn new(options: &TextOptions) -> Box<dyn Format> {
    Box::new(TextFormat::new(options))
}

/// The format of groups that the user asked for; as text with the time in each line
/// if `has_time`.
pub fn summary(format: SummaryFormat, has_time: bool) -> Box<dyn Summary> {
    match format {
        SummaryFormat::Text => Box::new(TextSummary::new(has_time)),
        SummaryFormat::Json => Box::new(JsonSummary::new()),
    }
}

/// Appends formatted text. Slower than copying bytes: for what is rare.
fn append(line: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    let written = line.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a vector can't fail");
}
