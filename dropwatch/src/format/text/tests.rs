use proptest::{collection::vec, prelude::*};

use super::*;
use crate::record::{Device, DropTime};

/// Keys of the tokens, in their order.
const KEYS: [&str; 11] = [
    "len", "flags", "icmp", "if", "ifindex", "at", "pid", "comm", "netns", "skb", "stack",
];

/// What a record is made of.
#[derive(Clone, Debug)]
struct Parts {
    time: DropTime,
    reason: Option<&'static str>,
    packet: Packet,
    len: Option<u32>,
    device: Option<(u32, Vec<u8>)>,
    pid: u32,
    comm: Vec<u8>,
    netns: Option<u32>,
    stack: Option<&'static str>,
}

impl Parts {
    fn record(&self) -> DropRecord<'_> {
        DropRecord {
            time: self.time,
            reason: self.reason,
            packet: self.packet,
            len: self.len,
            device: self.device.as_ref().map(|(ifindex, name)| Device {
                ifindex: *ifindex,
                name,
            }),
            location: "nft_do_chain+0x3e8[nf_tables]",
            pid: self.pid,
            comm: &self.comm,
            netns: self.netns,
            stack: self.stack.map(|callers| match callers {
                "" => Stack::Unknown,
                callers => Stack::Callers(callers),
            }),
            skb: 0xffff_8881_0000_0000,
        }
    }
}

fn packet() -> impl Strategy<Value = Packet> {
    let ethertype = prop_oneof![Just(0x0800), Just(0x86dd), any::<u16>()];
    let protocol = prop_oneof![Just(1), Just(6), Just(17), Just(58), any::<u8>()];
    (ethertype, protocol, vec(any::<u8>(), 0..=96)).prop_map(|(ethertype, protocol, mut bytes)| {
        let (version, place) = match ethertype {
            0x0800 => (0x45, 9),
            _ => (0x60, 6),
        };
        if bytes.len() > place {
            bytes[0] = version;
            bytes[place] = protocol;
        }
        Packet::parse(ethertype, &bytes)
    })
}

prop_compose! {
    fn parts()(
        (boot_ns, unix_ns) in any::<(u64, i64)>(),
        reason in prop::option::of(Just("openvswitch:LAST_ACTION")),
        packet in packet(),
        (len, pid, netns) in any::<(Option<u32>, u32, Option<u32>)>(),
        device in prop::option::of((any::<u32>(), vec(any::<u8>(), 0..16))),
        comm in vec(any::<u8>(), 0..16),
        stack in prop::option::of(prop::sample::select(
            vec!["", "a+0x0", "ip_rcv+0x1,ip_local_deliver+0x81,__netif_receive_skb_core+0x8d"],
        )),
    ) -> Parts {
        let time = DropTime { boot_ns, unix_ns };
        Parts { time, reason, packet, len, device, pid, comm, netns, stack }
    }
}

fn options() -> impl Strategy<Value = TextOptions> {
    use TimestampStyle::{Boot, Delta, Local, None, Utc};
    let timestamp = prop::sample::select(vec![Local, Utc, Boot, Delta, None]);
    let fields = prop::sample::subsequence(vec![ExtraField::Ifindex, ExtraField::Skb], 0..=2);
    (timestamp, fields).prop_map(|(timestamp, fields)| TextOptions {
        timestamp,
        fields,
        width: Option::None,
    })
}

fn write(options: &TextOptions, parts: &Parts) -> String {
    let mut line = Vec::new();
    TextFormat::new(options).write(&parts.record(), &mut line);
    String::from_utf8(line).unwrap()
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
        (Some(0x02), " flags=SYN"),
        (Some(0x12), " flags=SYN,ACK"),
        (Some(0x11), " flags=FIN,ACK"),
        (Some(0), " flags=none"),
        (Some(0xff), " flags=SYN,FIN,RST,PSH,ACK,URG,ECE,CWR"),
        (None, " flags=-"),
    ] {
        let mut line = Vec::new();
        write_tcp_flags(flags, &mut line);
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }
}
