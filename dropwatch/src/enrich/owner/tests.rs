use std::{
    cell::Cell,
    fs,
    io::Write as _,
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{fd::AsFd, unix::fs::symlink},
    path::PathBuf,
};

use rustix::fs::{CWD, FileType, Mode, fstat, mknodat};
use tempfile::TempDir;

use super::{super::cache::CACHE_LIMIT, *};

/// Longer than any pause.
const LONG: Duration = Duration::from_secs(3600);

/// A proc file system of files and of links that lead nowhere.
struct FakeProc(TempDir);

impl FakeProc {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, pid: u32) -> PathBuf {
        self.0.path().join(pid.to_string())
    }

    fn add(&self, pid: u32, name: &str, sockets: &[(u32, u64)]) {
        let process = self.path(pid);
        for folder in ["fd", "ns", "net", "task"] {
            fs::create_dir_all(process.join(folder)).unwrap();
        }
        self.rename(pid, name);
        symlink("net:[4026531840]", process.join("ns/net")).unwrap();
        symlink("/dev/null", process.join("fd/0")).unwrap();
        symlink("pipe:[77]", process.join("fd/1")).unwrap();
        for (fd, inode) in sockets {
            self.open(pid, *fd, *inode);
        }
    }

    fn open(&self, pid: u32, fd: u32, inode: u64) {
        let link = self.path(pid).join("fd").join(fd.to_string());
        symlink(format!("socket:[{inode}]"), link).unwrap();
    }

    fn close(&self, pid: u32, fd: u32) {
        fs::remove_file(self.path(pid).join("fd").join(fd.to_string())).unwrap();
    }

    fn rename(&self, pid: u32, name: &str) {
        fs::write(self.path(pid).join("comm"), format!("{name}\n")).unwrap();
    }

    fn add_thread(&self, pid: u32, tid: u32, name: &str) {
        let task = self.path(pid).join("task").join(tid.to_string());
        fs::create_dir_all(&task).unwrap();
        fs::write(task.join("comm"), format!("{name}\n")).unwrap();
    }

    fn end(&self, pid: u32) {
        fs::remove_dir_all(self.path(pid)).unwrap();
    }

    /// Owners that wait for scans until they are done.
    fn owners(&self) -> Owners {
        Owners {
            patience: LONG,
            patience_left: LONG,
            ..Owners::new(self.0.path())
        }
    }
}

/// `NAME[PID]+OTHERS`, `-` if unknown.
fn text(owner: Option<&Owner>) -> String {
    owner.map_or("-".to_owned(), |owner| {
        let comm = String::from_utf8_lossy(&owner.comm);
        format!("{comm}[{}]+{}", owner.pid, owner.others)
    })
}

fn of(owners: &mut Owners, inode: u64, now: Instant) -> String {
    text(owners.of_socket(inode, 0, now))
}

static ANY: BTreeSet<u32> = BTreeSet::new();

/// Asks for a name.
fn named(is_wanted: NameTest<'_>) -> Question<'_> {
    Question {
        pids: &ANY,
        name: Some(is_wanted),
    }
}

#[test]
fn the_lowest_of_all_holders_owns_the_socket() {
    let proc = FakeProc::new();
    proc.add(900, "worker", &[(3, 10), (4, 10)]);
    proc.add(812, "nginx", &[(3, 10), (5, 11)]);
    proc.add(1000, "worker", &[(3, 10)]);
    proc.add(5, "none", &[]);
    let mut owners = proc.owners();
    let now = Instant::now();
    owners.scan(now);
    assert_eq!(of(&mut owners, 10, now), "nginx[812]+2");
    assert_eq!(of(&mut owners, 11, now), "nginx[812]+0");
    assert_eq!(of(&mut owners, 77, now), "-", "a pipe is not a socket");
    assert_eq!(of(&mut owners, 0, now), "-");
}

#[test]
fn nobody_uses_up_the_room_for_sockets() {
    let proc = FakeProc::new();
    let sockets: Vec<_> = (3..30).map(|fd| (fd, u64::from(fd))).collect();
    let one_often: Vec<_> = (3..30).map(|fd| (fd, 99)).collect();
    proc.add(7, "hog", &sockets);
    proc.add(8, "few", &[(3, 100), (4, 101), (5, 102)]);
    proc.add(9, "hog", &sockets);
    proc.add(10, "dup", &one_often);
    proc.add(11, "last", &[(3, 103), (4, 103)]);
    let mut owners = proc.owners();
    let now = Instant::now();
    let scan = Scan::take_bounded(&owners.proc, 12);
    owners.scanned.replace(scan, now, Duration::ZERO);
    let mut of = |inodes: [u64; 3]| inodes.map(|inode| of(&mut owners, inode, now));
    assert_eq!(of([100, 101, 102]), ["few[8]+0", "few[8]+0", "few[8]+0"]);
    assert_eq!(of([3, 99, 103]), ["hog[7]+1", "dup[10]+0", "last[11]+0"]);
}

#[test]
fn a_name_is_any_bytes() {
    let proc = FakeProc::new();
    proc.add(7, "", &[(3, 10)]);
    fs::write(proc.path(7).join("comm"), b"a\n\xff \n\n").unwrap();
    let mut owners = proc.owners();
    let owner = owners.of_socket(10, 0, Instant::now()).unwrap();
    assert_eq!(&*owner.comm, b"a\n\xff \n");
}

#[test]
fn a_new_socket_is_found_by_a_scan_but_not_before_its_time() {
    let proc = FakeProc::new();
    let mut owners = proc.owners();
    let start = Instant::now();
    proc.add(7, "first", &[(3, 10)]);
    assert_eq!(of(&mut owners, 10, start), "first[7]+0", "the first scan");
    proc.add(8, "second", &[(3, 11)]);
    let soon = start + URGENT.least / 2;
    assert_eq!(of(&mut owners, 11, soon), "-");
    assert_eq!(of(&mut owners, 10, soon), "first[7]+0");
    assert_eq!(of(&mut owners, 11, start + LONG), "second[8]+0");
}

#[test]
fn pauses_grow_with_the_time_that_a_scan_takes() {
    let start = Instant::now();
    let ms = Duration::from_millis;
    let due_after = |took, pause, age| {
        let mut scanned = Scanned::default();
        assert!(scanned.is_due(pause, start), "the first scan is due");
        scanned.replace(Scan::default(), start, took);
        scanned.is_due(pause, start + age)
    };
    assert!(!due_after(ms(2), URGENT, ms(101)));
    assert!(due_after(ms(2), URGENT, ms(102)));
    assert!(!due_after(ms(50), URGENT, ms(549)));
    assert!(due_after(ms(50), URGENT, ms(550)));
    assert!(!due_after(ms(2), REFRESH, ms(1001)));
    assert!(due_after(ms(2), REFRESH, ms(1002)));
    assert!(!due_after(ms(50), REFRESH, ms(5049)));
    assert!(due_after(ms(50), REFRESH, ms(5050)));
}

#[test]
fn between_scans_the_process_on_the_cpu_and_the_last_owners_are_asked() {
    let proc = FakeProc::new();
    let mut owners = proc.owners();
    let start = Instant::now();
    proc.add(7, "resolver", &[(3, 10)]);
    assert_eq!(of(&mut owners, 10, start), "resolver[7]+0");
    proc.add(8, "curl", &[(3, 11)]);
    proc.open(7, 4, 12);
    assert_eq!(text(owners.of_socket(11, 8, start)), "curl[8]+0");
    assert_eq!(of(&mut owners, 12, start), "resolver[7]+0");
    assert_eq!(owners.scanned.generation, 1);
}

#[test]
fn another_process_on_the_cpu_is_another_chance() {
    let proc = FakeProc::new();
    proc.add(7, "idle", &[]);
    proc.add(8, "curl", &[]);
    let mut owners = proc.owners();
    let now = Instant::now();
    owners.scan(now);
    proc.open(8, 3, 11);
    assert_eq!(text(owners.of_socket(11, 7, now)), "-");
    assert_eq!(text(owners.of_socket(11, 8, now)), "curl[8]+0");
}

#[test]
fn nobody_is_asked_twice_for_the_same_socket() {
    let proc = FakeProc::new();
    proc.add(7, "resolver", &[(3, 10)]);
    let mut owners = proc.owners();
    let now = Instant::now() + LONG;
    assert_eq!(of(&mut owners, 10, now), "resolver[7]+0");
    of(&mut owners, 11, now);
    let left = owners.budget.left;
    assert!(left < BUDGET);
    of(&mut owners, 11, now);
    text(owners.of_socket(11, 9, now));
    assert_eq!(owners.budget.left, left);
}

#[test]
fn looking_outside_of_scans_is_bounded() {
    let proc = FakeProc::new();
    let mut owners = proc.owners();
    let now = Instant::now();
    proc.add(7, "many", &[]);
    proc.add(8, "few", &[]);
    owners.budget.renew(now + LONG);
    owners.scan(now + LONG);
    for fd in 2..BUDGET as u32 + 10 {
        proc.open(7, fd, 1000 + u64::from(fd));
    }
    proc.open(8, 3, 11);
    let now = now + LONG;
    assert_eq!(text(owners.of_socket(10, 7, now)), "-");
    assert_eq!(owners.budget.left, 0);
    assert_eq!(text(owners.of_socket(11, 8, now)), "-");
    // The next window, but not yet time for a scan.
    let next = now + URGENT.least;
    owners
        .scanned
        .replace(Scan::default(), next, Duration::ZERO);
    assert_eq!(text(owners.of_socket(12, 8, next)), "-");
    proc.open(8, 4, 13);
    assert_eq!(text(owners.of_socket(13, 8, next)), "few[8]+0");
}

#[test]
fn a_process_that_ends_is_the_owner_for_another_second() {
    let proc = FakeProc::new();
    proc.add(7, "short", &[(3, 10)]);
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    proc.end(7);
    let noticed = start + CHECK;
    let ms = Duration::from_millis;
    assert_eq!(of(&mut owners, 10, noticed - ms(1)), "short[7]+0");
    assert_eq!(of(&mut owners, 10, noticed), "short[7]+0");
    assert_eq!(of(&mut owners, 10, noticed + CHECK - ms(1)), "short[7]+0");
    assert_eq!(of(&mut owners, 10, noticed + CHECK), "-");
}

#[test]
fn a_number_that_another_process_got_is_not_taken_for_the_owner() {
    let proc = FakeProc::new();
    proc.add(7, "old", &[(3, 10)]);
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    proc.end(7);
    proc.add(7, "new", &[(3, 11)]);
    assert_eq!(of(&mut owners, 10, start + CHECK), "old[7]+0");
    assert_eq!(of(&mut owners, 10, start + 2 * CHECK), "-");
    assert_eq!(of(&mut owners, 11, start + LONG), "new[7]+0");
}

#[test]
fn the_next_holder_follows_an_owner_that_lets_go() {
    let proc = FakeProc::new();
    proc.add(7, "parent", &[(3, 10)]);
    proc.add(8, "child", &[(3, 10)]);
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    assert_eq!(of(&mut owners, 10, start), "parent[7]+1");
    proc.close(7, 3);
    assert_eq!(of(&mut owners, 10, start + CHECK / 2), "parent[7]+1");
    assert_eq!(of(&mut owners, 10, start + CHECK), "child[8]+0");
}

#[test]
fn names_and_descriptors_may_change() {
    let proc = FakeProc::new();
    proc.add(7, "sh", &[(3, 10)]);
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    proc.rename(7, "curl");
    proc.close(7, 3);
    proc.open(7, 9, 10);
    assert_eq!(of(&mut owners, 10, start + CHECK / 2), "sh[7]+0");
    assert_eq!(of(&mut owners, 10, start + CHECK), "curl[7]+0");
    proc.rename(7, "late");
    assert_eq!(of(&mut owners, 10, start + CHECK * 3 / 2), "curl[7]+0");
    assert_eq!(of(&mut owners, 10, start + CHECK * 2), "late[7]+0");
}

#[test]
fn further_holders_are_found_by_the_next_scan() {
    let proc = FakeProc::new();
    proc.add(7, "server", &[(3, 10)]);
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    proc.add(8, "server", &[(3, 10)]);
    assert_eq!(of(&mut owners, 10, start), "server[7]+0");
    // This one starts the scan and does not wait for it.
    of(&mut owners, 10, start + LONG);
    owners.collect(LONG);
    assert_eq!(of(&mut owners, 10, start + LONG), "server[7]+1");
}

#[test]
fn a_socket_of_nobody_does_not_cause_scan_after_scan() {
    let proc = FakeProc::new();
    let mut owners = proc.owners();
    let start = Instant::now();
    assert_eq!(of(&mut owners, 10, start), "-");
    assert_eq!(owners.scanned.generation, 1);
    for ms in 1..1000 {
        of(&mut owners, 10, start + Duration::from_millis(ms));
    }
    assert!(owners.scanning.is_none());
    assert_eq!(owners.scanned.generation, 1);
    of(&mut owners, 10, start + LONG);
    owners.collect(LONG);
    assert_eq!(owners.scanned.generation, 2);
}

#[test]
fn nobody_waits_for_a_slow_scan() {
    let proc = FakeProc::new();
    proc.add(7, "slow", &[(3, 10)]);
    let name = proc.path(7).join("comm");
    fs::remove_file(&name).unwrap();
    // Blocks whoever opens it until somebody writes.
    mknodat(CWD, &name, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut owners = Owners::new(proc.0.path());
    let now = Instant::now();
    for _ in 0..1000 {
        assert_eq!(of(&mut owners, 10, now), "-");
    }
    let mut writer = fs::OpenOptions::new().write(true).open(&name).unwrap();
    writer.write_all(b"slow\n").unwrap();
    drop(writer);
    owners.collect(LONG);
    assert_eq!(of(&mut owners, 10, now), "slow[7]+0");
}

#[test]
fn what_the_kernel_has_seen_counts_at_once_and_for_a_while() {
    let proc = FakeProc::new();
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    owners.learn(10, 7, b"gone", start);
    assert_eq!(of(&mut owners, 10, start), "gone[7]+0");
    assert_eq!(of(&mut owners, 10, start + CHECK), "gone[7]+0");
    assert_eq!(of(&mut owners, 10, start + 2 * CHECK), "-");
    owners.learn(0, 7, b"none", start);
    owners.learn(11, 0, b"swapper", start);
    assert_eq!(of(&mut owners, 11, start), "-");
}

#[test]
fn what_the_kernel_has_seen_joins_what_a_scan_found() {
    let proc = FakeProc::new();
    proc.add(7, "server", &[(3, 10)]);
    proc.add(6, "parent", &[]);
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    let later = start + CHECK / 2;
    owners.learn(10, 9, b"child", later);
    assert_eq!(of(&mut owners, 10, later), "server[7]+1");
    owners.learn(10, 9, b"child", later);
    assert_eq!(of(&mut owners, 10, later), "server[7]+1");
    owners.learn(10, 6, b"parent", later);
    assert_eq!(of(&mut owners, 10, later), "parent[6]+2");
    owners.learn(10, 6, b"renamed", later);
    assert_eq!(of(&mut owners, 10, later), "renamed[6]+2");
    // It can't be found among the descriptors of process 6.
    assert_eq!(of(&mut owners, 10, later + CHECK), "server[7]+1");
    owners.scan(start + LONG);
    assert_eq!(of(&mut owners, 10, start + LONG), "server[7]+0");
}

#[test]
fn a_filter_asks_every_holder_and_its_threads() {
    let proc = FakeProc::new();
    proc.add(7, "parent", &[(3, 10), (4, 11)]);
    proc.add(8, "child", &[(3, 10)]);
    proc.add_thread(8, 8, "child");
    proc.add_thread(8, 80, "pool-1");
    let mut owners = proc.owners();
    let now = Instant::now();
    owners.scan(now);
    for (pids, name, expected) in [
        (&[8][..], "", [Some(true), Some(false), None]),
        (&[9, 7], "", [Some(true), Some(true), None]),
        (&[], "parent", [Some(true), Some(true), None]),
        (&[], "pool-1", [Some(true), Some(false), None]),
        (&[], "pool-2", [Some(false), Some(false), None]),
        (&[8], "pool-1", [Some(true), Some(false), None]),
        (&[8], "parent", [Some(false), Some(false), None]),
    ] {
        owners.verdicts = Verdicts::default();
        let pids = BTreeSet::from_iter(pids.iter().copied());
        let is_name = |other: &[u8]| other == name.as_bytes();
        let question = Question {
            pids: &pids,
            name: (!name.is_empty()).then_some(&is_name),
        };
        let answers = [10, 11, 12].map(|inode| owners.any_holder(inode, 0, now, question));
        assert_eq!(answers, expected, "{pids:?} {name}");
    }
}

/// Whatever their names are and however many they are: nothing is read.
#[test]
fn a_number_alone_takes_no_budget() {
    let proc = FakeProc::new();
    let mut owners = proc.owners();
    let now = Instant::now();
    owners.scan(now);
    for pid in 1..=MAX_ASKED as u32 + 1 {
        owners.learn(10, pid, b"some", now);
    }
    for (pid, expected) in [(MAX_ASKED as u32 + 1, true), (MAX_ASKED as u32 + 2, false)] {
        let pids = BTreeSet::from([pid]);
        let question = Question {
            pids: &pids,
            name: None,
        };
        assert_eq!(owners.any_holder(10, 0, now, question), Some(expected));
    }
    assert!(owners.verdicts.known.is_empty());
}

#[test]
fn a_filter_is_asked_again_after_a_second() {
    let proc = FakeProc::new();
    proc.add(7, "sh", &[(3, 10)]);
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    let is_curl = |name: &[u8]| name == b"curl";
    assert_eq!(
        owners.any_holder(10, 0, start, named(&is_curl)),
        Some(false)
    );
    proc.rename(7, "curl");
    let ask = |owners: &mut Owners, now| {
        let is_wanted = |name: &[u8]| {
            assert!(now >= start + CHECK, "asked too early");
            is_curl(name)
        };
        owners.any_holder(10, 0, now, named(&is_wanted))
    };
    assert_eq!(ask(&mut owners, start + CHECK / 2), Some(false));
    assert_eq!(ask(&mut owners, start + CHECK), Some(true));
    proc.end(7);
    proc.add(7, "other", &[]);
    proc.add_thread(7, 70, "pool");
    assert_eq!(
        ask(&mut owners, start + 2 * CHECK),
        Some(true),
        "by its name"
    );
    let is_other = |name: &[u8]| name == b"other" || name == b"pool";
    let verdict = owners.any_holder(10, 0, start + 2 * CHECK, named(&is_other));
    assert_eq!(verdict, Some(false), "another process");
}

#[test]
fn of_too_many_holders_some_are_asked() {
    for (count, expected) in [(1000, Some(false)), (MAX_ASKED + 1, None)] {
        let proc = FakeProc::new();
        let mut owners = proc.owners();
        let start = Instant::now();
        owners.scan(start);
        for pid in 1..=count as u32 {
            owners.learn(10, pid, b"some", start);
        }
        // As many as the budget goes to, and others when there is a new one.
        let mut ask = |window| {
            let now = start + URGENT.least * window;
            owners.any_holder(10, 0, now, named(&|_| false))
        };
        assert_eq!(ask(0), None);
        let windows = (1000 * OPEN_COST / BUDGET) as u32;
        let answers: Vec<_> = (1..=windows).map(ask).collect();
        assert_eq!(answers.last(), Some(&expected), "{count}");
    }
}

#[test]
fn holders_that_end_together_are_looked_at_by_and_by() {
    let proc = FakeProc::new();
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    let last = 2 * BUDGET as u32;
    for pid in 1..=last {
        owners.learn(10, pid, b"some", start);
    }
    proc.add(last, "last", &[(3, 10)]);
    let mut left = Vec::new();
    for window in 0..3 {
        let now = start + CHECK + URGENT.least * window;
        owners.scanned.postpone(now);
        left.push((of(&mut owners, 10, now), owners.entries[&10].holders.len()));
    }
    let first = format!("some[1]+{}", last - 1);
    let each = BUDGET - OPEN_COST + 1;
    let expected = [
        (first.clone(), 2 * BUDGET - each),
        (first, 2 * (BUDGET - each)),
        (format!("last[{last}]+0"), 1),
    ];
    assert_eq!(left, expected);
}

#[test]
fn names_of_threads_are_read_as_far_as_the_budget_goes() {
    let proc = FakeProc::new();
    proc.add(7, "many", &[(3, 10)]);
    proc.add(8, "few", &[(3, 11)]);
    for tid in 0..BUDGET as u32 {
        proc.add_thread(7, 1000 + tid, "pool");
    }
    proc.add_thread(8, 80, "wanted");
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    let ask = |owners: &mut Owners, inode, now| {
        let names = Cell::new(0);
        let is_wanted = |name: &[u8]| {
            names.set(names.get() + 1);
            name == b"wanted"
        };
        let answer = owners.any_holder(inode, 0, now, named(&is_wanted));
        assert!(names.get() <= BUDGET);
        answer
    };
    assert_eq!(ask(&mut owners, 10, start), None);
    assert_eq!(ask(&mut owners, 11, start), None, "nothing is left");
    let next = start + URGENT.least;
    let not_again = named(&|_| panic!());
    assert_eq!(owners.any_holder(10, 0, next, not_again), None);
    assert_eq!(ask(&mut owners, 11, next), Some(true));
    let is_many = |name: &[u8]| name == b"many";
    let by_name = owners.any_holder(10, 0, start + CHECK, named(&is_many));
    assert_eq!(by_name, Some(true));
}

#[test]
fn what_others_have_left_of_the_budget_decides_nothing_for_long() {
    let proc = FakeProc::new();
    let threads = BUDGET as u32 * 6 / 10;
    for pid in [7, 8] {
        proc.add(pid, "main", &[(3, pid.into())]);
        for tid in 0..threads {
            proc.add_thread(pid, pid * 10_000 + tid, "pool");
        }
    }
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    let mut ask = |inode, now| owners.any_holder(inode, 0, now, named(&|_| false));
    assert_eq!(ask(7, start), Some(false));
    assert_eq!(ask(8, start), None);
    assert_eq!(ask(8, start + URGENT.least), Some(false));
}

#[test]
fn caches_are_bounded() {
    let proc = FakeProc::new();
    let mut owners = proc.owners();
    let now = Instant::now();
    owners.scan(now);
    for inode in 1..=CACHE_LIMIT as u64 * 2 + 1 {
        let pid = inode as u32;
        owners.learn(inode, pid, b"some", now);
        assert_eq!(
            owners.any_holder(inode, 0, now, named(&|_| true)),
            Some(true)
        );
        assert!(owners.entries.len() <= CACHE_LIMIT);
        assert!(owners.verdicts.known.len() <= CACHE_LIMIT);
        assert!(owners.recent.len() <= RECENT);
    }
}

const UDP_HEADING: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when \
                           retrnsmt   uid  timeout inode ref pointer drops";

/// Lines for sockets on 0.0.0.0:53.
fn udp_table(inodes: &[u64]) -> String {
    let rows = inodes.iter().map(|inode| {
        format!(
            " 4321: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0 \
             0 {inode} 2 0000000000000000 0\n"
        )
    });
    format!("{UDP_HEADING}\n{}", rows.collect::<String>())
}

fn dns() -> Flow {
    Flow {
        protocol: 17,
        raw: false,
        local: "192.0.2.1:53".parse().unwrap(),
        remote: "192.0.2.2:4000".parse().unwrap(),
    }
}

const NETNS: u32 = 4_026_531_840;

#[test]
fn the_owner_at_an_address_is_known_if_all_candidates_agree() {
    let proc = FakeProc::new();
    proc.add(7, "server", &[(3, 10), (4, 11), (5, 12)]);
    proc.add(8, "worker", &[(4, 11), (6, 13)]);
    let mut owners = proc.owners();
    let mut now = Instant::now();
    owners.scan(now);
    let is_worker = |name: &[u8]| name == b"worker";
    for (inodes, owner, worker) in [
        (vec![10], "server[7]+0", Some(false)),
        (vec![11], "server[7]+1", Some(true)),
        (vec![11, 10], "server[7]+0", None),
        (vec![10, 12], "server[7]+0", Some(false)),
        (vec![10, 13], "-", None),
        (vec![10, 99], "-", None),
        (vec![], "-", None),
    ] {
        fs::write(proc.path(7).join("net/udp"), udp_table(&inodes)).unwrap();
        now += LONG;
        owners.scan(now);
        let mut found = owners.sockets_at(Some(NETNS), &dns(), now).to_vec();
        found.sort_unstable();
        let mut expected = inodes.clone();
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(
            text(owners.of_flow(Some(NETNS), &dns(), 0, now)),
            owner,
            "{inodes:?}"
        );
        let verdict = owners.any_holder_at(Some(NETNS), &dns(), 0, now, named(&is_worker));
        assert_eq!(verdict, worker, "{inodes:?}");
    }
    assert_eq!(
        owners.sockets_at(Some(1), &dns(), now),
        [0_u64; 0],
        "another namespace"
    );
}

#[test]
fn several_candidates_are_looked_at_as_far_as_the_budget_goes() {
    let proc = FakeProc::new();
    proc.add(7, "server", &[(3, 10), (4, 11)]);
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    let mut ask = |inodes: &[u64], now| {
        fs::write(proc.path(7).join("net/udp"), udp_table(inodes)).unwrap();
        owners.tables = Tables::default();
        owners.scanned.postpone(now);
        owners.budget.renew(now);
        owners.budget.left = 2 * OPEN_COST - 1;
        text(owners.of_flow(Some(NETNS), &dns(), 0, now))
    };
    assert_eq!(ask(&[10, 11], start), "-");
    assert_eq!(ask(&[10], start), "server[7]+0");
    assert_eq!(ask(&[11], start), "server[7]+0");
    assert_eq!(ask(&[10, 11], start), "server[7]+0", "both known");
    assert_eq!(ask(&[10, 11], start + CHECK), "-");
    assert_eq!(ask(&[10], start + CHECK), "server[7]+0");
}

#[test]
fn a_table_is_not_read_again_before_its_time() {
    let proc = FakeProc::new();
    proc.add(7, "server", &[]);
    let table = proc.path(7).join("net/udp");
    fs::write(&table, udp_table(&[10])).unwrap();
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    assert_eq!(owners.sockets_at(Some(NETNS), &dns(), start), [10]);
    fs::write(&table, udp_table(&[11])).unwrap();
    let soon = start + Duration::from_millis(99);
    assert_eq!(owners.sockets_at(Some(NETNS), &dns(), soon), [10]);
    assert_eq!(owners.sockets_at(Some(NETNS), &dns(), start + LONG), [11]);
}

#[test]
fn all_tables_are_waited_for_together() {
    let proc = FakeProc::new();
    let table = |netns| {
        proc.add(netns, "some", &[]);
        let link = proc.path(netns).join("ns/net");
        fs::remove_file(&link).unwrap();
        symlink(format!("net:[{netns}]"), link).unwrap();
        proc.path(netns).join("net/udp")
    };
    let slow = table(7);
    mknodat(CWD, &slow, FileType::Fifo, Mode::RWXU, 0).unwrap();
    fs::write(table(8), udp_table(&[10])).unwrap();
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    owners.patience = Duration::from_millis(20);
    assert!(owners.sockets_at(Some(7), &dns(), start).is_empty());
    drop(fs::OpenOptions::new().write(true).open(&slow).unwrap());
    owners.tables.collect(LONG);
    let soon = start + Duration::from_millis(999);
    assert!(owners.sockets_at(Some(8), &dns(), soon).is_empty());
    owners.patience = LONG;
    assert_eq!(owners.sockets_at(Some(8), &dns(), start + LONG), [10]);
}

#[test]
fn a_table_is_read_through_a_process_that_is_still_there() {
    let proc = FakeProc::new();
    proc.add(7, "first", &[]);
    proc.add(8, "second", &[]);
    fs::write(proc.path(8).join("net/udp"), udp_table(&[10])).unwrap();
    let mut owners = proc.owners();
    let start = Instant::now();
    owners.scan(start);
    proc.end(7);
    assert_eq!(owners.sockets_at(Some(NETNS), &dns(), start), [10]);
    let link = proc.path(8).join("ns/net");
    fs::remove_file(&link).unwrap();
    symlink("net:[4026532000]", link).unwrap();
    assert_eq!(
        owners.sockets_at(Some(NETNS), &dns(), start + LONG),
        [0_u64; 0]
    );
}

fn inode(socket: impl AsFd) -> u64 {
    fstat(socket).unwrap().st_ino
}

/// Owners of this machine that wait for as long as it takes.
fn live_owners(now: Instant) -> Owners {
    let mut owners = Owners {
        patience: LONG,
        patience_left: LONG,
        ..Owners::new(Path::new("/proc"))
    };
    owners.scan(now);
    owners
}

fn own_name() -> Vec<u8> {
    let mut name = fs::read("/proc/self/comm").unwrap();
    name.pop();
    name
}

fn own_netns() -> u32 {
    let link = fs::read_link("/proc/self/ns/net").unwrap();
    inode_number(link.to_str().unwrap())
}

fn inode_number(link: &str) -> u32 {
    link.trim_start_matches("net:[")
        .trim_end_matches(']')
        .parse()
        .unwrap()
}

#[test]
fn this_process_owns_its_sockets() {
    let before = UdpSocket::bind("127.0.0.1:0").unwrap();
    let now = Instant::now();
    let mut owners = live_owners(now);
    let after = UdpSocket::bind("127.0.0.1:0").unwrap();
    let pid = std::process::id();
    for (socket, hint) in [(&before, 0), (&after, pid)] {
        let owner = owners.of_socket(inode(socket), hint, now).unwrap();
        assert_eq!((owner.pid, &*owner.comm), (pid, &*own_name()));
    }
    // The test's thread bears the test's name.
    let is_test = |name: &[u8]| b"enrich::owner::tests::this_process".starts_with(name);
    assert_eq!(
        owners.any_holder(inode(&before), 0, now, named(&is_test)),
        Some(true)
    );
}

#[test]
fn sockets_of_this_process_are_found_by_address() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    let both = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();

    let client_addr = client.local_addr().unwrap();
    let server_addr = server.local_addr().unwrap();
    let at_v4: SocketAddr = ([127, 0, 0, 1], both.local_addr().unwrap().port()).into();
    let stranger = "127.0.0.1:9".parse().unwrap();
    let stream_addr = stream.local_addr().unwrap();
    let listener_addr = listener.local_addr().unwrap();
    let now = Instant::now();
    let mut owners = live_owners(now);
    for (what, protocol, local, remote, expected) in [
        ("server", 17, server_addr, stranger, vec![inode(&server)]),
        ("client", 17, client_addr, server_addr, vec![inode(&client)]),
        ("connected elsewhere", 17, client_addr, stranger, vec![]),
        ("IPv4 to IPv6", 17, at_v4, stranger, vec![inode(&both)]),
        (
            "listener",
            6,
            listener_addr,
            stranger,
            vec![inode(&listener)],
        ),
        (
            "stream",
            6,
            stream_addr,
            listener_addr,
            vec![inode(&stream)],
        ),
        (
            "accepted",
            6,
            listener_addr,
            stream_addr,
            vec![inode(&accepted)],
        ),
    ] {
        let flow = Flow {
            protocol,
            raw: false,
            local,
            remote,
        };
        assert_eq!(
            owners.sockets_at(Some(own_netns()), &flow, now),
            expected,
            "{what}"
        );
        let owner = owners.of_flow(Some(own_netns()), &flow, 0, now);
        let expected = (!expected.is_empty()).then(std::process::id);
        assert_eq!(owner.map(|owner| owner.pid), expected, "{what}");
    }
}
