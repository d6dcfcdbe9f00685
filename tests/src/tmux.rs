//! A terminal that a test can look at: tmux, with a server of its own.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

const POLL: Duration = Duration::from_millis(50);

/// What the shell says when it waits for a command.
pub const PROMPT: &str = "ready>";

/// A shell in a terminal of tmux. Dropping it ends the server and what runs in it.
#[derive(Debug)]
pub struct Tmux {
    // The server's socket: nobody else's sessions are touched. Removed last.
    dir: TempDir,
}

impl Tmux {
    /// Starts a shell in a terminal of `width` by `height`, and waits for its prompt.
    pub fn start(width: u16, height: u16, deadline: Duration) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("dwt-")
            .tempdir()
            .context("making a folder for tmux's socket")?;
        let tmux = Self { dir };
        let mut command = tmux.command();
        command.args(["-f", "/dev/null", "new-session", "-d"]);
        command.args(["-x", &width.to_string(), "-y", &height.to_string()]);
        // A shell with job control that reads no start-up files; a panic is told in a line.
        command
            .env_remove("ENV")
            .env_remove("RUST_BACKTRACE")
            .arg("sh");
        run(&mut command)?;
        // In two pieces, so that what is typed does not look like the prompt.
        tmux.type_line("PS1='ready''> '")?;
        tmux.wait_for(PROMPT, deadline)?;
        Ok(tmux)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.socket());
        command.env_remove("TMUX").stdin(Stdio::null());
        command
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// Presses keys, by tmux's names (`Enter`, `C-c`) or as text.
    pub fn keys(&self, keys: &[&str]) -> Result<()> {
        run(self.command().arg("send-keys").args(keys)).map(drop)
    }

    /// Types a command line and Enter.
    pub fn type_line(&self, line: &str) -> Result<()> {
        run(self.command().args(["send-keys", "-l", line]))?;
        self.keys(&["Enter"])
    }

    /// What is on the screen.
    pub fn screen(&self) -> Result<String> {
        run(self.command().args(["capture-pane", "-p"]))
    }

    /// The same, with the escape sequences of color.
    pub fn colored_screen(&self) -> Result<String> {
        run(self.command().args(["capture-pane", "-p", "-e"]))
    }

    /// Makes the terminal another size.
    pub fn resize(&self, width: u16, height: u16) -> Result<()> {
        let (width, height) = (width.to_string(), height.to_string());
        let mut command = self.command();
        command.args(["resize-window", "-x", &width, "-y", &height]);
        run(&mut command).map(drop)
    }

    /// What tmux says of the terminal, by the name of its format: `alternate_on`, `cursor_flag`,
    /// `pane_tty`.
    pub fn variable(&self, name: &str) -> Result<String> {
        let format = format!("#{{{name}}}");
        let value = run(self.command().args(["display-message", "-p", &format]))?;
        Ok(value.trim_end().to_owned())
    }

    /// Waits until the screen has `text`, and gives it back.
    pub fn wait_for(&self, text: &str, deadline: Duration) -> Result<String> {
        self.wait_until(text, deadline, |screen| screen.contains(text))
    }

    /// Waits until the screen is as `is_there` wants it, which `what` says in words.
    pub fn wait_until(
        &self,
        what: &str,
        deadline: Duration,
        is_there: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let end = Instant::now() + deadline;
        loop {
            let screen = self.screen()?;
            if is_there(&screen) {
                return Ok(screen);
            }
            if Instant::now() >= end {
                bail!("not on the screen in time: {what}\n{screen}");
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // Where the last program has ended there is no server any more.
        self.command().arg("kill-server").output().ok();
    }
}

fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("running {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
