//! What a run may still do once it is attached, as `/proc/PID/status` tells.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use dropwatch_tests::{dropwatch::Dropwatch, run::Outcome};
use tempfile::TempDir;

use crate::checks::{Check, Drops, wait_until};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    ("privileges/lines", lines),
    ("privileges/summary", summary),
    ("privileges/counters", counters),
    ("privileges/rotation", rotation),
    ("privileges/without_root", without_root),
    ("privileges/file_capabilities", file_capabilities),
    (
        "privileges/least_file_capabilities",
        least_file_capabilities,
    ),
    ("privileges/not_enough", not_enough),
    ("privileges/serve_answers_this_host_only", serve_is_local),
];

/// Numbers of capabilities, `include/uapi/linux/capability.h`.
const DAC_OVERRIDE: u32 = 1;
const DAC_READ_SEARCH: u32 = 2;
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const SYSLOG: u32 = 34;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// What may be left of root's capabilities.
const KEPT: u64 = 1 << DAC_READ_SEARCH | 1 << SYS_PTRACE | 1 << SYSLOG | 1 << BPF;

/// With what dropwatch can do all that root can do with it.
const ENOUGH: &str = "+bpf,+perfmon,+syslog,+sys_ptrace,+dac_read_search";

fn lines(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let mut dropwatch = Dropwatch::spawn_command(drops.watched_by(path))?;
    dropwatch.wait_ready()?;
    gives_up(&dropwatch, KEPT)?;
    still_works(&drops, dropwatch)
}

fn summary(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let mut dropwatch = drops.summary(path, &["--by", "owner,netns,stack"])?;
    dropwatch.wait_ready()?;
    gives_up(&dropwatch, KEPT)?;
    drops.make(7)?;
    let ended = dropwatch.stop()?;
    ended.expect_status(0)?;
    ensure!(ended.counted()? == 7, "{}", ended.stderr);
    Ok(Outcome::Passed)
}

/// What reads counters in other namespaces keeps the right to enter them.
fn counters(path: &Path) -> Result<Outcome> {
    with_a_right_more(path, &["--counters"], SYS_ADMIN)
}

/// What makes files while it runs keeps the right to make them in anybody's folder.
fn rotation(path: &Path) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("drops.dwr").display().to_string();
    with_a_right_more(path, &["--write", &file, "--rotate", "1MB"], DAC_OVERRIDE)
}

fn with_a_right_more(path: &Path, flags: &[&str], capability: u32) -> Result<Outcome> {
    let drops = Drops::new()?;
    let mut command = drops.watched_by(path);
    command.args(flags);
    let mut dropwatch = Dropwatch::spawn_command(command)?;
    dropwatch.wait_ready()?;
    gives_up(&dropwatch, KEPT | 1 << capability)?;
    ensure!(
        !holds_only(&dropwatch, KEPT),
        "it has given up capability {capability}, which it needs for {flags:?}"
    );
    still_works(&drops, dropwatch)
}

/// A program of another user, with capabilities in place of root.
fn without_root(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let (_dir, copy) = copy_for_all(path)?;
    let mut command = as_nobody(&copy, ENOUGH);
    command.args(drops.filter());
    let mut dropwatch = Dropwatch::spawn_command(command)?;
    dropwatch.wait_ready()?;
    gives_up(&dropwatch, KEPT)?;
    still_works(&drops, dropwatch)
}

/// The same where the capabilities are the file's, as `setcap` gives them: the kernel then keeps
/// the process's files in `/proc` for root.
fn file_capabilities(path: &Path) -> Result<Outcome> {
    let all = [DAC_READ_SEARCH, SYS_PTRACE, SYSLOG, PERFMON, BPF];
    let (drops, _dir, dropwatch) = with_file_capabilities(path, &all)?;
    still_works(&drops, dropwatch)
}

/// With the two that it can't do without, names of functions are missing, and no drop is.
fn least_file_capabilities(path: &Path) -> Result<Outcome> {
    let (drops, _dir, dropwatch) = with_file_capabilities(path, &[PERFMON, BPF])?;
    drops.make(7)?;
    let ended = dropwatch.stop()?;
    ended.expect_status(0)?;
    let account = ended.account()?;
    ensure!(account.printed == 7, "{account:?}: {}", ended.stderr);
    Ok(Outcome::Passed)
}

/// Starts a copy of the program with these capabilities as another user.
fn with_file_capabilities(
    path: &Path,
    capabilities: &[u32],
) -> Result<(Drops, TempDir, Dropwatch)> {
    let drops = Drops::new()?;
    let (dir, copy) = copy_for_all(path)?;
    let all: u64 = capabilities.iter().map(|number| 1 << number).sum();
    let [low, high] = [all as u32, (all >> 32) as u32];
    // `struct vfs_cap_data` of the second revision, in force at once, nothing inheritable
    // (`include/uapi/linux/capability.h`).
    let words = [0x0200_0001, low, 0, high, 0].map(u32::to_le_bytes);
    rustix::fs::setxattr(
        &copy,
        "security.capability",
        words.as_flattened(),
        rustix::fs::XattrFlags::empty(),
    )
    .context("giving the file its capabilities")?;
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(copy)
        .args(drops.filter());
    let mut dropwatch = Dropwatch::spawn_command(command)?;
    dropwatch.wait_ready()?;
    gives_up(&dropwatch, KEPT)?;
    Ok((drops, dir, dropwatch))
}

/// Without the capability to look at packets there is one line that names it.
fn not_enough(path: &Path) -> Result<Outcome> {
    let (_dir, copy) = copy_for_all(path)?;
    let output = as_nobody(&copy, "+bpf").output().context("starting it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1) && said.lines().count() == 1,
        "{}: {said}",
        output.status
    );
    ensure!(said.contains("CAP_PERFMON"), "{said}");
    Ok(Outcome::Passed)
}

/// Unless it is told otherwise, nobody reaches it from elsewhere.
fn serve_is_local(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let netns = drops.netns();
    let mut dropwatch = drops.within(|| Dropwatch::spawn(path, &["serve", "--netns", &netns]))?;
    dropwatch.wait_ready()?;
    gives_up(&dropwatch, KEPT)?;
    let mut listening = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let path = format!("/proc/{}/net/{table}", dropwatch.pid());
        // A kernel without IPv6 has two of them.
        let sockets = fs::read_to_string(path).unwrap_or_default();
        let addresses = sockets.lines().skip(1);
        listening
            .extend(addresses.filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned)));
    }
    // 127.0.0.1:9466, the address in the order of the processor.
    let address = u32::from_ne_bytes([127, 0, 0, 1]);
    let wanted = format!("{address:08X}:{:04X}", 9466);
    ensure!(listening == [wanted], "it listens at {listening:?}");
    dropwatch.stop()?.expect_status(0)?;
    Ok(Outcome::Passed)
}

/// Drops are seen as before, and have their owner.
fn still_works(drops: &Drops, dropwatch: Dropwatch) -> Result<Outcome> {
    drops.make(7)?;
    let ended = dropwatch.stop()?;
    ended.expect_status(0)?;
    let own = format!("[{}]", std::process::id());
    let lines: Vec<&str> = ended.stdout.lines().collect();
    ensure!(
        lines.len() == 7 && lines.iter().all(|line| line.contains(&own)),
        "7 drops of {own} became {} lines: {}",
        lines.len(),
        ended.stderr
    );
    Ok(Outcome::Passed)
}

/// Copies the program to where other users find it.
fn copy_for_all(path: &Path) -> Result<(TempDir, PathBuf)> {
    let dir = tempfile::Builder::new().prefix("dwt-").tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let copy = dir.path().join("dropwatch");
    fs::copy(path, &copy).with_context(|| format!("copying {}", path.display()))?;
    Ok((dir, copy))
}

fn as_nobody(path: &Path, capabilities: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(format!("--inh-caps={capabilities}"))
        .arg(format!("--ambient-caps={capabilities}"))
        .arg(path);
    command
}

/// Waits until all threads have given up what they don't need.
fn gives_up(dropwatch: &Dropwatch, kept: u64) -> Result<()> {
    wait_until(|| holds_only(dropwatch, kept)).context("it holds more than it needs")
}

/// Whether all threads have no more capabilities than these, and can gain none.
fn holds_only(dropwatch: &Dropwatch, kept: u64) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", dropwatch.pid()));
    tasks.is_ok_and(|tasks| tasks.flatten().all(|task| has_given_up(&task.path(), kept)))
}

fn has_given_up(task: &Path, kept: u64) -> bool {
    // A thread that is gone holds nothing.
    let status = fs::read_to_string(task.join("status")).unwrap_or_default();
    let fields: HashMap<&str, &str> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let held = |set: &str| u64::from_str_radix(fields.get(set)?, 16).ok();
    let is_least = |set| held(set).is_none_or(|held| held & !kept == 0);
    let sets = ["CapInh", "CapPrm", "CapEff", "CapAmb"];
    sets.into_iter().all(is_least)
        && fields.get("NoNewPrivs").is_none_or(|it| *it == "1")
        // A kernel without filters has no such line.
        && fields.get("Seccomp").is_none_or(|it| *it == "2")
}
