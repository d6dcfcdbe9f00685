//! An XDP program that drops everything.
#![allow(
    unsafe_code,
    reason = "there is no safe way to load a program, see below"
)]

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result};
use nix::{
    libc,
    sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
};

use crate::bpf;

// `include/uapi/linux/bpf.h`.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// `r0 = XDP_DROP; exit`
const DROP_ALL: [u64; 2] = [0x1_0000_00b7, 0x95];

/// The first members of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: *const u64,
    licence: *const libc::c_char,
}

/// The first members of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct Link {
    program: RawFd,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// Drops all that an interface of the calling thread's namespace receives, until it is dropped itself.
///
/// # Errors
/// The kernel refuses; before 5.9 it can't.
pub(crate) fn drop_all(interface: &str) -> Result<OwnedFd> {
    let mut load = Load {
        kind: BPF_PROG_TYPE_XDP,
        instruction_count: DROP_ALL.len() as u32,
        instructions: DROP_ALL.as_ptr(),
        licence: c"GPL".as_ptr(),
    };
    // Before 5.11 programs count as locked memory. Only while this one is loaded: what is tested has
    // to lift the limit itself. Where it may not be lifted, the kernel is hardly that old.
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    let is_lifted = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok();
    // SAFETY: the pointers are valid for the call.
    let program = unsafe { bpf::open(BPF_PROG_LOAD, &mut load) };
    if is_lifted {
        setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)?;
    }
    let program = program.context("loading an XDP program")?;
    let mut link = Link {
        program: program.as_raw_fd(),
        interface: nix::net::if_::if_nametoindex(interface)?,
        attach_type: BPF_XDP,
        flags: 0,
    };
    // SAFETY: it holds no pointers.
    unsafe { bpf::open(BPF_LINK_CREATE, &mut link) }.context("attaching an XDP program")
}
