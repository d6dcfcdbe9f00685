//! Bytes of a record to a [`DropEvent`] and its stack frames. No I/O.

use dropwatch_common::event::{
    DropEvent, EVENT_SIZE, FIXED_SIZE, HEADERS_LEN, MAX_FRAMES, MAX_SNAPLEN,
};
use zerocopy::FromBytes as _;

/// Most bytes behind a record: the perf buffer fills up to a multiple of 8
/// (`perf_prepare_sample` in the kernel's `kernel/events/core.c`).
const MAX_PADDING: usize = 7;

/// A decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The drop.
    pub event: DropEvent,
    /// Bytes of the stack frames that the record carries.
    frames: &'a [u8],
    /// The captured bytes of the packet behind those of the event.
    pub tail: &'a [u8],
}

/// Decodes a record.
///
/// Up to [`MAX_PADDING`] bytes behind the record are left alone. `None` if the
/// bytes are not a record: shorter or longer than what it says of itself, or
/// saying what no eBPF program of this version writes.
pub fn decode(bytes: &[u8]) -> Option<Decoded<'_>> {
    // A record without frames ends behind the captured headers.
    let mut whole = [0; EVENT_SIZE];
    let available = bytes.len().min(EVENT_SIZE);
    whole[..available].copy_from_slice(&bytes[..available]);
    let event = DropEvent::read_from_bytes(&whole).ok()?;
    let frame_count = usize::from(event.frame_count);
    let headers_len = usize::from(event.headers_len);
    if frame_count > MAX_FRAMES || headers_len > MAX_SNAPLEN {
        return None;
    }
    let event_len = match frame_count {
        0 => FIXED_SIZE + headers_len.min(HEADERS_LEN),
        _ => EVENT_SIZE,
    };
    let (_, rest) = bytes.split_at_checked(event_len)?;
    let (frames, rest) = rest.split_at_checked(frame_count * size_of::<u64>())?;
    let (tail, padding) = rest.split_at_checked(headers_len.saturating_sub(HEADERS_LEN))?;
    (padding.len() <= MAX_PADDING).then_some(Decoded {
        event,
        frames,
        tail,
    })
}

impl<'a> Decoded<'a> {
    /// The stack frames of the record, innermost first.
    pub fn frames(&self) -> impl Iterator<Item = u64> + use<'a> {
        let (frames, _) = self.frames.as_chunks();
        frames.iter().map(|frame| u64::from_ne_bytes(*frame))
    }

    /// The captured bytes of the packet, from the link or network header on, as far as
    /// headers are looked at.
    pub fn headers(&self) -> &[u8] {
        // In bounds, as `decode` has checked.
        &self.event.headers[..usize::from(self.event.headers_len).min(HEADERS_LEN)]
    }
}

/// The part of a NUL-padded name before the first NUL.
pub fn until_nul(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
#[path = "decode/tests.rs"]
mod tests;
