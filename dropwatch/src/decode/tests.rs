use std::mem::offset_of;

use dropwatch_common::event::EVENT_SIZE;
use proptest::{collection::vec, prelude::*};

use super::*;

/// Bytes of a record that says to have so many bytes of headers and frames, and
/// `extra` bytes more or less than that.
fn record(mut bytes: Vec<u8>, headers_len: u16, frame_count: u16, extra: isize) -> Vec<u8> {
    let mut set = |offset: usize, value: u16| {
        bytes[offset..offset + 2].copy_from_slice(&value.to_ne_bytes());
    };
    set(offset_of!(DropEvent, headers_len), headers_len);
    set(offset_of!(DropEvent, frame_count), frame_count);
    let len = len(headers_len.into(), frame_count.into());
    bytes.resize(len.saturating_add_signed(extra), 0xaa);
    bytes
}

/// Bytes of a record: one without frames ends behind the packet's bytes.
fn len(headers_len: usize, frame_count: usize) -> usize {
    match frame_count {
        0 => FIXED_SIZE + headers_len,
        count => EVENT_SIZE + count * 8 + headers_len.saturating_sub(HEADERS_LEN),
    }
}

#[test]
fn frames_come_in_their_order() {
    let mut bytes = record(vec![0; EVENT_SIZE], 0, 3, 0);
    for (index, frame) in [1_u64, u64::MAX, 3].into_iter().enumerate() {
        let start = EVENT_SIZE + index * 8;
        bytes[start..start + 8].copy_from_slice(&frame.to_ne_bytes());
    }
    let decoded = decode(&bytes).unwrap();
    assert_eq!(decoded.frames().collect::<Vec<_>>(), [1, u64::MAX, 3]);
    assert!(decoded.headers().is_empty());
}

#[test]
fn limits_are_those_of_the_record() {
    let is_record = |headers_len, frame_count, extra| {
        decode(&record(
            vec![0; EVENT_SIZE],
            headers_len,
            frame_count,
            extra,
        ))
        .is_some()
    };
    assert!(is_record(144, 127, 0) && is_record(144, 127, 7));
    let most = MAX_SNAPLEN as u16;
    assert!(is_record(most, 0, 0) && is_record(most, 127, 7));
    assert!(!is_record(most + 1, 0, 0) && !is_record(144, 128, 0));
    assert!(!is_record(144, 127, 8) && !is_record(144, 127, -1));
    assert!(is_record(10, 0, 0) && is_record(0, 0, 7));
    assert!(!is_record(10, 0, 8) && !is_record(10, 0, -1) && !is_record(145, 0, -1));
}

#[test]
fn the_rest_of_the_packet_comes_behind_the_frames() {
    for frame_count in [0, 2] {
        let mut bytes = record(vec![0; EVENT_SIZE], 147, frame_count, 0);
        let end = bytes.len();
        bytes[FIXED_SIZE + 143] = 1;
        bytes[end - 3..].copy_from_slice(&[2, 3, 4]);
        let decoded = decode(&bytes).unwrap();
        assert_eq!(decoded.headers().len(), HEADERS_LEN);
        assert_eq!(decoded.headers().last(), Some(&1));
        assert_eq!(decoded.tail, [2, 3, 4]);
        assert_eq!(decoded.frames().count(), usize::from(frame_count));
    }
}

#[test]
fn a_short_record_has_no_bytes_of_another() {
    let mut bytes = record(vec![0x55; EVENT_SIZE], 3, 0, 0);
    bytes.truncate(FIXED_SIZE + 3);
    let decoded = decode(&bytes).unwrap();
    assert_eq!(decoded.headers(), [0x55; 3]);
    assert_eq!(decoded.event.headers[3..], [0; HEADERS_LEN - 3]);
}

#[test]
fn names_end_at_the_first_nul() {
    for (name, expected) in [
        (&b"eth0\0junk"[..], &b"eth0"[..]),
        (b"\0junk", b""),
        (b"no nul", b"no nul"),
        (b"", b""),
    ] {
        assert_eq!(until_nul(name), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_are_no_reason_to_panic(bytes in vec(any::<u8>(), 0..1400)) {
        if let Some(decoded) = decode(&bytes) {
            let frames = decoded.frames().count();
            let len = len(decoded.headers().len() + decoded.tail.len(), frames);
            prop_assert!((len..=len + MAX_PADDING).contains(&bytes.len()));
            prop_assert!(decoded.headers().len() <= HEADERS_LEN);
        }
    }

    #[test]
    fn a_record_is_as_long_as_it_says(
        bytes in vec(any::<u8>(), EVENT_SIZE),
        headers_len in prop_oneof![4 => 0..=150_u16, 1 => 0..20_000_u16],
        frame_count in prop_oneof![4 => 0..=130_u16, 1 => any::<u16>()],
        extra in prop_oneof![1 => Just(0), 2 => -16..=16_isize],
    ) {
        let bytes = record(bytes, headers_len, frame_count, extra);
        let is_record = headers_len <= 16384 && frame_count <= 127 && (0..=7).contains(&extra);
        match decode(&bytes) {
            Some(decoded) => {
                prop_assert!(is_record);
                let len = decoded.headers().len() + decoded.tail.len();
                prop_assert_eq!(len, usize::from(headers_len));
                prop_assert_eq!(decoded.frames().count(), usize::from(frame_count));
            }
            None => prop_assert!(!is_record),
        }
    }
}
