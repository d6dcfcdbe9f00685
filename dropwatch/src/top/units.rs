//! Numbers and texts as the view shows them.

use std::{borrow::Cow, time::Duration};

/// A rate or size in at most five columns: `0`, `0.3`, `42`, `12.3k`, `4.56M`.
pub(super) fn short(value: f64) -> String {
    const UNITS: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    if value <= 0.0 {
        return "0".to_owned();
    }
    if value < 9.95 {
        return format!("{value:.1}");
    }
    if value < 999.5 {
        return format!("{value:.0}");
    }
    let mut value = value;
    let mut unit = "";
    for next in UNITS {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let decimals = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{unit}")
}

/// A count: to the last digit as long as it fits into nine columns.
pub(super) fn count(value: u64) -> String {
    if value < 1_000_000_000 {
        value.to_string()
    } else {
        short(value as f64)
    }
}

/// `part` of `whole` in percent, `-` of nothing.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    // What is not all must not look as if it were.
    let percent = if part < whole {
        percent.min(99.9)
    } else {
        percent
    };
    if percent >= 99.95 {
        "100%".to_owned()
    } else {
        format!("{percent:.1}%")
    }
}

/// Hours, minutes and seconds, and days if there are any.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours) = (seconds / 86400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    let clock = format!("{hours:02}:{minutes:02}:{seconds:02}");
    if days > 0 {
        format!("{days}d {clock}")
    } else {
        clock
    }
}

/// Rates as blocks of eight heights, the greatest of them the highest.
pub(super) fn sparkline(rates: &[f32]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let greatest = rates.iter().copied().fold(0.0, f32::max);
    let block = |rate: &f32| {
        if *rate <= 0.0 {
            return ' ';
        }
        let height = (rate / greatest * BLOCKS.len() as f32).ceil() as usize;
        let block = BLOCKS.get(height.saturating_sub(1));
        block.copied().unwrap_or('█')
    };
    rates.iter().map(block).collect()
}

/// A text as a terminal may see it: one column for each character. Texts come escaped; what is not
/// visible ASCII all the same becomes `?`, only the `…` of a cut line stays.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let is_plain = |char: char| matches!(char, ' '..='~' | '…');
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let replaced = text.chars();
    Cow::Owned(
        replaced
            .map(|char| if is_plain(char) { char } else { '?' })
            .collect(),
    )
}

/// Which part of a text that does not fit is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The end.
    End,
    /// The middle: function and offset both tell something.
    Middle,
    /// The start.
    Start,
}

/// At most `width` columns of a plain text, with `…` for what is left out.
pub(super) fn fit(text: &str, width: usize, cut: Cut) -> Cow<'_, str> {
    let text = plain(text);
    let len = text.chars().count();
    if len <= width {
        return text;
    }
    let Some(room) = width.checked_sub(1) else {
        return Cow::Borrowed("");
    };
    let (head, tail) = match cut {
        Cut::End => (room, 0),
        Cut::Middle => (room - room / 2, room / 2),
        Cut::Start => (0, room),
    };
    let mut fitted: String = text.chars().take(head).collect();
    fitted.push('…');
    fitted.extend(text.chars().skip(len - tail));
    Cow::Owned(fitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (-1.0, "0"),
            (0.26, "0.3"),
            (9.94, "9.9"),
            (9.96, "10"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (99_960.0, "100k"),
            (1_500_000.0, "1.50M"),
            (u64::MAX as f64, "18.4E"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        assert_eq!(count(999_999_999), "999999999");
        assert_eq!(count(1_000_000_000), "1.00G");
    }

    #[test]
    fn shares() {
        assert_eq!(share(0, 0), "-");
        assert_eq!(share(1, 3), "33.3%");
        assert_eq!(share(99_999, 100_000), "99.9%");
        assert_eq!(share(5, 5), "100%");
    }

    #[test]
    fn times() {
        assert_eq!(clock(Duration::from_secs(3723)), "01:02:03");
        assert_eq!(clock(Duration::from_secs(90_061)), "1d 01:01:01");
    }

    #[test]
    fn sparklines_reach_from_nothing_to_the_greatest() {
        assert_eq!(sparkline(&[0.0, 0.001, 4.0, 8.0]), " ▁▄█");
        assert_eq!(sparkline(&[0.0, 0.0]), "  ");
    }

    #[test]
    fn nothing_but_plain_text_gets_through() {
        assert_eq!(plain("a b…"), "a b…");
        assert_eq!(plain("\x1b[31m\u{202e}漢\n"), "?[31m???");
    }

    #[test]
    fn texts_are_cut() {
        assert_eq!(fit("function+0x12", 13, Cut::Middle), "function+0x12");
        assert_eq!(fit("function+0x12", 9, Cut::Middle), "func…0x12");
        assert_eq!(fit("function+0x12", 5, Cut::End), "func…");
        assert_eq!(fit("function+0x12", 5, Cut::Start), "…0x12");
        assert_eq!(fit("function+0x12", 1, Cut::Middle), "…");
        assert_eq!(fit("function+0x12", 0, Cut::End), "");
        assert_eq!(fit("漢漢漢", 2, Cut::End), "?…");
    }
}
