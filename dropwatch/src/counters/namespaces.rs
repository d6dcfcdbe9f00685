//! Which network namespaces are looked at, and how they are entered.

use std::{fs::File, os::fd::AsFd as _, os::unix::fs::MetadataExt as _, path::PathBuf, thread};

use anyhow::{Context as _, Result, ensure};
use rustc_hash::FxHashSet;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{enrich::Host, format::write_netns, record::Netns};

/// Most namespaces that are looked at: each takes a millisecond or two at the start and one at the
/// end.
const LIMIT: usize = 64;

/// The file of the namespace that this process lives in.
const OWN: &str = "/proc/self/ns/net";

/// A network namespace.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    /// Its inode number.
    pub(super) inode: u32,
    /// As lines show it.
    pub(super) shown: String,
    /// By which it is entered; `None` for the one that this process lives in.
    file: Option<PathBuf>,
}

/// What is looked at.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// The own one first.
    pub(super) all: Vec<Namespace>,
    /// How many more are known.
    pub(super) left_out: usize,
}

impl Namespaces {
    /// The namespaces that are known on this host; or the wanted ones, if they are known, or their
    /// files are given.
    pub(super) fn find(host: &mut Host, wanted: Option<&[(u32, Option<PathBuf>)]>) -> Self {
        let own = File::open(OWN).and_then(|file| file.metadata());
        let own = own.ok().and_then(|data| u32::try_from(data.ino()).ok());
        let mut found: Vec<(u32, Option<PathBuf>)> = Vec::new();
        found.extend(own.map(|inode| (inode, None)));
        let others = host.network_namespaces().into_iter();
        found.extend(
            others
                .filter(|(inode, _)| Some(*inode) != own)
                .map(|(inode, file)| (inode, Some(file))),
        );
        if let Some(wanted) = wanted {
            let given = wanted.iter().filter(|(_, file)| file.is_some());
            found.extend(given.cloned());
            let mut missing: FxHashSet<u32> = wanted.iter().map(|(inode, _)| *inode).collect();
            found.retain(|(inode, _)| missing.remove(inode));
        }
        let left_out = found.len().saturating_sub(LIMIT);
        found.truncate(LIMIT);
        let all = found.into_iter().map(|(inode, file)| Namespace {
            shown: shown(inode, host),
            inode,
            file,
        });
        Self {
            all: all.collect(),
            left_out,
        }
    }

    /// Calls `look` in each namespace, in a thread that ends with the last one; `None` for those
    /// that can't be entered.
    pub(super) fn visit<T: Send>(
        &self,
        look: impl Fn(usize, &Namespace) -> T + Sync,
    ) -> Vec<Option<T>> {
        let visit = || {
            let visits =
                self.all
                    .iter()
                    .enumerate()
                    .map(|(place, namespace)| match namespace.enter() {
                        Ok(()) => Some(look(place, namespace)),
                        Err(error) => {
                            log::debug!("counters of namespace {}: {error:#}", namespace.shown);
                            None
                        }
                    });
            visits.collect()
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("counters".to_owned());
            let visited = thread.spawn_scoped(scope, visit).ok();
            visited.and_then(|thread| thread.join().ok())
        })
        .unwrap_or_else(|| self.all.iter().map(|_| None).collect())
    }
}

impl Namespace {
    /// Moves the calling thread there.
    fn enter(&self) -> Result<()> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        // The process, or the name, can have become another one's.
        let inode = file.metadata()?.ino();
        ensure!(
            inode == u64::from(self.inode),
            "it is gone, {} is another one",
            path.display()
        );
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .context("entering it (needs CAP_SYS_ADMIN)")
    }
}

fn shown(inode: u32, host: &mut Host) -> String {
    let mut text = Vec::new();
    let name = host.netns_name(inode);
    write_netns("", Some(&Netns { inode, name }), &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
impl Namespaces {
    /// One namespace that is never entered.
    pub(super) fn of(name: &str, inode: u32) -> Self {
        Self {
            all: vec![Namespace {
                inode,
                shown: name.to_owned(),
                file: None,
            }],
            left_out: 0,
        }
    }
}
