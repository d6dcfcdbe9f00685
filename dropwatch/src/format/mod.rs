//! Formats: each turns a [`DropRecord`] into bytes, and knows nothing else.

mod text;
mod timestamp;

pub use text::{ExtraField, TextFormat, TextOptions};
pub use timestamp::TimestampStyle;

use crate::record::DropRecord;

/// An output format.
pub trait Format {
    /// Appends one drop to `line`, final newline included.
    fn write(&mut self, record: &DropRecord<'_>, line: &mut Vec<u8>);
}
