//! In-kernel predicates. A filter that is off is removed by the verifier.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_get_current_comm;
use dropwatch_common::event::COMM_LEN;

use crate::{
    config::{FILTER_COMM, FILTER_PID},
    maps::{COMMS, PIDS},
};

/// Whether the drop is to be recorded: every filter that is on must match.
#[inline(always)]
pub(crate) fn matches(tgid: u32) -> bool {
    (FILTER_PID.load() == 0 || pid_matches(tgid)) && (FILTER_COMM.load() == 0 || comm_matches())
}

#[inline(always)]
fn pid_matches(tgid: u32) -> bool {
    PIDS.get_ptr(tgid).is_some()
}

#[inline(always)]
fn comm_matches() -> bool {
    // Not initialised, because the helper writes all of it: the name, padded
    // with NULs as the map's keys are.
    let mut comm = MaybeUninit::<[u8; COMM_LEN]>::uninit();
    // SAFETY: `comm` is valid for `COMM_LEN` bytes.
    if unsafe { bpf_get_current_comm(comm.as_mut_ptr().cast(), COMM_LEN as u32) } != 0 {
        return false;
    }
    // SAFETY: the helper has initialised it.
    COMMS.get_ptr(unsafe { comm.assume_init_ref() }).is_some()
}
