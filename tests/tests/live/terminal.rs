//! Lines on a terminal: color, and the line that says that nothing was dropped.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use dropwatch_tests::{
    run::Outcome,
    tmux::{PROMPT, Tmux},
};

use crate::checks::{Check, Drops};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    ("terminal/progress", progress),
    (
        "terminal/progress_is_for_terminals",
        progress_is_for_terminals,
    ),
    ("terminal/color", color),
];

const SOON: Duration = Duration::from_secs(20);

/// What the account begins with.
const ACCOUNT: &str = "dropwatch: ";

fn start(path: &Path, drops: &Drops, before: &str, flags: &str) -> Result<Tmux> {
    let tmux = Tmux::start(120, 24, SOON)?;
    // In two pieces, so that what is typed does not look like what is waited for.
    tmux.type_line(&format!(
        "D={}; {before} $D --netns {} -t none --no-stack {flags}",
        path.display(),
        drops.netns()
    ))?;
    Ok(tmux)
}

fn end(tmux: &Tmux) -> Result<String> {
    tmux.keys(&["C-c"])?;
    tmux.wait_until("the shell's prompt", SOON, |screen| {
        screen.trim_end().ends_with(PROMPT)
    })
}

/// The line comes, makes room for a drop, comes again, and is gone at the end.
fn progress(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let tmux = start(path, &drops, "", "")?;
    tmux.wait_for("0 drops printed", SOON)?;
    drops.make(2)?;
    let screen = tmux.wait_until("two lines and nothing else", SOON, |screen| {
        screen.matches("NETFILTER_DROP udp").count() == 2 && !screen.contains("0 drops printed")
    })?;
    let printed: Vec<&str> = screen.lines().filter(|line| line.contains("udp")).collect();
    ensure!(
        printed
            .iter()
            .all(|line| line.starts_with("NETFILTER_DROP")),
        "something is before the lines:\n{screen}"
    );
    tmux.wait_for("2 drops printed, the last ", SOON)?;
    let screen = end(&tmux)?;
    ensure!(
        !screen.contains("drops printed"),
        "it is still there:\n{screen}"
    );
    ensure!(screen.contains(" = 2 printed"), "no account:\n{screen}");
    let account = screen.lines().find(|line| line.contains(" = 2 printed"));
    // The terminal itself shows ^C where the key was pressed.
    ensure!(
        account.is_some_and(|line| line.trim_start_matches("^C").starts_with(ACCOUNT)),
        "something is before the account:\n{screen}"
    );
    Ok(Outcome::Passed)
}

/// Standard error of a script or a unit has diagnostics only.
fn progress_is_for_terminals(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let tmux = start(path, &drops, "", "--duration 6s 2>&1 | cat; echo done")?;
    let screen = tmux.wait_for("\ndone", SOON)?;
    ensure!(!screen.contains("drops printed"), "{screen}");
    ensure!(screen.contains(" = 0 printed"), "no account:\n{screen}");
    Ok(Outcome::Passed)
}

/// Red on a terminal, and nothing of it with `NO_COLOR`, `--color never`, or in a pipe.
fn color(path: &Path) -> Result<Outcome> {
    const RED: &str = "\x1b[1m\x1b[31mNETFILTER_DROP";
    for (before, flags, is_colored) in [
        ("", "", true),
        ("NO_COLOR=1", "", false),
        ("", "--color never", false),
        ("", "| cat", false),
        ("", "--color always | cat", true),
    ] {
        let drops = Drops::new()?;
        let tmux = start(path, &drops, before, flags)?;
        tmux.wait_for("0 drops printed", SOON)?;
        drops.make(1)?;
        tmux.wait_for("NETFILTER_DROP", SOON)?;
        let colored = tmux.colored_screen()?;
        ensure!(
            colored.contains(RED) == is_colored,
            "{before} {flags}: color is to be {is_colored}\n{colored:?}"
        );
        end(&tmux)?;
    }
    Ok(Outcome::Passed)
}
