//! What a host has only one of, and what it allows.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::{signal::Signal, time::TimeSpec},
    time::{ClockId, clock_gettime, clock_settime},
    unistd::Pid,
};

use super::{
    N, Setting, Stage, WITHIN, end, flow, make, one_line, parsed, played, wait_until,
    world_of_drops,
};
use crate::{
    cgroup::Cgroup,
    dropwatch::{Account, Dropwatch},
    kernel::Kernel,
    line::Line,
    run::Outcome,
    scenario::local,
    traffic,
    world::World,
};

/// Kernels from here on count eBPF maps against control groups, not locked memory.
const MEMORY_BY_CGROUP: Kernel = Kernel(5, 11);
const HOUR: i64 = 3600;

/// It lifts a low limit on locked memory, or says what to do.
pub(super) fn low_memlock(stage: &Stage<'_>) -> Result<Outcome> {
    let world = world_of_drops()?;
    let lifts = r#"ulimit -l 64; exec "$0" "$@""#;
    played(stage.in_shell(lifts, &world, &[]), &world)?;
    let may_not = |limits: &str| {
        let script = format!(
            r#"{limits}; exec setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource "$0" "$@""#
        );
        stage.in_shell(&script, &world, &[])
    };
    // As far as anybody may.
    played(may_not("ulimit -H -l 262144; ulimit -S -l 64"), &world)?;
    let command = may_not("ulimit -l 64");
    if stage.kernel < MEMORY_BY_CGROUP {
        let ended = Dropwatch::spawn_command(command)?.wait(WITHIN)?;
        one_line(
            &ended,
            &["64 KiB", "ulimit -l unlimited", "CAP_SYS_RESOURCE"],
        )?;
    } else {
        played(command, &world)?;
    }
    Ok(Outcome::Passed)
}

/// 64 MB are enough for each of them, buffer and all.
pub(super) fn memory_limit(stage: &Stage<'_>) -> Result<Outcome> {
    let world = world_of_drops()?;
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    for flags in [&[][..], &["summary", "--by", "reason,at,dport"], &serve] {
        fits(stage, &world, flags).with_context(|| format!("{flags:?}"))?;
    }
    Ok(Outcome::Passed)
}

fn fits(stage: &Stage<'_>, world: &World, flags: &[&str]) -> Result<()> {
    let cgroup = Cgroup::with_memory("limited", 64 << 20)?;
    let folder = cgroup.path().display().to_string();
    let script = format!(r#"echo $$ > {folder}/cgroup.procs; exec "$0" "$@""#);
    let mut dropwatch = Dropwatch::spawn_command(stage.in_shell(&script, world, flags))?;
    dropwatch.wait_ready()?;
    let sent = make(world, 40_000, 5000)?;
    let used = fs::read_to_string(format!("{folder}/memory.current"))?;
    dropwatch.signal(Signal::SIGINT)?;
    let ended = dropwatch.wait(WITHIN)?;
    ended.expect_status(0)?;
    let account = Account::find(&ended.stderr)?;
    account.check()?;
    ensure!(
        account.passed() == sent && account.lost == 0,
        "{sent} drops were made: {}",
        ended.stderr
    );
    let events = fs::read_to_string(format!("{folder}/memory.events"))?;
    ensure!(
        events.contains("oom 0\n") && events.contains("oom_kill 0\n"),
        "{used} bytes were used: {events}"
    );
    Ok(())
}

/// A processor that goes and comes back.
pub(super) fn processor_offline(stage: &Stage<'_>, buffer: &str) -> Result<Outcome> {
    const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";
    if !Path::new(ONLINE).exists() {
        return Ok(Outcome::Ignored("there is one processor only".to_owned()));
    }
    let world = world_of_drops()?;
    let mut dropwatch = stage.start(&world, &["--buffer", buffer])?;
    let mut sent = make_on(&world, 1, 40_001)?;
    let processor = Setting::change(ONLINE, "0")?;
    sent += make(&world, 40_002, N)?;
    processor.set("1")?;
    sent += make_on(&world, 1, 40_003)?;
    sent += make_on(&world, 0, 40_004)?;
    ensure!(dropwatch.is_running(), "it ended: {}", dropwatch.stderr());
    let (ended, account) = end(dropwatch, sent)?;
    let lines = parsed(&ended.stdout)?;
    for port in [40_001, 40_002, 40_004] {
        let count = flow(&lines, port).len();
        ensure!(count == N, "{count} lines of port {port}: {account:?}");
    }
    // The kernel closes a perf buffer with its processor, and does not open it again.
    let most_lost = if buffer == "perf" { N as u64 } else { 0 };
    ensure!(account.lost <= most_lost, "{account:?}");
    // One that is not there at the start may come.
    processor.set("0")?;
    let dropwatch = stage.start(&world, &["--buffer", buffer])?;
    processor.set("1")?;
    let sent = make_on(&world, 1, 40_005)?;
    let (_, account) = end(dropwatch, sent)?;
    ensure!(account.lost <= most_lost, "{account:?}");
    Ok(Outcome::Passed)
}

/// Makes drops on one processor.
fn make_on(world: &World, processor: usize, port: u16) -> Result<u64> {
    let sent = world.subject.run(|| {
        let mut set = CpuSet::new();
        set.set(processor)
            .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
            .with_context(|| format!("going to processor {processor}"))?;
        traffic::udp(local(port), local(9), N, 100)
    })?;
    Ok(sent.len() as u64)
}

/// The wall clock, set by some seconds until this is dropped.
struct SetClock {
    by: i64,
}

impl SetClock {
    fn set(by: i64) -> Result<Self> {
        shift_clock(by)?;
        Ok(Self { by })
    }
}

impl Drop for SetClock {
    fn drop(&mut self) {
        shift_clock(-self.by).ok();
    }
}

fn shift_clock(by: i64) -> Result<()> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).context("reading the clock")?;
    let then = TimeSpec::new(now.tv_sec() + by, now.tv_nsec());
    clock_settime(ClockId::CLOCK_REALTIME, then).context("setting the clock")
}

/// Lines follow the wall clock, and one line says so; so does a replay.
pub(super) fn clock_set(stage: &Stage<'_>) -> Result<Outcome> {
    let world = world_of_drops()?;
    let folder = tempfile::tempdir().context("making a folder")?;
    let file = folder.path().join("drops.dwr").display().to_string();
    let dropwatch = stage.start(&world, &["--write", &file])?;
    let mut sent = 0;
    let mut phase = |port| -> Result<i64> {
        let now = clock_gettime(ClockId::CLOCK_REALTIME).context("reading the clock")?;
        sent += make(&world, port, N)?;
        wait_until("the lines", || Ok(dropwatch.lines().len() as u64 >= sent))?;
        Ok(now.tv_sec())
    };
    let mut times = vec![(40_001, phase(40_001)?)];
    let forward = SetClock::set(HOUR)?;
    times.push((40_002, phase(40_002)?));
    let back = SetClock::set(-2 * HOUR)?;
    times.push((40_003, phase(40_003)?));
    let (ended, _) = end(dropwatch, sent)?;
    drop((back, forward));
    let lines = parsed(&ended.stdout)?;
    for (port, second) in times {
        let lines = flow(&lines, port);
        ensure!(lines.len() == N, "{} lines of port {port}", lines.len());
        for line in lines {
            // The guest has no time zone.
            let late = (second_of_day(line)? - second).rem_euclid(24 * HOUR);
            ensure!(late <= WITHIN.as_secs() as i64, "{late} s late: {line:?}");
        }
    }
    says_steps(&ended.stderr)?;
    let replay = Command::new(stage.dropwatch)
        .args(["replay", "-t", "boot", &file])
        .output()
        .context("replaying")?;
    says_steps(&String::from_utf8_lossy(&replay.stderr))?;
    let text = String::from_utf8_lossy(&replay.stdout);
    let boot: Vec<f64> = text
        .lines()
        .filter_map(|line| line.split(' ').next()?.parse().ok())
        .collect();
    ensure!(
        boot.len() as u64 == sent && boot.is_sorted(),
        "the boot clock goes on: {boot:?}"
    );
    Ok(Outcome::Passed)
}

fn second_of_day(line: &Line) -> Result<i64> {
    let time = line.time.split('.').next().unwrap_or_default();
    let parts: Result<Vec<i64>, _> = time.split(':').map(str::parse).collect();
    match parts.as_deref() {
        Ok([hours, minutes, seconds]) => Ok(hours * HOUR + minutes * 60 + seconds),
        _ => anyhow::bail!("not a time: {time}"),
    }
}

/// Checks that it was said by how much the clock was set, once for each time.
fn says_steps(stderr: &str) -> Result<()> {
    let by = stderr.lines().filter_map(|line| {
        let (_, rest) = line.split_once("the wall clock was set by ")?;
        rest.split_once(" s, to ")?.0.parse::<f64>().ok()
    });
    let by: Vec<f64> = by.collect();
    let near = |by: f64, want: i64| (by - want as f64).abs() < 0.5;
    ensure!(
        matches!(by[..], [one, two] if near(one, HOUR) && near(two, -2 * HOUR)),
        "{by:?}: {stderr}"
    );
    Ok(())
}

/// Without symbols there are addresses in their place, and one line says why.
pub(super) fn kptr_restrict(stage: &Stage<'_>) -> Result<Outcome> {
    let world = world_of_drops()?;
    let setting = Setting::change("/proc/sys/kernel/kptr_restrict", "2")?;
    let ended = played(stage.command(&world, &[]), &world)?;
    drop(setting);
    for line in parsed(&ended.stdout)? {
        ensure!(line.at().starts_with("0x"), "a name in {line:?}");
    }
    let warnings = ended.stderr.matches("kernel.kptr_restrict").count();
    ensure!(warnings > 0, "it said: {}", ended.stderr);
    Ok(Outcome::Passed)
}

/// Root may whatever this says, others never.
pub(super) fn unprivileged_bpf(stage: &Stage<'_>) -> Result<Outcome> {
    let world = world_of_drops()?;
    let path = "/proc/sys/kernel/unprivileged_bpf_disabled";
    for value in ["0", "2"] {
        let Ok(_setting) = Setting::change(path, value) else {
            return Ok(Outcome::Ignored(format!(
                "this kernel does not take {value}"
            )));
        };
        played(stage.command(&world, &[]), &world)?;
        let other = r#"exec setpriv --reuid=65534 --regid=65534 --clear-groups "$0" "$@""#;
        let command = stage.in_shell(other, &world, &[]);
        let ended = Dropwatch::spawn_command(command)?.wait(Duration::from_secs(30))?;
        one_line(&ended, &["CAP_BPF", "CAP_PERFMON"])?;
    }
    Ok(Outcome::Passed)
}
