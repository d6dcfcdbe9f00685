//! What `dropwatch locate` and `--source` do as programs. Places themselves are looked up in unit
//! tests: few hosts have debug information of their kernel.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use dropwatch_tests::run::Outcome;
use tempfile::NamedTempFile;

use crate::checks::{Check, as_nobody};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    ("locate/what_can_not_be_located", what_can_not_be_located),
    ("locate/lines_of_a_pipe", lines_of_a_pipe),
    ("locate/wrong_usage", wrong_usage),
    (
        "source/without_debug_information",
        without_debug_information,
    ),
];

/// A file that is no debug file.
fn no_debug_file() -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new().context("making a file")?;
    file.write_all(b"not ELF\n").context("writing to it")?;
    Ok(file)
}

/// Runs `dropwatch locate` with these arguments and this input.
fn locate(mut command: Command, arguments: &[&str], input: &str) -> Result<Output> {
    let mut child = command
        .arg("locate")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting dropwatch locate")?;
    let mut pipe = child.stdin.take().context("a pipe to write to")?;
    pipe.write_all(input.as_bytes()).context("writing lines")?;
    drop(pipe);
    child.wait_with_output().context("waiting for it")
}

fn stdout(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// Needs no root to say so.
fn what_can_not_be_located(path: &Path) -> Result<Outcome> {
    let (_folder, command) = as_nobody(path)?;
    let arguments = ["--vmlinux", "/etc/hostname", "udp_rcv+0x1", "ip_rcv+0x2"];
    let output = locate(command, &arguments, "")?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    ensure!(
        stdout(&output) == ["udp_rcv+0x1  -", "ip_rcv+0x2  -"],
        "{output:?}"
    );
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        told.lines().count() == 1 && told.contains("no debug file of the kernel: /etc/hostname"),
        "the reason, once: {told}"
    );
    Ok(Outcome::Passed)
}

fn lines_of_a_pipe(path: &Path) -> Result<Outcome> {
    let file = no_debug_file()?;
    let file = file.path().to_string_lossy().into_owned();
    let line = "1.5 NO_SOCKET udp 10.0.0.7:5 > 10.0.0.1:9 len=8 if=lo class=refused \
                at=udp_rcv+0x1 pid=1 comm=a+0x1 owner=- netns=1 stack=f+0x1,g+0x2[m]\n";
    let json = r#"{"type":"drop","at":"ip_rcv+0x3","stack":null}"#;
    // Each stack once.
    let input = format!("{line}nothing\n{line}{json}\n");
    let output = locate(
        Command::new(path),
        &["--vmlinux", &file, "-o", "json", "-"],
        &input,
    )?;
    let frames = stdout(&output);
    let expected = ["udp_rcv+0x1", "f+0x1", "g+0x2[m]", "ip_rcv+0x3"].map(|frame| {
        format!("{{\"schema\":1,\"type\":\"location\",\"frame\":\"{frame}\",\"source\":null}}")
    });
    ensure!(frames == expected, "{output:?}");
    for (input, expected) in [
        ("a\nb\n", "none of the 2 lines"),
        ("", "standard input is empty"),
    ] {
        let output = locate(Command::new(path), &["--vmlinux", &file, "-"], input)?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1) && told.contains(expected) && told.lines().count() == 1,
            "{output:?}"
        );
    }
    Ok(Outcome::Passed)
}

fn wrong_usage(path: &Path) -> Result<Outcome> {
    for (arguments, expected) in [
        (&["a b"][..], "'a b'"),
        (&["\u{1b}[1m"], "\\u{1b}"),
        (&["--build-id", "xyz", "f"], "--build-id"),
        (&[], "required"),
    ] {
        let output = locate(Command::new(path), arguments, "")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2) && told.contains(expected),
            "{arguments:?}: {output:?}"
        );
    }
    Ok(Outcome::Passed)
}

fn without_debug_information(path: &Path) -> Result<Outcome> {
    let file = no_debug_file()?;
    let run = |flags: &[&str]| {
        let mut command = Command::new(path);
        command
            .args(["--count", "1", "--duration", "10s"])
            .args(flags);
        command.arg("--vmlinux").arg(file.path());
        command.output().context("running dropwatch")
    };
    let output = run(&["--source"])?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1)
            && output.stdout.is_empty()
            && told.starts_with("dropwatch: --source: no debug file of the kernel: ")
            && told.lines().count() == 1,
        "{output:?}"
    );
    ensure!(run(&[])?.status.code() == Some(2), "--vmlinux alone");
    Ok(Outcome::Passed)
}
