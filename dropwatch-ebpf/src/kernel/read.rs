//! The only place that reads kernel memory.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};
use dropwatch_common::config::ABSENT;

/// Reads the member at `offset` of the struct at `address`.
///
/// `None` where this kernel has no such member or the address can't be read.
#[inline(always)]
pub(crate) fn member<T: Copy + Default>(address: u64, offset: u32) -> Option<T> {
    if offset == ABSENT {
        return None;
    }
    let mut value = T::default();
    // SAFETY: `value` is valid for `size_of::<T>()` bytes, and every bit
    // pattern is a valid integer.
    unsafe {
        bytes(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            address.wrapping_add(u64::from(offset)),
        )
    }
    .then_some(value)
}

/// Reads the pointer at `offset` of the struct at `address`: 0 where it is NULL,
/// this kernel has no such member, or the address can't be read.
///
/// A plain value, not an `Option`: the verifier refuses the copy of an `Option`'s
/// content that was never set.
#[inline(always)]
pub(crate) fn pointer(address: u64, offset: u32) -> u64 {
    if address == 0 || offset == ABSENT {
        return 0;
    }
    let mut value = 0_u64;
    // SAFETY: `value` is valid for 8 bytes.
    unsafe {
        bytes(
            (&raw mut value).cast(),
            8,
            address.wrapping_add(u64::from(offset)),
        )
    };
    // A failed read clears it.
    value
}

/// Copies `len` bytes from kernel `address` to `destination`; false if the
/// address can't be read.
///
/// # Safety
///
/// `destination` must be valid for writes of `len` bytes.
#[inline(always)]
pub(crate) unsafe fn bytes(destination: *mut u8, len: u32, address: u64) -> bool {
    // SAFETY: the caller vouches for `destination`; the helper checks `address`
    // itself and fails on one that can't be read.
    unsafe { bpf_probe_read_kernel(destination.cast(), len, address as *const c_void) == 0 }
}

/// Copies a string of at most `len` bytes, terminating NUL included, from kernel
/// `address` to `destination`; what lies behind its NUL is left alone. False if
/// the address can't be read.
///
/// # Safety
///
/// `destination` must be valid for writes of `len` bytes.
#[inline(always)]
pub(crate) unsafe fn string(destination: *mut u8, len: u32, address: u64) -> bool {
    // SAFETY: as in `bytes`.
    unsafe { bpf_probe_read_kernel_str(destination.cast(), len, address as *const c_void) > 0 }
}
