//! Debug files from the servers that `DEBUGINFOD_URLS` names, by elfutils' own program: it speaks
//! TLS, knows proxies, keeps what it has fetched, and is what else on the host asks them.

use std::{
    env,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::build_id::BuildId;

const PROGRAM: &str = "debuginfod-find";

/// Where the debug file of this build is now; fetching a kernel's takes minutes.
///
/// # Errors
/// There is no such program, no server is named, or none of them has the file.
pub(super) fn fetch(id: &BuildId) -> Result<PathBuf> {
    ensure!(
        env::var_os("DEBUGINFOD_URLS").is_some_and(|urls| !urls.is_empty()),
        "--debuginfod asks the servers of DEBUGINFOD_URLS, which is not set"
    );
    log::info!("{PROGRAM} debuginfo {id}");
    ask(Path::new(PROGRAM), id)
}

/// What `program` has to say.
pub(super) fn ask(program: &Path, id: &BuildId) -> Result<PathBuf> {
    let output = Command::new(program)
        .args(["debuginfo", &id.to_string()])
        .output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "--debuginfod needs the program {PROGRAM}, of the package debuginfod or \
             elfutils-debuginfod-client"
        ),
        output => output.with_context(|| format!("running {PROGRAM}"))?,
    };
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let last = told.lines().last().unwrap_or_default().escape_debug();
        bail!("{PROGRAM} found nothing for build id {id}: {last}");
    }
    let path = String::from_utf8(output.stdout).context("the path that it printed")?;
    Ok(PathBuf::from(path.trim_end_matches('\n')))
}
