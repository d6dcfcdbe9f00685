//! The program: parse, run, exit status.
#![deny(unsafe_code)]

use std::{env, ffi::OsStr, io::Write as _, process::ExitCode};

use anyhow::Result;
use dropwatch::{
    bpf,
    cli::{Cli, Command},
    color,
    config::{Config, Question},
    doctor,
    explain::Explain,
    heap,
    locate::Locate,
    output, progress,
    replay::Replay,
    session,
    stderr::Stderr,
};

/// Exit status of wrong usage, as clap uses it.
const WRONG_USAGE: u8 = 2;

/// Exit status of a run that lost drops, with `--fail-on-lost`.
const DROPS_LOST: u8 = 3;

fn main() -> ExitCode {
    heap::give_back_large_blocks();
    let cli = Cli::read();
    color::choose(cli.color);
    if cli.version {
        return print_version(cli.verbosity());
    }
    start_logging(cli.verbosity());
    match &cli.command {
        Some(Command::Explain(args)) => answer(Explain::new(&args.what), |explain| {
            explain.run().map(|()| ExitCode::SUCCESS)
        }),
        Some(Command::Locate(args)) => answer(Locate::new(args), |locate| locate.run().map(status)),
        Some(Command::Replay(args)) => answer(Replay::new(args.clone()), |replay| {
            replay.run().map(|()| ExitCode::SUCCESS)
        }),
        None | Some(_) => answer(Config::new(cli), |config| run(&config)),
    }
}

/// Does what was asked for, if the flags make sense.
fn answer<T>(command: Result<T>, run: impl FnOnce(T) -> Result<ExitCode>) -> ExitCode {
    match command.map(run) {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => fail(&error, ExitCode::FAILURE),
        Err(error) => fail(&error, ExitCode::from(WRONG_USAGE)),
    }
}

fn print_version(verbosity: u8) -> ExitCode {
    let mut text = concat!("dropwatch ", env!("CARGO_PKG_VERSION"), "\n").to_owned();
    if verbosity > 0 {
        text += &format!("eBPF object: {}\n", bpf::identity());
    }
    match output::print(text) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => fail(&error, ExitCode::FAILURE),
    }
}

fn status(is_success: bool) -> ExitCode {
    ExitCode::from(u8::from(!is_success))
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
            return doctor::run(config, format).map(status);
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
    output::say_error(error);
    status
}

/// Diagnostics on standard error: warnings, with `-v` what is done and why and
/// the eBPF side's, with `-vv` also what only developers need.
fn start_logging(verbose: u8) {
    // What aya warns of is in the error that follows, or nothing to worry about.
    let default = match verbose {
        0 => "warn,aya::sys=error",
        1 => "warn,aya::sys=error,dropwatch=info,dropwatch_ebpf=debug",
        _ => "info,dropwatch=debug,dropwatch_ebpf=debug",
    };
    let given = env::var_os(env_logger::DEFAULT_FILTER_ENV);
    let usable = given.as_deref().and_then(usable_filter);
    env_logger::Builder::new()
        .parse_filters(usable.unwrap_or(default))
        .format(|buffer, record| {
            let level = match record.level() {
                log::Level::Error | log::Level::Warn => "warning: ",
                _ => "",
            };
            progress::erase();
            writeln!(buffer, "dropwatch: {level}{}", output::Plain(record.args()))
        })
        .target(env_logger::Target::Pipe(Box::new(Stderr::open())))
        .init();
    if given.is_some() && usable.is_none() {
        log::warn!("RUST_LOG is ignored: it is not printable ASCII");
    }
}

/// What `RUST_LOG` says, unless it could control a terminal: what makes no sense in it is printed by
/// others, as it is.
fn usable_filter(given: &OsStr) -> Option<&str> {
    let is_printable = |text: &&str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    given.to_str().filter(is_printable)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn a_filter_of_messages_controls_no_terminal() {
        for text in ["", "debug", "warn, dropwatch=info", "a=b=c"] {
            assert_eq!(usable_filter(OsStr::new(text)), Some(text));
        }
        for text in ["a=b=\x1b[31m", "a=b=\nc", "a=\u{202e}", "a=\x7f"] {
            assert_eq!(usable_filter(OsStr::new(text)), None, "{text:?}");
        }
        assert_eq!(usable_filter(OsStr::from_bytes(b"a=\x9b")), None);
    }
}
