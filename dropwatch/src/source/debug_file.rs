//! One file with debug information: its symbols, and DWARF's lines and inlined functions.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fs::File,
    io::ErrorKind,
    path::{Path, PathBuf},
    rc::Rc,
};

use addr2line::{Context, LookupContinuation as _, LookupResult};
use anyhow::{Context as _, Result, anyhow, ensure};
use gimli::{Dwarf, EndianSlice, RunTimeEndian, SectionId};
use object::{
    Object as _, ObjectKind, ObjectSection as _, ObjectSymbol as _, RelocationFlags,
    RelocationKind, RelocationTarget, SectionIndex, SectionKind, SymbolIndex,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{build_id::BuildId, frame::Frame, unpack::unpack};
use crate::{file_map, groups::hash, record::Position};

type Reader = EndianSlice<'static, RunTimeEndian>;

/// Most compilation units whose lines and functions are kept: some hundred kilobytes each.
const MAX_UNITS: usize = 256;

/// Where the code of a relocatable file is thought to begin: at none of the places that stand for
/// code that was removed.
const FIRST_BASE: u64 = 0x1_0000;

/// Functions of the kernel, each in a file whose path in its source tree is known: what is before
/// that in the debug file's path is where it was built. Assembler code is told from elsewhere.
const ANCHORS: [(&str, &str); 3] = [
    ("start_kernel", "init/main.c"),
    ("entry_SYSCALL_64", "arch/x86/entry/entry_64.S"),
    ("vectors", "arch/arm64/kernel/entry.S"),
];

/// A debug file. Its bytes stay mapped until the program ends.
pub(super) struct DebugFile {
    path: PathBuf,
    id: BuildId,
    object: object::File<'static>,
    /// Where the sections with code begin: only where the file does not say it itself.
    bases: FxHashMap<SectionIndex, u64>,
    /// Symbols of code by the hash of their names, sorted.
    symbols: Vec<(u32, u32)>,
    sections: DebugSections,
    lines: Context<Reader>,
    /// Units that `lines` has read.
    units: FxHashSet<usize>,
}

/// The sections that DWARF is read from.
#[derive(Clone)]
struct DebugSections(Rc<FxHashMap<&'static str, Reader>>);

impl DebugFile {
    /// Opens a file of this build; `None` if there is none at `path`.
    ///
    /// # Errors
    /// It is of another build, can't be read, or has no debug information.
    pub(super) fn open(path: &Path, id: &BuildId) -> Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.with_context(|| format!("opening {}", path.display()))?,
        };
        let opened = Self::read(path, &file, id);
        opened.with_context(|| path.display().to_string()).map(Some)
    }

    fn read(path: &Path, file: &File, id: &BuildId) -> Result<Self> {
        let bytes = unpack(file_map::map(file)?)?;
        let object = object::File::parse(bytes)?;
        let found = object.build_id()?.and_then(BuildId::new);
        let found = found.context("has no build id")?;
        ensure!(
            found == *id,
            "is of another build: its build id is {found}, not {id}"
        );
        ensure!(
            object.section_by_name(".debug_info").is_some()
                || object.section_by_name(".zdebug_info").is_some(),
            "has no debug information"
        );
        let bases = bases(&object);
        let sections = DebugSections::load(&object, &bases)?;
        Ok(Self {
            path: path.to_owned(),
            id: found,
            symbols: symbols(&object),
            lines: sections.lines()?,
            object,
            bases,
            sections,
            units: FxHashSet::default(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is of this build.
    pub(super) fn is_of(&self, id: &BuildId) -> bool {
        self.id == *id
    }

    /// The addresses in this file that `frame` can stand for: of the code that calls, see
    /// [`code_at`].
    pub(super) fn addresses(&self, frame: &Frame<'_>) -> Vec<u64> {
        let mut addresses = BTreeSet::new();
        for symbol in self.named(frame.function) {
            let size = match symbol.size() {
                // Assembler code often does not tell.
                0 => self.distance_to_next(&symbol),
                size => size,
            };
            let fits = frame
                .size
                .is_none_or(|told| told.abs_diff(size) < ALIGNMENT);
            // A call can be the last that a function does: it returns behind its end.
            if fits && code_at(frame.offset) < size {
                let start = self.address(&symbol);
                addresses.insert(start.wrapping_add(code_at(frame.offset)));
            }
        }
        addresses.into_iter().collect()
    }

    /// Where the code at `address` comes from, innermost inlined function first; empty if the file
    /// does not say it. What paths begin with is cut off, if it is one of `prefixes`.
    ///
    /// # Errors
    /// The debug information is broken.
    pub(super) fn positions(&mut self, address: u64, prefixes: &[String]) -> Result<Vec<Position>> {
        self.forget_units(address)?;
        let mut lookup = self.lines.find_frames(address);
        let mut frames = loop {
            match lookup {
                LookupResult::Output(frames) => break frames?,
                // Split DWARF: its parts lie in the folder that the kernel was built in.
                LookupResult::Load { continuation, .. } => lookup = continuation.resume(None),
            }
        };
        let mut positions: Vec<Position> = Vec::new();
        while let Some(frame) = frames.next()? {
            let location = frame.location.as_ref();
            let Some(file) = location.and_then(|location| location.file) else {
                continue;
            };
            let function = frame.function.as_ref();
            let function = function.map(|function| function.raw_name()).transpose()?;
            positions.push(Position {
                file: in_tree(file, prefixes),
                line: location
                    .and_then(|location| location.line)
                    .filter(|line| *line > 0),
                function: function.map(Cow::into_owned),
            });
        }
        Ok(positions)
    }

    /// What the paths of the kernel's source files begin with.
    pub(super) fn prefixes(&self) -> Vec<String> {
        let mut prefixes = Vec::new();
        for (function, file) in ANCHORS {
            let symbol = self.named(function).next();
            let address = symbol.map(|symbol| self.address(&symbol));
            let location = address.and_then(|address| self.lines.find_location(address).ok()?);
            let path = location.and_then(|location| location.file).map(clean);
            let prefix = path.as_deref().and_then(|path| path.strip_suffix(file));
            prefixes.extend(
                prefix
                    .filter(|prefix| !prefix.is_empty())
                    .map(str::to_owned),
            );
        }
        prefixes
    }

    /// Code of this name.
    fn named<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = object::Symbol<'static, 'a>> + 'a {
        let hash = name_hash(name.as_bytes());
        let start = self.symbols.partition_point(|(other, _)| *other < hash);
        let same = self.symbols[start..].iter();
        same.take_while(move |(other, _)| *other == hash)
            .filter_map(|(_, index)| {
                let symbol = self.object.symbol_by_index(SymbolIndex(*index as usize));
                symbol.ok()
            })
            .filter(move |symbol| symbol.name_bytes() == Ok(name.as_bytes()))
    }

    fn address(&self, symbol: &object::Symbol<'static, '_>) -> u64 {
        address_of(symbol, &self.bases)
    }

    /// Bytes from a symbol to the next one in its section.
    fn distance_to_next(&self, symbol: &object::Symbol<'static, '_>) -> u64 {
        let others = self.symbols.iter().filter_map(|(_, index)| {
            let other = self.object.symbol_by_index(SymbolIndex(*index as usize));
            other.ok()
        });
        let behind = others.filter_map(|other| {
            let distance = other.address().checked_sub(symbol.address())?;
            (other.section_index() == symbol.section_index() && distance > 0).then_some(distance)
        });
        behind.min().unwrap_or_default()
    }

    /// Starts anew when the unit of `address` is one too many.
    fn forget_units(&mut self, address: u64) -> Result<()> {
        let LookupResult::Output(Some(unit)) = self.lines.find_dwarf_and_unit(address) else {
            return Ok(());
        };
        if self.units.insert(unit.header.offset().0) && self.units.len() > MAX_UNITS {
            self.lines = self.sections.lines()?;
            self.units.clear();
        }
        Ok(())
    }
}

/// What kernel messages count to a function's length: the room up to the next one.
const ALIGNMENT: u64 = 64;

/// Distance of the code that is meant from the start of its function. What lines show is where a
/// call returns to, the byte before it is part of the call; the start itself is the function.
fn code_at(offset: u64) -> u64 {
    offset.saturating_sub(1)
}

fn name_hash(name: &[u8]) -> u32 {
    (hash(name) >> 32) as u32
}

fn is_code(section: SectionKind) -> bool {
    section == SectionKind::Text
}

/// Addresses for the sections of a relocatable file, which all begin at 0 there.
fn bases(object: &object::File<'static>) -> FxHashMap<SectionIndex, u64> {
    let mut bases = FxHashMap::default();
    if object.kind() != ObjectKind::Relocatable {
        return bases;
    }
    let mut next = FIRST_BASE;
    for section in object.sections().filter(|section| is_code(section.kind())) {
        bases.insert(section.index(), next);
        // Never side by side: what lies behind a function is in no other one.
        next = next.saturating_add(section.size().next_multiple_of(FIRST_BASE) + FIRST_BASE);
    }
    bases
}

fn address_of(symbol: &object::Symbol<'_, '_>, bases: &FxHashMap<SectionIndex, u64>) -> u64 {
    let base = symbol.section_index().and_then(|index| bases.get(&index));
    symbol
        .address()
        .wrapping_add(base.copied().unwrap_or_default())
}

/// The symbols in sections with code.
fn symbols(object: &object::File<'static>) -> Vec<(u32, u32)> {
    let code: FxHashSet<SectionIndex> = object
        .sections()
        .filter(|section| is_code(section.kind()))
        .map(|section| section.index())
        .collect();
    let symbols = object.symbols().filter(|symbol| {
        let section = symbol.section_index();
        section.is_some_and(|section| code.contains(&section))
    });
    let mut symbols: Vec<(u32, u32)> = symbols
        .filter_map(|symbol| {
            let name = symbol.name_bytes().ok().filter(|name| !name.is_empty())?;
            Some((name_hash(name), u32::try_from(symbol.index().0).ok()?))
        })
        .collect();
    symbols.sort_unstable();
    symbols
}

impl DebugSections {
    fn load(object: &object::File<'static>, bases: &FxHashMap<SectionIndex, u64>) -> Result<Self> {
        let endian = match object.is_little_endian() {
            true => RunTimeEndian::Little,
            false => RunTimeEndian::Big,
        };
        let mut sections = FxHashMap::default();
        for id in NEEDED {
            let Some(section) = object.section_by_name(id.name()) else {
                continue;
            };
            let data = section.uncompressed_data()?;
            let data = match object.kind() {
                // Others have been relocated when they were linked, even if they tell how.
                ObjectKind::Relocatable => {
                    let mut data = data.into_owned();
                    relocate(object, &section, bases, &mut data)
                        .with_context(|| format!("relocating {}", id.name()))?;
                    Cow::Owned(data)
                }
                _ => data,
            };
            let data: &'static [u8] = match data {
                Cow::Borrowed(data) => data,
                // It lives as long as the rest of the file.
                Cow::Owned(data) => Box::leak(data.into_boxed_slice()),
            };
            sections.insert(id.name(), EndianSlice::new(data, endian));
        }
        Ok(Self(Rc::new(sections)))
    }

    fn lines(&self) -> Result<Context<Reader>> {
        let none = EndianSlice::new(&[], RunTimeEndian::default());
        let dwarf = Dwarf::load(|id| {
            Ok::<_, gimli::Error>(self.0.get(id.name()).copied().unwrap_or(none))
        })?;
        Ok(Context::from_dwarf(dwarf)?)
    }
}

/// The sections that lines and inlined functions are read from.
const NEEDED: [SectionId; 11] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugAranges,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
    SectionId::DebugTypes,
];

/// Does for a debug section what the linker has not done.
fn relocate(
    object: &object::File<'static>,
    section: &object::Section<'static, '_>,
    bases: &FxHashMap<SectionIndex, u64>,
    data: &mut [u8],
) -> Result<()> {
    for (offset, relocation) in section.relocations() {
        if relocation.kind() == RelocationKind::None
            || relocation.flags() == (RelocationFlags::Elf { r_type: 0 })
        {
            continue;
        }
        let target = match (relocation.kind(), relocation.target()) {
            (RelocationKind::Absolute, RelocationTarget::Symbol(index)) => {
                address_of(&object.symbol_by_index(index)?, bases)
            }
            other => return Err(anyhow!("unknown relocation {other:?}")),
        };
        let start = usize::try_from(offset)?;
        let len = usize::from(relocation.size() / 8);
        let place = data.get_mut(start..start.saturating_add(len));
        let place = place.context("a relocation lies outside of the section")?;
        let value = target.wrapping_add_signed(relocation.addend());
        write_number(
            place,
            value,
            object.is_little_endian(),
            relocation.has_implicit_addend(),
        )?;
    }
    Ok(())
}

/// Writes the low bytes of `value`, or adds them to what is there.
fn write_number(place: &mut [u8], value: u64, is_little: bool, adds: bool) -> Result<()> {
    let len = place.len();
    ensure!(matches!(len, 4 | 8), "a relocation of {len} bytes");
    let mut bytes = [0; 8];
    if !is_little {
        place.reverse();
    }
    bytes[..len].copy_from_slice(place);
    let before = if adds { u64::from_le_bytes(bytes) } else { 0 };
    let bytes = before.wrapping_add(value).to_le_bytes();
    place.copy_from_slice(&bytes[..len]);
    if !is_little {
        place.reverse();
    }
    Ok(())
}

/// A path without its first part, if that is where the kernel was built.
fn in_tree(path: &str, prefixes: &[String]) -> String {
    let path = clean(path);
    let inside = prefixes
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix.as_str()));
    inside.map_or(path.clone(), str::to_owned)
}

/// A path without `.` and `..`, as far as that can be told from the text.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            // Two slashes.
            "" if !parts.is_empty() => {}
            ".." if parts.last().is_some_and(|last| !matches!(*last, ".." | "")) => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_in_the_tree() {
        let prefixes = ["/build/linux-6.1/".to_owned(), "debian/build/".to_owned()];
        for (path, expected) in [
            ("/build/linux-6.1/net/core/dev.c", "net/core/dev.c"),
            ("/build/linux-6.1/out/../net/core/dev.c", "net/core/dev.c"),
            ("/build/linux-6.1/./net//core/dev.c", "net/core/dev.c"),
            (
                "debian/build/include/linux/skbuff.h",
                "include/linux/skbuff.h",
            ),
            ("/var/lib/dkms/x/a.c", "/var/lib/dkms/x/a.c"),
            ("../../net/a.c", "../../net/a.c"),
            ("/../a.c", "/../a.c"),
            ("a.c", "a.c"),
        ] {
            assert_eq!(in_tree(path, &prefixes), expected);
        }
    }

    #[test]
    fn numbers_of_relocations() {
        let mut place = [1, 0, 0, 0xff, 7];
        write_number(&mut place[..4], 0x1_0203_0405, true, false).unwrap();
        assert_eq!(place, [5, 4, 3, 2, 7]);
        write_number(&mut place[..4], 1, true, true).unwrap();
        assert_eq!(place, [6, 4, 3, 2, 7]);
        let mut place = [0, 0, 0, 1];
        write_number(&mut place, 0x10, false, true).unwrap();
        assert_eq!(place, [0, 0, 0, 0x11]);
        assert!(write_number(&mut [0; 3], 1, true, false).is_err());
    }
}
