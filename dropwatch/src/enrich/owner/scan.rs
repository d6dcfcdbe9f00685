//! Which process holds which socket, from one pass over all processes.

use std::ops::ControlFlow;

use rustc_hash::FxHashMap;

use super::proc::Proc;

/// Most pairs of a process and a socket that a scan keeps (16 bytes each). If
/// there are more, some sockets of the processes that have the most are not known.
const MAX_HOLDINGS: usize = 1 << 20;

/// Processes that are kept for each network namespace: one is enough to read
/// its tables, the others are there for when it ends.
const MAX_PER_NETNS: usize = 4;

/// A process and a socket that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holding {
    pub(super) inode: u64,
    pub(super) pid: u32,
    pub(super) fd: u32,
}

/// What one pass over the processes found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Ordered by inode and process, one for each such pair.
    holdings: Vec<Holding>,
    /// Names of the processes that hold sockets.
    names: FxHashMap<u32, Box<[u8]>>,
    /// Some processes of each network namespace.
    namespaces: FxHashMap<u32, Vec<u32>>,
}

impl Scan {
    /// Goes over all processes; milliseconds for each thousand descriptors.
    pub(super) fn take(proc: &Proc) -> Self {
        Self::take_bounded(proc, MAX_HOLDINGS)
    }

    /// As [`Scan::take`], keeping no more than so many pairs.
    pub(super) fn take_bounded(proc: &Proc, limit: usize) -> Self {
        let mut scan = Self::default();
        let mut most = limit;
        for pid in proc.pids() {
            scan.add(proc, pid, most);
            // At the cost of those with the most, so that nobody can use up all.
            while scan.holdings.len() > limit {
                most /= 2;
                scan.keep_of_each(most);
            }
        }
        scan.holdings.sort_unstable();
        scan
    }

    /// Keeps at most so many sockets of each process; those of one are together.
    fn keep_of_each(&mut self, most: usize) {
        let (mut pid, mut count) = (0, 0);
        self.holdings.retain(|held| {
            if held.pid != pid {
                (pid, count) = (held.pid, 0);
            }
            count += 1;
            count <= most
        });
    }

    /// Adds a process and at most so many of its sockets.
    fn add(&mut self, proc: &Proc, pid: u32, most: usize) {
        let Some(process) = proc.process(pid) else {
            return;
        };
        if let Some(netns) = process.netns() {
            let pids = self.namespaces.entry(netns).or_default();
            if pids.len() < MAX_PER_NETNS {
                pids.push(pid);
            }
        }
        let mut held = Vec::new();
        process.descriptors(|fd, inode| {
            held.extend(inode.map(|inode| Holding { inode, pid, fd }));
            ControlFlow::Continue(())
        });
        held.sort_unstable();
        held.dedup_by_key(|held| held.inode);
        held.truncate(most);
        // Without a name it has ended meanwhile.
        if !held.is_empty()
            && let Some(name) = process.name()
        {
            self.names.insert(pid, name);
            self.holdings.append(&mut held);
        }
    }

    /// The processes that hold a socket, by ascending number.
    pub(super) fn holders(&self, inode: u64) -> &[Holding] {
        let start = self.holdings.partition_point(|held| held.inode < inode);
        let rest = self.holdings.get(start..).unwrap_or_default();
        let count = rest.iter().take_while(|held| held.inode == inode).count();
        rest.get(..count).unwrap_or_default()
    }

    /// Name of a process that holds a socket.
    pub(super) fn name(&self, pid: u32) -> Option<&[u8]> {
        self.names.get(&pid).map(AsRef::as_ref)
    }

    /// Whether a process lives in a network namespace, or in any.
    pub(super) fn has_place(&self, netns: Option<u32>) -> bool {
        match netns {
            Some(netns) => self.namespaces.contains_key(&netns),
            None => !self.namespaces.is_empty(),
        }
    }

    /// Some processes that live in a network namespace, or in each of all.
    pub(super) fn places(&self, netns: Option<u32>) -> Vec<Place> {
        let place = |(netns, pids): (&u32, &Vec<u32>)| Place {
            netns: *netns,
            pids: pids.clone(),
        };
        match netns {
            Some(netns) => self
                .namespaces
                .get_key_value(&netns)
                .map(place)
                .into_iter()
                .collect(),
            None => self.namespaces.iter().map(place).collect(),
        }
    }
}

/// A network namespace, and some processes through which it can be read.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) netns: u32,
    pub(super) pids: Vec<u32>,
}
