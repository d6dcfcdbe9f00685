//! Standard output: lines (or packets) are collected and written in one piece, and a reader
//! that is slow or gone is noticed without anything being blocked.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    fs::File,
    io::{self, ErrorKind, IsTerminal as _, Write as _},
    os::fd::AsFd as _,
};

use anyhow::{Context as _, Result};
use rustix::termios::tcgetwinsize;
use tokio::io::{Interest, unix::AsyncFd};

use crate::{non_blocking::NonBlocking, poll::poll, progress, stderr::Stderr};

/// Bytes of lines that may wait for a slow reader at least.
const HIGH_WATER: usize = 1 << 20;
/// Most bytes beyond that.
const MAX_EXTRA: u32 = 64 << 20;

/// Where lines go.
pub struct Output {
    sink: Sink,
    /// Lines, of which the first `written` bytes are out.
    pending: Vec<u8>,
    written: usize,
    /// Bytes that were in front of `pending`.
    gone: u64,
    /// Start and end of each line whose end is not out, in bytes of all output.
    lines: VecDeque<(u64, u64)>,
    lines_written: u64,
    /// Bytes that may wait before [`Output::is_full`].
    room: usize,
    is_terminal: bool,
}

enum Sink {
    /// A pipe, a terminal or a socket.
    Polled(AsyncFd<NonBlocking>),
    /// A file, or anything that can't be polled: a write takes what it takes.
    Direct(File),
}

/// Whether the reader still takes lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// It does, or there is a file.
    Present,
    /// The other end of the pipe is closed.
    Gone,
}

/// Columns of the terminal that standard output is, `None` where it is none.
#[must_use]
pub fn terminal_width() -> Option<usize> {
    let size = tcgetwinsize(io::stdout().as_fd()).ok()?;
    // Some terminals do not know their size and say 0.
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

impl Output {
    /// Takes standard output; `extra` bytes of lines more than usual may wait for a slow reader.
    ///
    /// # Errors
    /// Standard output can't be opened.
    pub fn stdout(extra: u32) -> Result<Self> {
        let sink = open_sink().context("opening standard output")?;
        Ok(Self::new(sink, extra))
    }

    fn new(sink: Sink, extra: u32) -> Self {
        Self {
            sink,
            pending: Vec::new(),
            written: 0,
            gone: 0,
            lines: VecDeque::new(),
            lines_written: 0,
            room: HIGH_WATER + extra.min(MAX_EXTRA) as usize,
            is_terminal: io::stdout().is_terminal(),
        }
    }

    /// Whether it is a terminal, or was one until that was closed.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Columns of the terminal, `None` where output goes elsewhere.
    pub fn terminal_width(&self) -> Option<usize> {
        terminal_width()
    }

    /// Adds the line that `write` appends, newline included.
    pub fn add_line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.end();
        write(&mut self.pending);
        self.lines.push_back((start, self.end()));
    }

    /// Bytes of all output so far, what waits included.
    fn end(&self) -> u64 {
        self.gone + self.pending.len() as u64
    }

    /// Adds what comes before the first line; no number of lines has it in it.
    pub fn add_first(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.pending);
    }

    /// Adds a line that no number of lines has in it. No other may follow.
    pub fn add_last(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.pending);
    }

    /// Forgets lines that wait, and returns their number. The rest of a line that is
    /// partly out stays, or what follows would be joined to the first part.
    pub fn give_up(&mut self) -> u64 {
        let Some(&(start, end)) = self.lines.front() else {
            return 0;
        };
        let is_begun = start < self.gone + self.written as u64;
        let kept = if is_begun { end } else { start };
        self.pending.truncate((kept - self.gone) as usize);
        let waiting = self.lines.len();
        self.lines.truncate(usize::from(is_begun));
        (waiting - self.lines.len()) as u64
    }

    /// Lines that are out completely.
    pub fn lines_written(&self) -> u64 {
        self.lines_written
    }

    /// Lines that wait, the one that is partly out included.
    pub fn lines_pending(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Whether so much waits that no more lines should be added.
    pub fn is_full(&self) -> bool {
        self.unwritten().len() >= self.room
    }

    /// Whether lines wait for the reader.
    pub fn is_pending(&self) -> bool {
        !self.unwritten().is_empty()
    }

    fn unwritten(&self) -> &[u8] {
        self.pending.get(self.written..).unwrap_or_default()
    }

    /// Writes as much as the reader takes now.
    ///
    /// # Errors
    /// Writing failed, other than by the reader's going away.
    pub fn flush(&mut self) -> Result<Reader> {
        while self.written < self.pending.len() {
            let unwritten = self.pending.get(self.written..).unwrap_or_default();
            let result = match &self.sink {
                Sink::Polled(file) => file.get_ref().write(unwritten),
                Sink::Direct(file) => (&*file).write(unwritten),
            };
            match result {
                Ok(count) => {
                    self.written += count;
                    let out = self.gone + self.written as u64;
                    while self.lines.pop_front_if(|(_, end)| *end <= out).is_some() {
                        self.lines_written += 1;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Reader::Gone),
                Err(error) => return Err(error).context("writing to standard output"),
            }
        }
        if self.written == self.pending.len() {
            self.gone += self.written as u64;
            self.pending.clear();
            self.written = 0;
        } else if self.written >= HIGH_WATER && self.written >= self.pending.len() / 2 {
            // A reader that never catches up must not make this grow; and no byte is moved often.
            self.gone += self.written as u64;
            self.pending.drain(..self.written);
            self.written = 0;
        }
        Ok(Reader::Present)
    }

    /// Waits until the reader takes more; never returns where writes are
    /// direct.
    ///
    /// # Errors
    /// Standard output can't be polled.
    pub async fn writable(&self) -> Result<()> {
        self.ready(Interest::WRITABLE).await
    }

    /// Waits until the reader has gone; never returns where that can't be
    /// known.
    ///
    /// # Errors
    /// Standard output can't be polled.
    pub async fn reader_gone(&self) -> Result<()> {
        self.ready(Interest::ERROR).await
    }

    async fn ready(&self, interest: Interest) -> Result<()> {
        match &self.sink {
            Sink::Polled(file) => {
                let mut ready = file
                    .ready(interest)
                    .await
                    .context("waiting for standard output")?;
                ready.clear_ready();
                Ok(())
            }
            Sink::Direct(_) => std::future::pending().await,
        }
    }
}

/// Writes to standard output what is not a stream of drops; a reader that has seen enough is no
/// failure.
///
/// # Errors
/// Standard output can't be written to.
pub fn print(text: impl AsRef<[u8]>) -> Result<Reader> {
    let mut output = io::stdout().lock();
    match output
        .write_all(text.as_ref())
        .and_then(|()| output.flush())
    {
        Ok(()) => Ok(Reader::Present),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error).context("writing to standard output"),
    }
}

/// Says something on standard error, as one line.
pub fn say(what: &impl fmt::Display) {
    progress::erase();
    // Nobody is left to tell if standard error is closed.
    drop(Stderr.write_all(format!("dropwatch: {}\n", Plain(what)).as_bytes()));
}

/// Says an error; with `-vv` in as many lines as it has, for the verifier's log has many.
pub fn say_error(error: &anyhow::Error) {
    let text = format!("{error:#}");
    if log::log_enabled!(log::Level::Debug) {
        error_lines(&text).for_each(|line| say(&line));
    } else {
        say(&text);
    }
}

/// The lines of an error. All but the first are set in: what others have named makes no message of
/// its own.
fn error_lines(text: &str) -> impl Iterator<Item = String> {
    let margins = std::iter::once("").chain(std::iter::repeat("  "));
    let lines = margins.zip(text.lines());
    lines.map(|(margin, line)| format!("{margin}{line}"))
}

/// Text with nothing in it that could control a terminal or begin another line: others choose names
/// of files, namespaces and control groups. Quotes and backslashes stay as they are.
pub struct Plain<T>(pub T);

impl<T: fmt::Display> fmt::Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.to_string().chars() {
            match character {
                '\'' | '"' | '\\' => f.write_char(character)?,
                // Leaves visible characters alone.
                _ => write!(f, "{}", character.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// What somebody gave, in quotes and as [`Plain`] text; cut where it is long.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

/// Most characters that are quoted.
const QUOTED: usize = 100;

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(QUOTED) {
            Some((end, _)) => write!(f, "'{}…'", Plain(&self.0[..end])),
            None => write!(f, "'{}'", Plain(self.0)),
        }
    }
}

fn open_sink() -> io::Result<Sink> {
    let polled = NonBlocking::open(1, io::stdout());
    let polled = polled.and_then(|it| poll(it, Interest::WRITABLE | Interest::ERROR));
    // Devices such as /dev/null can't be polled.
    polled.map(Sink::Polled).or_else(|_cannot| {
        let inherited = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Sink::Direct(inherited.into()))
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{PipeReader, Read as _, pipe},
        os::fd::OwnedFd,
        thread,
    };

    use super::*;

    /// An output that goes to a pipe.
    fn piped() -> (Output, PipeReader) {
        let (reader, writer) = pipe().unwrap();
        let writer = OwnedFd::from(writer);
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        (Output::new(Sink::Direct(writer.into()), 0), reader)
    }

    /// Adds a line of its number and so many bytes.
    fn add(output: &mut Output, number: usize, len: usize) {
        output.add_line(|line| {
            let text = format!("{number:0>width$}\n", width = len - 1);
            line.extend_from_slice(text.as_bytes());
        });
    }

    fn finish(mut output: Output, mut reader: PipeReader) -> (Output, String) {
        let text = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        while output.is_pending() {
            assert_eq!(output.flush().unwrap(), Reader::Present);
        }
        output.sink = Sink::Direct(File::open("/dev/null").unwrap());
        let text = text.join().unwrap().unwrap();
        (output, text)
    }

    #[test]
    fn what_is_said_controls_no_terminal() {
        let said = |text: &str| Plain(text).to_string();
        for text in ["plain 'words' \"and\" a\\b", "café 北京"] {
            assert_eq!(said(text), text);
        }
        let shown = said("/\u{1b}[31mX\u{202e}\n\u{9b}\u{2066}\r");
        assert_eq!(shown, r"/\u{1b}[31mX\u{202e}\n\u{9b}\u{2066}\r");
    }

    #[test]
    fn an_error_is_one_message() {
        let lines: Vec<_> = error_lines("creating /x\n9 seen = 9 printed: no").collect();
        assert_eq!(lines, ["creating /x", "  9 seen = 9 printed: no"]);
    }

    #[test]
    fn what_is_quoted_is_short() {
        assert_eq!(Quoted("a b\x1b").to_string(), r"'a b\u{1b}'");
        assert_eq!(Quoted(&"é".repeat(100)).to_string().chars().count(), 102);
        let long = Quoted(&"é".repeat(1000)).to_string();
        assert!(
            long.ends_with("é…'") && long.chars().count() == 103,
            "{long}"
        );
    }

    #[test]
    fn a_line_that_is_partly_out_is_finished() {
        // Pages, and how much of them is free, decide where a write falls short.
        for len in [1000, 4096, 4097] {
            let (mut output, reader) = piped();
            for number in 0..100 {
                add(&mut output, number, len);
            }
            assert_eq!(output.flush().unwrap(), Reader::Present);
            let (written, pending) = (output.lines_written(), output.lines_pending());
            assert_eq!(written + pending, 100);
            let given_up = output.give_up();
            let begun = output.lines_pending();
            assert!(begun <= 1 && given_up + begun == pending);
            output.add_last(|line| line.extend_from_slice(b"the end\n"));
            let (output, text) = finish(output, reader);
            assert_eq!(output.lines_written(), written + begun);
            assert_eq!(output.lines_pending(), 0);
            let mut lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.pop(), Some("the end"));
            assert_eq!(lines.len() as u64, output.lines_written());
            for (number, line) in lines.into_iter().enumerate() {
                assert_eq!(line.len(), len - 1);
                assert_eq!(line.parse(), Ok(number));
            }
        }
    }

    #[test]
    fn what_has_not_begun_is_given_up() {
        let (mut output, reader) = piped();
        add(&mut output, 1, 10);
        output.flush().unwrap();
        add(&mut output, 2, 10);
        add(&mut output, 3, 10);
        assert_eq!(output.give_up(), 2);
        let (output, text) = finish(output, reader);
        assert_eq!((text.as_str(), output.lines_written()), ("000000001\n", 1));
    }
}
