use std::{fs, net::SocketAddr};

use super::{sockets::Socket, *};

const NFT: &str = "07:30:01.739587 NETFILTER_DROP tcp 127.0.0.1:41740 > 127.0.0.1:443 len=60 \
    flags=SYN if=lo class=drop at=nft_do_chain+0x3e8[nf_tables] pid=24254 comm=curl owner=- \
    netns=4026532177 stack=nft_do_chain_inet+0x43[nf_tables],nf_hook_slow+0x43,\
    __ip_local_out+0x11c,ip_local_out+0x1c";

fn titles(texts: &Texts, argument: &str) -> Vec<String> {
    let kinds = asked(texts, argument).unwrap();
    kinds.into_iter().map(|kind| kind.title).collect()
}

/// The line of a drop, with its reason, call site and callers.
fn line(reason: &str, at: &str, stack: &str) -> String {
    format!("0.1 {reason} udp 10.0.0.1:5 > 10.0.0.2:9 len=8 class=drop at={at} stack={stack}")
}

#[test]
fn a_kind_is_its_reason_where_that_says_enough() {
    let texts = Texts::load().unwrap();
    let first = line("NO_SOCKET", "udp_rcv+0x1", "ip_protocol_deliver_rcu+0x3");
    assert_eq!(titles(&texts, &first), ["NO_SOCKET"]);
    assert_eq!(
        titles(&texts, &line("NO_SOCKET", "tcp_v4_rcv+0x7", "-")),
        ["NO_SOCKET"]
    );
}

#[test]
fn otherwise_it_is_the_call_site_and_a_caller_that_says_more() {
    let texts = Texts::load().unwrap();
    for (reason, at, stack, title) in [
        (
            "NOT_SPECIFIED",
            "tcp_v4_rcv.isra.0+0x1",
            "ip_local_deliver+0x1",
            "NOT_SPECIFIED at tcp_v4_rcv.isra.0",
        ),
        ("-", "arp_process+0x1", "-", "at arp_process"),
        (
            "QUEUE_PURGE",
            "skb_queue_purge_reason+0x1",
            "nobody_knows+0x2,unix_gc+0x3,__netif_receive_skb_core+0x4",
            "QUEUE_PURGE at skb_queue_purge_reason, called by unix_gc",
        ),
        // Too far out to have anything to do with it.
        (
            "-",
            "kfree_skb_list+0x1",
            "a+0x1,b+0x1,c+0x1,d+0x1,__dev_queue_xmit+0x1",
            "at kfree_skb_list",
        ),
        (
            "NEW_REASON",
            "new_function+0x1",
            "-",
            "NEW_REASON at new_function",
        ),
        ("NOT_SPECIFIED", "-", "-", "NOT_SPECIFIED"),
    ] {
        assert_eq!(titles(&texts, &line(reason, at, stack)), [title]);
    }
    assert_eq!(
        titles(&texts, NFT),
        ["NETFILTER_DROP at nft_do_chain, called by __ip_local_out"]
    );
    assert_eq!(titles(&texts, &line("-", "-", "-")), [""; 0]);
}

#[test]
fn words() {
    let texts = Texts::load().unwrap();
    assert_eq!(titles(&texts, "tcp_v6_rcv+0x10"), ["tcp_v6_rcv"]);
    assert_eq!(titles(&texts, "tcp_csum"), ["TCP_CSUM"]);
    assert_eq!(
        titles(&texts, "UNIX_*"),
        ["UNIX_DISCONNECT", "UNIX_SKIP_OOB"]
    );
    let error = |argument: &str| {
        assert!(asked(&texts, argument).is_none());
        unknown(&texts, argument).to_string()
    };
    let unknown = error("NO_SOKET");
    assert!(
        unknown.starts_with("there is no text for 'NO_SOKET'; similar: NO_SOCKET"),
        "{unknown}"
    );
    let odd = error("two words\n\x1b[31m");
    assert!(
        odd.contains("nor a line of dropwatch") && !odd.contains('\x1b'),
        "{odd}"
    );
}

#[test]
fn each_kind_is_met_once() {
    let mut kinds = Kinds::new().unwrap();
    for (reason, at, is_new) in [
        ("NOT_SPECIFIED", "-", true),
        ("NO_SOCKET", "udp_rcv+0x1", true),
        ("NO_SOCKET", "tcp_v4_rcv+0x1", false),
        ("NOT_SPECIFIED", "tcp_v4_rcv+0x1", true),
        ("NOT_SPECIFIED", "tcp_v4_rcv+0x2", false),
        ("NOT_SPECIFIED", "tcp_v6_rcv+0x2", true),
    ] {
        let before = kinds.met.len();
        for kind in asked(&kinds.texts, &line(reason, at, "-")).unwrap() {
            kinds.meet(kind);
        }
        assert_eq!(kinds.met.len() > before, is_new, "{reason} {at}");
    }
}

#[test]
fn lines_that_somebody_made_up_control_no_terminal() {
    let text = explained(&line("\x1b[31mRED", "f\u{202e}\x07+0x1", "-"));
    let title = text.lines().next().unwrap();
    assert_eq!(title, r"\u{1b}[31mRED at f\u{202e}\u{7}");
    assert!(text.chars().all(|it| it == '\n' || !it.is_control()));
    let texts = Texts::load().unwrap();
    let long = "x".repeat(10_000);
    assert_eq!(titles(&texts, &line(&long, &long, "-")), [""; 0]);
    let json = format!(r#"{{"reason":"{long}","at":"{long}+0x1"}}"#);
    assert_eq!(titles(&texts, &json), [""; 0]);
    assert!(asked(&texts, &long).is_none());
    let error = unknown(&texts, &long).to_string();
    assert!(
        error.len() < 250 && error.contains("xxx…' is neither"),
        "{error}"
    );
}

#[test]
fn no_more_kinds_are_kept_than_can_be_read() {
    let mut kinds = Kinds::new().unwrap();
    let kind = |number: usize| Kind {
        title: format!("at f{number}"),
        reason: None,
        sites: Vec::new(),
    };
    for number in 0..MAX_KINDS {
        assert!(kinds.meet(kind(number)) && !kinds.has_more);
    }
    assert!(!kinds.meet(kind(7)) && !kinds.has_more, "that is known");
    assert!(!kinds.meet(kind(MAX_KINDS)) && kinds.has_more);
    assert_eq!(
        (kinds.met.len(), kinds.titles.len()),
        (MAX_KINDS, MAX_KINDS)
    );
}

/// Explains with values that this test makes up.
fn explained(argument: &str) -> String {
    let proc = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("sys/net/core/somaxconn", "128\n"),
        ("sys/net/ipv4/tcp_syncookies", "1\n"),
        (
            "net/netstat",
            "TcpExt: ListenOverflows ListenDrops\nTcpExt: 4711 4712\n",
        ),
        ("7/comm", "nginx\n"),
    ] {
        let path = proc.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::create_dir(proc.path().join("7/fd")).unwrap();
    std::os::unix::fs::symlink("socket:[99]", proc.path().join("7/fd/3")).unwrap();
    let texts = Texts::load().unwrap();
    let mut present = Present::with_sockets(proc.path(), |_| {
        let socket = |port, inode, waiting| Socket {
            local: SocketAddr::from(([0; 4], port)),
            inode,
            waiting,
            limit: 128,
            drops: 0,
        };
        Some(vec![
            socket(22, 1, 0),
            socket(80, 0, 100),
            socket(443, 99, 129),
        ])
    });
    let kinds = asked(&texts, argument).unwrap();
    let blocks = kinds.iter().map(|kind| explain(&texts, kind, &mut present));
    blocks.collect()
}

#[test]
fn a_block_with_present_values() {
    let expected = "\
TCP_LISTEN_OVERFLOW
  The handshake is complete, but the accept queue of the listening socket is
  full.
  causes    - the process does not accept() fast enough: busy, stuck, or out of
              file descriptors
            - a burst of connections and a small backlog
  counters  TcpExtListenOverflows  now 4711
            TcpExtListenDrops      now 4712
  settings  net.core.somaxconn = 128
            net.ipv4.tcp_max_syn_backlog, not on this host
            net.ipv4.tcp_syncookies = 1
            net.ipv4.tcp_abort_on_overflow, not on this host
  queues    listen queue of nginx[7] at 0.0.0.0:443: 129/128
            listen queue of - at 0.0.0.0:80: 100/128
  do        - queues of listening sockets (Recv-Q of Send-Q): ss -lnt
            - a longer queue: sysctl -w net.core.somaxconn=4096 and the
              program's backlog (listen(2)), then restart it
            - refuse at once in place of silence:
              net.ipv4.tcp_abort_on_overflow=1
";
    assert_eq!(
        explained(&line("TCP_LISTEN_OVERFLOW", "tcp_v4_rcv+0x1", "-")),
        expected
    );
}

#[test]
fn the_line_of_an_nftables_drop() {
    let text = explained(NFT);
    let expected = "\
NETFILTER_DROP at nft_do_chain, called by __ip_local_out
  A netfilter rule or module dropped the packet: nftables, iptables, ebtables,
  IPVS, connection tracking, a queue to user space. The callers (stack=) tell
  which hook.
  nft_do_chain: An nftables rule or the policy of a chain said drop (also those
  of iptables-nft).
  __ip_local_out: A packet of this host on its way out, before it is routed
  further: netfilter's output hook.
  causes    - a rule in an output chain
            - a drop or reject rule, or a chain with policy drop
";
    assert!(text.starts_with(expected), "{text}");
    assert!(
        text.contains("nf_conntrack drop           not on this host"),
        "{text}"
    );
    // What two entries say is there once.
    assert_eq!(text.matches("rules with counters").count(), 1, "{text}");
}

#[test]
fn a_kernel_without_reasons_and_a_place_without_text() {
    let text = explained(&line("-", "arp_process+0x1", "-"));
    assert!(
        text.starts_with("at arp_process\n  An ARP message that makes no sense here.\n"),
        "{text}"
    );
    let text = explained(&line("NOT_SPECIFIED", "arp_rcv+0x1", "-"));
    assert!(
        text.starts_with("NOT_SPECIFIED at arp_rcv\n  An ARP message that"),
        "{text}"
    );
    let text = explained(&line("NEW_REASON", "new_function+0x1", "-"));
    assert!(
        text.starts_with("NEW_REASON at new_function\n  There is no text for this yet."),
        "{text}"
    );
}

#[test]
fn blocks_are_as_wide_as_a_narrow_terminal() {
    let texts = Texts::load().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut present = Present::with_sockets(folder.path(), |_| None);
    for (name, _) in texts.reasons().chain(texts.sites()) {
        for kind in asked(&texts, name).unwrap() {
            for row in explain(&texts, &kind, &mut present).lines() {
                assert!(row.len() <= 80 && row.trim_end() == row, "{name}: {row:?}");
            }
        }
    }
}

#[test]
fn the_list_has_a_line_for_each_entry() {
    let texts = Texts::load().unwrap();
    let list_all = list(&texts, None);
    assert_eq!(
        list_all.lines().count(),
        texts.reasons().count() + texts.sites().count()
    );
    assert!(list_all.contains("\nNO_SOCKET                         No socket takes the packet: "));
    for line in list(&texts, Some(80)).lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}
