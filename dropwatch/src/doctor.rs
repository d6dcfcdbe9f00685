//! What this kernel lets dropwatch do, what is missing, and what to do about it: `dropwatch doctor`.
//!
//! Nothing here needs what it looks for. What is looked at is what a start looks at, by the same
//! functions; the self-test then starts for real.

mod checks;
mod counters;
mod fields;
mod hooks;
mod kernel_config;
mod self_test;

pub use hooks::list_hooks;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::{system::uname, thread::CapabilitySet};
use serde::Serialize;

use crate::{
    bpf::attach::{AttachPoint, Hook},
    btf::Btf,
    cli::ReportFormat,
    color::{self, Paint, Palette},
    config::{BufferChoice, Config},
    enrich::{
        reason::{BTF_FOLDER, ReasonNames},
        symbol::{KALLSYMS, MODULES, Symbols},
    },
    format,
    output::{self, Plain},
    preflight,
};

/// Version of the JSON object; a member that changes its meaning gets another one.
const SCHEMA: u32 = 1;

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// All is there.
    Ok,
    /// dropwatch runs, but knows or can do less.
    Limited,
    /// dropwatch can't run.
    Fails,
    /// It can't be looked at.
    Unknown,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Fails => "fails",
            Self::Unknown => "unknown",
        }
    }

    fn paint(self, palette: Palette) -> Paint {
        match self {
            Self::Ok => palette.good(),
            Self::Limited | Self::Unknown => palette.middling(),
            Self::Fails => palette.bad(),
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn ok(found: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    fn with(verdict: Verdict, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// Something that dropwatch can do without.
    fn limited(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::with(Verdict::Limited, found, remedy)
    }

    fn fails(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::with(Verdict::Fails, found, remedy)
    }

    fn unknown(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::with(Verdict::Unknown, found, remedy)
    }
}

/// The kernel's symbols as this process sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum KernelSymbols {
    /// So many have an address.
    Shown(usize),
    /// Their addresses are hidden.
    Hidden,
    /// Why they can't be read.
    Unreadable(String),
}

/// The machine that is looked at.
struct Machine<'a> {
    config: &'a Config,
    /// Usually `/`.
    root: PathBuf,
    release: String,
    architecture: String,
    capabilities: CapabilitySet,
    btf: Result<Btf>,
    symbols: KernelSymbols,
}

impl<'a> Machine<'a> {
    /// The one that this runs on.
    fn this(config: &'a Config) -> Self {
        let system = uname();
        let symbols = match Symbols::load(Path::new(KALLSYMS), Path::new(MODULES)) {
            Ok(symbols) if symbols.hidden() => KernelSymbols::Hidden,
            Ok(symbols) => KernelSymbols::Shown(symbols.len()),
            Err(error) => KernelSymbols::Unreadable(format!("{error:#}")),
        };
        Self {
            config,
            root: PathBuf::from("/"),
            release: system.release().to_string_lossy().into_owned(),
            architecture: system.machine().to_string_lossy().into_owned(),
            capabilities: preflight::held_capabilities(),
            btf: Btf::load(config.kernel_btf.as_deref()),
            symbols,
        }
    }

    /// The kernel's version as `(6, 18)`, by its release.
    fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|it: char| !it.is_ascii_digit());
        let mut next = || numbers.next()?.parse().ok();
        Some((next()?, next()?))
    }

    fn reasons(&self) -> Option<ReasonNames> {
        let folder = self.root.join(BTF_FOLDER.trim_start_matches('/'));
        let btf = self.btf.as_ref().ok()?;
        Some(ReasonNames::new(btf, &folder))
    }

    /// The first hook that can be had, and why those before it can't.
    fn hook(&self) -> (Option<Choice>, Vec<String>) {
        let Ok(btf) = &self.btf else {
            return (None, Vec::new());
        };
        let first = Hook::first_available(self.config.hook, btf, &self.root);
        let refusals = first.refusals.into_iter();
        (
            first.hook.map(|(hook, points)| Choice::new(hook, &points)),
            refusals
                .map(|(hook, error)| format!("hook {}: {error:#}", hook.name()))
                .collect(),
        )
    }
}

/// The hook that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Choice {
    name: &'static str,
    why: &'static str,
    attach_points: Vec<Attach>,
    #[serde(skip)]
    hook: Hook,
}

/// A place that it attaches to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Attach {
    target: &'static str,
    blind_to: &'static str,
}

impl Choice {
    fn new(hook: Hook, points: &[&'static AttachPoint]) -> Self {
        let attach = |point: &&'static AttachPoint| Attach {
            target: point.target,
            blind_to: point.blind_to,
        };
        Self {
            name: hook.name(),
            why: hook.merit(),
            attach_points: points.iter().map(attach).collect(),
            hook,
        }
    }

    fn targets(&self) -> String {
        let targets = self.attach_points.iter().map(|point| point.target);
        targets.collect::<Vec<_>>().join(", ")
    }
}

/// The buffer that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Buffer {
    name: &'static str,
    bytes: u32,
    why: &'static str,
}

impl Buffer {
    fn of(config: &Config) -> Self {
        let (name, why) = match config.buffer {
            BufferChoice::Auto => (
                "ring",
                "the first choice: one for all processors, and every kernel from 5.8 on has it",
            ),
            BufferChoice::Ring => ("ring", "chosen with --buffer"),
            BufferChoice::Perf => ("perf", "chosen with --buffer"),
        };
        Self {
            name,
            bytes: config.buffer_size,
            why,
        }
    }
}

/// A check by name, with what it found.
#[derive(Debug, Serialize)]
struct Named {
    name: &'static str,
    #[serde(flatten)]
    finding: Finding,
}

/// All that there is to say.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    version: &'static str,
    can_run: bool,
    checks: Vec<Named>,
    hook: Option<Choice>,
    buffer: Buffer,
    fields: Vec<fields::Field>,
}

impl Report {
    /// What `machine` allows; `self_test` is asked if nothing speaks against it.
    fn new(machine: &Machine<'_>, self_test: impl FnOnce(&Machine<'_>) -> Finding) -> Self {
        let looked_at = checks::ALL.iter().map(|(name, check)| Named {
            name,
            finding: check(machine),
        });
        let mut checks: Vec<Named> = looked_at.collect();
        let failed: Vec<&str> = checks
            .iter()
            .filter(|check| check.finding.verdict == Verdict::Fails)
            .map(|check| check.name)
            .collect();
        let finding = if failed.is_empty() {
            self_test(machine)
        } else {
            Finding::unknown(
                "not tried",
                format!("first see to what fails: {}", failed.join(", ")),
            )
        };
        checks.push(Named {
            name: "self_test",
            finding,
        });
        let fails = |check: &Named| check.finding.verdict == Verdict::Fails;
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            can_run: !checks.iter().any(fails),
            hook: machine.hook().0,
            buffer: Buffer::of(machine.config),
            fields: fields::all(machine),
            checks,
        }
    }

    /// A line for each check and field, with the remedies below.
    fn text(&self, palette: Palette) -> Result<String> {
        let column = |word: &str, paint: Paint| paint.on(format!("{word:<8}"));
        let verdict_column = |verdict: Verdict| column(verdict.word(), verdict.paint(palette));
        let mut text = String::new();
        for Named { name, finding } in &self.checks {
            let verdict = verdict_column(finding.verdict);
            // Errors name files, for one.
            writeln!(text, "{name:<17} {verdict} {}", Plain(&finding.found))?;
            if let Some(remedy) = &finding.remedy {
                writeln!(text, "{:<17} {:<8} {}", "", "remedy:", Plain(remedy))?;
            }
        }
        for field in &self.fields {
            let name = format!("field:{}", field.name);
            let line = format!(
                "{name:<17} {} {}",
                column(field.available.word(), field.available.paint(palette)),
                Plain(field.why.as_deref().unwrap_or_default())
            );
            writeln!(text, "{}", line.trim_end())?;
        }
        let (verdict, says) = if self.can_run {
            (Verdict::Ok, "dropwatch can run here")
        } else {
            (Verdict::Fails, "dropwatch can't run here")
        };
        writeln!(text, "{:<17} {} {says}", "result", verdict_column(verdict))?;
        Ok(text)
    }

    /// One object, on several lines.
    fn json(&self) -> Result<String> {
        let object = serde_json::to_string_pretty(self).context("writing the report")?;
        Ok(format::ascii_json(&object) + "\n")
    }
}

/// Prints what this machine lets dropwatch do, and returns whether it can run.
///
/// # Errors
/// Standard output can't be written to.
pub fn run(config: &Config, format: ReportFormat) -> Result<bool> {
    let watch = counters::Watch::start();
    let mut report = Report::new(&Machine::this(config), self_test::run);
    let before_the_last = report.checks.len().saturating_sub(1);
    let counters = Named {
        name: "counters",
        finding: watch.end(),
    };
    report.checks.insert(before_the_last, counters);
    let text = match format {
        ReportFormat::Text => report.text(Palette::new(color::is_wanted()))?,
        ReportFormat::Json => report.json()?,
    };
    output::print(&text)?;
    Ok(report.can_run)
}

#[cfg(test)]
mod tests;
