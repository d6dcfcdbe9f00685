//! A strict parser of dropwatch's text line.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};

/// The `key=value` tokens that a line may have, in the order in which it has them.
const KNOWN: &[&str] = &[
    "len",
    "segs",
    "gso",
    "flags",
    "seq",
    "ack",
    "win",
    "icmp",
    "arp",
    "igmp",
    "spi",
    "frag",
    "ttl",
    "ipopt",
    "ext",
    "vlan",
    "tunnel",
    "inner",
    "quoted",
    "mac",
    "if",
    "ifindex",
    "iif",
    "queue",
    "dir",
    "mark",
    "prio",
    "hash",
    "state",
    "class",
    "sample",
    "at",
    "source",
    "pid",
    "comm",
    "owner",
    "netns",
    "container",
    "pod",
    "unit",
    "skb",
    "stack",
];
/// Those that only a packet which has such a thing may have.
pub const OF_SOME_PACKETS: &[&str] = &[
    "segs", "flags", "icmp", "arp", "igmp", "spi", "frag", "vlan", "tunnel", "inner", "quoted",
    "sample", "source",
];
/// Those that every line has, known or `-`.
const REQUIRED: &[&str] = &["len", "if", "class", "at", "pid", "comm", "owner", "netns"];

/// One parsed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Time, as printed.
    pub time: String,
    /// Drop reason, `-` if the kernel gives none.
    pub reason: String,
    /// Protocol in lower case.
    pub protocol: String,
    /// Source address with port, as printed.
    pub source: String,
    /// Destination address with port, as printed.
    pub destination: String,
    tokens: Vec<(String, String)>,
    text: String,
}

impl Line {
    /// Parses one line without its line end.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_words(text).with_context(|| format!("in line {text:?}"))
    }

    fn parse_words(text: &str) -> Result<Self> {
        ensure!(!text.chars().any(char::is_control), "a control character");
        let words: Vec<&str> = text.split(' ').collect();
        let [
            time,
            reason,
            protocol,
            source,
            ">",
            destination,
            tokens @ ..,
        ] = words.as_slice()
        else {
            bail!("not `time reason protocol source > destination ...`");
        };
        ensure!(is_time(time), "not a time: {time:?}");
        for word in [reason, protocol, source, destination] {
            ensure!(
                !word.is_empty() && !word.contains('='),
                "not a positional field: {word:?}"
            );
        }
        ensure!(
            !protocol.chars().any(char::is_uppercase),
            "upper case in protocol {protocol:?}"
        );
        Ok(Self {
            time: (*time).to_owned(),
            reason: (*reason).to_owned(),
            protocol: (*protocol).to_owned(),
            source: (*source).to_owned(),
            destination: (*destination).to_owned(),
            tokens: parse_tokens(tokens)?,
            text: text.to_owned(),
        })
    }

    /// The value of a `key=value` token.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.tokens
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }

    /// Keys and values of all `key=value` tokens.
    pub fn tokens(&self) -> impl Iterator<Item = (&str, &str)> {
        let tokens = self.tokens.iter();
        tokens.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The call site: `symbol+0xoff`, with ` [module]` cut off.
    #[must_use]
    pub fn at(&self) -> &str {
        self.get("at").unwrap_or("-")
    }

    /// The frames of the stack, the call site's caller first; empty without a stack.
    #[must_use]
    pub fn stack(&self) -> Vec<&str> {
        match self.get("stack") {
            None | Some("-" | "") => Vec::new(),
            Some(frames) => frames.split(',').collect(),
        }
    }

    /// Whether the call site or a frame is in the function `name`.
    #[must_use]
    pub fn passes_through(&self, name: &str) -> bool {
        symbol(self.at()) == name || self.stack().into_iter().any(|frame| symbol(frame) == name)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// The bare function of a frame: without offset, module and the compiler's suffixes.
#[must_use]
pub fn symbol(frame: &str) -> &str {
    let end = frame.find(['+', '.', '[']).unwrap_or(frame.len());
    &frame[..end]
}

fn parse_tokens(words: &[&str]) -> Result<Vec<(String, String)>> {
    let mut tokens: Vec<(String, String)> = Vec::new();
    let mut last = 0;
    for word in words {
        let (key, value) = word
            .split_once('=')
            .with_context(|| format!("not key=value: {word:?}"))?;
        ensure!(!value.is_empty(), "no value: {word:?}");
        ensure!(
            tokens.iter().all(|(known, _)| known != key),
            "twice: {key:?}"
        );
        // A key that is not known yet may stand anywhere: later versions add fields.
        if let Some(place) = KNOWN.iter().position(|known| *known == key) {
            ensure!(place >= last, "out of order: {key:?}");
            last = place;
        }
        tokens.push((key.to_owned(), value.to_owned()));
    }
    for key in REQUIRED {
        ensure!(
            tokens.iter().any(|(known, _)| known == key),
            "missing: {key:?}"
        );
    }
    for key in ["len", "pid"] {
        let value = tokens
            .iter()
            .find(|(known, _)| known == key)
            .map_or("-", |(_, value)| value);
        ensure!(
            value == "-" || value.parse::<u32>().is_ok(),
            "not a number: {key}={value}"
        );
    }
    Ok(tokens)
}

/// `HH:MM:SS.ffffff`: the default time stamp.
fn is_time(word: &str) -> bool {
    word.len() == 15
        && word.bytes().enumerate().all(|(place, byte)| match place {
            2 | 5 => byte == b':',
            8 => byte == b'.',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::{Line, symbol};

    const GOOD: &str = "07:30:01.123456 NO_SOCKET udp 127.0.0.1:39873 > 127.0.0.1:9 len=128 if=lo \
        class=refused at=__udp4_lib_rcv+0x4bc pid=28371 comm=flood owner=- netns=4026531840 \
        stack=ip_protocol_deliver_rcu+0xb3,nft_do_chain.isra.0+0x81[nf_tables]";

    #[test]
    fn a_whole_line() {
        let line = Line::parse(GOOD).expect("the design's example");
        assert_eq!(
            (line.reason.as_str(), line.protocol.as_str()),
            ("NO_SOCKET", "udp")
        );
        assert_eq!(
            (line.source.as_str(), line.destination.as_str()),
            ("127.0.0.1:39873", "127.0.0.1:9")
        );
        assert_eq!(line.get("netns"), Some("4026531840"));
        assert!(line.passes_through("__udp4_lib_rcv") && line.passes_through("nft_do_chain"));
        assert!(!line.passes_through("udp4_lib_rcv"));
        assert_eq!(line.to_string(), GOOD);
    }

    #[test]
    fn unknown_tokens_are_let_through() {
        let line = Line::parse(&GOOD.replace(" netns=", " later=1 netns="))
            .expect("a later version's line");
        assert_eq!(line.get("later"), Some("1"));
    }

    #[test]
    fn broken_lines() {
        for (from, to) in [
            ("07:30:01.123456 ", ""),
            ("07:30:01.123456", "7:30:01"),
            (" > ", " "),
            (" udp ", " UDP "),
            (" udp ", "  udp "),
            ("len=128", "len=many"),
            ("len=128 if=lo", "if=lo len=128"),
            ("if=lo ", ""),
            ("comm=flood", "comm=fl ood"),
            ("comm=flood", "comm="),
            ("comm=flood", "comm=a\u{1b}b"),
            ("pid=28371", "pid=1 pid=2"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD);
            assert!(Line::parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn symbols() {
        for (frame, want) in [
            ("udp_rcv+0x1", "udp_rcv"),
            ("kfree_skb_list.part.0+0x9", "kfree_skb_list"),
            ("nft_do_chain+0x1[nf_tables]", "nft_do_chain"),
            ("0xffffffff81000000", "0xffffffff81000000"),
        ] {
            assert_eq!(symbol(frame), want);
        }
    }
}
