//! Writes JSON objects, member by member, without allocation.

use crate::packet::Part;

/// The name of a member with all that is around it, to be copied in one piece.
macro_rules! key {
    ($name:literal) => {
        $crate::format::json::object::Key(concat!(",\"", $name, "\":"))
    };
}
pub(in crate::format) use key;

/// What [`key`] makes.
#[derive(Clone, Copy)]
pub(in crate::format) struct Key(pub(in crate::format) &'static str);

/// An object that is being written.
pub(in crate::format) struct Object<'a> {
    line: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Object<'a> {
    /// Begins an object at the end of `line`.
    pub(in crate::format) fn open(line: &'a mut Vec<u8>) -> Self {
        let start = line.len();
        Self { line, start }
    }

    /// Ends the object, which has at least one member.
    pub(in crate::format) fn close(self) {
        // In place of the comma of the first member.
        if let Some(first) = self.line.get_mut(self.start) {
            *first = b'{';
        }
        self.line.push(b'}');
    }

    /// Begins a member, whose value is to be appended.
    pub(in crate::format) fn member(&mut self, key: Key) -> &mut Vec<u8> {
        self.line.extend_from_slice(key.0.as_bytes());
        self.line
    }

    /// As [`Object::member`], for a name without anything to escape.
    pub(in crate::format) fn named(&mut self, name: &str) -> &mut Vec<u8> {
        self.line.extend_from_slice(b",\"");
        self.line.extend_from_slice(name.as_bytes());
        self.line.extend_from_slice(b"\":");
        self.line
    }

    /// A number, `null` where it can't be known.
    pub(in crate::format) fn number<N: itoa::Integer>(&mut self, key: Key, number: Option<N>) {
        self.value(key, number, write_number);
    }

    /// A text of any bytes.
    pub(in crate::format) fn text(&mut self, key: Key, text: Option<&[u8]>) {
        self.value(key, text, write_text);
    }

    /// A word of dropwatch's own or of the kernel.
    pub(in crate::format) fn word(&mut self, key: Key, word: Option<&str>) {
        self.text(key, word.map(str::as_bytes));
    }

    /// What `write` makes of the value, `null` where it can't be known.
    pub(in crate::format) fn value<T>(
        &mut self,
        key: Key,
        value: Option<T>,
        write: impl FnOnce(T, &mut Vec<u8>),
    ) {
        write_or_null(value, self.member(key), write);
    }

    /// What only some packets have; there is no member if the packet does not.
    pub(in crate::format) fn part<T>(
        &mut self,
        key: Key,
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
pub(in crate::format) fn write_or_null<T>(
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
pub(in crate::format) fn write_number<N: itoa::Integer>(number: N, line: &mut Vec<u8>) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends an address of the kernel as a string.
pub(in crate::format) fn write_kernel_address(address: u64, line: &mut Vec<u8>) {
    write_plain(line, |line| {
        line.extend_from_slice(b"0x");
        let digits = (u64::BITS - address.leading_zeros()).div_ceil(4);
        write_digits(address, digits.max(1), line);
    });
}

/// Appends so many hexadecimal digits.
fn write_digits(number: u64, digits: u32, line: &mut Vec<u8>) {
    for place in (0..digits).rev() {
        let digit = (number >> (4 * place) & 0xf) as u8;
        line.push(match digit {
            0..10 => b'0' + digit,
            _ => b'a' + (digit - 10),
        });
    }
}

/// Appends an array with what `write` makes of each item.
pub(in crate::format) fn write_array<T>(
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
pub(in crate::format) fn write_plain(line: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    line.push(b'"');
    write(line);
    line.push(b'"');
}

/// Appends any bytes as a string.
pub(in crate::format) fn write_text(text: &[u8], line: &mut Vec<u8>) {
    line.push(b'"');
    write_characters(text, line);
    line.push(b'"');
}

/// Appends any bytes as they are between quotation marks.
///
/// All but printable ASCII is escaped, as nothing else is safe to look at on a terminal (control
/// characters, those that turn the direction of writing). What is not UTF-8 becomes U+FFFD: JSON
/// has no other place for it.
pub(in crate::format) fn write_characters(text: &[u8], line: &mut Vec<u8>) {
    if are_plain(text) {
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

/// Whether bytes stand for themselves in a string.
pub(in crate::format) fn are_plain(text: &[u8]) -> bool {
    // Without a way out in the middle, for that is many bytes at a time.
    text.iter()
        .fold(true, |plain, byte| plain & is_plain(*byte))
}

/// Whether a byte stands for itself in a string.
fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\')
}

/// JSON by serde, escaped as that of this module: what is neither printable ASCII nor the end of a
/// line is within strings alone.
pub(crate) fn ascii_json(json: &str) -> String {
    let mut out = Vec::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\n' | ' '..='~' => out.push(character as u8),
            _ => write_character(character, &mut out),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn write_character(character: char, line: &mut Vec<u8>) {
    match u8::try_from(character) {
        Ok(byte) if is_plain(byte) => line.push(byte),
        Ok(byte @ (b'"' | b'\\')) => line.extend_from_slice(&[b'\\', byte]),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                line.extend_from_slice(b"\\u");
                write_digits((*unit).into(), 4, line);
            }
        }
    }
}
