//! Attaches one of the programs of `floor/ebpf` to the tracepoint `skb:kfree_skb`
//! until it is killed, so that `cargo xtask bench` can set dropwatch beside it.

use std::{env, thread};

use anyhow::{Context as _, Result};
use aya::{Ebpf, include_bytes_aligned, programs::RawTracePoint};

/// The eBPF object, embedded at build time.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dropwatch-floor-ebpf"));

fn main() -> Result<()> {
    let name = env::args().nth(1).context("usage: floor empty|stack_id")?;
    let mut ebpf = Ebpf::load(OBJECT).context("loading the eBPF object")?;
    let program = ebpf.program_mut(&name);
    let program = program.with_context(|| format!("there is no program {name}"))?;
    let program: &mut RawTracePoint = program.try_into()?;
    program.load().with_context(|| format!("loading {name}"))?;
    program
        .attach("kfree_skb")
        .context("attaching to kfree_skb")?;
    loop {
        thread::park();
    }
}
