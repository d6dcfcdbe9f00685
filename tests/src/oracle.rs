//! The kernel's own record of drops, through tracefs: independent of BPF and of dropwatch.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::line::symbol;

/// An instance of the tracer with `skb:kfree_skb` switched on, removed on drop.
#[derive(Debug)]
pub struct Oracle(PathBuf);

/// How often the kernel dropped a packet at a place: (reason, function) to count.
pub type Places = BTreeMap<(String, String), usize>;

impl Oracle {
    /// Mounts tracefs where this process alone sees it, and starts recording.
    ///
    /// Call it while the process has one thread: the others would keep the old mounts.
    pub fn open() -> Result<Self> {
        let root = Path::new("/sys/kernel/tracing");
        if !root.join("events").exists() {
            unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
            mount(
                None::<&str>,
                "/",
                None::<&str>,
                MsFlags::MS_REC | MsFlags::MS_PRIVATE,
                None::<&str>,
            )
            .context("making the mounts private")?;
            mount(
                Some("tracefs"),
                root,
                Some("tracefs"),
                MsFlags::empty(),
                None::<&str>,
            )
            .context("mounting tracefs")?;
        }
        let instance = root
            .join("instances")
            .join(format!("dwt-{}", std::process::id()));
        fs::create_dir(&instance).context("making a tracer instance")?;
        let oracle = Self(instance);
        fs::write(oracle.0.join("events/skb/kfree_skb/enable"), "1")
            .context("enabling skb:kfree_skb")?;
        Ok(oracle)
    }

    /// What was dropped since the last call, on the whole machine.
    pub fn take(&self) -> Result<Places> {
        let path = self.0.join("trace");
        let text = fs::read_to_string(&path).context("reading the trace")?;
        fs::write(&path, "").context("clearing the trace")?;
        let mut places = Places::new();
        for record in text.lines().filter_map(parse) {
            *places.entry(record).or_default() += 1;
        }
        Ok(places)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        fs::write(self.0.join("events/skb/kfree_skb/enable"), "0").ok();
        fs::remove_dir(&self.0).ok();
    }
}

/// `... kfree_skb: skbaddr=... protocol=2048 location=udp_rcv+0x1/0x2 reason: NO_SOCKET`
fn parse(line: &str) -> Option<(String, String)> {
    let (_, record) = line.split_once(" kfree_skb: ")?;
    let (_, place) = record.split_once("location=")?;
    let place = place.split_whitespace().next()?;
    let reason = record
        .split_once("reason: ")
        .map_or("-", |(_, reason)| reason.trim());
    Some((reason.to_owned(), symbol(place).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn records() {
        let with = "  x-1 [000] ..s1. 1.0: kfree_skb: skbaddr=00000000 rx_sk=0 protocol=2048 location=udp_rcv+0x1/0x2 reason: NO_SOCKET";
        assert_eq!(
            parse(with),
            Some(("NO_SOCKET".to_owned(), "udp_rcv".to_owned()))
        );
        let without = "  x-1 [000] ..s1 1.0: kfree_skb: skbaddr=00000000 protocol=2048 location=0000000012345678";
        assert_eq!(
            parse(without),
            Some(("-".to_owned(), "0000000012345678".to_owned()))
        );
        assert_eq!(parse("# tracer: nop"), None);
    }
}
