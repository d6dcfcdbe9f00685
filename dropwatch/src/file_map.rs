//! Files in memory, without being read: what a debug file has of the kernel is half a gigabyte, and
//! a few pages of it are looked at.
#![allow(unsafe_code, reason = "mapping a file is unsafe, see below")]

use std::{fs::File, io};

use memmap2::Mmap;

/// Maps all of `file` for reading, until the program ends.
///
/// # Errors
/// The file can't be mapped: it is empty, or no regular file.
pub(crate) fn map(file: &File) -> io::Result<&'static [u8]> {
    // SAFETY: the bytes must not change while they are looked at. Debug files are root's, and are
    // replaced by new ones, not written to, by package managers and linkers. Should somebody cut one
    // off all the same, the kernel ends this process with SIGBUS; it reads nothing that is not its.
    let map = unsafe { Mmap::map(file) }?;
    // What is taken from it lives as long as the program: the number of files is limited.
    Ok(Box::leak(Box::new(map)))
}
