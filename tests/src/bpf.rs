//! The system call `bpf`, for the few commands that the tests need by themselves.
#![allow(unsafe_code, reason = "there is no safe way to call it, see below")]

use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use nix::{errno::Errno, libc};

/// Gives `command` (`enum bpf_cmd` in the kernel's `include/uapi/linux/bpf.h`) its attribute, the
/// first members of `union bpf_attr`, and what it returns back. The kernel takes what is behind them
/// as zero.
///
/// # Errors
/// The kernel refuses.
///
/// # Safety
/// `attribute` is what the command takes, and its pointers are valid.
pub unsafe fn call<T>(command: libc::c_long, attribute: &mut T) -> nix::Result<libc::c_long> {
    // SAFETY: the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attribute),
            size_of::<T>(),
        )
    };
    Errno::result(result)
}

/// The same of a command that opens something.
///
/// # Errors
/// The kernel refuses.
///
/// # Safety
/// As for [`call`]; and the command returns a descriptor.
pub unsafe fn open<T>(command: libc::c_long, attribute: &mut T) -> nix::Result<OwnedFd> {
    // SAFETY: the caller's promise; nobody else has the descriptor.
    unsafe {
        let fd = call(command, attribute)?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}
