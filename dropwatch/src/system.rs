//! What the filters' words mean on the running system.

use std::{
    ops::{Range as AddressRange, RangeInclusive},
    path::Path,
    thread::{self, JoinHandle},
};

use anyhow::{Result, anyhow, bail};
use dropwatch_common::config::RangeKind;

use crate::{
    enrich::{
        Host,
        container::ContainerMatch,
        reason::ReasonNames,
        symbol::{HIDDEN, HIDDEN_REMEDY, KALLSYMS, MODULES, Symbols},
    },
    filter::{Range, Resolver},
};

/// Functions that drop a packet after they have found the socket it is for, or
/// that are called for that socket alone. What they drop is looked up by address
/// where the kernel does not hand the socket over: before 6.11.
const SOCKET_RECEIVE_FUNCTIONS: [&str; 22] = [
    "__udp_enqueue_schedule_skb",
    "__udp_queue_rcv_skb",
    "raw_rcv",
    "raw_rcv_skb",
    "raw_local_deliver",
    "rawv6_rcv",
    "rawv6_rcv_skb",
    "tcp_add_backlog",
    "tcp_conn_request",
    "tcp_data_queue",
    "tcp_data_queue_ofo",
    "tcp_drop",
    "tcp_drop_reason",
    "tcp_ofo_queue",
    "tcp_rcv_established",
    "tcp_rcv_state_process",
    "tcp_v4_do_rcv",
    "tcp_v6_do_rcv",
    "udp_queue_rcv_one_skb",
    "udp_queue_rcv_skb",
    "udpv6_queue_rcv_one_skb",
    "udpv6_queue_rcv_skb",
];

/// Functions with the tracepoint in them, on kernels whose compilers may split them: before 6.0.
const MAY_BE_SPLIT: [&str; 2] = ["kfree_skb", "kfree_skb_reason"];

/// How many names an error suggests.
const SUGGESTIONS: usize = 5;

/// The kernel's symbols, which another thread reads: that takes the kernel longer
/// than all the rest of a start.
pub(crate) struct PendingSymbols {
    /// The thread, until it was waited for.
    reading: Option<JoinHandle<Result<Symbols>>>,
    symbols: Symbols,
}

impl PendingSymbols {
    /// Starts to read.
    pub(crate) fn start() -> Self {
        Self {
            reading: Some(thread::spawn(|| {
                Symbols::load(Path::new(KALLSYMS), Path::new(MODULES))
            })),
            symbols: Symbols::none(),
        }
    }

    /// The symbols: waits until they are read. None and a warning if they can't
    /// be: addresses are better than nothing.
    fn get(&mut self) -> &Symbols {
        if let Some(thread) = self.reading.take() {
            let panicked = |_| Err(anyhow!("reading {KALLSYMS} failed"));
            match thread.join().unwrap_or_else(panicked) {
                Ok(symbols) => {
                    if symbols.hidden() {
                        log::warn!("{HIDDEN}; {HIDDEN_REMEDY}");
                    }
                    self.symbols = symbols;
                }
                Err(error) => {
                    log::warn!("{error:#}; call sites and stacks are printed as addresses");
                }
            }
        }
        &self.symbols
    }
}

/// The running system.
pub(crate) struct System {
    /// Names of drop reasons.
    pub(crate) reasons: ReasonNames,
    symbols: PendingSymbols,
    host: Host,
}

impl System {
    pub(crate) fn new(reasons: ReasonNames, symbols: PendingSymbols) -> Self {
        Self {
            reasons,
            symbols,
            host: Host::below(Path::new("/")),
        }
    }

    /// The names that records need as well.
    pub(crate) fn into_names(mut self) -> (ReasonNames, Symbols, Host) {
        self.symbols.get();
        (self.reasons, self.symbols.symbols, self.host)
    }

    /// Code of [`SOCKET_RECEIVE_FUNCTIONS`].
    pub(crate) fn socket_receive_functions(&mut self) -> Vec<Range> {
        let symbols = self.symbols.get();
        let code = symbols.functions_matching_any(&SOCKET_RECEIVE_FUNCTIONS);
        let range = |code| Range::of_code(RangeKind::SocketReceive, code);
        code.iter().map(range).collect()
    }

    /// Code of those of [`MAY_BE_SPLIT`] that are split.
    pub(crate) fn split_functions(&mut self) -> Vec<Range> {
        let code = split_functions(self.symbols.get());
        let range = |code| Range::of_code(RangeKind::SplitFunction, code);
        code.iter().map(range).collect()
    }
}

fn split_functions(symbols: &Symbols) -> Vec<AddressRange<u64>> {
    let has_parts = |name: &&&str| {
        let parts = symbols.functions_matching(&format!("{name}.part.*"));
        !parts.is_empty()
    };
    let split = MAY_BE_SPLIT.iter().filter(has_parts);
    split
        .flat_map(|name| symbols.functions_matching(name))
        .collect()
}

impl Resolver for System {
    fn reasons(&mut self, flag: &str, pattern: &str) -> Result<Vec<RangeInclusive<u32>>> {
        let found = self.reasons.matching(pattern);
        found.map_err(|error| error.context(flag.to_owned()))
    }

    fn functions(&mut self, flag: &str, pattern: &str) -> Result<Vec<AddressRange<u64>>> {
        let symbols = self.symbols.get();
        if symbols.is_empty() {
            bail!("{flag} needs the kernel's symbols, which can't be read (see the warning)");
        }
        let code = symbols.functions_matching(pattern);
        if code.is_empty() {
            let shown = pattern.escape_debug();
            match symbols.nearest_functions(pattern, SUGGESTIONS).join(", ") {
                names if names.is_empty() => bail!("{flag}: this kernel has no function '{shown}'"),
                names => bail!("{flag}: this kernel has no function '{shown}'; it has {names}"),
            }
        }
        Ok(code)
    }

    fn netns(&mut self, name: &str) -> Result<u32> {
        self.host.resolve_netns(name)
    }

    fn cgroup(&mut self, path: &str) -> Result<u64> {
        self.host.containers.resolve_cgroup(path)
    }

    fn container(&mut self, name: &str) -> Result<ContainerMatch> {
        self.host.containers.resolve_container(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn only_split_functions_count() {
        for kernel in ["5.10", "6.1"] {
            assert_eq!(split_functions(&fixture::symbols(kernel)), []);
        }
        // As in Debian's 5.10 for arm64.
        let text = "ffffa7eb9246cb60 T __kfree_skb\n\
                    ffffa7eb9246cc74 t kfree_skb.part.0\n\
                    ffffa7eb9246cd44 T kfree_skb\n\
                    ffffa7eb9246cde0 T consume_skb\n";
        let symbols = Symbols::of_text(text.as_bytes()).unwrap();
        let both = 0xffff_a7eb_9246_cc74..0xffff_a7eb_9246_cde0;
        assert_eq!(split_functions(&symbols), [both]);
    }
}
