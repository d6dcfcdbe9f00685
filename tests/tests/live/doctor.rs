//! What `dropwatch doctor` and `--list-hooks` say of the running kernel.

use std::{path::Path, process::Command, str};

use anyhow::{Context as _, Result, ensure};
use dropwatch_tests::{kernel::has_kprobes, run::Outcome};
use serde_json::Value;

use crate::checks::{Check, as_nobody, programs, wait_until};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    ("doctor/root", |path| sees_its_drop(path, &[])),
    ("doctor/perf", |path| {
        sees_its_drop(path, &["--buffer", "perf"])
    }),
    ("doctor/kprobe", |path| {
        if has_kprobes() {
            sees_its_drop(path, &["--hook", "kprobe"])
        } else {
            refuses_kprobe(path)
        }
    }),
    ("doctor/not_root", says_what_is_missing),
    ("doctor/no_btf", goes_on_without_btf),
    ("doctor/closed_reader", closed_reader),
    ("doctor/list_hooks", list_hooks),
];

/// A finished run of `command`: exit status and the JSON object on standard output.
fn report(command: &mut Command) -> Result<(Option<i32>, Value)> {
    let output = command
        .args(["doctor", "-o", "json"])
        .output()
        .context("running it")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(!stderr.contains("panicked"), "{stderr}");
    let object = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&output.stdout)))?;
    Ok((output.status.code(), object))
}

fn report_with(path: &Path, flags: &[&str]) -> Result<(Option<i32>, Value)> {
    let mut command = Command::new("sh");
    // The flags come behind the command, which `report` adds.
    command.args(["-c", r#"flags=$1; shift; exec "$0" "$@" $flags"#]);
    command.arg(path).arg(flags.join(" "));
    report(&mut command)
}

/// Verdict and remedy of a check.
fn verdict<'a>(report: &'a Value, name: &str) -> Result<(&'a str, &'a str)> {
    let checks = report["checks"].as_array().context("checks")?;
    let check = checks.iter().find(|check| check["name"] == name);
    let check = check.with_context(|| format!("no check {name}: {report}"))?;
    let text = |key: &str| check[key].as_str().unwrap_or_default();
    Ok((text("verdict"), text("remedy")))
}

fn sees_its_drop(path: &Path, flags: &[&str]) -> Result<Outcome> {
    let before = programs()?;
    let (status, report) = report_with(path, flags)?;
    ensure!(
        status == Some(0) && report["can_run"] == true && report["schema"] == 1,
        "{status:?}: {report:#}"
    );
    ensure!(verdict(&report, "self_test")?.0 == "ok", "{report:#}");
    let self_test = report["checks"].as_array().and_then(|checks| checks.last());
    let found = self_test.and_then(|check| check["found"].as_str());
    let line = found.context("what the self-test found")?;
    ensure!(
        line.contains(" > 127.0.0.1:9 ") && line.contains(" if=lo "),
        "{line}"
    );
    // The kernel unloads programs when it finds the time.
    wait_until(|| programs().is_ok_and(|after| after.is_subset(&before)))
        .context("waiting for the self-test's programs to go")?;
    Ok(Outcome::Passed)
}

fn refuses_kprobe(path: &Path) -> Result<Outcome> {
    let (status, report) = report_with(path, &["--hook", "kprobe"])?;
    ensure!(
        status == Some(1) && report["can_run"] == false,
        "{report:#}"
    );
    let (verdict, remedy) = verdict(&report, "hook")?;
    ensure!(
        verdict == "fails" && remedy.contains("--hook auto"),
        "{report:#}"
    );
    ensure!(report["hook"].is_null(), "{report:#}");
    Ok(Outcome::Passed)
}

fn says_what_is_missing(path: &Path) -> Result<Outcome> {
    let (_dir, mut command) = as_nobody(path)?;
    let (status, report) = report(&mut command)?;
    ensure!(
        status == Some(1) && report["can_run"] == false,
        "{report:#}"
    );
    let (capabilities, remedy) = verdict(&report, "capabilities")?;
    ensure!(
        capabilities == "fails" && remedy.contains("CAP_BPF"),
        "{report:#}"
    );
    for name in ["ring_buffer", "self_test"] {
        let (verdict, remedy) = verdict(&report, name)?;
        ensure!(verdict == "unknown" && !remedy.is_empty(), "{report:#}");
    }
    // What takes no privileges is looked at all the same.
    ensure!(verdict(&report, "kernel")?.0 == "ok", "{report:#}");
    Ok(Outcome::Passed)
}

fn goes_on_without_btf(path: &Path) -> Result<Outcome> {
    let (status, report) = report_with(path, &["--kernel-btf", "/nonexistent"])?;
    ensure!(status == Some(1), "{report:#}");
    let (btf, remedy) = verdict(&report, "btf")?;
    ensure!(
        btf == "fails" && remedy.contains("--kernel-btf"),
        "{report:#}"
    );
    ensure!(verdict(&report, "capabilities")?.0 == "ok", "{report:#}");
    Ok(Outcome::Passed)
}

/// A pipe whose reader has seen enough is no failure.
fn closed_reader(path: &Path) -> Result<Outcome> {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"{ "$0" doctor; echo "status $?" >&2; } | true"#]);
    let output = shell.arg(path).output().context("running it")?;
    let stderr = str::from_utf8(&output.stderr)?;
    ensure!(stderr == "status 0\n", "{stderr}");
    Ok(Outcome::Passed)
}

fn list_hooks(path: &Path) -> Result<Outcome> {
    let mut command = Command::new(path);
    let output = command.arg("--list-hooks").output().context("running it")?;
    let text = str::from_utf8(&output.stdout)?;
    ensure!(output.status.success(), "{output:?}");
    let used: Vec<&str> = text.lines().filter(|it| it.starts_with("used ")).collect();
    let [used] = used[..] else {
        anyhow::bail!("one hook is used: {text}");
    };
    ensure!(
        used.contains("kfree_skb ") && used.contains("(sk_buff *, void *"),
        "{used}"
    );
    ensure!(
        text.lines()
            .any(|line| line.contains(" function ") && line.contains("consume_skb")),
        "{text}"
    );
    Ok(Outcome::Passed)
}
