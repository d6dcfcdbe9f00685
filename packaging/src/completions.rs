//! Completions for shells.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Command;
use clap_complete::{Shell, generate_to};

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes a file for each shell into `folder`: `dropwatch.bash`, `_dropwatch`, `dropwatch.fish`.
pub(crate) fn write(mut command: Command, folder: &Path) -> Result<()> {
    for shell in SHELLS {
        generate_to(shell, &mut command, "dropwatch", folder)
            .with_context(|| format!("writing the completions for {shell}"))?;
    }
    Ok(())
}
