//! Containers, pods and units: cgroup id or network namespace to names, and back.
//!
//! `identity` takes cgroup paths apart, `names` knows the runtimes' folders, `tree` gives
//! a cgroup id its path, `processes` says which containers live in a network namespace.

pub mod identity;
mod names;
pub(super) mod processes;
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, mem,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Component, Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustc_hash::FxHashMap;

use self::{
    identity::{ContainerId, Identity, PodId},
    names::Names,
    processes::{Group, Processes},
    tree::{Cgroup, Cgroup2, Tree},
};
use super::{suggest::there_are, throttle::Throttle};
use crate::record::Workload;

/// Shortest time between two walks through the cgroups, and between two looks at all processes
/// because of a namespace that is new.
const PAUSE: Duration = Duration::from_millis(100);

/// How long it is believed which containers live in a network namespace. For that long, and as
/// long again for one that is gone, a namespace that was given the inode number of another one
/// can be called after the other one's container.
const HOMES_AGE: Duration = Duration::from_secs(1);

/// How long a name is believed: containers can be renamed.
const NAME_AGE: Duration = Duration::from_secs(5);

/// When a name that was not found is looked for again: the runtime may write it late.
const NO_NAME_AGE: Duration = Duration::from_secs(1);

/// Fewest digits of an id that stand for a container.
const MIN_ID_PREFIX: usize = 4;

/// What `--container` stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerMatch {
    /// Ids of the containers' own cgroups (a container has one): enough where ancestors are
    /// compared. Empty without cgroup2.
    pub cgroups: Vec<u64>,
    /// Inode numbers of the network namespaces that are theirs alone.
    pub own_namespaces: Vec<u32>,
    /// Inode numbers of all network namespaces that they live in, but for the host's.
    pub namespaces: Vec<u32>,
    /// How many containers and pods it are; with 0 all else is empty.
    pub count: usize,
}

/// Containers, pods and units of the host.
///
/// Ids of cgroups need cgroup2 and 64 bits; on a host with cgroups of version 1 only, containers
/// are known by their network namespace alone.
pub struct Containers {
    proc: PathBuf,
    cgroup2: Option<Cgroup2>,
    names: Names,
    tree: Tree,
    walks: Throttle,
    processes: Processes,
    looks: Throttle,
    homes: FxHashMap<u32, Home>,
    now: Instant,
}

/// A network namespace that belongs to a container or pod.
struct Home {
    group: Group,
    labels: Labels,
    /// When processes of the group were last seen in it.
    seen: Instant,
}

/// Names that were found.
#[derive(Clone, Debug, Default)]
struct Labels {
    container: Option<Vec<u8>>,
    pod: Option<Vec<u8>>,
    /// When they were looked for.
    asked: Option<Instant>,
}

impl Labels {
    /// Looks for the names again if they are too old. A name that is not found any more is
    /// kept: the container may be gone, its last packets are not.
    fn refresh(
        &mut self,
        (container, pod): (Option<&ContainerId>, Option<&PodId>),
        names: &mut Names,
        now: Instant,
    ) {
        let lacks = |name: &Option<_>, id: bool| id && name.is_none();
        let incomplete =
            lacks(&self.container, container.is_some()) || lacks(&self.pod, pod.is_some());
        let age = if incomplete { NO_NAME_AGE } else { NAME_AGE };
        let is_old = |asked| now.saturating_duration_since(asked) >= age;
        if !self.asked.is_none_or(is_old) {
            return;
        }
        self.asked = Some(now);
        if let Some(name) = container.and_then(|id| names.container(id, now)) {
            self.container = Some(name);
        }
        if let Some(name) = pod.and_then(|id| names.pod(id, now)) {
            self.pod = Some(name);
        }
    }

    /// The names, or what stands for them.
    fn workload<'a>(
        &'a self,
        container: Option<&'a ContainerId>,
        pod: Option<&'a PodId>,
        unit: Option<&'a [u8]>,
    ) -> Workload<'a> {
        Workload {
            container: container.map(|id| self.container.as_deref().unwrap_or(id.short())),
            pod: pod.map(|id| self.pod.as_deref().unwrap_or(id.short())),
            unit,
            container_id: container
                .filter(|id| id.has_digits())
                .map(|id| id.id.as_slice()),
        }
    }
}

/// A container or a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Container(ContainerId),
    Pod(PodId),
}

impl Target {
    fn is_in(&self, container: Option<&ContainerId>, pod: Option<&PodId>) -> bool {
        match self {
            Self::Container(id) => container == Some(id),
            Self::Pod(id) => pod == Some(id),
        }
    }

    /// Whether the host's own runtime made it.
    fn is_the_hosts(&self) -> bool {
        match self {
            Self::Container(id) => !id.foreign,
            Self::Pod(id) => !id.foreign,
        }
    }

    /// Length of the path of its own cgroup.
    fn path_len(&self, cgroup: &Cgroup) -> usize {
        match self {
            Self::Container(_) => cgroup.identity.container_end,
            Self::Pod(_) => cgroup.identity.pod_end,
        }
    }

    fn short(&self) -> &[u8] {
        match self {
            Self::Container(id) => id.short(),
            Self::Pod(id) => id.short(),
        }
    }
}

impl Default for Containers {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl Containers {
    /// The host whose `proc`, `var` and `run` are below `root`. Reads the table of mounts.
    pub fn below(root: &Path) -> Self {
        Self {
            proc: root.join("proc"),
            cgroup2: Cgroup2::find(root),
            names: Names::new(root),
            tree: Tree::default(),
            walks: Throttle::default(),
            processes: Processes::default(),
            looks: Throttle::default(),
            homes: FxHashMap::default(),
            now: Instant::now(),
        }
    }

    /// To be called before each batch of records: takes the time.
    pub fn refresh(&mut self) {
        self.now = Instant::now();
    }

    /// Whose packet it is, by the cgroup of its socket or process and by the network namespace
    /// that it was in, each if known.
    ///
    /// The cgroup says it if it is that of a container or pod. Otherwise it is the only
    /// container in the namespace, if that is not the host's; of several containers of one pod
    /// the pod. The unit is that of the cgroup.
    ///
    /// Costs a look-up or two. A cgroup that is new costs a walk through all cgroups, a namespace
    /// other than the host's a look at all processes once a second; both take one twentieth of
    /// a processor at most.
    pub fn describe(&mut self, cgroup: Option<u64>, netns: Option<u32>) -> Workload<'_> {
        self.learn(cgroup, netns);
        self.known(cgroup, netns)
    }

    /// Learns what [`known`](Self::known) tells.
    pub fn learn(&mut self, cgroup: Option<u64>, netns: Option<u32>) {
        let by_cgroup = cgroup.is_some_and(|id| self.learn_cgroup(id));
        if let Some(inode) = netns
            && !by_cgroup
        {
            self.learn_home(inode);
        }
    }

    /// What [`describe`](Self::describe) says, as far as it was learned.
    #[must_use]
    pub fn known(&self, cgroup: Option<u64>, netns: Option<u32>) -> Workload<'_> {
        let cgroup = cgroup.and_then(|id| self.tree.get(id));
        let unit = cgroup.and_then(|cgroup| cgroup.identity.unit.as_deref());
        if let Some(Cgroup {
            identity, labels, ..
        }) = cgroup
            && identity.is_workload()
        {
            return labels.workload(identity.container.as_ref(), identity.pod.as_ref(), unit);
        }
        match netns.and_then(|inode| self.homes.get(&inode)) {
            Some(Home {
                group: (container, pod),
                labels,
                ..
            }) => labels.workload(container.as_ref(), pod.as_ref(), unit),
            None => Workload {
                unit,
                ..Workload::default()
            },
        }
    }

    /// Path of the cgroup with this id, from the top of the tree, if it was learned.
    #[must_use]
    pub fn path(&self, cgroup: u64) -> Option<&[u8]> {
        self.tree.get(cgroup).map(|cgroup| &*cgroup.path)
    }

    /// Learns about a cgroup; whether it is part of a container or pod.
    fn learn_cgroup(&mut self, id: u64) -> bool {
        if !self.tree.is_settled(id) && self.walks.allows(self.now, PAUSE) {
            self.walk();
            self.tree.settle(id);
        }
        let Some(Cgroup {
            identity, labels, ..
        }) = self.tree.get_mut(id)
        else {
            return false;
        };
        let parts = (identity.container.as_ref(), identity.pod.as_ref());
        labels.refresh(parts, &mut self.names, self.now);
        identity.is_workload()
    }

    fn walk(&mut self) {
        let (tree, cgroup2) = (&mut self.tree, &self.cgroup2);
        self.walks.run(self.now, || {
            if let Some(cgroup2) = cgroup2 {
                tree.walk(cgroup2);
            }
        });
    }

    fn learn_home(&mut self, inode: u32) {
        if self.processes.host == Some(inode) {
            return;
        }
        let pause = if self.processes.is_settled(inode) {
            HOMES_AGE
        } else {
            PAUSE
        };
        if self.looks.allows(self.now, pause) {
            self.look();
            self.processes.settle(inode);
        }
        if let Some(Home {
            group: (container, pod),
            labels,
            ..
        }) = self.homes.get_mut(&inode)
        {
            labels.refresh(
                (container.as_ref(), pod.as_ref()),
                &mut self.names,
                self.now,
            );
        }
    }

    /// To be called when drops are traced: the first look, for which the first drop would wait.
    pub fn prepare(&mut self) {
        self.look();
    }

    fn look(&mut self) {
        let (now, proc) = (self.now, &self.proc);
        self.processes = self.looks.run(now, || Processes::look(proc));
        let mut old = mem::take(&mut self.homes);
        for (inode, group) in self.processes.owners() {
            let same = old.remove(&inode).filter(|home| home.group == group);
            let labels = same.map(|home| home.labels).unwrap_or_default();
            let home = Home {
                group,
                labels,
                seen: now,
            };
            self.homes.insert(inode, home);
        }
        // The processes of a namespace end before its last packets are dropped.
        let is_fresh = |home: &Home| now.saturating_duration_since(home.seen) < 2 * HOMES_AGE;
        let gone = old
            .into_iter()
            .filter(|(inode, home)| !self.processes.is_settled(*inode) && is_fresh(home));
        self.homes.extend(gone);
    }

    /// What `--container` stands for at this moment: all containers with this name, the pod
    /// `NAMESPACE/NAME`, or the container whose id begins with these digits, at least four.
    /// Nothing if there is none now; one that is started later is found by the next call.
    ///
    /// Costs a walk through all cgroups and a look at all processes, but not more often than
    /// every 100 ms, and the reading of a file for each of Docker's containers.
    ///
    /// # Errors
    /// The digits are those of several containers.
    pub fn find_container(&mut self, wanted: &str) -> Result<ContainerMatch> {
        let known = self.survey();
        let named = |(target, name): (&Target, &Option<Vec<u8>>)| {
            (name.as_deref() == Some(wanted.as_bytes())).then(|| target.clone())
        };
        let mut targets: Vec<Target> = known.iter().filter_map(named).collect();
        if targets.is_empty() {
            targets = by_id(wanted, &known)?;
        }
        Ok(self.matches(&targets))
    }

    /// As [`find_container`](Self::find_container), for a name that has to be there.
    ///
    /// # Errors
    /// There is no such container, or the digits are those of several.
    pub fn resolve_container(&mut self, wanted: &str) -> Result<ContainerMatch> {
        let found = self.find_container(wanted)?;
        ensure!(
            found.count > 0,
            "--container '{}': no running container has this name or an id that begins so; {}",
            wanted.escape_debug(),
            there_are(wanted, self.names())
        );
        Ok(found)
    }

    /// Names of all containers and pods that run, the beginning of the id where there is no
    /// name. Costs what [`find_container`](Self::find_container) costs.
    pub fn names(&mut self) -> Vec<Vec<u8>> {
        let known = self.survey().into_iter();
        known
            .map(|(target, name)| name.unwrap_or_else(|| target.short().to_vec()))
            .collect()
    }

    /// All containers and pods that run, with their names.
    fn survey(&mut self) -> BTreeMap<Target, Option<Vec<u8>>> {
        self.refresh();
        if self.walks.allows(self.now, PAUSE) {
            self.walk();
        }
        if self.looks.allows(self.now, PAUSE) {
            self.look();
        }
        let by_cgroup = self.tree.present().map(|(_, cgroup)| {
            let identity = &cgroup.identity;
            (identity.container.clone(), identity.pod.clone())
        });
        let by_process = self.processes.groups().map(|(_, group)| group.clone());
        let groups: BTreeSet<Group> = by_cgroup.chain(by_process).collect();
        let mut known = BTreeMap::new();
        for (container, pod) in groups {
            if let Some(id) = container {
                let name = self.names.container(&id, self.now);
                known.insert(Target::Container(id), name);
            }
            if let Some(id) = pod {
                let name = self.names.pod(&id, self.now);
                known.insert(Target::Pod(id), name);
            }
        }
        known
    }

    fn matches(&self, targets: &[Target]) -> ContainerMatch {
        let mut found = ContainerMatch {
            count: targets.len(),
            ..ContainerMatch::default()
        };
        for (id, cgroup) in self.tree.present() {
            let Identity { container, pod, .. } = &cgroup.identity;
            let is_own = |target: &&Target| {
                target.is_in(container.as_ref(), pod.as_ref())
                    && cgroup.path.len() == target.path_len(cgroup)
            };
            if targets.iter().any(|target| is_own(&target)) {
                found.cgroups.push(id);
            }
        }
        for (inode, (container, pod)) in self.processes.groups() {
            let is_in = |target: &Target| target.is_in(container.as_ref(), pod.as_ref());
            if targets.iter().any(is_in) {
                found.namespaces.push(inode);
            }
        }
        found.namespaces.sort_unstable();
        found.namespaces.dedup();
        let owns = |inode: &u32| {
            let owner = self.processes.owner(*inode);
            owner.is_some_and(|(container, pod)| {
                let is_in = |target: &Target| target.is_in(container.as_ref(), pod.as_ref());
                targets.iter().any(is_in)
            })
        };
        found.own_namespaces = found.namespaces.iter().copied().filter(owns).collect();
        found
    }

    /// The id of the cgroup that `--cgroup` names: a path in the tree of cgroup2, as
    /// `/proc/PID/cgroup` gives it, or the path of its folder. Costs two system calls.
    ///
    /// # Errors
    /// There is no cgroup2, or no such cgroup.
    pub fn resolve_cgroup(&self, wanted: &str) -> Result<u64> {
        let shown = wanted.escape_debug();
        let cgroup2 = self.cgroup2.as_ref().with_context(|| {
            format!("--cgroup '{shown}': cgroup2 is not mounted; mount it, or use --netns or --pid")
        })?;
        let is_plain = |path: &Path| {
            !path
                .components()
                .any(|component| component == Component::ParentDir)
        };
        let path = Path::new(wanted);
        ensure!(
            path.is_absolute() && is_plain(path),
            "--cgroup takes a path from the top, as /system.slice/nginx.service, not '{shown}'"
        );
        // What is mounted may be a part of the tree.
        let mounted = Path::new(OsStr::from_bytes(&cgroup2.prefix));
        let in_tree = path
            .strip_prefix(&cgroup2.point)
            .or_else(|_| path.strip_prefix(Path::new("/").join(mounted)))
            .or_else(|_| path.strip_prefix("/"))?;
        let mut folder = cgroup2.point.clone();
        for component in in_tree {
            let below = folder.join(component);
            if !fs::symlink_metadata(&below).is_ok_and(|data| data.is_dir()) {
                bail!(
                    "--cgroup '{shown}': there is no cgroup {}; in {} {}",
                    below.display(),
                    folder.display(),
                    there_are(&component.to_string_lossy(), tree::children(&folder))
                );
            }
            folder = below;
        }
        let data = fs::metadata(&folder)
            .with_context(|| format!("--cgroup '{shown}': reading {}", folder.display()))?;
        Ok(data.ino())
    }
}

/// Whether `text` can be the beginning of a container's id.
pub(crate) fn is_id_prefix(text: &str) -> bool {
    text.len() >= MIN_ID_PREFIX && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The container whose id begins with `prefix`. Anybody can give his own the id of one of the
/// host's, so the host's go first.
fn by_id(prefix: &str, known: &BTreeMap<Target, Option<Vec<u8>>>) -> Result<Vec<Target>> {
    if !is_id_prefix(prefix) {
        return Ok(Vec::new());
    }
    let begins = |target: &&Target| match target {
        Target::Container(id) => id.has_digits() && id.id.starts_with(prefix.as_bytes()),
        Target::Pod(_) => false,
    };
    let mut found: Vec<Target> = known.keys().filter(begins).cloned().collect();
    if found.iter().any(Target::is_the_hosts) {
        found.retain(Target::is_the_hosts);
    }
    ensure!(
        found.len() <= 1,
        "'{prefix}' is the beginning of {} ids of containers, give more digits; {}",
        found.len(),
        there_are(prefix, found.iter().map(|target| target.short().to_vec()))
    );
    Ok(found)
}

#[cfg(test)]
#[path = "container/tests.rs"]
mod tests;
