//! The program: parse, run, exit status.
#![deny(unsafe_code)]

use std::{io::Write as _, process::ExitCode};

use anyhow::Result;
use clap::Parser as _;
use dropwatch::{
    cli::{Cli, Command, LocateArgs, ReplayArgs},
    color,
    config::{Config, Question},
    doctor,
    explain::Explain,
    heap,
    locate::Locate,
    output, progress,
    replay::Replay,
    session,
};

/// Exit status of wrong usage, as clap uses it.
const WRONG_USAGE: u8 = 2;

/// Exit status of a run that lost drops, with `--fail-on-lost`.
const DROPS_LOST: u8 = 3;

fn main() -> ExitCode {
    heap::give_back_large_blocks();
    let cli = Cli::parse();
    color::choose(cli.color);
    start_logging(cli.verbosity());
    match &cli.command {
        Some(Command::Explain(args)) => return explain(&args.what),
        Some(Command::Locate(args)) => return locate(args),
        _ => {}
    }
    if let Some(Command::Replay(args)) = cli.command {
        return replay(args);
    }
    let config = match Config::new(cli) {
        Ok(config) => config,
        Err(error) => return fail(&error, ExitCode::from(WRONG_USAGE)),
    };
    match run(&config) {
        Ok(status) => status,
        Err(error) => fail(&error, ExitCode::FAILURE),
    }
}

fn explain(what: &[String]) -> ExitCode {
    match Explain::new(what).map(Explain::run) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error, ExitCode::FAILURE),
        Err(error) => fail(&error, ExitCode::from(WRONG_USAGE)),
    }
}

fn locate(args: &LocateArgs) -> ExitCode {
    match Locate::new(args).map(Locate::run) {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::FAILURE,
        Ok(Err(error)) => fail(&error, ExitCode::FAILURE),
        Err(error) => fail(&error, ExitCode::from(WRONG_USAGE)),
    }
}

fn replay(args: ReplayArgs) -> ExitCode {
    match Replay::new(args) {
        Ok(replay) => match replay.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, ExitCode::FAILURE),
        },
        Err(error) => fail(&error, ExitCode::from(WRONG_USAGE)),
    }
}

fn run(config: &Config) -> Result<ExitCode> {
    match config.question {
        Some(Question::Reasons) => {
            session::list_reasons(config)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Question::Hooks) => {
            doctor::list_hooks(config)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Question::Doctor(format)) => {
            return Ok(if doctor::run(config, format)? {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        None => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let account = runtime.block_on(session::run(config))?;
    Ok(if config.fail_on_lost && account.lost > 0 {
        ExitCode::from(DROPS_LOST)
    } else {
        ExitCode::SUCCESS
    })
}

fn fail(error: &anyhow::Error, status: ExitCode) -> ExitCode {
    output::say(&format_args!("{error:#}"));
    status
}

/// Diagnostics on standard error: warnings, with `-v` what is done and why and
/// the eBPF side's, with `-vv` also what only developers need.
fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "warn,dropwatch=info,dropwatch_ebpf=debug",
        _ => "info,dropwatch=debug,dropwatch_ebpf=debug",
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(default))
        .format(|buffer, record| {
            let level = match record.level() {
                log::Level::Error | log::Level::Warn => "warning: ",
                _ => "",
            };
            progress::erase();
            writeln!(buffer, "dropwatch: {level}{}", record.args())
        })
        .init();
}
