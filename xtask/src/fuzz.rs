//! `fuzz`: looks for bytes that break what reads bytes of others.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use xtask::{cache, cargo_tool::CargoTool, command, say, toolchain};

use crate::{host_tools, reliability, workspace};

const CARGO_FUZZ: CargoTool = CargoTool {
    name: "cargo-fuzz",
    version: "0.13.2",
    flags: &[],
    is_optimised: false,
};

/// Longest input of a target, in bytes: about what it is given at most, for long inputs take long.
fn max_len(target: &str) -> u32 {
    match target {
        // The types of a kernel, as far as they are read.
        "btf" => 48_000,
        // Some dozen symbols, a section of a recording, or the headers of a packet and a stack.
        "kallsyms" | "recording" | "record" => 2048,
        // Words, lines, paths, headers.
        _ => 512,
    }
}

/// Memory that a target may take, in MB: the names of a kernel, and the sanitizer.
const MEMORY: u32 = 1024;

/// Options of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct FuzzOptions {
    /// How long each target runs; 0 for no end but that of --runs.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// End each target after so many runs.
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    runs: u64,
    /// Only this target; can be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Without AddressSanitizer, several times as fast; debug assertions and overflow checks stay.
    #[arg(long)]
    no_sanitizer: bool,
    /// Write what came out into docs/reliability.md.
    #[arg(long)]
    report: bool,
}

impl FuzzOptions {
    /// Which sanitizer, as cargo-fuzz names it.
    fn sanitizer(&self) -> &'static str {
        if self.no_sanitizer { "none" } else { "address" }
    }

    /// Where cargo-fuzz builds, and what runs leave.
    fn work(&self) -> Result<PathBuf> {
        let fuzz = workspace::target_dir()?.join("fuzz");
        Ok(fuzz.join(self.sanitizer()))
    }
}

/// What came of a target.
struct Outcome {
    runs: u64,
    per_second: u64,
    covered: u64,
    /// In MB: after the corpus was read, after half of the runs, and at most.
    memory: [u64; 3],
}

/// Builds the targets, and runs one after the other.
pub(crate) fn fuzz(options: &FuzzOptions) -> Result<ExitCode> {
    let host = toolchain::ensure()?.host;
    host_tools::ensure_fuzz()?;
    let targets = targets(&options.target)?;
    build(options)?;
    say::result(
        "| target | sanitizer | runs | runs/s | edges | MB at first | half-way | at most |",
    );
    say::result("|---|---|--:|--:|--:|--:|--:|--:|");
    for target in &targets {
        let outcome = run(target, &host, options)?;
        let row = outcome.row(target, options.sanitizer());
        say::result(&row);
        if options.report {
            reliability::merge_rows("fuzz", &[row])?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn folder() -> PathBuf {
    workspace::root().join("fuzz")
}

/// All targets, or the wanted ones.
fn targets(wanted: &[String]) -> Result<Vec<String>> {
    let corpus = folder().join("corpus");
    let entries = fs::read_dir(&corpus);
    let entries = entries.with_context(|| format!("reading {}", corpus.display()))?;
    let mut known = Vec::new();
    for entry in entries {
        known.push(entry?.file_name().to_string_lossy().into_owned());
    }
    known.sort();
    for name in wanted {
        ensure!(
            known.contains(name),
            "no target {name}; there are: {}",
            known.join(", ")
        );
    }
    known.retain(|name| wanted.is_empty() || wanted.contains(name));
    Ok(known)
}

fn build(options: &FuzzOptions) -> Result<()> {
    say::progress("building the targets (the first time takes minutes)");
    let mut build = Command::new(CARGO_FUZZ.ensure()?);
    build
        .args(["build", "--features", "libfuzzer"])
        .args(["--sanitizer", options.sanitizer(), "--fuzz-dir"])
        .arg(folder())
        .current_dir(workspace::root())
        // Sanitizers are not stable yet.
        .env("RUSTC_BOOTSTRAP", "1")
        // With instrumented code it takes many times as long, for nothing.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_TARGET_DIR", options.work()?);
    command::output(&mut build).map(drop)
}

/// Runs a target; its new inputs stay in the work folder.
fn run(target: &str, host: &str, options: &FuzzOptions) -> Result<Outcome> {
    let work = options.work()?;
    let program = work.join(host).join("release").join(target);
    // Beside the builds: what one has found, the other goes on with.
    let found = work.with_file_name("corpus").join(target);
    cache::create_dir(&found)?;
    let artifacts = format!("{}/{target}-", work.display());
    let mut fuzzer = Command::new(&program);
    fuzzer
        .arg(&found)
        .arg(folder().join("corpus").join(target))
        .arg(format!("-artifact_prefix={artifacts}"))
        .arg(format!("-max_len={}", max_len(target)))
        .arg(format!("-max_total_time={}", options.seconds))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .args(["-timeout=10", "-print_final_stats=1"]);
    // Else freed memory is kept for long enough to look like a leak.
    fuzzer.env("ASAN_OPTIONS", "quarantine_size_mb=16");
    // libFuzzer takes 32 bits.
    if let Ok(runs) = i32::try_from(options.runs) {
        fuzzer.arg(format!("-runs={runs}"));
    }
    let output = fuzzer.output();
    let output = output.with_context(|| format!("starting {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(40)..).unwrap_or(&[]);
        anyhow::bail!(
            "{target}: {}; the bytes are in {artifacts}*\n{}",
            output.status,
            last.join("\n")
        );
    }
    Outcome::of(&text).with_context(|| format!("{target} did not say what it did"))
}

impl Outcome {
    /// By libFuzzer's lines: `#2 INITED cov: 34 ft: 35 corp: 1/1b exec/s: 0 rss: 40Mb` and, at the
    /// end, `stat::number_of_executed_units: 1234`.
    fn of(text: &str) -> Option<Self> {
        let stat = |name: &str| {
            let line = text.lines().rev().find(|line| line.starts_with(name))?;
            line.rsplit(' ').next()?.parse().ok()
        };
        let after = |line: &str, word: &str| {
            let mut words = line.split_whitespace().skip_while(|it| *it != word);
            words.nth(1)?.trim_end_matches("Mb").parse().ok()
        };
        let runs = stat("stat::number_of_executed_units:")?;
        let is_early = |line: &&str| {
            let number = line.strip_prefix('#').and_then(|it| it.split('\t').next());
            let number = number.and_then(|it| it.parse::<u64>().ok());
            number.is_some_and(|number| number <= runs / 2)
        };
        let first = text.lines().find(|line| line.contains("INITED"))?;
        let half = text.lines().rfind(is_early).unwrap_or(first);
        let last = text.lines().rev().find(|line| line.contains(" cov: "))?;
        let peak = stat("stat::peak_rss_mb:")?;
        Some(Self {
            runs,
            per_second: stat("stat::average_exec_per_sec:")?,
            covered: after(last, "cov:")?,
            memory: [after(first, "rss:")?, after(half, "rss:")?, peak],
        })
    }

    fn row(&self, target: &str, sanitizer: &str) -> String {
        let Self {
            runs,
            per_second,
            covered,
            memory: [first, half, peak],
        } = self;
        format!(
            "| `{target}` | {sanitizer} | {runs} | {per_second} | {covered} | {first} | {half} | {peak} |"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_libfuzzer_says() {
        let text = "\
#13\tINITED cov: 812 ft: 1201 corp: 9/3Kb exec/s: 0 rss: 97Mb
#2500\tNEW    cov: 903 ft: 1544 corp: 20/5Kb lim: 20 exec/s: 2048 rss: 99Mb
#4096\tpulse  cov: 905 ft: 1544 corp: 20/5Kb lim: 20 exec/s: 2048 rss: 100Mb
Done 5000 runs in 2 second(s)
stat::number_of_executed_units: 5000
stat::average_exec_per_sec:     2500
stat::new_units_added:          11
stat::peak_rss_mb:              101
";
        let outcome = Outcome::of(text).unwrap();
        let row = "| `btf` | none | 5000 | 2500 | 905 | 97 | 99 | 101 |";
        assert_eq!(outcome.row("btf", "none"), row);
    }

    #[test]
    fn each_target_is_a_program_with_a_corpus() {
        let names = |folder: &Path| -> Vec<String> {
            let entries = fs::read_dir(folder).unwrap();
            let name = |entry: fs::DirEntry| entry.path().file_stem().unwrap().to_owned();
            let mut names: Vec<String> = entries
                .map(|entry| name(entry.unwrap()).into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let programs = names(&folder().join("fuzz_targets"));
        assert_eq!(programs, names(&folder().join("corpus")));
        let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        for program in programs {
            assert!(
                manifest.contains(&format!("name = \"{program}\"")),
                "{program}"
            );
        }
    }
}
