//! Where frames are in the source: what `dropwatch locate` prints.

use super::{
    append,
    json::{
        SCHEMA,
        object::{Object, key, write_array},
        source::{write_positions, write_source},
    },
    text::{write_name, write_position},
};
use crate::{
    record::{Position, Source},
    source::Located,
};

/// Columns for files with line numbers; longer ones move what is behind them.
const FILES: usize = 36;

/// Appends a line for each function that was inlined into the one of `frame`, innermost first, and
/// one for that: the frame in a column of `width`, file and line, and the function. `-` stands for
/// what can't be known. If several functions can be meant, each says which of how many it is.
pub fn write_places(frame: &str, located: Option<&Located>, width: usize, lines: &mut Vec<u8>) {
    match located {
        None => append(lines, format_args!("{frame:<width$}  -\n")),
        Some(Located::At(positions)) => write_lines(frame, positions, width, "", lines),
        Some(Located::Either(all)) => {
            for (index, positions) in all.iter().enumerate() {
                let which = format!(" (candidate {} of {})", index + 1, all.len());
                write_lines(frame, positions, width, &which, lines);
            }
        }
    }
}

fn write_lines(
    frame: &str,
    positions: &[Position],
    width: usize,
    which: &str,
    lines: &mut Vec<u8>,
) {
    for (index, position) in positions.iter().enumerate() {
        append(lines, format_args!("{frame:<width$}  "));
        let start = lines.len();
        write_position(position, lines);
        let missing = (start + FILES).saturating_sub(lines.len());
        append(lines, format_args!("{:missing$}  ", ""));
        let function = position.function.as_ref();
        write_name("", function.map(String::as_bytes), lines);
        if index + 1 < positions.len() {
            lines.extend_from_slice(b" (inlined)");
        }
        append(lines, format_args!("{which}\n"));
    }
}

/// Appends an object with the same.
pub fn write_places_json(frame: &str, located: Option<&Located>, line: &mut Vec<u8>) {
    let mut object = Object::open(line);
    object.number(key!("schema"), Some(SCHEMA));
    object.word(key!("type"), Some("location"));
    object.word(key!("frame"), Some(frame));
    let source = match located {
        Some(Located::At(positions)) => Source::Positions(positions),
        Some(Located::Either(_)) | None => Source::Unknown,
    };
    write_source(&source, object.member(key!("source")));
    if let Some(Located::Either(all)) = located {
        let candidates = object.member(key!("candidates"));
        write_array(all.iter(), candidates, |positions, line| {
            write_positions(positions, line);
        });
    }
    object.close();
    line.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(file: &str, line: Option<u32>, function: Option<&str>) -> Position {
        Position {
            file: file.to_owned(),
            line,
            function: function.map(str::to_owned),
        }
    }

    fn text(frame: &str, located: Option<&Located>) -> String {
        let mut lines = Vec::new();
        write_places(frame, located, 10, &mut lines);
        String::from_utf8(lines).unwrap()
    }

    fn json(frame: &str, located: Option<&Located>) -> String {
        let mut lines = Vec::new();
        write_places_json(frame, located, &mut lines);
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn inlined_functions_come_first() {
        let at = Located::At(vec![
            position("include/linux/skbuff.h", Some(1262), Some("kfree_skb")),
            position("net/ipv4/udp.c", Some(2210), Some("udp_rcv")),
        ]);
        assert_eq!(
            text("udp_rcv+0x1", Some(&at)),
            "udp_rcv+0x1  include/linux/skbuff.h:1262           kfree_skb (inlined)\n\
             udp_rcv+0x1  net/ipv4/udp.c:2210                   udp_rcv\n"
        );
        assert_eq!(
            json("udp_rcv+0x1", Some(&at)),
            "{\"schema\":1,\"type\":\"location\",\"frame\":\"udp_rcv+0x1\",\"source\":[\
             {\"file\":\"include/linux/skbuff.h\",\"line\":1262,\"function\":\"kfree_skb\"},\
             {\"file\":\"net/ipv4/udp.c\",\"line\":2210,\"function\":\"udp_rcv\"}]}\n"
        );
    }

    #[test]
    fn what_is_not_known_and_what_is_not_certain() {
        assert_eq!(text("f+0x1", None), "f+0x1       -\n");
        assert_eq!(
            json("f+0x1", None),
            "{\"schema\":1,\"type\":\"location\",\"frame\":\"f+0x1\",\"source\":null}\n"
        );
        let one = vec![position("a.S", Some(7), None)];
        let other = vec![position("b \x1b.c", None, Some("f"))];
        let either = Located::Either(vec![one, other]);
        let lines = text("f+0x1", Some(&either));
        assert_eq!(
            lines.split_whitespace().collect::<Vec<_>>().join(" "),
            "f+0x1 a.S:7 - (candidate 1 of 2) f+0x1 b\\x20\\x1b.c f (candidate 2 of 2)"
        );
        let object: serde_json::Value = serde_json::from_str(&json("f", Some(&either))).unwrap();
        assert_eq!(object["source"], serde_json::Value::Null);
        assert_eq!(
            object["candidates"][0][0]["function"],
            serde_json::Value::Null
        );
        assert_eq!(object["candidates"][1][0]["line"], serde_json::Value::Null);
    }
}
