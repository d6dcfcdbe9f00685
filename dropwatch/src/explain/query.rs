//! What is asked about: a word, or a line as dropwatch prints it, text or JSON.

use serde::Deserialize;

use crate::pattern::MAX_NAME;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// A drop, as a line tells of it.
    Drop(Place<'a>),
    /// A drop reason or a function, perhaps with an offset.
    Word(&'a str),
}

/// Why and where packets were dropped, in the words of lines; what they show as `-` is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// Drop reason.
    pub reason: Option<&'a str>,
    /// Function of the call site.
    pub at: Option<&'a str>,
    /// Functions that called it, innermost first.
    pub callers: Vec<&'a str>,
}

impl<'a> Query<'a> {
    /// Reads an argument, or a line of the input: one of `dropwatch` or `dropwatch summary`; a line
    /// of text can be cut off, with anything before it that holds no white space (as `grep` puts it
    /// there). `None` if it is neither.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.starts_with('{') {
            let object: Object<'a> = serde_json::from_str(text).ok()?;
            return Some(Self::Drop(object.place()));
        }
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        match *words.as_slice() {
            [] => None,
            [word] if !word.contains('=') && is_name(word) => Some(Self::Word(word)),
            _ => Place::of_line(&words).map(Self::Drop),
        }
    }
}

/// What matters of a drop or group as JSON (`docs/schema.json`).
#[derive(Deserialize)]
struct Object<'a> {
    reason: Option<&'a str>,
    at: Option<&'a str>,
    #[serde(borrow)]
    stack: Option<Vec<&'a str>>,
}

impl<'a> Object<'a> {
    fn place(self) -> Place<'a> {
        let callers = self.stack.unwrap_or_default().into_iter();
        Place {
            reason: self.reason.filter(|reason| is_name(reason)),
            at: self
                .at
                .map(function_of)
                .filter(|function| is_name(function)),
            callers: callers.map(function_of).collect(),
        }
    }
}

impl<'a> Place<'a> {
    /// From what a record says: `location` and `stack` as lines show them.
    #[must_use]
    pub fn new(reason: Option<&'a str>, location: &'a str, stack: Option<&'a str>) -> Self {
        let callers = stack.and_then(known).unwrap_or_default();
        Self {
            reason: reason.filter(|reason| is_name(reason)),
            at: known(location)
                .map(function_of)
                .filter(|function| is_name(function)),
            callers: callers
                .split(',')
                .map(function_of)
                .filter(|name| !name.is_empty())
                .collect(),
        }
    }

    /// `None` if there is neither a reason nor a call site.
    fn of_line(words: &[&'a str]) -> Option<Self> {
        let value = |key: &str| {
            let mut values = words.iter().filter_map(|word| word.strip_prefix(key));
            values.next().and_then(known)
        };
        // `REASON PROTOCOL SOURCE > DESTINATION`, with or without a time before it.
        let arrow = words.iter().position(|word| *word == ">");
        let column = arrow.and_then(|arrow| words.get(arrow.checked_sub(3)?));
        let is_line = column.is_some() || words.iter().any(|word| word.starts_with("reason="));
        let reason = column.copied().and_then(known).or_else(|| value("reason="));
        let at = value("at=");
        (is_line || at.is_some()).then(|| {
            Self::new(
                reason,
                at.unwrap_or(UNKNOWN),
                value("stack=").or(Some(UNKNOWN)),
            )
        })
    }
}

/// What lines show for what can't be known.
const UNKNOWN: &str = "-";

fn known(value: &str) -> Option<&str> {
    (value != UNKNOWN).then_some(value)
}

/// Whether it can be one: what is longer was made up, and is as good as not known.
fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME
}

/// The function of `function+0xoffset[module]`.
#[must_use]
pub fn function_of(frame: &str) -> &str {
    frame.split(['+', '[']).next().unwrap_or(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "07:30:01.739587 NETFILTER_DROP tcp 127.0.0.1:41740 > 127.0.0.1:443 len=60 \
        flags=SYN if=lo class=drop at=nft_do_chain+0x3e8[nf_tables] pid=24254 comm=curl \
        owner=curl[24254] netns=4026532177 stack=nft_do_chain_inet+0x43[nf_tables],\
        nf_hook_slow.isra.0+0x43,__ip_local_out+0x11c";

    fn place(text: &str) -> Place<'_> {
        match Query::parse(text) {
            Some(Query::Drop(place)) => place,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_whole_line() {
        let expected = Place {
            reason: Some("NETFILTER_DROP"),
            at: Some("nft_do_chain"),
            callers: vec!["nft_do_chain_inet", "nf_hook_slow.isra.0", "__ip_local_out"],
        };
        assert_eq!(place(LINE), expected);
        assert_eq!(place(&format!("drops.txt:{LINE}\n")), expected);
        let without_time = LINE.split_once(' ').unwrap().1;
        assert_eq!(place(without_time), expected);
    }

    #[test]
    fn a_line_of_a_kernel_without_reasons_and_one_without_stack() {
        let line = "1.5 - udp 10.0.0.1:5 > 10.0.0.2:9 len=8 if=- class=drop at=__udp4_lib_rcv+0x4";
        let expected = Place {
            reason: None,
            at: Some("__udp4_lib_rcv"),
            callers: Vec::new(),
        };
        assert_eq!(place(line), expected);
        assert_eq!(place(&format!("{line} stack=-")), expected);
        // Cut off by something.
        let short = "1.5 NO_SOCKET udp 10.0.0.1:5 > 10.0.0.2:9";
        assert_eq!(place(short).reason, Some("NO_SOCKET"));
    }

    #[test]
    fn a_line_of_a_summary() {
        let line = "  20 drops  20 packets  160 bytes  reason=NO_SOCKET at=udp_rcv+0x1 daddr=::1";
        let found = place(line);
        assert_eq!(
            (found.reason, found.at),
            (Some("NO_SOCKET"), Some("udp_rcv"))
        );
        assert_eq!(place("1 drops reason=-"), Place::default());
    }

    #[test]
    fn json() {
        let object = r#"{"type":"drop","reason":null,"len":8,"at":"nf_hook_slow+0x1",
            "stack":["ip_forward+0x2","x+0x3[m]"]}"#;
        let expected = Place {
            reason: None,
            at: Some("nf_hook_slow"),
            callers: vec!["ip_forward", "x"],
        };
        assert_eq!(place(object), expected);
        let group = r#"{"type":"group","reason":"NO_SOCKET","drops":7}"#;
        assert_eq!(place(group).reason, Some("NO_SOCKET"));
        // It has neither, and explains nothing.
        assert_eq!(place(r#"{"type":"account","seen":3}"#), Place::default());
        for broken in ["{", "{}}", r#"{"reason":5}"#, r#"{"stack":"x"}"#] {
            assert_eq!(Query::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn words_and_what_is_nothing() {
        assert_eq!(
            Query::parse("tcp_v4_rcv+0x10"),
            Some(Query::Word("tcp_v4_rcv+0x10"))
        );
        assert_eq!(place("at=tcp_v4_rcv+0x10").at, Some("tcp_v4_rcv"));
        for nothing in ["", "  ", "12 drops in all", "> a b", "a=b c=d", "x y > z"] {
            assert_eq!(Query::parse(nothing), None, "{nothing:?}");
        }
    }
}
