//! Counters in the tables of `/proc/net`, by the names that `nstat` has for them.
//!
//! The kernel writes each kind of table in a way of its own: pairs of lines (`snmp`, `netstat`), a
//! line for each counter (`snmp6`, `xfrm_stat`), a line for each processor below names (`stat/*`)
//! or without any (`softnet_stat`).

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::enrich::files::read_bounded;

/// Most bytes of a table: `snmp6` has some kilobytes, those with a line for each processor some
/// hundred.
const LIMIT: u64 = 4 << 20;

/// Tables with a name before the counter, and whether they are the same in every namespace.
const NAMED: [(&str, Layout, bool); 6] = [
    ("softnet_stat", Layout::Processors, true),
    ("arp_cache", Layout::Columns, true),
    ("ndisc_cache", Layout::Columns, true),
    ("rt_cache", Layout::Columns, true),
    ("nf_conntrack", Layout::Columns, false),
    ("xfrm_stat", Layout::List, false),
];

/// Tables whose counters are known by their own names.
const PLAIN: [(&str, Layout); 3] = [
    ("snmp", Layout::Pairs),
    ("netstat", Layout::Pairs),
    ("snmp6", Layout::List),
];

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// `Tcp: InSegs OutSegs` and `Tcp: 12 7`.
    Pairs,
    /// `Ip6InReceives 40`.
    List,
    /// Names, then lines of hexadecimal numbers.
    Columns,
    /// Lines of hexadecimal numbers.
    Processors,
}

/// Whether a counter of this name counts for all network namespaces together.
pub(crate) fn is_global(name: &str) -> bool {
    let table = name.split_once(' ').map(|(table, _)| table);
    NAMED
        .iter()
        .any(|(named, _, global)| *global && Some(*named) == table)
}

/// The tables of a network namespace, each read once, when it is first asked for.
pub(crate) struct Tables {
    /// The folder `net` of a process.
    folder: PathBuf,
    read: BTreeMap<&'static str, OnceCell<Option<String>>>,
}

impl Tables {
    /// Those in `folder`, as `/proc/thread-self/net`.
    pub(crate) fn new(folder: &Path) -> Self {
        let plain = PLAIN.iter().map(|(table, _)| *table);
        let named = NAMED.iter().map(|(table, ..)| *table);
        Self {
            folder: folder.to_owned(),
            read: plain
                .chain(named)
                .map(|table| (table, OnceCell::new()))
                .collect(),
        }
    }

    /// The value of a counter: by its name, or as `TABLE COUNTER`. `None` if there is none.
    pub(crate) fn counter(&self, name: &str) -> Option<u64> {
        let Some((table, counter)) = name.split_once(' ') else {
            let mut tables = PLAIN.iter();
            return tables.find_map(|(table, layout)| self.read(table, *layout, name));
        };
        let (table, layout, _) = NAMED.iter().find(|(named, ..)| *named == table)?;
        self.read(table, *layout, counter)
    }

    fn read(&self, table: &'static str, layout: Layout, name: &str) -> Option<u64> {
        let text = self.read.get(table)?.get_or_init(|| {
            let file = match layout {
                Layout::Columns => self.folder.join("stat").join(table),
                _ => self.folder.join(table),
            };
            String::from_utf8(read_bounded(&file, LIMIT).ok()?).ok()
        });
        let text = text.as_deref()?;
        match layout {
            Layout::Pairs => in_pairs(text, name),
            Layout::List => listed(text, name),
            Layout::Columns => sum_of_named_column(text, name),
            Layout::Processors => sum(text, softnet_column(name)?),
        }
    }
}

/// `softnet_seq_show` in `net/core/net-procfs.c` names no columns.
fn softnet_column(name: &str) -> Option<usize> {
    match name {
        "dropped" => Some(1),
        "flow_limit" => Some(10),
        _ => None,
    }
}

fn in_pairs(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (group, names) = names.split_once(':')?;
        let Some(wanted) = name.strip_prefix(group) else {
            continue;
        };
        let (_, values) = values.split_once(':')?;
        let place = names.split_whitespace().position(|name| name == wanted);
        if let Some(place) = place {
            return values.split_whitespace().nth(place)?.parse().ok();
        }
    }
    None
}

fn listed(text: &str, name: &str) -> Option<u64> {
    let mut words = text.lines().map(str::split_whitespace);
    let value = words.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()));
    value??.parse().ok()
}

fn sum_of_named_column(text: &str, name: &str) -> Option<u64> {
    let (names, lines) = text.split_once('\n')?;
    let column = names.split_whitespace().position(|it| it == name)?;
    sum(lines, column)
}

/// The sum of a column of hexadecimal numbers: a line for each processor.
fn sum(lines: &str, column: usize) -> Option<u64> {
    let number = |line: &str| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok();
    lines.lines().map(number).sum()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn counters() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "snmp",
            "Ip: A InB\nIp: 1 2\nTcp: MaxConn InErrs\nTcp: -1 7\n",
        );
        write(
            "netstat",
            "TcpExt: ListenDrops\nTcpExt: 12\nIpExt: A\nIpExt: 3\n",
        );
        write("snmp6", "Ip6InReceives  \t40\nUdp6NoPorts 41\n");
        write("xfrm_stat", "XfrmInNoPols            5\n");
        write(
            "stat/arp_cache",
            "entries  table_fulls\n0000000a 0000000b\n0000000a 00000005\n",
        );
        write("softnet_stat", &"1 2 3 0 0 0 0 0 0 0 10\n".repeat(2));
        let tables = Tables::new(folder.path());
        for (name, value) in [
            ("TcpInErrs", Some(7)),
            ("IpInB", Some(2)),
            ("TcpExtListenDrops", Some(12)),
            ("IpExtA", Some(3)),
            ("Udp6NoPorts", Some(41)),
            ("xfrm_stat XfrmInNoPols", Some(5)),
            ("arp_cache table_fulls", Some(16)),
            ("softnet_stat dropped", Some(4)),
            ("softnet_stat flow_limit", Some(0x20)),
            // Not a number of things, or not there.
            ("TcpMaxConn", None),
            ("TcpNone", None),
            ("arp_cache none", None),
            ("softnet_stat none", None),
            ("ndisc_cache table_fulls", None),
        ] {
            assert_eq!(tables.counter(name), value, "{name}");
        }
        assert!(is_global("softnet_stat dropped") && !is_global("nf_conntrack drop"));
        assert!(!is_global("UdpNoPorts"));
    }
}
