//! The text line: positional columns first, then `key=value` tokens in a fixed
//! order. No value holds white space, and `-` stands for what can't be known.

mod fields;
pub(in crate::format) mod packet;

pub use self::fields::ExtraField;
use jiff::tz::TimeZone;

use self::fields::FieldSet;
use super::{Format, TimestampStyle, append, timestamp::TimestampWriter};
use crate::{
    color::Palette,
    names::state_name,
    record::{
        Device, Direction, DropRecord, Gso, Netns, Owner, Position, SkbFields, Source, Stack,
        Workload,
    },
};

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
    /// Whether reason and class are colored.
    pub color: bool,
}

/// Writes [`DropRecord`]s as lines of text.
pub struct TextFormat {
    timestamp: TimestampWriter,
    fields: FieldSet,
    width: Option<usize>,
    palette: Palette,
}

impl TextFormat {
    /// A format with `options`; local time is that of the system's time zone.
    pub fn new(options: &TextOptions) -> Self {
        Self {
            timestamp: TimestampWriter::new(options.timestamp, TimeZone::system()),
            fields: options.fields.as_slice().into(),
            width: options.width,
            palette: Palette::new(options.color),
        }
    }
}

impl Format for TextFormat {
    fn set_width(&mut self, columns: Option<usize>) {
        self.width = columns;
    }

    fn set_zone(&mut self, zone: TimeZone) {
        self.timestamp.set_zone(zone);
    }

    fn write(&mut self, record: &DropRecord<'_>, line: &mut Vec<u8>) {
        let DropRecord {
            time,
            reason,
            class,
            sample,
            packet,
            skb,
            gso,
            device,
            direction,
            state,
            location,
            source,
            pid,
            comm,
            owner,
            netns,
            workload,
            stack,
            address,
            origin: _,
            bytes: _,
        } = record;
        let start = line.len();
        self.timestamp.write(*time, line);
        let style = self.palette.class(*class);
        let mut invisible = style.write(reason.unwrap_or("-"), line);
        packet::write_columns(&packet.tuple, line);

        write_number(" len=", skb.map(|skb| skb.len), line);
        self.write_gso(gso.as_ref(), line);
        packet::write_tokens(packet, self.fields, line);
        write_name(" if=", device.map(|device| device.name), line);
        self.write_skb(device.as_ref(), skb.as_ref(), *direction, line);
        if self.fields.has(ExtraField::State) {
            write_word(" state=", state.and_then(|state| state_name(state.0)), line);
        }
        line.extend_from_slice(b" class=");
        invisible += style.write(class.as_str(), line);
        if sample.is_some() {
            write_number(" sample=", *sample, line);
        }
        write_word(" at=", Some(location), line);
        if let Some(source) = source {
            write_source(" source=", source, line);
        }
        write_number(" pid=", Some(*pid), line);
        write_name(" comm=", Some(comm), line);
        write_owner(" owner=", owner.as_ref(), line);
        write_netns(" netns=", netns.as_ref(), line);
        self.write_workload(workload, line);
        if self.fields.has(ExtraField::Skb) {
            append(line, format_args!(" skb={address:#x}"));
        }
        if let Some(stack) = stack {
            line.extend_from_slice(b" stack=");
            let stack_start = line.len();
            match stack {
                Stack::Callers(callers) => line.extend_from_slice(callers.as_bytes()),
                Stack::Unknown => line.push(b'-'),
            }
            if let Some(width) = self.width {
                let end = start + invisible + width.saturating_sub(1);
                cut(line, stack_start.max(end));
            }
        }
        line.push(b'\n');
    }
}

impl TextFormat {
    fn write_gso(&self, gso: Option<&Gso>, line: &mut Vec<u8>) {
        if let Some(gso) = gso
            && gso.segments != Some(1)
        {
            write_number(" segs=", gso.segments, line);
        }
        if self.fields.has(ExtraField::Gso) {
            write_number(" gso=", gso.map(|gso| gso.size), line);
        }
    }

    /// Appends what was asked for of device and `sk_buff`.
    fn write_skb(
        &self,
        device: Option<&Device<'_>>,
        skb: Option<&SkbFields>,
        direction: Option<Direction>,
        line: &mut Vec<u8>,
    ) {
        let has = |field| self.fields.has(field);
        if has(ExtraField::Ifindex) {
            write_number(" ifindex=", device.map(|device| device.ifindex), line);
        }
        if has(ExtraField::Iif) {
            let iif = skb.map(|skb| skb.iif).filter(|iif| *iif != 0);
            write_number(" iif=", iif, line);
        }
        if has(ExtraField::Queue) {
            write_number(" queue=", skb.map(|skb| skb.queue), line);
        }
        if has(ExtraField::Dir) {
            write_word(" dir=", direction.map(direction_name), line);
        }
        if has(ExtraField::Mark) {
            write_hexadecimal(" mark=", skb.map(|skb| skb.mark), line);
        }
        if has(ExtraField::Prio) {
            write_hexadecimal(" prio=", skb.map(|skb| skb.priority), line);
        }
        if has(ExtraField::Hash) {
            write_hexadecimal(" hash=", skb.map(|skb| skb.hash), line);
        }
    }

    fn write_workload(&self, workload: &Workload<'_>, line: &mut Vec<u8>) {
        let Workload {
            container,
            pod,
            unit,
            container_id: _,
        } = workload;
        if container.is_some() {
            write_name(" container=", *container, line);
        }
        if pod.is_some() {
            write_name(" pod=", *pod, line);
        }
        if self.fields.has(ExtraField::Unit) {
            write_name(" unit=", *unit, line);
        }
    }
}

/// Appends `FILE:LINE`, with commas between those of inlined functions; `-` where it can't be known.
fn write_source(key: &str, source: &Source<'_>, line: &mut Vec<u8>) {
    let positions = match source {
        Source::Positions(positions) => *positions,
        Source::Unknown => return write_word(key, None, line),
    };
    line.extend_from_slice(key.as_bytes());
    for (index, position) in positions.iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        write_position(position, line);
    }
}

/// Appends `FILE:LINE`.
pub(super) fn write_position(position: &Position, line: &mut Vec<u8>) {
    write_name("", Some(position.file.as_bytes()), line);
    if position.line.is_some() {
        write_number(":", position.line, line);
    }
}

/// Appends `NAME[PID]` and the number of others.
pub(super) fn write_owner(key: &str, owner: Option<&Owner<'_>>, line: &mut Vec<u8>) {
    write_name(key, owner.map(|owner| owner.comm), line);
    if let Some(owner) = owner {
        write_number("[", Some(owner.pid), line);
        line.push(b']');
        if owner.others > 0 {
            write_number("+", Some(owner.others), line);
        }
    }
}

/// Appends the namespace's name or, where it has none, its inode number.
pub(crate) fn write_netns(key: &str, netns: Option<&Netns<'_>>, line: &mut Vec<u8>) {
    match netns {
        Some(Netns {
            name: Some(name), ..
        }) => write_name(key, Some(name), line),
        netns => write_number(key, netns.map(|netns| netns.inode), line),
    }
}

pub(super) fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Receive => "rx",
        Direction::Transmit => "tx",
        Direction::Forward => "fwd",
        Direction::Local => "local",
    }
}

/// Appends a name that others may have chosen, `-` where it can't be known.
pub(crate) fn write_name(key: &str, name: Option<&[u8]>, line: &mut Vec<u8>) {
    line.extend_from_slice(key.as_bytes());
    match name {
        Some(name) => write_escaped(name, line),
        None => line.push(b'-'),
    }
}

/// Appends a word of dropwatch's own, `-` where it can't be known.
pub(super) fn write_word(key: &str, word: Option<&str>, line: &mut Vec<u8>) {
    line.extend_from_slice(key.as_bytes());
    line.extend_from_slice(word.unwrap_or("-").as_bytes());
}

fn write_hexadecimal(key: &str, number: Option<u32>, line: &mut Vec<u8>) {
    match number {
        Some(number) => append(line, format_args!("{key}{number:#x}")),
        None => write_word(key, None, line),
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

pub(super) fn write_number<N: itoa::Integer>(key: &str, number: Option<N>, line: &mut Vec<u8>) {
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
