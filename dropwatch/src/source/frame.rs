//! Frames as lines show them.

use crate::pattern::MAX_NAME;

/// `function+0xoffset[module]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Name of the function, as `/proc/kallsyms` has it.
    pub function: &'a str,
    /// Distance in bytes from its start.
    pub offset: u64,
    /// Length of the function in bytes, where it is told: kernel messages do.
    pub size: Option<u64>,
    /// Its module; `None` for the kernel itself.
    pub module: Option<&'a str>,
}

impl<'a> Frame<'a> {
    /// Reads `function+0xoffset`, with `/0xsize` or `[module]` behind it or both, as kernel messages
    /// have it; `None` if it is not that.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (text, module) = match text.strip_suffix(']') {
            Some(text) => text
                .rsplit_once('[')
                .map(|(text, module)| (text, Some(module)))?,
            None => (text, None),
        };
        let (function, rest) = text.rsplit_once('+')?;
        let (offset, size) = match rest.split_once('/') {
            Some((offset, size)) => (offset, Some(parse_hexadecimal(size)?)),
            None => (rest, None),
        };
        let is_name = |name: &str| {
            (1..=MAX_NAME).contains(&name.len())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'=')
        };
        let is_valid = is_name(function) && module.is_none_or(is_name);
        is_valid.then_some(Self {
            function,
            offset: parse_hexadecimal(offset)?,
            size,
            module,
        })
    }
}

/// The number of `0x1f`.
#[must_use]
pub fn parse_hexadecimal(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let frame = |function, offset, size, module| Frame {
            function,
            offset,
            size,
            module,
        };
        for (text, expected) in [
            ("udp_rcv+0x4bc", Some(frame("udp_rcv", 0x4bc, None, None))),
            (
                "nft_do_chain.isra.0+0x3e8[nf_tables]",
                Some(frame("nft_do_chain.isra.0", 0x3e8, None, Some("nf_tables"))),
            ),
            ("f+0x1/0x20", Some(frame("f", 1, Some(0x20), None))),
            ("f+0x1/0x20[m]", Some(frame("f", 1, Some(0x20), Some("m")))),
            (
                "f+0xffffffffffffffff",
                Some(frame("f", u64::MAX, None, None)),
            ),
            ("f+0x10000000000000000", None),
            ("f", None),
            ("f+12", None),
            ("f+0x+1", None),
            ("+0x1", None),
            ("f+0x1[]", None),
            ("f+0x1]", None),
            ("at=f+0x1", None),
            ("f+0x1/", None),
            ("", None),
        ] {
            assert_eq!(Frame::parse(text), expected, "{text}");
        }
        let longest = "f".repeat(MAX_NAME);
        assert!(Frame::parse(&format!("{longest}+0x1")).is_some());
        assert_eq!(Frame::parse(&format!("f{longest}+0x1")), None);
    }
}
