//! What is looked at. A check is a function and a row in [`ALL`].

use std::{collections::BTreeSet, fs, path::Path};

use rustix::thread::CapabilitySet;

use super::{Buffer, Finding, KernelSymbols, Machine, kernel_config};
use crate::{
    bpf::{self, attach::Hook, layout},
    config::BufferChoice,
    enrich::{
        reason::BTF_FOLDER,
        symbol::{HIDDEN, HIDDEN_REMEDY, MODULES},
    },
    preflight,
};

/// A check by name.
pub(super) type Check = fn(&Machine<'_>) -> Finding;

/// Every check, in the order of the report.
pub(super) const ALL: &[(&str, Check)] = &[
    ("kernel", kernel),
    ("config", kernel_config::check),
    ("capabilities", capabilities),
    ("lockdown", lockdown),
    ("btf", btf),
    ("module_btf", module_btf),
    ("tracepoint", tracepoint),
    ("kprobes", kprobes),
    ("reasons", reasons),
    ("symbols", symbols),
    ("jit", jit),
    ("memlock", memlock),
    // Behind the limit that is lifted for it.
    ("ring_buffer", ring_buffer),
    ("hook", hook),
    ("buffer", buffer),
];

/// The oldest kernel that dropwatch is tested on.
const OLDEST: (u32, u32) = (5, 10);

/// The first kernel that counts maps against the control group's memory in place of the limit on
/// locked memory (`kernel/bpf/syscall.c`).
const NO_MEMLOCK: (u32, u32) = (5, 11);

/// Capabilities beyond those without which nothing goes, and what they give.
const USEFUL: [(CapabilitySet, &str, &str); 2] = [
    (
        CapabilitySet::SYSLOG,
        "CAP_SYSLOG",
        "names of kernel functions",
    ),
    (
        CapabilitySet::SYS_PTRACE,
        "CAP_SYS_PTRACE",
        "owners of other users' sockets",
    ),
];

/// A file in one of the kernel's own file systems, trimmed.
fn read(root: &Path, path: &str) -> Option<String> {
    let text = fs::read_to_string(root.join(path)).ok()?;
    Some(text.trim().to_owned())
}

fn kernel(machine: &Machine<'_>) -> Finding {
    let found = format!("{} {}", machine.release, machine.architecture);
    match machine.version() {
        Some(version) if version < OLDEST => Finding::limited(
            found,
            "dropwatch is tested on kernels from 5.10 on; take a newer one if it does not work",
        ),
        _ => Finding::ok(found),
    }
}

fn capabilities(machine: &Machine<'_>) -> Finding {
    let held = machine.capabilities;
    if let Err(error) = preflight::check_capabilities(held) {
        return Finding::fails("CAP_BPF and CAP_PERFMON are not held", format!("{error:#}"));
    }
    let missing = USEFUL.iter().filter(|(one, ..)| !held.contains(*one));
    let missing: Vec<String> = missing
        .map(|(_, name, gives)| format!("{name} gives {gives}"))
        .collect();
    if missing.is_empty() {
        Finding::ok("CAP_BPF CAP_PERFMON CAP_SYSLOG CAP_SYS_PTRACE")
    } else {
        Finding::limited("CAP_BPF CAP_PERFMON", missing.join("; "))
    }
}

fn lockdown(machine: &Machine<'_>) -> Finding {
    match preflight::lockdown(&machine.root) {
        Ok(Some(modes)) => Finding::ok(modes.trim()),
        Ok(None) => Finding::unknown(
            "the kernel does not show it",
            "kernels without CONFIG_SECURITY_LOCKDOWN_LSM have none; otherwise mount securityfs at \
             /sys/kernel/security",
        ),
        Err(error) => Finding::fails("confidentiality", format!("{error:#}")),
    }
}

fn btf(machine: &Machine<'_>) -> Finding {
    let btf = match &machine.btf {
        Ok(btf) => btf,
        Err(error) => {
            return Finding::fails(
                format!("{error:#}"),
                "take a kernel with CONFIG_DEBUG_INFO_BTF, or give its BTF with --kernel-btf FILE",
            );
        }
    };
    let from = machine.config.kernel_btf.as_ref();
    match layout::kernel_fields(btf) {
        Ok(globals) => Finding::ok(format!(
            "{}: {} types, {} fields looked up",
            from.map_or("the kernel's own".to_owned(), |path| path
                .display()
                .to_string()),
            btf.types().count(),
            globals.len()
        )),
        Err(error) => Finding::fails(
            format!("{error:#}"),
            "without --kernel-btf: report it, with what this says",
        ),
    }
}

/// The drop reasons of a module can be named if it has BTF.
fn module_btf(machine: &Machine<'_>) -> Finding {
    let names = |text: String| -> BTreeSet<String> {
        let lines = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        lines.map(str::to_owned).collect()
    };
    let Some(modules) = read(&machine.root, MODULES.trim_start_matches('/')).map(names) else {
        return Finding::unknown(
            format!("there is no {MODULES}"),
            "kernels without CONFIG_MODULES have none; otherwise mount /proc",
        );
    };
    if modules.is_empty() {
        return Finding::ok("no modules are loaded");
    }
    let folder = machine.root.join(BTF_FOLDER.trim_start_matches('/'));
    let without = modules.iter().filter(|name| !folder.join(name).exists());
    match without.count() {
        0 => Finding::ok(format!("all {} modules have it", modules.len())),
        without => Finding::limited(
            format!("{without} of {} modules have none", modules.len()),
            "drop reasons of these modules print as numbers; take a kernel with \
             CONFIG_DEBUG_INFO_BTF_MODULES",
        ),
    }
}

fn tracepoint(machine: &Machine<'_>) -> Finding {
    let Ok(btf) = &machine.btf else {
        return Finding::unknown(
            "skb:kfree_skb can't be looked for",
            "needs the kernel's BTF",
        );
    };
    let other_hook = "--hook auto takes probes on functions in its place, if there are any";
    let arguments = btf.tracepoint_args("kfree_skb").unwrap_or_default();
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    match layout::tracepoint(btf) {
        Ok(Some(_)) => Finding::ok(format!("skb:kfree_skb ({})", arguments.join(", "))),
        Ok(None) => Finding::limited("this kernel has no skb:kfree_skb", other_hook),
        Err(error) => Finding::limited(format!("{error:#}"), other_hook),
    }
}

fn kprobes(machine: &Machine<'_>) -> Finding {
    match preflight::kprobes_available(&machine.root) {
        Ok(()) => Finding::ok("available"),
        Err(error) => Finding::limited(
            format!("{error:#}"),
            "not needed where the tracepoint is there",
        ),
    }
}

fn reasons(machine: &Machine<'_>) -> Finding {
    let Some(mut reasons) = machine.reasons() else {
        return Finding::unknown("can't be looked for", "needs the kernel's BTF");
    };
    if !reasons.has_reasons() {
        return Finding::limited(
            "this kernel gives no drop reasons",
            "kernels from 5.17 on do; go by the call site, at=",
        );
    }
    Finding::ok(format!("{} named", reasons.all().len()))
}

fn symbols(machine: &Machine<'_>) -> Finding {
    let settings = ["kptr_restrict", "perf_event_paranoid"].map(|name| {
        let value = read(&machine.root, &format!("proc/sys/kernel/{name}"));
        format!("kernel.{name}={}", value.as_deref().unwrap_or("unknown"))
    });
    let settings = settings.join(" ");
    match &machine.symbols {
        KernelSymbols::Shown(count) => Finding::ok(format!("{count}, {settings}")),
        KernelSymbols::Hidden => Finding::limited(format!("{HIDDEN}; {settings}"), HIDDEN_REMEDY),
        KernelSymbols::Unreadable(error) => Finding::limited(
            error,
            "call sites and stacks are printed as addresses; take a kernel with CONFIG_KALLSYMS, \
             and mount /proc",
        ),
    }
}

fn jit(machine: &Machine<'_>) -> Finding {
    match read(&machine.root, "proc/sys/net/core/bpf_jit_enable").as_deref() {
        Some("0") => Finding::limited(
            "off: each drop costs several times as much",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        Some(value) => Finding::ok(format!("net.core.bpf_jit_enable={value}")),
        None => Finding::unknown(
            "no net.core.bpf_jit_enable",
            "kernels without CONFIG_BPF_JIT have none; then each drop costs several times as much",
        ),
    }
}

fn memlock(machine: &Machine<'_>) -> Finding {
    if machine.version().is_some_and(|it| it >= NO_MEMLOCK) {
        return Finding::ok("maps are not counted as locked memory");
    }
    match preflight::raise_memlock_limit() {
        Ok(()) => Finding::ok("lifted"),
        Err(error) => Finding::limited(
            format!("{error:#}"),
            "before 5.11 maps are counted as locked memory: ulimit -l unlimited, or \
             CAP_SYS_RESOURCE",
        ),
    }
}

fn ring_buffer(machine: &Machine<'_>) -> Finding {
    if preflight::check_capabilities(machine.capabilities).is_err() {
        return Finding::unknown("can't be tried", "needs root, or CAP_BPF");
    }
    match bpf::has_ring_buffer() {
        Ok(true) => Finding::ok("available"),
        Ok(false) => Finding::fails(
            "this kernel has none",
            "take a kernel from 5.8 on with CONFIG_BPF_SYSCALL",
        ),
        Err(error) => {
            let error = preflight::explain_bpf_error(error);
            Finding::fails(
                format!("{error:#}"),
                "run it outside of a container, or of what else takes bpf() away",
            )
        }
    }
}

fn hook(machine: &Machine<'_>) -> Finding {
    let (chosen, refusals) = machine.hook();
    match chosen {
        Some(choice) => {
            let why = match (refusals.is_empty(), choice.hook) {
                (false, _) => refusals.join("; "),
                (true, Hook::Kprobe) => "chosen with --hook".to_owned(),
                (true, Hook::Tracepoint) => choice.why.to_owned(),
            };
            let (name, targets) = (choice.name, choice.targets());
            Finding::ok(format!("{name} at {targets}: {why}"))
        }
        None if machine.btf.is_err() => {
            Finding::unknown("can't be chosen", "needs the kernel's BTF")
        }
        None => Finding::fails(
            refusals.join("; "),
            "try --hook auto, or another kernel: with tracepoints, or with CONFIG_KPROBE_EVENTS",
        ),
    }
}

fn buffer(machine: &Machine<'_>) -> Finding {
    let Buffer { name, bytes, why } = Buffer::of(machine.config);
    let found = format!("{name}, {bytes} bytes: {why}");
    match machine.config.buffer {
        BufferChoice::Auto | BufferChoice::Ring => Finding::ok(found),
        BufferChoice::Perf => Finding::limited(
            found,
            "--buffer ring costs less: the kernel need not wake the reader for every drop",
        ),
    }
}
