//! The packages are made, installed into fresh roots, used, and removed again.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use xtask::{apt, cache, command, say, toolchain::Toolchain};

use super::{PACKAGE, Release, release};
use crate::{counts::Counts, host_tools, workspace};

/// The suite whose fresh root is installed into.
const SUITE: &str = "stable";

/// A check and its name.
type Check = (&'static str, fn(&Scene) -> Result<()>);

const CHECKS: &[Check] = &[
    ("the release names no folder of this machine", neutral),
    ("packages made twice are equal", repeatable),
    ("manual pages have no errors", manual_pages),
    ("shells take the completions", completions),
];

/// Those that need root.
const INSTALLATIONS: &[Check] = &[
    ("the deb is installed, runs, and leaves nothing", deb),
    ("the rpm is installed, and leaves nothing", rpm),
];

/// What the checks look at.
struct Scene<'a> {
    toolchain: &'a Toolchain,
    release: Release,
    /// The archive, unpacked.
    unpacked: PathBuf,
    /// For roots to install into.
    scratch: PathBuf,
}

/// Makes a release and checks it.
pub(crate) fn test(toolchain: &Toolchain) -> Result<Counts> {
    host_tools::ensure_packages()?;
    let release = release(toolchain)?;
    let scratch = workspace::target_dir()?.join("package-test");
    cache::empty_dir(&scratch)?;
    let scene = Scene {
        unpacked: unpack(&release.archive, &scratch)?,
        toolchain,
        release,
        scratch,
    };
    let mut counts = Counts::default();
    for check in CHECKS {
        counts += outcome(check, &scene);
    }
    for check in INSTALLATIONS {
        counts += if command::is_root() {
            outcome(check, &scene)
        } else {
            say::progress(format!("{}: skipped, needs root", check.0));
            Counts::SKIPPED
        };
    }
    fs::remove_dir_all(&scene.scratch).context("removing the folder of the test")?;
    Ok(counts)
}

fn outcome((name, check): &Check, scene: &Scene) -> Counts {
    match check(scene) {
        Ok(()) => Counts::PASSED,
        Err(error) => {
            say::progress(format!("{name}: {error:#}"));
            Counts::FAILED
        }
    }
}

fn unpack(archive: &Path, into: &Path) -> Result<PathBuf> {
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(archive);
    command::run(tar.arg("--directory").arg(into))?;
    Ok(into.join(format!("dropwatch-{}", super::VERSION)))
}

/// No folder of this machine is in the binary or beside it.
fn neutral(scene: &Scene) -> Result<()> {
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
    for folder in [workspace::root().display().to_string(), home + "/."] {
        let mut grep = Command::new("grep");
        grep.args(["--recursive", "--fixed-strings", "--files-with-matches"]);
        grep.arg(&folder).arg(&scene.unpacked);
        // grep's exit status is 1 if there is none.
        let found = grep.output().context("starting grep")?;
        let files = String::from_utf8_lossy(&found.stdout);
        ensure!(found.status.code() == Some(1), "{folder} is in: {files}");
    }
    Ok(())
}

/// The whole release once more. The binary is not compiled again: `neutral` and the recipe of a
/// release in CONTRIBUTING.md are for that.
fn repeatable(scene: &Scene) -> Result<()> {
    let sums = scene.release.folder.join("SHA256SUMS");
    let read = || fs::read_to_string(&sums).context("reading SHA256SUMS");
    let first = read()?;
    release(scene.toolchain)?;
    let second = read()?;
    ensure!(first == second, "first:\n{first}then:\n{second}");
    let kinds = [".deb", ".rpm", ".tar.gz", ".cdx.json"];
    let has = |kind: &&str| first.lines().any(|line| line.ends_with(kind));
    ensure!(kinds.iter().all(has), "{first}is not a whole release");
    Ok(())
}

fn manual_pages(scene: &Scene) -> Result<()> {
    let pages = files(&scene.unpacked.join("man"))?;
    ensure!(pages.len() > 3, "only {} pages", pages.len());
    for page in pages {
        // One at a time: of several it uncompresses the first one only.
        let mut mandoc = Command::new("mandoc");
        mandoc.args(["-T", "lint", "-W", "error"]).arg(&page);
        let found = mandoc.output().context("starting mandoc")?;
        let errors = String::from_utf8_lossy(&found.stdout);
        ensure!(found.status.success(), "{}: {errors}", page.display());
    }
    Ok(())
}

fn completions(scene: &Scene) -> Result<()> {
    let folder = scene.unpacked.join("completions");
    let bash = r#"source "$0/dropwatch.bash" && complete -p dropwatch"#;
    let zsh = r#"fpath=("$0" $fpath); autoload -Uz compinit; compinit -D -u; [[ $_comps[dropwatch] == _dropwatch ]]; zsh -n "$0/_dropwatch""#;
    let fish = r#"source "$argv[1]/dropwatch.fish"; complete -C "dropwatch summ" | string match -q "summary*""#;
    for (shell, script) in [("bash", bash), ("zsh", zsh), ("fish", fish)] {
        let mut shell = Command::new(shell);
        command::output(shell.args(["-c", script]).arg(&folder))?;
    }
    Ok(())
}

fn deb(scene: &Scene) -> Result<()> {
    let root = fresh_root(scene, "deb")?;
    let before = tree(&root)?;
    let deb = root.join("tmp/dropwatch.deb");
    fs::copy(&scene.release.deb, &deb).context("copying the deb")?;
    command::output(in_root(&root).args(["dpkg", "--install", "/tmp/dropwatch.deb"]))?;
    let installed = tree(&root)?;
    ensure!(
        installed.contains("/usr/lib/systemd/system/dropwatch.service")
            && !installed.contains(".wants/dropwatch.service"),
        "the unit has to be there, and not enabled"
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dist/package_test.sh");
    let mut run = Command::new("unshare");
    run.args(["--mount", "--net", "--propagation", "private", "sh"]);
    command::output(run.arg(script).arg(&root))?;
    command::output(in_root(&root).args(["dpkg", "--purge", PACKAGE]))?;
    fs::remove_file(deb).context("removing the deb")?;
    same(&before, &tree(&root)?)
}

fn rpm(scene: &Scene) -> Result<()> {
    let package = &scene.release.rpm;
    command::output(
        rpm_command()
            .args(["--checksig", "--nosignature"])
            .arg(package),
    )?;
    let listed = command::output(
        rpm_command()
            .args(["--query", "--list", "--package"])
            .arg(package),
    )?;
    ensure!(
        listed.contains("/usr/lib/systemd/system/dropwatch.service\n"),
        "no unit in: {listed}"
    );
    let root = fresh_root(scene, "rpm")?;
    let database = "/var/lib/rpm";
    let before = tree(&root)?;
    let in_root = || {
        let mut rpm = rpm_command();
        rpm.arg("--root").arg(&root).args(["--dbpath", database]);
        rpm
    };
    // The shell that the scripts need is there, but dpkg's.
    command::output(in_root().args(["--install", "--nodeps"]).arg(package))?;
    let version = command::output(self::in_root(&root).args(["dropwatch", "--version"]))?;
    ensure!(version.contains(super::VERSION), "it says {version}");
    command::output(in_root().args(["--erase", PACKAGE]))?;
    same(&before, &tree(&root)?)
}

fn rpm_command() -> Command {
    Command::new("rpm")
}

/// A fresh root of Debian to install into.
fn fresh_root(scene: &Scene, name: &str) -> Result<PathBuf> {
    let copy = scene.scratch.join(name);
    let mut cp = Command::new("cp");
    cp.args(["--archive", "--reflink=auto"]);
    command::run(cp.arg(minimal_debian()?).arg(&copy))?;
    Ok(copy)
}

/// A minimal Debian in the cache, brought once.
fn minimal_debian() -> Result<PathBuf> {
    let root = cache::dir()?.join(format!("debian-{SUITE}"));
    let _lock = cache::lock()?;
    if root.is_dir() {
        return Ok(root);
    }
    let site = apt::mirror_of(SUITE)?;
    say::progress(format!("installing a minimal Debian {SUITE} (a minute)"));
    let partial = root.with_extension("partial");
    cache::empty_dir(&partial)?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", SUITE]);
    command::output(debootstrap.arg(&partial).arg(site))?;
    cache::rename(&partial, &root)?;
    Ok(root)
}

fn in_root(root: &Path) -> Command {
    let mut chroot = Command::new("chroot");
    chroot
        .arg(root)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DEBIAN_FRONTEND", "noninteractive");
    chroot
}

/// All files of a root, but those that package managers keep for themselves.
fn tree(root: &Path) -> Result<String> {
    let mut find = Command::new("find");
    find.arg(root).arg("-xdev");
    for own in ["var/lib/dpkg", "var/lib/rpm", "var/log", "var/cache", "tmp"] {
        find.args(["-path"])
            .arg(root.join(own))
            .args(["-prune", "-o"]);
    }
    let paths = command::output(find.args(["-printf", "/%P %y %m\n"]))?;
    let mut paths: Vec<_> = paths.lines().collect();
    paths.sort_unstable();
    Ok(paths.join("\n"))
}

/// Folders that packages share may stay.
fn same(before: &str, after: &str) -> Result<()> {
    let differs = |from: &str, to: &str| {
        let of: HashSet<_> = to.lines().collect();
        let is_shared = |line: &str| line.contains(" d ") && !line.contains(PACKAGE);
        let lines = from.lines();
        let lines = lines.filter(|line| !of.contains(line) && !is_shared(line));
        lines.collect::<Vec<_>>().join(", ")
    };
    let (gone, left) = (differs(before, after), differs(after, before));
    ensure!(
        gone.is_empty() && left.is_empty(),
        "left behind: {left}; gone: {gone}"
    );
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("reading {}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        files.push(entry.with_context(reading)?.path());
    }
    files.sort();
    Ok(files)
}
