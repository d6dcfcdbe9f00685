use clap::ValueEnum as _;
use proptest::prelude::*;

use super::{packet::write_tcp_flags, *};
use crate::{
    format::samples::{Parts, parts},
    packet::{
        Packet,
        samples::{garbled, sample},
    },
};

/// Keys of the tokens, in their order.
const KEYS: [&str; 41] = [
    "len",
    "segs",
    "gso",
    "flags",
    "seq",
    "ack",
    "win",
    "icmp",
    "arp",
    "igmp",
    "spi",
    "frag",
    "ttl",
    "ipopt",
    "ext",
    "vlan",
    "tunnel",
    "inner",
    "quoted",
    "mac",
    "if",
    "ifindex",
    "iif",
    "queue",
    "dir",
    "mark",
    "prio",
    "hash",
    "state",
    "class",
    "sample",
    "at",
    "pid",
    "comm",
    "owner",
    "netns",
    "container",
    "pod",
    "unit",
    "skb",
    "stack",
];

fn options() -> impl Strategy<Value = TextOptions> {
    use TimestampStyle::{Boot, Delta, Local, None, Utc};
    let timestamp = prop::sample::select(vec![Local, Utc, Boot, Delta, None]);
    let all = ExtraField::value_variants();
    let fields = prop::sample::subsequence(all, 0..=all.len());
    (timestamp, fields).prop_map(|(timestamp, fields)| TextOptions {
        timestamp,
        fields,
        width: Option::None,
        color: false,
    })
}

fn write(options: &TextOptions, parts: &Parts) -> String {
    let mut line = Vec::new();
    TextFormat::new(options).write(&parts.record(), &mut line);
    String::from_utf8(line).unwrap()
}

/// `text` as a terminal shows it, without the sequences that set a color.
fn without_color(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, part| {
        let (_, rest) = part.split_once('m').unwrap();
        shown + rest
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_line_is_columns_and_then_tokens(options in options(), parts in parts()) {
        let line = write(&options, &parts);
        let line = line.strip_suffix('\n').unwrap();
        let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        prop_assert!(line.bytes().all(is_plain), "{line:?}");

        let words: Vec<&str> = line.split(' ').collect();
        prop_assert!(words.iter().all(|word| !word.is_empty()), "{line}");
        let time = usize::from(options.timestamp != TimestampStyle::None);
        let (columns, tokens) = words.split_at(time + 5);
        prop_assert!(!columns.iter().any(|word| word.contains('=')), "{line}");
        prop_assert_eq!(columns[time + 3], ">");
        let mut keys = KEYS.into_iter();
        for token in tokens {
            let (key, value) = token.split_once('=').unwrap();
            prop_assert!(keys.any(|it| it == key), "{key} is unknown or too late: {line}");
            prop_assert!(!value.is_empty(), "{line}");
        }
    }

    #[test]
    fn the_start_of_a_packet_has_no_other_tokens(sample in prop_oneof![sample(), garbled()]) {
        let keys = |packet: Packet| {
            let mut line = Vec::new();
            packet::write_tokens(&packet, ExtraField::value_variants().into(), &mut line);
            let line = String::from_utf8(line).unwrap();
            let keys = line.split_whitespace().map(|token| token.split_once('=').unwrap().0);
            keys.map(str::to_owned).collect::<Vec<_>>()
        };
        let whole = keys(Packet::parse(&sample.capture()));
        for len in 0..sample.bytes.len() {
            let part = keys(Packet::parse(&sample.start(len)));
            prop_assert!(part.iter().all(|key| whole.contains(key)), "{part:?} of {whole:?}");
        }
    }

    #[test]
    fn color_changes_no_column(
        options in options(), parts in parts(), width in prop::option::of(0..400_usize),
    ) {
        let options = TextOptions { width, ..options };
        let plain = write(&options, &parts);
        let colored = write(&TextOptions { color: true, ..options }, &parts);
        prop_assert!(colored.contains("\x1b["));
        prop_assert_eq!(without_color(&colored), plain);
    }

    #[test]
    fn a_terminal_cuts_the_stack_and_nothing_else(
        options in options(), parts in parts(), width in 0..400_usize,
    ) {
        let whole = write(&options, &parts);
        let cut = write(&TextOptions { width: Some(width), ..options }, &parts);
        let (whole, cut) = (whole.trim_end(), cut.trim_end());
        let columns = cut.chars().count();
        let Some((fields, _)) = whole.split_once(" stack=") else {
            prop_assert_eq!(whole, cut);
            return Ok(());
        };
        let fields = fields.len() + " stack=".len();
        match cut.strip_suffix('…') {
            Some(start) => {
                prop_assert!(whole.len() > width && whole.starts_with(start));
                prop_assert_eq!(columns, width.max(fields + 1));
            }
            None => {
                prop_assert_eq!(whole, cut);
                prop_assert!(columns <= width.max(fields + 1));
            }
        }
    }
}

#[test]
fn names_are_escaped() {
    for (name, expected) in [
        (&b"eth0"[..], "eth0"),
        (b"", "-"),
        (b"-", "\\x2d"),
        (b"--", "--"),
        (b"a b", "a\\x20b"),
        (b"a\\x20b", "a\\x5cx20b"),
        (b"\x1b[31m\x7f\n\t", "\\x1b[31m\\x7f\\x0a\\x09"),
        ("\u{202e}é".as_bytes(), "\\xe2\\x80\\xae\\xc3\\xa9"),
        (b"\xff=,", "\\xff=,"),
    ] {
        let mut line = Vec::new();
        write_escaped(name, &mut line);
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }
}

#[test]
fn tcp_flags_are_in_the_order_that_people_say_them() {
    for (flags, expected) in [
        (0x02, "SYN"),
        (0x12, "SYN,ACK"),
        (0x11, "FIN,ACK"),
        (0, "none"),
        (0xff, "SYN,FIN,RST,PSH,ACK,URG,ECE,CWR"),
    ] {
        let mut line = Vec::new();
        write_tcp_flags(flags, &mut line);
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }
}
