//! How far the programs are from what the kernel's verifier gives up at.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::{Stage, WITHIN};
use crate::{kernel::Kernel, run::Outcome, world::World};

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

/// It takes each of them, with a margin.
pub(super) fn margin(stage: &Stage<'_>) -> Result<Outcome> {
    let world = World::new().context("making the world")?;
    for flags in FLAGS {
        let most = most_verified(stage, &world, flags).with_context(|| format!("`{flags}`"))?;
        ensure!(
            most.is_none_or(|most| most < BUDGET),
            "`{flags}`: {most:?} instructions verified, of {BUDGET} at most"
        );
    }
    if stage.kernel < TELLS {
        let reason = format!("it takes all programs; the margin is told from {TELLS} on");
        return Ok(Outcome::Ignored(reason));
    }
    Ok(Outcome::Passed)
}

/// What the verifier has looked at of the largest program, `None` if the kernel does not tell.
fn most_verified(stage: &Stage<'_>, world: &World, flags: &str) -> Result<Option<u64>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("packets.pcapng").display().to_string();
    let words = flags.split_whitespace();
    let mut args: Vec<&str> = words
        .map(|word| if word == "FILE" { &file } else { word })
        .collect();
    args.push("-v");
    let dropwatch = stage.start(world, &args)?;
    dropwatch.signal(Signal::SIGINT)?;
    let ended = dropwatch.wait(WITHIN)?;
    ended.expect_status(0)?;
    let most = ended.stderr.lines().filter_map(verified).max();
    ensure!(
        most.is_some() || stage.kernel < TELLS,
        "no program told of: {}",
        ended.stderr
    );
    Ok(most)
}

/// `dropwatch: program NAME: 2403 instructions, 21536 verified`
fn verified(line: &str) -> Option<u64> {
    let (_, count) = line.strip_suffix(" verified")?.rsplit_once(' ')?;
    count.parse().ok()
}
