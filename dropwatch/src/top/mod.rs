//! The live view: `dropwatch top`.
//!
//! [`App`] is what is shown and what keys do to it, [`Terminal`] the terminal, and [`run`] the loop
//! that feeds the one and draws on the other. Counts come from a [`Source`], so nothing here knows
//! where from.

mod app;
mod help;
mod level;
mod overlay;
mod packets;
mod render;
mod table;
mod terminal;
#[cfg(test)]
mod tests;
mod theme;
mod units;
mod view;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use ratatui::crossterm::event::{self, Event};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{sleep, sleep_until},
};

pub use self::{
    app::{Action, App, Options},
    terminal::{Terminal, check},
};
use crate::{groups::Groups, signals::Signals};

/// Frames are at least this far apart.
const FRAME: Duration = Duration::from_millis(100);

/// How long a process that was told to stop may take until it does.
const STOP_WITHIN: Duration = Duration::from_millis(100);

/// What a source has to tell.
#[derive(Clone, Debug)]
pub enum Update {
    /// New counts, in [`Source::groups`].
    Counts {
        /// When they were read.
        at: Instant,
        /// Where all drops went, as `1234 seen = 1000 counted + 234 filtered`.
        account: String,
    },
    /// The line of a dropped packet.
    Packet(String),
}

/// Where counts and packets come from.
pub trait Source {
    /// The next piece of news, `None` at the end. Nothing may be lost if it is dropped before it is
    /// ready: keys and signals come in between.
    ///
    /// # Errors
    /// Whatever ends the view.
    fn next(&mut self) -> impl Future<Output = Result<Option<Update>>>;

    /// The groups, with the counts of the last [`Update::Counts`].
    fn groups(&self) -> &Groups;
}

/// Shows what comes from `source` until it, the user or a signal says stop. The terminal is as
/// before when this returns.
///
/// # Errors
/// There is no terminal, it fails, or the source does.
pub async fn run(source: &mut impl Source, options: Options, signals: &mut Signals) -> Result<()> {
    let goes_on = SignalKind::from_raw(rustix::process::Signal::CONT.as_raw());
    let mut goes_on = signal(goes_on).context("listening for signals")?;
    let mut terminal = Terminal::take()?;
    let mut events = read_events();
    let mut app = App::new(options, source.groups().by());
    // When the next frame is due, if anything has changed.
    let mut due = Some(Instant::now());
    let mut next_frame = Instant::now();
    loop {
        let mut changed = true;
        select! {
            biased;
            () = signals.any() => return Ok(()),
            _ = goes_on.recv() => terminal.resume()?,
            event = events.recv() => match event.context("the terminal has gone")?? {
                Event::Key(key) => match app.key(source.groups(), key) {
                    Action::Continue => {}
                    Action::Quit => return Ok(()),
                    Action::Redraw => terminal.clear()?,
                    Action::Suspend => {
                        terminal.suspend()?;
                        select! {
                            _ = goes_on.recv() => {}
                            () = sleep(STOP_WITHIN) => {}
                        }
                        terminal.resume()?;
                    }
                },
                Event::Resize(..) => {}
                _ => changed = false,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                terminal.draw(|frame| app.render(source.groups(), frame))?;
                next_frame = Instant::now() + FRAME;
                due = None;
                changed = false;
            }
            update = source.next() => match update? {
                None => return Ok(()),
                Some(Update::Counts { at, account }) => app.update(source.groups(), at, account),
                Some(Update::Packet(line)) => app.packet(&line),
            },
        }
        if changed && due.is_none() {
            due = Some(next_frame.max(Instant::now()));
        }
    }
}

/// Reads keys and changes of size in a thread of its own, for the terminal can only be waited for.
/// It ends with the process, or at the first event that nobody takes.
fn read_events() -> mpsc::UnboundedReceiver<std::io::Result<Event>> {
    let (sender, events) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let failed = event.is_err();
            if sender.send(event).is_err() || failed {
                break;
            }
        }
    });
    events
}
