use jiff::tz::{Offset, TimeZone};
use proptest::{collection::vec, prelude::*, sample::Index, strategy::ValueTree as _};

use super::*;
use crate::{
    format::{
        self, ExtraField, Format, LineFormat, TextOptions, TimestampStyle,
        samples::{Parts, parts},
    },
    record::DropRecord,
};

const EAST: i32 = 2 * 60 * 60;

fn recorder() -> Recorder {
    let reason = |number, name: &str| ReasonName {
        number,
        name: name.to_owned(),
    };
    let about = About {
        host: "lab".to_owned(),
        run: u64::MAX,
        ..About::default()
    };
    Recorder::new(
        about,
        TimeZone::fixed(Offset::from_seconds(EAST).unwrap()),
        vec![reason(3, "NO_SOCKET")],
        vec![reason(3, "openvswitch")],
    )
}

fn recording(drops: &[Parts]) -> Vec<u8> {
    let (mut recorder, mut bytes) = (recorder(), Vec::new());
    for drop in drops {
        recorder.write(&drop.record(), &mut bytes);
    }
    assert_eq!(recorder.recorded(), drops.len() as u64);
    let tally = Tally {
        recorded: recorder.recorded(),
        seen: 1 + recorder.recorded(),
        ..Tally::default()
    };
    recorder.write_account(&tally, &mut bytes);
    bytes
}

/// Reads all of `pieces`, hands each record to `each`, and returns what could not be read and the
/// last account.
fn read<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    mut each: impl FnMut(&DropRecord<'_>),
) -> Result<(Damage, Option<Tally>), NotReadable> {
    let (mut reader, mut pieces) = (Reader::default(), pieces.into_iter());
    let mut account = None;
    loop {
        match reader.step()? {
            Step::Section => {
                assert_eq!(reader.about().map(|about| about.host.as_str()), Some("lab"))
            }
            Step::Record => {
                assert_eq!(reader.utc_offset_s(), EAST);
                each(&reader.record().unwrap());
            }
            Step::Account(tally) => account = Some(tally),
            Step::Hungry => match pieces.next() {
                Some(piece) => reader.push(piece),
                None => reader.end(),
            },
            Step::End => return Ok((reader.damage(), account)),
        }
    }
}

/// Reads whatever it is, without a look at what comes of it.
fn read_anything(bytes: &[u8]) -> Result<Damage, NotReadable> {
    let mut reader = Reader::default();
    reader.push(bytes);
    reader.end();
    loop {
        match reader.step()? {
            Step::End => return Ok(reader.damage()),
            Step::Record => {
                let mut line = Vec::new();
                for mut format in formats() {
                    format.write(&reader.record().unwrap(), &mut line);
                }
                assert!(line.is_ascii(), "{}", String::from_utf8_lossy(&line));
            }
            Step::Section | Step::Account(_) => {}
            Step::Hungry => panic!("there are no more bytes"),
        }
    }
}

/// Every format, with everything that it can show.
fn formats() -> Vec<Box<dyn Format>> {
    use clap::ValueEnum as _;
    let styles = TimestampStyle::value_variants().iter();
    let text = styles.map(|timestamp| {
        LineFormat::Text(TextOptions {
            timestamp: *timestamp,
            fields: ExtraField::value_variants().to_vec(),
            ..TextOptions::default()
        })
    });
    text.chain([LineFormat::Json])
        .map(|format| format::new(&format))
        .collect()
}

proptest! {
    #[test]
    fn what_was_recorded_is_read(
        drops in vec(parts(), 0..6),
        size in 1..400_usize,
    ) {
        let bytes = recording(&drops);
        let mut read_drops = 0;
        let (damage, account) = read(bytes.chunks(size), |record| {
            assert_eq!(*record, drops[read_drops].record());
            read_drops += 1;
        })
        .unwrap();
        prop_assert_eq!(read_drops, drops.len());
        prop_assert_eq!(damage, Damage::default());
        let count = drops.len() as u64;
        prop_assert_eq!(account.map(|it| (it.recorded, it.seen)), Some((count, count + 1)));
    }

    /// What is whole is read, and the rest is told of.
    #[test]
    fn a_torn_end_costs_no_more_than_itself(drops in vec(parts(), 1..6), end: Index) {
        let bytes = recording(&drops);
        let whole = end.index(bytes.len() - 16) + 16;
        let mut read_drops = 0;
        let (damage, account) = read([&bytes[..whole]], |record| {
            assert_eq!(*record, drops[read_drops].record());
            read_drops += 1;
        })
        .unwrap();
        prop_assert_eq!(account, None);
        prop_assert!(!damage.is_inside && (damage.unknown, damage.nonsense) == (0, 0));
        // With the cut bytes the next frame would be whole: what was read is all but the last part.
        let mut again = 0;
        let (undamaged, _) = read([&bytes[..whole - damage.bytes as usize]], |_| again += 1).unwrap();
        prop_assert_eq!((again, undamaged.bytes), (read_drops, 0));
    }

    /// Sections stand alone: whatever is damaged in one, others are read.
    #[test]
    fn a_damaged_section_does_not_touch_others(
        drops in vec(parts(), 1..4),
        at: Index,
        flipped in 1..=255_u8,
    ) {
        let section = recording(&drops);
        let mut bytes = [&section[..], &section, &section].concat();
        let damaged = section.len() + at.index(section.len());
        bytes[damaged] ^= flipped;
        let damage = read_anything(&bytes).unwrap();
        prop_assert!(damage.bytes > 0 && damage.is_inside, "{:?}", damage);
        prop_assert!(damage.bytes <= section.len() as u64);
        let mut read_drops = 0;
        read([&bytes[..]], |_| read_drops += 1).unwrap();
        prop_assert!((2 * drops.len()..=3 * drops.len()).contains(&read_drops));
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in vec(any::<u8>(), 0..600)) {
        let mut magic = Vec::new();
        frame::begin_section(&mut magic);
        for bytes in [bytes.clone(), [magic, bytes].concat()] {
            read_anything(&bytes).ok();
        }
    }

    /// Frames that are whole, with any content.
    #[test]
    fn any_frames_are_read_without_harm(
        frames in vec((prop::sample::select(b"HRTSCDAX".to_vec()), vec(any::<u8>(), 0..80)), 0..20),
        drops in vec(parts(), 0..2),
        changes in vec((any::<Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = recording(&drops);
        for (kind, payload) in frames {
            frame::append(kind, &mut bytes, |out| out.extend_from_slice(&payload));
        }
        // Drops whose content was changed and whose checksum is right.
        if let Some(drop) = drops.first() {
            let whole = recording(std::slice::from_ref(drop));
            let mut rest = &whole[..];
            while let (frame::Scanned::Section { .. } | frame::Scanned::Frame { .. }, len) = frame::scan(rest) {
                if let (frame::Scanned::Frame { kind, payload }, _) = frame::scan(rest) {
                    let mut payload = payload.to_vec();
                    for (at, byte) in &changes {
                        if !payload.is_empty() {
                            let at = at.index(payload.len());
                            payload[at] = *byte;
                        }
                    }
                    frame::append(kind, &mut bytes, |out| out.extend_from_slice(&payload));
                }
                rest = &rest[len..];
            }
        }
        read_anything(&bytes).ok();
    }
}

#[test]
fn what_is_no_recording_is_refused() {
    let refusal = |bytes: &[u8]| read_anything(bytes).unwrap_err().to_string();
    assert!(refusal(b"07:30:01.739587 NO_SOCKET udp\n").contains("no recording"));
    assert!(refusal(&MAGIC).contains("no recording"));
    // A newer version: its first bytes are the same, and nothing else has to be.
    let mut newer = [&MAGIC[..], &[2, 0, 0, 0]].concat();
    let checksum = crc32fast::hash(&newer).to_le_bytes();
    newer.extend(checksum);
    newer.extend(b"whatever it is");
    assert!(refusal(&newer).contains("version 2"), "{}", refusal(&newer));
    assert_eq!(read_anything(&[]), Ok(Damage::default()));
}

#[test]
fn unknown_frames_and_fields_are_passed_over() {
    let mut bytes = recording(&[]);
    frame::append(b'Z', &mut bytes, |out| out.extend_from_slice(b"news"));
    // A run's account with a ninth member.
    frame::append(kind::ACCOUNT, &mut bytes, |out| {
        out.push(0x89);
        out.extend(1..=9);
    });
    let (damage, account) = read([&bytes[..]], |_| {}).unwrap();
    assert_eq!(
        damage,
        Damage {
            unknown: 1,
            ..Damage::default()
        }
    );
    assert_eq!(
        account.map(|tally| (tally.recorded, tally.lost)),
        Some((1, 8))
    );
}

/// A section that would need more than a reader keeps is left before that.
#[test]
fn tables_are_bounded() {
    let mut bytes = recording(&[]);
    for _ in 0..=MAX_DEFINITIONS {
        frame::append(kind::TEXT, &mut bytes, |out| out.push(b'x'));
    }
    let (damage, _) = read([&bytes[..]], |_| {}).unwrap();
    // One text is too many: nothing behind it can be trusted.
    assert_eq!(damage.bytes, 10);
    // As many as a stack can have, each as long as a frame.
    let mut bytes = recording(&[]);
    frame::append(kind::TEXT, &mut bytes, |out| {
        out.resize(out.len() + frame::MAX_PAYLOAD, b'x')
    });
    for _ in 0..2 {
        frame::append(kind::STACK, &mut bytes, |out| {
            out.extend_from_slice(&[0x98, 127]);
            out.resize(out.len() + 127, 0);
        });
    }
    let (damage, _) = read([&bytes[..]], |_| {}).unwrap();
    assert!(damage.bytes > 0);
}

/// What a section holds on to is dropped with it, on both sides.
#[test]
fn sections_end() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let drop = parts().new_tree(&mut runner).unwrap().current();
    let (mut recorder, mut bytes) = (recorder(), Vec::new());
    for _ in 0..40_000 {
        recorder.write(&drop.record(), &mut bytes);
    }
    let (mut sections, mut drops) = (0, 0);
    let mut reader = Reader::default();
    reader.push(&bytes);
    reader.end();
    loop {
        match reader.step().unwrap() {
            Step::Section => {
                assert_eq!(
                    reader.about().map(|it| (it.section, it.recorded)),
                    Some((sections, drops))
                );
                sections += 1;
            }
            Step::Record => drops += 1,
            Step::End => break,
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(drops, 40_000);
    assert!(sections > 1 && reader.damage() == Damage::default());
}
