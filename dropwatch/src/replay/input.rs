//! Files of recordings: the bytes, and the order.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Read as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    capture::FileId,
    enrich::{clock, reason::ReasonNames},
    filter::RecordFilters,
    record::{DropRecord, DropTime},
    recording::{About, Damage, Reader, ReasonName, Step, Tally},
};

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// The files of a run, one after the other.
pub(super) struct Input {
    files: VecDeque<Recording>,
    /// What could not be read of files that are done.
    damaged: Vec<(String, Damage)>,
    state: State,
    /// Which names of drop reasons the filters know: of which section, and how many of them.
    reasons: Option<(u64, u32, u64)>,
    /// The run of the last drop, and its time.
    last: Option<(u64, DropTime)>,
}

/// How far an input is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is known of what comes next.
    Searching,
    /// A drop waits, of this time in nanoseconds since the Unix epoch.
    Waiting(i64),
    /// Nothing comes any more.
    Done,
}

/// What [`Input::go_on`] has found.
pub(super) enum Next {
    /// The account of a run.
    Account(u64, Tally),
    /// A section begins.
    Section,
    /// Nothing that anybody has to know of.
    Other,
}

/// A file that is read.
struct Recording {
    name: String,
    /// `None` if that can't be told.
    id: Option<FileId>,
    file: File,
    reader: Reader,
    /// The next step, if it was taken already.
    first: Option<Step>,
    is_hungry: bool,
}

/// Opens recordings; those of one run, by the order of their sections, are one input.
///
/// # Errors
/// Names the file that can't be opened, is no recording, or has the same drops as another one.
pub(super) fn open(files: &[PathBuf]) -> Result<Vec<Input>> {
    raise_limit_of_files();
    let mut runs: BTreeMap<u64, Vec<(u32, Recording)>> = BTreeMap::new();
    for path in files {
        let recording = Recording::open(path)?;
        let about = recording.reader.about();
        let (run, section) = about.map_or((0, 0), |about| (about.run, about.section));
        let others = runs.entry(run).or_default();
        let same = others
            .iter()
            .find(|(other, _)| about.is_some() && *other == section);
        if let Some((_, same)) = same {
            bail!(
                "{} and {} are the same part of one recording; name one of them",
                same.name,
                recording.name
            );
        }
        others.push((section, recording));
    }
    let input = |mut files: Vec<(u32, Recording)>| {
        files.sort_by_key(|(section, _)| *section);
        Input {
            files: files.into_iter().map(|(_, file)| file).collect(),
            damaged: Vec::new(),
            state: State::Searching,
            reasons: None,
            last: None,
        }
    };
    Ok(runs.into_values().map(input).collect())
}

/// Lets this process open as many files as it may ever: all are read side by side, and shells allow
/// 1024 by themselves. Where that is not enough, opening the next one fails and says so.
fn raise_limit_of_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::debug!("raising the limit of open files: {error}");
    }
}

impl Input {
    /// The name of the file that is read.
    pub(super) fn name(&self) -> &str {
        self.files.front().map_or("-", |file| &file.name)
    }

    fn reader(&self) -> Option<&Reader> {
        self.files.front().map(|file| &file.reader)
    }

    /// The files that it is read from.
    pub(super) fn files(&self) -> impl Iterator<Item = FileId> {
        self.files.iter().filter_map(|file| file.id)
    }

    /// Where its drops come from.
    pub(super) fn about(&self) -> Option<&About> {
        self.reader()?.about()
    }

    /// The number of the run.
    pub(super) fn run(&self) -> u64 {
        self.about().map_or(0, |about| about.run)
    }

    /// Whether it is known what comes next, if anything does.
    pub(super) fn is_ready(&self) -> bool {
        self.state != State::Searching
    }

    /// Whether going on may have to wait.
    pub(super) fn needs_bytes(&self) -> bool {
        self.files.front().is_some_and(|file| file.is_hungry)
    }

    /// The time of the drop that waits, in nanoseconds since the Unix epoch.
    pub(super) fn time(&self) -> Option<i64> {
        match self.state {
            State::Waiting(time) => Some(time),
            State::Searching | State::Done => None,
        }
    }

    /// The drop that waits.
    pub(super) fn record(&self) -> Option<DropRecord<'_>> {
        self.reader()?.record()
    }

    /// Whether the clock was set between the drop before and the one that waits.
    pub(super) fn clock_step(&mut self) -> Option<clock::Step> {
        let now = (self.run(), self.record()?.time);
        let (run, before) = self.last.replace(now)?;
        (run == now.0).then(|| clock::Step::between(before, now.1))?
    }

    /// Local time minus UTC in seconds, where and when that was recorded.
    pub(super) fn utc_offset_s(&self) -> i32 {
        self.reader().map_or(0, Reader::utc_offset_s)
    }

    /// Lets the drop that waits go.
    pub(super) fn done(&mut self) {
        if matches!(self.state, State::Waiting(_)) {
            self.state = State::Searching;
        }
    }

    /// Takes a step towards the next drop.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn go_on(&mut self) -> Result<Next> {
        let Some(file) = self.files.front_mut() else {
            self.state = State::Done;
            return Ok(Next::Other);
        };
        if file.is_hungry {
            file.read()?;
            return Ok(Next::Other);
        }
        Ok(match file.step()? {
            Step::Section => Next::Section,
            Step::Account(tally) => Next::Account(self.run(), tally),
            Step::Record => {
                let time = file.reader.record().map(|record| record.time.unix_ns);
                self.state = time.map_or(State::Searching, State::Waiting);
                Next::Other
            }
            // Whoever waits for what was printed gets it before the read.
            Step::Hungry => Next::Other,
            Step::End => {
                if let Some(file) = self.files.pop_front() {
                    self.damaged.push((file.name, file.reader.damage()));
                }
                Next::Other
            }
        })
    }

    /// What could not be read, for each file.
    pub(super) fn damaged(&self) -> impl Iterator<Item = (&str, Damage)> {
        let begun = self.files.front().into_iter();
        let begun = begun.map(|file| (file.name.as_str(), file.reader.damage()));
        let done = self.damaged.iter();
        done.map(|(name, damage)| (name.as_str(), *damage))
            .chain(begun)
    }

    /// The names of drop reasons that the host has, and of their subsystems.
    pub(super) fn reasons(&self) -> (Vec<ReasonName>, Vec<ReasonName>) {
        let Some(table) = self.reader().and_then(Reader::reasons) else {
            return (Vec::new(), Vec::new());
        };
        let reasons = table.names.iter().map(|(number, name)| ReasonName {
            number: *number,
            name: name.to_string(),
        });
        (reasons.collect(), table.subsystems.clone())
    }

    /// Tells the filters what drop reasons the host has, if they do not know it yet.
    ///
    /// # Errors
    /// It does not have one that they name.
    pub(super) fn update(&mut self, filters: &mut RecordFilters<'_>) -> Result<()> {
        let Some(file) = self.files.front() else {
            return Ok(());
        };
        let (Some(about), Some(table)) = (file.reader.about(), file.reader.reasons()) else {
            return Ok(());
        };
        let now = Some((about.run, about.section, table.version));
        if !filters.by_reason() || self.reasons == now {
            return Ok(());
        }
        let reasons = table.names.iter().map(|(number, name)| (*number, &**name));
        let subsystems = table.subsystems.iter();
        let subsystems = subsystems.map(|it| (it.number, it.name.as_str()));
        filters
            .set_reasons(&mut ReasonNames::written_down(reasons, subsystems))
            .with_context(|| file.name.clone())?;
        self.reasons = now;
        Ok(())
    }
}

impl Recording {
    /// Opens a file and reads the start of its first section.
    fn open(path: &Path) -> Result<Self> {
        let (name, file) = if path.as_os_str() == "-" {
            let name = "standard input".to_owned();
            (
                name,
                io::stdin().as_fd().try_clone_to_owned().map(File::from),
            )
        } else {
            let name = path.display().to_string().escape_debug().to_string();
            (name, File::open(path))
        };
        let file = file.map_err(|error| {
            let hint = match error.raw_os_error() {
                Some(libc::EMFILE) => "; a higher `ulimit -n` helps",
                _ => "",
            };
            anyhow!("opening {name}: {error}{hint}")
        })?;
        let mut recording = Self {
            name,
            id: file.metadata().ok().map(|metadata| FileId::from(&metadata)),
            file,
            reader: Reader::default(),
            first: None,
            is_hungry: false,
        };
        loop {
            match recording.step()? {
                Step::Hungry => recording.read()?,
                Step::End if recording.reader.damage() == Damage::default() => {
                    bail!("{}: it is empty", recording.name)
                }
                step => {
                    recording.first = Some(step);
                    return Ok(recording);
                }
            }
        }
    }

    fn step(&mut self) -> Result<Step> {
        if let Some(step) = self.first.take() {
            return Ok(step);
        }
        let step = self.reader.step().with_context(|| self.name.clone())?;
        self.is_hungry = step == Step::Hungry;
        Ok(step)
    }

    fn read(&mut self) -> Result<()> {
        self.is_hungry = false;
        let mut chunk = [0; CHUNK];
        let count = loop {
            match self.file.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.with_context(|| format!("reading {}", self.name))?,
            }
        };
        match chunk.get(..count) {
            Some(bytes) if count > 0 => self.reader.push(bytes),
            _ => self.reader.end(),
        }
        Ok(())
    }
}
