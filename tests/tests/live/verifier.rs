//! How far the programs are from what the kernel's verifier looks at.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use dropwatch_tests::{dropwatch::Dropwatch, kernel::Kernel, run::Outcome};

use crate::checks::{Check, Drops};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[("verifier/margin", margin)];

/// Instructions that the verifier may have looked at, in all branches: half of what it stops at
/// (`BPF_COMPLEXITY_LIMIT_INSNS` in `include/linux/bpf.h`), for another kernel's may prune less.
const BUDGET: u64 = 500_000;

/// The first kernel that tells (`bpf_prog_info.verified_insns`).
const TELLS: Kernel = Kernel(5, 16);

/// What makes programs large. All filters together are not the worst: each turns drops down early.
const FLAGS: &[&str] = &[
    "",
    "--fields all --write FILE",
    "--pid 1 --comm zz",
    "--addr 10.0.0.0/8 --port 80 --proto udp --pid 1 --comm zz",
    "--stack-func udp_rcv",
    "--stack-func udp_rcv --pid 1 --comm zz --write FILE",
    "--stack-func udp_rcv --pid 1 --comm zz --addr 10.0.0.0/8 --port 80 --proto udp --buffer perf",
    "--stack-func udp_rcv --pid 1 --comm zz --cgroup / --addr 10.0.0.0/8 --write FILE --kernel-btf \
     /sys/kernel/btf/vmlinux",
    "summary --stack-func udp_rcv --pid 1 --comm zz --addr 10.0.0.0/8 --port 80",
];

fn margin(path: &Path) -> Result<Outcome> {
    if Kernel::running()? < TELLS {
        return Ok(Outcome::Ignored(format!("kernels tell from {TELLS} on")));
    }
    let drops = Drops::new()?;
    for flags in FLAGS {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("packets.pcapng").display().to_string();
        let netns = drops.netns();
        let words = flags.split_whitespace();
        let mut args: Vec<&str> = words
            .map(|word| if word == "FILE" { &file } else { word })
            .collect();
        args.extend(["--netns", &netns, "-v"]);
        let ended = Dropwatch::start(path, &args)?.stop()?;
        ended.expect_status(0)?;
        let programs = ended.stderr.lines().filter_map(verified);
        let most = programs.max().context("no program told of")?;
        ensure!(
            most < BUDGET,
            "`{flags}`: {most} instructions verified, of {BUDGET} at most"
        );
    }
    Ok(Outcome::Passed)
}

/// `dropwatch: program NAME: 2403 instructions, 21536 verified`
fn verified(line: &str) -> Option<u64> {
    let (_, count) = line.strip_suffix(" verified")?.rsplit_once(' ')?;
    count.parse().ok()
}
