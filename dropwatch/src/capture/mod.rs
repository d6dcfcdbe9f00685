//! Packets, or recordings, to files: `--write FILE`, with `--rotate` and `--keep`.
//!
//! The format is one for all files of a run; each of them begins and ends as a whole
//! one and can be read by itself.

mod files;
mod recording;

use anyhow::{Result, bail};
use jiff::tz::TimeZone;

pub use self::files::FileId;
use self::files::Files;
pub use self::recording::{about_this_run, reasons_of};
use crate::{
    account::Account,
    config::Write,
    format::{Format, Host, LineFormat, PcapngFormat, PcapngOptions, TextOptions},
    record::DropRecord,
    recording::Recorder,
};

/// Bytes that wait to be written at most, all but one packet.
const HIGH_WATER: usize = 1 << 20;

/// A format of files.
pub trait Encoder {
    /// Appends what a file begins with. Nothing that was in files before counts for it.
    fn begin(&mut self, file: &mut Vec<u8>);

    /// Tells what local time is from here on, in place of the system's.
    fn set_zone(&mut self, _zone: TimeZone) {}

    /// Appends one drop.
    fn add(&mut self, record: &DropRecord<'_>, file: &mut Vec<u8>);

    /// Appends what a file ends with; `account` is known in the last file of a run
    /// alone.
    fn end(&mut self, account: Option<&Account>, file: &mut Vec<u8>);
}

impl Encoder for PcapngFormat {
    fn begin(&mut self, file: &mut Vec<u8>) {
        self.write_head(file);
    }

    fn add(&mut self, record: &DropRecord<'_>, file: &mut Vec<u8>) {
        self.write(record, file);
    }

    fn end(&mut self, account: Option<&Account>, file: &mut Vec<u8>) {
        if let Some(account) = account {
            self.write_account(account, file);
        }
    }
}

/// The format of packets for `write`, which take the comments from lines of `lines`.
#[must_use]
pub fn pcapng(write: &Write, lines: &LineFormat) -> PcapngFormat {
    PcapngFormat::new(PcapngOptions {
        snaplen: write.snaplen,
        is_cooked: write.is_cooked,
        text: match lines {
            LineFormat::Text(options) => options.clone(),
            LineFormat::Json => TextOptions::default(),
        },
        host: Host::this(),
    })
}

/// The file that packets are written to, and those before it.
pub struct Capture {
    encoder: Box<dyn Encoder>,
    files: Files,
    /// What is not written yet.
    pending: Vec<u8>,
    /// Where each packet in it ends.
    ends: Vec<usize>,
    /// Packets that are written, in all files.
    packets: u64,
    /// Those in the files before the one that is written.
    packets_before: u64,
    /// Why nothing is written any more, until it was told.
    failure: Option<anyhow::Error>,
    has_failed: bool,
}

impl Capture {
    /// Creates the file of `--write`, if there is one: a recording that `recorder` makes, or
    /// packets with comments as `lines`. It replaces none of `inputs`, which are being read.
    ///
    /// # Errors
    /// It can't be created, or what has its name must not be replaced.
    pub fn open(
        write: Option<&Write>,
        lines: &LineFormat,
        inputs: &[FileId],
        recorder: impl FnOnce() -> Recorder,
    ) -> Result<Option<Self>> {
        let Some((write, path)) = write.and_then(|write| Some((write, write.file.as_ref()?)))
        else {
            return Ok(None);
        };
        let encoder: Box<dyn Encoder> = match write.is_recording {
            true => Box::new(recorder()),
            false => Box::new(pcapng(write, lines)),
        };
        let mut capture = Self {
            encoder,
            files: Files::create(path, write.rotation, inputs)?,
            pending: Vec::new(),
            ends: Vec::new(),
            packets: 0,
            packets_before: 0,
            failure: None,
            has_failed: false,
        };
        capture.encoder.begin(&mut capture.pending);
        capture.flush()?;
        Ok(Some(capture))
    }

    /// Tells what local time is from here on, in place of the system's.
    pub fn set_zone(&mut self, zone: TimeZone) {
        self.encoder.set_zone(zone);
    }

    /// Adds a drop. What goes wrong is told by the next [`Capture::flush`].
    pub fn add(&mut self, record: &DropRecord<'_>) {
        if self.has_failed {
            return;
        }
        let has_packets = self.packets > self.packets_before || !self.ends.is_empty();
        let is_full = has_packets && self.files.is_full(self.pending.len());
        if is_full && let Err(error) = self.next_file() {
            self.fail(error);
            return;
        }
        self.encoder.add(record, &mut self.pending);
        self.ends.push(self.pending.len());
        if self.pending.len() >= HIGH_WATER
            && let Err(error) = self.write_pending()
        {
            self.fail(error);
        }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// The file can't be written, once. What is in it then ends with a whole packet.
    pub fn flush(&mut self) -> Result<()> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        if self.has_failed {
            return Ok(());
        }
        self.write_pending().inspect_err(|_| self.has_failed = true)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// As for [`Capture::flush`], or somebody has removed the file.
    pub fn finish(&mut self, account: &Account) -> Result<()> {
        if !self.has_failed {
            self.encoder.end(Some(account), &mut self.pending);
        }
        self.flush()?;
        self.ensure_kept()
    }

    /// Fails if somebody has removed the file that is written.
    fn ensure_kept(&mut self) -> Result<()> {
        if self.files.is_removed() {
            let gone = self.packets - self.packets_before;
            self.packets = self.packets_before;
            bail!(
                "{} was removed while it was written, and {gone} packets with it",
                self.files.name()
            );
        }
        Ok(())
    }

    /// What became of it, for the end of a run: `12 packets in drops.pcapng`.
    #[must_use]
    pub fn report(&self) -> String {
        let Self { packets, files, .. } = self;
        let mut report = format!("{packets} packets in {}", files.name());
        if !files.is_removed() && !files.is_in_place() {
            report.push_str(" (which has another name now)");
        }
        if files.finished() > 0 {
            report.push_str(&format!(" and {} files before it", files.finished()));
        }
        report
    }

    fn fail(&mut self, error: anyhow::Error) {
        self.failure = Some(error);
        self.has_failed = true;
    }

    fn next_file(&mut self) -> Result<()> {
        self.encoder.end(None, &mut self.pending);
        self.write_pending()?;
        if let Err(error) = self.ensure_kept() {
            log::warn!("{error:#}");
        }
        self.files.next()?;
        self.packets_before = self.packets;
        self.encoder.begin(&mut self.pending);
        Ok(())
    }

    fn write_pending(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut written = self.files.write(&self.pending);
        match written {
            Ok(()) => self.packets += self.ends.len() as u64,
            Err(_) => written = self.write_one_by_one(),
        }
        self.pending.clear();
        self.ends.clear();
        written
    }

    /// Writes as many packets as there is room for.
    fn write_one_by_one(&mut self) -> Result<()> {
        let mut start = 0;
        for &end in &self.ends {
            self.files
                .write(self.pending.get(start..end).unwrap_or_default())?;
            self.packets += 1;
            start = end;
        }
        self.files
            .write(self.pending.get(start..).unwrap_or_default())
    }
}
