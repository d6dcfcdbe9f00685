//! Formats: each turns a [`DropRecord`] into bytes, and knows nothing else.

mod text;
mod timestamp;

pub use text::{ExtraField, TextFormat, TextOptions};
pub use timestamp::TimestampStyle;

use std::{fmt, io::Write as _};

use crate::record::DropRecord;

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

/// Appends formatted text. Slower than copying bytes: for what is rare.
fn append(line: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    let written = line.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a vector can't fail");
}
