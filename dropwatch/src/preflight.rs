//! What has to be there, and what to do where it is not.

use std::{fs, path::Path};

use anyhow::{Context as _, Error, Result, anyhow, bail};
use aya::{EbpfError, maps::MapError, programs::ProgramError, sys::SyscallError};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CapabilitySet, capabilities},
};

/// The kernel's list of lockdown modes, the one in force in brackets
/// (`security/lockdown/lockdown.c`).
const LOCKDOWN: &str = "sys/kernel/security/lockdown";

/// There where the kernel has kprobes that programs can attach to.
const KPROBE_PMU: &str = "sys/bus/event_source/devices/kprobe";

/// What loading programs that read kernel memory takes; `CAP_SYS_ADMIN` stands for both.
const TRACING: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

/// Checks that the process may load eBPF programs that read kernel memory.
///
/// # Errors
/// Names the missing capabilities, or the lockdown mode.
pub fn check_privileges() -> Result<()> {
    check_capabilities(held_capabilities())?;
    lockdown(Path::new("/")).map(|_| ())
}

/// The capabilities that are in force for this thread.
pub fn held_capabilities() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// Checks that a process with these capabilities may load eBPF programs that read kernel
/// memory.
///
/// # Errors
/// Names the missing capabilities.
pub fn check_capabilities(held: CapabilitySet) -> Result<()> {
    if !held.contains(TRACING) && !held.contains(CapabilitySet::SYS_ADMIN) {
        bail!(
            "loading eBPF programs needs root, or the capabilities CAP_BPF and CAP_PERFMON (and \
             CAP_SYSLOG for the names of kernel functions); run it with sudo"
        );
    }
    Ok(())
}

/// The kernel's lockdown modes, the one in force in brackets; `None` where it shows none.
/// `root` is usually `/`.
///
/// # Errors
/// The mode in force keeps eBPF programs from reading packets.
pub fn lockdown(root: &Path) -> Result<Option<String>> {
    let modes = fs::read_to_string(root.join(LOCKDOWN)).ok();
    if modes
        .as_ref()
        .is_some_and(|it| it.contains("[confidentiality]"))
    {
        bail!(
            "the kernel is locked down (/{LOCKDOWN} says confidentiality), eBPF programs can't \
             read packets; boot without lockdown=confidentiality"
        );
    }
    Ok(modes)
}

/// Checks that the kernel has kprobes. `root` is usually `/`.
///
/// # Errors
/// Says that it has none.
pub fn kprobes_available(root: &Path) -> Result<()> {
    if !root.join(KPROBE_PMU).exists() {
        bail!(
            "this kernel has no kprobes (CONFIG_KPROBE_EVENTS is off: no /{KPROBE_PMU}); use \
             --hook tracepoint"
        );
    }
    Ok(())
}

/// Lifts the limit on locked memory, against which kernels before 5.11 count
/// eBPF maps; where that is refused, as far as it may be lifted.
///
/// # Errors
/// The kernel refuses (`CAP_SYS_RESOURCE`).
pub fn raise_memlock_limit() -> Result<()> {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let lifted = setrlimit(Resource::Memlock, unlimited);
    if lifted.is_err() {
        let now = getrlimit(Resource::Memlock);
        let most = Rlimit {
            current: now.maximum,
            ..now
        };
        // Anybody may do that.
        setrlimit(Resource::Memlock, most).ok();
    }
    lifted.context("lifting the limit on locked memory")
}

/// Adds to an error of the `bpf` system call what usually causes it.
pub fn explain_bpf_error(error: Error) -> Error {
    let refused;
    let advice = match raw_os_error(&error) {
        Some(errno::ENOSYS) => {
            "this kernel was built without eBPF (CONFIG_BPF_SYSCALL); it can't be traced with it"
        }
        Some(errno::EPERM) => {
            refused = refusal(getrlimit(Resource::Memlock).current);
            &refused
        }
        Some(errno::EINVAL) => {
            "the kernel does not take the program; it may be locked down (see \
             /sys/kernel/security/lockdown), or older than 5.10; please report what -vv says"
        }
        Some(errno::ENOMEM) => {
            "the kernel has no memory for the eBPF maps; a smaller --buffer-size needs less"
        }
        _ => return error,
    };
    anyhow!("{advice} ({error:#})")
}

/// What to do where the kernel refuses, with this limit on locked memory in bytes; `None` is no limit.
fn refusal(limit: Option<u64>) -> String {
    let capabilities =
        "CAP_BPF and CAP_PERFMON (or root) are needed, a container may take them away";
    match limit {
        None => format!("the kernel refuses: {capabilities}"),
        Some(bytes) => format!(
            "the kernel refuses: {capabilities}, and kernels before 5.11 count eBPF maps against the \
             limit on locked memory, here {} KiB: raise it (ulimit -l unlimited), or give \
             CAP_SYS_RESOURCE",
            bytes >> 10
        ),
    }
}

/// Errno values, `include/uapi/asm-generic/errno-base.h` and `errno.h`.
mod errno {
    pub(super) const EPERM: i32 = rustix::io::Errno::PERM.raw_os_error();
    pub(super) const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();
    pub(super) const ENOMEM: i32 = rustix::io::Errno::NOMEM.raw_os_error();
    pub(super) const ENOSYS: i32 = rustix::io::Errno::NOSYS.raw_os_error();
}

/// The operating system's error at the bottom of `error`.
fn raw_os_error(error: &Error) -> Option<i32> {
    error.chain().find_map(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        let nested = || match cause.downcast_ref::<EbpfError>()? {
            EbpfError::MapError(map) => map_io_error(map),
            EbpfError::ProgramError(program) => program_io_error(program),
            _ => None,
        };
        io.or_else(nested)
            .or_else(|| program_io_error(cause.downcast_ref::<ProgramError>()?))
            .and_then(std::io::Error::raw_os_error)
    })
}

fn map_io_error(error: &MapError) -> Option<&std::io::Error> {
    match error {
        MapError::CreateError { io_error, .. } | MapError::IoError(io_error) => Some(io_error),
        MapError::SyscallError(SyscallError { io_error, .. }) => Some(io_error),
        _ => None,
    }
}

fn program_io_error(error: &ProgramError) -> Option<&std::io::Error> {
    match error {
        ProgramError::LoadError { io_error, .. } | ProgramError::IOError(io_error) => {
            Some(io_error)
        }
        ProgramError::SyscallError(SyscallError { io_error, .. }) => Some(io_error),
        ProgramError::MapError(map) => map_io_error(map),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockdown_modes() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(lockdown(root.path()).unwrap(), None);
        let file = root.path().join(LOCKDOWN);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        for modes in [
            "[none] integrity confidentiality\n",
            "none [integrity] confidentiality\n",
        ] {
            fs::write(&file, modes).unwrap();
            assert_eq!(lockdown(root.path()).unwrap().as_deref(), Some(modes));
        }
        fs::write(&file, "none integrity [confidentiality]\n").unwrap();
        let error = lockdown(root.path()).unwrap_err();
        assert!(error.to_string().contains("lockdown"), "{error}");
    }

    #[test]
    fn advice_by_errno() {
        let error = |errno| {
            explain_bpf_error(
                EbpfError::MapError(MapError::CreateError {
                    name: "M".to_owned(),
                    io_error: std::io::Error::from_raw_os_error(errno),
                })
                .into(),
            )
            .to_string()
        };
        assert!(error(errno::EPERM).contains("CAP_BPF"));
        assert!(refusal(Some(64 << 10)).contains("here 64 KiB: raise it (ulimit -l unlimited)"));
        assert!(!refusal(None).contains("ulimit"));
        assert!(error(errno::ENOSYS).contains("CONFIG_BPF_SYSCALL"));
        assert!(!error(rustix::io::Errno::BUSY.raw_os_error()).contains("CAP_BPF"));
    }
}
