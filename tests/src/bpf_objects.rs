//! What the kernel holds of eBPF: programs, maps and links, by their ids.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};
use nix::{errno::Errno, libc};

use crate::bpf;

/// `enum bpf_cmd`, `include/uapi/linux/bpf.h`.
const PROGRAM_NEXT: libc::c_long = 11;
const MAP_NEXT: libc::c_long = 12;
const LINK_NEXT: libc::c_long = 31;

/// Ids of objects, each kind for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
    /// Links. Kernels before 5.15 have none for probes.
    pub links: BTreeSet<u32>,
}

impl Objects {
    /// All that there are, as `bpftool` lists them.
    pub fn all() -> Result<Self> {
        let all = |command| ids(command).context("listing eBPF objects");
        Ok(Self {
            programs: all(PROGRAM_NEXT)?,
            maps: all(MAP_NEXT)?,
            links: all(LINK_NEXT)?,
        })
    }

    /// Those that a process has open.
    pub fn of_process(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/fdinfo");
        let mut objects = Self::default();
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
            // A descriptor may be closed by now.
            let info = fs::read_to_string(entry?.path()).unwrap_or_default();
            objects.programs.extend(id_in(&info, "prog_id:"));
            objects.maps.extend(id_in(&info, "map_id:"));
            objects.links.extend(id_in(&info, "link_id:"));
        }
        Ok(objects)
    }

    /// Whether all of them are among the others.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.programs.is_subset(&other.programs)
            && self.maps.is_subset(&other.maps)
            && self.links.is_subset(&other.links)
    }

    /// Whether the two have nothing in common.
    #[must_use]
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.programs.is_disjoint(&other.programs)
            && self.maps.is_disjoint(&other.maps)
            && self.links.is_disjoint(&other.links)
    }
}

/// A number behind a name in a descriptor's `fdinfo`. A link's also has the id of its program.
fn id_in(info: &str, name: &str) -> Option<u32> {
    let of_link = info.contains("link_id:") && name != "link_id:";
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    line.filter(|_| !of_link)?.trim().parse().ok()
}

/// Walks the ids of one kind.
fn ids(command: libc::c_long) -> nix::Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    // `start_id`, `next_id` and `open_flags` of `union bpf_attr`.
    let mut attr = [0_u32; 3];
    loop {
        // SAFETY: these commands take three numbers.
        match unsafe { bpf::call(command, &mut attr) } {
            Ok(_) => {}
            Err(Errno::ENOENT) => return Ok(ids),
            Err(error) => return Err(error),
        }
        attr[0] = attr[1];
        ids.insert(attr[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::id_in;

    #[test]
    fn ids_of_descriptors() {
        let program = "pos:\t0\nprog_type:\t17\nprog_id:\t12\n";
        assert_eq!(id_in(program, "prog_id:"), Some(12));
        assert_eq!(id_in(program, "map_id:"), None);
        let link = "link_type:\traw_tracepoint\nlink_id:\t3\nprog_tag:\tab\nprog_id:\t12\n";
        assert_eq!(id_in(link, "link_id:"), Some(3));
        assert_eq!(id_in(link, "prog_id:"), None);
    }
}
