//! Where code comes from, as JSON.

use super::object::{Object, key, write_array, write_number};
use crate::record::{Position, Source};

/// Appends an array of the positions, `null` where they can't be known.
pub(in crate::format) fn write_source(source: &Source<'_>, line: &mut Vec<u8>) {
    match source {
        Source::Positions(positions) => write_positions(positions, line),
        Source::Unknown => line.extend_from_slice(b"null"),
    }
}

/// Appends an array of objects.
pub(in crate::format) fn write_positions(positions: &[Position], line: &mut Vec<u8>) {
    write_array(positions.iter(), line, |position, line| {
        let Position {
            file,
            line: number,
            function,
        } = position;
        let mut object = Object::open(line);
        object.text(key!("file"), Some(file.as_bytes()));
        object.value(key!("line"), *number, write_number);
        object.text(key!("function"), function.as_ref().map(String::as_bytes));
        object.close();
    });
}
