//! `cargo xtask`: the commands that set up, build, run and test dropwatch.

mod arch;
mod bench;
mod build;
mod check;
mod counts;
mod cpio;
mod deny;
mod dist;
mod fixtures;
mod fuzz;
mod host_tools;
mod initramfs;
mod kernels;
mod programs;
mod qemu;
mod reliability;
mod soak;
mod vm;
mod workspace;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{say, toolchain};

use crate::{
    bench::BenchOptions, check::TestOptions, fuzz::FuzzOptions, soak::SoakOptions, vm::VmOptions,
};

/// Set up, build, run and test dropwatch.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring what the build needs and this machine lacks: bpf-linker and rust-src.
    ///
    /// Does nothing, and quickly, when nothing is missing. Everything fetched is
    /// kept in the user's cache folder.
    Setup {
        /// Bring what the VM tests need too: qemu and other tools, and the Debian kernels.
        #[arg(long)]
        vm: bool,
    },
    /// Build the static release binary and print its path as the last line.
    Build,
    /// Build dropwatch and start it with the flags given, through sudo if not root.
    Run {
        /// Flags for dropwatch, after `--`.
        #[arg(last = true, value_name = "FLAGS")]
        flags: Vec<String>,
    },
    /// Run every test: formatting, lints, unit, golden, live and VM tests.
    Test(TestOptions),
    /// Run the scenarios, or a command, in real Debian kernels under qemu.
    Vm(VmOptions),
    /// Measure what dropwatch costs on this machine, beside others and what it may cost.
    ///
    /// Takes about seven minutes, needs root, and writes docs/benchmarks.md. The
    /// machine should have nothing else to do. Debian's bpftrace is fetched into
    /// the user's cache folder, perf installed. Fails only if dropwatch's account
    /// does not add up.
    Bench(BenchOptions),
    /// Let dropwatch run while interfaces, namespaces, processes and other dropwatches come and go.
    ///
    /// Needs root and about one processor. Fails if memory grows, or an account is not exact.
    Soak(SoakOptions),
    /// Look for bytes that break what reads bytes of others, by coverage and with AddressSanitizer.
    ///
    /// The targets are in fuzz/. Fails with the name of a file that breaks one. The first
    /// time, cargo-fuzz is built into the user's cache folder.
    Fuzz(FuzzOptions),
    /// Check where dependencies come from, their licences, and known vulnerabilities.
    ///
    /// What is allowed is in deny.toml. The first time, cargo-deny is built into the
    /// user's cache folder.
    Deny,
    /// Build what is released: archive, deb, rpm, SBOM and their checksums, into target/dist.
    ///
    /// The first time, cargo-deb, cargo-generate-rpm and cargo-cyclonedx are built
    /// into the user's cache folder, in some minutes. Two builds of a commit are equal.
    Dist,
    /// For developers: write tests/fixtures/LABEL from what a kernel says about itself.
    ///
    /// Keeps only what the tests read. The folder holds copies of what the
    /// kernel has in /sys/kernel/btf (as btf/vmlinux, btf/MODULE...) and of
    /// /proc/kallsyms and /proc/modules (as kallsyms, modules).
    Fixtures {
        /// The kernel's series, as 6.12.
        label: String,
        /// The folder with the kernel's files.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            say::progress(format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Setup { vm } => setup(vm).map(|()| ExitCode::SUCCESS),
        Verb::Build => build::build().map(|()| ExitCode::SUCCESS),
        Verb::Run { flags } => build::run(&flags),
        Verb::Test(options) => check::test(&options),
        Verb::Vm(options) => vm::vm(&options),
        Verb::Bench(options) => bench::bench(&options),
        Verb::Fuzz(options) => fuzz::fuzz(&options),
        Verb::Deny => deny::deny(),
        Verb::Soak(options) => soak::soak(&options),
        Verb::Dist => dist::dist().map(|()| ExitCode::SUCCESS),
        Verb::Fixtures { label, from } => {
            fixtures::write(workspace::root(), &label, &from).map(|()| ExitCode::SUCCESS)
        }
    }
}

fn setup(with_vm: bool) -> Result<()> {
    toolchain::ensure()?;
    if with_vm {
        vm::provision_all()?;
    }
    say::progress("everything is in place");
    Ok(())
}
