//! The guest's file system: busybox, network tools, kernel modules, and what is
//! to be tested.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};
use xtask::{cache, command};

use crate::{cpio::Archive, kernels::Installed, programs::Programs};

/// Programs taken along, with their libraries. dash is the shell,
/// because busybox's prefers its own `ip` and `tc` to these.
const PROGRAMS: &[&str] = &[
    "dash",
    "ip",
    "tc",
    "nft",
    "modprobe",
    "setpriv",
    // Servers whose packets are dropped; the second is redis-server by another name.
    "dnsmasq",
    "redis-check-rdb",
];

/// Modules to take along, with those that they need; a kernel that has one
/// built in, or not at all, has nothing to take. A `*` stands for any ending.
const MODULES: &[&str] = &[
    // Devices
    "8021q",
    "bridge",
    "dummy",
    "geneve",
    "ip6_gre",
    "ip6_tunnel",
    "ip_gre",
    "ipip",
    "macvlan",
    "sit",
    "tun",
    "veth",
    "vxlan",
    // Firewall
    "nf_conntrack",
    "nf_nat",
    "nf_reject_*",
    "nf_tables",
    "nft_*",
    // What libcrc32c asks the kernel for by name, for nf_tables.
    "crc32c*",
    // Traffic control
    "act_gact",
    "act_mirred",
    "act_police",
    "cls_*",
    "sch_*",
    // Sockets
    "af_packet_diag",
    "inet_diag",
    "netlink_diag",
    "openvswitch",
    "raw_diag",
    "sctp",
    "tcp_diag",
    "udp_diag",
    "unix_diag",
];

/// The indexes that modprobe reads.
const MODULE_INDEXES: &[&str] = &[
    "modules.alias.bin",
    "modules.builtin",
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.builtin.modinfo",
    "modules.dep",
    "modules.dep.bin",
    "modules.order",
    "modules.softdep",
    "modules.symbols.bin",
];

/// Mount points, and folders that programs expect.
const DIRECTORIES: &[&str] = &[
    "dev", "etc", "proc", "root", "run", "sys", "tmp", "var/run", "usr/bin", "usr/sbin",
];

/// What a guest runs, and with which files.
pub(crate) struct Job<'a> {
    /// The shell script that is the guest's one task.
    pub(crate) script: String,
    /// Path in the guest, and the file on this machine.
    pub(crate) files: Vec<(String, &'a Path)>,
}

/// Writes the initramfs for `kernel` to `path`.
pub(crate) fn write(path: &Path, kernel: &Installed, job: &Job<'_>) -> Result<()> {
    let mut archive = Archive::default();
    add_base(&mut archive, &Programs::of(kernel.arch)?)?;
    add_modules(&mut archive, &kernel.modules()?)?;
    archive.file("/job", job.script.as_str());
    for (to, from) in &job.files {
        archive.file(to, read(from)?);
    }
    save(&archive, path).with_context(|| format!("writing {}", path.display()))
}

fn save(archive: &Archive, path: &Path) -> Result<()> {
    if let Some(dir) = path.parent() {
        cache::create_dir(dir)?;
    }
    let mut file = BufWriter::new(File::create(path)?);
    archive.write(&mut file)?;
    Ok(file.flush()?)
}

fn add_base(archive: &mut Archive, programs: &Programs) -> Result<()> {
    for directory in DIRECTORIES {
        archive.directory(directory);
    }
    archive.file("/init", include_str!("init.sh"));
    archive.file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    archive.file("/etc/group", "root:x:0:\n");
    for program in PROGRAMS {
        add_program(archive, programs, program, &format!("/sbin/{program}"))?;
    }
    archive.link("/bin/sh", "/sbin/dash");
    add_busybox(archive, programs)
}

fn add_busybox(archive: &mut Archive, programs: &Programs) -> Result<()> {
    add_program(archive, programs, "busybox", "/bin/busybox")?;
    // This machine's, which has the same ones whatever its processor.
    let applets = command::output(Command::new("busybox").arg("--list"))?;
    for applet in applets.lines() {
        let in_bin = format!("/bin/{applet}");
        let taken = archive.contains(&in_bin) || archive.contains(&format!("/sbin/{applet}"));
        if !taken {
            archive.link(&in_bin, "/bin/busybox");
        }
    }
    Ok(())
}

fn add_program(archive: &mut Archive, programs: &Programs, program: &str, to: &str) -> Result<()> {
    let path = programs.find(program)?;
    archive.file(to, read(&path)?);
    for (library, from) in programs.libraries(&path)? {
        if !archive.contains(&library) {
            archive.file(&library, read(&from)?);
        }
    }
    Ok(())
}

fn add_modules(archive: &mut Archive, tree: &Path) -> Result<()> {
    let release = tree.file_name().unwrap_or_default().to_string_lossy();
    let index = tree.join("modules.dep");
    let index =
        fs::read_to_string(&index).with_context(|| format!("reading {}", index.display()))?;
    let indexes = MODULE_INDEXES.iter().map(|name| (*name).to_owned());
    let present = indexes.filter(|name| tree.join(name).exists());
    for file in present.chain(module_closure(&index, MODULES)) {
        let to = format!("/lib/modules/{release}/{file}");
        archive.file(&to, read(&tree.join(file))?);
    }
    Ok(())
}

/// The files of the `wanted` modules and of all that they need. Each line of
/// `modules.dep` lists a module's needs, indirect ones included.
fn module_closure(index: &str, wanted: &[&str]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for (module, needs) in index.lines().filter_map(|line| line.split_once(':')) {
        if wanted.iter().any(|name| matches(name, module_name(module))) {
            files.insert(module.to_owned());
            files.extend(needs.split_whitespace().map(str::to_owned));
        }
    }
    files
}

/// `veth` for `kernel/drivers/net/veth.ko.xz`.
fn module_name(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file)
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_bring_what_they_need() {
        let index = "kernel/net/sched/sch_tbf.ko.xz:\n\
                     kernel/net/nft_ct.ko.xz: kernel/net/nf_tables.ko.xz kernel/lib/crc.ko.xz\n\
                     kernel/net/nf_tables.ko.xz: kernel/lib/crc.ko.xz\n\
                     kernel/lib/crc.ko.xz:\n";
        let files = module_closure(index, &["nft_*", "absent"]);
        let expected = [
            "kernel/lib/crc.ko.xz",
            "kernel/net/nf_tables.ko.xz",
            "kernel/net/nft_ct.ko.xz",
        ];
        assert!(files.iter().eq(expected));
    }
}
