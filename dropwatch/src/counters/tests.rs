use std::net::SocketAddr;

use super::*;
use crate::groups::{Counts, Dimension};

fn local(counters: &[(&str, u64)]) -> Option<Local> {
    let counters = counters.iter().map(|(name, count)| {
        let value = Value {
            count: *count,
            ..Value::default()
        };
        (((*name).to_owned(), 0, 0), value)
    });
    Some(Local {
        counters: counters.collect(),
        full: Vec::new(),
    })
}

fn counters(before: Option<Local>, after: Option<Local>) -> Counters {
    let reading = |local| Reading {
        global: Snapshot::new(),
        local: vec![local],
    };
    Counters {
        texts: Texts::load().unwrap(),
        namespaces: Namespaces::of("blue", 4_026_532_177),
        before: reading(before),
        after: reading(after),
        traced: Traced::default(),
    }
}

fn groups(groups: &[(&str, u64)]) -> Groups {
    let mut all = Groups::new(
        &[Dimension::Reason, Dimension::Proto, Dimension::Netns],
        100,
    );
    for (reason, drops) in groups {
        let counts = Counts {
            drops: *drops,
            ..Counts::default()
        };
        all.add_values(&[reason, "tcp", "blue"], counts);
    }
    all.begin_reading(Counts::default());
    all
}

#[test]
fn a_full_accept_queue() {
    let mut after = local(&[("TcpExtListenOverflows", 19), ("TcpExtTCPBacklogDrop", 3)]);
    after.as_mut().unwrap().full = vec![Socket {
        local: SocketAddr::from(([0; 4], 80)),
        inode: 0,
        waiting: 129,
        limit: 128,
        drops: 0,
    }];
    let before = local(&[("TcpExtListenOverflows", 7), ("TcpExtTCPBacklogDrop", 1)]);
    let counters = counters(before, after);
    let drops = groups(&[("TCP_LISTEN_OVERFLOW", 2), ("SOCKET_BACKLOG", 2)]);
    let report = counters.report(Some(&drops), 9);
    assert_eq!(
        report.lines(Wanted::All),
        [
            "TcpExtListenOverflows +12 netns=blue: TCP_LISTEN_OVERFLOW 2, 10 unexplained; accept \
             queue of *:80 (owner -) full, 129/128; SYNs to a full accept queue are ignored, not \
             freed as drops; see dropwatch explain TCP_LISTEN_OVERFLOW",
            "TcpExtTCPBacklogDrop +2 netns=blue: SOCKET_BACKLOG 2",
            "counters are of whole namespaces; 5 drops that were filtered, limited or lost explain \
             none of them",
        ]
    );
    let short = report.lines(Wanted::Unexplained);
    assert_eq!(short.len(), 2, "{short:?}");
    assert!(short[0].starts_with("TcpExtListenOverflows +12"));
    assert_eq!(
        short[1],
        "1 more counters of losses moved, see them with --counters"
    );
}

#[test]
fn without_reasons_nothing_is_said_to_be_unexplained() {
    let counters = counters(local(&[("UdpNoPorts", 1)]), local(&[("UdpNoPorts", 5)]));
    let by_port = Groups::new(&[Dimension::Dport], 9);
    let report = counters.report(Some(&by_port), 4);
    assert_eq!(report.lines(Wanted::All), ["UdpNoPorts +4 netns=blue"]);
    assert!(report.lines(Wanted::Unexplained).is_empty());
}

#[test]
fn what_is_explained_is_not_told_unasked() {
    let counters = counters(
        local(&[("TcpExtTCPBacklogDrop", 1)]),
        local(&[("TcpExtTCPBacklogDrop", 3)]),
    );
    let report = counters.report(Some(&groups(&[("SOCKET_BACKLOG", 2)])), 2);
    assert_eq!(report.moved.len(), 1);
    assert!(report.lines(Wanted::Unexplained).is_empty());
    assert!(report.lines(Wanted::None).is_empty());
}

#[test]
fn nothing_moved_and_a_namespace_that_has_gone() {
    let counters = counters(local(&[("UdpNoPorts", 5)]), None);
    assert_eq!(
        counters.report(None, 3).lines(Wanted::All),
        [
            "no counter of losses moved",
            "counters of 1 more network namespaces were not read"
        ]
    );
}

#[test]
fn this_host_is_read() {
    let mut host = Host::below(Path::new("/"));
    let mut counters = Counters::start(&mut host, None).unwrap();
    // The own namespace needs no privilege.
    let own = counters.before.local.first().unwrap().as_ref().unwrap();
    let has = |name: &str| own.counters.keys().any(|(it, ..)| it == name);
    assert!(has("UdpNoPorts") && has("TcpExtListenOverflows") && has("interface rx_dropped"));
    counters.end();
    assert_eq!(counters.before.local.len(), counters.after.local.len());
}
