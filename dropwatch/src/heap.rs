//! Keeps the heap small.
#![allow(unsafe_code, reason = "setting up the allocator is unsafe, see below")]

/// Blocks of this many bytes and more are the system's own again when they are freed: the C
/// library's first threshold, `DEFAULT_MMAP_THRESHOLD` in glibc's `malloc.c`.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;

/// Makes the C library give large blocks back to the system when they are freed.
///
/// Left to itself it raises its threshold with the first large block that is freed, up to 32 MiB,
/// keeps later ones in the heap, and the heap as large as it ever was: reading the kernel's types
/// at the start would cost 13 MB of memory until the end.
pub fn give_back_large_blocks() {
    // SAFETY: only sets numbers of the allocator, which has no state that they contradict. What
    // it refuses stays as it was.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
    }
}
