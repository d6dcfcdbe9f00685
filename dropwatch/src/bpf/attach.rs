//! The hooks: where dropwatch attaches, on which kernels, and what each can't
//! see.

use std::path::Path;

use anyhow::{Error, Result, ensure};

use super::layout;
use crate::{btf::Btf, config::HookChoice, preflight};

/// A way to see every dropped packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// The tracepoint `skb:kfree_skb`.
    Tracepoint,
    /// Probes on the functions that free packets.
    Kprobe,
}

/// One place in the kernel and the program that goes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachPoint {
    /// The hook that it is part of.
    pub hook: Hook,
    /// Name of the tracepoint or function.
    pub target: &'static str,
    /// Name of the eBPF program.
    pub program: &'static str,
    /// Name of the eBPF program that is better, for kernels that take it: it reads the
    /// kernel's structs in place.
    pub typed_program: Option<&'static str>,
    /// Kernels that have it, as words.
    pub kernels: &'static str,
    /// What it does not see or know, as words.
    pub blind_to: &'static str,
}

/// Every attach point. Of the functions that free one packet, the first that
/// the kernel has is the one that the others call or are inlined into.
pub const ATTACH_POINTS: &[AttachPoint] = &[
    AttachPoint {
        hook: Hook::Tracepoint,
        target: "kfree_skb",
        program: "tracepoint_kfree_skb",
        typed_program: Some("typed_kfree_skb"),
        kernels: "5.10 on; drop reasons from 5.17 on",
        blind_to: "nothing that the kernel reports as a drop",
    },
    AttachPoint {
        hook: Hook::Kprobe,
        target: "sk_skb_reason_drop",
        program: "kprobe_sk_skb_reason_drop",
        typed_program: None,
        kernels: "6.11 on",
        blind_to: "drops in net_tx_action (packets that an interrupt handler gave up); drops inside \
                   of another probe; the last reference where two processors give theirs up at \
                   the same time",
    },
    AttachPoint {
        hook: Hook::Kprobe,
        target: "kfree_skb_reason",
        program: "kprobe_kfree_skb_reason",
        typed_program: None,
        kernels: "5.17 to 6.10",
        blind_to: "as sk_skb_reason_drop",
    },
    AttachPoint {
        hook: Hook::Kprobe,
        target: "kfree_skb",
        program: "kprobe_kfree_skb",
        typed_program: None,
        kernels: "up to 5.16",
        blind_to: "as sk_skb_reason_drop; drop reasons, which these kernels do not have",
    },
    AttachPoint {
        hook: Hook::Kprobe,
        target: LIST_FUNCTION,
        program: "kprobe_kfree_skb_list_reason",
        typed_program: None,
        kernels: "6.3 on",
        blind_to: "as sk_skb_reason_drop",
    },
];

/// Frees a list of packets.
const LIST_FUNCTION: &str = "kfree_skb_list_reason";

/// A struct that the kernel has where [`LIST_FUNCTION`] frees packets through
/// an inlined helper and does not call the functions for one packet.
const LIST_BYPASS_MARKER: &str = "skb_free_array";

/// The hook that is to be taken.
pub struct Chosen {
    /// It, and where it attaches; `None` if there is none.
    pub hook: Option<(Hook, Vec<&'static AttachPoint>)>,
    /// Those that would be better, and why they can't be had.
    pub refusals: Vec<(Hook, Error)>,
}

impl Hook {
    /// The first hook for `choice` that can be had on the kernel of `btf`; those behind it are not
    /// looked at. `root` is usually `/`.
    pub fn first_available(choice: HookChoice, btf: &Btf, root: &Path) -> Chosen {
        let mut refusals = Vec::new();
        for hook in Self::candidates(choice) {
            match hook.available(btf, root) {
                Ok(points) => {
                    return Chosen {
                        hook: Some((*hook, points)),
                        refusals,
                    };
                }
                Err(error) => refusals.push((*hook, error)),
            }
        }
        Chosen {
            hook: None,
            refusals,
        }
    }

    /// The flag's value that names this hook.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tracepoint => "tracepoint",
            Self::Kprobe => "kprobe",
        }
    }

    /// Why one would choose this hook, as words.
    pub fn merit(self) -> &'static str {
        match self {
            Self::Tracepoint => "the first choice: it fires for drops and for nothing else",
            Self::Kprobe => "the second choice: it has to tell drops from other frees",
        }
    }

    /// Names of everything that this hook may attach to.
    pub fn targets(self) -> Vec<&'static str> {
        ATTACH_POINTS
            .iter()
            .filter(|point| point.hook == self)
            .map(|point| point.target)
            .collect()
    }

    /// The hooks to try for `choice`, best first: the tracepoint sees exactly
    /// the drops, the probes have to tell them from other frees.
    pub fn candidates(choice: HookChoice) -> &'static [Self] {
        match choice {
            HookChoice::Auto => &[Self::Tracepoint, Self::Kprobe],
            HookChoice::Tracepoint => &[Self::Tracepoint],
            HookChoice::Kprobe => &[Self::Kprobe],
        }
    }

    /// The attach points that this hook needs on the kernel of `btf`, if it can be had. `root`
    /// is usually `/`.
    ///
    /// # Errors
    /// Says why the kernel does not have the hook.
    pub fn available(self, btf: &Btf, root: &Path) -> Result<Vec<&'static AttachPoint>> {
        match self {
            Self::Tracepoint => layout::tracepoint(btf).map(|_| ())?,
            Self::Kprobe => preflight::kprobes_available(root)?,
        }
        let points = self.attach_points(btf);
        ensure!(
            !points.is_empty(),
            "this kernel has none of {}; try another --hook",
            self.targets().join(", ")
        );
        Ok(points)
    }

    /// The attach points that this hook needs on the kernel of `btf`; empty if
    /// the kernel does not have it.
    pub fn attach_points(self, btf: &Btf) -> Vec<&'static AttachPoint> {
        let mut points = ATTACH_POINTS.iter().filter(|point| point.hook == self);
        match self {
            Self::Tracepoint => points
                .filter(|point| btf.tracepoint_args(point.target).is_some())
                .collect(),
            Self::Kprobe => {
                let exists = |point: &&AttachPoint| btf.function_args(point.target).is_some();
                let single = points
                    .clone()
                    .filter(|point| point.target != LIST_FUNCTION)
                    .find(exists);
                let list = points
                    .find(|point| point.target == LIST_FUNCTION && exists(point))
                    .filter(|_| btf.has_struct(LIST_BYPASS_MARKER));
                single.into_iter().chain(list).collect()
            }
        }
    }
}

#[cfg(test)]
#[path = "attach/tests.rs"]
mod tests;
