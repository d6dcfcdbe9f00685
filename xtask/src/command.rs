//! Running other programs, with errors that name them.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

/// Runs `command` to its end, its standard output sent to standard error so
/// that ours carries results only.
pub fn run(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status = command
        .stdout(Stdio::from(io::stderr()))
        .status()
        .with_context(|| format!("starting {name}"))?;
    ensure!(status.success(), "{name} failed ({status})");
    Ok(())
}

/// Runs `command` and returns what it wrote to standard output; a failure
/// carries what it wrote to standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let name = name(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}): {}", output.status, reason.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("reading the output of {name}"))
}

/// Where `program` is: on PATH, or where Debian keeps tools for the
/// administrator, which a user's PATH may leave out.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// The search path with `dir` in front.
pub fn path_with(dir: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(dir.to_path_buf()).chain(env::split_paths(&path));
    env::join_paths(dirs).with_context(|| format!("adding {} to PATH", dir.display()))
}

/// Whether this process is root.
pub fn is_root() -> bool {
    // The owner of /proc/self is the effective user; std has no geteuid().
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// A command that runs `program` with `args` as root: through sudo, unless this is root.
pub fn as_root(program: &Path, args: &[impl AsRef<OsStr>]) -> Result<Command> {
    let mut command = Command::new(program);
    command.args(args);
    if is_root() {
        return Ok(command);
    }
    let mut sudo = Command::new(sudo(&words(&command))?);
    sudo.arg(program).args(args);
    Ok(sudo)
}

/// Where sudo is, or that it is missing and what to run as root instead.
pub fn sudo(instead: &str) -> Result<PathBuf> {
    find("sudo").with_context(|| format!("sudo is missing; run as root: {instead}"))
}

/// The program and its arguments, as one would type them.
fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

fn name(command: &Command) -> String {
    format!("`{}`", words(command))
}
