//! JSON: every record is valid by `docs/schema.json`, and says what its line says.

use std::{collections::BTreeSet, sync::LazyLock};

use clap::ValueEnum as _;
use dropwatch::{
    account::Account,
    counters::{Cause, Moved},
    format::{
        ExtraField, Format, JsonFormat, JsonSummary, Summary as _, TextFormat, TextOptions,
        TimestampStyle, write_dimension, write_places_json,
    },
    groups::{Counts, Dimension},
    packet::Transport,
    record::{DropRecord, DropTime, Position, Source},
    source::Located,
};
use dropwatch_common::event::present;
use dropwatch_tests::line::Line;
use expect_test::expect;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::{
    STACK,
    case::{Case, Frame, padded},
    of_socket,
    packets::{
        self, IPV4, IPV6, MORE, PORTS, arp, datagram, fragment, frame, gre, icmp, ipv4, ipv6,
        options, tcp, vxlan, with_options,
    },
};

type Object = Map<String, Value>;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../docs/schema.json")).expect("the schema is JSON")
});

/// The schema as it is published, which lets keys through that it does not know.
static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| validator(&SCHEMA));

/// The schema without keys that it does not know.
static STRICT: LazyLock<Validator> = LazyLock::new(|| {
    let mut schema = SCHEMA.clone();
    for definition in schema["$defs"]
        .as_object_mut()
        .expect("definitions")
        .values_mut()
    {
        if definition.get("properties").is_some() {
            definition["additionalProperties"] = false.into();
        }
    }
    validator(&schema)
});

fn validator(schema: &Value) -> Validator {
    jsonschema::meta::validate(schema).expect("a schema of its draft");
    jsonschema::options()
        .should_validate_formats(true)
        .build(schema)
        .expect("a schema")
}

/// Fails unless the object is as the schema says, and has no key beyond.
fn validate(object: &Value) {
    for validator in [&*VALIDATOR, &*STRICT] {
        let errors: Vec<String> = validator
            .iter_errors(object)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?} in {object}");
    }
}

/// What a format makes of a drop.
pub(crate) fn written(format: &mut dyn Format, record: &DropRecord<'_>) -> String {
    let mut line = Vec::new();
    format.write(record, &mut line);
    String::from_utf8(line).expect("a line is UTF-8")
}

/// Fails unless the JSON object of a drop is valid and says what the line with all fields says.
pub(crate) fn agrees(record: &DropRecord<'_>) {
    let text = written(
        &mut TextFormat::new(&TextOptions {
            timestamp: TimestampStyle::Utc,
            fields: ExtraField::value_variants().to_vec(),
            ..TextOptions::default()
        }),
        record,
    );
    let json = written(&mut JsonFormat::new(), record);
    let object: Value = serde_json::from_str(&json).expect("JSON");
    validate(&object);
    let object = object.as_object().expect("an object");
    let expected = from_line(text.trim_end(), record);
    for key in expected.keys().chain(object.keys()) {
        let [expected, got] = [&expected, object].map(|it| comparable(it.get(key)));
        assert_eq!(got, expected, "{key} of\n{text}{json}");
    }
}

/// Without what a line does not tell apart: it has `-` for an empty name, for a list of which
/// nothing is known, and in tokens that were asked for and the packet does not have.
fn comparable(value: Option<&Value>) -> &Value {
    match value {
        None => &Value::Null,
        Some(Value::String(text)) if text.is_empty() => &Value::Null,
        Some(Value::Array(items)) if *items == [Value::Null] => &Value::Null,
        Some(value) => value,
    }
}

/// The object that a line stands for.
fn from_line(text: &str, record: &DropRecord<'_>) -> Object {
    let (time, rest) = text.split_once(' ').expect("a time");
    let (date, clock) = time.trim_end_matches('Z').split_once('T').expect("a date");
    let line = Line::parse(&format!("{clock} {rest}")).expect("a line");
    let mut object = Object::new();
    let set = &mut |key: &str, value: Value| {
        assert_eq!(object.insert(key.to_owned(), value), None, "{key} twice");
    };
    set("schema", 1.into());
    set("type", "drop".into());
    // A line has neither nanoseconds nor a second clock.
    let nanoseconds = record.time.unix_ns.rem_euclid(1000);
    set("time", format!("{date}T{clock}{nanoseconds:03}Z").into());
    set("boot_ns", record.time.boot_ns.into());
    set("reason", name(&line.reason));
    set_tuple(&line.protocol, &line.source, &line.destination, set);
    for (key, value) in line.tokens() {
        match key {
            "source" => set(key, source(value, record)),
            _ => set_token(key, value, set),
        }
    }
    // It has either names or numbers of these.
    set("netns_inode", record.netns.map(|netns| netns.inode).into());
    if let Transport::Icmp { type_code } | Transport::Icmpv6 { type_code } = record.packet.transport
    {
        let (icmp_type, code) = type_code.unzip();
        set("icmp_type", icmp_type.into());
        set("icmp_code", code.into());
    }
    object
}

/// The positions of `file:line,…`; their functions are in JSON only.
fn source(text: &str, record: &DropRecord<'_>) -> Value {
    let Some(Source::Positions(positions)) = record.source else {
        return name(text);
    };
    let parts: Vec<&str> = text.split(',').collect();
    assert_eq!(parts.len(), positions.len(), "positions of {text}");
    let position = |(part, position): (&str, &Position)| {
        let (file, line) = part.rsplit_once(':').unwrap_or((part, "-"));
        json!({"file": name(file), "line": number(line), "function": position.function})
    };
    parts.into_iter().zip(positions).map(position).collect()
}

/// Sets a member.
type Set<'a> = dyn FnMut(&str, Value) + 'a;

fn set_token(key: &str, value: &str, set: &mut Set<'_>) {
    match key {
        "len" | "segs" | "gso" | "seq" | "ack" | "win" | "ttl" | "ifindex" | "iif" | "queue"
        | "sample" | "pid" => set(key, number(value)),
        "mark" | "prio" | "hash" | "spi" => set(key, hexadecimal(value)),
        "flags" | "ipopt" | "ext" | "stack" => set(key, list(value, ',', name)),
        "vlan" => set(key, list(value, '.', number)),
        "inner" | "quoted" => set(key, tuple(value)),
        "mac" => set(key, mac(value)),
        "frag" => {
            set("frag", number(value.trim_end_matches('+')));
            let is_known = value != "-";
            set("frag_more", is_known.then_some(value.ends_with('+')).into());
        }
        "tunnel" => {
            let (kind, id) = value.split_once('/').unwrap_or((value, "-"));
            set("tunnel", name(kind));
            let is_key = id.starts_with("0x");
            set(
                "tunnel_id",
                if is_key { hexadecimal(id) } else { number(id) },
            );
        }
        "owner" => set_owner(value, set),
        _ => set(key, name(value)),
    }
}

/// Sets the members of a tuple from `udp`, `10.0.0.1:53` and the like.
fn set_tuple(protocol: &str, source: &str, destination: &str, set: &mut Set<'_>) {
    set("proto", name(protocol));
    for (endpoint, address_key, port_key) in
        [(source, "saddr", "sport"), (destination, "daddr", "dport")]
    {
        let (address, port) = match endpoint.rsplit_once(':') {
            // The colons of an IPv6 address without port are its own.
            Some((address, port)) if endpoint.starts_with('[') || !address.contains(':') => {
                (address.trim_matches(['[', ']']), port)
            }
            _ => (endpoint, "-"),
        };
        set(address_key, name(address));
        set(port_key, number(port));
    }
}

/// The object of `udp,10.0.0.1:53>10.0.0.2:53`, or of `arp` alone.
fn tuple(text: &str) -> Value {
    if text == "-" {
        return Value::Null;
    }
    let (protocol, endpoints) = text.split_once(',').unwrap_or((text, "->-"));
    let (source, destination) = endpoints.split_once('>').expect("two endpoints");
    let mut object = Object::new();
    set_tuple(protocol, source, destination, &mut |key, value| {
        let is_port = key.ends_with("port");
        let has_port = endpoints.contains(":-") || !value.is_null();
        if !is_port || has_port {
            object.insert(key.to_owned(), value);
        }
    });
    object.into()
}

fn mac(text: &str) -> Value {
    match text.split_once('>') {
        Some((source, destination)) => json!({"saddr": source, "daddr": destination}),
        None => Value::Null,
    }
}

/// Sets the members of an owner from `dnsmasq[812]+1`.
fn set_owner(text: &str, set: &mut Set<'_>) {
    set("owner", name(text));
    if let Some((comm, rest)) = text.rsplit_once('[') {
        let (pid, others) = rest.split_once(']').expect("a pid");
        set("owner_comm", name(comm));
        set("owner_pid", number(pid));
        let others = others.strip_prefix('+').unwrap_or("0");
        set("owner_others", number(others));
    }
}

fn number(text: &str) -> Value {
    match text {
        "-" => Value::Null,
        text => text.parse::<u64>().expect("a number").into(),
    }
}

fn hexadecimal(text: &str) -> Value {
    match text.strip_prefix("0x") {
        None => Value::Null,
        Some(digits) => u64::from_str_radix(digits, 16).expect("hexadecimal").into(),
    }
}

/// A word or name, without what escapes its bytes in a line.
fn name(text: &str) -> Value {
    if text == "-" {
        return Value::Null;
    }
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, plain) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
        bytes.extend(plain.as_bytes());
    }
    String::from_utf8_lossy(&bytes).into()
}

fn list(text: &str, separator: char, read: fn(&str) -> Value) -> Value {
    match text {
        "-" => Value::Null,
        "none" => Value::Array(Vec::new()),
        text => text.split(separator).map(read).collect(),
    }
}

/// Drops that have every key of the schema among them.
fn samples() -> Vec<(&'static str, Case)> {
    let case = |ethertype, bytes: &[u8]| Case::default().packet(ethertype, bytes);
    let with_frame = |vlan, ethertype, bytes: Vec<u8>, network_offset| {
        Case::default().frame(&Frame {
            ethertype,
            vlan,
            bytes,
            network_offset,
        })
    };
    let syn = with_options(&ipv4(6, &tcp(0x02)), &[148, 4, 0, 0]);
    let vxlan = datagram(4789, &vxlan(&frame(&[], IPV6, &ipv6(6, &tcp(0x10)))));
    let owned = of_socket(2, 6, 10).event(|event| {
        event.present |= present::SOCKET_INODE | present::OWNER;
        event.socket_inode = 77;
        event.owner_tgid = 812;
        event.owner_comm = padded("dns masq");
    });
    let gso = |segs| {
        case(IPV6, &ipv6(6, &tcp(0x18))).event(|event| {
            event.present |= present::GSO;
            (event.gso_size, event.gso_segs) = (1448, segs);
        })
    };
    vec![
        ("default", Case::default().stack(&STACK)),
        (
            "unknown",
            Case::default()
                .without(u32::MAX)
                .event(|event| (event.location, event.headers_len) = (0, 0))
                .frames(&[]),
        ),
        ("names", {
            let name = "tmux: \"\u{202e}\\\u{1b}é";
            owned.event(|event| event.comm = padded(name))
        }),
        ("not utf-8", {
            let case = Case::default().event(|event| event.comm = padded(b"a\xff\xc3("));
            case.event(|event| event.ifname = padded(b"a\nb"))
        }),
        (
            "options",
            with_frame(None, IPV4, frame(&[], IPV4, &syn), 14),
        ),
        ("sample", case(0x0806, &arp(1)).sample(10)),
        (
            "quoted",
            case(IPV4, &ipv4(1, &icmp(3, 3, &packets::udp()[..22]))),
        ),
        ("igmp", case(IPV4, &ipv4(2, &[0x16, 0, 0, 0]))),
        ("esp", case(IPV6, &ipv6(50, &PORTS))),
        (
            "fragment",
            case(IPV4, &fragment(ipv4(17, &PORTS), MORE | 185)),
        ),
        (
            "headers",
            case(
                IPV6,
                &ipv6(0, &[&options(60, 0)[..], &options(17, 9)[..8]].concat()),
            ),
        ),
        ("vxlan", with_frame(Some(10), IPV4, ipv4(17, &vxlan), 0)),
        (
            "gre",
            case(
                IPV4,
                &ipv4(47, &gre(0x20, &[0, 0, 0, 42], IPV4, &packets::udp())),
            ),
        ),
        ("vlan", case(0x8100, &packets::udp())),
        ("gso", gso(23)),
        ("not counted", gso(0)),
        ("source", Case::default().source(packets::positions())),
        ("no source", Case::default().source(Vec::new())),
    ]
}

#[test]
fn golden_objects() {
    let mut text = String::new();
    let mut keys = BTreeSet::new();
    for (label, case) in samples() {
        case.line();
        let json = case.json();
        let object: Object = serde_json::from_str(&json).expect("an object");
        keys.extend(object.into_iter().map(|(key, _)| key));
        text.push_str(&format!("{label:<12}| {json}"));
    }
    let properties = SCHEMA["$defs"]["drop"]["properties"].as_object();
    let known = properties.expect("properties").keys().cloned().collect();
    assert_eq!(
        keys, known,
        "what the schema has and drops do not, or the other way round"
    );
    expect![[r#"
        default     | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"udp","saddr":"127.0.0.1","sport":39873,"daddr":"127.0.0.1","dport":9,"len":128,"ttl":64,"ipopt":[],"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600","stack":["ip_protocol_deliver_rcu+0xb3","ip_local_deliver_finish+0x81","__netif_receive_skb_one_core+0x8d"]}
        unknown     | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":null,"proto":null,"saddr":null,"daddr":null,"len":null,"mac":null,"if":null,"ifindex":null,"iif":null,"queue":null,"dir":null,"mark":null,"prio":null,"hash":null,"state":null,"class":"drop","at":null,"pid":28371,"comm":"flood","owner":null,"netns":null,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600","stack":null}
        names       | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"udp","saddr":"127.0.0.1","sport":39873,"daddr":"127.0.0.1","dport":9,"len":128,"ttl":64,"ipopt":[],"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":"LISTEN","class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"tmux: \"\u202e\\\u001b\u00e9","owner":"dns masq[812]","owner_comm":"dns masq","owner_pid":812,"owner_others":0,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        not utf-8   | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"udp","saddr":"127.0.0.1","sport":39873,"daddr":"127.0.0.1","dport":9,"len":128,"ttl":64,"ipopt":[],"mac":null,"if":"a\u000ab","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"a\ufffd\ufffd(","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        options     | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"tcp","saddr":"10.0.0.1","sport":39873,"daddr":"10.0.0.2","dport":443,"len":128,"flags":["SYN"],"seq":1,"ack":null,"win":64,"ttl":64,"ipopt":["ra"],"mac":{"saddr":"02:00:00:00:00:01","daddr":"02:00:00:00:00:02"},"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        sample      | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"arp","saddr":"10.0.0.1","daddr":"10.0.0.2","len":128,"arp":"request","mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","sample":10,"at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        quoted      | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"icmp","saddr":"10.0.0.1","daddr":"10.0.0.2","len":128,"icmp":"dest-unreachable/port","icmp_type":3,"icmp_code":3,"ttl":64,"ipopt":[],"quoted":{"proto":"udp","saddr":"127.0.0.1","sport":null,"daddr":"127.0.0.1","dport":null},"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        igmp        | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"igmp","saddr":"10.0.0.1","daddr":"10.0.0.2","len":128,"igmp":"v2-report","ttl":64,"ipopt":[],"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        esp         | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"esp","saddr":"2001:db8::1","daddr":"2001:db8::2","len":128,"spi":2613116937,"ttl":64,"ext":[],"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        fragment    | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"udp","saddr":"10.0.0.1","sport":null,"daddr":"10.0.0.2","dport":null,"len":128,"frag":1480,"frag_more":true,"ttl":64,"ipopt":[],"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        headers     | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"ipv6","saddr":"2001:db8::1","daddr":"2001:db8::2","len":128,"ttl":64,"ext":["hbh","dst",null],"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        vxlan       | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"udp","saddr":"10.0.0.1","sport":39873,"daddr":"10.0.0.2","dport":4789,"len":128,"ttl":64,"ipopt":[],"vlan":[10],"tunnel":"vxlan","tunnel_id":100,"inner":{"proto":"tcp","saddr":"2001:db8::1","sport":39873,"daddr":"2001:db8::2","dport":443},"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        gre         | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"gre","saddr":"10.0.0.1","daddr":"10.0.0.2","len":128,"ttl":64,"ipopt":[],"tunnel":"gre","tunnel_id":42,"inner":{"proto":"udp","saddr":"127.0.0.1","sport":39873,"daddr":"127.0.0.1","dport":9},"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        vlan        | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"vlan","saddr":null,"daddr":null,"len":128,"vlan":[null],"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        gso         | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"tcp","saddr":"2001:db8::1","sport":39873,"daddr":"2001:db8::2","dport":443,"len":128,"segs":23,"gso":1448,"flags":["PSH","ACK"],"seq":1,"ack":0,"win":64,"ttl":64,"ext":[],"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        not counted | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"tcp","saddr":"2001:db8::1","sport":39873,"daddr":"2001:db8::2","dport":443,"len":128,"segs":null,"gso":1448,"flags":["PSH","ACK"],"seq":1,"ack":0,"win":64,"ttl":64,"ext":[],"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        source      | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"udp","saddr":"127.0.0.1","sport":39873,"daddr":"127.0.0.1","dport":9,"len":128,"ttl":64,"ipopt":[],"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","source":[{"file":"include/linux/sk buff.h","line":1262,"function":"kfree_skb"},{"file":"net/ipv4/udp.c","line":2381,"function":"__udp4_lib_rcv"}],"pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
        no source   | {"schema":1,"type":"drop","time":"1970-01-01T00:20:34.567890123Z","boot_ns":1234567890123,"reason":"NO_SOCKET","proto":"udp","saddr":"127.0.0.1","sport":39873,"daddr":"127.0.0.1","dport":9,"len":128,"ttl":64,"ipopt":[],"mac":null,"if":"eth0","ifindex":2,"iif":2,"queue":3,"dir":"rx","mark":42,"prio":6,"hash":305441741,"state":null,"class":"refused","at":"__udp4_lib_rcv+0x4bc","source":null,"pid":28371,"comm":"flood","owner":null,"netns":"4026531840","netns_inode":4026531840,"container":null,"pod":null,"unit":null,"skb":"0xffff888102345600"}
    "#]].assert_eq(&text);
}

#[test]
fn groups_have_the_keys_and_values_of_drops() {
    for (label, case) in samples() {
        let (drop, group) = case.shown(|record| {
            let texts = Dimension::value_variants().iter().map(|dimension| {
                let mut text = Vec::new();
                write_dimension(*dimension, record, &mut text);
                let text = String::from_utf8(text).expect("a value is UTF-8");
                (*dimension, text)
            });
            let texts: Vec<(Dimension, String)> = texts.collect();
            let values: Vec<(Dimension, &str)> =
                texts.iter().map(|(by, text)| (*by, &**text)).collect();
            let mut line = Vec::new();
            let counts = Counts::default();
            JsonSummary::new().write(record.time, counts, Some(&values), &mut line);
            (written(&mut JsonFormat::new(), record), line)
        });
        let drop: Object = serde_json::from_str(&drop).expect("an object");
        let group: Value = serde_json::from_slice(&group).expect("an object");
        validate(&group);
        for dimension in Dimension::value_variants() {
            let key = dimension.name();
            let [drop, group] = [drop.get(key), group.get(key)].map(comparable);
            assert_eq!(drop, group, "{key} of {label}");
        }
    }
}

#[test]
fn accounts_and_other_groups() {
    let account = Account {
        seen: 3,
        printed: 2,
        lost: 1,
        ..Account::default()
    };
    let counted = Account {
        counted: Some(7),
        ..Account::default()
    };
    let mut lines = Vec::new();
    JsonFormat::new().write_account(&account, &mut lines);
    let mut summary = JsonSummary::new();
    summary.set_counters(&[moved()]);
    summary.write_account(&counted, &mut lines);
    let mut drops = JsonFormat::new();
    drops.set_counters(&[]);
    drops.write_account(&account, &mut lines);
    let time = DropTime::default();
    JsonSummary::new().write(time, Counts::default(), None, &mut lines);
    let objects: Vec<Value> = serde_json::Deserializer::from_slice(&lines)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("objects");
    objects.iter().for_each(validate);
    let types: Vec<&Value> = objects.iter().map(|object| &object["type"]).collect();
    assert_eq!(types, ["account", "account", "account", "group"]);
    assert_eq!(objects[0]["printed"], 2);
    assert_eq!(objects[1]["counted"], 7);
    assert!(objects[0].get("counters").is_none());
    assert_eq!(objects[2]["counters"], json!([]));
    expect![[r#"[{"name":"qdisc drops","netns":"blue room","netns_inode":4026532177,"if":"eth0","qdisc":"tbf","count":12,"causes":[{"by":"QDISC_DROP","drops":7,"perhaps":false},{"by":"__dev_queue_xmit","drops":2,"perhaps":true}],"unexplained":3,"remark":"why"}]"#]]
        .assert_eq(&between(&lines, "\"counters\":", "}\n"));
}

/// What lies between two texts.
fn between(lines: &[u8], start: &str, end: &str) -> String {
    let text = String::from_utf8_lossy(lines);
    let (_, rest) = text.split_once(start).expect("its start");
    let (found, _) = rest.split_once(end).expect("its end");
    found.to_owned()
}

fn moved() -> Moved {
    let cause = |by: &str, drops, perhaps| Cause {
        by: by.to_owned(),
        drops,
        perhaps,
    };
    Moved {
        name: "qdisc drops".to_owned(),
        netns: Some("blue\\x20room".to_owned()),
        netns_inode: Some(4_026_532_177),
        interface: Some("eth0".to_owned()),
        qdisc: Some("tbf".to_owned()),
        count: 12,
        causes: Some(vec![
            cause("QDISC_DROP", 7, false),
            cause("__dev_queue_xmit", 2, true),
        ]),
        remark: Some("why".to_owned()),
    }
}

#[test]
fn a_counter_as_text() {
    expect![[r"qdisc drops +12 netns=blue\x20room if=eth0 qdisc=tbf: QDISC_DROP 7, perhaps __dev_queue_xmit 2, 3 unexplained; why"]]
        .assert_eq(&moved().to_string());
    let without = Moved {
        causes: None,
        remark: None,
        ..moved()
    };
    expect![[r"qdisc drops +12 netns=blue\x20room if=eth0 qdisc=tbf"]]
        .assert_eq(&without.to_string());
}

#[test]
fn locations() {
    let positions = packets::positions();
    let either = Located::Either(vec![positions.clone(), positions.clone()]);
    let mut lines = Vec::new();
    for located in [Some(&Located::At(positions)), Some(&either), None] {
        write_places_json("f+0x1[m]", located, &mut lines);
    }
    let objects: Vec<Value> = serde_json::Deserializer::from_slice(&lines)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("objects");
    objects.iter().for_each(validate);
    assert_eq!(objects[0]["source"][1]["line"], 2381);
    assert_eq!(objects[1]["source"], Value::Null);
    assert_eq!(objects[1]["candidates"][1], objects[0]["source"]);
    assert_eq!(objects[2]["source"], Value::Null);
}

#[test]
fn the_schema_has_examples_of_what_it_requires() {
    for kind in ["drop", "group", "location", "account"] {
        let definition = &SCHEMA["$defs"][kind];
        let properties = definition["properties"].as_object().expect("properties");
        for key in definition["required"].as_array().expect("required keys") {
            assert!(
                properties.contains_key(key.as_str().expect("a key")),
                "{kind}: {key}"
            );
        }
        for (key, property) in properties {
            let is_described = ["description", "$ref", "const"]
                .iter()
                .any(|word| property.get(word).is_some());
            assert!(is_described, "{kind}: {key}");
        }
        let examples = definition["examples"].as_array().expect("examples");
        assert!(!examples.is_empty(), "{kind}");
        for example in examples {
            assert_eq!(example["type"], kind);
            validate(example);
        }
    }
}

#[test]
fn what_is_not_valid() {
    let example = |kind: &str| SCHEMA["$defs"][kind]["examples"][0].clone();
    let broken = |kind, key: &str, value| {
        let mut object = example(kind);
        object[key] = value;
        object
    };
    for (kind, key, value) in [
        ("drop", "schema", json!(2)),
        ("drop", "time", json!("2026-01-31 07:30:01")),
        ("drop", "boot_ns", json!("1234567890123")),
        ("drop", "saddr", json!("10.0.0.256")),
        ("drop", "sport", json!("443")),
        ("drop", "dport", json!(65536)),
        ("drop", "len", json!(-1)),
        ("drop", "flags", json!("SYN")),
        ("drop", "inner", json!({"proto": "udp"})),
        ("drop", "skb", json!(1)),
        ("drop", "stack", json!("a+0x1,b+0x2")),
        ("drop", "source", json!("net/ipv4/udp.c:1")),
        ("drop", "source", json!([])),
        ("group", "drops", json!("31")),
        (
            "location",
            "source",
            json!([{"file": "a.c", "line": 0.5, "function": null}]),
        ),
        ("account", "lost", json!(null)),
        ("account", "counted", json!(7)),
    ] {
        let object = broken(kind, key, value);
        assert!(!VALIDATOR.is_valid(&object), "{key} of {object}");
    }
    for kind in ["drop", "group", "location", "account"] {
        for key in SCHEMA["$defs"][kind]["required"]
            .as_array()
            .expect("required keys")
        {
            let mut object = example(kind);
            let object = object.as_object_mut().expect("an object");
            object.remove(key.as_str().expect("a key"));
            assert!(
                !VALIDATOR.is_valid(&object.clone().into()),
                "{kind} without {key}"
            );
        }
        // Consumers let through what these tests do not.
        let object = broken(kind, "later", json!(true));
        assert!(
            VALIDATOR.is_valid(&object) && !STRICT.is_valid(&object),
            "{object}"
        );
    }
    assert!(VALIDATOR.is_valid(&json!({"schema": 1, "type": "later"})));
}
