//! What a cgroup's path says about who lives in it. Pure: the rules are tested against the
//! table in `cgroups.txt`.
//!
//! Paths are those of the container runtimes' cgroup drivers: `cgroupfs` names a folder after
//! the container, `systemd` names a scope `RUNTIME-ID.scope`. What does not look exactly as a
//! runtime writes it is not a container.

use super::super::files::unescape;

/// Digits of a container's id where the runtime gives it out: 32 random bytes or a SHA-256.
const ID_DIGITS: usize = 64;

/// Digits of a shortened id, as Docker and Podman print it.
const SHORT_ID_DIGITS: usize = 12;

/// What made a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Runtime {
    /// Docker.
    Docker,
    /// containerd without Docker: Kubernetes' plugin (CRI) or `nerdctl`.
    Containerd,
    /// CRI-O.
    Crio,
    /// Podman.
    Podman,
    /// One that Kubernetes uses; the path does not say which.
    Kubernetes,
    /// LXC, LXD, Incus, Proxmox.
    Lxc,
    /// systemd-nspawn, or another one that registers containers with systemd-machined.
    Machine,
}

/// A container, as its cgroup's path names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId {
    /// What made it.
    pub runtime: Runtime,
    /// 64 hexadecimal digits; the container's name for [`Runtime::Lxc`] and
    /// [`Runtime::Machine`].
    pub id: Vec<u8>,
    /// Not made by the host's own runtime but by one inside of another container or by that of
    /// a user without privileges: the host's folders can't name it. Never of
    /// [`Runtime::Lxc`] and [`Runtime::Machine`].
    pub foreign: bool,
}

impl ContainerId {
    /// Whether [`id`](Self::id) is of digits, not a name.
    pub fn has_digits(&self) -> bool {
        !matches!(self.runtime, Runtime::Lxc | Runtime::Machine)
    }

    /// The id as people write it: 12 digits of 64, a name whole.
    pub fn short(&self) -> &[u8] {
        if self.has_digits() {
            short_id(&self.id)
        } else {
            &self.id
        }
    }
}

/// A pod, as its cgroup's path names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// Kubernetes' uid with hyphens (without any for pods that come from a file), Podman's 64
    /// hexadecimal digits.
    pub uid: Vec<u8>,
    /// As in [`ContainerId::foreign`].
    pub foreign: bool,
}

impl PodId {
    /// The uid as people write it: 12 digits of Podman's 64.
    pub fn short(&self) -> &[u8] {
        if is_id(&self.uid) {
            short_id(&self.uid)
        } else {
            &self.uid
        }
    }
}

/// What a cgroup's path says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The innermost container.
    pub container: Option<ContainerId>,
    /// The innermost pod.
    pub pod: Option<PodId>,
    /// The innermost systemd unit (service or scope), as `systemctl` prints it. systemd puts no
    /// unit into another one: what lies in one is of its own making, a user's manager for the
    /// most part, and has its name in front: `user@1000.service/foot.scope`.
    pub unit: Option<Vec<u8>>,
    /// Below the slice of a user other than root, or inside of a container: whoever that belongs
    /// to can make any number of cgroups here, and call them what he likes.
    pub(super) delegated: bool,
    /// Length of the path of the container's own cgroup.
    pub(super) container_end: usize,
    /// Length of the path of the pod's own cgroup.
    pub(super) pod_end: usize,
}

impl Identity {
    /// Whether it is that of a container or pod.
    #[must_use]
    pub fn is_workload(&self) -> bool {
        self.container.is_some() || self.pod.is_some()
    }
}

/// Takes the path of a cgroup apart, as `/proc/PID/cgroup` gives it.
pub fn identify(path: &[u8]) -> Identity {
    let mut found = Identity::default();
    let mut above = Above::default();
    let mut end = 0;
    for component in path.split(|byte| *byte == b'/') {
        end += component.len();
        if let Some(uid) = pod_uid(component, &above) {
            let foreign = above.delegated;
            found.pod = Some(PodId { uid, foreign });
            found.pod_end = end;
        }
        if is_unit(component) {
            let names = above.unit.into_iter().chain([component]);
            found.unit = Some(names.collect::<Vec<_>>().join(&b'/'));
            above.unit.get_or_insert(component);
        }
        let container = container(component, &above);
        above.descend(component, container.as_ref());
        if container.is_some() {
            found.container = container;
            found.container_end = end;
        }
        end += 1;
    }
    if above.is_supervisor {
        (found.container, found.container_end) = (None, 0);
    }
    found.delegated = above.delegated;
    found
}

/// What lies above a component of the path.
#[derive(Default)]
struct Above<'a> {
    /// The component before.
    parent: &'a [u8],
    /// Number of components, the empty one before the first slash included.
    depth: usize,
    /// Below the folder of Kubernetes.
    kubepods: bool,
    /// The component before is a pod's.
    is_pod: bool,
    /// The component before is a machine's.
    is_machine: bool,
    /// The component before is nspawn itself, beside the `payload` of its machine.
    is_supervisor: bool,
    /// Below Amazon ECS's folder.
    ecs: bool,
    /// As in [`Identity::delegated`].
    delegated: bool,
    /// The outermost unit inside of the innermost container that nobody has made up.
    unit: Option<&'a [u8]>,
}

impl<'a> Above<'a> {
    fn descend(&mut self, component: &'a [u8], container: Option<&ContainerId>) {
        self.is_pod = pod_uid(component, self).is_some();
        self.is_supervisor = self.is_machine && component == b"supervisor";
        self.is_machine = container.is_some_and(|it| it.runtime == Runtime::Machine);
        self.kubepods |= component == b"kubepods";
        self.ecs |= self.depth == 1 && component == b"ecs";
        self.delegated |= is_user_slice(component) || container.is_some();
        // Inside of one that anybody can make up, units are still his.
        if container.is_some_and(|it| !it.foreign) {
            self.unit = None;
        }
        self.parent = component;
        self.depth += 1;
    }
}

/// `user-UID.slice` of somebody but root.
fn is_user_slice(component: &[u8]) -> bool {
    let uid = component
        .strip_prefix(b"user-")
        .and_then(|rest| rest.strip_suffix(b".slice"));
    uid.is_some_and(|uid| uid != b"0" && uid.iter().all(u8::is_ascii_digit))
}

fn is_unit(component: &[u8]) -> bool {
    [b".service".as_slice(), b".scope"].iter().any(|suffix| {
        component
            .strip_suffix(*suffix)
            .is_some_and(|name| !name.is_empty())
    })
}

/// Names that runtimes put before the id, and whether they do so in a scope (systemd driver), in
/// a plain folder (cgroupfs driver). `libpod-payload` is Podman's `--cgroups=split`.
///
/// `crio-conmon-` and `libpod-conmon-` are monitors; they drop out because no id follows.
const PREFIXES: [(&[u8], Runtime, bool, bool); 6] = [
    (b"docker-", Runtime::Docker, true, false),
    (b"cri-containerd-", Runtime::Containerd, true, false),
    (b"nerdctl-", Runtime::Containerd, true, false),
    (b"crio-", Runtime::Crio, true, true),
    (b"libpod-", Runtime::Podman, true, true),
    (b"libpod-payload-", Runtime::Podman, false, true),
];

/// The container that a component of the path names. None where anybody can make the cgroup and
/// there is no id: the name would be one that he has made up.
fn container(component: &[u8], above: &Above<'_>) -> Option<ContainerId> {
    let (runtime, id) = prefixed(component)
        .or_else(|| mixed_drivers(component))
        .or_else(|| bare(component, above))
        .or_else(|| lxc(component, above))
        .or_else(|| machine(component, above))?;
    let foreign = above.delegated;
    let container = ContainerId {
        runtime,
        id,
        foreign,
    };
    (container.has_digits() || !foreign).then_some(container)
}

fn prefixed(component: &[u8]) -> Option<(Runtime, Vec<u8>)> {
    let scope = component.strip_suffix(b".scope");
    PREFIXES
        .iter()
        .find_map(|(prefix, runtime, scoped, plain)| {
            let name = match scope {
                Some(name) if *scoped => name,
                None if *plain => component,
                _ => return None,
            };
            let id = name.strip_prefix(*prefix)?;
            is_id(id).then(|| (*runtime, id.to_vec()))
        })
}

/// `SLICE:RUNTIME:ID`: the kubelet is set to the systemd driver and the runtime to cgroupfs,
/// which takes what is meant for systemd as a folder's name.
fn mixed_drivers(component: &[u8]) -> Option<(Runtime, Vec<u8>)> {
    let mut parts = component.split(|byte| *byte == b':').skip(1);
    let (name, id) = (parts.next()?, parts.next()?);
    let (_, runtime, ..) = PREFIXES
        .iter()
        .find(|(prefix, ..)| prefix.strip_suffix(b"-") == Some(name))?;
    (parts.next().is_none() && is_id(id)).then(|| (*runtime, id.to_vec()))
}

/// An id alone, in a folder where runtimes put it.
fn bare(component: &[u8], above: &Above<'_>) -> Option<(Runtime, Vec<u8>)> {
    if !is_id(component) {
        return None;
    }
    let runtime = if above.is_pod && above.kubepods {
        Runtime::Kubernetes
    } else if above.parent == b"docker" || above.ecs {
        Runtime::Docker
    } else {
        return None;
    };
    Some((runtime, component.to_vec()))
}

/// `lxc.payload.NAME`; before LXC 4.0 `lxc/NAME` at the top. `lxc.monitor.NAME` is the monitor.
fn lxc(component: &[u8], above: &Above<'_>) -> Option<(Runtime, Vec<u8>)> {
    let in_folder = above.parent == b"lxc.payload" || (above.parent == b"lxc" && above.depth == 2);
    let name = match component.strip_prefix(b"lxc.payload.") {
        Some(name) => name,
        None if in_folder => component,
        None => return None,
    };
    (!name.is_empty()).then(|| (Runtime::Lxc, name.to_vec()))
}

/// A unit of `machine.slice` that holds a container: `systemd-nspawn@NAME.service` of the
/// template, `machine-NAME.scope` of systemd-machined (`machine-qemu-1-NAME.scope` is a virtual
/// machine of libvirt).
fn machine(component: &[u8], above: &Above<'_>) -> Option<(Runtime, Vec<u8>)> {
    if above.parent != b"machine.slice" {
        return None;
    }
    let template = component
        .strip_prefix(b"systemd-nspawn@")
        .and_then(|rest| rest.strip_suffix(b".service"));
    let scope = component
        .strip_prefix(b"machine-")
        .and_then(|rest| rest.strip_suffix(b".scope"));
    let name = unescape(template.or(scope)?, b"\\x", 16, 2);
    (!name.is_empty() && !name.starts_with(b"qemu-")).then_some((Runtime::Machine, name))
}

/// The pod that a component of the path names: `kubepods-CLASS-podUID.slice` (systemd driver;
/// hyphens of the uid are written `_`), `podUID` below `kubepods` (cgroupfs driver), Podman's
/// `machine-libpod_pod_ID.slice` and `libpod_pod_ID`.
fn pod_uid(component: &[u8], above: &Above<'_>) -> Option<Vec<u8>> {
    let first = component.split(|byte| *byte == b':').next()?;
    let Some(slice) = first.strip_suffix(b".slice") else {
        let podman = component
            .strip_prefix(b"libpod_pod_")
            .filter(|id| is_id(id));
        let kubernetes = component
            .strip_prefix(b"pod")
            .filter(|uid| above.kubepods && is_pod_uid(uid, b'-'));
        return podman.or(kubernetes).map(<[u8]>::to_vec);
    };
    let mut names = slice.rsplit(|byte| *byte == b'-');
    let last = names.next()?;
    if let Some(id) = last.strip_prefix(b"libpod_pod_") {
        return is_id(id).then(|| id.to_vec());
    }
    let uid = last.strip_prefix(b"pod")?;
    let is_pod = names.any(|name| name == b"kubepods") && is_pod_uid(uid, b'_');
    let hyphen = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
    is_pod.then(|| uid.iter().map(hyphen).collect())
}

/// A UUID with the given separator, or 32 digits: the hash of a file that a node runs by itself.
fn is_pod_uid(uid: &[u8], separator: u8) -> bool {
    let groups = uid.split(|byte| *byte == separator);
    let is_hex = uid
        .iter()
        .all(|byte| *byte == separator || is_hex_digit(byte));
    is_hex && (groups.map(<[u8]>::len).eq([8, 4, 4, 4, 12]) || is_hex_of(uid, 32))
}

fn is_id(text: &[u8]) -> bool {
    is_hex_of(text, ID_DIGITS)
}

fn is_hex_of(text: &[u8], digits: usize) -> bool {
    text.len() == digits && text.iter().all(is_hex_digit)
}

/// Lower case: that is how runtimes write ids.
fn is_hex_digit(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn short_id(id: &[u8]) -> &[u8] {
    id.get(..SHORT_ID_DIGITS).unwrap_or(id)
}

#[cfg(test)]
#[path = "identity/tests.rs"]
mod tests;
