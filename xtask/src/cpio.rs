//! The archive format of an initramfs (`newc`, see the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// The files of an initramfs, by their path without the leading `/`.
#[derive(Default)]
pub(crate) struct Archive {
    // Sorted, so that a folder comes before what is in it.
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    mode: u32,
    data: Vec<u8>,
}

impl Archive {
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(relative(path))
    }

    pub(crate) fn directory(&mut self, path: &str) {
        self.insert(path, DIRECTORY, Vec::new());
    }

    /// A file; all are executable, which harms none of them.
    pub(crate) fn file(&mut self, path: &str, data: impl Into<Vec<u8>>) {
        self.insert(path, PROGRAM, data.into());
    }

    pub(crate) fn link(&mut self, path: &str, to: &str) {
        self.insert(path, LINK, to.into());
    }

    fn insert(&mut self, path: &str, mode: u32, data: Vec<u8>) {
        let path = relative(path);
        let parents = Path::new(path).ancestors().skip(1);
        for parent in parents.filter_map(Path::to_str).filter(|p| !p.is_empty()) {
            self.entries.entry(parent.to_owned()).or_insert(Entry {
                mode: DIRECTORY,
                data: Vec::new(),
            });
        }
        self.entries.insert(path.to_owned(), Entry { mode, data });
    }

    pub(crate) fn write(&self, mut out: impl Write) -> io::Result<()> {
        for (path, entry) in &self.entries {
            write_entry(&mut out, path, entry.mode, &entry.data)?;
        }
        write_entry(&mut out, "TRAILER!!!", 0, &[])
    }
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn write_entry(out: &mut impl Write, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
    let name_size = path.len() + 1;
    let fields = [
        0, // inode: matters for hard links only
        mode as usize,
        0, // owner
        0, // group
        1, // links
        0, // time
        data.len(),
        0, // device of the archive
        0,
        0, // device number
        0,
        name_size,
        0, // checksum: unused in this format
    ];
    let mut header = b"070701".to_vec();
    for field in fields {
        write!(header, "{field:08x}")?;
    }
    header.extend(path.as_bytes());
    header.push(0);
    for part in [&header[..], data] {
        out.write_all(part)?;
        // Header and data each end on a multiple of four.
        out.write_all(&[0; 3][..part.len().next_multiple_of(4) - part.len()])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(archive: &Archive) -> Vec<u8> {
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn folders_come_before_their_files() {
        let mut archive = Archive::default();
        archive.file("/lib/modules/x", "data");
        assert!(archive.contains("/lib"));
        let text = String::from_utf8(bytes(&archive)).unwrap();
        let at = |name: &str| text.find(&format!("{name}\0")).unwrap();
        assert!(at("lib") < at("lib/modules"));
        assert!(at("lib/modules") < at("lib/modules/x"));
    }

    #[test]
    fn every_entry_is_aligned() {
        let mut archive = Archive::default();
        archive.file("/a", "12345");
        let bytes = bytes(&archive);
        assert_eq!(bytes.len() % 4, 0);
        // 110 bytes of header and "a\0" make 112; the data takes 8.
        assert!(bytes[120..].starts_with(b"070701"));
    }
}
