//! One virtual machine: booting it and reading what its job prints.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use xtask::say;

use crate::kernels::Installed;

/// From the start of qemu to the guest's first line; about 4 s on an idle
/// machine, and half a minute was seen on a busy one.
const BOOT_TIME: Duration = Duration::from_secs(120);

/// Without hardware support the kernel panics in rare cases while it patches
/// its own code, so a boot is tried again.
const BOOT_ATTEMPTS: u32 = 3;

/// Lines that init.sh writes around the output of the job.
const READY: &str = "dropwatch-vm ready ";
const DONE: &str = "dropwatch-vm done ";

/// How many of the console's lines explain why a boot failed.
const LAST_LINES: usize = 20;

/// How many of the kernel's lines are kept: it says in about sixty why it panics.
const KERNEL_LINES: usize = 100;

/// How a job ended.
pub(crate) enum End {
    /// With this exit status.
    Status(i32),
    /// The kernel panicked; what it said.
    Panic(String),
}

/// A machine that has booted and runs its job.
pub(crate) struct Machine {
    qemu: Child,
    lines: Receiver<String>,
    /// The last ones; from the ready line on it speaks of a panic only.
    kernel_lines: VecDeque<String>,
    panicked: bool,
    /// The release of its kernel, once it has booted.
    pub(crate) release: String,
}

impl Machine {
    /// Boots `kernel` with `initramfs`; what the guest writes to /dev/ttyS1 goes
    /// to the file `out`.
    pub(crate) fn boot(
        label: &str,
        cpus: u32,
        kernel: &Installed,
        initramfs: &Path,
        out: Option<&Path>,
    ) -> Result<Self> {
        for attempt in 1..=BOOT_ATTEMPTS {
            let mut machine = Self::start(cpus, kernel, initramfs, out)?;
            let started = Instant::now();
            match machine.wait_until_ready() {
                Ok(release) => {
                    let time = started.elapsed().as_secs_f32();
                    say::progress(format!("{label}: {release} booted in {time:.1} s"));
                    machine.release = release;
                    return Ok(machine);
                }
                Err(error) => {
                    say::progress(format!("{label}: boot {attempt} failed: {error:#}"));
                }
            }
        }
        bail!("{label} did not boot, {BOOT_ATTEMPTS} times")
    }

    /// Gives each line of the job to `each`, until it ends.
    pub(crate) fn finish(mut self, limit: Duration, mut each: impl FnMut(&str)) -> Result<End> {
        let deadline = Instant::now() + limit;
        loop {
            let line = match self.next_line(deadline) {
                Ok(line) => line,
                Err(_) if self.panicked => {
                    let said: Vec<String> = self.kernel_lines.drain(..).collect();
                    return Ok(End::Panic(said.join("\n")));
                }
                Err(error) => {
                    let limit = limit.as_secs();
                    return Err(error.context(format!("the job did not end ({limit} s at most)")));
                }
            };
            if let Some(status) = line.strip_prefix(DONE) {
                let status = status
                    .parse()
                    .with_context(|| format!("reading the job's exit status `{status}`"))?;
                return Ok(End::Status(status));
            }
            each(&line);
        }
    }

    fn start(cpus: u32, kernel: &Installed, initramfs: &Path, out: Option<&Path>) -> Result<Self> {
        let mut qemu = command(cpus, kernel, initramfs, out)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting qemu")?;
        let console = qemu.stdout.take().context("qemu has no standard output")?;
        Ok(Self {
            qemu,
            lines: read_lines(console),
            kernel_lines: VecDeque::new(),
            panicked: false,
            release: String::new(),
        })
    }

    /// The release of the kernel that has booted.
    fn wait_until_ready(&mut self) -> Result<String> {
        let deadline = Instant::now() + BOOT_TIME;
        let mut last_lines = VecDeque::new();
        loop {
            let line = self.next_line(deadline).with_context(|| {
                let lines: Vec<String> = last_lines.drain(..).collect();
                format!("last lines:\n{}\n", lines.join("\n"))
            })?;
            // The firmware may have left control codes in front.
            if let Some((_, release)) = line.split_once(READY) {
                self.kernel_lines.clear();
                return Ok(release.to_owned());
            }
            keep_last(&mut last_lines, LAST_LINES, line);
        }
    }

    fn next_line(&mut self, deadline: Instant) -> Result<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.panicked |= line.contains("Kernel panic");
                if is_of_kernel(&line) {
                    keep_last(&mut self.kernel_lines, KERNEL_LINES, line.clone());
                }
                Ok(line)
            }
            Err(RecvTimeoutError::Timeout) => bail!("timed out"),
            Err(RecvTimeoutError::Disconnected) => bail!("the machine stopped"),
        }
    }
}

fn keep_last(lines: &mut VecDeque<String>, most: usize, line: String) {
    if lines.len() == most {
        lines.pop_front();
    }
    lines.push_back(line);
}

/// Whether the kernel wrote it, and not the job: it begins with a time, as `[    1.234567] `.
fn is_of_kernel(line: &str) -> bool {
    let time = line
        .strip_prefix('[')
        .and_then(|line| line.split_once("] "));
    time.is_some_and(|(time, _)| time.trim_start().parse::<f64>().is_ok())
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only if qemu has ended and was waited for already.
        self.qemu.kill().ok();
        self.qemu.wait().ok();
    }
}

fn command(cpus: u32, kernel: &Installed, initramfs: &Path, out: Option<&Path>) -> Command {
    let console = kernel.arch.console();
    // The machine ends with xtask, however that ends.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL"])
        .args(kernel.arch.qemu())
        // Software emulation: KVM may be offered and yet hang.
        .args(["-accel", "tcg,thread=multi"])
        .args(["-smp", &cpus.to_string(), "-m", "2048"])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-serial"]);
    match out {
        Some(path) => qemu.arg(format!("file:{}", path.display())),
        None => qemu.arg("null"),
    };
    qemu.arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(initramfs)
        .args([
            "-append",
            &format!("console={console} quiet panic=-1 oops=panic"),
        ]);
    qemu
}

fn read_lines(console: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut console = BufReader::new(console);
        let mut bytes = Vec::new();
        while console.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let line = String::from_utf8_lossy(&bytes);
            if sender.send(line.trim_end().to_owned()).is_err() {
                return;
            }
            bytes.clear();
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_have_a_time() {
        assert!(is_of_kernel("[ 1061.572211] RBP: ff2eb21bfb4325c0"));
        assert!(is_of_kernel("[    0.000000] Linux version 7.3"));
        assert!(!is_of_kernel("test tracepoint/ring/udp ... ok"));
        assert!(!is_of_kernel("    [10.0.0.1] is no time"));
        assert!(!is_of_kernel("[fe80::1] "));
    }
}
