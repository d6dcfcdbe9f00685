//! `vm`: the scenarios, or a command, in each of the real kernels.

use std::{
    collections::{BTreeMap, VecDeque},
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum, builder::PossibleValue};
use xtask::{
    say,
    toolchain::{self, Toolchain},
};

use crate::{
    arch::Arch,
    build,
    counts::Counts,
    host_tools, initramfs,
    initramfs::Job,
    kernels::{Flavour, Installed, KERNELS, Kernel},
    qemu::{End, Machine},
    reliability, workspace,
};

/// For everything that one kernel has to do.
const JOB_TIME: Duration = Duration::from_secs(40 * 60);

/// A kernel that panics under the tests is booted again for the rest of them: without hardware
/// support it does in rare cases, while it patches its own code. More often it is a failure.
const PANICS: u32 = 2;

/// Machines at the same time.
const JOBS: usize = 2;

/// Two processors, because what is kept per processor must work.
const CPUS: u32 = 2;

impl ValueEnum for Flavour {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Cloud, Self::Generic]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// A kernel, and the machine that it runs in.
pub(crate) struct Guest {
    /// As in the names of tests: `6.1`, `6.1-arm64`, `6.1-generic`, `6.1x4` with four processors.
    label: String,
    kernel: Installed,
    flavour: Flavour,
    cpus: u32,
}

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

    /// Processors of each machine; for several numbers, each kernel is booted with each.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [CPUS])]
    cpus: Vec<u32>,

    /// The guest's processor; for arm64, programs are built and fetched.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Arch::X86_64)]
    arch: Arch,

    /// Which of Debian's builds of the kernels.
    #[arg(long, value_name = "NAME", default_value = Flavour::Cloud.name())]
    flavour: Flavour,

    /// Write the counts into docs/reliability.md.
    #[arg(long, conflicts_with_all = ["exec", "filter"])]
    report: bool,

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
    ensure!(
        options.out.is_none() || options.arch == Arch::X86_64,
        "--out needs --arch x86-64: the arm64 machine has one serial port only"
    );
    let guests = chosen_guests(options)?;
    if let Some(command) = &options.exec {
        return exec(options, command, &guests);
    }
    let toolchain = toolchain::ensure()?;
    let filter = options.filter.as_deref();
    let (counts, rows) = scenarios(options.arch, &guests, options.jobs, filter, &toolchain)?;
    if options.report {
        reliability::merge_rows("matrix", &rows)?;
    }
    say::result(counts.to_string());
    Ok(ExitCode::from(u8::from(!counts.is_success())))
}

/// Runs every scenario in every kernel.
pub(crate) fn all(toolchain: &Toolchain) -> Result<Counts> {
    let (counts, rows) = scenarios(Arch::X86_64, &provision_all()?, JOBS, None, toolchain)?;
    say::progress("rows of the matrix in docs/reliability.md:");
    rows.into_iter().for_each(say::progress);
    Ok(counts)
}

/// Brings the tools and every kernel.
pub(crate) fn provision_all() -> Result<Vec<Guest>> {
    provision(KERNELS, Arch::X86_64, Flavour::Cloud, &[CPUS])
}

fn chosen_guests(options: &VmOptions) -> Result<Vec<Guest>> {
    let (arch, flavour, cpus) = (options.arch, options.flavour, &options.cpus);
    if options.kernel.is_empty() {
        return provision(KERNELS, arch, flavour, cpus);
    }
    let kernels = options.kernel.iter().map(|label| Kernel::named(label));
    provision(kernels.collect::<Result<Vec<_>>>()?, arch, flavour, cpus)
}

fn provision(
    kernels: impl IntoIterator<Item = &'static Kernel>,
    arch: Arch,
    flavour: Flavour,
    cpus: &[u32],
) -> Result<Vec<Guest>> {
    ensure!(
        ARCH == "x86_64",
        "the VM tests run on x86-64; this machine is {ARCH}"
    );
    host_tools::ensure_vm(arch)?;
    let mut guests = Vec::new();
    for kernel in kernels {
        for cpus in cpus {
            guests.push(Guest::new(kernel.ensure(flavour, arch)?, flavour, *cpus));
        }
    }
    Ok(guests)
}

impl Guest {
    fn new(kernel: Installed, flavour: Flavour, cpus: u32) -> Self {
        let mut label = kernel.label.to_owned();
        if kernel.arch != Arch::X86_64 {
            label += &format!("-{}", kernel.arch.debian());
        }
        if flavour != Flavour::Cloud {
            label += &format!("-{}", flavour.name());
        }
        if cpus != CPUS {
            label += &format!("x{cpus}");
        }
        Self {
            label,
            kernel,
            flavour,
            cpus,
        }
    }
}

fn exec(options: &VmOptions, command: &str, guests: &[Guest]) -> Result<ExitCode> {
    let job = Job {
        script: command.to_owned(),
        files: extra_files(&options.extra)?,
    };
    let single = guests.len() == 1;
    let statuses = in_each(guests, options.jobs, |guest| {
        let out = options.out.as_ref().map(|out| match single {
            true => out.clone(),
            false => PathBuf::from(format!("{}.{}", out.display(), guest.label)),
        });
        let each_line = |line: &str| match single {
            true => say::result(line),
            false => say::result(format!("{}: {line}", guest.label)),
        };
        match run_job(guest, &job, out.as_deref(), each_line)?.1 {
            End::Status(status) => Ok(status),
            End::Panic(said) => bail!("the kernel panicked:\n{said}"),
        }
    });
    let mut failed = false;
    for (guest, status) in guests.iter().zip(statuses) {
        match status {
            Ok(0) => continue,
            Ok(status) => say::progress(format!("{}: exit status {status}", guest.label)),
            Err(error) => say::progress(format!("{}: {error:#}", guest.label)),
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

/// The counts of all, and a row of the matrix for each.
fn scenarios(
    arch: Arch,
    guests: &[Guest],
    jobs: usize,
    filter: Option<&str>,
    toolchain: &Toolchain,
) -> Result<(Counts, Vec<String>)> {
    let target = arch.target(toolchain);
    let dropwatch = build::release_for(target, "dropwatch", "dropwatch", toolchain)?;
    let runner = build::release_for(target, "dropwatch-tests", "scenarios", toolchain)?;
    let filter = filter.map(shell_word).unwrap_or_default();
    let tests = Tests {
        filter: &filter,
        files: vec![
            ("/bin/dropwatch".to_owned(), &dropwatch),
            ("/bin/scenarios".to_owned(), &runner),
        ],
    };
    let (mut total, mut rows) = (Counts::default(), Vec::new());
    let outcomes = in_each(guests, jobs, |guest| tests.run(guest));
    for (guest, outcome) in guests.iter().zip(outcomes) {
        match outcome {
            Ok((counts, row)) => {
                total += counts;
                rows.push(row);
            }
            Err(error) => {
                say::result(format!("test {}/machine ... FAILED", guest.label));
                say::result(format!("{error:#}"));
                total += Counts::FAILED;
            }
        }
    }
    Ok((total, rows))
}

/// The scenarios that each machine plays.
struct Tests<'a> {
    /// A word of the shell, or nothing.
    filter: &'a str,
    files: Vec<(String, &'a Path)>,
}

impl Tests<'_> {
    fn run(&self, guest: &Guest) -> Result<(Counts, String)> {
        let mut tally = Tally::default();
        loop {
            let (release, end) = run_job(guest, &self.job(&tally), None, |line| {
                say::result(labelled(&guest.label, line));
                tally.note(line);
            })?;
            match end {
                End::Status(status) => {
                    tally.check_end(status)?;
                    return Ok((tally.total(), tally.row(&release, guest)));
                }
                End::Panic(said) => tally.note_panic(&guest.label, &said)?,
            }
        }
    }

    /// All tests but those whose outcome is known.
    fn job(&self, tally: &Tally) -> Job<'_> {
        let known: Vec<String> = tally.names.iter().map(|name| shell_word(name)).collect();
        let except = match known.is_empty() {
            true => String::new(),
            false => format!("--except {}", known.join(" --except ")),
        };
        let filter = self.filter;
        Job {
            script: format!("exec scenarios --strict --own-machine {except} {filter}\n"),
            files: self.files.clone(),
        }
    }
}

/// What is told apart in the matrix: hook and buffer, and what belongs to neither.
const COLUMNS: [&str; 5] = [
    "tracepoint/ring",
    "tracepoint/perf",
    "kprobe/ring",
    "kprobe/perf",
    "",
];

/// Outcomes of the tests of a kernel.
#[derive(Default)]
struct Tally {
    columns: BTreeMap<usize, Counts>,
    /// Of all tests that have an outcome.
    names: Vec<String>,
    failed: Vec<String>,
    /// What the runner said in the end.
    closing: Option<Counts>,
    /// Outcomes from machines that panicked later.
    earlier: Counts,
    panics: u32,
}

impl Tally {
    fn note(&mut self, line: &str) {
        self.closing = Counts::of_scenarios(line).or(self.closing);
        let Some((name, outcome)) = line
            .strip_prefix("test ")
            .and_then(|test| test.split_once(" ... "))
        else {
            return;
        };
        let Some(column) = COLUMNS.iter().position(|way| name.starts_with(way)) else {
            return;
        };
        self.names.push(name.to_owned());
        let counts = self.columns.entry(column).or_default();
        *counts += match outcome {
            "ok" => Counts::PASSED,
            "FAILED" => {
                self.failed.push(format!("`{name}`"));
                Counts::FAILED
            }
            _ => Counts::SKIPPED,
        };
    }

    fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.columns.values().for_each(|counts| total += *counts);
        total
    }

    /// Fails if the runner did not come to its end, or to other counts.
    fn check_end(&self, status: i32) -> Result<()> {
        let mut counts = self.closing.with_context(|| {
            format!("the scenarios ended without their closing line (exit status {status})")
        })?;
        ensure!(
            status == 0 || counts.failed > 0,
            "no scenario failed, but the runner's exit status is {status}"
        );
        counts += self.earlier;
        ensure!(
            counts == self.total(),
            "the runner counted {counts}, its lines say {}",
            self.total()
        );
        Ok(())
    }

    /// Tells a panic; fails if it is one too many.
    fn note_panic(&mut self, label: &str, said: &str) -> Result<()> {
        self.panics += 1;
        self.earlier = self.total();
        let last = self.names.last().map_or("the start", String::as_str);
        ensure!(
            self.panics <= PANICS,
            "the kernel panicked {} times, now after {last}:\n{said}",
            self.panics
        );
        say::progress(format!(
            "{label}: the kernel panicked after {last}; the tests that are left run in another boot. It said:\n{said}"
        ));
        Ok(())
    }

    fn row(&self, release: &str, guest: &Guest) -> String {
        let mut cells = vec![release.to_owned(), guest.cpus.to_string()];
        cells.push(guest.flavour.name().to_owned());
        for column in 0..COLUMNS.len() {
            let counts = self.columns.get(&column).copied().unwrap_or_default();
            cells.push(match counts.skipped {
                0 => format!("{}", counts.passed),
                skipped => format!("{} ({skipped})", counts.passed),
            });
        }
        let mut failed = match self.failed.is_empty() {
            true => "none".to_owned(),
            false => self.failed.join(", "),
        };
        if self.panics > 0 {
            failed += &format!(" (panics of the kernel: {})", self.panics);
        }
        cells.push(failed);
        format!("| {} |", cells.join(" | "))
    }
}

/// `test NAME ... ok` becomes `test KERNEL/NAME ... ok`.
fn labelled(label: &str, line: &str) -> String {
    match line.strip_prefix("test ") {
        Some(test) if test.contains(" ... ") => format!("test {label}/{test}"),
        _ => format!("{label}: {line}"),
    }
}

/// The release of the kernel that ran a job, and how that ended.
fn run_job(
    guest: &Guest,
    job: &Job<'_>,
    out: Option<&Path>,
    each_line: impl FnMut(&str),
) -> Result<(String, End)> {
    // Several xtasks may run at the same time.
    let name = format!("vm/{}-{}.cpio", guest.label, process::id());
    let initramfs = workspace::target_dir()?.join(name);
    initramfs::write(&initramfs, &guest.kernel, job)?;
    let booted = Machine::boot(&guest.label, guest.cpus, &guest.kernel, &initramfs, out);
    let removed = fs::remove_file(&initramfs);
    let machine = booted?;
    let release = machine.release.clone();
    let end = machine.finish(JOB_TIME, each_line)?;
    removed.with_context(|| format!("removing {}", initramfs.display()))?;
    Ok((release, end))
}

/// Calls `run` for each guest, `jobs` at a time; results in the order of the
/// guests.
fn in_each<T: Send>(
    guests: &[Guest],
    jobs: usize,
    run: impl Fn(&Guest) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    let waiting: VecDeque<_> = guests.iter().enumerate().collect();
    let waiting = Mutex::new(waiting);
    let results = Mutex::new(Vec::new());
    let locked = "no thread panics while it holds the lock";
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect(locked).pop_front();
                    let Some((index, guest)) = next else { break };
                    let result = run(guest);
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
    fn outcomes_by_hook_and_buffer() {
        let mut tally = Tally::default();
        for line in [
            "test tracepoint/ring/udp ... ok",
            "test tracepoint/ring/tcp ... ok",
            "test kprobe/perf/udp ... ignored, no module",
            "test agree/udp ... FAILED",
            "a detail",
        ] {
            tally.note(line);
        }
        let counts = |column| tally.columns.get(&column).map(ToString::to_string);
        assert_eq!(counts(0).as_deref(), Some("2 passed, 0 failed, 0 skipped"));
        assert_eq!(counts(3).as_deref(), Some("0 passed, 0 failed, 1 skipped"));
        assert_eq!(counts(4).as_deref(), Some("0 passed, 1 failed, 0 skipped"));
        assert_eq!(tally.failed, ["`agree/udp`"]);
    }

    #[test]
    fn tests_go_on_in_another_boot() {
        let files = Vec::new();
        let tests = Tests {
            filter: "udp",
            files,
        };
        let mut tally = Tally::default();
        assert!(tally.check_end(0).is_err());
        tally.note("test agree/udp ... ok");
        tally.note_panic("6.1", "Kernel panic").unwrap();
        let script = tests.job(&tally).script;
        let expected = "exec scenarios --strict --own-machine --except 'agree/udp' udp\n";
        assert_eq!(script, expected);
        tally.note("test oracle/udp ... ok");
        tally.note("2 passed, 0 failed, 0 skipped");
        assert!(tally.check_end(0).is_err());
        tally.note("1 passed, 0 failed, 0 skipped");
        tally.check_end(0).unwrap();
        tally.note_panic("6.1", "Kernel panic").unwrap();
        assert!(tally.note_panic("6.1", "Kernel panic").is_err());
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
