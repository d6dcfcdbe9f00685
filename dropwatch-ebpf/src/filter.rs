//! In-kernel predicates. A filter that is off is removed by the verifier.

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
    // Cleared, because kernels 5.19 to 6.1 do not pad the name with NULs, as the
    // map's keys are; in words, so that the compiler needs no loop over bytes.
    let mut comm = [0_u64; COMM_LEN / size_of::<u64>()];
    // SAFETY: `comm` is valid for `COMM_LEN` bytes.
    if unsafe { bpf_get_current_comm(comm.as_mut_ptr().cast(), COMM_LEN as u32) } != 0 {
        return false;
    }
    // SAFETY: the same bytes, and a byte needs no alignment.
    COMMS
        .get_ptr(unsafe { &*comm.as_ptr().cast::<[u8; COMM_LEN]>() })
        .is_some()
}
