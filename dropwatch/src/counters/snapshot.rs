//! What the kernel's counters of losses say at a moment.

use std::{collections::BTreeMap, path::Path};

use super::{
    drivers::Drivers,
    interfaces::{self, QDISC_DROPS, STATISTICS},
};
use crate::{
    format::write_name,
    proc_net::{self, Tables},
};

/// A counter: its name, and the interface's index and the handle of the queueing discipline that it
/// is of, 0 where it is of none.
pub(super) type Key = (String, u32, u32);

/// How the names of drivers' counters begin.
pub(super) const DRIVER: &str = "ethtool ";

/// What a counter says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Value {
    /// The count, since the counter is there.
    pub(super) count: u64,
    /// The interface's name as lines show it.
    pub(super) interface: Option<String>,
    /// The kind of queueing discipline.
    pub(super) qdisc: Option<String>,
}

/// The counters of a namespace, or those that all have in common.
pub(super) type Snapshot = BTreeMap<Key, Value>;

/// Reads the counters of these names that count for all namespaces together.
pub(super) fn global<'n>(names: impl Iterator<Item = &'n str>) -> Snapshot {
    let names = names.filter(|name| proc_net::is_global(name));
    tables(Path::new("/proc/self/net"), names)
}

/// Reads the counters of these names in the network namespace of the calling thread.
pub(super) fn local<'n>(names: impl Iterator<Item = &'n str>) -> Snapshot {
    let names = names.filter(|name| !proc_net::is_global(name));
    let mut snapshot = tables(Path::new("/proc/thread-self/net"), names);
    if let Err(error) = add_interfaces(&mut snapshot) {
        log::debug!("counters of interfaces: {error}");
    }
    snapshot
}

fn tables<'n>(folder: &Path, names: impl Iterator<Item = &'n str>) -> Snapshot {
    let tables = Tables::new(folder);
    let counters = names.filter_map(|name| {
        let value = Value {
            count: tables.counter(name)?,
            ..Value::default()
        };
        Some(((name.to_owned(), 0, 0), value))
    });
    counters.collect()
}

fn add_interfaces(snapshot: &mut Snapshot) -> std::io::Result<()> {
    let mut names = BTreeMap::new();
    let drivers = Drivers::new()?;
    for link in interfaces::links()? {
        let mut name = Vec::new();
        write_name("", Some(&link.name), &mut name);
        let name = String::from_utf8_lossy(&name).into_owned();
        let mut add = |counter: String, count| {
            let value = Value {
                count,
                interface: Some(name.clone()),
                qdisc: None,
            };
            snapshot.insert((counter, link.index, 0), value);
        };
        for (counter, of) in STATISTICS {
            add(counter.to_owned(), of(&link.statistics));
        }
        match drivers.losses(&link.name) {
            Ok(losses) => losses
                .into_iter()
                .for_each(|(counter, count)| add(format!("{DRIVER}{counter}"), count)),
            Err(error) => log::debug!("counters of the driver of {name}: {error}"),
        }
        names.insert(link.index, name);
    }
    for qdisc in interfaces::qdiscs()? {
        let value = Value {
            count: qdisc.drops.into(),
            interface: names.get(&qdisc.interface).cloned(),
            qdisc: Some(qdisc.kind.escape_default().to_string()),
        };
        let key = (QDISC_DROPS.to_owned(), qdisc.interface, qdisc.handle);
        snapshot.insert(key, value);
    }
    Ok(())
}

/// What moved from one snapshot to a later one. An interface or queueing discipline that was not
/// there before has counted since then; a counter that goes back was set anew, and says nothing.
pub(super) fn moved<'s>(
    before: &'s Snapshot,
    after: &'s Snapshot,
) -> impl Iterator<Item = (&'s Key, &'s Value, u64)> {
    after.iter().filter_map(|(key, value)| {
        let (_, interface, _) = key;
        let start = match before.get(key) {
            Some(value) => value.count,
            None if *interface != 0 => 0,
            // The table of a module that was loaded meanwhile.
            None => return None,
        };
        let count = value.count.checked_sub(start).filter(|count| *count > 0)?;
        Some((key, value, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(counters: &[(&str, u32, u32, u64)]) -> Snapshot {
        let counters = counters.iter().map(|(name, interface, qdisc, count)| {
            let value = Value {
                count: *count,
                ..Value::default()
            };
            (((*name).to_owned(), *interface, *qdisc), value)
        });
        counters.collect()
    }

    #[test]
    fn what_moved() {
        let before = snapshot(&[
            ("UdpNoPorts", 0, 0, 5),
            ("UdpInErrors", 0, 0, 5),
            (QDISC_DROPS, 1, 1, 9),
            ("interface rx_dropped", 3, 0, 9),
        ]);
        let after = snapshot(&[
            ("UdpNoPorts", 0, 0, 7),
            ("UdpInErrors", 0, 0, 5),
            ("nf_conntrack drop", 0, 0, 4),
            // Replaced by another one.
            (QDISC_DROPS, 1, 2, 3),
            // Set anew.
            ("interface rx_dropped", 3, 0, 2),
            ("interface tx_dropped", 4, 0, 1),
        ]);
        let moved: Vec<_> = moved(&before, &after)
            .map(|(key, _, count)| (key.0.as_str(), key.1, count))
            .collect();
        assert_eq!(
            moved,
            [
                ("UdpNoPorts", 0, 2),
                ("interface tx_dropped", 4, 1),
                (QDISC_DROPS, 1, 3)
            ]
        );
    }
}
