//! In-kernel predicates. A filter that is off is removed by the verifier.

use aya_ebpf::helpers::bpf_get_current_comm;

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
    // aya's wrapper clears the name first. It has to be: some kernels, 6.1 for one, do
    // not pad it with NULs, as the map's keys are.
    match bpf_get_current_comm() {
        Ok(comm) => COMMS.get_ptr(comm).is_some(),
        Err(_) => false,
    }
}
