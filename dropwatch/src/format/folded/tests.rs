use super::*;

const TIME: DropTime = DropTime {
    boot_ns: 0,
    unix_ns: 0,
};

const ACCOUNT: Account = Account {
    seen: 26,
    printed: 0,
    counted: Some(22),
    hidden: 0,
    filtered: 0,
    sampled_out: 0,
    limited: 0,
    lost: 4,
};

fn counts(drops: u64) -> Counts {
    Counts {
        drops,
        packets: 2 * drops,
        bytes: 100 * drops,
    }
}

type Values<'a> = &'a [(Dimension, &'a str)];

fn written(format: &mut dyn Summary, groups: &[(u64, Option<Values<'_>>)]) -> String {
    let mut text = Vec::new();
    for (drops, group) in groups {
        format.write(TIME, counts(*drops), *group, &mut text);
    }
    assert!(text.is_empty(), "all of it comes at the end");
    format.write_account(&ACCOUNT, &mut text);
    String::from_utf8(text).unwrap()
}

fn folded(depth: u32, groups: &[(u64, Option<Values<'_>>)]) -> String {
    written(&mut FoldedSummary::new(depth), groups)
}

#[test]
fn from_the_outermost_caller_to_the_reason() {
    let groups: &[(u64, Option<Values<'_>>)] = &[
        (
            7,
            Some(&[
                (Dimension::Reason, "NO_SOCKET"),
                (Dimension::At, "udp_rcv+0x4bc"),
                (Dimension::If, "eth0"),
                (Dimension::Netns, "blue"),
                (Dimension::Stack, "ip_rcv+0x1,deliver+0x2[veth],0xffff8000"),
            ]),
        ),
        (4, None),
    ];
    assert_eq!(
        folded(64, groups),
        "if=eth0;netns=blue;0xffff8000;deliver[veth];ip_rcv;udp_rcv+0x4bc;NO_SOCKET 7\nother 4\n"
    );
}

#[test]
fn stacks_that_differ_in_offsets_alone_are_one() {
    let group = |stack| [(Dimension::At, "f+0x1"), (Dimension::Stack, stack)];
    let (first, second) = (group("g+0x1,h+0x1"), group("g+0x9,h+0x1"));
    assert_eq!(
        folded(64, &[(1, Some(&first)), (2, Some(&second))]),
        "h;g;f+0x1 3\n"
    );
}

#[test]
fn what_may_be_cut_says_so_and_what_is_unknown_as_well() {
    let group = |stack| [(Dimension::At, "f+0x1"), (Dimension::Stack, stack)];
    let (cut, unknown) = (group("g+0x1,h+0x1"), group("-"));
    assert_eq!(
        folded(2, &[(1, Some(&cut)), (2, Some(&unknown))]),
        "-;f+0x1 2\n[--stack 2 reached];h;g;f+0x1 1\n"
    );
}

#[test]
fn a_hostile_name_stays_one_frame() {
    let group = [
        (Dimension::At, "f+0x1"),
        (Dimension::Comm, "a;b\\x20</text><script>"),
        (Dimension::Stack, "g+0x1"),
    ];
    let groups: &[(u64, Option<Values<'_>>)] = &[(1, Some(&group))];
    assert_eq!(
        folded(64, groups),
        "comm=a\\x3bb\\x20</text><script>;g;f+0x1 1\n"
    );
    let svg = written(&mut FlameGraph::new(64, "a<b".to_owned()), groups);
    assert!(svg.contains("comm=a\\x3bb\\x20&lt;/text&gt;&lt;script&gt;"));
    assert_eq!(svg.matches("<script").count(), 1, "the picture's own");
}

#[test]
fn a_hostile_host_name_controls_nothing() {
    let mut graph = FlameGraph::new(64, "a\x1b[31m\n\u{202e}<b>".to_owned());
    let group = [(Dimension::At, "f+0x1"), (Dimension::Stack, "g+0x1")];
    for groups in [&[][..], &[(1, Some(&group[..]))]] {
        let svg = written(&mut graph, groups);
        assert!(
            svg.contains(r"kernel of a\u{1b}[31m\n\u{202e}&lt;b"),
            "{svg}"
        );
        assert!(!svg.contains(['\x1b', '\u{202e}']));
    }
}

#[test]
fn the_picture_has_frames_colors_and_the_account() {
    let group = [
        (Dimension::Reason, "NO_SOCKET"),
        (Dimension::At, "udp_rcv+0x4bc"),
        (Dimension::Stack, "ip_rcv+0x1,deliver+0x2[veth]"),
    ];
    let mut graph = FlameGraph::new(64, "lab (Linux 6.12)".to_owned());
    let svg = written(&mut graph, &[(22, Some(&group))]);
    for expected in [
        ">Packets dropped by the kernel of lab (Linux 6.12)</text>",
        ">26 seen = 22 counted + 4 lost</text>",
        "<title>all (22 drops, 100%)</title>",
        "<title>udp_rcv+0x4bc (22 drops, 100.00%)</title>",
        "<title>deliver[veth] (22 drops, 100.00%)</title>",
        "<title>NO_SOCKET (22 drops, 100.00%)</title>",
    ] {
        assert!(svg.contains(expected), "{expected} in {svg}");
    }
    assert!(svg.ends_with("</svg>\n"));
    // The reason lies on the call site, which lies on its callers.
    let y = |name: &str| -> u64 {
        let (_, frame) = svg.split_once(&format!("<title>{name} (")).unwrap();
        let (_, y) = frame.split_once(" y=\"").unwrap();
        y.split_once('"').unwrap().0.parse().unwrap()
    };
    let heights = ["NO_SOCKET", "udp_rcv+0x4bc", "ip_rcv", "deliver[veth]"].map(y);
    assert!(heights.is_sorted(), "{heights:?}");
    let again = written(
        &mut FlameGraph::new(64, "lab (Linux 6.12)".to_owned()),
        &[(22, Some(&group))],
    );
    assert_eq!(svg, again, "the same drops make the same picture");
}

#[test]
fn colors_tell_kinds_of_frames() {
    let red = color(Kind::Reason, "NO_SOCKET");
    let site = color(Kind::CallSite, "f+0x1");
    let caller = color(Kind::Caller, "g");
    assert!(red.r > red.b && site.r > site.b && caller.r < caller.b);
    assert_ne!(color(Kind::Caller, "g"), color(Kind::Caller, "g[veth]"));
}

#[test]
fn no_drops_make_a_picture_that_says_so() {
    let svg = written(&mut FlameGraph::new(64, "a<b".to_owned()), &[]);
    assert!(svg.starts_with("<svg ") && svg.contains("of a&lt;b<"));
    assert!(
        svg.contains("no drops: 26 seen = 22 counted + 4 lost"),
        "{svg}"
    );
    assert_eq!(folded(64, &[]), "");
}
