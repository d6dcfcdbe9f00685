//! Recordings: every record is read as it was written, and version 1 stays what it is.

use std::{env, fs, path::Path};

use clap::ValueEnum as _;
use dropwatch::{
    format::{ExtraField, Format, JsonFormat, TextFormat, TextOptions, TimestampStyle},
    record::DropRecord,
    recording::{About, Reader, ReasonName, Recorder, Step, Tally},
};
use expect_test::expect;
use jiff::tz::{Offset, TimeZone};

use crate::{
    STACK,
    case::Case,
    json::written,
    packets::{IPV4, ipv4, tcp},
};

/// A zone that the machine that the tests run on is hardly in.
fn zone() -> TimeZone {
    TimeZone::fixed(Offset::from_seconds(5 * 3600 + 45 * 60).expect("the offset of Nepal"))
}

fn recorder() -> Recorder {
    let reason = |number, name: &str| ReasonName {
        number,
        name: name.to_owned(),
    };
    let about = About {
        dropwatch: "0.1.0".to_owned(),
        host: "lab".to_owned(),
        kernel: "6.12.0".to_owned(),
        machine: "x86_64".to_owned(),
        run: 0x1234_5678_9abc_def0,
        section: 0,
        started_ns: 1_769_844_600_000_000_000,
        flags: "--hide-expected".to_owned(),
        stack_depth: 16,
        recorded: 0,
    };
    let reasons = vec![reason(3, "NO_SOCKET")];
    Recorder::new(about, zone(), reasons, vec![reason(3, "openvswitch")])
}

/// Hands each record of a recording to `each`.
fn read(bytes: &[u8], mut each: impl FnMut(&DropRecord<'_>)) -> Option<Tally> {
    let mut reader = Reader::default();
    reader.push(bytes);
    reader.end();
    let mut account = None;
    loop {
        match reader.step().expect("a recording") {
            Step::Section | Step::Hungry => {}
            Step::Record => each(&reader.record().expect("a record")),
            Step::Account(tally) => account = Some(tally),
            Step::End => return account,
        }
    }
}

/// Every format, with everything that it can show.
fn formats() -> Vec<Box<dyn Format>> {
    let styles = TimestampStyle::value_variants().iter();
    let text = styles.map(|timestamp| {
        let mut format = TextFormat::new(&TextOptions {
            timestamp: *timestamp,
            fields: ExtraField::value_variants().to_vec(),
            ..TextOptions::default()
        });
        format.set_zone(zone());
        Box::new(format) as Box<dyn Format>
    });
    text.chain([Box::new(JsonFormat::new()) as Box<dyn Format>])
        .collect()
}

fn shown(record: &DropRecord<'_>) -> String {
    let shown = formats().into_iter();
    shown
        .map(|mut format| written(&mut *format, record))
        .collect()
}

/// Fails unless a drop that was recorded is shown as it is, but for its place in the source, which
/// is not recorded.
pub(crate) fn agrees(record: &DropRecord<'_>) {
    let record = &DropRecord {
        source: None,
        ..*record
    };
    let (mut recorder, mut bytes) = (recorder(), Vec::new());
    recorder.write(record, &mut bytes);
    let mut count = 0;
    read(&bytes, |again| {
        count += 1;
        assert_eq!(again, record);
        assert_eq!(shown(again), shown(record));
    });
    assert_eq!(count, 1);
}

/// A file of version 1 is what it was, byte for byte, and says what it said: other programs read it.
///
/// `UPDATE_EXPECT=1` writes the file anew, which is right as long as no version was released.
#[test]
fn version_1_stays_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recording/version-1.dwr");
    let (mut recorder, mut bytes) = (recorder(), Vec::new());
    let cases = [
        Case::default(),
        Case::default()
            .packet(IPV4, &ipv4(6, &tcp(2)))
            .stack(&STACK)
            .sample(10),
        Case::default()
            .packet(IPV4, &ipv4(6, &tcp(0x12)))
            .stack(&STACK),
    ];
    for case in cases {
        case.shown(|record| recorder.write(record, &mut bytes));
    }
    let tally = Tally {
        recorded: 3,
        seen: 10,
        printed: 3,
        hidden: 1,
        filtered: 2,
        sampled_out: 0,
        limited: 0,
        lost: 4,
    };
    recorder.write_account(&tally, &mut bytes);
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("making the folder");
        fs::write(&path, &bytes).expect("writing the file");
    }
    let file = fs::read(&path).expect("the file of version 1");
    assert!(file == bytes, "the layout has changed");
    let mut text = TextFormat::new(&TextOptions::default());
    text.set_zone(TimeZone::UTC);
    let mut lines = String::new();
    let account = read(&file, |record| lines.push_str(&written(&mut text, record)));
    assert_eq!(account, Some(tally));
    expect![[r#"
        00:20:34.567890 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840
        00:20:34.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=SYN if=eth0 class=refused sample=10 at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=ip_protocol_deliver_rcu+0xb3,ip_local_deliver_finish+0x81,__netif_receive_skb_one_core+0x8d
        00:20:34.567890 NO_SOCKET tcp 10.0.0.1:39873 > 10.0.0.2:443 len=128 flags=SYN,ACK if=eth0 class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 stack=ip_protocol_deliver_rcu+0xb3,ip_local_deliver_finish+0x81,__netif_receive_skb_one_core+0x8d
    "#]].assert_eq(&lines);
}
