//! Debian packages, through the mirrors that the machine's own apt
//! configuration names.
//!
//! Packages of another suite are unpacked into the cache and never installed:
//! each suite gets a sources list, package lists and an apt cache of its own.

use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{cache, command, say};

/// Debian's keys, by the names that its releases have given the file.
const KEYRINGS: &[&str] = &[
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// One suite of the distribution, with its package lists up to date.
pub struct Suite {
    name: String,
    dir: PathBuf,
}

/// A package in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// As `rust-src`.
    pub name: String,
    /// As `1.95.0+dfsg1-2`.
    pub version: String,
}

impl Suite {
    /// Fetches the package lists of `name`, e.g. `trixie-backports`.
    pub fn open(name: &str) -> Result<Self> {
        Self::open_in(name, name, "")
    }

    /// As [`Suite::open`], for machines of another architecture, e.g. `arm64`.
    pub fn open_foreign(name: &str, architecture: &str) -> Result<Self> {
        let settings = format!(
            "APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n"
        );
        Self::open_in(name, &format!("{name}-{architecture}"), &settings)
    }

    fn open_in(name: &str, dir: &str, settings: &str) -> Result<Self> {
        let site = mirror_of(name)?;
        let suite = Self {
            name: name.to_owned(),
            dir: cache::dir()?.join("apt").join(dir),
        };
        suite.configure(&site, settings)?;
        say::progress(format!("fetching the package lists of {name}"));
        command::output(suite.apt("apt-get").args(["--quiet", "update"]))
            .with_context(|| format!("fetching the package lists of {name} from {site}"))?;
        Ok(suite)
    }

    /// The newest packages that belong together: one for each prefix, with names
    /// that are the same from there on and end as given, and with one version.
    pub fn newest(&self, prefixes: &[&str], suffix: &str) -> Result<Vec<Package>> {
        let mut found = Vec::new();
        for prefix in prefixes {
            found.push((*prefix, self.packages(prefix, suffix)?));
        }
        newest_set(&found).with_context(|| {
            format!(
                "no package {}*{suffix} in suite {}",
                prefixes.join("* with "),
                self.name
            )
        })
    }

    /// All packages whose name starts and ends as given, with numbers only in between: what else a
    /// kernel's package has there is another flavour.
    fn packages(&self, prefix: &str, suffix: &str) -> Result<Vec<Package>> {
        let names = command::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        let names = names.lines().filter(|name| {
            let middle = name
                .strip_prefix(prefix)
                .and_then(|name| name.strip_suffix(suffix));
            middle.is_some_and(is_version)
        });
        let mut packages = Vec::new();
        for name in names {
            packages.extend(self.versions(name)?);
        }
        Ok(packages)
    }

    /// The package `name` in every version that the suite has.
    pub fn versions(&self, name: &str) -> Result<Vec<Package>> {
        let table = command::output(self.apt("apt-cache").args(["madison", name]))?;
        Ok(parse_madison(&table))
    }

    /// Downloads `package` and unpacks it into `into`, which may hold others.
    pub fn unpack(&self, package: &Package, into: &Path) -> Result<()> {
        let Package { name, version } = package;
        say::progress(format!("downloading {name} {version} from {}", self.name));
        let debs = self.dir.join("debs");
        cache::empty_dir(&debs)?;
        let wanted = format!("{name}={version}");
        let mut download = self.apt("apt-get");
        download.args(["--quiet", "download", &wanted]);
        command::output(download.current_dir(&debs))?;
        unpack_all(&debs, into)
    }

    /// Downloads `package` with all that it depends on, as if this machine had
    /// nothing, and unpacks it into `into`: a tree that fits no matter how old the
    /// libraries of this machine are.
    pub fn unpack_with_dependencies(&self, package: &Package, into: &Path) -> Result<()> {
        let Package { name, version } = package;
        self.unpack_all_with_dependencies(&[&format!("{name}={version}")], into)
    }

    /// As [`Suite::unpack_with_dependencies`], for several packages: the newest of each, or as
    /// `NAME=VERSION`.
    pub fn unpack_all_with_dependencies(&self, packages: &[&str], into: &Path) -> Result<()> {
        say::progress(format!(
            "downloading {} with all dependencies from {}",
            packages.join(" "),
            self.name
        ));
        let archives = self.dir.join("cache/archives");
        cache::empty_dir(&archives.join("partial"))?;
        // The file that tells what is installed.
        self.write("nothing-installed", "")?;
        let status = self.dir.join("nothing-installed");
        let mut install = self.apt("apt-get");
        install
            .args(["--quiet", "--yes", "--download-only"])
            .args(["--no-install-recommends", "--option"])
            .arg(format!("Dir::State::status={}", status.display()))
            .arg("install")
            .args(packages);
        command::output(&mut install)?;
        unpack_all(&archives, into)
    }

    fn configure(&self, site: &str, settings: &str) -> Result<()> {
        for sub in ["lists/partial", "cache/archives/partial", "no-parts"] {
            cache::create_dir(&self.dir.join(sub))?;
        }
        let keyring = KEYRINGS.iter().find(|path| Path::new(path).exists());
        let signed_by = keyring.map_or(String::new(), |path| format!("[signed-by={path}] "));
        self.write(
            "sources.list",
            &format!("deb {signed_by}{site} {} main\n", self.name),
        )?;
        // The sandbox user couldn't enter a home folder; the hooks after an
        // update belong to the machine's own lists.
        self.write(
            "apt.conf",
            &format!(
                r#"Dir::Etc::sourcelist "{dir}/sources.list";
Dir::Etc::sourceparts "{dir}/no-parts";
Dir::State::lists "{dir}/lists";
Dir::Cache "{dir}/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
{settings}"#,
                dir = self.dir.display()
            ),
        )
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.dir.join(file);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// `apt-get` or `apt-cache`, kept to this suite.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.dir.join("apt.conf"));
        command
    }
}

/// Unpacks all packages in the folder `debs`, and removes it.
fn unpack_all(debs: &Path, into: &Path) -> Result<()> {
    for deb in fs::read_dir(debs).with_context(|| format!("reading {}", debs.display()))? {
        let path = deb?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            command::run(Command::new("dpkg").arg("-x").arg(path).arg(into))?;
        }
    }
    fs::remove_dir_all(debs).with_context(|| format!("removing {}", debs.display()))
}

/// The package `name`, unpacked in the cache and not installed: nothing of it is started. It stays
/// there; removing the folder `NAME-VERSION` brings it anew, from the first of `suites` that has
/// it. `unpack` puts the package into a folder.
pub fn unpacked(
    name: &str,
    suites: &[String],
    unpack: fn(&Suite, &Package, &Path) -> Result<()>,
) -> Result<PathBuf> {
    if let Some(tree) = newest_unpacked(name)? {
        return Ok(tree);
    }
    let _lock = cache::lock()?;
    let (suite, package) = find(name, suites)?;
    let tree = cache::dir()?.join(format!("{name}-{}", package.version));
    // Not `with_extension`: a version has dots, too.
    let parts = cache::dir()?.join(format!("{name}-{}.partial", package.version));
    cache::empty_dir(&parts)?;
    unpack(&suite, &package, &parts)?;
    cache::rename(&parts, &tree)?;
    Ok(tree)
}

fn newest_unpacked(name: &str) -> Result<Option<PathBuf>> {
    let dir = cache::dir()?;
    let entries = fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))?;
    let prefix = format!("{name}-");
    let mut versions = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        versions.extend(name.strip_prefix(&prefix).map(str::to_owned));
    }
    versions.retain(|version| !version.ends_with(".partial"));
    let newest = versions.into_iter().max_by(|a, b| compare_versions(a, b));
    Ok(newest.map(|version| dir.join(format!("{name}-{version}"))))
}

/// Whether it looks like a part of a version: `0-46`, `107+deb13`.
fn is_version(text: &str) -> bool {
    let mut parts = text.split('-');
    parts.all(|part| !part.starts_with(|c: char| c.is_ascii_alphabetic()))
}

fn find(name: &str, suites: &[String]) -> Result<(Suite, Package)> {
    for suite in suites {
        // A suite that the mirror lacks is no reason to give up.
        let Ok(suite) = Suite::open(suite) else {
            continue;
        };
        if let Some(package) = suite.versions(name)?.into_iter().next() {
            return Ok((suite, package));
        }
    }
    bail!("no suite has the package {name}")
}

/// The machine's own suites, as `bookworm` and `bookworm-security`.
pub fn own_suites() -> Result<Vec<String>> {
    let mut suites: Vec<_> = sources()?.into_iter().map(|source| source.suite).collect();
    suites.dedup();
    Ok(suites)
}

/// Installs `packages` on this machine.
pub fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!(
        "apt-get install --no-install-recommends {}",
        packages.join(" ")
    );
    let missing = format!("missing on this machine: {}", packages.join(" "));
    ensure!(command::is_root(), "{missing}; run: sudo {by_hand}");
    ensure!(
        command::find("apt-get").is_some(),
        "{missing}; there is no apt-get here: install the packages of these names (Debian's) by hand"
    );
    say::progress(format!("installing {}", packages.join(" ")));
    let mut install = Command::new("apt-get");
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "--quiet", "--yes", "--no-install-recommends"])
        .args(packages);
    // Package lists that are absent or old are the usual reason to fail.
    if command::output(&mut install).is_err() {
        command::output(Command::new("apt-get").args(["--quiet", "update"]))
            .with_context(|| format!("{missing}; run: apt-get update, then: {by_hand}"))?;
        command::output(&mut install).with_context(|| format!("{missing}; run: {by_hand}"))?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Source {
    site: String,
    suite: String,
}

/// Debian's entries in the machine's apt configuration.
fn sources() -> Result<Vec<Source>> {
    let mut sources = index_targets()?;
    if sources.is_empty() && command::is_root() {
        say::progress("this machine has no package lists yet: running apt-get update");
        command::output(Command::new("apt-get").args(["--quiet", "update"]))?;
        sources = index_targets()?;
    }
    ensure!(
        !sources.is_empty(),
        "no Debian mirror in this machine's apt configuration (is this Debian?); if it has one, run: sudo apt-get update"
    );
    Ok(sources)
}

fn index_targets() -> Result<Vec<Source>> {
    let format = "$(ORIGIN) $(SITE) $(RELEASE)";
    let text = command::output(Command::new("apt-get").args(["indextargets", "--format", format]))
        .context("looking for a Debian mirror, which needs apt")?;
    Ok(parse_targets(&text))
}

fn parse_targets(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        if let ["Debian", site, suite] = line.split(' ').collect::<Vec<_>>()[..] {
            let (site, suite) = (site.to_owned(), suite.to_owned());
            let source = Source { site, suite };
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
    }
    sources
}

/// The mirror that has `suite`: security updates come from an archive of their own.
pub fn mirror_of(suite: &str) -> Result<String> {
    let is_security = |suite: &str| suite.ends_with("-security");
    let sources = sources()?;
    let found = sources
        .into_iter()
        .find(|source| is_security(&source.suite) == is_security(suite));
    let Some(source) = found else {
        bail!("this machine's apt configuration names no mirror for the Debian suite {suite}");
    };
    Ok(source.site)
}

fn parse_madison(table: &str) -> Vec<Package> {
    let parse = |line: &str| {
        let mut columns = line.split('|').map(str::trim);
        let name = columns.next()?.to_owned();
        let version = columns.next()?.to_owned();
        Some(Package { name, version })
    };
    table.lines().filter_map(parse).collect()
}

/// From the packages of each prefix, the newest that all prefixes have.
fn newest_set(found: &[(&str, Vec<Package>)]) -> Option<Vec<Package>> {
    let ((first, candidates), others) = found.split_first()?;
    let set = |package: &Package| {
        let rest = package.name.strip_prefix(first)?;
        let mut set = vec![package.clone()];
        for (prefix, packages) in others {
            let fits = |other: &&Package| {
                other.version == package.version && other.name.strip_prefix(prefix) == Some(rest)
            };
            set.push(packages.iter().find(fits)?.clone());
        }
        Some(set)
    };
    candidates
        .iter()
        .filter_map(set)
        .max_by(|a, b| compare_versions(&a[0].version, &b[0].version))
}

/// Which of two of Debian's version numbers is the older.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let holds = |operator| {
        let mut dpkg = Command::new("dpkg");
        dpkg.args(["--compare-versions", a, operator, b]);
        dpkg.status().is_ok_and(|status| status.success())
    };
    match (holds("lt"), holds("gt")) {
        (true, _) => Ordering::Less,
        (_, true) => Ordering::Greater,
        _ => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_sources_count_and_each_once() {
        let text = "Debian http://a/debian trixie\n\
                    Debian http://a/debian trixie\n \
                    http://b/apt stable\n\
                    Debian http://a/debian-security trixie-security\n";
        let source = |site: &str, suite: &str| Source {
            site: site.to_owned(),
            suite: suite.to_owned(),
        };
        let expected = [
            source("http://a/debian", "trixie"),
            source("http://a/debian-security", "trixie-security"),
        ];
        assert_eq!(parse_targets(text), expected);
    }

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn the_newest_set_is_one_that_is_complete() {
        let binaries = vec![
            package("bin-7.3.9-cloud", "7.3.9-1"),
            package("bin-7.3.10-cloud", "7.3.10-1"),
            package("bin-7.3.11-cloud", "7.3.11-1"),
        ];
        let modules = vec![
            package("mod-7.3.9-cloud", "7.3.9-1"),
            package("mod-7.3.10-cloud", "7.3.10-1"),
            package("mod-7.3.11-cloud", "7.3.11-2"),
            package("mod-7.3.12-cloud", "7.3.12-1"),
        ];
        let found = [("bin-", binaries), ("mod-", modules)];
        let expected = [
            package("bin-7.3.10-cloud", "7.3.10-1"),
            package("mod-7.3.10-cloud", "7.3.10-1"),
        ];
        assert_eq!(newest_set(&found).unwrap(), expected);
        assert_eq!(newest_set(&[("bin-", Vec::new())]), None);
    }

    #[test]
    fn madison_gives_name_and_version() {
        let table = "  rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://a/debian x/main amd64 Packages\n";
        let expected = package("rust-src", "1.95.0+dfsg1-2~bpo13+1");
        assert_eq!(parse_madison(table), [expected]);
    }
}
