//! `dist`: what is released, in `target/dist`. Two builds of one commit are equal byte for byte:
//! every time in it is the commit's, every folder is called by a neutral name.

mod sbom;
mod stage;
mod test;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use xtask::{
    cache,
    cargo_tool::CargoTool,
    command, say,
    toolchain::{self, Toolchain},
};

pub(crate) use test::test;

use crate::{build, workspace};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the packages are called. Not `dropwatch`: Debian and Fedora have another program of that
/// name, whose version their upgrades would put in this one's place.
const PACKAGE: &str = "dropwatch-ebpf";

const CARGO_DEB: CargoTool = CargoTool {
    name: "cargo-deb",
    version: "3.8.0",
    // Its own compressor would be another minute to build; every Debian has the program xz.
    flags: &["--no-default-features"],
    is_optimised: false,
};
const CARGO_GENERATE_RPM: CargoTool = CargoTool {
    name: "cargo-generate-rpm",
    version: "0.21.1",
    flags: &[],
    is_optimised: false,
};
const CARGO_CYCLONEDX: CargoTool = CargoTool {
    name: "cargo-cyclonedx",
    version: "0.5.9",
    flags: &[],
    is_optimised: false,
};

/// What `dist` has made.
struct Release {
    folder: PathBuf,
    deb: PathBuf,
    rpm: PathBuf,
    archive: PathBuf,
}

/// Builds everything and prints where it is.
pub(crate) fn dist() -> Result<()> {
    let release = release(&toolchain::ensure()?)?;
    say::result(release.folder.display().to_string());
    Ok(())
}

fn release(toolchain: &Toolchain) -> Result<Release> {
    ensure_tools()?;
    let binary = build::release("dropwatch", "dropwatch", toolchain)?;
    let time = commit_time()?;
    let folder = workspace::target_dir()?.join("dist");
    cache::empty_dir(&folder)?;
    let staged = stage::stage(&binary, &time)?;
    let archive = stage::archive(&staged, &folder, &time)?;
    let deb = deb(toolchain, &folder, &time)?;
    let rpm = rpm(toolchain, &folder, &time)?;
    sbom::write(toolchain, &folder, &time)?;
    checksums(&folder)?;
    Ok(Release {
        folder,
        deb,
        rpm,
        archive,
    })
}

fn ensure_tools() -> Result<()> {
    for tool in [CARGO_DEB, CARGO_GENERATE_RPM, CARGO_CYCLONEDX] {
        tool.ensure()?;
    }
    Ok(())
}

/// A tool's program, to be run as cargo would run it.
fn tool(tool: &CargoTool, verb: &str, time: &str) -> Result<Command> {
    let mut command = Command::new(tool.ensure()?);
    command
        .arg(verb)
        .env("SOURCE_DATE_EPOCH", time)
        .env("CARGO_TARGET_DIR", workspace::target_dir()?)
        .current_dir(workspace::root());
    Ok(command)
}

/// The time of everything that is made: `SOURCE_DATE_EPOCH` or else that of the commit, in seconds
/// since 1970.
fn commit_time() -> Result<String> {
    if let Ok(time) = env::var("SOURCE_DATE_EPOCH") {
        return Ok(time);
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]);
    let time = command::output(git.current_dir(workspace::root()))
        .context("asking for the commit's time; outside of a clone set SOURCE_DATE_EPOCH")?;
    Ok(time.trim_end().to_owned())
}

/// The Debian package of what was staged, by the table `package.metadata.deb` in dropwatch's
/// Cargo.toml.
fn deb(toolchain: &Toolchain, folder: &Path, time: &str) -> Result<PathBuf> {
    let deb = folder.join(format!("{PACKAGE}_{VERSION}-1_amd64.deb"));
    let mut cargo_deb = tool(&CARGO_DEB, "deb", time)?;
    cargo_deb
        .args(["--quiet", "--no-build", "--no-strip", "--locked"])
        .args(["--package", "dropwatch", "--target", &toolchain.host])
        .arg("--output")
        .arg(&deb);
    command::run(&mut cargo_deb)?;
    Ok(deb)
}

/// The RPM package likewise, by `package.metadata.generate-rpm`.
fn rpm(toolchain: &Toolchain, folder: &Path, time: &str) -> Result<PathBuf> {
    let rpm = folder.join(format!("{PACKAGE}-{VERSION}-1.x86_64.rpm"));
    let mut generate = tool(&CARGO_GENERATE_RPM, "generate-rpm", time)?;
    generate
        .args(["--package", "dropwatch", "--target", &toolchain.host])
        .arg("--target-dir")
        .arg(workspace::target_dir()?)
        // Else the compressor splits its work by the number of processors.
        .args(["--payload-compress", "gzip", "--output"])
        .arg(&rpm);
    command::run(&mut generate)?;
    Ok(rpm)
}

/// `SHA256SUMS`, as `sha256sum --check` reads it.
fn checksums(folder: &Path) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        names.push(entry?.file_name());
    }
    names.sort();
    let sums = command::output(Command::new("sha256sum").args(names).current_dir(folder))?;
    stage::write(&folder.join("SHA256SUMS"), sums)
}
