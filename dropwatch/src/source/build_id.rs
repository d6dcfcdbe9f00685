//! Build ids: what linkers write into kernels, modules and their debug files.

use std::{fmt, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use object::{Endianness, elf, read::elf::NoteIterator};

/// Longest build id in bytes; a linker's are 8 to 20 long.
const MAX_LEN: usize = 64;

/// A build id, shown in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildId(Vec<u8>);

impl BuildId {
    /// From its bytes; `None` if it is no build id.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        (2..=MAX_LEN)
            .contains(&bytes.len())
            .then(|| Self(bytes.to_vec()))
    }

    /// From hexadecimal digits; `None` if it is no build id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let digits: Option<Vec<u32>> = text.as_bytes().iter().map(digit).collect();
        let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
        let bytes: Vec<u8> = digits
            .chunks_exact(2)
            .map(|pair| (pair[0] << 4 | pair[1]) as u8)
            .collect();
        Self::new(&bytes)
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The running kernel's, of its ELF notes.
///
/// # Errors
/// The kernel does not show it.
pub(super) fn of_kernel(root: &Path) -> Result<BuildId> {
    read(&root.join("sys/kernel/notes")).context("reading the running kernel's build id")
}

/// That of a loaded module.
///
/// # Errors
/// There is no such module, or the kernel does not show it.
pub(super) fn of_module(root: &Path, module: &str) -> Result<BuildId> {
    ensure!(
        !module.contains('/') && module != "..",
        "no module is called '{}'",
        module.escape_debug()
    );
    let notes = format!("sys/module/{module}/notes/.note.gnu.build-id");
    read(&root.join(notes)).with_context(|| format!("reading the build id of module {module}"))
}

/// The build id among the ELF notes in a file.
fn read(path: &Path) -> Result<BuildId> {
    let notes = fs::read(path).with_context(|| path.display().to_string())?;
    let id = in_notes(&notes);
    id.with_context(|| format!("{} has none; give --build-id", path.display()))
}

fn in_notes(notes: &[u8]) -> Option<BuildId> {
    let endian = Endianness::default();
    let mut notes = NoteIterator::<elf::FileHeader64<Endianness>>::new(endian, 4, notes).ok()?;
    while let Some(note) = notes.next().ok()? {
        if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
            return BuildId::new(note.desc());
        }
    }
    None
}

/// The note that a file with this build id has.
#[cfg(test)]
pub(super) fn note(id: &BuildId) -> Vec<u8> {
    tests::note(b"GNU\0", elf::NT_GNU_BUILD_ID, &id.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF note, `Elf64_Nhdr` of `include/uapi/linux/elf.h`.
    pub(super) fn note(name: &[u8], number: u32, desc: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [name.len() as u32, desc.len() as u32, number] {
            note.extend_from_slice(&word.to_ne_bytes());
        }
        for part in [name, desc] {
            note.extend_from_slice(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn among_notes() {
        let id = [0x4f, 0x61, 0xd8, 1];
        let mut notes = note(b"Xen\0", 3, b"guest");
        notes.extend(note(b"GNU\0", 1, b"abi"));
        assert_eq!(in_notes(&notes), None);
        notes.extend(note(b"GNU\0", 3, &id));
        let found = in_notes(&notes).unwrap();
        assert_eq!(found.to_string(), "4f61d801");
        assert_eq!(BuildId::parse("4F61d801"), Some(found));
        for len in 0..notes.len() {
            assert_eq!(in_notes(&notes[..len]), None, "cut off at {len}");
        }
    }

    #[test]
    fn text_that_is_none() {
        for text in [
            "",
            "4",
            "4f",
            "4f6",
            "4f6x",
            "+f61",
            &"ab".repeat(MAX_LEN + 1),
        ] {
            assert_eq!(BuildId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn modules_are_names_of_folders() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("sys/module/veth/notes");
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(".note.gnu.build-id"),
            note(b"GNU\0", 3, &[1, 2]),
        )
        .unwrap();
        let id = of_module(root.path(), "veth").unwrap();
        assert_eq!(id.to_string(), "0102");
        for name in ["bridge", "../module/veth", ".."] {
            assert!(of_module(root.path(), name).is_err(), "{name}");
        }
    }
}
