//! Lets dropwatch run for minutes while all around it comes and goes: needs root, `ip`, `tc`, `nft`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the results are what this program is for"
)]

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use dropwatch_tests::{
    soak::{self, Options},
    stand_in,
};

const USAGE: &str = "\
usage: soak [OPTIONS]
  --dropwatch PATH   the program to test [default: /bin/dropwatch]
  --minutes N        how long [default: 20]
  --seed N           another one is another order of things [default: 1]";

fn main() -> ExitCode {
    if let Some(status) = stand_in::act() {
        return status;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = options(std::env::args().skip(1))?;
    let report = soak::run(&options, &mut |line| eprintln!("soak: {line}"))?;
    print!("{report}");
    report.judge()
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        dropwatch: "/bin/dropwatch".into(),
        length: Duration::from_secs(20 * 60),
        seed: 1,
    };
    while let Some(arg) = args.next() {
        let value = args
            .next()
            .with_context(|| format!("{arg}: no value\n{USAGE}"))?;
        let number = || {
            value
                .parse::<u64>()
                .with_context(|| format!("{arg} {value}"))
        };
        match arg.as_str() {
            "--dropwatch" => options.dropwatch = value.into(),
            "--minutes" => options.length = Duration::from_secs(60 * number()?),
            "--seed" => options.seed = number()?,
            _ => bail!("{arg}: no such option\n{USAGE}"),
        }
    }
    Ok(options)
}
