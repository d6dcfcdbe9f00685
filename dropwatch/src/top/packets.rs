//! The lines of the last dropped packets, and which of them belong to a level.

use std::{collections::VecDeque, rc::Rc};

use super::level::Scope;
use crate::groups::Dimension;

/// Lines that are kept.
const MOST_LINES: usize = 1000;

/// Bytes of a line that are kept: a whole one, but for the deepest stacks.
const LONGEST_LINE: usize = 2048;

/// The last lines, the newest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(VecDeque<Rc<str>>);

impl Lines {
    /// Adds a line.
    pub(super) fn add(&mut self, line: &Rc<str>) {
        self.0.truncate(MOST_LINES - 1);
        self.0.push_front(Rc::clone(line));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, number: usize) -> Option<&Rc<str>> {
        self.0.get(number)
    }

    /// Those that `fits` says yes to.
    pub(super) fn filtered(&self, fits: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|line| fits(line)).cloned().collect())
    }
}

/// A line as it is kept, without its end.
pub(super) fn kept(line: &str) -> Rc<str> {
    let line = line.trim_end();
    line.get(..line.floor_char_boundary(LONGEST_LINE))
        .unwrap_or(line)
        .into()
}

impl Scope {
    /// Whether a line is one of a packet in scope.
    pub(super) fn has_line(&self, line: &str) -> bool {
        self.0.is_empty() || {
            let line = Line::new(line);
            let fits = |(dimension, value): &(Dimension, Box<str>)| {
                line.value(*dimension) == Some(value.as_ref())
            };
            self.0.iter().all(fits)
        }
    }
}

/// The words of a line: `[TIME] REASON PROTOCOL SOURCE > DESTINATION key=value …`.
struct Line<'a> {
    words: Vec<&'a str>,
    /// Where `>` is.
    arrow: usize,
}

impl<'a> Line<'a> {
    fn new(line: &'a str) -> Self {
        let words: Vec<_> = line.split(' ').collect();
        let arrow = words.iter().position(|word| *word == ">").unwrap_or(0);
        Self { words, arrow }
    }

    /// What the line says; `None` if it is not a line. A token that is missing is not known.
    fn value(&self, dimension: Dimension) -> Option<&'a str> {
        match dimension {
            Dimension::Reason => self.column(-3),
            Dimension::Proto => self.column(-2),
            Dimension::Saddr => Some(endpoint(self.column(-1)?).0),
            Dimension::Daddr => Some(endpoint(self.column(1)?).0),
            Dimension::Dport => Some(endpoint(self.column(1)?).1),
            Dimension::At
            | Dimension::If
            | Dimension::Comm
            | Dimension::Owner
            | Dimension::Netns
            | Dimension::Container
            | Dimension::Stack
            | Dimension::Class => Some(self.token(dimension.name()).unwrap_or("-")),
        }
    }

    fn column(&self, distance: isize) -> Option<&'a str> {
        let position = self.arrow.checked_add_signed(distance)?;
        self.words.get(position).copied()
    }

    fn token(&self, name: &str) -> Option<&'a str> {
        let mut tokens = self.words.iter().skip(self.arrow);
        tokens.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Address and port (`-` if there is none) of `10.0.0.1:53`, `[::1]:53`, `10.0.0.1` or `::1`.
fn endpoint(text: &str) -> (&str, &str) {
    let with_port = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => text.split_once(':').filter(|(_, port)| !port.contains(':')),
    };
    with_port.unwrap_or((text, "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "07:30:01.739587 NETFILTER_DROP tcp 127.0.0.1:41740 > 127.0.0.1:443 len=60 \
                        flags=SYN if=lo class=drop at=nft_do_chain+0x3e8 pid=24254 comm=curl \
                        owner=curl[24254] netns=4026532177 stack=nft_do_chain_inet+0x43";

    fn scope(values: &[(Dimension, &str)]) -> Scope {
        Scope(values.iter().map(|(d, v)| (*d, (*v).into())).collect())
    }

    #[test]
    fn lines_belong_by_all_their_values() {
        let values = [
            (Dimension::Reason, "NETFILTER_DROP"),
            (Dimension::At, "nft_do_chain+0x3e8"),
            (Dimension::If, "lo"),
            (Dimension::Proto, "tcp"),
            (Dimension::Saddr, "127.0.0.1"),
            (Dimension::Daddr, "127.0.0.1"),
            (Dimension::Dport, "443"),
            (Dimension::Comm, "curl"),
            (Dimension::Owner, "curl[24254]"),
            (Dimension::Netns, "4026532177"),
            (Dimension::Container, "-"),
            (Dimension::Stack, "nft_do_chain_inet+0x43"),
        ];
        assert!(scope(&values).has_line(LINE));
        let (_, without_time) = LINE.split_once(' ').unwrap();
        assert!(scope(&values).has_line(without_time));
        for (dimension, _) in values {
            assert!(
                !scope(&[(dimension, "other")]).has_line(LINE),
                "{dimension:?}"
            );
        }
        assert!(!scope(&values).has_line("no line"));
        assert!(scope(&[]).has_line("no line"));
    }

    #[test]
    fn endpoints() {
        assert_eq!(endpoint("10.0.0.1:53"), ("10.0.0.1", "53"));
        assert_eq!(endpoint("10.0.0.1:-"), ("10.0.0.1", "-"));
        assert_eq!(endpoint("10.0.0.1"), ("10.0.0.1", "-"));
        assert_eq!(endpoint("[fe80::1]:53"), ("fe80::1", "53"));
        assert_eq!(endpoint("fe80::1"), ("fe80::1", "-"));
        assert_eq!(endpoint("-"), ("-", "-"));
    }

    #[test]
    fn the_newest_lines_are_kept() {
        let mut lines = Lines::default();
        for number in 0..MOST_LINES + 10 {
            lines.add(&kept(&format!("{number}\n")));
        }
        assert_eq!(lines.len(), MOST_LINES);
        assert_eq!(
            lines.get(0).unwrap().as_ref(),
            format!("{}", MOST_LINES + 9)
        );
        assert_eq!(kept(&"é".repeat(LONGEST_LINE)).len(), LONGEST_LINE);
    }
}
