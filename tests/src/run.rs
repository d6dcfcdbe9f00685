//! Plays the scenarios against running dropwatch processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::{
    dropwatch::{Dropwatch, Ended},
    faults::{FAULTS, Stage as FaultStage},
    filters::{self, FILTERS, Filter, Stage},
    floods::{self, FLOODS, Flood},
    judge::{Judge, comparable},
    kernel::{self, Kernel},
    line::{Line, symbol},
    losses,
    oracle::{Oracle, Places},
    scenario::{self, Printed, Scenario},
    summary,
    traffic::Packet,
    world::World,
};

/// How long lines may take. They come within milliseconds; an emulated CPU that three others share
/// needs longer.
const LINES_WITHIN: Duration = Duration::from_secs(20);
/// How long to look out for lines that must not come.
const SETTLE: Duration = Duration::from_millis(300);

/// How many dropwatches start at the same time.
const AT_ONCE: usize = 2;
/// How many filters are played at a time: each has a dropwatch with a buffer of its own.
const SIDE_BY_SIDE: usize = 10;

/// How often tests are played at most, until the kernel skips no probe: it does while a process
/// is in a bpf() call on the same processor, and dropwatches that run side by side make such calls
/// when they get to know processes.
const ATTEMPTS: usize = 4;

/// How many differences are worth showing.
const SHOWN: usize = 3;

/// A way to run dropwatch: hook and buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// `--hook`
    pub hook: String,
    /// `--buffer`
    pub buffer: String,
}

impl Way {
    /// Whether a summary of it is compared with its lines.
    fn counts(&self) -> bool {
        self.buffer == "ring"
    }
}

impl fmt::Display for Way {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.hook, self.buffer)
    }
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// What is wrong.
    Failed(String),
    /// Why it can't run here.
    Ignored(String),
}

impl From<Result<()>> for Outcome {
    fn from(result: Result<()>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }
}

/// The name of the test of what `--counters` says.
const COUNTERS: &str = "counters/explained_and_not";

/// Everything that a run needs to know.
#[derive(Debug)]
pub struct Runner {
    /// The program.
    pub dropwatch: PathBuf,
    /// The ways to run it.
    pub ways: Vec<Way>,
    /// Only tests whose name contains one of these; all if there is none.
    pub filters: Vec<String>,
    /// Not the tests of these names.
    pub except: BTreeSet<String>,
    /// A scenario that can't be set up for want of a module has failed.
    pub strict: bool,
    /// The machine is here for the tests alone: they may set its clock, and stop its processors.
    pub own_machine: bool,
    /// The running kernel.
    pub kernel: Kernel,
    /// The kernel's own record of drops, where it can be had.
    pub oracle: Option<Oracle>,
}

impl Runner {
    /// The names of all tests, in the order of the table.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = scenario::all()
            .flat_map(|scenario| self.names_of(scenario))
            .collect();
        names.extend(self.names_of_group());
        names.extend(self.filters().map(|(way, filter)| filter_name(way, filter)));
        names.extend(self.floods().map(|(way, flood)| flood_name(way, flood)));
        names.push(COUNTERS.to_owned());
        names.extend(FAULTS.iter().map(|fault| fault_name(fault.name)));
        names
    }

    /// The names of the tests of scenarios that share a dropwatch.
    fn names_of_group(&self) -> Vec<String> {
        let accounts = self.ways.iter().map(|way| format!("{way}/account"));
        let summaries = self.counting_ways().map(|way| format!("{way}/summary"));
        accounts.chain(summaries).collect()
    }

    fn names_of(&self, scenario: &Scenario) -> Vec<String> {
        let ways = self.ways.iter().map(Way::to_string);
        ways.chain(comparisons(scenario).map(str::to_owned))
            .map(|by| format!("{by}/{}", scenario.name))
            .collect()
    }

    /// Runs the tests and tells each outcome as soon as it is known.
    pub fn run(&self, tell: &mut dyn FnMut(String, Outcome)) {
        let mut tell = |name: String, outcome| {
            if self.selects(&name) {
                tell(name, outcome);
            }
        };
        let any = |names: Vec<String>| names.iter().any(|name| self.selects(name));
        // These are about what all scenarios of the group come to.
        let whole_group = any(self.names_of_group());
        let selected: Vec<&Scenario> = scenario::all()
            .filter(|scenario| {
                whole_group && scenario.flags.is_empty() || any(self.names_of(scenario))
            })
            .collect();
        let (own, shared): (Vec<&Scenario>, Vec<&Scenario>) = selected
            .into_iter()
            .partition(|scenario| !scenario.flags.is_empty());
        self.run_group_until_proven(&[], &shared, &mut tell);
        for scenario in own {
            self.run_group_until_proven(scenario.flags, &[scenario], &mut tell);
        }
        self.run_filters(&mut tell);
        self.run_floods(&mut tell);
        if self.selects(COUNTERS) {
            tell(COUNTERS.to_owned(), losses::check(&self.dropwatch).into());
        }
        self.run_faults(&mut tell);
    }

    fn run_faults(&self, tell: &mut dyn FnMut(String, Outcome)) {
        let stage = FaultStage {
            dropwatch: &self.dropwatch,
            kernel: self.kernel,
            own_machine: self.own_machine,
        };
        for fault in FAULTS {
            let name = fault_name(fault.name);
            if self.selects(&name) {
                tell(name, fault.play(&stage));
            }
        }
    }

    /// Each flood with its buffers. With the tracepoint, for a probe does not see all: drops that
    /// the kernel skips are in no account.
    fn floods(&self) -> impl Iterator<Item = (&Way, &'static Flood)> {
        let ways = self.ways.iter().filter(|way| way.hook == "tracepoint");
        ways.flat_map(|way| {
            let floods = FLOODS.iter();
            floods
                .filter(|flood| flood.buffers.contains(&way.buffer.as_str()))
                .map(move |flood| (way, flood))
        })
    }

    fn run_floods(&self, tell: &mut dyn FnMut(String, Outcome)) {
        for (way, flood) in self.floods() {
            let name = flood_name(way, flood);
            if !self.selects(&name) {
                continue;
            }
            let lacks = floods::MODULES
                .iter()
                .find(|module| !kernel::load_module(module));
            let outcome = match flood.play(&self.dropwatch, way) {
                Err(error) if error.to_string() == SET_UP && !self.strict => match lacks {
                    Some(module) => Outcome::Ignored(format!("no kernel module {module}")),
                    None => Outcome::Failed(format!("{error:#}")),
                },
                result => result.into(),
            };
            tell(name, outcome);
        }
    }

    /// Each filter, with each hook; how records travel makes no difference to it.
    fn filters(&self) -> impl Iterator<Item = (&Way, &'static Filter)> {
        let ways = self.ways.iter().filter(|way| way.buffer == "ring");
        ways.flat_map(|way| FILTERS.iter().map(move |filter| (way, filter)))
    }

    fn run_filters(&self, tell: &mut dyn FnMut(String, Outcome)) {
        let mut runs = Vec::new();
        for (way, filter) in self.filters() {
            let name = filter_name(way, filter);
            if !self.selects(&name) {
                continue;
            }
            if way.hook == "kprobe" && !kernel::has_kprobes() {
                tell(
                    name,
                    Outcome::Ignored("this kernel has no kprobes".to_owned()),
                );
            } else if self.kernel < filter.since {
                let reason = format!("there is no such thing before {}", filter.since);
                tell(name, Outcome::Ignored(reason));
            } else {
                runs.push((way, filter));
            }
        }
        let lacks = filters::MODULES
            .iter()
            .find(|module| !kernel::load_module(module));
        for runs in runs.chunks(SIDE_BY_SIDE) {
            let outcomes = self.play_filters_until_proven(runs);
            for (index, (way, filter)) in runs.iter().enumerate() {
                let outcome = match (&outcomes, lacks) {
                    (Ok(outcomes), _) => outcomes[index].clone(),
                    (Err(_), Some(module)) if !self.strict => {
                        Outcome::Ignored(format!("no kernel module {module}"))
                    }
                    (Err(error), _) => Outcome::Failed(format!("{error:#}")),
                };
                tell(filter_name(way, filter), outcome);
            }
        }
    }

    /// As [`Runner::play_filters`]; again if the kernel skipped probes, for then no outcome proves
    /// anything about a filter.
    fn play_filters_until_proven(&self, runs: &[(&Way, &Filter)]) -> Result<Vec<Outcome>> {
        let mut played = self.play_filters(runs)?;
        for _ in 1..ATTEMPTS {
            if !played.skipped_probes {
                break;
            }
            played = self.play_filters(runs)?;
        }
        Ok(played.outcomes)
    }

    /// Starts a dropwatch for each filter, sends all packets, and judges each output.
    fn play_filters(&self, runs: &[(&Way, &Filter)]) -> Result<Played> {
        let mut stage = Stage::new().context("making the stage")?;
        let mut watchers: Vec<Result<Dropwatch>> = Vec::new();
        // The kernel checks the programs of each start, with a lot of memory for some; what waits
        // for a processor would only hold it for longer.
        for runs in runs.chunks(AT_ONCE) {
            let mut starting: Vec<_> = runs
                .iter()
                .map(|(way, filter)| self.spawn_filter(way, filter, &stage))
                .collect();
            starting.iter_mut().for_each(wait_ready);
            watchers.extend(starting);
        }
        let sent = stage.send().context("sending packets")?;
        filters::check_labels(&sent)?;
        wait_for(|| {
            watchers
                .iter()
                .zip(runs)
                .all(|(watcher, (_, filter))| match watcher {
                    Ok(dropwatch) => stage.count_own(&dropwatch.lines()) >= filter.wanted(&sent),
                    Err(_) => true,
                })
        });
        for dropwatch in watchers.iter().flatten() {
            dropwatch.signal(Signal::SIGINT)?;
        }
        let mut skipped_probes = false;
        let judge = |(watcher, (_, filter)): (Result<Dropwatch>, &(&Way, &Filter))| {
            let ended = watcher?.wait(LINES_WITHIN)?;
            skipped_probes |= ended.skipped_probes();
            filter.judge(&stage, &sent, &ended)
        };
        let outcomes = watchers.into_iter().zip(runs).map(judge);
        Ok(Played {
            outcomes: outcomes.map(Outcome::from).collect(),
            skipped_probes,
        })
    }

    fn spawn_filter(&self, way: &Way, filter: &Filter, stage: &Stage) -> Result<Dropwatch> {
        let flags = stage.fill_in(filter.flags).replace("{hook}", &way.hook);
        let mut args = vec!["--hook", &way.hook, "--buffer", &way.buffer, "-v"];
        args.extend(flags.split_whitespace());
        Dropwatch::spawn(&self.dropwatch, &args)
    }

    fn selects(&self, name: &str) -> bool {
        let is_wanted = |filter: &String| name.contains(filter);
        (self.filters.is_empty() || self.filters.iter().any(is_wanted))
            && !self.except.contains(name)
    }

    /// As [`Runner::run_group`]; what failed is played again if the kernel skipped probes, for what
    /// it skipped has no line and is in no account.
    fn run_group_until_proven(
        &self,
        flags: &[&str],
        scenarios: &[&Scenario],
        tell: &mut dyn FnMut(String, Outcome),
    ) {
        let mut failed = self.run_group_and_keep_failures(flags, scenarios, tell);
        for _ in 1..ATTEMPTS {
            if !failed.skipped_probes || failed.outcomes.is_empty() {
                break;
            }
            let before = failed.outcomes;
            let again: Vec<&Scenario> = scenarios
                .iter()
                .copied()
                .filter(|scenario| {
                    let names = self.names_of(scenario);
                    names.iter().any(|name| before.contains_key(name))
                })
                .collect();
            // What is said of a whole group needs the whole group.
            let again = if again.is_empty() { scenarios } else { &again };
            let mut tell = |name: String, outcome| {
                if before.contains_key(&name) {
                    tell(name, outcome);
                }
            };
            failed = self.run_group_and_keep_failures(flags, again, &mut tell);
            failed.outcomes.retain(|name, _| before.contains_key(name));
        }
        for (name, outcome) in failed.outcomes {
            tell(name, outcome);
        }
    }

    fn run_group_and_keep_failures(
        &self,
        flags: &[&str],
        scenarios: &[&Scenario],
        tell: &mut dyn FnMut(String, Outcome),
    ) -> Failed {
        let mut outcomes = BTreeMap::new();
        let skipped_probes = self.run_group(flags, scenarios, &mut |name, outcome| {
            if matches!(outcome, Outcome::Failed(_)) {
                outcomes.insert(name, outcome);
            } else {
                tell(name, outcome);
            }
        });
        Failed {
            outcomes,
            skipped_probes,
        }
    }

    /// Plays scenarios to dropwatches with the same flags. Returns whether the kernel skipped
    /// probes of one of them.
    fn run_group(
        &self,
        flags: &[&str],
        scenarios: &[&Scenario],
        tell: &mut dyn FnMut(String, Outcome),
    ) -> bool {
        let mut skipped_probes = false;
        if scenarios.is_empty() {
            return skipped_probes;
        }
        let mut watchers = Vec::new();
        for way in &self.ways {
            if way.hook == "kprobe" && !kernel::has_kprobes() {
                let ignored = Outcome::Ignored("this kernel has no kprobes".to_owned());
                for scenario in scenarios {
                    tell(format!("{way}/{}", scenario.name), ignored.clone());
                }
                if flags.is_empty() {
                    tell(format!("{way}/account"), ignored.clone());
                    if way.counts() {
                        tell(format!("{way}/summary"), ignored);
                    }
                }
                continue;
            }
            // Started one beside the other, for a start is the slow part.
            watchers.push(Watcher {
                way,
                dropwatch: self.spawn(way, flags),
                sent: 0,
            });
        }
        let mut summaries: Vec<_> = match flags.is_empty() {
            true => self.spawn_summaries(),
            false => Vec::new(),
        };
        for watcher in &mut watchers {
            wait_ready(&mut watcher.dropwatch);
        }
        summaries
            .iter_mut()
            .for_each(|(_, dropwatch)| wait_ready(dropwatch));
        // Kept to the end: a namespace's inode number must not come back while lines may.
        let mut worlds = Vec::new();
        for scenario in scenarios {
            let (world, skipped) = self.play(scenario, &mut watchers, tell);
            worlds.extend(world);
            skipped_probes |= skipped;
        }
        if flags.is_empty() {
            let namespaces = worlds.iter().flat_map(World::namespaces).collect();
            for (way, summary) in summaries {
                let watcher = watchers.iter().find(|watcher| watcher.way == way);
                let lines = watcher.map(Watcher::lines).unwrap_or_default();
                let compare = || summary::agrees(&summary?.stop()?, &lines, &namespaces);
                tell(format!("{way}/summary"), compare().into());
            }
            for watcher in watchers {
                let way = watcher.way;
                let (account, skipped) = watcher.account(Printed::All);
                skipped_probes |= skipped;
                tell(format!("{way}/account"), account.into());
            }
        }
        skipped_probes
    }

    /// The ways of which a summary is compared with the lines: what the kernel counts does not
    /// travel, so one buffer has to do.
    fn counting_ways(&self) -> impl Iterator<Item = &Way> {
        self.ways.iter().filter(|way| way.counts())
    }

    fn spawn_summaries(&self) -> Vec<(&Way, Result<Dropwatch>)> {
        self.counting_ways()
            .filter(|way| way.hook != "kprobe" || kernel::has_kprobes())
            .map(|way| (way, summary::spawn(&self.dropwatch, &way.hook)))
            .collect()
    }

    fn spawn(&self, way: &Way, flags: &[&str]) -> Result<Dropwatch> {
        let own_pid = std::process::id().to_string();
        let mut args = vec!["--hook", &way.hook, "--buffer", &way.buffer];
        if flags.is_empty() {
            // Every token there is, and packets that look the same are told apart.
            args.push("--fields=all");
        }
        args.extend(
            flags
                .iter()
                .map(|flag| if *flag == "{pid}" { &own_pid } else { *flag }),
        );
        Dropwatch::spawn(&self.dropwatch, &args)
    }

    /// Plays one scenario and judges each watcher's lines about it. Returns the scenario's world,
    /// and whether the kernel skipped probes of a watcher that ended with it.
    fn play(
        &self,
        scenario: &Scenario,
        watchers: &mut Vec<Watcher<'_>>,
        tell: &mut dyn FnMut(String, Outcome),
    ) -> (Option<World>, bool) {
        let mut skipped_probes = false;
        let (world, packets) = match self.make_traffic(scenario) {
            Ok(made) => made,
            Err(error) => {
                let outcome = self.outcome_of_set_up(scenario, &error);
                let ways = watchers.iter().map(|watcher| watcher.way.to_string());
                for by in ways.chain(comparisons(scenario).map(str::to_owned)) {
                    tell(format!("{by}/{}", scenario.name), outcome.clone());
                }
                return (None, skipped_probes);
            }
        };
        let judge = Judge::new(scenario, self.kernel, &packets, &world);
        await_lines(&judge, watchers);
        let misses_lists = scenario.freed_as_list && kernel::splits_kfree_skb();
        let mut outputs = Vec::new();
        for watcher in watchers.iter_mut() {
            watcher.sent += packets.len();
            let lines = judge.own_lines(&watcher.lines());
            let verdict = match misses_lists && watcher.way.hook == "kprobe" {
                true => Outcome::Ignored("a probe misses lists on this kernel".to_owned()),
                false => watcher.verdict(&judge, &lines),
            };
            outputs.push(Output {
                verdict,
                way: watcher.way.to_string(),
                lines,
            });
        }
        if !scenario.flags.is_empty() {
            // Nothing else is played to these: their end belongs to this scenario.
            for (watcher, output) in watchers.drain(..).zip(&mut outputs) {
                let (end, skipped) = watcher.account(scenario.printed);
                skipped_probes |= skipped;
                if output.verdict == Outcome::Passed {
                    output.verdict = end.into();
                }
            }
        }
        let agree = agreement(&outputs);
        let oracle = self.oracle_agrees(scenario, &outputs);
        for output in outputs {
            tell(format!("{}/{}", output.way, scenario.name), output.verdict);
        }
        for (by, outcome) in comparisons(scenario).zip([agree, oracle]) {
            tell(format!("{by}/{}", scenario.name), outcome);
        }
        (Some(world), skipped_probes)
    }

    fn make_traffic(&self, scenario: &Scenario) -> Result<(World, Vec<Packet>)> {
        for module in scenario.modules {
            // Whether it is there shows when the set-up needs it.
            kernel::load_module(module);
        }
        let world = World::new().context("making the world")?;
        world
            .set_up(scenario.set_up.iter().copied())
            .context(SET_UP)?;
        if let Some(oracle) = &self.oracle {
            oracle.take()?;
        }
        let packets = (scenario.traffic)(&world).context("making traffic")?;
        Ok((world, packets))
    }

    fn outcome_of_set_up(&self, scenario: &Scenario, error: &anyhow::Error) -> Outcome {
        let lacks = scenario
            .modules
            .iter()
            .find(|module| !kernel::load_module(module));
        match lacks {
            Some(module) if !self.strict && error.to_string() == SET_UP => {
                Outcome::Ignored(format!("no kernel module {module}"))
            }
            _ => Outcome::Failed(format!("{error:#}")),
        }
    }

    /// Every line has to be in the kernel's own record, which may have more: it is of the whole
    /// machine.
    fn oracle_agrees(&self, scenario: &Scenario, outputs: &[Output]) -> Outcome {
        let Some(oracle) = &self.oracle else {
            return Outcome::Ignored("no tracefs to compare with".to_owned());
        };
        if outputs.iter().all(|output| output.lines.is_empty()) {
            return match scenario.seen_since <= self.kernel {
                true => Outcome::Failed("no line to compare".to_owned()),
                false => Outcome::Ignored("this kernel does not tell of the drop".to_owned()),
            };
        }
        let check = || {
            let record = oracle.take()?;
            // The record of an older kernel (6.1) shows addresses only: then the reason has to do.
            let named = record
                .keys()
                .all(|(_, place)| !place.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let record = if named { record } else { by_reason(record) };
            for output in outputs {
                let lines = places(&output.lines)?;
                for (place, count) in if named { lines } else { by_reason(lines) } {
                    let recorded = record.get(&place).copied().unwrap_or(0);
                    ensure!(
                        count <= recorded,
                        "{}: {count} lines with reason {} at {}, but the kernel recorded {recorded}",
                        output.way,
                        place.0,
                        place.1
                    );
                }
            }
            Ok(())
        };
        check().into()
    }

    /// Plays the scenarios without dropwatch and tells what the kernel itself recorded.
    pub fn learn(&self, tell: &mut dyn FnMut(String)) -> Result<()> {
        let oracle = self.oracle.as_ref().context("no tracefs to learn from")?;
        for scenario in scenario::all().filter(|scenario| self.selects(scenario.name)) {
            match self.make_traffic(scenario) {
                Err(error) => tell(format!("{}: {error:#}", scenario.name)),
                Ok((_world, packets)) => {
                    thread::sleep(Duration::from_millis(700));
                    tell(format!("{}: {} packets", scenario.name, packets.len()));
                    for ((reason, place), count) in oracle.take()? {
                        tell(format!("    {count} {reason} {place}"));
                    }
                }
            }
        }
        Ok(())
    }
}

pub(crate) const SET_UP: &str = "setting up";

/// What the lines of a scenario are compared with beyond the table: the lines of the other ways,
/// and, if there have to be lines, the kernel's own record.
fn comparisons(scenario: &Scenario) -> impl Iterator<Item = &'static str> + use<> {
    let count = match scenario.printed {
        // Each way may stop at other drops.
        Printed::First(_) => 0,
        Printed::All if !scenario.through.is_empty() => 2,
        Printed::All | Printed::None => 1,
    };
    ["agree", "oracle"].into_iter().take(count)
}

struct Output {
    way: String,
    lines: Vec<String>,
    verdict: Outcome,
}

/// What came of filters that were played side by side.
struct Played {
    outcomes: Vec<Outcome>,
    /// Whether the kernel skipped probes of one of them.
    skipped_probes: bool,
}

/// What failed of a group of scenarios.
struct Failed {
    /// By the test's name.
    outcomes: BTreeMap<String, Outcome>,
    /// Whether the kernel skipped probes of one of the dropwatches.
    skipped_probes: bool,
}

/// A dropwatch that a group of scenarios is played to.
struct Watcher<'a> {
    way: &'a Way,
    dropwatch: Result<Dropwatch>,
    sent: usize,
}

impl Watcher<'_> {
    fn lines(&self) -> Vec<String> {
        self.dropwatch
            .as_ref()
            .map(Dropwatch::lines)
            .unwrap_or_default()
    }

    fn verdict(&self, judge: &Judge<'_>, lines: &[String]) -> Outcome {
        let dropwatch = match &self.dropwatch {
            Ok(dropwatch) => dropwatch,
            Err(error) => return Outcome::Failed(format!("{error:#}")),
        };
        let complaints = judge.complaints(lines);
        if complaints.is_empty() {
            return Outcome::Passed;
        }
        Outcome::Failed(format!(
            "{complaints}{} lines expected, got {}\nstandard error:\n{}",
            judge.wanted(),
            lines.len(),
            dropwatch.stderr()
        ))
    }

    /// Ends dropwatch and checks what it says about the whole. Returns as well whether the kernel
    /// skipped probes.
    fn account(self, printed: Printed) -> (Result<()>, bool) {
        let sent = self.sent as u64;
        match self.end(printed) {
            Ok(ended) => (check_account(&ended, printed, sent), ended.skipped_probes()),
            Err(error) => (Err(error), false),
        }
    }

    fn end(self, printed: Printed) -> Result<Ended> {
        match printed {
            Printed::First(_) => self.dropwatch?.wait(LINES_WITHIN),
            Printed::All | Printed::None => self.dropwatch?.stop(),
        }
    }
}

fn check_account(ended: &Ended, printed: Printed, sent: u64) -> Result<()> {
    ended.expect_status(0)?;
    let account = ended.account()?;
    match printed {
        Printed::All => ensure!(account.lost == 0, "lines were lost: {account:?}"),
        Printed::None => ensure!(
            account.filtered >= sent,
            "{sent} were to be filtered: {account:?}"
        ),
        Printed::First(count) => ensure!(
            account.printed == count as u64,
            "{count} were to be printed: {account:?}"
        ),
    }
    Ok(())
}

fn await_lines(judge: &Judge<'_>, watchers: &mut [Watcher<'_>]) {
    let complete = |watcher: &mut Watcher<'_>| match &mut watcher.dropwatch {
        Ok(dropwatch) => {
            !dropwatch.is_running() || judge.own_lines(&dropwatch.lines()).len() >= judge.wanted()
        }
        Err(_) => true,
    };
    wait_for(|| watchers.iter_mut().all(complete));
}

fn wait_ready(started: &mut Result<Dropwatch>) {
    if let Ok(dropwatch) = started
        && let Err(error) = dropwatch.wait_ready()
    {
        *started = Err(error);
    }
}

/// Waits until all lines are there, and then for those that must not come.
fn wait_for(mut complete: impl FnMut() -> bool) {
    let deadline = Instant::now() + LINES_WITHIN;
    while !complete() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(SETTLE);
}

fn filter_name(way: &Way, filter: &Filter) -> String {
    format!("{way}/filter_{}", filter.name)
}

fn fault_name(name: &str) -> String {
    format!("faults/{name}")
}

fn flood_name(way: &Way, flood: &Flood) -> String {
    format!("{way}/flood_{}", flood.name)
}

/// All ways that can see the drops have to tell the same.
fn agreement(outputs: &[Output]) -> Outcome {
    let sees = |output: &&Output| !matches!(output.verdict, Outcome::Ignored(_));
    let outputs: Vec<&Output> = outputs.iter().filter(sees).collect();
    let [first, others @ ..] = &outputs[..] else {
        return Outcome::Ignored("nothing to compare".to_owned());
    };
    if others.is_empty() {
        return Outcome::Ignored("nothing to compare with".to_owned());
    }
    let want = counted(&first.lines);
    let mut text = String::new();
    for other in others {
        let got = counted(&other.lines);
        let keys: BTreeSet<&String> = want.keys().chain(got.keys()).collect();
        let differs = keys
            .into_iter()
            .filter(|line| want.get(*line) != got.get(*line));
        for line in differs.take(SHOWN) {
            let [one, two] = [&want, &got].map(|lines| lines.get(line).copied().unwrap_or(0));
            text.push_str(&format!(
                "{one} {}, {two} {}: {line}\n",
                first.way, other.way
            ));
        }
    }
    if text.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(text)
    }
}

fn counted(lines: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in comparable(lines) {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

fn places(lines: &[String]) -> Result<Places> {
    let mut places = Places::new();
    for line in lines {
        let line = Line::parse(line)?;
        *places
            .entry((line.reason.clone(), symbol(line.at()).to_owned()))
            .or_default() += 1;
    }
    Ok(places)
}

fn by_reason(places: Places) -> Places {
    let mut reasons = Places::new();
    for ((reason, _), count) in places {
        *reasons.entry((reason, "any place".to_owned())).or_default() += count;
    }
    reasons
}
