use super::*;

const TIME: DropTime = DropTime {
    boot_ns: 0,
    unix_ns: 1_767_225_600_123_456_000,
};
const COUNTS: Counts = Counts {
    drops: 12,
    packets: 34,
    bytes: 5678,
};

fn written(format: &mut dyn Summary, group: Option<&[(Dimension, &str)]>) -> String {
    let mut line = Vec::new();
    format.write(TIME, COUNTS, group, &mut line);
    String::from_utf8(line).unwrap()
}

#[test]
fn text_has_tokens_as_lines_have() {
    let values = [(Dimension::Reason, "NO_SOCKET"), (Dimension::Dport, "-")];
    assert_eq!(
        written(&mut TextSummary::new(false), Some(&values)),
        "       12 drops        34 packets         5678 bytes  reason=NO_SOCKET dport=-\n"
    );
    assert_eq!(
        written(&mut TextSummary::new(false), None),
        "       12 drops        34 packets         5678 bytes  other\n"
    );
    let line = written(&mut TextSummary::new(true), None);
    let (time, _) = line.split_once(' ').unwrap();
    assert!(time.ends_with(":00.123456"), "{line}");
}

#[test]
fn json_has_types() {
    let values = [
        (Dimension::Reason, "NO_SOCKET"),
        (Dimension::Dport, "53"),
        (Dimension::Netns, "-"),
        (Dimension::Stack, "a+0x1,b+0x2"),
    ];
    assert_eq!(
        written(&mut JsonSummary::new(), Some(&values)),
        "{\"schema\":1,\"type\":\"group\",\"time\":\"2026-01-01T00:00:00.123456Z\",\"drops\":12,\"packets\":34,\"bytes\":5678,\
         \"reason\":\"NO_SOCKET\",\"dport\":53,\"netns\":null,\"stack\":[\"a+0x1\",\"b+0x2\"]}\n"
    );
    let other: serde_json::Value =
        serde_json::from_str(&written(&mut JsonSummary::new(), None)).unwrap();
    assert_eq!(other["other"], true);
}

#[test]
fn json_names_are_not_escaped_twice() {
    for (value, expected) in [
        ("eth0", "eth0"),
        ("\\x2d", "-"),
        ("tmux:\\x20server[7]", "tmux: server[7]"),
        ("a\\x5cx20b", "a\\x20b"),
        ("gr\\xc3\\xb6\\xc3\\x9fe", "größe"),
        ("\\xffz", "\u{fffd}z"),
        ("\\x1b[2J\\xc2\\x9b", "\u{1b}[2J\u{9b}"),
    ] {
        let line = written(&mut JsonSummary::new(), Some(&[(Dimension::Comm, value)]));
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["comm"], expected);
        assert!(
            line.trim_end()
                .bytes()
                .all(|byte| (b' '..=b'~').contains(&byte)),
            "{line:?}"
        );
    }
}

#[test]
fn the_account_is_the_last_json_object() {
    let account = Account {
        seen: 12,
        counted: Some(10),
        filtered: 2,
        ..Account::default()
    };
    let mut line = Vec::new();
    JsonSummary::new().write_account(&account, &mut line);
    let object: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(object["type"], "account");
    assert_eq!(object["seen"], 12);
    assert_eq!(object["counted"], 10);
    assert_eq!(object["filtered"], 2);
    line.clear();
    TextSummary::new(false).write_account(&account, &mut line);
    assert!(line.is_empty());
}
