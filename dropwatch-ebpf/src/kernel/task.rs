//! `struct task_struct`, `include/linux/sched.h`, and the files it has open.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_comm, bpf_get_current_task, bpf_get_current_task_btf},
};
use dropwatch_common::{config::ABSENT, event::COMM_LEN};

use super::{
    cgroup::Cgroup,
    read::{self, Access, Copied, Typed, padded},
};
use crate::{
    config::{
        CSS_SET_CGROUP, FDTABLE_FD, FDTABLE_MAX_FDS, FILE_PRIVATE_DATA, FILES_FDT, HAS_TYPED_TASK,
        TASK_CGROUPS, TASK_COMM, TASK_FILES, TASK_GROUP_LEADER, TASK_TGID,
    },
    maps::FILES_CHUNK,
};

/// Files of a task that are looked through for the packet's socket. Processes with
/// more live long enough to be found in `/proc`.
const MAX_FILES: usize = 2 * FILES_CHUNK;

/// Notes the name of the thread on the CPU, NUL-padded, and returns its process.
#[inline(always)]
pub(crate) fn identify<A: Access>(comm: &mut [u8; COMM_LEN]) -> u32 {
    if A::IS_TYPED && HAS_TYPED_TASK.load() != 0 {
        // SAFETY: a helper without arguments.
        let task = unsafe { bpf_get_current_task_btf() } as u64;
        *comm = padded(Typed::name(task, TASK_COMM.load()));
        return Typed::load(task, TASK_TGID.load());
    }
    // Some kernels, 6.1 for one, do not pad it.
    *comm = [0; COMM_LEN];
    // SAFETY: `comm` is valid for `COMM_LEN` bytes.
    unsafe { bpf_get_current_comm(comm.as_mut_ptr().cast(), COMM_LEN as u32) };
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// A task.
pub(crate) struct Task {
    address: u64,
}

impl Task {
    /// The task on the CPU.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        Self {
            // SAFETY: a helper without arguments.
            address: unsafe { bpf_get_current_task() },
        }
    }

    /// The name of the task's process, which is that of its first thread, NUL-padded.
    #[inline(always)]
    pub(crate) fn process_name(&self) -> [u8; COMM_LEN] {
        let leader = Copied::pointer(self.address, TASK_GROUP_LEADER.load());
        padded(Copied::name(leader, TASK_COMM.load()))
    }

    /// The cgroup of the unified hierarchy that the task is in.
    #[inline(always)]
    pub(crate) fn cgroup(&self) -> Cgroup {
        let set = Copied::pointer(self.address, TASK_CGROUPS.load());
        Cgroup {
            address: Copied::pointer(set, CSS_SET_CGROUP.load()),
        }
    }

    /// Whether one of the first [`MAX_FILES`] files that the task has open is the
    /// socket at `socket` (`struct socket`, which `file.private_data` points to:
    /// `sock_alloc_file` in `net/socket.c`). `chunk` is room to work in.
    #[inline(always)]
    pub(crate) fn holds(&self, socket: u64, chunk: &mut [u64; FILES_CHUNK]) -> bool {
        let table = Copied::pointer(
            Copied::pointer(self.address, TASK_FILES.load()),
            FILES_FDT.load(),
        );
        let entries = Copied::pointer(table, FDTABLE_FD.load());
        let max: u32 = Copied::load(table, FDTABLE_MAX_FDS.load());
        for start in (0..MAX_FILES).step_by(FILES_CHUNK) {
            // The kernel's tables have a multiple of 64 entries (`NR_OPEN_DEFAULT` in
            // `include/linux/fdtable.h`, `alloc_fdtable` in `fs/file.c`).
            if (max as usize) < start + FILES_CHUNK {
                return false;
            }
            let address = entries.wrapping_add((start * size_of::<u64>()) as u64);
            if is_in_chunk(socket, address, chunk) {
                return true;
            }
        }
        false
    }
}

/// Whether one of the files in the part of a table at `address` is the socket at
/// `socket`.
#[inline(never)]
fn is_in_chunk(socket: u64, address: u64, chunk: &mut [u64; FILES_CHUNK]) -> bool {
    let private_data = FILE_PRIVATE_DATA.load();
    if private_data == ABSENT {
        return false;
    }
    let destination = chunk.as_mut_ptr().cast();
    // SAFETY: the size is that of `chunk`.
    if !unsafe { read::bytes(destination, size_of_val(chunk) as u32, address) } {
        return false;
    }
    // With as few branches in the loop as can be, and so to its end: each one makes the
    // verifier walk through the turns that follow once more.
    let mut are_others = 1;
    for &file in chunk.iter() {
        if file == 0 {
            continue;
        }
        let mut held = 0_u64;
        let member = file.wrapping_add(u64::from(private_data));
        // SAFETY: `held` is valid for its size. A failed read clears it.
        unsafe { read::bytes((&raw mut held).cast(), size_of::<u64>() as u32, member) };
        are_others &= is_not_zero(held ^ socket);
    }
    are_others == 0
}

/// 0 for 0, otherwise 1, without a branch.
#[inline(always)]
fn is_not_zero(value: u64) -> u64 {
    // Spelled with a barrier, or the compiler finds the comparison in it again.
    core::hint::black_box(value | value.wrapping_neg()) >> 63
}
