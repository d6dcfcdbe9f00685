//! The session as the source of the live view.

use std::{env, ffi::OsString};

use anyhow::Result;
use rustix::system::uname;
use tokio::{
    select,
    time::{Instant, Interval, sleep_until},
};

use super::{NAMES_INTERVAL, Session, ticks};
use crate::{
    cli::joined,
    color,
    config::TopOptions,
    groups::Groups,
    output::Reader,
    signals::Signals,
    top::{self, Source, Update},
};

impl Session<'_> {
    /// Shows drops on the full screen until the user says stop, or the time is over.
    pub(super) async fn watch(
        &mut self,
        options: &TopOptions,
        signals: &mut Signals,
    ) -> Result<Reader> {
        let system = uname();
        let view = top::Options {
            host: system.nodename().to_string_lossy().into_owned(),
            kernel: system.release().to_string_lossy().into_owned(),
            filters: flags(env::args_os()),
            interval: options.interval,
            started: std::time::Instant::now(),
            color: color::is_wanted(),
        };
        let end = self.end();
        let mut live = Live {
            end,
            due: ticks(options.interval),
            names_due: ticks(NAMES_INTERVAL),
            drained: 0,
            session: self,
        };
        // What is said in between would be written over the screen. Losses are in the view.
        let level = log::max_level();
        log::set_max_level(log::LevelFilter::Off);
        let ended = top::run(&mut live, view, signals).await;
        log::set_max_level(level);
        ended.map(|()| Reader::Present)
    }
}

/// The flags behind the command, for the view's header.
fn flags(args: impl Iterator<Item = OsString>) -> String {
    joined(args.skip_while(|arg| arg != "top").skip(1))
}

struct Live<'a, 'b> {
    session: &'a mut Session<'b>,
    end: Option<Instant>,
    /// When the counts are looked at.
    due: Interval,
    /// When the names of filters are looked at.
    names_due: Interval,
    /// How many records the last look at the buffer gave.
    drained: usize,
}

impl Source for Live<'_, '_> {
    async fn next(&mut self) -> Result<Option<Update>> {
        loop {
            if let Some(line) = self.session.records.next_line() {
                return Ok(Some(Update::Packet(line)));
            }
            let end = self.end;
            select! {
                biased;
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => return Ok(None),
                _ = self.due.tick() => {
                    let account = self.session.account()?.settled();
                    let session = &mut *self.session;
                    session.records.read_groups(&session.kernel)?;
                    return Ok(Some(Update::Counts {
                        at: std::time::Instant::now(),
                        account: account.to_string(),
                    }));
                }
                _ = self.names_due.tick(), if self.session.has_names() => {
                    self.session.follow_names();
                }
                result = self.session.transport.wait(self.drained) => result?,
            }
            self.drained = self.session.drain();
        }
    }

    fn groups(&self) -> &Groups {
        &self.session.records.groups
    }
}

#[cfg(test)]
mod tests {
    use super::flags;

    #[test]
    fn the_header_shows_what_was_asked_for() {
        let flags = |words: &[&str]| flags(words.iter().map(Into::into));
        assert_eq!(flags(&["dropwatch", "top"]), "");
        assert_eq!(
            flags(&["dropwatch", "top", "--port", "53", "-4"]),
            "--port 53 -4"
        );
    }
}
