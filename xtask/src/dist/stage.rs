//! What packages hold, as files of one folder, and the archive of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use xtask::{cache, command};

use super::{PACKAGE, VERSION};
use crate::workspace;

/// Documents that every package holds.
const DOCUMENTS: [&str; 7] = [
    "README.md",
    "CHANGELOG.md",
    "KNOWN_ISSUES.md",
    "SECURITY.md",
    "docs/fields.md",
    "docs/classes.md",
    "docs/schema.json",
];

/// The terms of dropwatch and of what is linked into it.
const LICENCES: [&str; 3] = [
    "LICENSE",
    "LICENSES/GPL-2.0-only.txt",
    "LICENSES/LGPL-2.1-or-later.txt",
];

/// The project's file for systemd.
const UNIT: &str = "packaging/dropwatch.service";

/// Puts everything beside the release binary, into the folder `package` there: the tables of
/// files in dropwatch's Cargo.toml name it, and cargo-deb and cargo-generate-rpm know where it is.
pub(super) fn stage(binary: &Path, time: &str) -> Result<PathBuf> {
    let staged = binary.with_file_name("package");
    cache::empty_dir(&staged)?;
    copy(binary, &staged.join("dropwatch"))?;
    copy(
        &workspace::root().join(UNIT),
        &staged.join("dropwatch.service"),
    )?;
    generate(&staged, time)?;
    copy_all(&DOCUMENTS, &staged.join("doc"))?;
    copy_all(&LICENCES, &staged.join("licenses"))?;
    let notices = "THIRD-PARTY-LICENSES.txt";
    fs::rename(staged.join(notices), staged.join("licenses").join(notices))
        .with_context(|| format!("moving {notices}"))?;
    debian_documents(&staged, time)?;
    compress(&staged.join("man"))?;
    Ok(staged)
}

/// Manual pages, completions, and the notices of others.
fn generate(staged: &Path, time: &str) -> Result<()> {
    let day = date(time, "+%F")?;
    let mut cargo = workspace::cargo()?;
    cargo
        .args(["run", "--quiet", "--package", "dropwatch-packaging", "--"])
        .arg(staged)
        .arg(day.trim_end());
    command::run(&mut cargo)
}

/// The time in seconds since 1970 as `date` formats it.
fn date(time: &str, format: &str) -> Result<String> {
    let mut date = Command::new("date");
    date.args(["--utc", format, "--date", &format!("@{time}")]);
    command::output(date.env("LC_ALL", "C"))
}

/// What only Debian's packages hold, by the names that its policy gives.
fn debian_documents(staged: &Path, time: &str) -> Result<()> {
    let doc = staged.join("doc");
    let licence = fs::read_to_string(staged.join("licenses/LICENSE")).context("reading LICENSE")?;
    let copyright = format!(
        "{licence}\nThe GNU General Public License, version 2, is in \
         /usr/share/common-licenses/GPL-2, the\nGNU Lesser General Public License, version 2.1, in \
         /usr/share/common-licenses/LGPL-2.1.\nThe terms of the libraries that are linked in are \
         in THIRD-PARTY-LICENSES.txt.gz beside this\nfile.\n"
    );
    write(&doc.join("copyright"), copyright)?;
    let date = date(time, "--rfc-email")?;
    let changelog = format!(
        "{PACKAGE} ({VERSION}-1) unstable; urgency=medium\n\n  * Release {VERSION}; changelog.gz \
         tells what has changed.\n\n -- {MAINTAINER}  {date}"
    );
    // Compressed, which keeps what is there out of the way of `*.md`.
    let compressed = doc.join("gz");
    cache::create_dir(&compressed)?;
    write(&compressed.join("changelog.Debian"), changelog)?;
    copy(&doc.join("CHANGELOG.md"), &compressed.join("changelog"))?;
    let notices = "THIRD-PARTY-LICENSES.txt";
    copy(
        &staged.join("licenses").join(notices),
        &compressed.join(notices),
    )?;
    compress(&compressed)
}

/// As in `package.metadata.deb`.
const MAINTAINER: &str = "The dropwatch developers <dropwatch@dropwatch.invalid>";

/// Compresses all files of a folder, without their names and times.
fn compress(folder: &Path) -> Result<()> {
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "--no-name", "--recursive"]).arg(folder);
    command::run(&mut gzip)
}

/// The archive for other distributions: all of it in one folder, times and owners made equal.
pub(super) fn archive(staged: &Path, folder: &Path, time: &str) -> Result<PathBuf> {
    let name = format!("dropwatch-{VERSION}");
    let archive = folder.join(format!("{name}-x86_64-linux.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--format=ustar"])
        .args(["--owner=0", "--group=0", "--numeric-owner"])
        .args(["--mode=u=rwX,go=rX", "--exclude=./doc/gz"])
        .args(["--exclude=./doc/copyright"])
        .arg(format!("--mtime=@{time}"))
        .arg(format!("--transform=s,^\\.,{name},"))
        .args(["--use-compress-program=gzip -9 --no-name", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(staged)
        .arg(".");
    command::run(&mut tar)?;
    Ok(archive)
}

fn copy_all(files: &[&str], into: &Path) -> Result<()> {
    cache::create_dir(into)?;
    for file in files {
        let from = workspace::root().join(file);
        let name = from.file_name().context("a file's name")?;
        copy(&from, &into.join(name))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(|_| ())
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

/// Writes a file.
pub(super) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
