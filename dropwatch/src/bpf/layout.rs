//! The running kernel's BTF to the globals of the eBPF programs.

use anyhow::{Context as _, Result, bail, ensure};
use dropwatch_common::{
    config::ABSENT,
    kernel_fields::{KERNEL_BITS, KERNEL_FIELDS, KernelBits, KernelField, SKB_SNAPSHOT_LEN},
};

use crate::btf::{Arg, Btf};

/// Values for globals of the eBPF programs, by name.
pub(crate) type Globals = Vec<(&'static str, u32)>;

/// Looks up every kernel field, see [`KERNEL_FIELDS`].
///
/// # Errors
/// A required field is missing, or a field is not what the eBPF programs read.
pub(crate) fn kernel_fields(btf: &Btf) -> Result<Globals> {
    let mut globals = Globals::new();
    let mut snapshot_used = 0;
    for field in KERNEL_FIELDS {
        let offset = offset_of(btf, field)?;
        if field.strukt == "sk_buff" && offset != ABSENT {
            snapshot_used = snapshot_used.max(offset + field.size);
        }
        globals.push((field.global, offset));
    }
    ensure!(
        snapshot_used as usize <= SKB_SNAPSHOT_LEN,
        "this kernel's struct sk_buff is larger than dropwatch can read: the fields it needs end \
         at byte {snapshot_used}, the limit is {SKB_SNAPSHOT_LEN}; please report it"
    );
    globals.push(("SKB_SNAPSHOT_USED", snapshot_used));
    for bits in KERNEL_BITS {
        globals.push((bits.global, position_of(btf, bits)?));
    }
    Ok(globals)
}

/// Distance of a bit field from the start of its struct, in bits.
fn position_of(btf: &Btf, bits: &KernelBits) -> Result<u32> {
    let name = format!("{}.{}", bits.strukt, bits.path);
    let member = btf
        .member(bits.strukt, bits.path)
        .with_context(|| format!("looking up {name} in the kernel's BTF"))?;
    let Some(member) = member else {
        return Ok(ABSENT);
    };
    let Some(found) = member.bits else {
        bail!("{name} is no bit field on this kernel; please report it");
    };
    ensure!(
        found.size == bits.bits && member.size == 1,
        "{name} has {} bits in {} bytes on this kernel, dropwatch knows it with {} in one; please \
         report it",
        found.size,
        member.size,
        bits.bits
    );
    Ok(member.offset * 8 + found.offset)
}

fn offset_of(btf: &Btf, field: &KernelField) -> Result<u32> {
    let name = format!("{}.{}", field.strukt, field.path);
    let member = btf
        .member(field.strukt, field.path)
        .with_context(|| format!("looking up {name} in the kernel's BTF"))?;
    match member {
        Some(member) => {
            ensure!(
                member.bits.is_none(),
                "{name} is a bit field on this kernel, dropwatch knows it with {} bytes; please \
                 report it",
                field.size
            );
            ensure!(
                member.size == field.size,
                "{name} has {} bytes on this kernel, dropwatch knows it with {}; please report it",
                member.size,
                field.size
            );
            ensure!(
                member.offset.is_multiple_of(field.size.min(8)),
                "{name} is not aligned on this kernel; please report it"
            );
            Ok(member.offset)
        }
        None if field.required => bail!(
            "the kernel's BTF has no {name}; if it was given with --kernel-btf, it is not this \
             kernel's"
        ),
        None => Ok(ABSENT),
    }
}

/// Whether the kernel gives programs the task on the CPU with its type
/// (`bpf_get_current_task_btf`, from 5.11).
pub(crate) fn has_typed_task(btf: &Btf) -> bool {
    btf.function_args("bpf_get_current_task_btf").is_some()
}

/// What the arguments of the tracepoint `skb:kfree_skb` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TracepointLayout {
    /// Whether the third argument is the drop reason.
    pub(crate) has_reason: bool,
    /// Whether the fourth argument is the receiving socket.
    pub(crate) has_socket: bool,
    /// How many arguments there are.
    pub(crate) arguments: usize,
}

/// Where the tracepoint's arguments are, found by their types.
///
/// `None` if this kernel has no such tracepoint.
///
/// # Errors
/// The arguments are not where the eBPF program reads them.
pub(crate) fn tracepoint(btf: &Btf) -> Result<Option<TracepointLayout>> {
    let arguments = btf.tracepoint_args("kfree_skb");
    arguments.map(|arguments| layout_of(&arguments)).transpose()
}

/// Whether this kernel says which socket was to receive a dropped packet (6.11 and
/// later).
pub fn names_receiver(btf: &Btf) -> bool {
    let arguments = btf.tracepoint_args("kfree_skb").unwrap_or_default();
    let of_function = btf.function_args("sk_skb_reason_drop").unwrap_or_default();
    let mut arguments = arguments.iter().chain(&of_function);
    arguments.any(|argument| argument.points_to("sock"))
}

fn layout_of(arguments: &[Arg]) -> Result<TracepointLayout> {
    let position = |wanted: &dyn Fn(&Arg) -> bool| arguments.iter().position(wanted);
    let skb = position(&|argument| argument.points_to("sk_buff"));
    let location = position(&|argument| argument.is_void_pointer());
    let reason = position(&|argument| argument.is_enum("skb_drop_reason"));
    let socket = position(&|argument| argument.points_to("sock"));
    ensure!(
        skb == Some(0)
            && location == Some(1)
            && matches!(reason, None | Some(2))
            && matches!(socket, None | Some(3)),
        "the tracepoint skb:kfree_skb has arguments that dropwatch does not know: {arguments:?}; \
         please report it, and use --hook kprobe"
    );
    Ok(TracepointLayout {
        has_reason: reason.is_some(),
        has_socket: socket.is_some(),
        arguments: arguments.len(),
    })
}

#[cfg(test)]
#[path = "layout/tests.rs"]
mod tests;
