use super::*;

// Lines as the kernel writes them (6.18, little-endian).
const UDP4: &str = " 3457: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   \
                    991        0 20411 2 00000000d63a5f4c 0";
const UDP6: &str = " 1093: 000080FE00000000FF005450B6AD1DFE:0222 \
                    00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 \
                    00000000   998        0 21377 2 0000000012ac1b8d 0";
const TCP4: &str = "   0: 0100007F:0CEA 0200007F:D431 01 00000000:00000000 00:00000000 00000000     \
                    0        0 1526 1 0000000065e2bacc 100 0 0 10 0                      ";
const TCP6: &str = "   1: 0000000000000000FFFF00000100007F:1F90 \
                    0000000000000000FFFF00000200007F:D431 01 00000000:00000000 00:00000000 00000000  \
                    1000        0 1600 1 00000000a4be1f0e 20 4 30 10 -1";
const HEADING: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

fn row(local: &str, remote: &str, state: u8, is_v6: bool, inode: u64) -> Row {
    let [local, remote]: [SocketAddr; 2] = [local, remote].map(|text| text.parse().unwrap());
    Row {
        local_port: local.port(),
        remote_port: remote.port(),
        local: local.ip(),
        remote: remote.ip(),
        state,
        is_v6,
        inode,
    }
}

#[test]
#[cfg(target_endian = "little")]
fn lines_of_the_kernel() {
    assert_eq!(
        Row::parse(UDP4, false),
        Some(row("127.0.0.53:53", "0.0.0.0:0", 7, false, 20411))
    );
    assert_eq!(
        Row::parse(UDP6, true),
        Some(row(
            "[fe80::5054:ff:fe1d:adb6]:546",
            "[::]:0",
            7,
            true,
            21377
        ))
    );
    assert_eq!(
        Row::parse(TCP4, false),
        Some(row("127.0.0.1:3306", "127.0.0.2:54321", 1, false, 1526))
    );
    assert_eq!(
        Row::parse(TCP6, true),
        Some(row("127.0.0.1:8080", "127.0.0.2:54321", 1, true, 1600))
    );
}

#[test]
fn what_is_not_a_socket_is_left_out() {
    for line in [
        HEADING,
        "",
        "\n",
        "0: 0100007F:0CEA",
        "0: 0100007F 0200007F:D431 01 0:0 00:0 0 0 0 1526",
        "0: 010000:0CEA 0200007F:D431 01 0:0 00:0 0 0 0 1526",
        "0: 0100007F:0CEA 0200007F:D431 01 0:0 00:0 0 0 0 x",
        "0: é00007F:0CEA 0200007F:D431 01 0:0 00:0 0 0 0 1526",
    ] {
        assert_eq!(Row::parse(line, false), None, "{line}");
    }
    let mut rows = Vec::new();
    let text = format!("{HEADING}\n{UDP4}\n\n{UDP4}");
    read_rows(text.as_bytes(), false, &mut rows).unwrap();
    assert_eq!(rows.len(), 2);
}

#[test]
fn a_table_that_is_too_large_is_not_used() {
    let mut rows = Vec::new();
    let text = format!("{UDP4}\n").repeat(MAX_ROWS + 1);
    assert_eq!(read_rows(text.as_bytes(), false, &mut rows), None);
}

/// What a packet can be for, in a table of sockets whose inodes are numbered
/// from 1 on, 0 for those that no process holds.
fn candidates(kind: Kind, protocol: u8, sockets: &[&str], flow: &str) -> Vec<u64> {
    let rows = sockets.iter().zip(1..).map(|(socket, inode)| {
        let mut words = socket.split(' ');
        let (local, remote) = (words.next().unwrap(), words.next().unwrap());
        let (state, inode) = match words.next() {
            Some("listen") => (TCP_LISTEN, inode),
            Some("request") => (TCP_SYN_RECV, 0),
            Some("closed") => (6, 0),
            None => (1, inode),
            Some(other) => panic!("{other}"),
        };
        let is_v6 = local.starts_with('[');
        let mut row = row(local, remote, state, is_v6, inode);
        row.local = row.local.to_canonical();
        row.remote = row.remote.to_canonical();
        row
    });
    let (remote, local) = flow.split_once(" > ").unwrap();
    let flow = Flow {
        protocol,
        raw: kind == Kind::Raw,
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
    };
    assert_eq!(Kind::of(&flow), kind);
    let mut found = vec![99];
    Table::new(kind, false, rows.collect()).candidates(&flow, &mut found);
    found.sort_unstable();
    found
}

#[test]
fn udp_goes_to_the_most_specific_socket() {
    let any = "0.0.0.0:53 0.0.0.0:0";
    let bound = "10.0.0.1:53 0.0.0.0:0";
    let connected = "10.0.0.1:53 10.0.0.2:4000";
    let any6 = "[::]:53 [::]:0";
    let mapped = "[::ffff:10.0.0.1]:53 [::]:0";
    let other_port = "0.0.0.0:54 0.0.0.0:0";
    let other_peer = "10.0.0.1:53 10.0.0.3:4000";
    let other_address = "10.0.0.9:53 0.0.0.0:0";
    let flow = "10.0.0.2:4000 > 10.0.0.1:53";
    let udp = |sockets: &[&str]| candidates(Kind::Udp, 17, sockets, flow);
    assert_eq!(udp(&[any, bound, connected, any6]), [3]);
    assert_eq!(udp(&[any, bound, other_peer, any6]), [2]);
    assert_eq!(udp(&[any, other_address, any6]), [1]);
    assert_eq!(udp(&[other_port, any6]), [2]);
    assert_eq!(udp(&[any, mapped]), [2], "a bound address counts most");
    assert_eq!(udp(&[bound, mapped]), [1], "then the family");
    assert!(udp(&[other_port, other_peer, other_address]).is_empty());
    assert!(udp(&[]).is_empty());
    assert_eq!(udp(&[any, any, other_port]), [1, 2], "SO_REUSEPORT");
    assert!(udp(&[any, "0.0.0.0:53 0.0.0.0:0 closed"]).is_empty());
}

#[test]
fn udp_over_ipv6_goes_to_ipv6_sockets() {
    let flow = "[fd00::2]:4000 > [fd00::1]:53";
    let udp = |sockets: &[&str]| candidates(Kind::Udp, 17, sockets, flow);
    assert_eq!(udp(&["0.0.0.0:53 0.0.0.0:0", "[::]:53 [::]:0"]), [2]);
    assert_eq!(udp(&["[::]:53 [::]:0", "[fd00::1]:53 [::]:0"]), [2]);
    assert_eq!(
        udp(&["[fd00::1]:53 [fd00::2]:4000", "[fd00::1]:53 [::]:0"]),
        [1]
    );
    assert!(udp(&["0.0.0.0:53 0.0.0.0:0"]).is_empty());
}

#[test]
fn udp_from_port_zero_is_not_from_everywhere() {
    let sockets = ["10.0.0.1:53 10.0.0.3:0", "0.0.0.0:53 0.0.0.0:0"];
    let flow = "10.0.0.2:0 > 10.0.0.1:53";
    assert_eq!(candidates(Kind::Udp, 17, &sockets, flow), [2]);
}

#[test]
fn a_group_has_many_receivers() {
    let sockets = [
        "0.0.0.0:5353 0.0.0.0:0",
        "224.0.0.251:5353 0.0.0.0:0",
        "[::]:5353 [::]:0",
        "10.0.0.1:5353 0.0.0.0:0",
        "224.0.0.251:5353 10.0.0.3:5353",
    ];
    let to = |address| {
        let flow = format!("10.0.0.2:5353 > {address}:5353");
        candidates(Kind::Udp, 17, &sockets, &flow)
    };
    assert_eq!(to("224.0.0.251"), [1, 2, 3]);
    assert_eq!(to("255.255.255.255"), [1, 3]);
    assert_eq!(to("10.0.0.1"), [4]);
}

#[test]
fn tcp_goes_to_the_connection_then_to_a_listener() {
    let connection = "10.0.0.1:80 10.0.0.2:4000";
    let flow = "10.0.0.2:4000 > 10.0.0.1:80";
    let tcp = |sockets: &[&str]| candidates(Kind::Tcp, 6, sockets, flow);
    let any = "0.0.0.0:80 0.0.0.0:0 listen";
    let bound = "10.0.0.1:80 0.0.0.0:0 listen";
    let any6 = "[::]:80 [::]:0 listen";
    assert_eq!(tcp(&[any, bound, connection]), [3]);
    assert_eq!(
        tcp(&[any, "[::ffff:10.0.0.1]:80 [::ffff:10.0.0.2]:4000"]),
        [2]
    );
    assert_eq!(tcp(&[any, bound, "10.0.0.1:80 10.0.0.2:4001"]), [2]);
    assert_eq!(tcp(&[any6, any]), [2]);
    assert_eq!(tcp(&[any6]), [1]);
    assert_eq!(tcp(&[any, any]), [1, 2]);
    assert_eq!(tcp(&[any, "10.0.0.1:80 10.0.0.2:4000 request"]), [1]);
    assert_eq!(tcp(&[any, "10.0.0.1:80 10.0.0.2:4000 closed"]), [0_u64; 0]);
    assert_eq!(tcp(&["10.0.0.1:80 10.0.0.3:4000"]), [0_u64; 0]);
}

#[test]
fn raw_sockets_each_get_a_copy() {
    let sockets = [
        "0.0.0.0:89 0.0.0.0:0",
        "10.0.0.1:89 10.0.0.2:0",
        "10.0.0.1:89 10.0.0.3:0",
        "0.0.0.0:47 0.0.0.0:0",
        "[::]:89 [::]:0",
    ];
    let flow = "10.0.0.2:0 > 10.0.0.1:0";
    assert_eq!(candidates(Kind::Raw, 89, &sockets, flow), [1, 2]);
    let flow = "[fd00::2]:0 > [fd00::1]:0";
    assert_eq!(candidates(Kind::Raw, 89, &sockets, flow), [5]);
}

#[test]
fn ping_sockets_are_known_by_the_identifier() {
    let sockets = [
        "0.0.0.0:7 0.0.0.0:0",
        "0.0.0.0:8 0.0.0.0:0",
        "10.0.0.1:7 10.0.0.9:0",
    ];
    let flow = "10.0.0.2:0 > 10.0.0.1:7";
    assert_eq!(candidates(Kind::Ping, 1, &sockets, flow), [1, 3]);
}

#[test]
fn too_many_to_look_through_or_to_ask_are_none() {
    let any = "0.0.0.0:53 0.0.0.0:0";
    let elsewhere = "10.0.0.9:53 0.0.0.0:0";
    let bound = "10.0.0.1:53 0.0.0.0:0";
    let found = |socket, count, other| {
        let mut sockets = vec![socket; count];
        sockets.push(other);
        candidates(Kind::Udp, 17, &sockets, "10.0.0.2:4000 > 10.0.0.1:53").len()
    };
    assert_eq!(found(any, MAX_CANDIDATES, elsewhere), MAX_CANDIDATES);
    assert_eq!(found(any, MAX_CANDIDATES + 1, elsewhere), 0);
    // Which of them it is does not matter if one fits better.
    assert_eq!(found(any, MAX_WITH_PORTS - 1, bound), 1);
    assert_eq!(found(elsewhere, MAX_WITH_PORTS - 1, bound), 1);
    assert_eq!(found(elsewhere, MAX_WITH_PORTS, bound), 0);
    let other_port = "10.0.0.1:53 10.0.0.3:4001";
    assert_eq!(found(other_port, MAX_WITH_PORTS, bound), 1);
}

#[test]
fn a_listener_is_not_taken_for_one_of_too_many_connections() {
    let mut sockets = vec!["10.0.0.9:80 10.0.0.2:4000"; MAX_WITH_PORTS];
    sockets.push("0.0.0.0:80 0.0.0.0:0 listen");
    let flow = "10.0.0.2:4000 > 10.0.0.1:80";
    assert_eq!(candidates(Kind::Tcp, 6, &sockets, flow).len(), 1);
    sockets.push("10.0.0.1:80 10.0.0.2:4000");
    assert_eq!(candidates(Kind::Tcp, 6, &sockets, flow).len(), 0);
}

#[test]
fn of_all_namespaces_only_connections_count() {
    let found = |kind, rows: Vec<Row>, protocol, local: &str, remote: &str| {
        let flow = Flow {
            protocol,
            raw: false,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        };
        let mut found = Vec::new();
        Table::new(kind, true, rows).candidates(&flow, &mut found);
        found.sort_unstable();
        found
    };
    let connection = |inode| row("10.0.0.1:80", "10.0.0.2:4000", 1, false, inode);
    let listener = row("0.0.0.0:80", "0.0.0.0:0", 10, false, 9);
    let tcp = |rows, remote| found(Kind::Tcp, rows, 6, "10.0.0.1:80", remote);
    let rows = || vec![connection(5), listener];
    assert_eq!(tcp(rows(), "10.0.0.2:4000"), [5]);
    // The same in two namespaces.
    assert_eq!(
        tcp(vec![connection(5), connection(6)], "10.0.0.2:4000"),
        [5, 6]
    );
    // Every namespace may have such a listener, or such a UDP socket.
    assert!(tcp(rows(), "10.0.0.2:4001").is_empty());
    let udp = vec![row("0.0.0.0:53", "0.0.0.0:0", 7, false, 1)];
    assert!(found(Kind::Udp, udp, 17, "10.0.0.1:53", "10.0.0.2:4000").is_empty());
}

#[test]
fn cached_tables_are_bounded() {
    let mut tables = Tables::default();
    let now = Instant::now();
    let cached = |rows| Cached {
        table: Some(Table::new(
            Kind::Udp,
            false,
            vec![row("0.0.0.0:53", "0.0.0.0:0", 7, false, 1); rows],
        )),
        read: now,
        took: Duration::ZERO,
    };
    for netns in 0..=MAX_TABLES as u32 {
        tables.insert((Some(netns), Kind::Udp), cached(0));
        assert!(tables.cached.len() <= MAX_TABLES);
    }
    tables.insert((Some(0), Kind::Udp), cached(MAX_CACHED_ROWS));
    tables.insert((Some(1), Kind::Udp), cached(1));
    assert_eq!(tables.cached.len(), 1);
}
