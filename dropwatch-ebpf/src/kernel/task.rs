//! `struct task_struct`, `include/linux/sched.h`, and the files it has open.

use aya_ebpf::helpers::generated::bpf_get_current_task;
use dropwatch_common::event::COMM_LEN;

use super::{cgroup::Cgroup, read};
use crate::{
    config::{
        CSS_SET_CGROUP, FDTABLE_FD, FDTABLE_MAX_FDS, FILE_PRIVATE_DATA, FILES_FDT, TASK_CGROUPS,
        TASK_COMM, TASK_FILES, TASK_GROUP_LEADER,
    },
    maps::FILES_CHUNK,
};

/// Files of a task that are looked through for the packet's socket. Processes with
/// more live long enough to be found in `/proc`.
const MAX_FILES: usize = 4 * FILES_CHUNK;

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

    /// Copies the name of the task's process, which is that of its first thread.
    #[inline(always)]
    pub(crate) fn read_process_name(&self, name: &mut [u8; COMM_LEN]) -> bool {
        let leader = read::pointer(self.address, TASK_GROUP_LEADER.load());
        let address = leader.wrapping_add(u64::from(TASK_COMM.load()));
        // SAFETY: `name` is valid for `COMM_LEN` bytes.
        unsafe { read::bytes(name.as_mut_ptr(), COMM_LEN as u32, address) }
    }

    /// The cgroup of the unified hierarchy that the task is in.
    #[inline(always)]
    pub(crate) fn cgroup(&self) -> Cgroup {
        let set = read::pointer(self.address, TASK_CGROUPS.load());
        Cgroup {
            address: read::pointer(set, CSS_SET_CGROUP.load()),
        }
    }

    /// Whether one of the first [`MAX_FILES`] files that the task has open is the
    /// socket at `socket` (`struct socket`, which `file.private_data` points to:
    /// `sock_alloc_file` in `net/socket.c`). `chunk` is room to work in.
    #[inline(always)]
    pub(crate) fn holds(&self, socket: u64, chunk: &mut [u64; FILES_CHUNK]) -> bool {
        let table = read::pointer(
            read::pointer(self.address, TASK_FILES.load()),
            FILES_FDT.load(),
        );
        let entries = read::pointer(table, FDTABLE_FD.load());
        let max: u32 = read::member(table, FDTABLE_MAX_FDS.load()).unwrap_or(0);
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
    let destination = chunk.as_mut_ptr().cast();
    // SAFETY: the size is that of `chunk`.
    if !unsafe { read::bytes(destination, size_of_val(chunk) as u32, address) } {
        return false;
    }
    for &file in chunk.iter() {
        if file != 0 && read::pointer(file, FILE_PRIVATE_DATA.load()) == socket {
            return true;
        }
    }
    false
}
