//! What a run gives up once its programs are attached: from then on it reads maps and `/proc`, and
//! writes lines.
//!
//! Capabilities are given up first, then a seccomp filter refuses what nobody needs to follow
//! drops: starting programs, changing files, namespaces, mounts, modules, clocks or other
//! processes, asking services of this host by a local socket, and loading more eBPF. It lists what
//! is refused, not what is allowed: a library that makes a new, harmless system call must not end a
//! run. Landlock would be another way for files, but a process under Landlock may not look at the
//! descriptors of others (`hook_ptrace_access_check` in the kernel's
//! `security/landlock/task.c`), by which `owner=` is found.

use std::{collections::BTreeMap, env::consts::ARCH, io::Error};

use anyhow::{Context as _, Result};
use libc::{ENOSYS, EPERM, O_ACCMODE, O_CREAT, O_RDWR, O_TRUNC, O_WRONLY, c_int, c_long};
use rustix::{
    process::getpid,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};

/// What is kept of the capabilities that were there.
const KEPT: CapabilitySet = CapabilitySet::BPF // maps, where unprivileged bpf() is disabled
    .union(CapabilitySet::SYSLOG) // functions of modules that are loaded later
    .union(CapabilitySet::SYS_PTRACE) // descriptors and namespaces of processes
    .union(CapabilitySet::DAC_READ_SEARCH); // the same, of other users' processes

/// System calls that are refused whatever their arguments.
const REFUSED: &[c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_tkill,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    // Ways around this filter.
    libc::SYS_io_uring_setup,
    libc::SYS_openat2,
    libc::SYS_open_by_handle_at,
    // What the files are in.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_unshare,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    // The kernel.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // It can empty the kernel's log.
    libc::SYS_syslog,
    libc::SYS_acct,
    // The host.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// How files are changed, but for opening them.
const CHANGING_FILES: &[c_long] = &[
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_truncate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    REMOVEXATTRAT,
    FILE_SETATTR,
];

// Newer than some of the C library's headers; the same numbers on all architectures
// (scripts/syscall.tbl in the kernel's source).
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const OPEN_TREE_ATTR: c_long = 467;
const FILE_SETATTR: c_long = 469;

/// The older forms, which newer architectures have not.
#[cfg(target_arch = "x86_64")]
const CHANGING_FILES_OLD: &[c_long] = &[
    libc::SYS_creat,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_mknod,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const CHANGING_FILES_OLD: &[c_long] = &[libc::SYS_renameat];

/// Those whose first argument is the process that they do something to.
const TO_PROCESSES: &[c_long] = &[
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_prlimit64,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
];

/// The flags of `clone` that make namespaces (`include/uapi/linux/sched.h`); the one for time is
/// of other calls only.
const NAMESPACES: &[c_int] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Requests of `ioctl` that type into a terminal, as if its user did.
const TYPING: &[u64] = &[libc::TIOCSTI, TIOCLINUX];

// `include/uapi/asm-generic/ioctls.h`
const TIOCLINUX: u64 = 0x541c;

/// What a run needs beyond following drops.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// To enter network namespaces, which takes `CAP_SYS_ADMIN`.
    pub(crate) namespaces: bool,
    /// To make, rename and remove files, in anybody's folders.
    pub(crate) files: bool,
}

/// What `bpf` still does: look up, update and delete elements of the maps that are open, and go
/// from one to the next (`enum bpf_cmd` in the kernel's `include/uapi/linux/bpf.h`).
const BPF_COMMANDS: [u32; 4] = [1, 2, 3, 4];

/// Gives up what is not needed any more, for this thread and all that it starts; system calls
/// for all threads.
///
/// # Errors
/// The kernel takes one of it not.
pub(crate) fn enter(needs: Needs) -> Result<()> {
    set_no_new_privs(true).context("giving up to gain privileges")?;
    give_up_capabilities(needs).context("giving up capabilities")?;
    match apply_filter_all_threads(&filter(needs)?) {
        // A kernel without CONFIG_SECCOMP_FILTER.
        Err(seccompiler::Error::Seccomp(error)) if is_missing(&error) => {
            log::info!("this kernel has no seccomp filters: {error}");
            Ok(())
        }
        result => result.context("giving up system calls"),
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOSYS | libc::EINVAL))
}

fn give_up_capabilities(needs: Needs) -> Result<()> {
    let held = capabilities(None)?.permitted;
    let mut kept = held & KEPT;
    // Without CAP_BPF it stands for that.
    if needs.namespaces || !held.contains(CapabilitySet::BPF) {
        kept |= held & CapabilitySet::SYS_ADMIN;
    }
    if needs.files {
        kept |= held & CapabilitySet::DAC_OVERRIDE;
    }
    // It takes CAP_SETPCAP, and matters only for programs that can't be started any more.
    for capability in (CapabilitySet::all() - kept).iter() {
        if remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    log::info!("capabilities kept: {kept:?}");
    Ok(())
}

fn filter(needs: Needs) -> Result<BpfProgram> {
    let mut always = REFUSED.to_vec();
    if !needs.namespaces {
        always.push(libc::SYS_setns);
    }
    if !needs.files {
        always.extend([CHANGING_FILES, CHANGING_FILES_OLD].concat());
    }
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        always.into_iter().map(|call| (call, Vec::new())).collect();
    if !needs.files {
        rules.insert(libc::SYS_openat, opening_to_write(2)?);
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_open, opening_to_write(1)?);
    }
    let command = |command| condition(0, SeccompCmpOp::Ne, u64::from(command));
    let commands = BPF_COMMANDS.into_iter().map(command);
    let other_commands = SeccompRule::new(commands.collect::<Result<_>>()?)?;
    rules.insert(libc::SYS_bpf, vec![other_commands]);
    for &call in TO_PROCESSES {
        rules.insert(call, vec![other_processes()?]);
    }
    let making = |flag: &c_int| with_bits(0, *flag, *flag);
    rules.insert(libc::SYS_clone, any_of(NAMESPACES, making)?);
    rules.insert(libc::SYS_ioctl, any_of(TYPING, |request| is(1, *request))?);
    // What answers there would do for root what this may not.
    let is_local = |family: &c_int| is(0, *family as u64);
    rules.insert(libc::SYS_socket, any_of(&[libc::AF_UNIX], is_local)?);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(EPERM as u32),
        ARCH.try_into()?,
    )?;
    let mut program = refuse_by_number();
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

/// What makes the second number of a system call of its first (`__X32_SYSCALL_BIT` in the kernel's
/// `arch/x86/include/uapi/asm/unistd.h`).
#[cfg(target_arch = "x86_64")]
const X32_SYSCALL_BIT: u32 = 0x4000_0000;

/// Instructions that answer what the rules can't.
///
/// What `clone3` makes is in memory, which no filter sees: it is said to be missing, and the C
/// library takes `clone`. On x86-64 each system call has a second number, for the x32 ABI, and the
/// rules know the first.
fn refuse_by_number() -> BpfProgram {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    use seccompiler::sock_filter;

    let instruction = |code: u32, jf, k| sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    let answer_if = |comparison, number, errno: c_int| {
        let answer = libc::SECCOMP_RET_ERRNO | errno as u32;
        [
            instruction(BPF_JMP | comparison | BPF_K, 1, number),
            instruction(BPF_RET | BPF_K, 0, answer),
        ]
    };
    // The number is what `struct seccomp_data` begins with.
    let mut program = vec![instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0)];
    program.extend(answer_if(BPF_JEQ, libc::SYS_clone3 as u32, ENOSYS));
    #[cfg(target_arch = "x86_64")]
    program.extend(answer_if(BPF_JGE, X32_SYSCALL_BIT, EPERM));
    program
}

/// Any of the flags with which a file is made or changed, in the argument `flags`.
fn opening_to_write(flags: u8) -> Result<Vec<SeccompRule>> {
    let changing = [
        (O_ACCMODE, O_WRONLY),
        (O_ACCMODE, O_RDWR),
        (O_CREAT, O_CREAT),
        (O_TRUNC, O_TRUNC),
    ];
    any_of(&changing, |(mask, value)| with_bits(flags, *mask, *value))
}

/// A rule for each: a call that any of them fits is refused.
fn any_of<T>(
    all: &[T],
    condition: impl Fn(&T) -> Result<SeccompCondition>,
) -> Result<Vec<SeccompRule>> {
    let rule = |one| Ok(SeccompRule::new(vec![condition(one)?])?);
    all.iter().map(rule).collect()
}

fn with_bits(argument: u8, mask: c_int, value: c_int) -> Result<SeccompCondition> {
    let operator = SeccompCmpOp::MaskedEq(mask as u64);
    condition(argument, operator, value as u64)
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition> {
    condition(argument, SeccompCmpOp::Eq, value)
}

/// Neither this process nor its group, which Ctrl-Z in the live view stops.
fn other_processes() -> Result<SeccompRule> {
    let own = getpid().as_raw_nonzero().get() as u64;
    Ok(SeccompRule::new(vec![
        condition(0, SeccompCmpOp::Ne, own)?,
        condition(0, SeccompCmpOp::Ne, 0)?,
    ])?)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        operator,
        value,
    )?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File, OpenOptions},
        io,
        net::UdpSocket,
        os::unix::net::UnixDatagram,
        process::Command,
        thread,
        time::SystemTime,
    };

    use rustix::process::{
        Pid, Resource, Signal, getrlimit, kill_process, prlimit, test_kill_process,
    };
    use seccompiler::apply_filter;

    use super::*;

    fn is_refused<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.raw_os_error() == Some(EPERM))
    }

    /// A system call with these arguments; all others are 0.
    #[allow(unsafe_code, reason = "no safe function has these numbers")]
    fn call(number: c_long, first: c_int, second: u64) -> io::Result<()> {
        // SAFETY: none of those below does anything to memory with these arguments.
        let result = unsafe { libc::syscall(number, first, second, 0, 0, 0) };
        if result < 0 {
            return Err(Error::last_os_error());
        }
        Ok(())
    }

    /// In a thread of its own: other tests go on as before.
    #[test]
    fn what_is_not_needed_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old");
        fs::write(&old, "text").unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let other = Pid::from_child(&child);
        let restricted = || {
            set_no_new_privs(true).unwrap();
            apply_filter(&filter(Needs::default()).unwrap()).unwrap();
            assert_eq!(fs::read_to_string(&old).unwrap(), "text");
            assert!(is_refused(File::create(dir.path().join("new"))));
            assert!(is_refused(OpenOptions::new().append(true).open(&old)));
            assert!(is_refused(fs::remove_file(&old)));
            assert!(is_refused(fs::rename(&old, dir.path().join("new"))));
            assert!(is_refused(fs::create_dir(dir.path().join("new"))));
            let file = File::open(&old).unwrap();
            assert!(is_refused(file.set_modified(SystemTime::UNIX_EPOCH)));
            assert!(is_refused(Command::new("true").status()));
            let init = Pid::INIT;
            assert!(is_refused(test_kill_process(init).map_err(Into::into)));
            test_kill_process(getpid()).unwrap();
            kill_process(getpid(), Signal::CONT).unwrap();
            let limit = |pid| prlimit(Some(pid), Resource::Core, getrlimit(Resource::Core));
            assert!(is_refused(limit(other).map_err(Into::into)));
            limit(getpid()).unwrap();
            #[cfg(target_arch = "x86_64")]
            assert!(is_refused(call(
                libc::SYS_getpid | c_long::from(X32_SYSCALL_BIT),
                0,
                0
            )));
            // The kernel itself says that they are wrong together (EINVAL).
            let flags = libc::CLONE_NEWNS | libc::CLONE_FS;
            assert!(is_refused(call(libc::SYS_clone, flags, 0)));
            // No descriptor (EBADF).
            assert!(is_refused(call(libc::SYS_ioctl, -1, libc::TIOCSTI)));
            let missing = call(libc::SYS_clone3, 0, 0).unwrap_err();
            assert_eq!(missing.raw_os_error(), Some(ENOSYS));
            assert!(is_refused(UnixDatagram::unbound()));
            UdpSocket::bind(("127.0.0.1", 0)).unwrap();
            thread::spawn(|| ()).join().unwrap();
        };
        let result = thread::scope(|scope| scope.spawn(restricted).join());
        child.kill().and_then(|()| child.wait()).unwrap();
        result.unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "text");
    }
}
