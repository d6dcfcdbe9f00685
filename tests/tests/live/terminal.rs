//! Lines on a terminal: color, and the line that says that nothing was dropped.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Result, ensure};
use dropwatch_tests::{
    dropwatch::Dropwatch,
    netns::NamedNetns,
    run::Outcome,
    tmux::{PROMPT, Tmux},
    traffic::{self, v4},
    world::run_command,
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
    ("terminal/hostile_names", hostile_names),
];

/// A color, a way to write backwards, the end of a line: what a process, an interface or a
/// namespace may be called.
const HOSTILE: &str = "a\u{1b}[31m\u{202e}\nb";

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

/// Names that others choose come as visible ASCII in each view, in lines of their own only.
fn hostile_names(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    // White space is refused in names of interfaces.
    let interface = HOSTILE.replace('\n', "");
    drops.within(|| {
        run_command("ip link set lo down")?;
        run_command(&format!("ip link set lo name '{interface}'"))?;
        run_command(&format!("ip link set '{interface}' up"))
    })?;
    let netns = drops.netns();
    let _name = NamedNetns::beginning(drops.namespace(), HOSTILE)?;
    for flags in [
        &["--fields", "all"][..],
        &["--output", "json"],
        &["--counters", "--no-stack"],
        &["summary", "--by", "reason,comm,if"],
        &["summary", "--by", "netns,comm"],
        &["summary", "--by", "comm,netns", "--output", "json"],
        &["summary", "--by", "stack", "--output", "folded"],
        &["summary", "--by", "stack", "--output", "svg"],
    ] {
        let args = [flags, &["--netns", &netns]].concat();
        let mut dropwatch = Dropwatch::spawn(path, &args)?;
        dropwatch.wait_ready()?;
        drops.within(|| {
            fs::write("/proc/thread-self/comm", HOSTILE)?;
            let local = |port| v4([127, 0, 0, 1], port);
            traffic::udp(local(40500), local(9), 2, 10).map(drop)
        })?;
        thread::sleep(Duration::from_millis(300));
        let ended = dropwatch.stop()?;
        ended.expect_status(0)?;
        for text in [&ended.stdout, &ended.stderr] {
            let is_plain = |byte: u8| byte == b'\n' || (b' '..=b'~').contains(&byte);
            ensure!(text.bytes().all(is_plain), "{flags:?}: {text:?}");
            ensure!(!text.contains("\nb "), "{flags:?}: {text:?}");
        }
        if !flags.contains(&"stack") {
            // It is there all the same.
            ensure!(ended.stdout.contains("[31m"), "{flags:?}: {}", ended.stdout);
        }
    }
    Ok(Outcome::Passed)
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
