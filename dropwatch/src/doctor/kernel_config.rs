//! The configuration that the kernel was built with, as far as it matters.

use std::{fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, Result, bail};
use flate2::read::GzDecoder;

use super::{Finding, Machine};

/// Most bytes that are read; the largest configurations have some 300 KB.
const LIMIT: u64 = 4 << 20;

/// An option that matters.
struct Wanted {
    /// Without `CONFIG_`.
    option: &'static str,
    /// What it is for.
    gives: &'static str,
    /// Whether nothing goes without it.
    required: bool,
    /// The option without which this one means nothing.
    only_with: Option<&'static str>,
}

const fn required(option: &'static str, gives: &'static str) -> Wanted {
    Wanted {
        option,
        gives,
        required: true,
        only_with: None,
    }
}

const fn useful(option: &'static str, gives: &'static str) -> Wanted {
    Wanted {
        required: false,
        ..required(option, gives)
    }
}

const WANTED: &[Wanted] = &[
    required("BPF_SYSCALL", "eBPF"),
    required("BPF_EVENTS", "programs that trace"),
    useful("BPF_JIT", "programs as fast as machine code"),
    useful(
        "DEBUG_INFO_BTF",
        "the kernel's types (else --kernel-btf FILE)",
    ),
    Wanted {
        only_with: Some("MODULES"),
        ..useful("DEBUG_INFO_BTF_MODULES", "names of modules' drop reasons")
    },
    useful("KPROBE_EVENTS", "--hook kprobe"),
    useful("KALLSYMS", "names of call sites and callers"),
    useful("STACKTRACE", "stacks"),
    useful("NET_NS", "if= and netns="),
    useful("SOCK_CGROUP_DATA", "container=, pod= and unit= of sockets"),
];

/// Looks for the configuration of the running kernel, where kernels and distributions keep it.
fn read(root: &Path, release: &str) -> Result<(String, String)> {
    let paths = [
        "proc/config.gz".to_owned(),
        format!("boot/config-{release}"),
    ];
    for path in &paths {
        let Ok(file) = File::open(root.join(path)) else {
            continue;
        };
        let mut text = String::new();
        let result = if path.ends_with(".gz") {
            GzDecoder::new(file).take(LIMIT).read_to_string(&mut text)
        } else {
            file.take(LIMIT).read_to_string(&mut text)
        };
        result.with_context(|| format!("reading /{path}"))?;
        return Ok((format!("/{path}"), text));
    }
    bail!("there is neither /{} nor /{}", paths[0], paths[1])
}

/// Whether the option is built in or a module.
fn is_set(config: &str, option: &str) -> bool {
    config.lines().any(|line| {
        let rest = line.strip_prefix("CONFIG_");
        let value = rest.and_then(|rest| rest.strip_prefix(option));
        matches!(value, Some("=y" | "=m"))
    })
}

/// The options that matter.
pub(super) fn check(machine: &Machine<'_>) -> Finding {
    let (path, config) = match read(&machine.root, &machine.release) {
        Ok(found) => found,
        Err(error) => {
            return Finding::unknown(
                format!("{error:#}"),
                "nothing is lost: what matters is looked at by itself",
            );
        }
    };
    let applies = |it: &&Wanted| it.only_with.is_none_or(|other| is_set(&config, other));
    let (set, missing): (Vec<_>, Vec<_>) = WANTED
        .iter()
        .filter(applies)
        .partition(|it| is_set(&config, it.option));
    let words = |list: &[&Wanted], word: fn(&Wanted) -> String| {
        list.iter().map(|it| word(it)).collect::<Vec<_>>().join(" ")
    };
    let set = words(&set, |it| format!("{}=y", it.option));
    if missing.is_empty() {
        return Finding::ok(format!("{path}: {set}"));
    }
    let unset = words(&missing, |it| format!("{}=n", it.option));
    let found = format!("{path}: {set} {unset}");
    let gives: Vec<String> = missing
        .iter()
        .map(|it| format!("CONFIG_{} gives {}", it.option, it.gives))
        .collect();
    let remedy = format!("another kernel: {}", gives.join("; "));
    if missing.iter().any(|it| it.required) {
        Finding::fails(found, remedy)
    } else {
        Finding::limited(found, remedy)
    }
}
