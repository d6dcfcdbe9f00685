//! Writes JSON objects, member by member, without allocation.

use crate::{format::append, packet::Part};

/// An object that is being written.
pub(super) struct Object<'a> {
    line: &'a mut Vec<u8>,
    separator: u8,
}

impl<'a> Object<'a> {
    /// Begins an object at the end of `line`.
    pub(super) fn open(line: &'a mut Vec<u8>) -> Self {
        Self {
            line,
            separator: b'{',
        }
    }

    /// Ends the object, which has at least one member.
    pub(super) fn close(self) {
        self.line.push(b'}');
    }

    /// Begins a member, whose value is to be appended.
    pub(super) fn member(&mut self, key: &str) -> &mut Vec<u8> {
        self.line.push(self.separator);
        self.separator = b',';
        self.line.push(b'"');
        self.line.extend_from_slice(key.as_bytes());
        self.line.extend_from_slice(b"\":");
        self.line
    }

    /// A number, `null` where it can't be known.
    pub(super) fn number<N: itoa::Integer>(&mut self, key: &str, number: Option<N>) {
        self.value(key, number, write_number);
    }

    /// A text of any bytes.
    pub(super) fn text(&mut self, key: &str, text: Option<&[u8]>) {
        self.value(key, text, write_text);
    }

    /// A word of dropwatch's own or of the kernel.
    pub(super) fn word(&mut self, key: &str, word: Option<&str>) {
        self.text(key, word.map(str::as_bytes));
    }

    /// What `write` makes of the value, `null` where it can't be known.
    pub(super) fn value<T>(
        &mut self,
        key: &str,
        value: Option<T>,
        write: impl FnOnce(T, &mut Vec<u8>),
    ) {
        write_or_null(value, self.member(key), write);
    }

    /// What only some packets have; there is no member if the packet does not.
    pub(super) fn part<T>(
        &mut self,
        key: &str,
        part: Part<T>,
        write: impl FnOnce(T, &mut Vec<u8>),
    ) {
        match part {
            Part::Absent => {}
            Part::CutOff => self.value(key, None, write),
            Part::Known(value) => self.value(key, Some(value), write),
        }
    }
}

/// Appends `value`, or `null`.
pub(super) fn write_or_null<T>(
    value: Option<T>,
    line: &mut Vec<u8>,
    write: impl FnOnce(T, &mut Vec<u8>),
) {
    match value {
        Some(value) => write(value, line),
        None => line.extend_from_slice(b"null"),
    }
}

/// Appends a number.
pub(super) fn write_number<N: itoa::Integer>(number: N, line: &mut Vec<u8>) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends an array with what `write` makes of each item.
pub(super) fn write_array<T>(
    items: impl Iterator<Item = T>,
    line: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>),
) {
    line.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            line.push(b',');
        }
        write(item, line);
    }
    line.push(b']');
}

/// Appends a string of what `write` appends, which has to be visible ASCII without quotation
/// marks and backslashes.
pub(super) fn write_plain(line: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    line.push(b'"');
    write(line);
    line.push(b'"');
}

/// Appends any bytes as a string.
pub(super) fn write_text(text: &[u8], line: &mut Vec<u8>) {
    line.push(b'"');
    write_characters(text, line);
    line.push(b'"');
}

/// Appends any bytes as they are between quotation marks.
///
/// All but printable ASCII is escaped, as nothing else is safe to look at on a terminal (control
/// characters, those that turn the direction of writing). What is not UTF-8 becomes U+FFFD: JSON
/// has no other place for it.
pub(super) fn write_characters(text: &[u8], line: &mut Vec<u8>) {
    // Without a way out in the middle, for that is many bytes at a time.
    let is_plain = text
        .iter()
        .fold(true, |plain, byte| plain & is_plain(*byte));
    if is_plain {
        return line.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            write_character(character, line);
        }
        if !chunk.invalid().is_empty() {
            write_character(char::REPLACEMENT_CHARACTER, line);
        }
    }
}

/// Whether a byte stands for itself in a string.
fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\')
}

fn write_character(character: char, line: &mut Vec<u8>) {
    match u8::try_from(character) {
        Ok(byte) if is_plain(byte) => line.push(byte),
        Ok(byte @ (b'"' | b'\\')) => line.extend_from_slice(&[b'\\', byte]),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                append(line, format_args!("\\u{unit:04x}"));
            }
        }
    }
}
