//! What the live view does to a terminal, seen through tmux.

use std::{env, fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dropwatch_tests::{
    run::Outcome,
    tmux::{PROMPT, Tmux},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    checks::{Check, Drops},
    top_demo,
};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    ("top/keys_and_sizes", keys_and_sizes),
    ("top/gives_the_terminal_back", gives_the_terminal_back),
    ("top/suspends", suspends),
    ("top/needs_a_terminal", needs_a_terminal),
    ("top/real_drops", real_drops),
];

/// For whatever has to happen "at once", on a machine that may be busy.
const SOON: Duration = Duration::from_secs(20);

/// On the screen of the view only.
const VIEW: &str = "dropwatch top";

/// A terminal with the view in it.
struct View {
    tmux: Tmux,
    /// The terminal's settings before, as stty prints them for itself.
    settings: String,
}

impl View {
    fn start(args: &str) -> Result<Self> {
        let own = env::current_exe().context("finding the own program")?;
        Self::start_command(&format!("{} {} {args}", own.display(), top_demo::NAME))
    }

    fn start_command(command: &str) -> Result<Self> {
        let tmux = Tmux::start(100, 24, SOON)?;
        let settings = settings(&tmux)?;
        tmux.type_line(command)?;
        Ok(Self { tmux, settings })
    }

    /// Waits until the shell has the terminal again, and checks that it is as it was.
    fn has_given_back(&self) -> Result<()> {
        let Self { tmux, settings } = self;
        tmux.wait_until("the shell's prompt", SOON, |screen| {
            !screen.contains(VIEW) && screen.trim_end().ends_with(PROMPT)
        })?;
        ensure!(
            tmux.variable("alternate_on")? == "0",
            "the screen is not the usual one"
        );
        ensure!(
            tmux.variable("cursor_flag")? == "1",
            "the cursor can't be seen"
        );
        let now = self::settings(tmux)?;
        ensure!(now == *settings, "terminal settings {settings}, then {now}");
        Ok(())
    }

    /// The process in the terminal's foreground.
    fn pid(&self) -> Result<Pid> {
        let shell = self.tmux.variable("pane_pid")?;
        let stat = fs::read_to_string(format!("/proc/{shell}/stat")).context("the shell")?;
        // The fields behind the name: state, ppid, pgrp, session, tty_nr, tpgid (proc(5)).
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        let group = fields.split(' ').nth(5).unwrap_or_default();
        Ok(Pid::from_raw(
            group.parse().context("the foreground process group")?,
        ))
    }
}

fn settings(tmux: &Tmux) -> Result<String> {
    let tty = tmux.variable("pane_tty")?;
    let output = Command::new("stty").args(["-F", &tty, "-g"]).output();
    let output = output.context("running stty")?;
    ensure!(output.status.success(), "stty failed: {output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn keys_and_sizes(_: &Path) -> Result<Outcome> {
    let view = View::start("40")?;
    view.tmux.wait_for("NETFILTER_DROP", SOON)?;
    view.tmux.keys(&["/", "n", "o", "_", "s", "Enter"])?;
    view.tmux.wait_until("one reason", SOON, |screen| {
        screen.contains("/no_s") && !screen.contains("NETFILTER_DROP")
    })?;
    view.tmux.keys(&["Enter"])?;
    view.tmux.wait_for("all > reason NO_SOCKET", SOON)?;
    view.tmux.keys(&["Enter"])?;
    view.tmux.wait_for("> at __udp4_lib_rcv+0x517", SOON)?;
    view.tmux.keys(&["Enter"])?;
    view.tmux.wait_for("LAST PACKETS", SOON)?;
    for (width, height) in [(20, 5), (1, 1), (150, 40)] {
        view.tmux.resize(width, height)?;
    }
    view.tmux.wait_for("group by", SOON)?;
    view.tmux.keys(&["?"])?;
    view.tmux
        .wait_for("missing in all of these numbers", SOON)?;
    view.tmux.keys(&["x", "q"])?;
    view.has_given_back()?;
    Ok(Outcome::Passed)
}

fn gives_the_terminal_back(_: &Path) -> Result<Outcome> {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let view = View::start("40")?;
        view.tmux.wait_for("NETFILTER_DROP", SOON)?;
        ensure!(
            view.tmux.variable("alternate_on")? == "1",
            "it has its own screen"
        );
        kill(view.pid()?, signal).context("sending the signal")?;
        view.has_given_back()?;
    }
    let view = View::start("40 panic")?;
    view.tmux.wait_for("told to panic", SOON)?;
    view.has_given_back()?;
    Ok(Outcome::Passed)
}

fn suspends(_: &Path) -> Result<Outcome> {
    let view = View::start("40")?;
    view.tmux.wait_for("NETFILTER_DROP", SOON)?;
    view.tmux.keys(&["C-z"])?;
    view.has_given_back()?;
    view.tmux.type_line("fg")?;
    view.tmux.wait_for("NETFILTER_DROP", SOON)?;
    view.tmux.keys(&["q"])?;
    view.has_given_back()?;
    Ok(Outcome::Passed)
}

/// From a reason down to the packets; the account stays when the view is gone.
fn real_drops(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    // In two pieces, so that what is typed does not look like the view.
    let view = View::start_command(&format!(
        "D={}; $D top --interval 200ms --netns {}",
        path.display(),
        drops.netns()
    ))?;
    view.tmux.wait_for(VIEW, SOON)?;
    // Drops of other namespaces are seen meanwhile, and filtered.
    view.tmux.wait_for("0 counted", SOON)?;
    drops.make(250)?;
    view.tmux.wait_for("NETFILTER_DROP", SOON)?;
    view.tmux.wait_for("250 counted", SOON)?;
    view.tmux.keys(&["Enter"])?;
    view.tmux.wait_for("all > reason NETFILTER_DROP", SOON)?;
    view.tmux.keys(&["Enter"])?;
    view.tmux.wait_for("127.0.0.1", SOON)?;
    view.tmux.keys(&["Enter"])?;
    view.tmux.wait_for("LAST PACKETS", SOON)?;
    view.tmux
        .wait_for("udp 127.0.0.1:40500 > 127.0.0.1:9", SOON)?;
    view.tmux.keys(&["q"])?;
    view.has_given_back()?;
    view.tmux.wait_for(" = 250 counted", SOON)?;
    Ok(Outcome::Passed)
}

fn needs_a_terminal(_: &Path) -> Result<Outcome> {
    let own = env::current_exe().context("finding the own program")?;
    let output = Command::new(own)
        .arg(top_demo::NAME)
        .output()
        .context("starting the view")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "it was to fail");
    ensure!(
        said.lines().count() == 1 && said.contains("top needs a terminal"),
        "{said}"
    );
    Ok(Outcome::Passed)
}
