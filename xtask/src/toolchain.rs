//! What the eBPF side needs beside the compiler: a linker that speaks the
//! compiler's LLVM, and the source of the core library.

use std::{
    env, fs,
    os::unix::{fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::{
    apt::{self, Suite},
    cache,
    cargo_tool::CargoTool,
    command, say,
};

/// The bpf-linker that fits each LLVM: it reads the compiler's bitcode, so the
/// two must agree. Versions from 0.11 on want a system LLVM.
const LINKERS: &[(u32, &str)] = &[(22, "0.10.3")];

/// A compiler release whose LLVM is in [`LINKERS`].
const KNOWN_GOOD: &str = "1.95.0";

/// What to do where there is no rustup.
const GET_RUSTUP: &str = "install it (https://rustup.rs, or: apt-get install rustup)";

/// Set for the xtask that runs with [`KNOWN_GOOD`] in place of another.
const RERUN: &str = "DROPWATCH_XTASK_RERUN";

/// Where Debian's `rust-src` is looked for beside the machine's own suites; the
/// ones with the shortest package lists come first.
const SUITES: &[&str] = &["trixie-backports", "trixie", "forky", "sid"];

/// A compiler with all that the eBPF side needs.
#[derive(Debug)]
pub struct Toolchain {
    /// The name rustup knows it by, e.g. `stable-x86_64-unknown-linux-gnu`.
    pub name: String,
    /// The target that the compiler itself runs on.
    pub host: String,
    /// The folder with `bpf-linker`.
    pub linker_dir: PathBuf,
    /// The folder with the source of Rust's library.
    pub library_source: PathBuf,
}

impl Toolchain {
    /// The search path with bpf-linker in front.
    pub fn path(&self) -> Result<std::ffi::OsString> {
        command::path_with(&self.linker_dir)
    }
}

/// The active toolchain, or what it lacks. Changes nothing.
fn check() -> Result<Toolchain> {
    let compiler = Compiler::active()?;
    let linker = Linker::fitting(&compiler)?;
    ensure!(
        linker.is_installed(),
        "bpf-linker {} is missing ({}); run: cargo xtask setup",
        linker.tool.version,
        linker.root.display()
    );
    ensure!(
        compiler.has_core_source(),
        "the source of the core library (rust-src) is missing in {}; run: cargo xtask setup",
        compiler.source_dir().display()
    );
    Ok(toolchain(compiler, &linker))
}

/// The active toolchain, with the environment of this process set up for
/// aya-build to build eBPF objects with it. Installs nothing.
///
/// # Safety
/// No other thread may run: the environment is changed.
pub unsafe fn prepare_ebpf_build() -> Result<Toolchain> {
    let toolchain = check()?;
    let path = toolchain.path()?;
    // SAFETY: no other thread runs, as the caller has promised.
    unsafe {
        env::set_var("PATH", path);
        // The eBPF target needs core built from source, which is an unstable
        // feature of cargo. So is leaving the build machine's folders out of the
        // object's debug and type information, by which builds would differ.
        env::set_var("RUSTC_BOOTSTRAP", "1");
        env::set_var("CARGO_UNSTABLE_TRIM_PATHS", "true");
        env::set_var("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all");
    }
    Ok(toolchain)
}

/// The active toolchain, with what it lacked installed.
///
/// If no linker fits its compiler, this process becomes the same command run
/// with a compiler that has one, and does not return.
pub fn ensure() -> Result<Toolchain> {
    let compiler = Compiler::active()?;
    let linker = match Linker::fitting(&compiler) {
        Ok(linker) => linker,
        Err(_) if may_rerun(&compiler) => return rerun(&compiler),
        Err(error) => return Err(error),
    };
    if !linker.is_installed() || !compiler.has_core_source() {
        let _lock = cache::lock()?;
        linker.tool.install()?;
        compiler.install_core_source()?;
    }
    Ok(toolchain(compiler, &linker))
}

fn toolchain(compiler: Compiler, linker: &Linker) -> Toolchain {
    Toolchain {
        library_source: compiler.source_dir(),
        name: compiler.name,
        host: compiler.host,
        linker_dir: linker.dir(),
    }
}

fn may_rerun(compiler: &Compiler) -> bool {
    compiler.release != KNOWN_GOOD && env::var_os(RERUN).is_none()
}

/// Becomes this same command, run with [`KNOWN_GOOD`]; returns only errors.
fn rerun(compiler: &Compiler) -> Result<Toolchain> {
    say::progress(format!(
        "no bpf-linker is known to fit LLVM {} of rustc {}: using rustc {KNOWN_GOOD} instead",
        compiler.llvm, compiler.release
    ));
    ensure!(
        command::find("rustup").is_some(),
        "rustup is missing; {GET_RUSTUP}, then run: rustup toolchain install {KNOWN_GOOD}"
    );
    if !has_known_good() {
        install_known_good()?;
    }
    let mut xtask = Command::new("rustup");
    xtask
        .args(["run", KNOWN_GOOD, "cargo", "xtask"])
        .args(env::args_os().skip(1))
        // These name the programs of the compiler that does not fit.
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env(RERUN, "1");
    // exec() returns only if it fails.
    let error = xtask.exec();
    Err(error).context("starting rustup")
}

/// Whether [`KNOWN_GOOD`] is installed with all that the verbs use.
fn has_known_good() -> bool {
    let has = |program| {
        let mut rustup = Command::new("rustup");
        rustup.args(["which", "--toolchain", KNOWN_GOOD, program]);
        command::output(&mut rustup).is_ok()
    };
    ["rustc", "cargo", "cargo-clippy", "rustfmt"].map(has) == [true; 4]
}

fn install_known_good() -> Result<()> {
    let mut rustup = Command::new("rustup");
    rustup
        .args(["toolchain", "install", KNOWN_GOOD])
        .args(["--profile", "minimal"])
        .args(["--component", "clippy", "--component", "rustfmt"]);
    say::progress(format!("installing rustc {KNOWN_GOOD} by rustup"));
    command::run(rustup.env_remove("RUST_BACKTRACE"))
}

struct Compiler {
    name: String,
    host: String,
    release: String,
    llvm: u32,
    sysroot: PathBuf,
}

impl Compiler {
    fn active() -> Result<Self> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let about = command::output(Command::new(&rustc).arg("-vV"))?;
        let sysroot = command::output(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let sysroot = PathBuf::from(sysroot.trim_end());
        let field = |key| field(&about, key);
        let llvm = field("LLVM version")?;
        let major = llvm.split('.').next().unwrap_or_default();
        Ok(Self {
            name: toolchain_name(&sysroot)?,
            host: field("host")?.to_owned(),
            release: field("release")?.to_owned(),
            llvm: major
                .parse()
                .with_context(|| format!("reading the compiler's LLVM version `{llvm}`"))?,
            sysroot,
        })
    }

    fn source_dir(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }

    fn has_core_source(&self) -> bool {
        self.source_dir().join("library/core/src/lib.rs").exists()
    }

    fn install_core_source(&self) -> Result<()> {
        if self.has_core_source() {
            return Ok(());
        }
        let Err(by_rustup) = self.add_component() else {
            return Ok(());
        };
        let by_debian = match self.link_debian_source() {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        bail!(
            "the source of the core library (rust-src) is missing; run: rustup component add rust-src --toolchain {}\n  by rustup: {by_rustup:#}\n  by Debian: {by_debian:#}",
            self.name
        )
    }

    fn add_component(&self) -> Result<()> {
        say::progress(format!("adding rust-src to {}", self.name));
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add", "rust-src", "--toolchain", &self.name]);
        // A backtrace of rustup's helps nobody here.
        let added = command::output(rustup.env_remove("RUST_BACKTRACE"));
        added.map_err(|error| anyhow!("{}", first_line(&format!("{error:#}"))))?;
        ensure!(
            self.has_core_source(),
            "rustup reports success, but {} is not there",
            self.source_dir().display()
        );
        Ok(())
    }

    /// Debian's package of exactly this compiler's version, unpacked into the
    /// cache and linked where the compiler looks.
    fn link_debian_source(&self) -> Result<()> {
        let unpacked = cache::dir()?.join(format!("rust-src-{}", self.release));
        if !unpacked.join("library/core/src/lib.rs").exists() {
            self.unpack_debian_source(&unpacked)?;
        }
        let link = self.source_dir();
        if link.is_symlink() {
            fs::remove_file(&link).with_context(|| self.link_failed(&unpacked))?;
        }
        let parent = link.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent)
            .and_then(|()| symlink(&unpacked, &link))
            .with_context(|| self.link_failed(&unpacked))
    }

    fn link_failed(&self, unpacked: &Path) -> String {
        let link = self.source_dir();
        format!(
            "linking the source into the compiler's folder; run with sufficient rights: ln -sfn {} {}",
            unpacked.display(),
            link.display()
        )
    }

    fn unpack_debian_source(&self, into: &Path) -> Result<()> {
        let (suite, package) = self.find_debian_source()?;
        let parts = into.with_extension("partial");
        cache::empty_dir(&parts)?;
        suite.unpack(&package, &parts)?;
        // The package holds the whole compiler; only the library is needed.
        let library = parts.join(format!("usr/src/rustc-{}/library", self.release));
        cache::empty_dir(into)?;
        cache::rename(&library, &into.join("library"))?;
        fs::remove_dir_all(&parts).with_context(|| format!("removing {}", parts.display()))
    }

    fn find_debian_source(&self) -> Result<(Suite, apt::Package)> {
        let own = apt::own_suites()?;
        let suites = SUITES.iter().map(|suite| (*suite).to_owned()).chain(own);
        for name in suites {
            // A suite that the mirror lacks is no reason to give up.
            let Ok(suite) = Suite::open(&name) else {
                continue;
            };
            let versions = suite.versions("rust-src")?;
            let exact = |package: &apt::Package| is_release(&package.version, &self.release);
            if let Some(package) = versions.into_iter().find(exact) {
                return Ok((suite, package));
            }
        }
        bail!(
            "no suite has the package rust-src in version {}",
            self.release
        )
    }
}

struct Linker {
    tool: CargoTool,
    root: PathBuf,
}

impl Linker {
    fn fitting(compiler: &Compiler) -> Result<Self> {
        let known = LINKERS.iter().find(|(llvm, _)| *llvm == compiler.llvm);
        let Some((_, version)) = known else {
            bail!(
                "no bpf-linker is known to fit LLVM {} of rustc {}; run: rustup toolchain install {KNOWN_GOOD}, then: cargo +{KNOWN_GOOD} xtask ...",
                compiler.llvm,
                compiler.release
            );
        };
        let tool = CargoTool {
            name: "bpf-linker",
            version,
            flags: &[],
            is_optimised: true,
        };
        let root = tool.root()?;
        Ok(Self { tool, root })
    }

    fn dir(&self) -> PathBuf {
        self.root.join("bin")
    }

    fn is_installed(&self) -> bool {
        self.dir().join("bpf-linker").exists()
    }
}

/// rustup tells a toolchain's name to what it runs, and keeps the toolchain in
/// a folder of that name.
fn toolchain_name(sysroot: &Path) -> Result<String> {
    if let Ok(name) = env::var("RUSTUP_TOOLCHAIN") {
        return Ok(name);
    }
    let in_toolchains = sysroot
        .parent()
        .is_some_and(|dir| dir.ends_with("toolchains"));
    match sysroot.file_name() {
        Some(name) if in_toolchains => Ok(name.to_string_lossy().into_owned()),
        _ => bail!(
            "the compiler in {} is not rustup's, which dropwatch needs; {GET_RUSTUP}, then run: rustup toolchain install {KNOWN_GOOD}",
            sysroot.display()
        ),
    }
}

fn field<'a>(about: &'a str, key: &str) -> Result<&'a str> {
    about
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        .with_context(|| format!("`rustc -vV` has no line `{key}`"))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Whether a Debian version packages exactly this upstream release.
fn is_release(version: &str, release: &str) -> bool {
    version
        .strip_prefix(release)
        .is_some_and(|rest| rest.starts_with(['+', '-', '~']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_matches_its_own_packages_only() {
        assert!(is_release("1.95.0+dfsg1-2~bpo13+1", "1.95.0"));
        assert!(is_release("1.95.0-1", "1.95.0"));
        assert!(!is_release("1.95.01-1", "1.95.0"));
        assert!(!is_release("1.96.1+dfsg1-2", "1.95.0"));
    }

    #[test]
    fn fields_of_the_compiler_are_found_by_their_whole_name() {
        let about = "rustc 1.95.0\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        assert_eq!(field(about, "LLVM version").unwrap(), "22.1.2");
        assert!(field(about, "LLVM").is_err());
    }
}
