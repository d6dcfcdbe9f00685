//! The notices of what the static binary is built of: crates, Rust's own library, the C library.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// The crates whose dependencies are in the binary: the program, and the eBPF object in it.
const ROOTS: [&str; 2] = ["dropwatch", "dropwatch-ebpf"];

/// How the files begin in which crates keep their terms.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

const INTRODUCTION: &str = "\
dropwatch is a static program. Beside its own code it holds the libraries below, each under the
terms that stand with it. The GNU C library (LGPL-2.1-or-later) is linked in as the build machine's
distribution has it: dropwatch's source and `cargo xtask build` link it with any other version.
";

/// All notices as one text: what is in the binary, then each text once with those that it is of.
pub(crate) fn collect() -> Result<String> {
    let mut crates = MetadataCommand::new();
    let target = target()?;
    crates.other_options(["--locked", "--filter-platform", &target].map(String::from));
    let metadata = crates.exec().context("asking cargo for the dependencies")?;
    let mut text = INTRODUCTION.to_owned();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in shipped(&metadata)? {
        let name = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref();
        let licence = licence.with_context(|| format!("{name} names no licence"))?;
        text.push_str(&format!("\n{name}: {licence}"));
        let folder = package.manifest_path.parent().context("a crate's folder")?;
        let found = terms(folder.as_std_path())?;
        if found.is_empty() {
            text.push_str(&by_authors(package));
        }
        for terms in found {
            texts.entry(terms).or_default().insert(name.clone());
        }
    }
    text.push_str("\nRust's library: MIT OR Apache-2.0, with parts under other terms\n");
    for (terms, names) in system_terms()? {
        texts.entry(terms).or_default().insert(names);
    }
    for (terms, names) in texts {
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        text.push_str(&format!("\n{}\n{names}\n\n{terms}\n", "-".repeat(80)));
    }
    Ok(text)
}

/// What is said of a crate that holds no text of its terms.
fn by_authors(package: &Package) -> String {
    match package.authors.as_slice() {
        [] => " (no notice in the crate)".to_owned(),
        authors => format!(" (no notice in the crate; by {})", authors.join(", ")),
    }
}

/// The crates of others that are linked in, by name.
fn shipped(metadata: &Metadata) -> Result<Vec<&Package>> {
    let resolve = metadata
        .resolve
        .as_ref()
        .context("no resolved dependencies")?;
    let nodes: HashMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let is_root = |package: &&Package| ROOTS.contains(&package.name.as_str());
    let mut todo: Vec<&PackageId> = metadata
        .packages
        .iter()
        .filter(is_root)
        .map(|package| &package.id)
        .collect();
    ensure!(todo.len() == ROOTS.len(), "not all of {ROOTS:?} are here");
    let mut seen = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if seen.insert(id) {
            let node = nodes
                .get(id)
                .with_context(|| format!("{id} is not resolved"))?;
            let linked = node.deps.iter().filter(|dependency| {
                let mut kinds = dependency.dep_kinds.iter();
                kinds.any(|it| it.kind == DependencyKind::Normal)
            });
            todo.extend(linked.map(|dependency| &dependency.pkg));
        }
    }
    let of_others = |package: &&Package| seen.contains(&package.id) && package.source.is_some();
    let mut packages: Vec<_> = metadata.packages.iter().filter(of_others).collect();
    packages.sort_by_key(|package| (&package.name, &package.version));
    // Macros run in the compiler; nothing of them is in the binary.
    packages.retain(|package| !package.targets.iter().any(|target| target.is_proc_macro()));
    Ok(packages)
}

/// The texts in the files of a crate's folder that hold its terms, in the order of their names.
fn terms(folder: &Path) -> Result<Vec<String>> {
    let read = || format!("reading {}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(read)? {
        let entry = entry.with_context(read)?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if NAMES.iter().any(|prefix| name.starts_with(prefix)) && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    files.iter().map(|file| read_text(file)).collect()
}

fn read_text(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
    Ok(text.trim_matches('\n').trim_end().to_owned())
}

/// The terms of Rust's library and of the C library, as the build machine has them.
fn system_terms() -> Result<Vec<(String, String)>> {
    let sysroot = output(rustc().args(["--print", "sysroot"]))?;
    let rust = PathBuf::from(sysroot.trim_end()).join("share/doc/rust/licenses");
    let mut found = Vec::new();
    for name in ["Apache-2.0.txt", "MIT.txt"] {
        let file = rust.join(name);
        if file.is_file() {
            found.push((read_text(&file)?, "Rust's library".to_owned()));
        }
    }
    let libc = Path::new("/usr/share/doc/libc6-dev/copyright");
    if libc.is_file() {
        found.push((read_text(libc)?, "GNU C library".to_owned()));
    }
    Ok(found)
}

/// The target that the compiler itself runs on, which is what dropwatch is built for.
fn target() -> Result<String> {
    let about = output(rustc().arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().context("starting rustc")?;
    ensure!(output.status.success(), "rustc failed ({})", output.status);
    String::from_utf8(output.stdout).context("reading the output of rustc")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each crate that the workspace asks for by name has a reason in ARCHITECTURE.md.
    #[test]
    fn dependencies_are_justified() {
        let metadata = MetadataCommand::new().no_deps().exec().unwrap();
        let text = fs::read_to_string(metadata.workspace_root.join("ARCHITECTURE.md")).unwrap();
        let (_, table) = text.split_once("## Dependencies").unwrap();
        let cells = table.lines().filter_map(|line| line.split('|').nth(1));
        let cells: String = cells.collect::<Vec<_>>().join(" ");
        let mut named: BTreeSet<&str> = cells
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
            .collect();
        // `netlink-packet-core, -route` stands for two.
        named.extend(["netlink-packet-route", "netlink-packet-sock-diag"]);
        let dependencies = metadata.packages.iter().flat_map(|it| &it.dependencies);
        let from_registry = dependencies.filter(|it| it.path.is_none());
        let missing: BTreeSet<&str> = from_registry
            .map(|it| it.name.as_str())
            .filter(|name| !named.contains(name))
            .collect();
        assert_eq!(missing, BTreeSet::new());
    }

    #[test]
    fn what_is_linked_is_named_and_what_only_builds_is_not() {
        let text = collect().unwrap();
        let has = |name: &str| text.lines().any(|line| line.starts_with(name));
        assert!(has("aya 0"), "of the program");
        assert!(has("aya-ebpf 0"), "of the eBPF object");
        assert!(!has("aya-build "), "a build dependency");
        assert!(!has("proptest "), "a dependency of tests");
        assert!(!has("dropwatch-common "), "not of others");
        assert!(text.contains("Permission is hereby granted"));
    }
}
