//! The files of `--write`: FILE, which is written, and the full ones before it, FILE.1
//! being the oldest. A file never changes once it has its number.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, renameat_with},
    io::Errno,
    process::geteuid,
};

use crate::{config::Rotation, format::is_pcapng, recording};

/// Packets hold what others have sent: nobody else reads them.
const MODE: u32 = 0o600;

/// The last number; what has more digits is somebody's date.
const MAX_NUMBER: u64 = 9_999_999;

/// A file, whatever its names are: its device and its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

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
    /// The highest number of a capture. What else has a number is found when it is its turn.
    last: u64,
    /// How many this run has finished.
    finished: u64,
}

impl Files {
    /// Creates the file at `path`. A file that is there is replaced or, with `rotation`,
    /// becomes the last one of the full ones; none of `inputs`, which are being read.
    ///
    /// # Errors
    /// The file can't be created, what has its name is no regular file, is being read, or is being
    /// written by another run.
    pub(super) fn create(
        path: &Path,
        rotation: Option<Rotation>,
        inputs: &[FileId],
    ) -> Result<Self> {
        let mut full = Full::default();
        // Held until the new file is there and locked itself.
        let old = lock_old(path, inputs)?;
        if let Some(rotation) = rotation {
            full = Full::find(path, inputs)?;
            if old.is_some() {
                full.push(path)?;
            }
            full.prune(path, rotation)?;
        } else if old.is_some() {
            // It may be somebody else's, or be open.
            fs::remove_file(path).with_context(|| format!("replacing {}", path.display()))?;
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
        if self.is_in_place() {
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

    /// Whether somebody has removed the file that is written, and what is in it.
    pub(super) fn is_removed(&self) -> bool {
        let written = self.file.metadata();
        written.is_ok_and(|written| written.nlink() == 0)
    }

    /// Whether the file that is written still has its name.
    pub(super) fn is_in_place(&self) -> bool {
        has_name(&self.file, &self.path)
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
    /// Looks for the full files of `path`; none of them may be among `inputs`.
    ///
    /// # Errors
    /// The folder can't be read, one of them is being read, or one has the last number.
    fn find(path: &Path, inputs: &[FileId]) -> Result<Self> {
        let mut full = Self::default();
        let Some(name) = path.file_name() else {
            return Ok(full);
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let reading = || format!("reading the folder {}", folder.display());
        // Where anybody can add files, those of other users are not ours.
        let is_shared = fs::metadata(folder).with_context(reading)?.mode() & Mode::SVTX.bits() != 0;
        let user = geteuid().as_raw();
        for entry in fs::read_dir(folder).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            let Some(number) = number_in(entry.file_name().as_bytes(), name.as_bytes()) else {
                continue;
            };
            // Another run may have removed it by now.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let is_ours = !is_shared || metadata.uid() == user;
            if is_ours && metadata.is_file() && is_capture(&entry.path()) {
                ensure_unread(&entry.path(), &metadata, inputs)?;
                full.numbers.insert(number);
                if metadata.len() > 0 {
                    full.last = full.last.max(number);
                }
            }
        }
        // An empty one behind them is not newer than what this run writes, and has no say.
        full.numbers.retain(|number| *number <= full.last);
        ensure_left(path, full.last)?;
        Ok(full)
    }

    /// Gives the file at `path` the next number that nothing else has.
    fn push(&mut self, path: &Path) -> Result<()> {
        loop {
            ensure_left(path, self.last)?;
            self.last += 1;
            let target = numbered(path, self.last);
            match rename(path, &target) {
                // Made by somebody else since the folder was read.
                Err(Errno::EXIST) => {}
                Ok(()) => break,
                Err(error) => {
                    let (from, to) = (path.display(), target.display());
                    return Err(error).with_context(|| format!("renaming {from} to {to}"));
                }
            }
        }
        self.numbers.insert(self.last);
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

/// Fails if no number comes after `last`.
fn ensure_left(path: &Path, last: u64) -> Result<()> {
    ensure!(
        last < MAX_NUMBER,
        "there are no numbers left behind {}; move {} away, or give another name",
        path.display(),
        numbered(path, MAX_NUMBER).display()
    );
    Ok(())
}

/// The number of a full file of `name`.
fn number_in(full: &[u8], name: &[u8]) -> Option<u64> {
    let digits = full.strip_prefix(name)?.strip_prefix(b".")?;
    let number: u64 = str::from_utf8(digits).ok()?.parse().ok()?;
    // Not what we would have written: `+1`, `01`, or a date.
    (number.to_string().as_bytes() == digits && (1..=MAX_NUMBER).contains(&number))
        .then_some(number)
}

/// Whether a file begins as those that `--write` makes, or is empty: others are not ours to remove.
fn is_capture(path: &Path) -> bool {
    let mut head = Vec::new();
    let len = recording::MAGIC.len() as u64;
    let read = open_to_look(path).and_then(|file| file.take(len).read_to_end(&mut head));
    read.is_ok_and(|count| count == 0 || is_pcapng(&head) || head.starts_with(&recording::MAGIC))
}

/// Opens a file to read it, and no link, and without waiting for anybody.
fn open_to_look(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)
}

/// `path` with a number behind it.
fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

/// Renames a file to a name that nothing has.
fn rename(path: &Path, target: &Path) -> Result<(), Errno> {
    match renameat_with(CWD, path, CWD, target, RenameFlags::NOREPLACE) {
        // This file system can't (NFS): the next best that it can.
        Err(Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::link(path, target)?;
            rustix::fs::unlink(path)
        }
        result => result,
    }
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

/// Locks the file at `path` before it is moved or replaced, if there is one.
///
/// # Errors
/// It is not to be touched: no regular file, one of `inputs`, or written by another run.
fn lock_old(path: &Path, inputs: &[FileId]) -> Result<Option<File>> {
    if !exists(path)? {
        return Ok(None);
    }
    let looking = || format!("looking at {}", path.display());
    let file = open_to_look(path).with_context(looking)?;
    ensure_unread(path, &file.metadata().with_context(looking)?, inputs)?;
    lock(&file, path)?;
    // It may have been another run's until now, which has a new one by this name.
    ensure!(
        has_name(&file, path),
        "{} is being replaced by another run; give another name",
        path.display()
    );
    Ok(Some(file))
}

/// Whether `path` is a name of an open file.
fn has_name(file: &File, path: &Path) -> bool {
    let there = fs::symlink_metadata(path);
    let (Ok(there), Ok(open)) = (there, file.metadata()) else {
        return false;
    };
    FileId::from(&there) == FileId::from(&open)
}

/// Locks a file for as long as it is open, so that no other run replaces it.
fn lock(file: &File, path: &Path) -> Result<()> {
    ensure!(
        flock(file, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK),
        "{} is being written by another run; give another name",
        path.display()
    );
    // Where a file system has no locks, two runs do not know of each other.
    Ok(())
}

/// Fails if the file at `path` is one of `inputs`.
fn ensure_unread(path: &Path, metadata: &Metadata, inputs: &[FileId]) -> Result<()> {
    ensure!(
        !inputs.contains(&metadata.into()),
        "{} is being read, and would be replaced; give --write another name",
        path.display()
    );
    Ok(())
}

/// Creates a file, and fails if there is anything by now, links included.
fn create(path: &Path) -> Result<File> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path);
    let file = match created {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
            "{} was made by somebody else meanwhile; give another name",
            path.display()
        ),
        created => created.with_context(|| format!("creating {}", path.display()))?,
    };
    lock(&file, path)?;
    Ok(file)
}

#[cfg(test)]
#[path = "files/tests.rs"]
mod tests;
