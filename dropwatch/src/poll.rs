//! Polling of file descriptors.
#![allow(unsafe_code, reason = "registering a descriptor is unsafe, see below")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Makes `descriptor` pollable for `interest`.
///
/// # Errors
/// The descriptor can't be polled, as those of regular files.
pub(crate) fn poll<T: AsFd + AsRawFd + 'static>(
    descriptor: T,
    interest: Interest,
) -> io::Result<AsyncFd<T>> {
    // SAFETY: `AsFd` vouches for a descriptor that stays open, and the same,
    // for as long as its owner lives, and the owner moves into the `AsyncFd`,
    // which deregisters it before it drops it.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(io::Error::from)
}
