//! Lines on standard input, for the commands that take `-` for it.

use std::io::{BufRead, Read as _};

use anyhow::{Context as _, Result, ensure};

use crate::output::Reader;

/// The argument that stands for standard input.
pub(crate) const INPUT: &str = "-";

/// Longest line that is read in one piece; one of dropwatch with all fields has some 12,000 bytes at
/// most.
const MAX_LINE: u64 = 1 << 20;

/// Has `look` look at each line of `input`, until nobody reads what it prints. For a line that it can
/// make nothing of it returns `None`: those can come from anywhere, and are not shown.
///
/// # Errors
/// `input` can't be read or is empty, or all of its lines were such, which do not have what is
/// `wanted`; or `look` failed.
pub(crate) fn each_line(
    mut input: impl BufRead,
    wanted: &str,
    mut look: impl FnMut(&str) -> Result<Option<Reader>>,
) -> Result<Reader> {
    let (mut lines, mut is_of_use) = (0_u64, false);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut input).take(MAX_LINE).read_until(b'\n', &mut line);
        if read.context("reading standard input")? == 0 {
            break;
        }
        lines += 1;
        let reader = look(&String::from_utf8_lossy(&line))?;
        if reader == Some(Reader::Gone) {
            return Ok(Reader::Gone);
        }
        is_of_use |= reader.is_some();
    }
    ensure!(
        lines > 0,
        "standard input is empty; it takes lines of dropwatch"
    );
    ensure!(
        is_of_use,
        "none of the {lines} lines on standard input {wanted}"
    );
    Ok(Reader::Present)
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, repeat};

    use super::*;

    /// What is looked at of `input`: lines that begin with a, until one with z.
    fn looked_at(input: &[u8]) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        each_line(input, "begins with a", |line| {
            seen.push(line.to_owned());
            Ok(match line.as_bytes().first() {
                Some(b'z') => Some(Reader::Gone),
                Some(b'a') => Some(Reader::Present),
                _ => None,
            })
        })?;
        Ok(seen)
    }

    #[test]
    fn lines_until_the_end_or_until_nobody_reads() {
        assert_eq!(
            looked_at(b"a\n\xff\na2").unwrap(),
            ["a\n", "\u{fffd}\n", "a2"]
        );
        assert_eq!(looked_at(b"b\nz\nc\n").unwrap(), ["b\n", "z\n"]);
    }

    #[test]
    fn what_is_of_no_use_is_said() {
        let error = |input| looked_at(input).unwrap_err().to_string();
        assert!(error(b"").starts_with("standard input is empty"));
        assert_eq!(
            error(b"b\n\n"),
            "none of the 2 lines on standard input begins with a"
        );
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let endless = BufReader::new(repeat(b'a'));
        let mut pieces = 0;
        each_line(endless, "", |line| {
            assert_eq!(line.len() as u64, MAX_LINE);
            pieces += 1;
            let is_last = pieces == 3;
            Ok(Some(if is_last {
                Reader::Gone
            } else {
                Reader::Present
            }))
        })
        .unwrap();
        assert_eq!(pieces, 3);
    }
}
