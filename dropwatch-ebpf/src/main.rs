//! The eBPF programs: entry points only, one per attach point.
//!
//! User space loads the programs of the hook in use and no others; its table of
//! attach points is `dropwatch/src/bpf/attach.rs`.
#![no_std]
#![no_main]
// The only way to an atomic addition, see `probe::add`.
#![feature(asm_experimental_arch)]

mod config;
mod filter;
mod group;
mod kernel;
mod limit;
mod maps;
mod probe;

use aya_ebpf::{
    macros::{btf_tracepoint, kprobe, raw_tracepoint},
    programs::{BtfTracePointContext, ProbeContext, RawTracePointContext},
};

use kernel::read::{Copied, Typed};

/// `TP_PROTO(struct sk_buff *skb, void *location[, enum skb_drop_reason reason
/// [, struct sock *rx_sk]])`, `include/trace/events/skb.h`.
#[raw_tracepoint]
fn tracepoint_kfree_skb(ctx: RawTracePointContext) -> u32 {
    probe::tracepoint::<Copied, _>(&ctx);
    0
}

/// The same, where the kernel tells programs the types of the arguments.
#[btf_tracepoint]
fn typed_kfree_skb(ctx: BtfTracePointContext) -> u32 {
    probe::tracepoint::<Typed, _>(&ctx);
    0
}

/// `void kfree_skb(struct sk_buff *skb)`, a function up to 5.16.
#[kprobe]
fn kprobe_kfree_skb(ctx: ProbeContext) -> u32 {
    probe::function(&ctx, 0, None, None);
    0
}

/// `void kfree_skb_reason(struct sk_buff *skb, enum skb_drop_reason reason)`,
/// a function from 5.17 to 6.10.
#[kprobe]
fn kprobe_kfree_skb_reason(ctx: ProbeContext) -> u32 {
    probe::function(&ctx, 0, Some(1), None);
    0
}

/// `void sk_skb_reason_drop(struct sock *sk, struct sk_buff *skb, enum
/// skb_drop_reason reason)`, from 6.11.
#[kprobe]
fn kprobe_sk_skb_reason_drop(ctx: ProbeContext) -> u32 {
    probe::function(&ctx, 1, Some(2), Some(0));
    0
}

/// `void kfree_skb_list_reason(struct sk_buff *segs, enum skb_drop_reason
/// reason)`: from 6.3 it frees each packet of the list through an inlined
/// helper, so that the functions above are not called.
#[kprobe]
fn kprobe_kfree_skb_list_reason(ctx: ProbeContext) -> u32 {
    probe::list(&ctx);
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier accepts no program that can get here.
    loop {}
}

/// The helpers that read kernel memory are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
