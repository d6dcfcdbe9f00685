use super::*;
use crate::fixture;

fn folder(kernel: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    fixtures.join(kernel).join("btf")
}

fn names(kernel: &str) -> ReasonNames {
    let folder = folder(kernel);
    let btf = Btf::load(Some(&folder.join("vmlinux"))).unwrap();
    ReasonNames::new(&btf, &folder)
}

#[test]
fn core_reasons_differ_by_kernel() {
    for (kernel, reason, name) in [
        ("6.1", 2, "NO_SOCKET"),
        ("6.1", 6, "UDP_CSUM"),
        ("6.1", 7, "NETFILTER_DROP"),
        ("6.1", 27, "TCP_INVALID_SEQUENCE"),
        ("6.12", 3, "NO_SOCKET"),
        ("6.12", 10, "UDP_CSUM"),
        ("6.12", 11, "NETFILTER_DROP"),
        ("6.12", 37, "TCP_INVALID_SEQUENCE"),
        ("7.3", 3, "NO_SOCKET"),
        ("7.3", 11, "UDP_CSUM"),
        ("7.3", 12, "NETFILTER_DROP"),
        ("7.3", 58, "NEIGH_FAILED"),
        ("7.3", 1, "SKB_CONSUMED"),
        ("7.3", 0, "SKB_NOT_DROPPED_YET"),
    ] {
        assert_eq!(names(kernel).name(reason), name, "{reason} on {kernel}");
    }
}

#[test]
fn what_is_no_drop_is_known_by_number() {
    for (kernel, has_reasons, not_dropped, consumed) in [
        ("5.10", false, None, None),
        ("6.1", true, Some(0), None),
        ("6.12", true, Some(0), Some(1)),
        ("7.3", true, Some(0), Some(1)),
    ] {
        let names = names(kernel);
        assert_eq!(names.has_reasons(), has_reasons, "{kernel}");
        assert_eq!(names.not_dropped_yet(), not_dropped, "{kernel}");
        assert_eq!(names.consumed(), consumed, "{kernel}");
    }
}

#[test]
fn reasons_of_subsystems_come_from_modules_and_from_the_kernel() {
    let mut names_612 = names("6.12");
    assert_eq!(names_612.name(196_609), "openvswitch:LAST_ACTION");
    assert_eq!(names_612.name(196_615), "openvswitch:DEFERRED_LIMIT");
    let mut names_73 = names("7.3");
    assert_eq!(names_73.name(131_073), "openvswitch:LAST_ACTION");
    assert_eq!(names_73.name(196_610), "qdisc:OVERLIMIT");
}

#[test]
fn reasons_without_a_name_are_numbers() {
    let mut names_612 = names("6.12");
    for (reason, expected) in [
        // The number of reasons is none of them.
        (104, "104"),
        (60_000, "60000"),
        // Start of the range, beyond its end, no BTF of that module, no such subsystem.
        (196_608, "openvswitch:0"),
        (196_700, "openvswitch:92"),
        (65_540, "mac80211_unusable:4"),
        (5 << 16 | 7, "subsys5:7"),
        (u32::MAX, "subsys65535:65535"),
    ] {
        assert_eq!(names_612.name(reason), expected, "{reason}");
    }
    assert_eq!(names("6.1").name(65_540), "65540");
    assert_eq!(names("5.10").name(2), "2");
}

#[test]
fn names_that_no_kernel_has_are_numbers() {
    let name = |to: &str| {
        let to = format!("SKB_DROP_REASON_{to}");
        let btf = fixture::btf_with_renamed("6.12", "SKB_DROP_REASON_UDP_CSUM", &to);
        ReasonNames::new(&btf, &folder("6.12")).name(10).to_owned()
    };
    assert_eq!(name("UDP_SUMS"), "UDP_SUMS");
    for hostile in [
        "A at=f+0",
        "A\nforged",
        "A\x1b[31mBC",
        "A\u{202e}BCDE",
        "ABCDEFG\x7f",
    ] {
        assert_eq!(name(hostile), "10", "{hostile:?}");
    }
}

#[test]
fn a_missing_folder_leaves_numbers() {
    let btf = Btf::load(Some(&folder("6.12").join("vmlinux"))).unwrap();
    let mut names = ReasonNames::new(&btf, Path::new("/no/such/folder"));
    assert_eq!(names.name(196_609), "openvswitch:1");
    assert_eq!(names.name(3), "NO_SOCKET");
}

#[test]
fn known_names_can_be_listed() {
    let names = names("7.3");
    let find = |name| names.known().find(|it| it.1 == name).map(|it| it.0);
    assert_eq!(find("NO_SOCKET"), Some(3));
    assert_eq!(find("qdisc:CONGESTED"), Some(196_611));
    assert_eq!(find("MAX"), None);
    assert_eq!(find("SUBSYS_MASK"), None);
}

fn enumerators(values: &[(&str, u32)]) -> Vec<Enumerator> {
    values
        .iter()
        .map(|&(name, value)| Enumerator {
            name: name.to_owned(),
            value: value.into(),
        })
        .collect()
}

/// The names that the subsystem's reasons get.
fn short(subsystem: u32, values: &[(&str, u32)]) -> Vec<String> {
    let values = enumerators(values);
    let reasons = reasons_of(subsystem, &values);
    let prefix = common_prefix(subsystem, &reasons);
    let strip = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_owned();
    reasons.iter().map(|(_, name)| strip(name)).collect()
}

#[test]
fn two_subsystems_share_the_enum_of_mac80211() {
    // As in net/mac80211/drop.h of 6.12.
    let values = [
        ("RX_CONTINUE", 1),
        ("RX_QUEUED", 0),
        ("RX_DROP_MONITOR", 0x2_0000),
        ("RX_DROP_M_UNEXPECTED_4ADDR_FRAME", 0x2_0001),
        ("RX_DROP_M_BAD_BCN_KEYIDX", 0x2_0002),
        ("RX_DROP_U_MIC_FAIL", 0x1_0001),
        ("RX_DROP_U_REPLAY", 0x1_0002),
    ];
    assert_eq!(short(1, &values), ["MIC_FAIL", "REPLAY"]);
    assert_eq!(
        short(2, &values),
        [
            "RX_DROP_MONITOR",
            "UNEXPECTED_4ADDR_FRAME",
            "BAD_BCN_KEYIDX"
        ]
    );
    assert_eq!(short(3, &values), Vec::<String>::new());
}

#[test]
fn prefixes_end_at_an_underscore_and_leave_a_name() {
    assert_eq!(
        short(1, &[("__X", 65536), ("X_ABC", 65537), ("X_ABD", 65538)]),
        ["ABC", "ABD"]
    );
    assert_eq!(short(1, &[("X_DROP_ONLY", 65537)]), ["X_DROP_ONLY"]);
    assert_eq!(short(1, &[("ABC", 65537), ("XYZ", 65538)]), ["ABC", "XYZ"]);
    assert_eq!(
        short(1, &[("___R_A", 65537), ("___R_B", 65538)]),
        ["A", "B"]
    );
    assert_eq!(short(1, &[("é_a", 65537), ("è_b", 65538)]), ["é_a", "è_b"]);
}

/// The numbers that a pattern stands for, as `1-3,7`.
fn numbers(names: &mut ReasonNames, pattern: &str) -> String {
    let ranges = match names.matching(pattern) {
        Ok(ranges) => ranges,
        Err(error) => return format!("{error:#}"),
    };
    for pair in ranges.windows(2) {
        assert!(pair[0].end() + 1 < *pair[1].start(), "{ranges:?}");
    }
    let ranges = ranges
        .iter()
        .map(|range| match (range.start(), range.end()) {
            (start, end) if start == end => start.to_string(),
            (start, end) => format!("{start}-{end}"),
        });
    ranges.collect::<Vec<_>>().join(",")
}

#[test]
fn patterns_stand_for_numbers() {
    for (kernel, pattern, expected) in [
        ("6.1", "NO_SOCKET", "2"),
        ("6.12", "NO_SOCKET", "3"),
        ("7.3", "no_socket", "3"),
        ("7.3", "SKB_DROP_REASON_NO_SOCKET", "3"),
        ("7.3", "skb_drop_reason_tcp_ofo*", "35,52-53"),
        ("6.1", "TCP_MD5*", "17-19"),
        ("6.12", "tcp_old_*", "32,36,43"),
        ("6.12", "TCP_?SUM", "9"),
        ("6.12", "?CP_CSUM", "9"),
        ("6.12", "3", "3"),
        ("6.12", "0x3", "3"),
        // Of the number 0 and of what was consumed, neither is a drop.
        ("6.12", "*SOCKET*", "3-6,28"),
        ("6.12", "openvswitch", "196608-262143"),
        ("6.12", "OpenVSwitch:*", "196608-262143"),
        ("6.12", "openvswitch:LAST_ACTION", "196609"),
        ("6.12", "openvswitch:*action*", "196609-196610"),
        ("6.12", "SKB_DROP_REASON_openvswitch:last_action", "196609"),
        ("6.12", "0x30001", "196609"),
        ("6.12", "openvswitch:92", "196700"),
        // That module is not loaded.
        ("6.12", "mac80211_unusable", "65536-131071"),
        ("6.12", "mac80211_unusable:*", "65536-131071"),
        ("6.12", "mac80211_*", "65536-196607"),
        ("6.12", "mac80211_unusable:4", "65540"),
        ("6.12", "65540", "65540"),
        ("6.12", "*", "2-103,65536-262143"),
        ("6.1", "*", "1-64"),
        ("7.3", "openvswitch:LAST_ACTION", "131073"),
        ("7.3", "qdisc:overlimit", "196610"),
        ("7.3", "qdisc", "196608-262143"),
    ] {
        let found = numbers(&mut names(kernel), pattern);
        assert_eq!(found, expected, "{pattern} on {kernel}");
    }
}

#[test]
fn patterns_for_nothing_are_errors_that_help() {
    for (kernel, pattern, parts) in [
        (
            "6.12",
            "NOSOCKET",
            &[
                "no drop reason named 'NOSOCKET'",
                "it has NO_SOCKET",
                "--list-reasons",
            ][..],
        ),
        ("6.12", "openvswich", &["it has openvswitch"]),
        (
            "6.12",
            "openvswitch:LASTACTION",
            &["openvswitch:LAST_ACTION"],
        ),
        ("6.12", "TCPX_*", &["no drop reason that fits 'TCPX_*'"]),
        (
            "6.12",
            "mac80211_unusable:X",
            &["while its module is loaded"],
        ),
        // Those that are no drops, and what is no reason.
        ("6.12", "SKB_CONSUMED", &["no drop reason named"]),
        ("6.12", "SKB_NOT_DROPPED_YET", &["no drop reason named"]),
        ("6.12", "MAX", &["no drop reason named"]),
        ("6.12", "0", &["no drop reason 0;"]),
        ("6.12", "1", &["no drop reason 1;"]),
        ("6.12", "104", &["no drop reason 104;"]),
        ("6.12", "0x50001", &["no drop reason 0x50001;"]),
        ("6.12", "", &["no drop reason named ''"]),
        ("6.12", "a:b", &["no drop reason named 'a:b'"]),
        ("6.12", "openvswitch:70000", &["no drop reason named"]),
        // It came later.
        ("6.1", "QUEUE_PURGE", &["no drop reason named"]),
        ("6.1", "openvswitch", &["no drop reason named"]),
        (
            "5.10",
            "NO_SOCKET",
            &["'NO_SOCKET'", "gives no drop reasons (5.17"],
        ),
        ("5.10", "2", &["gives no drop reasons (5.17"]),
    ] {
        let error = names(kernel).matching(pattern).unwrap_err();
        let error = format!("{error:#}");
        for part in parts {
            assert!(error.contains(part), "{pattern} on {kernel}: {error}");
        }
    }
}

/// What a line shows is a pattern for that reason and no other.
#[test]
fn printed_reasons_are_patterns() {
    for kernel in ["6.1", "6.12", "7.3"] {
        let mut names = names(kernel);
        let all = names.all();
        assert!(all.len() > 60, "{kernel}");
        for reason in all {
            let printed = names.name(reason.number).to_owned();
            let found = numbers(&mut names, &printed);
            assert_eq!(found, reason.number.to_string(), "{printed} on {kernel}");
        }
    }
}

#[test]
fn all_reasons_are_listed_in_order() {
    for (kernel, count, last) in [
        ("5.10", 0, None),
        ("6.1", 64, Some((64, None, "PKT_TOO_BIG"))),
        ("6.12", 113, Some((196_619, Some("openvswitch"), "IP_TTL"))),
        (
            "7.3",
            144,
            Some((196_617, Some("qdisc"), "L4S_STEP_NON_ECN")),
        ),
    ] {
        let all = names(kernel).all();
        assert!(all.is_sorted(), "{kernel}");
        let found = all.last();
        let found = found.map(|it| (it.number, it.subsystem.as_deref(), it.name.as_str()));
        assert_eq!((all.len(), found), (count, last), "{kernel}");
        let numbers: Vec<_> = all.iter().map(|it| it.number).collect();
        let not_dropped = names(kernel).not_dropped_yet();
        assert!(
            not_dropped.is_none_or(|it| !numbers.contains(&it)),
            "{kernel}"
        );
        let consumed = names(kernel).consumed();
        assert!(consumed.is_none_or(|it| !numbers.contains(&it)), "{kernel}");
    }
}
