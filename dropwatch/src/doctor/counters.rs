//! The kernel's counters of losses: which can be read, and what moved while the doctor looked.

use std::path::Path;

use super::Finding;
use crate::{counters::Counters, enrich::Host, groups::Groups};

/// Most counters that are named.
const NAMED: usize = 8;

/// The counters when the doctor came.
pub(super) struct Watch(anyhow::Result<Counters>);

impl Watch {
    /// Reads them.
    pub(super) fn start() -> Self {
        Self(Counters::start(&mut Host::below(Path::new("/")), None))
    }

    /// Reads them again. No drops were traced that could explain any.
    pub(super) fn end(self) -> Finding {
        let mut counters = match self.0 {
            Ok(counters) => counters,
            Err(error) => return Finding::unknown(format!("{error:#}"), "report it"),
        };
        counters.end();
        let (count, namespaces) = counters.readable();
        let report = counters.report(Some(&Groups::new(&[], 0)), 0);
        let mut moved: Vec<String> = report
            .moved
            .iter()
            .take(NAMED)
            .map(ToString::to_string)
            .collect();
        if report.moved.len() > NAMED {
            moved.push(format!("{} more", report.moved.len() - NAMED));
        }
        if moved.is_empty() {
            moved.push("none".to_owned());
        }
        let plural = if namespaces == 1 { "" } else { "s" };
        let found = format!(
            "{count} of losses in {namespaces} network namespace{plural}; moved meanwhile: {}",
            moved.join(", ")
        );
        match report.left_out {
            0 => Finding::ok(found),
            left_out => Finding::limited(
                format!("{found}; not read: {left_out} namespaces"),
                "run it with CAP_SYS_ADMIN to enter other namespaces; at most 64 are looked at",
            ),
        }
    }
}
