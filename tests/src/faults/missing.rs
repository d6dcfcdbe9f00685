//! What a run finds missing, closed, full, or in its way.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::{N, Stage, WITHIN, end, exact, make, one_line, parsed, played, world_of_drops};
use crate::{
    dropwatch::{Account, Dropwatch, Ended},
    kernel,
    run::Outcome,
    small_disk::SmallDisk,
    world::{World, run_command},
};

/// The kernel's types.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// A command that watches `world` with other mounts than the rest of the host.
fn with_mounts(stage: &Stage<'_>, world: &World, mounts: &str, flags: &[&str]) -> Command {
    // Of the shell that makes them, `$0` is dropwatch as well.
    let script = format!(r#"exec unshare -m sh -c '{mounts} && exec "$0" "$@"' "$0" "$@""#);
    stage.in_shell(&script, world, flags)
}

/// Runs it to its end, which is to come at once.
fn ended(command: Command) -> Result<Ended> {
    Dropwatch::spawn_command(command)?.wait(WITHIN)
}

pub(super) fn no_btf(stage: &Stage<'_>) -> Result<Outcome> {
    let world = World::new()?;
    let mounts = "mount -t tmpfs none /sys/kernel/btf";
    let ended = ended(with_mounts(stage, &world, mounts, &[]))?;
    one_line(&ended, &[BTF, "CONFIG_DEBUG_INFO_BTF", "--kernel-btf"])?;
    Ok(Outcome::Passed)
}

pub(super) fn btf_truncated(stage: &Stage<'_>) -> Result<Outcome> {
    let world = World::new()?;
    let whole = fs::read(BTF).with_context(|| format!("reading {BTF}"))?;
    let folder = tempfile::tempdir().context("making a folder")?;
    let file = folder.path().join("btf");
    for len in [0, 10, 1000, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..len]).context("writing a part of it")?;
        let mounts = format!("mount --bind {} {BTF}", file.display());
        let ended = ended(with_mounts(stage, &world, &mounts, &[]))?;
        one_line(&ended, &[BTF]).with_context(|| format!("{len} bytes of {}", whole.len()))?;
    }
    Ok(Outcome::Passed)
}

/// Names are not known then; drops are seen and counted all the same.
pub(super) fn no_proc(stage: &Stage<'_>) -> Result<Outcome> {
    let world = world_of_drops()?;
    let command = with_mounts(stage, &world, "mount -t tmpfs none /proc", &[]);
    let ended = played(command, &world)?;
    for line in parsed(&ended.stdout)? {
        // Whose it is nobody tells but the processor.
        let owner = line.get("owner").unwrap_or_default();
        let is_own = owner == "-" || owner.ends_with(&format!("[{}]", std::process::id()));
        ensure!(line.at().starts_with("0x") && is_own, "{line:?}");
    }
    ensure!(
        ended.stderr.matches("/proc/kallsyms").count() == 1,
        "it said: {}",
        ended.stderr
    );
    Ok(Outcome::Passed)
}

pub(super) fn no_sys(stage: &Stage<'_>) -> Result<Outcome> {
    let world = World::new()?;
    let ended = ended(with_mounts(stage, &world, "mount -t tmpfs none /sys", &[]))?;
    one_line(&ended, &["/sys/"])?;
    Ok(Outcome::Passed)
}

/// Nothing needs tracefs.
pub(super) fn no_tracing(stage: &Stage<'_>) -> Result<Outcome> {
    let world = world_of_drops()?;
    let mounts = "for at in tracing debug; do if test -d /sys/kernel/$at; \
                  then mount -t tmpfs none /sys/kernel/$at; fi; done";
    for hook in ["tracepoint", "kprobe"] {
        if hook == "kprobe" && !kernel::has_kprobes() {
            continue;
        }
        let command = with_mounts(stage, &world, mounts, &["--hook", hook]);
        let ended = played(command, &world)?;
        let lines = ended.stdout.lines();
        ensure!(
            lines
                .filter(|line| line.contains("nf_hook_slow") || line.contains("nft_"))
                .count()
                == N,
            "no names in these lines: {}",
            ended.stdout
        );
    }
    Ok(Outcome::Passed)
}

/// A descriptor that is closed is none of the program's files, and no reason to fail: what goes
/// there is lost, as to `/dev/null`.
pub(super) fn closed(stage: &Stage<'_>, redirection: &str) -> Result<Outcome> {
    let world = world_of_drops()?;
    let script = format!(r#"exec "$0" "$@" {redirection}"#);
    let mut dropwatch = Dropwatch::spawn_command(stage.in_shell(&script, &world, &[]))?;
    dropwatch.wait_ready()?;
    make(&world, 40_000, N)?;
    dropwatch.signal(Signal::SIGINT)?;
    let ended = dropwatch.wait(WITHIN)?;
    ended.expect_status(0)?;
    let (lines, said) = (ended.stdout.lines().count(), ended.stderr.as_str());
    if redirection.starts_with('2') {
        ensure!(lines == N && said.is_empty(), "{lines} lines, and {said}");
    } else {
        let account = Account::find(said)?;
        account.check()?;
        ensure!(
            lines == 0 && account.passed() == N as u64 && said.lines().count() == 1,
            "{lines} lines, and {said}"
        );
    }
    Ok(Outcome::Passed)
}

/// Lines that fit are whole and counted; the others are lost, and one line says why.
pub(super) fn full_disk(stage: &Stage<'_>) -> Result<Outcome> {
    let world = world_of_drops()?;
    let disk = SmallDisk::new()?;
    let file = disk.path().join("lines");
    let script = format!(r#"exec "$0" "$@" > {}"#, file.display());
    let mut dropwatch = Dropwatch::spawn_command(stage.in_shell(&script, &world, &[]))?;
    dropwatch.wait_ready()?;
    let mut sent = 0;
    // What is not dropped before the end nobody can count.
    dropwatch.signal(Signal::SIGSTOP)?;
    sent += make(&world, 40_000, 2000)?;
    dropwatch.signal(Signal::SIGCONT)?;
    let ended = dropwatch.wait(WITHIN)?;
    ended.expect_status(1)?;
    let account = Account::find(&ended.stderr)?;
    account.check()?;
    let text = fs::read_to_string(&file).context("reading the lines")?;
    let whole = text.matches('\n').count() as u64;
    ensure!(
        account.printed == whole && whole > 0 && account.passed() == sent,
        "{whole} whole lines of {sent}: {account:?}"
    );
    let said = ended.stderr.matches("No space left").count();
    ensure!(said == 1, "it was to say so once: {}", ended.stderr);
    Ok(Outcome::Passed)
}

/// Files are made anew, for their owner alone, and never where a link leads.
pub(super) fn links_and_pipes(stage: &Stage<'_>) -> Result<Outcome> {
    let world = world_of_drops()?;
    let folder = tempfile::tempdir().context("making a folder")?;
    let at = |name: &str| folder.path().join(name);
    let precious = at("precious");
    fs::write(&precious, "precious")?;
    symlink(&precious, at("link.pcapng"))?;
    symlink(at("nowhere"), at("dangling.dwr"))?;
    run_command(&format!("mkfifo {}", at("pipe.pcapng").display()))?;
    fs::create_dir(at("folder.dwr"))?;
    for name in ["link.pcapng", "dangling.dwr", "pipe.pcapng", "folder.dwr"] {
        for more in [&[][..], &["--rotate", "1M"]] {
            let file = at(name).display().to_string();
            let flags = [&["--write", &file], more].concat();
            let ended = ended(stage.command(&world, &flags))?;
            one_line(&ended, &[&file, "no regular file"])?;
        }
    }
    for name in ["link.pcapng", "dangling.dwr", "pipe.pcapng"] {
        let mut command = stage.command(&world, &["--ready-file", &at(name).display().to_string()]);
        let output = command.output().context("starting it")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1) && said.contains("--ready-file"),
            "{}: {said}",
            output.status
        );
    }
    ensure!(!at("nowhere").exists(), "a link was followed");
    for name in ["drops.pcapng", "drops.dwr"] {
        is_made_anew(stage, &world, &at(name))?;
    }
    ensure!(fs::read(&precious)? == b"precious", "a link was followed");
    Ok(Outcome::Passed)
}

/// Somebody else's file of this name, which has a second one, stays as it is.
fn is_made_anew(stage: &Stage<'_>, world: &World, file: &Path) -> Result<()> {
    let second = PathBuf::from(format!("{}-second", file.display()));
    fs::write(file, "precious")?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o666))?;
    fs::hard_link(file, &second)?;
    let script = r#"umask 0; exec "$0" "$@""#;
    let flags = ["--write", &file.display().to_string(), "--rotate", "4K"];
    let mut dropwatch = Dropwatch::spawn_command(stage.in_shell(script, world, &flags[..2]))?;
    dropwatch.wait_ready()?;
    let sent = make(world, 40_000, N)?;
    exact(&end(dropwatch, sent)?.0, sent)?;
    has_mode(file)?;
    ensure!(fs::read(&second)? == b"precious", "it was written into");
    // Those that a rotation makes as well.
    let mut dropwatch = Dropwatch::spawn_command(stage.in_shell(script, world, &flags))?;
    dropwatch.wait_ready()?;
    let sent = make(world, 40_001, 200)?;
    thread::sleep(Duration::from_millis(300));
    exact(&end(dropwatch, sent)?.0, sent)?;
    has_mode(file)?;
    let folder = file.parent().context("the folder")?;
    let prefix = format!(
        "{}.",
        file.file_name().unwrap_or_default().to_string_lossy()
    );
    let mut rotated = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            has_mode(&entry.path())?;
            rotated += 1;
        }
    }
    ensure!(rotated > 1, "{rotated} full files");
    Ok(())
}

fn has_mode(file: &Path) -> Result<()> {
    let mode = fs::metadata(file)?.mode() & 0o777;
    ensure!(mode == 0o600, "{} has mode {mode:o}", file.display());
    Ok(())
}
