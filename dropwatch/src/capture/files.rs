//! The files of `--write`: FILE, which is written, and the full ones before it, FILE.1
//! being the oldest. A file never changes once it has its number.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Seek as _, SeekFrom, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::config::Rotation;

/// Packets hold what others have sent: nobody else reads them.
const MODE: u32 = 0o600;

/// The file that is written, and the full ones.
pub(super) struct Files {
    path: PathBuf,
    file: File,
    /// Bytes in it.
    len: u64,
    rotation: Option<Rotation>,
    full: Full,
}

/// The full files of a name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Full {
    /// Numbers of those that are there, also of runs before this one.
    numbers: BTreeSet<u64>,
    /// The highest number that anything has.
    last: u64,
    /// How many this run has finished.
    finished: u64,
}

impl Files {
    /// Creates the file at `path`. A file that is there is replaced or, with `rotation`,
    /// becomes the last one of the full ones.
    ///
    /// # Errors
    /// The file can't be created, or what has its name is no regular file.
    pub(super) fn create(path: &Path, rotation: Option<Rotation>) -> Result<Self> {
        let mut full = Full::default();
        if let Some(rotation) = rotation {
            full = Full::find(path)?;
            if exists(path)? {
                full.push(path)?;
            }
            full.prune(path, rotation)?;
        }
        Ok(Self {
            path: path.to_owned(),
            file: create(path)?,
            len: 0,
            rotation,
            full,
        })
    }

    /// Whether a new file is due once `pending` more bytes are written.
    pub(super) fn is_full(&self, pending: usize) -> bool {
        self.rotation
            .is_some_and(|rotation| self.len + pending as u64 >= rotation.size)
    }

    /// Makes a full file of the one that is written, and begins a new one.
    ///
    /// # Errors
    /// It can't be renamed, one too many can't be removed, or the new one can't be
    /// created.
    pub(super) fn next(&mut self) -> Result<()> {
        // Who has moved the file away has taken care of it.
        if exists(&self.path)? {
            self.full.push(&self.path)?;
            self.full.finished += 1;
        }
        if let Some(rotation) = self.rotation {
            self.full.prune(&self.path, rotation)?;
        }
        self.file = create(&self.path)?;
        self.len = 0;
        Ok(())
    }

    /// Appends whole packets.
    ///
    /// # Errors
    /// They can't be written; none of them is in the file then.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // A part of them would make the file end in the middle of a packet. If that
            // can't be helped, readers will say so.
            self.file.set_len(self.len).ok();
            // What comes next may still fit, and belongs where this began.
            self.file.seek(SeekFrom::Start(self.len)).ok();
            return Err(error).with_context(|| format!("writing {}", self.name()));
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// The name of the file that is written.
    pub(super) fn name(&self) -> impl fmt::Display {
        self.path.display()
    }

    /// How many full files this run has made.
    pub(super) fn finished(&self) -> u64 {
        self.full.finished
    }
}

impl Full {
    /// Looks for the full files of `path`.
    fn find(path: &Path) -> Result<Self> {
        let mut full = Self::default();
        let Some(name) = path.file_name() else {
            return Ok(full);
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let reading = || format!("reading the folder {}", folder.display());
        for entry in fs::read_dir(folder).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            let Some(number) = number_in(entry.file_name().as_bytes(), name.as_bytes()) else {
                continue;
            };
            full.last = full.last.max(number);
            if entry.file_type().with_context(reading)?.is_file() {
                full.numbers.insert(number);
            }
        }
        Ok(full)
    }

    /// Gives the file at `path` the next number.
    fn push(&mut self, path: &Path) -> Result<()> {
        let number = self.last + 1;
        let target = numbered(path, number);
        fs::rename(path, &target)
            .with_context(|| format!("renaming {} to {}", path.display(), target.display()))?;
        self.last = number;
        self.numbers.insert(number);
        Ok(())
    }

    /// Removes the oldest files, so that there is room for the one that is written.
    fn prune(&mut self, path: &Path, rotation: Rotation) -> Result<()> {
        let Some(keep) = rotation.keep else {
            return Ok(());
        };
        while self.numbers.len() >= keep as usize
            && let Some(oldest) = self.numbers.pop_first()
        {
            let oldest = numbered(path, oldest);
            match fs::remove_file(&oldest) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", oldest.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The number of a full file of `name`.
fn number_in(full: &[u8], name: &[u8]) -> Option<u64> {
    let digits = full.strip_prefix(name)?.strip_prefix(b".")?;
    let number: u64 = str::from_utf8(digits).ok()?.parse().ok()?;
    // Not what we would have written: `+1`, `01`, or the last number that there is.
    (number.to_string().as_bytes() == digits && (1..u64::MAX).contains(&number)).then_some(number)
}

/// `path` with a number behind it.
fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

/// Whether there is a file at `path`.
///
/// # Errors
/// There is something else, which must not be moved or replaced: a link leads to
/// where somebody else wants it to.
fn exists(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => bail!("{} is no regular file; give another name", path.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("looking at {}", path.display())),
    }
}

/// Creates a file. One that is there is removed first: it may be somebody else's, or be
/// open.
fn create(path: &Path) -> Result<File> {
    if exists(path)? {
        fs::remove_file(path).with_context(|| format!("replacing {}", path.display()))?;
    }
    // Fails if there is anything by now, links included.
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path);
    created.with_context(|| format!("creating {}", path.display()))
}

#[cfg(test)]
#[path = "files/tests.rs"]
mod tests;
