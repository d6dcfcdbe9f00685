//! The terminal: taken for the view, and given back whatever happens.

use std::{
    io::{self, IsTerminal as _, Stdout},
    panic,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result, bail, ensure};
use ratatui::{
    Frame,
    backend::CrosstermBackend,
    crossterm::{
        cursor::{Hide, Show},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
    layout::Rect,
};
use rustix::process::{Signal, kill_current_process_group};

/// Whether the terminal is the view's. Static, because a panic hook has to know.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Terminals are given back before a panic is told of.
static HOOK: Once = Once::new();

/// A terminal in raw mode on its alternate screen. Dropping it gives the terminal back.
pub struct Terminal {
    inner: ratatui::Terminal<CrosstermBackend<Stdout>>,
}

/// Checks that there is a terminal to read keys from and to draw on.
///
/// # Errors
/// Says that there is none, and what to use instead.
pub fn check() -> Result<()> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        bail!("top needs a terminal; for pipes use dropwatch summary");
    }
    Ok(())
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// There is none, or it can't be set up.
    pub fn take() -> Result<Self> {
        check()?;
        HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                give_back();
                previous(info);
            }));
        });
        enter()?;
        let inner = ratatui::Terminal::new(CrosstermBackend::new(io::stdout()));
        let inner = inner.inspect_err(|_| give_back());
        Ok(Self {
            inner: inner.context("setting up the terminal")?,
        })
    }

    /// Draws what has changed.
    ///
    /// # Errors
    /// The terminal can't be written to, or was given back because of a panic.
    pub fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        ensure!(
            TAKEN.load(Ordering::Relaxed),
            "the terminal was given back, for a thread has panicked"
        );
        self.inner.draw(render).context("writing to the terminal")?;
        Ok(())
    }

    /// Makes the next frame a whole one.
    ///
    /// # Errors
    /// The terminal can't be written to.
    pub fn clear(&mut self) -> Result<()> {
        // Not its `clear`, which asks the terminal where the cursor is: the answer would go to whoever
        // reads keys.
        let size = self
            .inner
            .size()
            .context("asking for the terminal's size")?;
        let area = Rect::new(0, 0, size.width, size.height);
        self.inner.resize(area).context("writing to the terminal")
    }

    /// Gives the terminal back and stops all processes of the job, as Ctrl-Z does.
    ///
    /// The signal may reach another thread, so this can return before the process stops; take the
    /// terminal with [`Terminal::resume`] only after `SIGCONT`, or after a while: where there is no
    /// job control nothing stops.
    ///
    /// # Errors
    /// The signal can't be sent.
    pub fn suspend(&mut self) -> Result<()> {
        give_back();
        kill_current_process_group(Signal::TSTP).context("stopping as Ctrl-Z does")
    }

    /// Takes the terminal again, whatever has been done with it.
    ///
    /// # Errors
    /// The terminal can't be set up.
    pub fn resume(&mut self) -> Result<()> {
        // After a stop from outside the terminal still counts as taken, but the shell has its own
        // settings on it.
        enter()?;
        self.clear()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter() -> Result<()> {
    enable_raw_mode().context("setting the terminal to raw mode")?;
    TAKEN.store(true, Ordering::Relaxed);
    execute!(io::stdout(), EnterAlternateScreen, Hide)
        .inspect_err(|_| give_back())
        .context("writing to the terminal")
}

/// Gives the terminal back if it is taken. A terminal that has gone can't be helped.
fn give_back() {
    if TAKEN.swap(false, Ordering::Relaxed) {
        drop(execute!(io::stdout(), LeaveAlternateScreen, Show));
        drop(disable_raw_mode());
    }
}
