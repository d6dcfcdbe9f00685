//! Programs that cargo builds from the registry, each version into a folder of its own in the
//! cache.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{cache, command, say};

/// A program of the registry, and how it is built.
#[derive(Clone, Copy, Debug)]
pub struct CargoTool {
    /// Of the crate and of its program.
    pub name: &'static str,
    /// The one version that is used.
    pub version: &'static str,
    /// Further flags of `cargo install`.
    pub flags: &'static [&'static str],
    /// Whether it runs long enough to be worth an optimised build.
    pub is_optimised: bool,
}

/// What makes a build quick and its result slow.
const QUICK: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
];

impl CargoTool {
    /// The folder that it is installed into.
    pub fn root(&self) -> Result<PathBuf> {
        Ok(cache::dir()?.join(format!("{}-{}", self.name, self.version)))
    }

    /// The program, if it is there.
    pub fn find(&self) -> Result<Option<PathBuf>> {
        let program = self.root()?.join("bin").join(self.name);
        Ok(program.is_file().then_some(program))
    }

    /// The program, built if it is not there.
    pub fn ensure(&self) -> Result<PathBuf> {
        if self.find()?.is_none() {
            let _lock = cache::lock()?;
            self.install()?;
        }
        let program = self.find()?;
        program.with_context(|| format!("{} is missing", self.name))
    }

    /// Builds it, if it is not there. Call it with the cache locked.
    pub fn install(&self) -> Result<()> {
        if self.find()?.is_some() {
            return Ok(());
        }
        let Self { name, version, .. } = self;
        say::progress(format!("building {name} {version} (about a minute)"));
        let root = self.root()?;
        cache::create_dir(&root)?;
        command::run(&mut self.cargo_install(&root)).with_context(|| {
            format!(
                "{name} {version} is missing; run: cargo install {name} --version {version} --locked --root {}",
                root.display()
            )
        })
    }

    fn cargo_install(&self, root: &Path) -> Command {
        let mut install = Command::new("cargo");
        install
            .args(["install", self.name, "--locked", "--quiet"])
            .args(self.flags)
            .args(["--version", self.version, "--root"])
            .arg(root)
            // Flags meant for this project are not meant for its tools.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .current_dir(root);
        if !self.is_optimised {
            install.envs(QUICK);
        }
        install
    }
}
