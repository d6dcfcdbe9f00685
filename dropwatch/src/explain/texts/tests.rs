use std::{collections::BTreeSet, path::Path};

use super::*;
use crate::{
    btf::Btf,
    counters,
    enrich::reason::{BTF_FOLDER, ReasonNames},
    explain::present::Present,
    fixture,
    proc_net::Tables,
};

fn texts() -> Texts {
    Texts::load().unwrap()
}

/// The names of a kernel's reasons without a text, as lines show them.
fn without_text(texts: &Texts, btf: &Btf, folder: &Path) -> Vec<String> {
    let reasons = ReasonNames::new(btf, folder).all();
    let names = reasons.into_iter().map(|reason| match reason.subsystem {
        Some(subsystem) => format!("{subsystem}:{}", reason.name),
        None => reason.name,
    });
    names.filter(|name| texts.reason(name).is_none()).collect()
}

#[test]
fn every_reason_has_a_text() {
    let texts = texts();
    for kernel in fixture::KERNELS {
        let (btf, folder) = (fixture::btf(kernel), fixture::btf_folder(kernel));
        let missing = without_text(&texts, &btf, &folder);
        assert_eq!(missing, [""; 0], "{kernel}");
    }
    let core = ReasonNames::new(&fixture::btf("7.3"), &fixture::btf_folder("7.3")).all();
    assert!(core.len() > 130, "the fixture has them: {}", core.len());
}

#[test]
fn every_reason_of_the_running_kernel_has_a_text() {
    let folder = Path::new(BTF_FOLDER);
    // A machine that builds it may have no BTF.
    if let Ok(btf) = Btf::load(None) {
        assert_eq!(without_text(&texts(), &btf, folder), [""; 0]);
    }
}

/// Names of entries, and all of their lists.
fn lists(texts: &Texts) -> impl Iterator<Item = (&str, &str)> {
    texts
        .reasons()
        .chain(texts.sites())
        .flat_map(|(name, entry)| {
            let lists = [
                &entry.causes,
                &entry.counters,
                &entry.see,
                &entry.steps,
                &entry.sysctls,
                &entry.also,
            ];
            lists.into_iter().flatten().map(move |item| (name, &**item))
        })
}

#[test]
fn texts_are_whole_sentences_and_lists_hold_no_empty_items() {
    let texts = texts();
    for (name, entry) in texts.reasons().chain(texts.sites()) {
        let means = &entry.means;
        assert!(
            means.ends_with('.') || means.ends_with(".)"),
            "{name}: {means}"
        );
        assert!(
            means.starts_with(|it: char| it.is_alphanumeric()),
            "{name}: {means}"
        );
        assert!(
            entry.headline().len() <= 160,
            "{name}: {}",
            entry.headline()
        );
    }
    let means = texts.reasons().chain(texts.sites());
    let means = means.map(|(name, entry)| (name, entry.means.as_str()));
    for (name, text) in lists(&texts).chain(means) {
        assert!(!text.is_empty() && text.trim() == text, "{name}: {text:?}");
        assert!(!text.contains("  "), "{name}: {text:?}");
        let is_plain = text
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic());
        assert!(is_plain, "{name}: {text:?}");
    }
    for (name, cause) in texts
        .reasons()
        .chain(texts.sites())
        .flat_map(|(name, entry)| entry.causes.iter().map(move |cause| (name, cause)))
    {
        assert!(!cause.ends_with('.'), "{name}: {cause}");
    }
}

#[test]
fn nothing_is_said_twice_in_an_entry() {
    let texts = texts();
    let mut all: Vec<_> = lists(&texts).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn every_counter_is_one_of_a_real_kernel() {
    let texts = texts();
    let host = Present::new(&fixture::proc("7.3"));
    let mut known = BTreeSet::new();
    for (name, entry) in texts.reasons().chain(texts.sites()) {
        for counter in &entry.counters {
            assert!(host.counter(counter).is_some(), "{name}: {counter}");
            known.insert(counter);
        }
    }
    assert!(known.len() > 60, "{}", known.len());
}

#[test]
fn every_loss_is_a_counter_of_a_real_kernel() {
    let tables = Tables::new(&fixture::proc("7.3").join("net"));
    let texts = texts();
    let mut not_of_tables = BTreeSet::new();
    for (name, loss) in texts.losses() {
        if tables.counter(name).is_none() {
            not_of_tables.insert(name);
        }
        if let Some(entry) = &loss.explain {
            let known = texts.reason(entry).or_else(|| texts.site(entry));
            assert!(known.is_some(), "{name}: {entry}");
        }
    }
    let of_interfaces: BTreeSet<&str> = counters::of_interfaces().collect();
    assert_eq!(not_of_tables, of_interfaces);
}

#[test]
fn what_moves_in_some_cases_only_is_marked() {
    let texts = texts();
    let reason = |name| texts.reason(name).unwrap().1;
    let memory = reason("PROTO_MEM");
    assert!(memory.counters.contains(&"TcpExtTCPRcvQDrop".to_owned()));
    assert!(memory.perhaps.contains("TcpExtTCPRcvQDrop"));
    assert!(!memory.perhaps.contains("UdpMemErrors"));
    let queue = reason("QDISC_DROP");
    assert_eq!(queue.moves, ["qdisc drops", "interface tx_dropped"]);
    assert!(queue.perhaps.contains("IpOutDiscards"));
    assert!(!queue.perhaps.contains("qdisc drops"));
}

#[test]
fn a_counter_that_is_in_no_table_is_refused() {
    let broken = FILE.replacen("\"UdpNoPorts\"", "\"UdpNoPort\"", 1);
    let error = Texts::parse(&broken).unwrap_err();
    assert!(error.to_string().contains("UdpNoPort"), "{error}");
}

#[test]
fn every_setting_is_one_of_a_real_kernel() {
    let sysctls = fixture::sysctls("7.3");
    let sysctls: BTreeSet<&str> = sysctls.lines().collect();
    for (name, entry) in texts().reasons().chain(texts().sites()) {
        for sysctl in &entry.sysctls {
            assert!(sysctls.contains(sysctl.as_str()), "{name}: {sysctl}");
        }
    }
}

#[test]
fn every_group_is_of_use() {
    let file: File = toml::from_str(FILE).unwrap();
    let entries = file.reason.values().chain(file.site.values());
    let used: BTreeSet<&String> = entries.filter_map(|entry| entry.group.as_ref()).collect();
    assert_eq!(used, file.group.keys().collect());
}

#[test]
fn functions_are_found_by_each_of_their_names() {
    let texts = texts();
    let (name, entry) = texts.site("tcp_v6_rcv.isra.0").unwrap();
    let (original, same) = texts.site("tcp_v4_rcv").unwrap();
    assert_eq!((name, original), ("tcp_v6_rcv", "tcp_v4_rcv"));
    assert!(std::ptr::eq(entry, same));
    assert!(texts.site("tcp_v5_rcv").is_none() && texts.site("").is_none());
    // What the kernel's own tables name as call sites should be known.
    for function in [
        "nf_hook_slow",
        "__dev_queue_xmit",
        "arp_process",
        "veth_xmit",
    ] {
        assert!(texts.site(function).is_some(), "{function}");
    }
}

#[test]
fn reasons_are_found_by_names_and_patterns() {
    let texts = texts();
    let names = |word: &str| {
        let found = texts.reasons_matching(word).into_iter();
        found.map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(names("no_socket"), ["NO_SOCKET"]);
    assert_eq!(names("SKB_DROP_REASON_NO_SOCKET"), ["NO_SOCKET"]);
    assert_eq!(names("openvswitch:meter"), ["openvswitch:METER"]);
    assert_eq!(names("OPENVSWITCH").len(), 11);
    assert_eq!(names("NEIGH_*").len(), 5);
    assert_eq!(names("NOSOCKET"), [""; 0]);
    assert_eq!(texts.nearest("NOSOCKET")[0], "NO_SOCKET");
    assert_eq!(texts.nearest("tcp_v4_rvc")[0], "tcp_v4_rcv");
}

#[test]
fn broken_files_are_refused() {
    let entry = "means = 'x'";
    let whole = format!("[reason.A]\n{entry}\n[site.b]\n{entry}\nalso = ['c']\n[group.g]\n");
    assert!(Texts::parse(&whole).is_ok());
    for (from, to) in [
        ("[group.g]\n", "[reason.A]\n"),
        ("also =", "als ="),
        ("also = ['c']", "also = ['b']"),
        ("also = ['c']", "also = ['c', 'c']"),
        ("also =", "group = 'h'\nalso ="),
    ] {
        let broken = whole.replacen(from, to, 1);
        assert_ne!(broken, whole);
        assert!(Texts::parse(&broken).is_err(), "{broken}");
    }
}
