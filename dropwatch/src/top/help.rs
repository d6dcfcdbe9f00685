//! The help.

use ratatui::text::{Line, Span};

use super::theme::Theme;

/// Keys and what they do; what has no key is said beside.
const HELP: &[(&str, &str)] = &[
    ("Up Down k j", "move; PgUp PgDn Home End as well"),
    (
        "Enter Right",
        "open the row: reason, call site, flow, its packets",
    ),
    ("Esc Backspace", "back up; Esc clears a filter first"),
    ("Tab 1-9", "group the drops here by something else"),
    ("/", "show rows with these words only, in capitals or not"),
    ("s S  > <", "sort by the next column, the one before"),
    ("r", "reverse the order"),
    ("space", "stand still; counting goes on"),
    ("Ctrl-L Ctrl-Z", "draw anew; suspend"),
    ("q Ctrl-C", "quit"),
    ("", ""),
    ("DROPS/S …", "in the last interval"),
    (
        "PACKETS/S",
        "on the wire: a GSO packet counts as its segments",
    ),
    ("SHARE", "of all drops of this level since the start"),
    (
        "LAST MINUTE",
        "3 s a column, the row's highest is full; empty: none",
    ),
    ("", "or not looked at yet"),
    ("lost", "drops that are missing in all of these numbers"),
];

/// The help, line by line.
pub(super) fn lines(theme: Theme) -> Vec<Line<'static>> {
    let line = |(key, meaning): &(&'static str, &'static str)| {
        Line::from(vec![
            Span::styled(format!("{key:<15}"), theme.accent()),
            Span::raw(*meaning),
        ])
    };
    HELP.iter().map(line).collect()
}
