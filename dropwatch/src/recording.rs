//! Recordings: drops in a file, with the names that belong to them, to be printed and filtered
//! again anywhere.
//!
//! docs/recording.md has the layout. `frame` is what lies around everything, `wire` what lies
//! in frames, `write` makes a recording of records, `read` records of a recording. No I/O.
//!
//! What a packet's headers say is not in it, but the bytes are: they are read again.

mod frame;
mod read;
#[cfg(test)]
mod tests;
mod wire;
mod write;

pub use self::{
    frame::{MAGIC, MAJOR, MINOR},
    read::{Damage, NotReadable, Reader, ReasonTable, Step},
    wire::{About, ReasonName, Tally},
    write::Recorder,
};

/// Most texts of a section, and most stacks.
const MAX_DEFINITIONS: usize = 1 << 16;

/// Most bytes of all texts of a section.
const MAX_TEXT_BYTES: usize = 8 << 20;

/// Most bytes of all stacks of a section, as lines show them.
const MAX_STACK_BYTES: usize = 32 << 20;

/// Most bytes that a section says of its host.
const MAX_ABOUT_BYTES: usize = 8 << 10;

/// Most drops that a run can have counted: 280 million million.
const MAX_COUNT: u64 = 1 << 48;

/// Most names of drop reasons.
const MAX_REASONS: usize = 1 << 14;

/// What is in a frame: a letter each.
mod kind {
    /// [`About`](super::About), the first frame of a section.
    pub(super) const HEADER: u8 = b'H';
    /// Names of drop reasons.
    pub(super) const REASONS: u8 = b'R';
    /// A text, as it is.
    pub(super) const TEXT: u8 = b'T';
    /// A stack, as numbers of texts.
    pub(super) const STACK: u8 = b'S';
    /// How clocks and time zone relate.
    pub(super) const CLOCK: u8 = b'C';
    /// A drop.
    pub(super) const DROP: u8 = b'D';
    /// [`Tally`](super::Tally).
    pub(super) const ACCOUNT: u8 = b'A';
}
