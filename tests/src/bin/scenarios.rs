//! Plays the scenarios in a bare guest or on the running machine: needs root, `ip`, `tc`, `nft`.
#![expect(
    clippy::print_stdout,
    reason = "the results are what this program is for"
)]

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use dropwatch_tests::{
    kernel::Kernel,
    oracle::Oracle,
    run::{Outcome, Runner, Way},
    stand_in,
};

const USAGE: &str = "\
usage: scenarios [OPTIONS] [FILTER]...
  FILTER, --filter TEXT   only tests whose name contains it
  --except NAME           not the test of this name; can be repeated
  --dropwatch PATH        the program to test [default: /bin/dropwatch]
  --hooks LIST            tracepoint,kprobe or one of them [default: both]
  --buffers LIST          ring,perf or one of them [default: both]
  --strict                a missing kernel module is a failure
  --own-machine           tests may set the clock, and stop processors
  --learn                 no dropwatch: show what the kernel itself records
  --list                  show the names of the tests";

fn main() -> ExitCode {
    if let Some(status) = stand_in::act() {
        return status;
    }
    match run() {
        Ok(status) => status,
        Err(error) => {
            println!("scenarios: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    runner: Runner,
    list: bool,
    learn: bool,
}

fn run() -> Result<ExitCode> {
    let options = options(std::env::args().skip(1))?;
    let mut runner = options.runner;
    if options.list {
        runner.names().iter().for_each(|name| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    match Oracle::open() {
        Ok(oracle) => runner.oracle = Some(oracle),
        Err(error) => println!("no record to compare with: {error:#}"),
    }
    if options.learn {
        runner.learn(&mut |line| println!("{line}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    runner.run(&mut |name, outcome| match outcome {
        Outcome::Passed => {
            passed += 1;
            println!("test {name} ... ok");
        }
        Outcome::Ignored(reason) => {
            skipped += 1;
            println!("test {name} ... ignored, {reason}");
        }
        Outcome::Failed(details) => {
            failed += 1;
            println!("test {name} ... FAILED");
            details.lines().for_each(|line| println!("    {line}"));
        }
    });
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options> {
    let (mut hooks, mut buffers) = ("tracepoint,kprobe".to_owned(), "ring,perf".to_owned());
    let mut runner = Runner {
        dropwatch: PathBuf::from("/bin/dropwatch"),
        ways: Vec::new(),
        filters: Vec::new(),
        except: BTreeSet::new(),
        strict: false,
        own_machine: false,
        kernel: Kernel::running()?,
        oracle: None,
    };
    let (mut list, mut learn) = (false, false);
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .with_context(|| format!("{arg} needs a value\n{USAGE}"))
        };
        match arg.as_str() {
            "--dropwatch" => runner.dropwatch = value()?.into(),
            "--hooks" => hooks = value()?,
            "--buffers" => buffers = value()?,
            "--filter" => runner.filters.push(value()?),
            "--except" => drop(runner.except.insert(value()?)),
            "--own-machine" => runner.own_machine = true,
            "--strict" => runner.strict = true,
            "--learn" => learn = true,
            "--list" => list = true,
            _ if arg.starts_with('-') => bail!("unknown option {arg}\n{USAGE}"),
            _ => runner.filters.push(arg),
        }
    }
    runner.ways = ways(&hooks, &buffers)?;
    Ok(Options {
        runner,
        list,
        learn,
    })
}

fn ways(hooks: &str, buffers: &str) -> Result<Vec<Way>> {
    let mut ways = Vec::new();
    for hook in hooks.split(',') {
        for buffer in buffers.split(',') {
            match (hook, buffer) {
                ("tracepoint" | "kprobe", "ring" | "perf") => {
                    ways.push(Way {
                        hook: hook.to_owned(),
                        buffer: buffer.to_owned(),
                    });
                }
                _ => bail!("no such way: {hook}/{buffer}\n{USAGE}"),
            }
        }
    }
    Ok(ways)
}
