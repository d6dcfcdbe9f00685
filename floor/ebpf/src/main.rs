//! Programs at the tracepoint `skb:kfree_skb` that do as little as can be: what
//! the kernel takes for running any program there, and for any stack.
#![no_std]
#![no_main]

use aya_ebpf::{
    btf_maps::StackTrace,
    macros::{btf_map, raw_tracepoint},
    programs::{RawTracePointContext, tracing::StackIdContext as _},
};

/// Frames that are unwound: as many as dropwatch unwinds by default, which are its
/// 16 callers and `INNER_FRAMES` of `dropwatch/src/bpf/loader.rs`.
const FRAMES: usize = 22;

/// As many stacks as dropwatch's map holds.
const STACK_ENTRIES: usize = 4096;

#[btf_map]
static STACKS: StackTrace<STACK_ENTRIES, 0, FRAMES> = StackTrace::new();

/// Does nothing.
#[raw_tracepoint]
fn empty(_: RawTracePointContext) -> u32 {
    0
}

/// Takes the stack's id.
#[raw_tracepoint]
fn stack_id(ctx: RawTracePointContext) -> u32 {
    // What the kernel gives is no matter here, only that it was asked.
    ctx.get_stackid(&STACKS, 0).ok();
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier accepts no program that can get here.
    loop {}
}

/// `bpf_get_stackid` is for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
