use super::*;

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
        (100, "100"),
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
