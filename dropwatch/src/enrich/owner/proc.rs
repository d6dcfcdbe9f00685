//! Reads of a proc file system, one system call for each descriptor.

use std::{
    fs::File,
    io::Read as _,
    mem::MaybeUninit,
    ops::ControlFlow,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};

/// More than any name that the kernel gives out (`comm` of
/// `proc_task_name` in `fs/proc/array.c` has at most 64 bytes).
const MAX_NAME: u64 = 128;

/// Bytes for directory entries, as many as the kernel gives in one call.
const DIRECTORY_BUFFER: usize = 8 * 1024;

/// Room for `socket:[INODE]` and `net:[INODE]`; what does not fit is neither.
const LINK_BUFFER: usize = 32;

/// A mounted proc file system.
#[derive(Clone, Debug)]
pub(super) struct Proc {
    root: PathBuf,
}

/// The directory of one process. Once opened it never leads to another process
/// that was given the same number: reads fail when the process has gone.
#[derive(Debug)]
pub(super) struct ProcessDir {
    directory: OwnedFd,
}

impl Proc {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// All processes, in ascending order.
    pub(super) fn pids(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        if let Some(root) = open_directory(CWD, &self.root, OFlags::RDONLY) {
            visit_numbers(&root, |pid, _| {
                pids.push(pid);
                ControlFlow::Continue(())
            });
        }
        pids.sort_unstable();
        pids
    }

    pub(super) fn process(&self, pid: u32) -> Option<ProcessDir> {
        let mut number = itoa::Buffer::new();
        let path = self.root.join(number.format(pid));
        open_directory(CWD, &path, OFlags::PATH).map(|directory| ProcessDir { directory })
    }
}

impl ProcessDir {
    /// Name of the main thread, any bytes.
    pub(super) fn name(&self) -> Option<Box<[u8]>> {
        read_name(&self.directory, "comm")
    }

    /// Inode number of the main thread's network namespace.
    pub(super) fn netns(&self) -> Option<u32> {
        let mut buffer = [MaybeUninit::uninit(); LINK_BUFFER];
        let (link, _) = readlinkat_raw(&self.directory, "ns/net", &mut buffer).ok()?;
        inode_of(link, b"net:[").and_then(|inode| u32::try_from(inode).ok())
    }

    /// A file of the process, as `net/udp`.
    pub(super) fn open(&self, path: &str) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(&self.directory, path, flags, Mode::empty())
            .ok()
            .map(File::from)
    }

    /// Whether descriptor `fd` is the socket with this inode.
    pub(super) fn holds(&self, fd: u32, inode: u64) -> bool {
        let path = format!("fd/{fd}");
        let mut buffer = [MaybeUninit::uninit(); LINK_BUFFER];
        readlinkat_raw(&self.directory, &path, &mut buffer)
            .is_ok_and(|(link, _)| inode_of(link, b"socket:[") == Some(inode))
    }

    /// Calls `visit` with each descriptor and, where it is a socket, its inode.
    pub(super) fn descriptors(&self, mut visit: impl FnMut(u32, Option<u64>) -> ControlFlow<()>) {
        let Some(directory) = open_directory(&self.directory, "fd", OFlags::RDONLY) else {
            return;
        };
        visit_numbers(&directory, |fd, name| {
            let mut buffer = [MaybeUninit::uninit(); LINK_BUFFER];
            let inode = readlinkat_raw(&directory, name, &mut buffer)
                .ok()
                .and_then(|(link, _)| inode_of(link, b"socket:["));
            visit(fd, inode)
        });
    }

    /// Calls `visit` with the name of each thread. Reads a file for each.
    pub(super) fn threads(&self, mut visit: impl FnMut(&[u8]) -> ControlFlow<()>) {
        let Some(tasks) = open_directory(&self.directory, "task", OFlags::RDONLY) else {
            return;
        };
        visit_numbers(&tasks, |tid, _| {
            match read_name(&tasks, &format!("{tid}/comm")) {
                Some(name) => visit(&name),
                // It has ended meanwhile.
                None => ControlFlow::Continue(()),
            }
        });
    }
}

fn open_directory(
    parent: impl AsFd,
    path: impl rustix::path::Arg,
    access: OFlags,
) -> Option<OwnedFd> {
    let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(parent, path, flags, Mode::empty()).ok()
}

/// Calls `visit` with each entry of `directory` whose name is a number.
fn visit_numbers(
    directory: &OwnedFd,
    mut visit: impl FnMut(u32, &std::ffi::CStr) -> ControlFlow<()>,
) {
    let mut buffer = [MaybeUninit::uninit(); DIRECTORY_BUFFER];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name();
        let Some(number) = number(name.to_bytes()) else {
            continue;
        };
        let Ok(number) = u32::try_from(number) else {
            continue;
        };
        if visit(number, name).is_break() {
            break;
        }
    }
}

fn read_name(directory: &OwnedFd, path: &str) -> Option<Box<[u8]>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = File::from(openat(directory, path, flags, Mode::empty()).ok()?);
    let mut name = Vec::new();
    file.take(MAX_NAME).read_to_end(&mut name).ok()?;
    // One line end is the file's, any before it belong to the name.
    if name.last() == Some(&b'\n') {
        name.pop();
    }
    Some(name.into_boxed_slice())
}

/// The number in `PREFIX NUMBER ]`.
fn inode_of(link: &[u8], prefix: &[u8]) -> Option<u64> {
    number(link.strip_prefix(prefix)?.strip_suffix(b"]")?)
}

/// A decimal number of nothing but digits.
fn number(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
