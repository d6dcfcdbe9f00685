use clap::ValueEnum as _;
use proptest::{collection::vec, prelude::*};

use super::{packet::write_tcp_flags, *};
use crate::{
    classify::Class,
    packet::{
        Packet,
        samples::{garbled, sample},
    },
    record::{Device, DropTime, TcpState},
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

/// What a record is made of.
#[derive(Clone, Debug)]
struct Parts {
    time: DropTime,
    reason: Option<&'static str>,
    class: Class,
    packet: Packet,
    skb: Option<SkbFields>,
    gso: Option<Gso>,
    device: Option<(u32, Vec<u8>)>,
    direction: Option<Direction>,
    state: Option<TcpState>,
    sample: Option<u32>,
    pid: u32,
    comm: Vec<u8>,
    owner: Option<(Vec<u8>, u32, u32)>,
    netns: Option<(u32, Option<Vec<u8>>)>,
    workload: [Option<Vec<u8>>; 3],
    stack: Option<&'static str>,
}

impl Parts {
    fn record(&self) -> DropRecord<'_> {
        let [container, pod, unit] = &self.workload;
        DropRecord {
            time: self.time,
            reason: self.reason,
            class: self.class,
            sample: self.sample,
            packet: self.packet,
            skb: self.skb,
            gso: self.gso,
            device: self.device.as_ref().map(|(ifindex, name)| Device {
                ifindex: *ifindex,
                name,
            }),
            direction: self.direction,
            state: self.state,
            location: "nft_do_chain+0x3e8[nf_tables]",
            pid: self.pid,
            comm: &self.comm,
            owner: self.owner.as_ref().map(|(comm, pid, others)| Owner {
                comm,
                pid: *pid,
                others: *others,
            }),
            netns: self.netns.as_ref().map(|(inode, name)| Netns {
                inode: *inode,
                name: name.as_deref(),
            }),
            workload: Workload {
                container: container.as_deref(),
                pod: pod.as_deref(),
                unit: unit.as_deref(),
            },
            stack: self.stack.map(|callers| match callers {
                "" => Stack::Unknown,
                callers => Stack::Callers(callers),
            }),
            address: 0xffff_8881_0000_0000,
        }
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..20)
}

prop_compose! {
    /// What the kernel keeps beside the packet.
    fn beside()(
        skb in any::<Option<(u32, u32, u16, u32, u32, u32)>>(),
        gso in any::<Option<(u16, Option<u16>)>>(),
        state in any::<Option<u8>>(),
        direction in prop::option::of(prop::sample::select(vec![
            Direction::Receive, Direction::Transmit, Direction::Forward, Direction::Local,
        ])),
    ) -> (Option<SkbFields>, Option<Gso>, Option<TcpState>, Option<Direction>) {
        let skb = skb.map(|(len, iif, queue, mark, priority, hash)| SkbFields {
            len, iif, queue, mark, priority, hash,
        });
        let gso = gso.map(|(size, segments)| Gso { size, segments });
        (skb, gso, state.map(TcpState), direction)
    }
}

prop_compose! {
    /// Whose packet it is.
    fn whose()(
        owner in prop::option::of((name(), any::<u32>(), 0..3_u32)),
        netns in prop::option::of((any::<u32>(), prop::option::of(name()))),
        workload in prop::array::uniform3(prop::option::of(name())),
    ) -> (Option<(Vec<u8>, u32, u32)>, Option<(u32, Option<Vec<u8>>)>, [Option<Vec<u8>>; 3]) {
        (owner, netns, workload)
    }
}

fn packet() -> impl Strategy<Value = Packet> {
    prop_oneof![sample(), garbled()].prop_map(|sample| Packet::parse(&sample.capture()))
}

prop_compose! {
    fn parts()(
        (boot_ns, unix_ns) in any::<(u64, i64)>(),
        reason in prop::option::of(Just("openvswitch:LAST_ACTION")),
        packet in packet(),
        class in prop::sample::select(vec![
            Class::Drop, Class::Refused, Class::Teardown, Class::Expected,
        ]),
        (sample, pid) in any::<(Option<u32>, u32)>(),
        (skb, gso, state, direction) in beside(),
        (owner, netns, workload) in whose(),
        device in prop::option::of((any::<u32>(), vec(any::<u8>(), 0..16))),
        comm in vec(any::<u8>(), 0..16),
        stack in prop::option::of(prop::sample::select(
            vec!["", "a+0x0", "ip_rcv+0x1,ip_local_deliver+0x81,__netif_receive_skb_core+0x8d"],
        )),
    ) -> Parts {
        let time = DropTime { boot_ns, unix_ns };
        Parts {
            time, reason, class, sample, packet, skb, gso, device, direction, state, pid, comm, owner,
            netns, workload, stack,
        }
    }
}

fn options() -> impl Strategy<Value = TextOptions> {
    use TimestampStyle::{Boot, Delta, Local, None, Utc};
    let timestamp = prop::sample::select(vec![Local, Utc, Boot, Delta, None]);
    let all = ExtraField::value_variants();
    let fields = prop::sample::subsequence(all, 0..=all.len());
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
