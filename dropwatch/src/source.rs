//! Kernel code as file and line, by the debug information of the kernel and of its modules.
//!
//! What lines show, `function+0xoffset[module]`, is looked up by name in the symbol table of the
//! debug file, so that neither the kernel's random base nor its addresses matter. A debug file has
//! to have the build id of what runs: one of another build is refused, never a wrong line.

mod build_id;
mod debug_file;
mod debuginfod;
mod files;
pub mod frame;
mod unpack;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use rustc_hash::FxHashMap;
use rustix::system::uname;

pub use self::build_id::BuildId;
use self::{debug_file::DebugFile, frame::Frame};
use crate::record::Position;

/// Most modules whose debug files are open: they stay mapped.
const MAX_MODULES: usize = 128;

/// Where debug information may come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The kernel's debug file; `None` to look for it where distributions put it.
    pub vmlinux: Option<PathBuf>,
    /// The build id of the kernel; `None` for the one that runs.
    pub build_id: Option<BuildId>,
    /// Whether servers may be asked, those of `DEBUGINFOD_URLS`.
    pub debuginfod: bool,
}

/// Where a frame is in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// There, innermost inlined function first; at least one position.
    At(Vec<Position>),
    /// In one of these places: several functions have this name and contain this offset.
    Either(Vec<Vec<Position>>),
}

/// The kernel whose code it is.
struct Kernel {
    /// Where the host's files are, `/` but in tests.
    root: PathBuf,
    release: String,
    build_id: BuildId,
    /// Whether it is the running one.
    is_running: bool,
}

/// Finds source lines.
pub struct Sources {
    kernel: Kernel,
    debuginfod: bool,
    /// The kernel's own debug file, or why there is none.
    vmlinux: Result<DebugFile, String>,
    /// Debug files of modules, or why there is none.
    modules: FxHashMap<String, Result<DebugFile, String>>,
    /// What paths in debug files begin with.
    prefixes: Vec<String>,
}

impl Sources {
    /// Looks for the kernel's debug file. That there is none is told by [`vmlinux`](Self::vmlinux):
    /// there can be some of modules.
    ///
    /// # Errors
    /// The running kernel's build id can't be read.
    pub fn new(options: &Options) -> Result<Self> {
        Self::below(Path::new("/"), options)
    }

    fn below(root: &Path, options: &Options) -> Result<Self> {
        let running = build_id::of_kernel(root);
        let build_id = match &options.build_id {
            Some(id) => id.clone(),
            None => running
                .as_ref()
                .map_err(|error| anyhow!("{error:#}"))?
                .clone(),
        };
        let kernel = Kernel {
            root: root.to_owned(),
            release: uname().release().to_string_lossy().into_owned(),
            is_running: running.is_ok_and(|running| running == build_id),
            build_id,
        };
        let vmlinux = match &options.vmlinux {
            Some(path) => open_given(path, &kernel.build_id),
            None => {
                let paths = files::of_kernel(&kernel);
                open_first("the kernel", &paths, &kernel.build_id, options.debuginfod)
                    .map_err(|error| anyhow!("{error:#}; {}", files::advice(&kernel)))
            }
        };
        let vmlinux = vmlinux.map_err(|error| format!("{error:#}"));
        let prefixes = vmlinux
            .as_ref()
            .map_or_else(|_| Vec::new(), DebugFile::prefixes);
        Ok(Self {
            kernel,
            debuginfod: options.debuginfod,
            vmlinux,
            modules: FxHashMap::default(),
            prefixes,
        })
    }

    /// The path of the kernel's debug file.
    ///
    /// # Errors
    /// There is none; says what to install.
    pub fn vmlinux(&self) -> Result<&Path> {
        match &self.vmlinux {
            Ok(file) => Ok(file.path()),
            Err(error) => bail!("{error}"),
        }
    }

    /// Where the code is that was called from: an address behind the start of a function is where
    /// a call returns to, so the byte before it is looked up.
    ///
    /// # Errors
    /// Says why it can't be known. The text is the same for all frames with the same cause.
    pub fn locate(&mut self, frame: &Frame<'_>) -> Result<Located> {
        let prefixes = std::mem::take(&mut self.prefixes);
        let found = self
            .debug_file(frame.module)
            .and_then(|file| locate_in(file, frame, &prefixes));
        self.prefixes = prefixes;
        found
    }

    /// Forgets what is known of modules: others may have taken their places. Their files stay mapped,
    /// so those that are still the same are kept.
    pub fn forget_modules(&mut self) {
        let root = &self.kernel.root;
        self.modules.retain(|module, file| match file {
            Ok(file) => build_id::of_module(root, module).is_ok_and(|id| file.is_of(&id)),
            Err(_) => false,
        });
    }

    fn debug_file(&mut self, module: Option<&str>) -> Result<&mut DebugFile> {
        let found = match module {
            None => &mut self.vmlinux,
            Some(module) => {
                if !self.modules.contains_key(module) {
                    if self.modules.len() >= MAX_MODULES {
                        bail!("no more than {MAX_MODULES} modules are looked at");
                    }
                    let found = self.open_module(module);
                    let found = found.map_err(|error| format!("{error:#}"));
                    self.modules.insert(module.to_owned(), found);
                }
                self.modules.get_mut(module).context("just added")?
            }
        };
        found.as_mut().map_err(|error| anyhow!("{error}"))
    }

    fn open_module(&self, module: &str) -> Result<DebugFile> {
        if module == "bpf" {
            bail!("eBPF programs have no source in the kernel's debug files");
        }
        if !self.kernel.is_running {
            bail!("modules of another kernel can't be told from each other");
        }
        let id = build_id::of_module(&self.kernel.root, module)?;
        let paths = files::of_module(&self.kernel, module, &id);
        let what = format!("module {module}");
        open_first(&what, &paths, &id, self.debuginfod)
    }
}

/// Opens the file that `--vmlinux` names.
fn open_given(path: &Path, id: &BuildId) -> Result<DebugFile> {
    let missing = || anyhow!("{}: there is no such file", path.display());
    let file = DebugFile::open(path, id).and_then(|file| file.ok_or_else(missing));
    file.map_err(|error| {
        anyhow!(
            "no debug file of the kernel: {error:#}; give --vmlinux the vmlinux of this build, or \
             leave it out to look in /usr/lib/debug"
        )
    })
}

/// Opens the first of `paths` that is of this build and has debug information.
fn open_first(what: &str, paths: &[PathBuf], id: &BuildId, ask: bool) -> Result<DebugFile> {
    let mut refused = Vec::new();
    for path in paths {
        match DebugFile::open(path, id) {
            Ok(Some(file)) => return Ok(file),
            Ok(None) => {}
            Err(error) => refused.push(format!("{error:#}")),
        }
    }
    if ask {
        let path = debuginfod::fetch(id).with_context(|| format!("no debug file of {what}"))?;
        let file = DebugFile::open(&path, id)?;
        return file.with_context(|| format!("{} has gone", path.display()));
    }
    // The same file has many names.
    refused.truncate(1);
    match refused.pop() {
        Some(reason) => bail!("no debug file of {what}: {reason}"),
        None => bail!("no debug file of {what} (build id {id}) was found"),
    }
}

fn locate_in(file: &mut DebugFile, frame: &Frame<'_>, prefixes: &[String]) -> Result<Located> {
    let addresses = file.addresses(frame);
    if addresses.is_empty() {
        bail!(
            "{} has no {}+{:#x}",
            file.path().display(),
            frame.function.escape_debug(),
            frame.offset
        );
    }
    let mut found: Vec<Vec<Position>> = Vec::new();
    for address in addresses {
        let mut positions = file.positions(address, prefixes)?;
        if let Some(last) = positions.last_mut() {
            // DWARF names no assembler code, and not the gaps between functions of C.
            let name = || frame.function.to_owned();
            last.function.get_or_insert_with(name);
        }
        // Of a function in a header each unit can have its own copy.
        if !positions.is_empty() && !found.contains(&positions) {
            found.push(positions);
        }
    }
    match (found.pop(), found.is_empty()) {
        (None, _) => bail!(
            "{} has no source line for {}",
            file.path().display(),
            frame.function.escape_debug()
        ),
        (Some(only), true) => Ok(Located::At(only)),
        (Some(last), false) => {
            found.push(last);
            Ok(Located::Either(found))
        }
    }
}

#[cfg(test)]
#[path = "source/tests.rs"]
mod tests;
