//! The text line: positional columns first, then `key=value` tokens in a fixed
//! order. No value holds white space, and `-` stands for what can't be known.

mod fields;
mod names;
mod packet;

pub use self::fields::ExtraField;
use self::fields::FieldSet;
use super::{Format, TimestampStyle, append, timestamp::TimestampWriter};
use crate::record::{DropRecord, Stack};

/// What the user may choose of the text line.
#[derive(Clone, Debug, Default)]
pub struct TextOptions {
    /// The first column.
    pub timestamp: TimestampStyle,
    /// Tokens beyond the default ones.
    pub fields: Vec<ExtraField>,
    /// Columns of the terminal the line goes to: the stack of a longer line is
    /// cut and ends in `…`. `None` writes the line whole.
    pub width: Option<usize>,
}

/// Writes [`DropRecord`]s as lines of text.
pub struct TextFormat {
    timestamp: TimestampWriter,
    fields: FieldSet,
    width: Option<usize>,
}

impl TextFormat {
    /// A format with `options`; local time is that of the system's time zone.
    pub fn new(options: &TextOptions) -> Self {
        Self {
            timestamp: TimestampWriter::new(options.timestamp, jiff::tz::TimeZone::system()),
            fields: options.fields.as_slice().into(),
            width: options.width,
        }
    }
}

impl Format for TextFormat {
    fn set_width(&mut self, columns: Option<usize>) {
        self.width = columns;
    }

    fn write(&mut self, record: &DropRecord<'_>, line: &mut Vec<u8>) {
        let DropRecord {
            time,
            reason,
            packet,
            len,
            device,
            location,
            pid,
            comm,
            netns,
            stack,
            skb,
        } = record;
        let start = line.len();
        self.timestamp.write(*time, line);
        line.extend_from_slice(reason.unwrap_or("-").as_bytes());
        packet::write_columns(&packet.tuple, line);

        write_number(" len=", *len, line);
        packet::write_tokens(packet, self.fields, line);
        line.extend_from_slice(b" if=");
        match device {
            Some(device) => write_escaped(device.name, line),
            None => line.push(b'-'),
        }
        if self.fields.has(ExtraField::Ifindex) {
            write_number(" ifindex=", device.map(|device| device.ifindex), line);
        }
        line.extend_from_slice(b" at=");
        line.extend_from_slice(location.as_bytes());
        write_number(" pid=", Some(*pid), line);
        line.extend_from_slice(b" comm=");
        write_escaped(comm, line);
        write_number(" netns=", *netns, line);
        if self.fields.has(ExtraField::Skb) {
            line.extend_from_slice(b" skb=0x");
            append(line, format_args!("{skb:x}"));
        }
        if let Some(stack) = stack {
            line.extend_from_slice(b" stack=");
            let stack_start = line.len();
            match stack {
                Stack::Callers(callers) => line.extend_from_slice(callers.as_bytes()),
                Stack::Unknown => line.push(b'-'),
            }
            if let Some(width) = self.width {
                cut(line, stack_start.max(start + width.saturating_sub(1)));
            }
        }
        line.push(b'\n');
    }
}

/// Cuts what lies behind the first `length` bytes of `line`, which are ASCII:
/// whatever a name may hold otherwise has been escaped.
fn cut(line: &mut Vec<u8>, length: usize) {
    if line.len() > length + 1 {
        line.truncate(length);
        line.extend_from_slice("…".as_bytes());
    }
}

fn write_number<N: itoa::Integer>(key: &str, number: Option<N>, line: &mut Vec<u8>) {
    line.extend_from_slice(key.as_bytes());
    match number {
        Some(number) => {
            line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        None => line.push(b'-'),
    }
}

/// Appends a name that others may have chosen: everything but visible ASCII,
/// and the backslash, is written as `\xNN`, so that a value holds no white
/// space and a terminal sees no control characters. So is a lone `-`, which
/// stands for what can't be known.
fn write_escaped(name: &[u8], line: &mut Vec<u8>) {
    if name.is_empty() {
        line.push(b'-');
    }
    for &byte in name {
        if byte.is_ascii_graphic() && byte != b'\\' && name != b"-" {
            line.push(byte);
        } else {
            append(line, format_args!("\\x{byte:02x}"));
        }
    }
}

#[cfg(test)]
#[path = "text/tests.rs"]
mod tests;
