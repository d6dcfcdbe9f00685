//! The scenarios and the checks of the command line's behaviour, on the running kernel: needs root.

mod checks;
mod counters;
mod doctor;
mod explanations;
mod fleet;
mod json;
mod packaging;
mod packets;
mod places;
mod privileges;
mod recordings;
mod summaries;
mod terminal;
mod top_checks;
mod top_demo;

use std::{
    collections::{BTreeSet, HashMap},
    env,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, OnceLock},
};

use anyhow::{Context as _, Result};
use dropwatch_tests::{
    kernel::Kernel,
    oracle::Oracle,
    run::{Outcome, Runner, Way},
    stand_in,
};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::unistd::geteuid;

/// Before the name of each test here.
const PREFIX: &str = "live/";

fn main() -> ExitCode {
    if let Some(status) = stand_in::act().or_else(top_demo::act) {
        return status;
    }
    let mut args = Arguments::from_args();
    // Traffic of two tests at the same time would get into each other's way.
    args.test_threads = Some(1);
    let scenarios = Arc::new(Scenarios::new(&args));
    let mut trials: Vec<Trial> = scenarios
        .runner_names()
        .into_iter()
        .map(|name| scenario_trial(&scenarios, name))
        .collect();
    trials.extend(
        checks::ALL
            .iter()
            .chain(explanations::ALL)
            .chain(summaries::ALL)
            .chain(json::ALL)
            .chain(privileges::ALL)
            .chain(terminal::ALL)
            .chain(places::ALL)
            .chain(recordings::ALL)
            .chain(top_checks::ALL)
            .chain(doctor::ALL)
            .chain(counters::ALL)
            .chain(fleet::ALL)
            .chain(packaging::ALL)
            .chain(packets::ALL)
            .map(|(name, check)| check_trial(name, *check)),
    );
    libtest_mimic::run(&args, trials).exit_code()
}

fn scenario_trial(scenarios: &Arc<Scenarios>, name: String) -> Trial {
    let scenarios = Arc::clone(scenarios);
    Trial::ignorable_test(format!("{PREFIX}{name}"), move || {
        completion(scenarios.outcome(&name))
    })
}

fn check_trial(name: &str, check: checks::Check) -> Trial {
    Trial::ignorable_test(format!("{PREFIX}{name}"), move || {
        completion(root_or_ignored().unwrap_or_else(|| {
            match dropwatch().and_then(|path| check(&path)) {
                Ok(outcome) => outcome,
                Err(error) => Outcome::Failed(format!("{error:#}")),
            }
        }))
    })
}

fn completion(outcome: Outcome) -> Result<Completion, Failed> {
    match outcome {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Ignored(reason) => Ok(Completion::ignored_with(reason)),
        Outcome::Failed(details) => Err(details.into()),
    }
}

fn root_or_ignored() -> Option<Outcome> {
    (!geteuid().is_root()).then(|| Outcome::Ignored("needs root".to_owned()))
}

/// The program to test: `DROPWATCH_BIN`, or what the last release build left.
fn dropwatch() -> Result<PathBuf> {
    if let Some(path) = env::var_os("DROPWATCH_BIN") {
        return Ok(path.into());
    }
    let own = env::current_exe().context("finding the own program")?;
    own.ancestors()
        .flat_map(|dir| {
            [
                "release/dropwatch",
                "x86_64-unknown-linux-gnu/release/dropwatch",
            ]
            .map(|path| dir.join(path))
        })
        .find(|path| path.is_file())
        .context("no dropwatch to test: run `cargo xtask test`, or name one in DROPWATCH_BIN")
}

/// The scenarios, all played when the first outcome is asked for: they share running processes.
struct Scenarios {
    runner: Mutex<Runner>,
    outcomes: OnceLock<HashMap<String, Outcome>>,
}

impl Scenarios {
    fn new(args: &Arguments) -> Self {
        let ways = ["tracepoint", "kprobe"].into_iter().flat_map(|hook| {
            ["ring", "perf"].map(|buffer| Way {
                hook: hook.to_owned(),
                buffer: buffer.to_owned(),
            })
        });
        let mut runner = Runner {
            dropwatch: PathBuf::new(),
            ways: ways.collect(),
            filters: Vec::new(),
            except: BTreeSet::new(),
            strict: false,
            own_machine: false,
            kernel: Kernel(0, 0),
            // Opened now, for it needs a process with one thread.
            oracle: if args.list || !geteuid().is_root() {
                None
            } else {
                Oracle::open().ok()
            },
        };
        if let Some(filter) = &args.filter {
            runner.filters = runner
                .names()
                .into_iter()
                .filter(|name| format!("{PREFIX}{name}").contains(filter))
                .collect();
        }
        Self {
            runner: Mutex::new(runner),
            outcomes: OnceLock::new(),
        }
    }

    fn runner_names(&self) -> Vec<String> {
        self.runner
            .lock()
            .map(|runner| runner.names())
            .unwrap_or_default()
    }

    fn outcome(&self, name: &str) -> Outcome {
        if let Some(ignored) = root_or_ignored() {
            return ignored;
        }
        let outcomes = self.outcomes.get_or_init(|| {
            let mut outcomes = HashMap::new();
            if let Err(error) = self.play(&mut outcomes) {
                outcomes.insert(String::new(), Outcome::Failed(format!("{error:#}")));
            }
            outcomes
        });
        let outcome = outcomes.get(name).or_else(|| outcomes.get(""));
        outcome
            .cloned()
            .unwrap_or_else(|| Outcome::Failed("the runner told nothing of it".to_owned()))
    }

    fn play(&self, outcomes: &mut HashMap<String, Outcome>) -> Result<()> {
        let mut runner = self.runner.lock().ok().context("the runner is broken")?;
        runner.dropwatch = dropwatch()?;
        runner.kernel = Kernel::running()?;
        runner.run(&mut |name, outcome| {
            // The first word counts: a failure must not be covered by what follows.
            outcomes.entry(name).or_insert(outcome);
        });
        runner.oracle = None;
        Ok(())
    }
}
