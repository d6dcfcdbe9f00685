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
}

/// Appends formatted text. Slower than copying bytes: for what is rare.
fn append(line: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    let written = line.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a vector can't fail");
}
