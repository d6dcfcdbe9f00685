//! What the host says now: counters, settings and queues, of the network namespace that this
//! process lives in.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    sockets::{self, Socket},
    texts::Queues,
};
use crate::{
    enrich::{files::read_bounded, owner::Owners},
    proc_net::Tables,
};

/// Most bytes of a setting.
const LIMIT: u64 = 64 << 10;

/// Reads the sockets whose queues matter; `None` if they can't be read.
type ReadSockets = fn(Queues) -> Option<Vec<Socket>>;

/// Where present values come from.
pub struct Present {
    proc: PathBuf,
    sockets: ReadSockets,
    owners: Owners,
}

impl Present {
    /// Those of the host whose proc file system is mounted at `proc`.
    #[must_use]
    pub fn new(proc: &Path) -> Self {
        Self::with_sockets(proc, sockets::read)
    }

    /// Those of a host that shows none.
    #[must_use]
    pub fn none() -> Self {
        Self::with_sockets(Path::new("/nonexistent"), |_| None)
    }

    pub(super) fn with_sockets(proc: &Path, sockets: ReadSockets) -> Self {
        Self {
            proc: proc.to_owned(),
            sockets,
            owners: Owners::new(proc),
        }
    }

    /// The value of a setting as one line; `None` if this host does not have it.
    #[must_use]
    pub fn sysctl(&self, name: &str) -> Option<String> {
        let text = self.read(&format!("sys/{}", name.replace('.', "/")))?;
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        Some(words.join(" "))
    }

    /// The value of a counter: by the name that `nstat` has for it, or as `FILE COLUMN`. `None` if
    /// this host does not have it.
    #[must_use]
    pub fn counter(&self, name: &str) -> Option<u64> {
        Tables::new(&self.proc.join("net")).counter(name)
    }

    /// The sockets to look at; `None` if they can't be read.
    pub(super) fn sockets(&self, queues: Queues) -> Option<Vec<Socket>> {
        (self.sockets)(queues)
    }

    /// The process that holds a socket, as lines show it.
    pub(crate) fn owner(&mut self, socket: &Socket) -> String {
        match self.owners.of_socket(socket.inode, 0, Instant::now()) {
            Some(owner) => format!("{}[{}]", owner.comm.escape_ascii(), owner.pid),
            None => "-".to_owned(),
        }
    }

    fn read(&self, file: &str) -> Option<String> {
        let bytes = read_bounded(&self.proc.join(file), LIMIT).ok()?;
        String::from_utf8(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn host() -> (tempfile::TempDir, Present) {
        let proc = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = proc.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n");
        let present = Present::new(proc.path());
        (proc, present)
    }

    #[test]
    fn settings() {
        let (_proc, host) = host();
        assert_eq!(
            host.sysctl("net.ipv4.tcp_rmem").unwrap(),
            "4096 131072 6291456"
        );
        assert_eq!(host.sysctl("net.ipv4.none"), None);
    }
}
