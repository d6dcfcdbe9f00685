//! Sections and frames: what lies around everything in a recording.

/// The first bytes of each section. As those of PNG, they notice whoever takes the file for text.
pub const MAGIC: [u8; 8] = *b"\x89DWR\r\n\x1a\n";

/// Version of the layout: a reader of another one can't read it.
pub const MAJOR: u16 = 1;

/// Counts what was added since [`MAJOR`] changed: older readers skip it.
pub const MINOR: u16 = 0;

/// [`MAGIC`], the two versions, and the checksum of both.
const PREAMBLE_LEN: usize = MAGIC.len() + 8;

/// Length of the payload, checksum, kind.
const HEAD_LEN: usize = 9;

/// Longest payload: a packet that was captured whole fits.
pub(super) const MAX_PAYLOAD: usize = 1 << 18;

/// Appends what a section starts with.
pub(super) fn begin_section(out: &mut Vec<u8>) {
    let [a, b] = MAJOR.to_le_bytes();
    let [c, d] = MINOR.to_le_bytes();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[a, b, c, d]);
    out.extend_from_slice(&checksum(&[&MAGIC, &[a, b, c, d]]).to_le_bytes());
}

/// Appends a frame with the payload that `write` appends.
pub(super) fn append(kind: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_LEN]);
    let body = out.len();
    write(out);
    let payload = out.get(body..).unwrap_or_default();
    debug_assert!(
        payload.len() <= MAX_PAYLOAD,
        "a payload too long to be read"
    );
    let len = payload.len() as u32;
    let checksum = checksum(&[&[kind], payload]);
    if let Some(head) = out.get_mut(start..body) {
        head[..4].copy_from_slice(&len.to_le_bytes());
        head[4..8].copy_from_slice(&checksum.to_le_bytes());
        head[8] = kind;
    }
}

/// CRC-32 (that of Ethernet and gzip) of all parts.
fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// What some bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned<'a> {
    /// A section of these versions.
    Section { major: u16, minor: u16 },
    /// A whole frame.
    Frame { kind: u8, payload: &'a [u8] },
    /// There are too few bytes to tell.
    Incomplete,
    /// Neither: the bytes are damaged.
    Broken,
}

/// Looks at what `bytes` begin with, and how long it is.
pub(super) fn scan(bytes: &[u8]) -> (Scanned<'_>, usize) {
    let common = bytes.len().min(MAGIC.len());
    // No length is the start of the magic: it would be a thousand times the longest.
    if bytes.first() == MAGIC.first() && bytes.get(..common) == MAGIC.get(..common) {
        return scan_preamble(bytes);
    }
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_LEN>() else {
        return (Scanned::Incomplete, 0);
    };
    let [a, b, c, d, e, f, g, h, kind] = *head;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    if len > MAX_PAYLOAD {
        return (Scanned::Broken, 0);
    }
    let Some(payload) = rest.get(..len) else {
        return (Scanned::Incomplete, 0);
    };
    if checksum(&[&[kind], payload]) != u32::from_le_bytes([e, f, g, h]) {
        return (Scanned::Broken, 0);
    }
    (Scanned::Frame { kind, payload }, HEAD_LEN + len)
}

fn scan_preamble(bytes: &[u8]) -> (Scanned<'_>, usize) {
    let Some(&[a, b, c, d, e, f, g, h]) = bytes.get(MAGIC.len()..PREAMBLE_LEN) else {
        return (Scanned::Incomplete, 0);
    };
    if checksum(&[&MAGIC, &[a, b, c, d]]) != u32::from_le_bytes([e, f, g, h]) {
        return (Scanned::Broken, 0);
    }
    let section = Scanned::Section {
        major: u16::from_le_bytes([a, b]),
        minor: u16::from_le_bytes([c, d]),
    };
    (section, PREAMBLE_LEN)
}

/// Where the next section begins behind the first byte: at its magic, or what may be the start
/// of it at the end. The length if there is none.
pub(super) fn next_section(bytes: &[u8]) -> usize {
    let starts = 1..bytes.len();
    let mut starts = starts.filter(|at| bytes.get(*at) == MAGIC.first());
    let is_magic = |at: &usize| {
        let rest = bytes.get(*at..).unwrap_or_default();
        let common = rest.len().min(MAGIC.len());
        rest.get(..common) == MAGIC.get(..common)
    };
    starts.find(is_magic).unwrap_or(bytes.len())
}
