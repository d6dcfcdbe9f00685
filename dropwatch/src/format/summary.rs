//! Groups of drops as text and as JSON: a line for each.

use std::borrow::Cow;

use jiff::tz::TimeZone;

use super::{
    TimestampStyle, append,
    json::{
        self, SCHEMA,
        object::{Object, key, write_array, write_number, write_or_null, write_text},
    },
    timestamp::TimestampWriter,
};
use crate::{
    account::Account,
    counters::Moved,
    groups::{Counts, Dimension},
    record::DropTime,
};

/// A way to write groups.
pub trait Summary {
    /// Appends a line for a group with these values, final newline included; `None`
    /// stands for the drops whose group found no room.
    fn write(
        &mut self,
        time: DropTime,
        counts: Counts,
        group: Option<&[(Dimension, &str)]>,
        line: &mut Vec<u8>,
    );

    /// Tells which counters moved, before the account is written.
    fn set_counters(&mut self, _moved: &[Moved]) {}

    /// Appends the account, the last line, if the format has it there.
    fn write_account(&mut self, account: &Account, line: &mut Vec<u8>);
}

/// Groups as text: how many drops, packets and bytes, then a token for each
/// dimension, as lines of drops have them.
pub struct TextSummary {
    timestamp: TimestampWriter,
}

impl TextSummary {
    /// Starts each line with the time if `has_time`.
    #[must_use]
    pub fn new(has_time: bool) -> Self {
        let style = match has_time {
            true => TimestampStyle::Local,
            false => TimestampStyle::None,
        };
        Self {
            timestamp: TimestampWriter::new(style, TimeZone::system()),
        }
    }
}

impl Summary for TextSummary {
    fn write(
        &mut self,
        time: DropTime,
        counts: Counts,
        group: Option<&[(Dimension, &str)]>,
        line: &mut Vec<u8>,
    ) {
        self.timestamp.write(time, line);
        append(
            line,
            format_args!(
                "{:>9} drops {:>9} packets {:>12} bytes ",
                counts.drops, counts.packets, counts.bytes
            ),
        );
        match group {
            Some(values) => {
                for (dimension, value) in values {
                    append(line, format_args!(" {}={value}", dimension.name()));
                }
            }
            None => line.extend_from_slice(b" other"),
        }
        line.push(b'\n');
    }

    fn write_account(&mut self, _account: &Account, _line: &mut Vec<u8>) {
        // It is on standard error.
    }
}

/// Groups as JSON objects, one on each line.
pub struct JsonSummary {
    timestamp: TimestampWriter,
    counters: Vec<u8>,
}

impl JsonSummary {
    /// Writes times in UTC.
    #[must_use]
    pub fn new() -> Self {
        Self {
            timestamp: TimestampWriter::new(TimestampStyle::Utc, TimeZone::UTC),
            counters: Vec::new(),
        }
    }
}

impl Default for JsonSummary {
    fn default() -> Self {
        Self::new()
    }
}

impl Summary for JsonSummary {
    fn write(
        &mut self,
        time: DropTime,
        counts: Counts,
        group: Option<&[(Dimension, &str)]>,
        line: &mut Vec<u8>,
    ) {
        let mut text = Vec::new();
        self.timestamp.write(time, &mut text);
        let mut object = Object::open(line);
        object.number(key!("schema"), Some(SCHEMA));
        object.word(key!("type"), Some("group"));
        object.text(key!("time"), Some(text.trim_ascii_end()));
        object.number(key!("drops"), Some(counts.drops));
        object.number(key!("packets"), Some(counts.packets));
        object.number(key!("bytes"), Some(counts.bytes));
        match group {
            None => object.member(key!("other")).extend_from_slice(b"true"),
            Some(values) => {
                for (dimension, value) in values {
                    write_value(*dimension, value, object.named(dimension.name()));
                }
            }
        }
        object.close();
        line.push(b'\n');
    }

    fn set_counters(&mut self, moved: &[Moved]) {
        json::write_counters(moved, &mut self.counters);
    }

    fn write_account(&mut self, account: &Account, line: &mut Vec<u8>) {
        json::write_account(account, &self.counters, line);
    }
}

/// The bytes of a name, without what escapes them in text.
pub(super) fn unescaped(value: &str) -> Cow<'_, [u8]> {
    let Some((start, rest)) = value.split_once("\\x") else {
        return Cow::Borrowed(value.as_bytes());
    };
    let mut bytes = start.as_bytes().to_vec();
    for part in rest.split("\\x") {
        let (digits, plain) = part.split_at_checked(2).unwrap_or((part, ""));
        bytes.extend(u8::from_str_radix(digits, 16).ok());
        bytes.extend_from_slice(plain.as_bytes());
    }
    Cow::Owned(bytes)
}

/// Appends a value with the type that it has: `null` where it is not known.
fn write_value(dimension: Dimension, value: &str, line: &mut Vec<u8>) {
    match (dimension, value) {
        (_, "-") => line.extend_from_slice(b"null"),
        (Dimension::Dport, port) => write_or_null(port.parse::<u16>().ok(), line, write_number),
        (Dimension::Stack, stack) => write_array(stack.split(','), line, |caller, line| {
            write_text(caller.as_bytes(), line);
        }),
        (_, value) => write_text(&unescaped(value), line),
    }
}

#[cfg(test)]
#[path = "summary/tests.rs"]
mod tests;
