//! Which containers live in which network namespace, by looking at all processes.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustc_hash::FxHashMap;

use super::{
    super::{files::read_bounded, netns::parse_link},
    identity::{ContainerId, Identity, PodId, identify},
};

/// Most bytes of `/proc/PID/cgroup`: a line for each hierarchy, each with a path.
const CGROUP_LIMIT: u64 = 64 << 10;

/// Most network namespaces that are remembered.
const LIMIT: usize = 16 * 1024;

/// The processes of a container, or of a pod's cgroup outside of its containers.
pub(super) type Group = (Option<ContainerId>, Option<PodId>);

/// Most containers that are told apart in one network namespace. A pod has a few; anybody may have
/// a thousand processes, each in a cgroup that looks like another container's.
const GROUPS_LIMIT: usize = 64;

/// Who lives in a network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Residents {
    /// Containers and pods, each once, the first [`GROUPS_LIMIT`] of them.
    groups: Vec<Group>,
    /// Whether there are other processes.
    others: bool,
}

/// One look at all processes.
#[derive(Debug, Default)]
pub(super) struct Processes {
    /// The host's network namespace, that of the first process.
    pub(super) host: Option<u32>,
    /// Who lives in the others.
    namespaces: FxHashMap<u32, Residents>,
    /// Some container's namespace may not be read.
    hidden: bool,
}

impl Processes {
    /// Looks at all processes below `proc`: reads a link of each, and a file of those that are
    /// not in the host's network namespace. Processes that come or go meanwhile may be missed;
    /// only the namespace of the first thread of each is looked at.
    pub(super) fn look(proc: &Path) -> Self {
        let mut seen = Self {
            host: namespace_of(&proc.join("1")).ok(),
            ..Self::default()
        };
        let entries = fs::read_dir(proc).into_iter().flatten();
        for entry in entries.filter_map(Result::ok) {
            if entry.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
                seen.add(&entry.path());
            }
        }
        seen
    }

    fn add(&mut self, process: &Path) {
        match namespace_of(process) {
            Ok(namespace) if self.host == Some(namespace) => {}
            Ok(namespace) => {
                let group = group_of(process);
                if self.namespaces.len() < LIMIT || self.namespaces.contains_key(&namespace) {
                    self.namespaces.entry(namespace).or_default().add(group);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.hidden |= group_of(process).is_some();
            }
            // It has ended, or is about to.
            Err(_) => {}
        }
    }

    /// To be told, after a look, of the namespace that caused it.
    pub(super) fn settle(&mut self, namespace: u32) {
        if self.namespaces.len() < LIMIT {
            self.namespaces.entry(namespace).or_default();
        }
    }

    /// Whether a look would tell nothing new about this namespace for now.
    pub(super) fn is_settled(&self, namespace: u32) -> bool {
        self.host == Some(namespace) || self.namespaces.contains_key(&namespace)
    }

    /// Each namespace with each container and pod that lives in it.
    pub(super) fn groups(&self) -> impl Iterator<Item = (u32, &Group)> {
        self.namespaces.iter().flat_map(|(namespace, residents)| {
            residents.groups.iter().map(|group| (*namespace, group))
        })
    }

    /// The namespaces that belong to a container or pod.
    pub(super) fn owners(&self) -> impl Iterator<Item = (u32, Group)> {
        let all = self.namespaces.keys();
        all.filter_map(|namespace| Some((*namespace, self.owner(*namespace)?)))
    }

    /// The container and pod that a namespace belongs to: the only container, the only pod of
    /// all that live in it. Processes outside of containers that live with them (`nsenter`)
    /// count as visitors, unless the namespace could be the host's.
    pub(super) fn owner(&self, namespace: u32) -> Option<Group> {
        let residents = self.namespaces.get(&namespace)?;
        let may_be_host = self.host.is_none() && residents.others;
        if self.hidden || may_be_host || self.host == Some(namespace) {
            return None;
        }
        let (container, pod) = residents.groups.first()?;
        let container = container.clone().filter(|_| residents.groups.len() == 1);
        let one_pod = residents.groups.iter().all(|(_, of)| of == pod);
        let pod = pod.clone().filter(|_| one_pod);
        (container.is_some() || pod.is_some()).then_some((container, pod))
    }
}

impl Residents {
    fn add(&mut self, group: Option<Group>) {
        match group {
            Some(group) => {
                if self.groups.len() < GROUPS_LIMIT && !self.groups.contains(&group) {
                    self.groups.push(group);
                }
            }
            None => self.others = true,
        }
    }
}

/// Inode numbers and files of the network namespaces of all processes below `proc`; most are there
/// many times. Costs a system call for each process.
pub(in crate::enrich) fn namespace_files(proc: &Path) -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = fs::read_dir(proc).into_iter().flatten();
    let entries = entries.filter_map(Result::ok);
    entries.filter_map(|entry| {
        let is_process = entry.file_name().as_bytes().iter().all(u8::is_ascii_digit);
        let path = is_process.then(|| entry.path())?;
        Some((namespace_of(&path).ok()?, path.join("ns/net")))
    })
}

/// Inode number of a process' network namespace.
fn namespace_of(process: &Path) -> io::Result<u32> {
    let link = fs::read_link(process.join("ns/net"))?;
    match parse_link(link.as_os_str().as_bytes()) {
        Some((b"net", inode)) => Ok(inode),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The container or pod that a process is part of, by the first hierarchy of cgroups that says
/// so: cgroup2 is the last line of the file and asked first.
fn group_of(process: &Path) -> Option<Group> {
    let text = read_bounded(&process.join("cgroup"), CGROUP_LIMIT).ok()?;
    text.rsplit(|byte| *byte == b'\n').find_map(|line| {
        // `NUMBER:CONTROLLERS:PATH`; names of controllers hold no colon.
        let path = line.splitn(3, |byte| *byte == b':').nth(2)?;
        let Identity { container, pod, .. } = identify(path);
        (container.is_some() || pod.is_some()).then_some((container, pod))
    })
}

#[cfg(test)]
#[path = "processes/tests.rs"]
mod tests;
