//! Groups of drops as text and as JSON: a line for each.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{
    TimestampStyle, append,
    json::{self, SCHEMA},
    timestamp::TimestampWriter,
};
use crate::{
    account::Account,
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
}

impl JsonSummary {
    /// Writes times in UTC.
    #[must_use]
    pub fn new() -> Self {
        Self {
            timestamp: TimestampWriter::new(TimestampStyle::Utc, TimeZone::UTC),
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
        write_object(
            &GroupObject {
                time: String::from_utf8_lossy(&text).trim_end(),
                counts,
                group,
            },
            line,
        );
    }

    fn write_account(&mut self, account: &Account, line: &mut Vec<u8>) {
        json::write_account(account, line);
    }
}

fn write_object(object: &impl Serialize, line: &mut Vec<u8>) {
    let written = serde_json::to_writer(&mut *line, object);
    debug_assert!(written.is_ok(), "writing to a vector can't fail");
    line.push(b'\n');
}

struct GroupObject<'a> {
    time: &'a str,
    counts: Counts,
    group: Option<&'a [(Dimension, &'a str)]>,
}

impl Serialize for GroupObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("schema", &SCHEMA)?;
        object.serialize_entry("type", "group")?;
        object.serialize_entry("time", self.time)?;
        object.serialize_entry("drops", &self.counts.drops)?;
        object.serialize_entry("packets", &self.counts.packets)?;
        object.serialize_entry("bytes", &self.counts.bytes)?;
        match self.group {
            None => object.serialize_entry("other", &true)?,
            Some(values) => {
                for (dimension, value) in values {
                    serialize_value(*dimension, value, &mut object)?;
                }
            }
        }
        object.end()
    }
}

/// A value of a name, without what escapes bytes in text.
fn unescaped(value: &str) -> Cow<'_, str> {
    let Some((start, rest)) = value.split_once("\\x") else {
        return Cow::Borrowed(value);
    };
    let mut bytes = start.as_bytes().to_vec();
    for part in rest.split("\\x") {
        let (digits, plain) = part.split_at_checked(2).unwrap_or((part, ""));
        bytes.extend(u8::from_str_radix(digits, 16).ok());
        bytes.extend_from_slice(plain.as_bytes());
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// A value with the type that it has: `null` where it is not known.
fn serialize_value<M: serde::ser::SerializeMap>(
    dimension: Dimension,
    value: &str,
    object: &mut M,
) -> Result<(), M::Error> {
    let name = dimension.name();
    match (dimension, value) {
        (_, "-") => object.serialize_entry(name, &()),
        (Dimension::Dport, value) => object.serialize_entry(name, &value.parse::<u16>().ok()),
        (Dimension::Stack, value) => {
            object.serialize_entry(name, &value.split(',').collect::<Vec<_>>())
        }
        (_, value) => object.serialize_entry(name, &unescaped(value)),
    }
}

#[cfg(test)]
#[path = "summary/tests.rs"]
mod tests;
