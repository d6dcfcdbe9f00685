//! Frames and addresses in arguments and lines.

use serde::Deserialize;

use crate::source::frame::{Frame, parse_hexadecimal};

/// Something to locate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// As it was written.
    pub(super) text: &'a str,
    /// What it means.
    pub(super) word: Word<'a>,
}

/// What can be located.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word<'a> {
    Frame(Frame<'a>),
    Address(u64),
}

/// What is to be located of a drop as JSON (`docs/schema.json`).
#[derive(Deserialize)]
struct Object<'a> {
    at: Option<&'a str>,
    #[serde(borrow)]
    stack: Option<Vec<&'a str>>,
}

/// The places in an argument; a name alone is a function. None if it is nothing of that kind.
pub(super) fn of_argument(text: &str) -> Vec<Place<'_>> {
    let places = of_line(text);
    match function(text) {
        Some(frame) if places.is_empty() => vec![Place {
            text,
            word: Word::Frame(frame),
        }],
        _ => places,
    }
}

/// The start of the function that `text` names.
fn function(text: &str) -> Option<Frame<'_>> {
    let (function, module) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
        Some((function, module)) => (function, Some(module)),
        None => (text, None),
    };
    let is_name = |name: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let is_start = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
        name.bytes().all(is_part) && name.as_bytes().first().is_some_and(is_start)
    };
    (is_name(function) && module.is_none_or(is_name)).then_some(Frame {
        function,
        offset: 0,
        size: None,
        module,
    })
}

/// The places in a line, in their order: those of a line of dropwatch, text or JSON, the call site
/// first; those of any other text, such as the kernel's own messages.
pub(super) fn of_line(line: &str) -> Vec<Place<'_>> {
    if line.starts_with('{') {
        let Ok(object) = serde_json::from_str::<Object<'_>>(line) else {
            return Vec::new();
        };
        let callers = object.stack.unwrap_or_default();
        return object
            .at
            .into_iter()
            .chain(callers)
            .filter_map(place)
            .collect();
    }
    let words = line.split_ascii_whitespace();
    let values = words.map(|word| {
        let value = word
            .strip_prefix("at=")
            .or_else(|| word.strip_prefix("stack="));
        value.unwrap_or(word)
    });
    values
        .flat_map(|value| value.split(','))
        .filter_map(place)
        .collect()
}

fn place(text: &str) -> Option<Place<'_>> {
    let address = || parse_hexadecimal(text).map(Word::Address);
    let word = Frame::parse(text).map(Word::Frame).or_else(address)?;
    Some(Place { text, word })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'a>(places: &[Place<'a>]) -> Vec<&'a str> {
        places.iter().map(|place| place.text).collect()
    }

    #[test]
    fn a_line_has_its_call_site_and_callers() {
        let line = "07:30:01.739587 NETFILTER_DROP tcp 127.0.0.1:41740 > 127.0.0.1:443 len=60 \
            flags=SYN if=lo class=drop at=nft_do_chain+0x3e8[nf_tables] pid=24254 comm=a+0x1 \
            owner=curl[24254] netns=4026532177 skb=0xffff888102345600 \
            stack=nft_hook+0x43[nf_tables],0xffffffffc0000001,nf_hook_slow.isra.0+0x43\n";
        let expected = [
            "nft_do_chain+0x3e8[nf_tables]",
            "nft_hook+0x43[nf_tables]",
            "0xffffffffc0000001",
            "nf_hook_slow.isra.0+0x43",
        ];
        let places = of_line(line);
        assert_eq!(texts(&places), expected);
        assert_eq!(places[2].word, Word::Address(0xffff_ffff_c000_0001));
        // Cut to a terminal.
        let cut = "at=udp_rcv+0x1 pid=1 stack=f+0x1,g+0x2,ip_loc\u{2026}";
        assert_eq!(texts(&of_line(cut)), ["udp_rcv+0x1", "f+0x1", "g+0x2"]);
        assert_eq!(texts(&of_line("at=- stack=-")), [""; 0]);
    }

    #[test]
    fn json_has_them_as_well() {
        let line = r#"{"type":"drop","at":"f+0x1","comm":"x+0x1","stack":["g+0x2","h+0x3[m]"]}"#;
        assert_eq!(texts(&of_line(line)), ["f+0x1", "g+0x2", "h+0x3[m]"]);
        let account = r#"{"type":"account","seen":3}"#;
        for nothing in ["{", account, r#"{"at":null,"stack":null}"#, r#"{"at":5}"#] {
            assert_eq!(of_line(nothing), [], "{nothing}");
        }
    }

    #[test]
    fn the_kernels_own_messages() {
        let line = "[   12.345678]  ? __warn+0x81/0x130";
        assert_eq!(texts(&of_line(line)), ["__warn+0x81/0x130"]);
    }

    #[test]
    fn arguments_can_be_functions() {
        let start = |text, function, module| {
            let frame = Frame {
                function,
                offset: 0,
                size: None,
                module,
            };
            let word = Word::Frame(frame);
            assert_eq!(of_argument(text), [Place { text, word }]);
        };
        start("udp_rcv", "udp_rcv", None);
        start("f.isra.0[nf-x]", "f.isra.0", Some("nf-x"));
        assert_eq!(texts(&of_argument("f+0x1,g+0x2")), ["f+0x1", "g+0x2"]);
        assert_eq!(of_line("udp_rcv"), [], "a word of any text");
        for nothing in [
            "",
            "-",
            "12",
            "a b",
            "f[",
            "f]",
            "[m]",
            "f+1",
            "at=f",
            "\u{1b}[1m",
        ] {
            assert_eq!(of_argument(nothing), [], "{nothing:?}");
        }
    }
}
