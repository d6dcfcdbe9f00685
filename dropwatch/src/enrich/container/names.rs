//! Names of containers and pods, from the folders of their runtimes.
//!
//! No runtime is asked: that would need its socket and its protocol, and would wait for it.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use serde::Deserialize;

use super::{
    super::files::read_bounded,
    identity::{ContainerId, PodId, Runtime},
};

/// Most bytes of what Docker notes about one container: some kilobytes with a long environment.
const DOCKER_LIMIT: u64 = 1 << 20;
/// Most bytes of Podman's list of containers: about one kilobyte each.
const STORAGE_LIMIT: u64 = 16 << 20;
/// Most files in one of Kubernetes' folders; a node has some hundred.
const LOGS_LIMIT: usize = 16 * 1024;

/// How often lists are looked at again. A container can lack its name for that long.
const LISTS_AGE: Duration = Duration::from_secs(1);

/// Looks up names, with the lists that hold many of them cached.
pub(super) struct Names {
    /// Docker's folders, one for each container.
    docker: PathBuf,
    /// Lists of containers of the library that Podman uses (`containers/storage`).
    storage: Vec<Storage>,
    /// `/var/log/containers`: one link for each container of Kubernetes.
    container_logs: PathBuf,
    /// `/var/log/pods`: one folder for each pod of Kubernetes.
    pod_logs: PathBuf,
    /// Name of a container in its pod by its id.
    containers: FxHashMap<Vec<u8>, Vec<u8>>,
    /// `namespace/name` by the pod's uid.
    pods: FxHashMap<Vec<u8>, Vec<u8>>,
    /// When the lists were read.
    read: Option<Instant>,
}

/// One of `containers/storage`'s lists.
struct Storage {
    path: PathBuf,
    /// Time of change and size when it was read.
    seen: Option<(i64, i64, u64)>,
    /// Names by id.
    names: FxHashMap<Vec<u8>, Vec<u8>>,
}

/// `config.v2.json` of Docker.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Name")]
    name: String,
}

/// An entry of `containers.json` of `containers/storage`.
#[derive(Deserialize)]
struct StorageEntry {
    id: String,
    names: Option<Vec<String>>,
}

impl Names {
    /// Looks in the runtimes' folders below `root`, which is `/` but for tests.
    pub(super) fn new(root: &Path) -> Self {
        // Containers that are removed when they end are in a list of their own, which is
        // below /run if the storage is set to be transient.
        let lists = [
            "var/lib/containers/storage/overlay-containers/containers.json",
            "var/lib/containers/storage/overlay-containers/volatile-containers.json",
            "run/containers/storage/overlay-containers/volatile-containers.json",
        ];
        let storage = |list: &str| Storage {
            path: root.join(list),
            seen: None,
            names: FxHashMap::default(),
        };
        Self {
            docker: root.join("var/lib/docker/containers"),
            storage: lists.map(storage).into(),
            container_logs: root.join("var/log/containers"),
            pod_logs: root.join("var/log/pods"),
            containers: FxHashMap::default(),
            pods: FxHashMap::default(),
            read: None,
        }
    }

    /// The name of a container, `None` if nobody wrote it down.
    ///
    /// Costs the reading of one file for Docker, otherwise a look-up.
    pub(super) fn container(&mut self, container: &ContainerId, now: Instant) -> Option<Vec<u8>> {
        if !container.has_digits() {
            return Some(container.id.clone());
        }
        if container.foreign {
            return None;
        }
        self.refresh(now);
        let logged = || self.containers.get(&container.id).cloned();
        match container.runtime {
            Runtime::Docker => logged().or_else(|| self.docker_name(&container.id)),
            Runtime::Podman => self
                .storage
                .iter()
                .find_map(|list| list.names.get(&container.id))
                .cloned(),
            _ => logged(),
        }
    }

    /// `namespace/name` of a pod, `None` if nobody wrote it down.
    ///
    /// Podman keeps the names of pods in a database, which is not read.
    pub(super) fn pod(&mut self, pod: &PodId, now: Instant) -> Option<Vec<u8>> {
        if pod.foreign {
            return None;
        }
        self.refresh(now);
        self.pods.get(&pod.uid).cloned()
    }

    fn docker_name(&self, id: &[u8]) -> Option<Vec<u8>> {
        let folder = self.docker.join(str::from_utf8(id).ok()?);
        let config = read_if_there(&folder.join("config.v2.json"), DOCKER_LIMIT)?;
        let config: DockerConfig = serde_json::from_slice(&config).ok()?;
        let name = config.name.strip_prefix('/').unwrap_or(&config.name);
        (!name.is_empty()).then(|| name.as_bytes().to_vec())
    }

    /// Reads the lists again if they are too old.
    fn refresh(&mut self, now: Instant) {
        let is_old = |read| now.saturating_duration_since(read) >= LISTS_AGE;
        if !self.read.is_none_or(is_old) {
            return;
        }
        self.read = Some(now);
        for list in &mut self.storage {
            list.refresh();
        }
        let logs = file_names(&self.container_logs);
        self.containers = logs.filter_map(|name| container_name(&name)).collect();
        let pods = file_names(&self.pod_logs);
        self.pods = pods.filter_map(|name| pod_name(&name)).collect();
    }
}

impl Storage {
    fn refresh(&mut self) {
        let seen = fs::metadata(&self.path)
            .ok()
            .map(|data| (data.mtime(), data.mtime_nsec(), data.size()));
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        let names = seen.and_then(|_| {
            let list = read_if_there(&self.path, STORAGE_LIMIT)?;
            serde_json::from_slice::<Vec<StorageEntry>>(&list).ok()
        });
        self.names = names
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let name = entry.names?.into_iter().find(|name| !name.is_empty())?;
                Some((entry.id.into_bytes(), name.into_bytes()))
            })
            .collect();
    }
}

/// The file's bytes; a file that is not there is no news.
fn read_if_there(path: &Path, limit: u64) -> Option<Vec<u8>> {
    read_bounded(path, limit)
        .inspect_err(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                log::debug!("no names from {}: {error}", path.display());
            }
        })
        .ok()
}

/// Names of what is in a folder; none if it is not there.
fn file_names(folder: &Path) -> impl Iterator<Item = Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let entries = entries.take(LOGS_LIMIT).filter_map(Result::ok);
    entries.map(|entry| entry.file_name().as_bytes().to_vec())
}

/// `POD_NAMESPACE_CONTAINER-ID.log`: the id and the container's name. Names in Kubernetes hold no
/// underscore.
fn container_name(file: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let name = file.strip_suffix(b".log")?;
    let hyphen = name.iter().rposition(|byte| *byte == b'-')?;
    let (names, id) = name.split_at_checked(hyphen)?;
    let [_pod, _namespace, container] = three(names)?;
    Some((id.strip_prefix(b"-")?.to_vec(), container.to_vec()))
}

/// `NAMESPACE_POD_UID`: the uid and `namespace/name`.
fn pod_name(folder: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let [namespace, pod, uid] = three(folder)?;
    Some((uid.to_vec(), [namespace, pod].join(&b'/')))
}

/// Three names that are not empty, with underscores between them.
fn three(text: &[u8]) -> Option<[&[u8]; 3]> {
    let mut parts = text.split(|byte| *byte == b'_');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    (parts.next().is_none() && three.iter().all(|part| !part.is_empty())).then_some(three)
}

#[cfg(test)]
#[path = "names/tests.rs"]
mod tests;
