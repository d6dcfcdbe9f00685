//! From a socket to the process that owns it.
//!
//! A socket is known by its inode number in sockfs, which `/proc/PID/fd` shows
//! as `socket:[INODE]`. The kernel counts these numbers up for all file systems
//! without a disk (`get_next_ino` in `fs/inode.c`), so that one comes again only
//! after 2^32 others.
//!
//! # What is known when
//!
//! - Which process, and its name: not older than a second (`CHECK`). A process
//!   that has ended stays the owner for another second.
//! - How many other processes hold the socket, and whether one with a lower
//!   number does: as of the last scan of all processes. While sockets are asked
//!   for, a scan is not older than a second or a hundred times what it takes.
//! - A socket that was opened since the last scan: found at once if the task on
//!   the CPU or one of the last owners holds it, otherwise by the next scan,
//!   which comes not earlier than 0.1 seconds or ten times what it takes after
//!   the last one. Until then its owner is unknown.
//!
//! Scans run in a thread of their own. A caller that needs one waits for it, but
//! not longer than a quarter of a second for each scan (`PATIENCE`): records wait
//! in the kernel's buffer meanwhile.
//!
//! # Limits
//!
//! Descriptors of threads that do not share those of their process
//! (`CLONE_FILES`), and of a process whose main thread has ended, are not seen.
//! Without `CAP_SYS_PTRACE`, or with a proc mount of another pid namespace, only
//! some processes are.

mod job;
mod proc;
mod scan;
mod tables;

use std::{
    collections::BTreeSet,
    mem,
    ops::ControlFlow,
    path::Path,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

pub use self::tables::Flow;
use self::{
    job::{Job, Pause, Waited},
    proc::{Proc, ProcessDir},
    scan::Scan,
    tables::Tables,
};
use super::cache::insert_bounded;

/// After this time an owner is looked at again.
const CHECK: Duration = Duration::from_secs(1);

/// How long callers wait for a scan or table, all of them together. With 3 to 6
/// ms for 1000 descriptors, only hosts with tens of thousands need more.
const PATIENCE: Duration = Duration::from_millis(250);

/// Between scans when a socket is not known yet: at most 9 % of a processor.
const URGENT: Pause = Pause {
    least: Duration::from_millis(100),
    times: 10,
};

/// Between scans that only bring what is known up to date: at most 1 % of a
/// processor.
const REFRESH: Pause = Pause {
    least: Duration::from_secs(1),
    times: 100,
};

/// How many of the last owners are asked for a socket that is not known.
const RECENT: usize = 8;

/// Most descriptors that are looked at outside of scans in [`URGENT`]'s least
/// time: some 5 % of a processor.
const BUDGET: usize = 1000;

/// What opening a process costs, in descriptors.
const OPEN_COST: usize = 5;

/// Most processes that a filter asks for their names for one packet, one that holds several
/// sockets for each of them. The budget goes to some 2000 that are not known.
const MAX_ASKED: usize = 4096;

/// The process that owns a socket: of all that hold it the one with the lowest
/// number, which is the parent of those that inherited it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Number in the pid namespace of the proc mount.
    pub pid: u32,
    /// Name of the main thread, any bytes.
    pub comm: Box<[u8]>,
    /// Further processes that hold the socket.
    pub others: u32,
}

/// A process that holds a socket.
#[derive(Clone, Copy, Debug)]
struct Holder {
    pid: u32,
    /// `None` if the kernel side has named the process.
    fd: Option<u32>,
    /// When it was known to hold the socket.
    seen: Instant,
}

/// What is known of a socket.
#[derive(Debug)]
struct Entry {
    owner: Option<Owner>,
    /// By ascending number. The first one is the owner.
    holders: Vec<Holder>,
    /// When the owner was found to have let go, and no other process was known.
    gone: Option<Instant>,
    /// Since when the owner is wanted: no earlier scan says that there is none.
    wanted: Instant,
    /// The scan that was last asked.
    generation: u64,
    /// The last process on the CPU that was asked, `None` if none was.
    probed: Option<u32>,
}

impl Entry {
    fn unknown(now: Instant) -> Self {
        Self {
            owner: None,
            holders: Vec::new(),
            gone: None,
            wanted: now,
            generation: 0,
            probed: None,
        }
    }

    /// Whether the owner is sure enough to be used as it is.
    fn is_fresh(&self, now: Instant) -> bool {
        self.owner.is_some()
            && self
                .holders
                .first()
                .is_some_and(|holder| now.saturating_duration_since(holder.seen) < CHECK)
    }

    /// Makes the first holder the owner.
    fn set_owner(&mut self, comm: Box<[u8]>) {
        let others = self.holders.len().saturating_sub(1);
        self.gone = None;
        self.owner = self.holders.first().map(|first| Owner {
            pid: first.pid,
            comm,
            others: u32::try_from(others).unwrap_or(u32::MAX),
        });
    }

    /// Adds a process, or notes that it still holds the socket.
    /// The holder with this number.
    fn holder(&self, pid: u32) -> Option<&Holder> {
        let at = self.holders.binary_search_by_key(&pid, |held| held.pid);
        self.holders.get(at.ok()?)
    }

    fn add(&mut self, holder: Holder, comm: &[u8]) {
        let at = self.holders.partition_point(|known| known.pid < holder.pid);
        match self.holders.get_mut(at) {
            Some(known) if known.pid == holder.pid => known.seen = holder.seen,
            _ => self.holders.insert(at, holder),
        }
        let others = self.holders.len() - 1;
        match &mut self.owner {
            Some(owner) if at > 0 || (owner.pid == holder.pid && *owner.comm == *comm) => {
                owner.others = u32::try_from(others).unwrap_or(u32::MAX);
                self.gone = None;
            }
            _ if at == 0 => self.set_owner(comm.into()),
            _ => {}
        }
    }
}

/// How many descriptors may still be looked at, or names of threads be read.
#[derive(Debug)]
struct Budget {
    start: Instant,
    left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            left: BUDGET,
        }
    }
}

impl Budget {
    fn renew(&mut self, now: Instant) {
        if now.saturating_duration_since(self.start) >= URGENT.least {
            *self = Self {
                start: now,
                left: BUDGET,
            };
        }
    }

    /// Takes from what is left, `false` if that is not enough.
    fn spend(&mut self, cost: usize) -> bool {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// The last scan.
#[derive(Debug, Default)]
struct Scanned {
    scan: Scan,
    /// When it was begun, and how long it took. `None` before the first one.
    made: Option<(Instant, Duration)>,
    /// Counts scans.
    generation: u64,
}

impl Scanned {
    /// Puts the next scan off if none could be made.
    fn postpone(&mut self, now: Instant) {
        let took = self.made.map_or(Duration::ZERO, |(_, took)| took);
        self.made = Some((now, took));
    }

    fn replace(&mut self, scan: Scan, started: Instant, took: Duration) {
        self.scan = scan;
        self.made = Some((started, took));
        self.generation += 1;
    }

    /// Whether the last scan was long enough ago.
    fn is_due(&self, pause: Pause, now: Instant) -> bool {
        self.made.is_none_or(|(started, took)| {
            now.saturating_duration_since(started) >= took.saturating_add(pause.after(took))
        })
    }

    /// Whether it was begun at `time` or later.
    fn is_since(&self, time: Instant) -> bool {
        self.made.is_some_and(|(started, _)| started >= time)
    }
}

/// Tells whether a name, any bytes, is wanted.
pub type NameTest<'q> = &'q dyn Fn(&[u8]) -> bool;

/// What a filter asks of the processes that hold a socket.
#[derive(Clone, Copy)]
pub struct Question<'q> {
    /// The numbers that are wanted; any if there is none.
    pub pids: &'q BTreeSet<u32>,
    /// Tells the names that are wanted, of a process or of a thread; `None` if any is.
    /// Its answers are used for a second (`CHECK`), so it must be the same each time.
    pub name: Option<NameTest<'q>>,
}

impl Question<'_> {
    fn fits(&self, pid: u32, name: &[u8]) -> bool {
        (self.pids.is_empty() || self.pids.contains(&pid)) && self.name.is_none_or(|is| is(name))
    }
}

/// What a filter said of the names of processes.
#[derive(Debug, Default)]
struct Verdicts {
    /// When it was asked, and what it said, `None` if that took too much.
    known: FxHashMap<u32, (Instant, Option<bool>)>,
    budget: Budget,
}

impl Verdicts {
    /// Whether the name of a process, which is `name` if that is known, or of any of
    /// its threads is wanted; `None` if the budget does not go as far.
    fn of(
        &mut self,
        proc: &Proc,
        pid: u32,
        name: Option<&[u8]>,
        now: Instant,
        is_wanted: NameTest<'_>,
    ) -> Option<bool> {
        if let Some((at, verdict)) = self.known.get(&pid)
            && now.saturating_duration_since(*at) < CHECK
        {
            return *verdict;
        }
        if name.is_some_and(is_wanted) {
            return Some(true);
        }
        self.budget.renew(now);
        let was_whole = self.budget.left == BUDGET;
        if !self.budget.spend(OPEN_COST) {
            return None;
        }
        let verdict = match proc.process(pid) {
            Some(process) if process.name().is_some_and(|name| is_wanted(&name)) => Some(true),
            Some(process) => any_thread(&process, &mut self.budget, is_wanted),
            None => Some(false),
        };
        // With what others have left over it may have been enough another time.
        if verdict.is_some() || was_whole {
            insert_bounded(&mut self.known, pid, (now, verdict));
        }
        verdict
    }
}

/// Owners of sockets, with bounded caches.
#[derive(Debug)]
pub struct Owners {
    proc: Proc,
    scanned: Scanned,
    /// The scan that is under way.
    scanning: Option<Job<Scan>>,
    entries: FxHashMap<u64, Entry>,
    /// The last owners, the very last one first.
    recent: Vec<u32>,
    budget: Budget,
    tables: Tables,
    verdicts: Verdicts,
    patience: Duration,
    /// How long callers may still wait for the scan that is under way.
    patience_left: Duration,
}

impl Owners {
    /// Owners by the proc file system at `proc_root`. Reads nothing yet.
    pub fn new(proc_root: &Path) -> Self {
        Self {
            proc: Proc::new(proc_root),
            scanned: Scanned::default(),
            scanning: None,
            entries: FxHashMap::default(),
            recent: Vec::new(),
            budget: Budget::default(),
            tables: Tables::default(),
            verdicts: Verdicts::default(),
            patience: PATIENCE,
            patience_left: Duration::ZERO,
        }
    }

    /// Scans all processes and returns when that is done.
    #[cfg(test)]
    fn scan(&mut self, now: Instant) {
        let start = Instant::now();
        let scan = Scan::take(&self.proc);
        self.scanned.replace(scan, now, start.elapsed());
    }

    /// Starts the first scan, without waiting for it: the sockets that exist are
    /// then known when the first drop comes.
    pub fn prepare(&mut self, now: Instant) {
        self.request_scan(URGENT, now);
    }

    /// Owner of the socket with this inode; `None` if no process holds it or
    /// none is known yet.
    ///
    /// `hint_pid` is the process on the CPU, 0 if there is none. Costs a look
    /// into a table while the owner is fresh, and never much more than
    /// `PATIENCE`.
    pub fn of_socket(&mut self, inode: u64, hint_pid: u32, now: Instant) -> Option<&Owner> {
        if inode == 0 {
            return None;
        }
        self.collect(Duration::ZERO);
        let is_current = self.entries.get(&inode).is_some_and(|entry| {
            entry.generation == self.scanned.generation && entry.is_fresh(now)
        });
        if !is_current || (self.scanning.is_none() && self.scanned.is_due(REFRESH, now)) {
            // Not in the table meanwhile, because all else is needed, too.
            let mut entry = self
                .entries
                .remove(&inode)
                .unwrap_or_else(|| Entry::unknown(now));
            self.renew(inode, &mut entry, hint_pid, now);
            insert_bounded(&mut self.entries, inode, entry);
        }
        self.entries.get(&inode)?.owner.as_ref()
    }

    /// Notes what the kernel side has seen: the process holds the socket and has
    /// this name. That is known also after the process has ended.
    pub fn learn(&mut self, inode: u64, pid: u32, comm: &[u8], now: Instant) {
        if inode == 0 || pid == 0 {
            return;
        }
        let holder = Holder {
            pid,
            fd: None,
            seen: now,
        };
        if let Some(entry) = self.entries.get_mut(&inode) {
            return entry.add(holder, comm);
        }
        let mut entry = Entry::unknown(now);
        entry.add(holder, comm);
        insert_bounded(&mut self.entries, inode, entry);
        self.note_owner(pid);
    }

    /// Inodes of the sockets that a received packet can be for, as far as the
    /// socket tables tell: several where sockets share an address, none where no
    /// process holds the socket or nothing is known. Without a `netns`, only
    /// connections of TCP, in any namespace.
    ///
    /// For kernels that do not hand the socket over. A table is at most 0.2
    /// seconds or twenty times what reading it takes old. A namespace that no
    /// process lives in can't be read. The tables do not tell which device a
    /// socket is bound to: where one socket of an address is bound to another
    /// device than the packet's, it can be taken for the receiver.
    pub fn sockets_at(&mut self, netns: Option<u32>, flow: &Flow, now: Instant) -> &[u64] {
        self.collect(Duration::ZERO);
        if !self.scanned.scan.has_place(netns) {
            self.request_scan(URGENT, now);
            self.wait_for_scan();
        }
        self.look_up(netns, flow, now);
        let is_in_new_namespace = netns.is_none() && self.tables.found.is_empty();
        // What can't be read again is not thrown away.
        if is_in_new_namespace
            && self.scanned.is_due(URGENT, now)
            && self.tables.may_read(self.patience, now)
        {
            self.request_scan(URGENT, now);
            self.wait_for_scan();
            self.tables.forget_all_namespaces();
            self.look_up(netns, flow, now);
        }
        &self.tables.found
    }

    fn look_up(&mut self, netns: Option<u32>, flow: &Flow, now: Instant) {
        let places = || self.scanned.scan.places(netns);
        self.tables
            .candidates((&self.proc, places), netns, flow, now, self.patience);
    }

    /// Owner of the socket that a received packet is for, see
    /// [`Owners::sockets_at`]; `None` also if several sockets can be meant that
    /// have different owners.
    pub fn of_flow(
        &mut self,
        netns: Option<u32>,
        flow: &Flow,
        hint_pid: u32,
        now: Instant,
    ) -> Option<&Owner> {
        let found = self.take_found(netns, flow, now);
        let inode = self.common_owner(&found, hint_pid, now);
        self.tables.found = found;
        self.entries.get(&inode?)?.owner.as_ref()
    }

    /// Takes the answer of [`Owners::sockets_at`]; nothing if that is several sockets and
    /// the budget does not go as far as to look at their owners.
    fn take_found(&mut self, netns: Option<u32>, flow: &Flow, now: Instant) -> Vec<u64> {
        self.sockets_at(netns, flow, now);
        let mut found = mem::take(&mut self.tables.found);
        let is_due = |inode: &&u64| {
            let entry = self.entries.get(*inode);
            entry.is_none_or(|entry| entry.owner.is_some() && !entry.is_fresh(now))
        };
        let due = found.iter().filter(is_due).count();
        self.budget.renew(now);
        if due > 1 && !self.budget.spend(due * OPEN_COST) {
            found.clear();
        }
        found
    }

    /// The one of `inodes` with the fewest holders, if all have the same owner.
    fn common_owner(&mut self, inodes: &[u64], hint_pid: u32, now: Instant) -> Option<u64> {
        let mut fewest: Option<(u64, u32, u32)> = None;
        for &inode in inodes {
            let owner = self.of_socket(inode, hint_pid, now)?;
            match fewest {
                Some((_, pid, _)) if pid != owner.pid => return None,
                Some((_, _, others)) if others <= owner.others => {}
                _ => fewest = Some((inode, owner.pid, owner.others)),
            }
        }
        fewest.map(|(inode, _, _)| inode)
    }

    /// Whether any process that holds the socket is one that is asked for; `None` if no
    /// process is known, or none of those that there was time to ask for their names is:
    /// at most `MAX_ASKED`, and `BUDGET` names in a tenth of a second.
    ///
    /// The other arguments are those of [`Owners::of_socket`].
    pub fn any_holder(
        &mut self,
        inode: u64,
        hint_pid: u32,
        now: Instant,
        question: Question<'_>,
    ) -> Option<bool> {
        let mut left = MAX_ASKED;
        self.any_of_holders(inode, &mut left, hint_pid, now, question)
    }

    /// As [`Owners::any_holder`], of the socket that a received packet is for, see
    /// [`Owners::sockets_at`]; `None` also if several sockets can be meant of which
    /// the answers differ.
    pub fn any_holder_at(
        &mut self,
        netns: Option<u32>,
        flow: &Flow,
        hint_pid: u32,
        now: Instant,
        question: Question<'_>,
    ) -> Option<bool> {
        let found = self.take_found(netns, flow, now);
        let mut left = MAX_ASKED;
        let mut verdicts = found
            .iter()
            .map(|inode| self.any_of_holders(*inode, &mut left, hint_pid, now, question));
        let first = verdicts.next().flatten();
        let agree = first.is_some() && verdicts.all(|verdict| verdict == first);
        self.tables.found = found;
        first.filter(|_| agree)
    }

    /// As [`Owners::any_holder`], asking at most `left`, less those that it asks.
    fn any_of_holders(
        &mut self,
        inode: u64,
        left: &mut usize,
        hint_pid: u32,
        now: Instant,
        question: Question<'_>,
    ) -> Option<bool> {
        self.of_socket(inode, hint_pid, now)?;
        let entry = self.entries.get(&inode)?;
        let owner = entry.owner.as_ref()?;
        if entry.holders.is_empty() {
            // It has ended; its number can be another process's by now.
            return Some(question.fits(owner.pid, &owner.comm));
        }
        let mut all = entry.holders.iter();
        let mut numbered = question.pids.iter().filter_map(|pid| entry.holder(*pid));
        let holders: &mut dyn Iterator<Item = &Holder> = match question.pids.is_empty() {
            true => &mut all,
            false => &mut numbered,
        };
        let Some(is_wanted) = question.name else {
            return Some(holders.next().is_some());
        };
        let mut are_all_asked = true;
        for held in holders {
            *left = left.checked_sub(1)?;
            let name = (held.pid == owner.pid).then_some(&*owner.comm);
            let verdict = self.verdicts.of(&self.proc, held.pid, name, now, is_wanted);
            match verdict {
                Some(true) => return Some(true),
                Some(false) => {}
                None => are_all_asked = false,
            }
        }
        are_all_asked.then_some(false)
    }

    /// Brings an entry up to date.
    fn renew(&mut self, inode: u64, entry: &mut Entry, hint_pid: u32, now: Instant) {
        self.take_from_scan(inode, entry);
        self.check(inode, entry, now);
        if entry.owner.is_none() || entry.gone.is_some() {
            self.probe(inode, entry, hint_pid, now);
        }
        // A scan since then has not found an owner: there may be none.
        let is_urgent = entry.owner.is_none() && !self.scanned.is_since(entry.wanted);
        self.request_scan(if is_urgent { URGENT } else { REFRESH }, now);
        if is_urgent {
            self.wait_for_scan();
            self.take_from_scan(inode, entry);
        }
        if let Some(owner) = &entry.owner {
            let pid = owner.pid;
            self.note_owner(pid);
        }
    }

    /// Takes over what the last scan says, if that is not done yet.
    fn take_from_scan(&mut self, inode: u64, entry: &mut Entry) {
        let Some((started, _)) = self.scanned.made else {
            return;
        };
        if entry.generation == self.scanned.generation {
            return;
        }
        entry.generation = self.scanned.generation;
        let holders = self.scanned.scan.holders(inode);
        if holders.is_empty() {
            return;
        }
        entry.holders.retain(|known| known.seen > started);
        entry.holders.extend(holders.iter().map(|held| Holder {
            pid: held.pid,
            fd: Some(held.fd),
            seen: started,
        }));
        // What was known of a process stays before what the scan says of it.
        entry.holders.sort_by_key(|holder| holder.pid);
        entry.holders.dedup_by(|scanned, known| {
            let is_same = scanned.pid == known.pid;
            if is_same {
                known.fd = scanned.fd;
            }
            is_same
        });
        let Some(first) = entry.holders.first().copied() else {
            return;
        };
        // What is known of it since the scan is better.
        let newer = entry
            .owner
            .take()
            .filter(|owner| owner.pid == first.pid && first.seen > started)
            .map(|owner| owner.comm);
        let comm = newer.or_else(|| self.scanned.scan.name(first.pid).map(Box::from));
        if let Some(comm) = comm {
            entry.set_owner(comm);
        }
    }

    /// Makes sure that the owner still holds the socket, if that was not seen
    /// within `CHECK`; otherwise the next holder is the owner. As many as the
    /// budget goes to are looked at, the others the next time.
    fn check(&mut self, inode: u64, entry: &mut Entry, now: Instant) {
        if entry.is_fresh(now) {
            return;
        }
        self.budget.renew(now);
        let mut let_go = 0;
        let mut holder = None;
        for known in &entry.holders {
            holder = self.confirm(*known, inode);
            // With nothing left it may have been looked for in vain.
            if holder.is_some() || self.budget.left < OPEN_COST {
                break;
            }
            self.budget.spend(1);
            let_go += 1;
        }
        entry.holders.drain(..let_go);
        if let Some((fd, comm)) = holder
            && let Some(first) = entry.holders.first_mut()
        {
            first.fd = Some(fd);
            first.seen = now;
            return entry.set_owner(comm);
        }
        if entry.owner.is_none() {
            return;
        }
        // Nobody is known to be left, but a record can be older than that.
        let gone = *entry.gone.get_or_insert(now);
        if now.saturating_duration_since(gone) >= CHECK {
            *entry = Entry {
                generation: entry.generation,
                ..Entry::unknown(now)
            };
        }
    }

    /// Descriptor and name of a process if it still holds the socket.
    fn confirm(&mut self, holder: Holder, inode: u64) -> Option<(u32, Box<[u8]>)> {
        let process = self.proc.process(holder.pid)?;
        let fd = holder.fd.filter(|fd| process.holds(*fd, inode));
        let fd = fd.or_else(|| find(&process, inode, &mut self.budget))?;
        Some((fd, process.name()?))
    }

    /// Asks the process on the CPU and the last owners.
    fn probe(&mut self, inode: u64, entry: &mut Entry, hint_pid: u32, now: Instant) {
        self.budget.renew(now);
        let is_first = entry.probed.is_none();
        if entry.probed.replace(hint_pid) == Some(hint_pid) {
            return;
        }
        let recent = self
            .recent
            .iter()
            .filter(|pid| is_first && **pid != hint_pid);
        let pids = std::iter::once(&hint_pid)
            .chain(recent)
            .filter(|pid| **pid != 0);
        for &pid in pids {
            let Some(process) = self.proc.process(pid) else {
                continue;
            };
            let Some(fd) = find(&process, inode, &mut self.budget) else {
                continue;
            };
            if let Some(comm) = process.name() {
                let holder = Holder {
                    pid,
                    fd: Some(fd),
                    seen: now,
                };
                return entry.add(holder, &comm);
            }
        }
    }

    /// Starts a scan if the last one is long enough ago.
    fn request_scan(&mut self, pause: Pause, now: Instant) {
        if self.scanning.is_some() || !self.scanned.is_due(pause, now) {
            return;
        }
        let proc = self.proc.clone();
        self.scanning = Job::start(now, move || Scan::take(&proc));
        self.patience_left = self.patience;
        if self.scanning.is_none() {
            self.scanned.postpone(now);
        }
    }

    /// Waits for the scan that is under way, as long as there is patience left.
    fn wait_for_scan(&mut self) {
        let start = Instant::now();
        self.collect(self.patience_left);
        self.patience_left = self.patience_left.saturating_sub(start.elapsed());
    }

    /// Takes the scan that is under way if it ends within `patience`.
    fn collect(&mut self, patience: Duration) {
        let Some(job) = &self.scanning else {
            return;
        };
        match job.wait(patience) {
            Waited::Done(scan, took) => self.scanned.replace(scan, job.started, took),
            Waited::Running => return,
            Waited::Failed => self.scanned.postpone(job.started),
        }
        self.scanning = None;
    }

    fn note_owner(&mut self, pid: u32) {
        if self.recent.first() == Some(&pid) {
            return;
        }
        self.recent.retain(|known| *known != pid);
        self.recent.truncate(RECENT - 1);
        self.recent.insert(0, pid);
    }
}

/// Looks for the socket among the descriptors of a process, as far as the budget
/// goes.
fn find(process: &ProcessDir, inode: u64, budget: &mut Budget) -> Option<u32> {
    if !budget.spend(OPEN_COST) {
        return None;
    }
    let mut found = None;
    process.descriptors(|fd, socket| {
        if socket == Some(inode) {
            found = Some(fd);
        }
        if found.is_some() || !budget.spend(1) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    found
}

/// Whether `matches` holds for the name of any thread; `None` if the budget does
/// not go as far.
fn any_thread(
    process: &ProcessDir,
    budget: &mut Budget,
    mut matches: impl FnMut(&[u8]) -> bool,
) -> Option<bool> {
    let mut answer = Some(false);
    process.threads(|name| {
        if matches(name) {
            answer = Some(true);
        } else if !budget.spend(1) {
            answer = None;
        } else {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(())
    });
    answer
}

#[cfg(test)]
#[path = "owner/tests.rs"]
mod tests;
