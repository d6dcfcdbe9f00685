//! A flag in memory that user space and the eBPF side share.
#![allow(unsafe_code, reason = "mapping memory is unsafe, see below")]

use std::{
    io,
    os::fd::AsFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering, fence},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The first entry of an eBPF array of `u32` that can be mapped
/// (`BPF_F_MMAPABLE`, kernels from 5.5 on).
///
/// Writing it by a system call would do as well, but during that call the
/// kernel skips probe programs on the same processor, and drops with them.
pub struct SharedFlag {
    flag: NonNull<AtomicU32>,
    /// Size of the mapping in bytes.
    len: usize,
}

impl SharedFlag {
    /// Maps the array behind `map`.
    ///
    /// # Errors
    /// The array can't be mapped.
    pub(crate) fn map(map: impl AsFd) -> io::Result<Self> {
        let len = rustix::param::page_size();
        // SAFETY: a new mapping at a place that the kernel chooses; an array's
        // first page always exists and is writable.
        let address = unsafe {
            mmap(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                map,
                0,
            )
        }?;
        let flag = NonNull::new(address.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { flag, len })
    }

    /// Raises the flag; what is read afterwards is read after it was seen to be
    /// up.
    pub(crate) fn raise(&self) {
        // SAFETY: the mapping lives as long as `self`, and is only ever
        // accessed atomically here, by plain aligned stores on the other side.
        unsafe { self.flag.as_ref() }.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
}

impl SharedFlag {
    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        // SAFETY: as in `raise`.
        unsafe { self.flag.as_ref() }.load(Ordering::Relaxed) != 0
    }

    /// Takes it down; what the eBPF side does afterwards raises it again.
    pub fn take_down(&self) {
        // SAFETY: as in `raise`.
        unsafe { self.flag.as_ref() }.store(0, Ordering::SeqCst);
    }
}

impl Drop for SharedFlag {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and no
        // reference to it is left.
        let unmapped = unsafe { munmap(self.flag.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "the mapping was made by mmap");
    }
}
