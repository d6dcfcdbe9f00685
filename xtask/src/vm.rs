//! `vm`: the scenarios, or a command, in each of the real kernels.

use std::{
    collections::VecDeque,
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use xtask::{
    say,
    toolchain::{self, Toolchain},
};

use crate::{
    build,
    counts::Counts,
    host_tools, initramfs,
    initramfs::Job,
    kernels::{Installed, KERNELS, Kernel},
    qemu::Machine,
    workspace,
};

/// For everything that one kernel has to do.
const JOB_TIME: Duration = Duration::from_secs(15 * 60);

/// Machines at the same time.
const JOBS: usize = 2;

/// Options of `cargo xtask vm`.
#[derive(Args)]
pub(crate) struct VmOptions {
    /// Kernels to boot [default: all that are known].
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    kernel: Vec<String>,

    /// Only scenarios whose name contains this.
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,

    /// Machines to run at the same time.
    #[arg(long, value_name = "N", default_value_t = JOBS)]
    jobs: usize,

    /// Run a shell command in the guest instead of the scenarios.
    ///
    /// For looking around in a kernel: nothing is built, the guest has busybox,
    /// ip, tc, nft, and what --extra brings. Exits with 1 if the command fails.
    #[arg(long, value_name = "COMMAND", conflicts_with = "filter")]
    exec: Option<String>,

    /// Take a file of this machine along as /extra/NAME.
    #[arg(long, value_name = "FILE", requires = "exec")]
    extra: Vec<PathBuf>,

    /// Save the bytes that the guest writes to /dev/ttyS1.
    ///
    /// With several kernels, each has a file of its own, named FILE.VERSION.
    #[arg(long, value_name = "FILE", requires = "exec")]
    out: Option<PathBuf>,
}

/// Runs what the options ask for, and closes with the count of the tests.
pub(crate) fn vm(options: &VmOptions) -> Result<ExitCode> {
    let kernels = chosen_kernels(&options.kernel)?;
    if let Some(command) = &options.exec {
        return exec(options, command, &kernels);
    }
    let toolchain = toolchain::ensure()?;
    let filter = options.filter.as_deref();
    let counts = scenarios(&kernels, options.jobs, filter, &toolchain)?;
    say::result(counts.to_string());
    Ok(ExitCode::from(u8::from(!counts.is_success())))
}

/// Runs every scenario in every kernel.
pub(crate) fn all(toolchain: &Toolchain) -> Result<Counts> {
    scenarios(&provision_all()?, JOBS, None, toolchain)
}

/// Brings the tools and every kernel.
pub(crate) fn provision_all() -> Result<Vec<Installed>> {
    provision(KERNELS)
}

fn chosen_kernels(labels: &[String]) -> Result<Vec<Installed>> {
    if labels.is_empty() {
        return provision_all();
    }
    let kernels = labels.iter().map(|label| Kernel::named(label));
    provision(kernels.collect::<Result<Vec<_>>>()?)
}

fn provision(kernels: impl IntoIterator<Item = &'static Kernel>) -> Result<Vec<Installed>> {
    ensure!(
        ARCH == "x86_64",
        "the VM tests run x86-64 kernels and programs; this machine is {ARCH}"
    );
    host_tools::ensure_vm()?;
    kernels.into_iter().map(Kernel::ensure).collect()
}

fn exec(options: &VmOptions, command: &str, kernels: &[Installed]) -> Result<ExitCode> {
    let job = Job {
        script: command.to_owned(),
        files: extra_files(&options.extra)?,
    };
    let single = kernels.len() == 1;
    let statuses = in_each(kernels, options.jobs, |kernel| {
        let out = options.out.as_ref().map(|out| match single {
            true => out.clone(),
            false => PathBuf::from(format!("{}.{}", out.display(), kernel.label)),
        });
        run_job(kernel, &job, out.as_deref(), |line| match single {
            true => say::result(line),
            false => say::result(format!("{}: {line}", kernel.label)),
        })
    });
    let mut failed = false;
    for (kernel, status) in kernels.iter().zip(statuses) {
        match status {
            Ok(0) => continue,
            Ok(status) => say::progress(format!("{}: exit status {status}", kernel.label)),
            Err(error) => say::progress(format!("{}: {error:#}", kernel.label)),
        }
        failed = true;
    }
    Ok(ExitCode::from(u8::from(failed)))
}

fn extra_files(paths: &[PathBuf]) -> Result<Vec<(String, &Path)>> {
    let mut files = Vec::new();
    for path in paths {
        let name = path
            .file_name()
            .with_context(|| format!("--extra {} is no file", path.display()))?;
        files.push((format!("/extra/{}", name.to_string_lossy()), path.as_path()));
    }
    Ok(files)
}

fn scenarios(
    kernels: &[Installed],
    jobs: usize,
    filter: Option<&str>,
    toolchain: &Toolchain,
) -> Result<Counts> {
    let dropwatch = build::release("dropwatch", "dropwatch", toolchain)?;
    let runner = build::release("dropwatch-tests", "scenarios", toolchain)?;
    let filter = filter.map(shell_word).unwrap_or_default();
    let job = Job {
        script: format!("exec scenarios --strict --own-machine {filter}\n"),
        files: vec![
            ("/bin/dropwatch".to_owned(), &dropwatch),
            ("/bin/scenarios".to_owned(), &runner),
        ],
    };
    let mut total = Counts::default();
    let outcomes = in_each(kernels, jobs, |kernel| run_scenarios(kernel, &job));
    for (kernel, outcome) in kernels.iter().zip(outcomes) {
        total += outcome.unwrap_or_else(|error| {
            say::result(format!("test {}/machine ... FAILED", kernel.label));
            say::result(format!("{error:#}"));
            Counts::FAILED
        });
    }
    Ok(total)
}

fn run_scenarios(kernel: &Installed, job: &Job<'_>) -> Result<Counts> {
    let mut counts = None;
    let status = run_job(kernel, job, None, |line| {
        say::result(labelled(kernel.label, line));
        counts = Counts::of_scenarios(line).or(counts);
    })?;
    let counts = counts.with_context(|| {
        format!("the scenarios ended without their closing line (exit status {status})")
    })?;
    ensure!(
        status == 0 || counts.failed > 0,
        "no scenario failed, but the runner's exit status is {status}"
    );
    Ok(counts)
}

/// `test NAME ... ok` becomes `test KERNEL/NAME ... ok`.
fn labelled(label: &str, line: &str) -> String {
    match line.strip_prefix("test ") {
        Some(test) if test.contains(" ... ") => format!("test {label}/{test}"),
        _ => format!("{label}: {line}"),
    }
}

fn run_job(
    kernel: &Installed,
    job: &Job<'_>,
    out: Option<&Path>,
    each_line: impl FnMut(&str),
) -> Result<i32> {
    // Several xtasks may run at the same time.
    let name = format!("vm/{}-{}.cpio", kernel.label, process::id());
    let initramfs = workspace::target_dir()?.join(name);
    initramfs::write(&initramfs, kernel, job)?;
    let booted = Machine::boot(kernel.label, &kernel.image(), &initramfs, out);
    let removed = fs::remove_file(&initramfs);
    let status = booted?.finish(JOB_TIME, each_line)?;
    removed.with_context(|| format!("removing {}", initramfs.display()))?;
    Ok(status)
}

/// Calls `run` for each kernel, `jobs` at a time; results in the order of the
/// kernels.
fn in_each<T: Send>(
    kernels: &[Installed],
    jobs: usize,
    run: impl Fn(&Installed) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    let waiting: VecDeque<_> = kernels.iter().enumerate().collect();
    let waiting = Mutex::new(waiting);
    let results = Mutex::new(Vec::new());
    let locked = "no thread panics while it holds the lock";
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect(locked).pop_front();
                    let Some((index, kernel)) = next else { break };
                    let result = run(kernel);
                    results.lock().expect(locked).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect(locked);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn shell_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_labelled_with_their_kernel() {
        assert_eq!(labelled("6.1", "test udp ... ok"), "test 6.1/udp ... ok");
        assert_eq!(labelled("6.1", "test run failed"), "6.1: test run failed");
        assert_eq!(labelled("6.1", "detail"), "6.1: detail");
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
