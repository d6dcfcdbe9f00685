//! Names of network namespaces: inode number to name, and what a user writes to inode number.
//!
//! A namespace has a name while a file in a well-known folder is bound to it, as `ip netns add`
//! does.

use std::{
    fs,
    io::ErrorKind,
    os::{
        fd::AsRawFd as _,
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustc_hash::{FxHashMap, FxHashSet};
use rustix::fs::{Mode, OFlags, fstat, fstatfs, open};

use super::{
    container::Containers,
    files::{MOUNTINFO, MOUNTINFO_LIMIT, mounts, read_bounded},
    suggest::there_are,
    throttle::Throttle,
};

/// `NSFS_MAGIC`, `include/uapi/linux/magic.h`.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Lowest inode number of a namespace: the fixed ones (`include/uapi/linux/nsfs.h`) lie just
/// below `PROC_DYNAMIC_FIRST` (`fs/proc/generic.c`).
const FIRST_INODE: u32 = 0xEFFF_FF00;

/// How long names are believed. For that long, a namespace that was given the inode number of
/// one that is gone can be called by the other one's name.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Shortest time between two looks into the folders.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Shortest time between two checks whether the folders have changed.
const CHECK_PAUSE: Duration = Duration::from_millis(10);

/// Most names that are remembered; the rest have none.
const LIMIT: usize = 16 * 1024;

/// Length of the ids by which Docker names its files.
const DOCKER_DIGITS: usize = 12;

/// Names of network namespaces.
pub struct NetnsNames {
    /// `/`, but for tests.
    root: PathBuf,
    folders: Vec<Folder>,
    names: FxHashMap<u32, Box<[u8]>>,
    /// What had no name at the last look.
    nameless: FxHashSet<u32>,
    looks: Throttle,
    checks: Throttle,
    now: Instant,
}

/// A folder of files that are bound to namespaces.
struct Folder {
    path: PathBuf,
    /// Whether names are ids of Docker's.
    docker: bool,
    /// Time of its last change, in seconds and nanoseconds, when it was looked into.
    changed: Option<(i64, i64)>,
}

impl Folder {
    fn change(&self) -> Option<(i64, i64)> {
        let data = fs::metadata(&self.path).ok()?;
        Some((data.mtime(), data.mtime_nsec()))
    }

    /// The names in it, in order; none if it is not there.
    fn names(&self) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(&self.path).into_iter().flatten();
        let names = entries.take(LIMIT).filter_map(Result::ok);
        let mut names: Vec<_> = names
            .map(|entry| entry.file_name().as_bytes().to_vec())
            // The host's own namespace.
            .filter(|name| !(self.docker && name == b"default"))
            .collect();
        names.sort_unstable();
        names
    }

    fn file(&self, name: &[u8]) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(name))
    }

    /// How a name is printed.
    fn shown<'a>(&self, name: &'a [u8]) -> &'a [u8] {
        if self.docker {
            name.get(..DOCKER_DIGITS).unwrap_or(name)
        } else {
            name
        }
    }
}

impl Default for NetnsNames {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl NetnsNames {
    /// Names from the folders below `root`, in this order: `run/netns`, `var/run/netns` if that
    /// is another one, `run/docker/netns`. Nothing is looked at yet.
    pub fn below(root: &Path) -> Self {
        let mut paths = vec![root.join("run/netns")];
        let resolved = |path: &str| fs::canonicalize(root.join(path)).ok();
        if resolved("var/run") != resolved("run") {
            paths.push(root.join("var/run/netns"));
        }
        let folder = |path, docker| Folder {
            path,
            docker,
            changed: None,
        };
        let mut folders: Vec<_> = paths.into_iter().map(|path| folder(path, false)).collect();
        folders.push(folder(root.join("run/docker/netns"), true));
        Self {
            root: root.to_owned(),
            folders,
            names: FxHashMap::default(),
            nameless: FxHashSet::default(),
            looks: Throttle::default(),
            checks: Throttle::default(),
            now: Instant::now(),
        }
    }

    /// To be called before each batch of records: takes the time and notices names that have
    /// come or gone. Costs three system calls every 10 ms.
    pub fn refresh(&mut self) {
        self.refresh_at(Instant::now());
    }

    fn refresh_at(&mut self, now: Instant) {
        self.now = now;
        if !self.looks.allows(now, LOOK_PAUSE) || !self.checks.allows(now, CHECK_PAUSE) {
            return;
        }
        let folders = &self.folders;
        let changed = self.checks.run(now, || {
            folders
                .iter()
                .any(|folder| folder.change() != folder.changed)
        });
        if changed {
            self.look();
        }
    }

    /// The name of the namespace with this inode number.
    ///
    /// Costs a look-up; once a second, and for a number that is new, a look into the folders:
    /// four system calls for each name.
    pub fn name(&mut self, inode: u32) -> Option<&[u8]> {
        let is_known = self.names.contains_key(&inode) || self.nameless.contains(&inode);
        let pause = if is_known { MAX_AGE } else { LOOK_PAUSE };
        if self.looks.allows(self.now, pause) {
            self.look();
            if !self.names.contains_key(&inode) {
                self.nameless.insert(inode);
            }
        }
        self.names.get(&inode).map(|name| &**name)
    }

    fn look(&mut self) {
        self.nameless.clear();
        self.names.clear();
        let (folders, names) = (&mut self.folders, &mut self.names);
        self.looks.run(self.now, || {
            for folder in folders {
                // First: what changes meanwhile is noticed at the next check.
                folder.changed = folder.change();
                for name in folder.names() {
                    let Some(inode) = namespace_at(&folder.file(&name)) else {
                        continue;
                    };
                    if names.len() < LIMIT {
                        names
                            .entry(inode)
                            .or_insert_with(|| folder.shown(&name).into());
                    }
                }
            }
        });
    }

    /// The inode number of the network namespace that a user means:
    ///
    /// - a number is the inode number itself;
    /// - `pid:N` is the namespace of process N;
    /// - what holds a slash is the path of a namespace's file;
    /// - all else is the name of a namespace or, if there is none, the name or the beginning of
    ///   the id of a container, as [`Containers::find_container`] takes it.
    ///
    /// # Errors
    /// There is no such namespace, it may not be looked at, or it is not a network namespace.
    pub fn resolve(&mut self, wanted: &str, containers: &mut Containers) -> Result<u32> {
        if let Some(pid) = wanted.strip_prefix("pid:") {
            self.of_process(pid)
        } else if !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_digit()) {
            of_number(wanted)
        } else if wanted.contains('/') {
            self.of_path(wanted)
        } else {
            self.of_name(wanted, containers)
        }
    }

    fn of_process(&self, pid: &str) -> Result<u32> {
        let Ok(number) = pid.parse::<u32>() else {
            bail!(
                "--netns pid:N takes the number of a process, not '{}'",
                pid.escape_debug()
            );
        };
        let link = self.root.join(format!("proc/{number}/ns/net"));
        let link = fs::read_link(link).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                anyhow::anyhow!("--netns pid:{number}: there is no such process")
            }
            ErrorKind::PermissionDenied => anyhow::anyhow!(
                "--netns pid:{number}: the process' namespace may not be looked at; \
                 run as root or with CAP_SYS_PTRACE"
            ),
            _ => anyhow::Error::new(error).context(format!(
                "--netns pid:{number}: reading the process' namespace"
            )),
        })?;
        let (_, inode) = parse_link(link.as_os_str().as_bytes())
            .with_context(|| format!("--netns pid:{number}: the kernel gave no inode number"))?;
        Ok(inode)
    }

    fn of_path(&self, path: &str) -> Result<u32> {
        let shown = path.escape_debug();
        let file = match open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => file,
            Err(error) => bail!(
                "--netns can't open '{shown}': {error}; of names in /run/netns {}",
                there_are(path.rsplit('/').next().unwrap_or(path), self.bound_names())
            ),
        };
        let is_namespace = fstatfs(&file).is_ok_and(|data| data.f_type == NSFS_MAGIC);
        ensure!(
            is_namespace,
            "--netns '{shown}' is not the file of a namespace; \
             give one as /run/netns/NAME or /proc/PID/ns/net"
        );
        let inode = fstat(&file)
            .context("reading the inode number of a namespace")?
            .st_ino;
        let inode = u32::try_from(inode)
            .with_context(|| format!("--netns '{shown}' has inode number {inode}"))?;
        if let Some(kind) = self.kind(&file, inode)
            && kind != b"net"
        {
            bail!(
                "--netns '{shown}' is a namespace of type {}, not a network namespace",
                kind.escape_ascii()
            );
        }
        Ok(inode)
    }

    /// The type of the namespace that a file is of, as `/proc/PID/ns` calls it: the link to the
    /// open file tells, or the table of mounts if a file is bound to it. `None` if it is bound
    /// in another mount namespace.
    fn kind(&self, file: impl std::os::fd::AsFd, inode: u32) -> Option<Vec<u8>> {
        let number = file.as_fd().as_raw_fd();
        let link = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
        if let Some((kind, _)) = parse_link(link.as_os_str().as_bytes()) {
            return Some(kind.to_vec());
        }
        let mountinfo = read_bounded(&self.root.join(MOUNTINFO), MOUNTINFO_LIMIT).ok()?;
        mounts(&mountinfo).find_map(|mount| match parse_link(&mount.root)? {
            (kind, of) if of == inode => Some(kind.to_vec()),
            _ => None,
        })
    }

    fn of_name(&mut self, wanted: &str, containers: &mut Containers) -> Result<u32> {
        let shown = wanted.escape_debug();
        ensure!(
            !wanted.is_empty(),
            "--netns takes a name, a path, a number or pid:N"
        );
        for folder in &self.folders {
            let file = folder.file(wanted.as_bytes());
            if let Some(inode) = namespace_at(&file) {
                return Ok(inode);
            }
            ensure!(
                !file.is_file(),
                "--netns '{shown}': no namespace is bound to {} any more; \
                 remove the file with `ip netns del`",
                file.display()
            );
        }
        self.look();
        // As Docker's names are printed.
        let mut names = self.names.iter();
        if let Some((inode, _)) = names.find(|(_, name)| ***name == *wanted.as_bytes()) {
            return Ok(*inode);
        }
        match *containers.find_container(wanted)?.namespaces {
            [inode] => Ok(inode),
            [] => {
                let names = self.bound_names().into_iter();
                bail!(
                    "no network namespace and no container with one of its own is called \
                     '{shown}' (--netns); {}; a path, an inode number or pid:N will do as well",
                    there_are(wanted, names.chain(containers.names()))
                )
            }
            ref several => bail!(
                "--netns '{shown}': the container's processes live in {} network namespaces, \
                 give the inode number of one: {several:?}",
                several.len()
            ),
        }
    }

    /// Inode numbers and files of all namespaces that have a name.
    pub(super) fn files(&self) -> Vec<(u32, PathBuf)> {
        let files = self.folders.iter().flat_map(|folder| {
            let names = folder.names().into_iter();
            names.map(|name| folder.file(&name))
        });
        files
            .filter_map(|file| Some((namespace_at(&file)?, file)))
            .collect()
    }

    /// Names in the folders, without Docker's.
    fn bound_names(&self) -> Vec<Vec<u8>> {
        let folders = self.folders.iter().filter(|folder| !folder.docker);
        folders.flat_map(Folder::names).collect()
    }
}

fn of_number(number: &str) -> Result<u32> {
    match number.parse() {
        Ok(inode) if inode >= FIRST_INODE => Ok(inode),
        _ => bail!(
            "--netns {number}: no namespace has this inode number, they start at {FIRST_INODE}; \
             for a process write pid:{number}, for a name /run/netns/{number}"
        ),
    }
}

/// Inode number of the namespace that a file is of, `None` if it is not of one.
///
/// Types of namespaces share one range of numbers (`proc_alloc_inum` in `fs/proc/generic.c`):
/// that of another type is never looked up.
fn namespace_at(path: &Path) -> Option<u32> {
    // Opened, so that both answers are about the same file.
    let file = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    if fstatfs(&file).ok()?.f_type != NSFS_MAGIC {
        return None;
    }
    u32::try_from(fstat(&file).ok()?.st_ino).ok()
}

/// Type and inode number in the text of a link to a namespace, `net:[4026531840]`.
pub(super) fn parse_link(link: &[u8]) -> Option<(&[u8], u32)> {
    let colon = link.iter().position(|byte| *byte == b':')?;
    let (kind, rest) = link.split_at_checked(colon)?;
    let inode = rest.strip_prefix(b":[")?.strip_suffix(b"]")?;
    Some((kind, str::from_utf8(inode).ok()?.parse().ok()?))
}

#[cfg(test)]
#[path = "netns/tests.rs"]
mod tests;
