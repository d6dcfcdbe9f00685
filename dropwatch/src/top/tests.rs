//! The view on a terminal in memory.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::{Color, Modifier},
};

use super::{Action, App, Options};
use crate::groups::{Counts, Dimension, Groups};

const BY: [Dimension; 7] = [
    Dimension::Reason,
    Dimension::At,
    Dimension::Proto,
    Dimension::Saddr,
    Dimension::Daddr,
    Dimension::Dport,
    Dimension::Comm,
];

/// The values of a group, and its totals since the start.
type Group = (Vec<String>, Counts);

/// A view, what it shows, and its clock.
struct Screen {
    app: App,
    groups: Groups,
    /// Totals that `groups` has been given.
    given: HashMap<Vec<String>, Counts>,
    terminal: Terminal<TestBackend>,
    started: Instant,
}

impl Screen {
    fn new(width: u16, height: u16) -> Self {
        let started = Instant::now();
        let options = Options {
            host: "lab".to_owned(),
            kernel: "6.18.0".to_owned(),
            filters: "--comm curl".to_owned(),
            interval: Duration::from_secs(1),
            started,
            color: true,
        };
        Self {
            app: App::new(options, &BY),
            groups: Groups::new(&BY, 1 << 20),
            given: HashMap::new(),
            terminal: Terminal::new(TestBackend::new(width, height)).unwrap(),
            started,
        }
    }

    fn at(&mut self, second: u64, groups: Vec<Group>) {
        for (values, total) in groups {
            let texts: Vec<&str> = values.iter().map(String::as_str).collect();
            let before = self.given.get(&values).copied().unwrap_or_default();
            self.groups.add_values(&texts, total - before);
            self.given.insert(values, total);
        }
        self.groups.begin_reading(Counts::default());
        let at = self.started + Duration::from_secs(second);
        let account = "9 seen = 7 printed + 2 lost".to_owned();
        self.app.update(&self.groups, at, account);
    }

    fn key(&mut self, key: impl Into<KeyEvent>) -> Action {
        self.app.key(&self.groups, key.into())
    }

    fn keys(&mut self, keys: &str) {
        for char in keys.chars() {
            let code = match char {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                '\x08' => KeyCode::Backspace,
                '\t' => KeyCode::Tab,
                _ => KeyCode::Char(char),
            };
            assert_eq!(self.key(code), Action::Continue, "{code:?}");
        }
    }

    fn code(&mut self, code: KeyCode) {
        assert_eq!(self.key(code), Action::Continue);
    }

    /// The lines of the screen without white space at their ends.
    fn lines(&mut self) -> Vec<String> {
        let (app, groups) = (&mut self.app, &self.groups);
        self.terminal
            .draw(|frame| app.render(groups, frame))
            .unwrap();
        let buffer = self.terminal.backend().buffer();
        let width = usize::from(buffer.area.width).max(1);
        let lines = buffer.content.chunks(width).map(|cells| {
            let line: String = cells.iter().map(|cell| cell.symbol()).collect();
            line.trim_end().to_owned()
        });
        lines.collect()
    }

    /// The lines below that with the columns' names, without the keys.
    fn rows(&mut self) -> Vec<String> {
        let lines = self.lines();
        let header = lines
            .iter()
            .position(|line| line.contains("DROPS/S") || line.contains("LAST PACKETS"))
            .expect("a header");
        let rows = &lines[header + 1..lines.len() - 1];
        rows.iter().filter(|row| !row.is_empty()).cloned().collect()
    }

    /// The last word of each row.
    fn values(&mut self) -> Vec<String> {
        let last = |row: String| row.rsplit(' ').next().unwrap_or_default().to_owned();
        self.rows().into_iter().map(last).collect()
    }

    fn has(&mut self, text: &str) -> bool {
        self.lines().iter().any(|line| line.contains(text))
    }
}

fn group(values: [&str; 7], drops: u64) -> Group {
    let counts = Counts {
        drops,
        packets: drops * 2,
        bytes: drops * 100,
    };
    (values.map(str::to_owned).to_vec(), counts)
}

/// Three reasons; the first one at two places.
fn groups(a: u64, b: u64, c: u64, d: u64) -> Vec<Group> {
    vec![
        group(
            [
                "NO_SOCKET",
                "udp_rcv+0x1",
                "udp",
                "10.0.0.9",
                "10.0.0.1",
                "53",
                "dig",
            ],
            a,
        ),
        group(
            [
                "NO_SOCKET",
                "tcp_rcv+0x2",
                "tcp",
                "10.0.0.10",
                "10.0.0.1",
                "443",
                "curl",
            ],
            b,
        ),
        group(
            [
                "NETFILTER_DROP",
                "nft+0x3",
                "tcp",
                "10.0.0.10",
                "10.0.0.1",
                "443",
                "curl",
            ],
            c,
        ),
        group(["QUEUE_PURGE", "purge+0x4", "-", "-", "-", "-", "dig"], d),
    ]
}

#[test]
fn a_screen() {
    let mut screen = Screen::new(100, 14);
    screen.at(1, groups(10, 5, 4, 1));
    screen.at(3, groups(10, 5, 24, 2));
    let expected = [
        "dropwatch top   lab   Linux 6.18.0   up 00:00:03   every 1 s",
        "    10 drops/s    21 packets/s 1.05k bytes/s         41 drops in all",
        "9 seen = 7 printed + 2 lost",
        "filters --comm curl",
        "",
        "1 reason  2 at  3 flow  4 proto  5 saddr  6 daddr  7 dport  8 comm  9 packets",
        "all",
        "     # ▼DROPS/S  PACKETS/S  BYTES/S     TOTAL SHARE LAST MINUTE          REASON",
        "     1       10         20    1.00k        24 58.5%                   █  NETFILTER_DROP",
        "     2      0.5        1.0       50         2  4.9%                   █  QUEUE_PURGE",
        "     3        0          0        0        15 36.6%                   █  NO_SOCKET",
    ];
    let lines = screen.lines();
    assert_eq!(lines[..expected.len()], expected, "{lines:#?}");
    assert!(lines[13].starts_with("? help  q quit"));
}

#[test]
fn what_is_lost_is_seen() {
    let mut screen = Screen::new(100, 14);
    screen.at(1, groups(1, 1, 1, 1));
    screen.lines();
    let buffer = screen.terminal.backend().buffer();
    let (colors, bold): (Vec<_>, Vec<_>) = (0..27)
        .map(|x| &buffer[(x, 2)])
        .map(|cell| (cell.fg, cell.modifier.contains(Modifier::BOLD)))
        .unzip();
    assert_eq!(colors[21..], [Color::Red; 6]);
    assert_eq!(bold[21..], [true; 6]);
    assert_eq!(colors[..18], [Color::DarkGray; 18]);
}

#[test]
fn without_colors_nothing_is_colored() {
    let mut screen = Screen::new(100, 14);
    screen.app.options.color = false;
    screen.at(1, groups(1, 1, 1, 1));
    screen.keys(" ");
    for keys in ["", "?", " /x"] {
        screen.keys(keys);
        screen.lines();
        let cells = &screen.terminal.backend().buffer().content;
        let plain = |color| color == Color::Reset;
        assert!(cells.iter().all(|cell| plain(cell.fg) && plain(cell.bg)));
    }
}

#[test]
fn rows_are_sorted_by_any_column() {
    let mut screen = Screen::new(120, 20);
    screen.at(1, groups(10, 5, 4, 30));
    screen.at(2, groups(10, 5, 24, 31));
    assert_eq!(
        screen.values(),
        ["NETFILTER_DROP", "QUEUE_PURGE", "NO_SOCKET"]
    );
    screen.keys("sss");
    assert!(screen.has("▼TOTAL"));
    assert_eq!(
        screen.values(),
        ["QUEUE_PURGE", "NETFILTER_DROP", "NO_SOCKET"]
    );
    screen.keys("r");
    assert!(screen.has("▲TOTAL"));
    assert_eq!(
        screen.values(),
        ["NO_SOCKET", "NETFILTER_DROP", "QUEUE_PURGE"]
    );
    screen.keys(">");
    assert!(screen.has("REASON▲"));
    assert_eq!(
        screen.values(),
        ["NETFILTER_DROP", "NO_SOCKET", "QUEUE_PURGE"]
    );
    screen.keys("s");
    assert!(screen.has("▼DROPS/S"));
    screen.keys("<");
    assert!(screen.has("REASON▲"));
}

#[test]
fn down_to_the_packets_and_back() {
    let mut screen = Screen::new(120, 20);
    screen.at(1, groups(10, 5, 4, 1));
    screen
        .app
        .packet("07:30:01 NO_SOCKET udp 10.0.0.9:1 > 10.0.0.1:53 len=1 at=udp_rcv+0x1\n");
    screen
        .app
        .packet("07:30:02 NO_SOCKET tcp 10.0.0.10:1 > 10.0.0.1:443 len=1 at=tcp_rcv+0x2\n");
    screen.keys("\n");
    assert!(screen.has("all > reason NO_SOCKET"));
    assert_eq!(screen.values(), ["udp_rcv+0x1", "tcp_rcv+0x2"]);
    screen.keys("j\n");
    assert!(screen.has("all > reason NO_SOCKET > at tcp_rcv+0x2"));
    assert_eq!(screen.rows().len(), 1);
    assert!(
        screen.rows()[0].ends_with(" tcp    10.0.0.10 10.0.0.1 443"),
        "{:?}",
        screen.rows()
    );
    screen.keys("\n");
    assert!(screen.has("tcp_rcv+0x2 > flow tcp 10.0.0.10 10.0.0.1 443"));
    assert_eq!(screen.rows().len(), 1);
    assert!(screen.rows()[0].starts_with("07:30:02"));
    screen
        .app
        .packet("07:30:03 NO_SOCKET tcp 10.0.0.10:1 > 10.0.0.1:443 len=1 at=tcp_rcv+0x2\n");
    screen
        .app
        .packet("07:30:04 NO_SOCKET udp 10.0.0.10:1 > 10.0.0.1:443 len=1 at=tcp_rcv+0x2\n");
    assert_eq!(screen.rows().len(), 2);
    assert!(screen.rows()[0].starts_with("07:30:03"));
    screen.keys("\n");
    assert!(screen.has("at        tcp_rcv+0x2"));
    screen.keys("x\x08\x08");
    assert!(screen.has("all > reason NO_SOCKET"));
    // The cursor is where it was.
    screen.keys("\n");
    assert!(screen.has("> at tcp_rcv+0x2"));
    screen.keys("\x1b\x1b\x1b");
    assert!(screen.lines().contains(&"all".to_owned()));
}

#[test]
fn packets_that_are_read_stay_in_place() {
    let mut screen = Screen::new(80, 12);
    screen.at(1, groups(1, 1, 1, 1));
    screen.keys("9");
    for number in 0..30 {
        screen.app.packet(&format!("line {number}"));
    }
    assert_eq!(screen.rows()[0], "line 29");
    screen.code(KeyCode::PageDown);
    screen.keys("jj");
    let before = screen.rows();
    screen.app.packet("line 30");
    assert_eq!(screen.rows(), before);
}

#[test]
fn a_pause_stands_still_but_counts() {
    let mut screen = Screen::new(120, 20);
    screen.at(1, groups(1, 1, 1, 1));
    screen.keys(" ");
    let still = screen.lines();
    assert!(still[0].ends_with(" PAUSED"), "{still:?}");
    screen.at(2, groups(5, 5, 500, 5));
    screen.app.packet("a line");
    assert_eq!(screen.lines(), still);
    screen.at(3, groups(5, 5, 600, 5));
    screen.keys(" ");
    assert!(!screen.has("PAUSED"));
    assert!(screen.has("615 drops in all"));
    assert!(screen.rows()[0].contains(" 100 "), "{:?}", screen.rows());
}

#[test]
fn a_pause_stands_still_when_groups_come() {
    let mut screen = Screen::new(120, 20);
    screen.at(1, groups(1, 2, 3, 4));
    screen.keys(" ");
    let still = screen.lines();
    for second in 2..5 {
        let reason = format!("OTHER_{second}");
        screen.at(
            second,
            vec![group([&reason, "a", "b", "c", "d", "e", "f"], 100)],
        );
        assert_eq!(screen.lines(), still);
    }
    screen.keys(" ");
    assert_eq!(screen.values()[0], "OTHER_4");
    assert_eq!(screen.values().len(), 6);
}

#[test]
fn a_group_that_came_between_readings_is_not_shown_yet() {
    let mut screen = Screen::new(120, 20);
    screen.at(1, groups(1, 2, 3, 4));
    let one = Counts {
        drops: 1,
        packets: 1,
        bytes: 1,
    };
    screen.groups.add_values(&["NEW"], one);
    screen.keys("21");
    assert!(screen.has("10 drops in all"));
    assert_eq!(screen.values().len(), 3);
    screen.at(2, Vec::new());
    assert!(screen.has("11 drops in all"));
    assert_eq!(screen.values()[0], "NEW");
}

#[test]
fn the_filter_is_of_words_in_any_case() {
    let mut screen = Screen::new(120, 20);
    screen.at(1, groups(10, 5, 4, 1));
    screen.keys("3/TCP 443");
    assert!(screen.has("filter: TCP 443"));
    assert_eq!(screen.rows().len(), 1);
    screen.keys("\n");
    assert!(screen.has("/TCP 443"));
    assert_eq!(screen.rows().len(), 1);
    screen.keys("/\x08\x08\x08\x08\x08\x08\x08q");
    assert_eq!(screen.rows(), ["nothing matches the filter"]);
    screen.keys("\x1b");
    assert_eq!(screen.rows().len(), 3);
    // Kept, and cleared by Esc before that goes up.
    screen.keys("/udp\n");
    assert_eq!(screen.rows().len(), 1);
    screen.keys("\x1b");
    assert_eq!(screen.rows().len(), 3);
}

#[test]
fn grouped_by_something_else() {
    let mut screen = Screen::new(120, 20);
    screen.at(1, groups(10, 5, 4, 1));
    screen.keys("8");
    assert_eq!(screen.values(), ["dig", "curl"]);
    screen.keys("j\n");
    assert!(screen.has("all > comm curl"));
    assert_eq!(screen.values(), ["NO_SOCKET", "NETFILTER_DROP"]);
    // What is settled can't be chosen.
    screen.keys("8");
    assert_eq!(screen.values(), ["NO_SOCKET", "NETFILTER_DROP"]);
    screen.keys("\t");
    assert_eq!(screen.values(), ["tcp_rcv+0x2", "nft+0x3"]);
    screen.code(KeyCode::BackTab);
    assert_eq!(screen.values(), ["NO_SOCKET", "NETFILTER_DROP"]);
}

#[test]
fn the_cursor_stays_on_the_row_it_was_moved_to() {
    let mut screen = Screen::new(120, 20);
    let selected = |screen: &mut Screen| {
        let rows = screen.values();
        rows[screen.app.window.cursor].clone()
    };
    screen.at(1, groups(10, 5, 4, 1));
    assert_eq!(selected(&mut screen), "NO_SOCKET");
    screen.at(2, groups(10, 5, 400, 1));
    // Not moved yet: always the first one.
    assert_eq!(selected(&mut screen), "NETFILTER_DROP");
    screen.keys("j");
    let row = selected(&mut screen);
    screen.at(3, groups(10, 5, 400, 1000));
    assert_eq!(selected(&mut screen), row);
    screen.code(KeyCode::Home);
    assert_eq!(screen.app.window.cursor, 0);
    screen.code(KeyCode::End);
    assert_eq!(screen.app.window.cursor, 2);
}

#[test]
fn keys_that_end() {
    let mut screen = Screen::new(80, 20);
    assert_eq!(screen.key(KeyCode::Char('q')), Action::Quit);
    let control = |char| KeyEvent::new(KeyCode::Char(char), KeyModifiers::CONTROL);
    screen.keys("/q");
    assert_eq!(screen.key(control('c')), Action::Quit);
    assert_eq!(screen.key(control('z')), Action::Suspend);
    assert_eq!(screen.key(control('l')), Action::Redraw);
}

#[test]
fn hostile_values_do_not_reach_the_terminal() {
    let mut screen = Screen::new(120, 20);
    let hostile = "\x1b[2J\u{202e}漢\n\u{7}";
    screen.at(1, vec![group([hostile; 7], 1)]);
    screen.app.packet(hostile);
    screen.app.options.host = hostile.to_owned();
    screen.app.options.filters = hostile.to_owned();
    for keys in ["", "3", "\n", "9", "\n"] {
        screen.keys(keys);
        let text = screen.lines().concat();
        assert!(text.contains('?'));
        let is_fine =
            |char: char| matches!(char, ' '..='~' | '…' | '▁'..='█' | '▼' | '▲' | '─'..='┘');
        assert!(text.chars().all(is_fine), "{text}");
    }
}

#[test]
fn every_size_is_drawn() {
    let mut screen = Screen::new(1, 1);
    screen.at(1, groups(10, 5, 4, 1));
    screen.app.packet("a line");
    for keys in ["", "3", "9", "\n", "x?", "x/"] {
        screen.keys(keys);
        for (width, height) in [
            (0, 0),
            (1, 1),
            (20, 5),
            (7, 40),
            (300, 2),
            (80, 24),
            (20, 3),
        ] {
            screen.terminal.backend_mut().resize(width, height);
            screen.lines();
        }
    }
    screen.keys("\x1b1");
    screen.terminal.backend_mut().resize(20, 5);
    assert_eq!(
        screen.lines()[1..4],
        [
            "▼DROPS/S REASON",
            "      15 NO_SOCKET",
            "     4.0 NETFILTER_…"
        ]
    );
}

#[test]
fn the_help_fits_a_usual_screen() {
    let mut screen = Screen::new(80, 24);
    screen.keys("h");
    assert!(screen.has("Ctrl-C") && screen.has("missing in all of these numbers"));
    screen.keys("x");
    assert!(!screen.has("Ctrl-C"));
    screen.code(KeyCode::F(1));
    assert!(screen.has("Ctrl-C"));
}

#[test]
fn a_hundred_thousand_flows() {
    const FLOWS: u64 = 100_000;
    let flows = |round: u64| -> Vec<Group> {
        let flow = |number: u64| {
            let source = format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255);
            let values = [
                "NO_SOCKET",
                "udp_rcv+0x1",
                "udp",
                &source,
                "10.0.0.1",
                "53",
                "dig",
            ];
            group(values, round * (1 + number % 1000))
        };
        (0..FLOWS).map(flow).collect()
    };
    let mut screen = Screen::new(120, 20);
    screen.keys("3");
    for round in 1..4 {
        screen.at(round, flows(round));
        screen.keys("3");
        assert_eq!(screen.app.len(), FLOWS as usize);
        assert!(screen.rows()[0].contains("1.00k"), "{:?}", screen.rows());
    }
    screen.keys("/10.1.134.159\n");
    assert_eq!(screen.rows().len(), 1);
    assert!(
        screen.rows()[0].ends_with("udp    10.1.134.159 10.0.0.1 53"),
        "{:?}",
        screen.rows()
    );
}

fn any_group() -> impl Strategy<Value = Group> {
    let value = prop_oneof!["[a-c-]{1,2}", "[0-9]{1,3}", "\\PC{0,30}"];
    let drops = prop_oneof![0..10_u64, any::<u64>()];
    let values = prop::collection::vec(value.prop_map(String::from), 5..9);
    (values, drops).prop_map(|(values, drops)| {
        let counts = Counts {
            drops,
            packets: drops,
            bytes: drops,
        };
        (values, counts)
    })
}

#[derive(Clone, Debug)]
enum Step {
    Key(KeyCode),
    Reading(u64, Vec<Group>),
    Line(String),
    Size(u16, u16),
}

fn any_step() -> impl Strategy<Value = Step> {
    let codes = [
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Backspace,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::F(1),
    ];
    let chars: Vec<char> = "?h/sS<>r 123456789jkgGab-é".chars().collect();
    prop_oneof![
        6 => prop::sample::select(codes.to_vec()).prop_map(Step::Key),
        6 => prop::sample::select(chars).prop_map(|char| Step::Key(KeyCode::Char(char))),
        3 => (0..100_u64, prop::collection::vec(any_group(), 0..8))
            .prop_map(|(seconds, groups)| Step::Reading(seconds, groups)),
        1 => "(x NO udp [0-9:.\\[\\]]{0,9} > )?\\PC{0,60}".prop_map(Step::Line),
        1 => (0..130_u16, 0..40_u16).prop_map(|(width, height)| Step::Size(width, height)),
    ]
}

proptest! {
    // A case is up to 60 frames.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_panics(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut screen = Screen::new(80, 24);
        let mut second = 0;
        for step in steps {
            match step {
                Step::Key(code) => {
                    screen.key(code);
                }
                Step::Reading(seconds, groups) => {
                    second += seconds;
                    screen.at(second, groups);
                }
                Step::Line(line) => screen.app.packet(&line),
                Step::Size(width, height) => screen.terminal.backend_mut().resize(width, height),
            }
            screen.lines();
            prop_assert!(screen.app.window.cursor < screen.app.len().max(1));
        }
    }
}
