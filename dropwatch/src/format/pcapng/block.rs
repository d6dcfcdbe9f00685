//! Blocks and options of pcapng files (draft-ietf-opsawg-pcapng), little-endian.
//!
//! The crate that would do this, pcap-file 2.0, writes the two halves of a statistics
//! block's time in the wrong order, makes each block twice, and wants the packet in one
//! piece.

/// Type of a section header.
pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
/// Type of an interface description.
pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
/// Type of interface statistics.
pub(super) const INTERFACE_STATISTICS: u32 = 5;
/// Type of an enhanced packet.
pub(super) const ENHANCED_PACKET: u32 = 6;

/// Ends the options of a block.
const END_OF_OPTIONS: u16 = 0;

/// A block at the end of a vector.
pub(super) struct Block<'a> {
    bytes: &'a mut Vec<u8>,
    /// Where it starts.
    start: usize,
}

impl<'a> Block<'a> {
    /// Begins a block of this type.
    pub(super) fn begin(kind: u32, bytes: &'a mut Vec<u8>) -> Self {
        let start = bytes.len();
        let block = Self { bytes, start };
        // The length, which is not known yet.
        block.u32(kind).u32(0)
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A time: the upper half comes first in either byte order.
    pub(super) fn time(self, ns: u64) -> Self {
        self.u32((ns >> 32) as u32).u32(ns as u32)
    }

    /// Bytes, filled up to four.
    pub(super) fn padded(self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        let end = self.start + (self.bytes.len() - self.start).next_multiple_of(4);
        self.bytes.resize(end, 0);
        self
    }

    /// An option; what is longer than an option can be is cut off.
    pub(super) fn option(self, code: u16, value: &[u8]) -> Self {
        let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
        let value = value.get(..usize::from(len)).unwrap_or_default();
        self.u16(code).u16(len).padded(value)
    }

    /// An option that is a time.
    pub(super) fn time_option(self, code: u16, ns: u64) -> Self {
        self.u16(code).u16(8).time(ns)
    }

    /// Ends the block, behind at least one option.
    pub(super) fn end(self) {
        let block = self.u16(END_OF_OPTIONS).u16(0);
        let len = (block.bytes.len() - block.start + size_of::<u32>()) as u32;
        let start = block.start;
        let block = block.u32(len);
        if let Some(place) = block.bytes.get_mut(start + 4..start + 8) {
            place.copy_from_slice(&len.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_says_its_length_twice_and_is_filled_up() {
        let mut bytes = b"before".to_vec();
        let block = Block::begin(ENHANCED_PACKET, &mut bytes);
        block.padded(b"abcde").option(1, b"x").end();
        let expected = [
            &b"before"[..],
            &[6, 0, 0, 0, 32, 0, 0, 0],
            b"abcde\0\0\0",
            &[1, 0, 1, 0, b'x', 0, 0, 0],
            &[0; 4],
            &[32, 0, 0, 0],
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn options_have_an_end() {
        let mut bytes = Vec::new();
        Block::begin(1, &mut bytes).option(1, &[7; 70_000]).end();
        assert_eq!(bytes.len(), 8 + 4 + 65_536 + 4 + 4);
        assert_eq!(bytes[10..12], [0xff; 2]);
        assert_eq!(bytes[12 + 65_535], 0);
    }

    #[test]
    fn the_upper_half_of_a_time_comes_first() {
        let mut bytes = Vec::new();
        Block::begin(1, &mut bytes)
            .time(0x0102_0304_0506_0708)
            .end();
        assert_eq!(bytes[8..16], [4, 3, 2, 1, 8, 7, 6, 5]);
    }
}
