//! What `--write` does as a program, its files read back by Wireshark's tshark and by tcpdump.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dropwatch_tests::{
    dropwatch::{Account, Dropwatch, Ended},
    pcapng::{self, Capture},
    run::Outcome,
    small_disk::SmallDisk,
    traffic::{self, v4},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::checks::{Check, Drops, SOON, ends_without_a_word, one_line_of_failure, wait_until};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    (
        "packets/tshark_says_what_json_says",
        tshark_says_what_json_says,
    ),
    ("packets/whole_and_cut", whole_and_cut),
    ("packets/frames_in_the_record", frames_in_the_record),
    ("packets/live_to_tcpdump", live_to_tcpdump),
    ("packets/closed_pipe", closed_pipe),
    ("packets/full_disk", full_disk),
    ("packets/rotation", rotation),
    ("packets/refused", refused),
    ("packets/stopped_reader", |path| {
        stopped_reader(path, "exec \"$0\" \"$@\"")
    }),
    // Messages have the same reader.
    ("packets/stopped_reader_of_all", |path| {
        stopped_reader(path, "exec \"$0\" \"$@\" 2>&1")
    }),
    ("packets/reader_gone", reader_gone),
    ("packets/two_runs", two_runs),
    ("packets/removed", removed),
];

/// Ports where nobody listens, which an output rule does not guard either: dropped on the way in,
/// with a MAC header.
const CLOSED: std::ops::Range<u16> = 40_001..40_004;
/// What such a rule drops on the way out: no MAC header yet.
const GUARDED: std::ops::Range<u16> = 9..10;

/// A folder with a file to write to.
struct Folder(TempDir);

impl Folder {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir().context("making a folder")?))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("drops.pcapng")
    }

    fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.0.path()).context("reading the folder")? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}

fn writing(path: &Path, drops: &Drops, file: &Path, flags: &[&str]) -> Command {
    let mut command = drops.watched_by(path);
    command.arg("--write").arg(file).args(flags);
    command
}

/// Watches `make` and reads the file.
fn written(
    path: &Path,
    drops: &Drops,
    flags: &[&str],
    make: impl FnOnce() -> Result<()>,
) -> Result<(Ended, Capture)> {
    let folder = Folder::new()?;
    let mut dropwatch = Dropwatch::spawn_command(writing(path, drops, &folder.file(), flags))?;
    dropwatch.wait_ready()?;
    make()?;
    let ended = dropwatch.stop()?;
    ended.expect_status(0)?;
    let capture = read(&folder.file())?;
    Ok((ended, capture))
}

fn read(file: &Path) -> Result<Capture> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    pcapng::read(&bytes).with_context(|| format!("reading {}", file.display()))
}

/// The fields of each packet that tshark reads.
fn tshark(file: &Path, fields: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command
        .args(["-n", "-T", "fields", "-E", "occurrence=f", "-r"])
        .arg(file);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().context("starting tshark")?;
    ensure!(
        output.status.success(),
        "tshark: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).context("what tshark writes")?;
    let fields = |line: &str| line.split('\t').map(str::to_owned).collect();
    Ok(text.lines().map(fields).collect())
}

const FIELDS: &[&str] = &[
    "frame.time_epoch",
    "frame.interface_name",
    "frame.len",
    "frame.cap_len",
    "frame.packet_flags_direction",
    "ip.src",
    "ip.dst",
    "udp.srcport",
    "udp.dstport",
    "eth.type",
    "_ws.col.Protocol",
    "frame.comment",
];

fn tshark_says_what_json_says(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let folder = Folder::new()?;
    let file = folder.file();
    let command = writing(path, &drops, &file, &["-o", "json"]);
    let mut dropwatch = Dropwatch::spawn_command(command)?;
    dropwatch.wait_ready()?;
    drops.make_at(GUARDED, 3)?;
    drops.make_at(CLOSED, 2)?;
    let ended = dropwatch.stop()?;
    ended.expect_status(0)?;
    let mode = fs::metadata(&file)?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "mode {mode:o}");

    let objects = ended.stdout.lines().map(serde_json::from_str::<Value>);
    let objects: Vec<Value> = objects.collect::<Result<_, _>>().context("reading JSON")?;
    let (account, objects) = objects.split_last().context("no account")?;
    let packets = tshark(&file, FIELDS)?;
    ensure!(
        packets.len() == objects.len() && objects.len() == 9,
        "{} packets, {} objects for 9 drops",
        packets.len(),
        objects.len()
    );
    for (packet, object) in packets.iter().zip(objects) {
        says_the_same(packet, object).with_context(|| format!("{packet:?} for {object}"))?;
    }
    let said = read(&file)?.account.context("no account in the file")?;
    ensure!(account["printed"] == said.counts[3] && account["seen"] == said.counts[0]);
    ensure!(
        ended.stderr.contains(&said.comment),
        "{said:?}: {}",
        ended.stderr
    );
    Ok(Outcome::Passed)
}

/// Fails unless a packet, as tshark reads it, is that of a drop.
fn says_the_same(packet: &[String], drop: &Value) -> Result<()> {
    let [
        time,
        interface,
        len,
        captured,
        direction,
        source,
        destination,
        sport,
        dport,
        ethertype,
        protocol,
        comment,
    ] = packet
    else {
        anyhow::bail!("{} fields", packet.len());
    };
    let guarded = drop["dport"] == 9;
    // Where the rule drops it, the packet has no MAC header; where it was received, it has one.
    let header = if guarded { 0 } else { 14 };
    ensure!(
        ethertype == if guarded { "" } else { "0x0800" },
        "ethertype"
    );
    ensure!(
        *len == (header + 20 + 8 + 100).to_string() && captured == len,
        "length"
    );
    ensure!(
        direction == if guarded { "0x00000002" } else { "0x00000001" },
        "direction"
    );
    ensure!(protocol == "UDP", "protocol");
    let tuple = [source, destination, sport, dport];
    let expected = ["saddr", "daddr", "sport", "dport"].map(|key| plain(&drop[key]));
    ensure!(tuple.into_iter().eq(&expected), "not {expected:?}");
    ensure!(
        *interface == format!("{}/{}", plain(&drop["netns"]), plain(&drop["if"])),
        "interface"
    );
    // `2026-11-27T14:31:21.328928483Z` and `1795789881.328928483`.
    let (_, fraction) = time.split_once('.').context("no fraction")?;
    let at = drop["time"].as_str().context("no time")?;
    ensure!(
        fraction.len() == 9 && at.ends_with(&format!(".{fraction}Z")),
        "time"
    );
    let stack = drop["stack"].as_array().context("no stack")?;
    let stack: Vec<String> = stack.iter().map(plain).collect();
    for token in [
        format!(
            "{} udp {}:{} > ",
            plain(&drop["reason"]),
            expected[0],
            expected[2]
        ),
        format!(" at={} ", plain(&drop["at"])),
        format!(" class={} ", plain(&drop["class"])),
        format!(
            " pid={} comm={} ",
            plain(&drop["pid"]),
            plain(&drop["comm"])
        ),
        format!(" owner={} ", drop["owner"].as_str().unwrap_or("-")),
        format!(" stack={}", stack.join(",")),
    ] {
        ensure!(comment.contains(&token), "no {token:?} in the comment");
    }
    Ok(())
}

/// A value without the marks of JSON.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Sends a datagram of so many bytes to a closed port.
fn large(drops: &Drops, size: usize) -> Result<()> {
    drops.within(|| {
        let local = |port| v4([127, 0, 0, 1], port);
        traffic::udp(local(40500), local(CLOSED.start), 1, size).map(drop)
    })
}

fn whole_and_cut(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let len = 14 + 20 + 8 + 3000;
    for (snaplen, expected) in [
        ("4096", len),
        ("1000", 1000),
        ("145", 145),
        ("144", 144),
        ("60", 60),
    ] {
        for buffer in ["ring", "perf"] {
            let flags = ["-s", snaplen, "--buffer", buffer];
            let (ended, capture) = written(path, &drops, &flags, || large(&drops, 3000))?;
            ensure!(ended.account()?.printed == 1, "{}", ended.stderr);
            let [packet] = &capture.packets[..] else {
                anyhow::bail!("{} packets", capture.packets.len());
            };
            ensure!(
                packet.data.len() == expected && packet.original_len as usize == len,
                "-s {snaplen}: {} bytes of {}",
                packet.data.len(),
                packet.original_len
            );
            let addresses = [127, 0, 0, 1, 127, 0, 0, 1];
            ensure!(
                packet.data[14 + 12..14 + 20] == addresses,
                "{:?}",
                packet.data
            );
            // The datagram is of one byte over and over.
            let payload = &packet.data[42..];
            ensure!(
                payload.iter().all(|byte| *byte == payload[0]),
                "{payload:?}"
            );
            // Lines are the same whatever is written.
            ensure!(capture.packets[0].comment == line_of(&ended)?);
        }
    }
    Ok(Outcome::Passed)
}

/// The line without its time.
fn line_of(ended: &Ended) -> Result<String> {
    let (_, line) = ended.stdout.trim_end().split_once(' ').context("no line")?;
    Ok(line.to_owned())
}

/// With `--stack-func` the stack's frames lie between the packet's headers and the rest of it.
fn frames_in_the_record(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let folder = Folder::new()?;
    let mut command = Command::new(path);
    command.args(["--netns", &drops.netns(), "--stack-func", "*udp*"]);
    command.arg("--write").arg(folder.file());
    let mut dropwatch = Dropwatch::spawn_command(command)?;
    dropwatch.wait_ready()?;
    large(&drops, 1000)?;
    let ended = dropwatch.stop()?;
    ended.expect_status(0)?;
    let capture = read(&folder.file())?;
    let [packet] = &capture.packets[..] else {
        anyhow::bail!("{} packets", capture.packets.len());
    };
    ensure!(packet.data.len() == 1042, "{} bytes", packet.data.len());
    let payload = &packet.data[42..];
    ensure!(
        payload.iter().all(|byte| *byte == payload[0]),
        "{payload:?}"
    );
    let line = line_of(&ended)?;
    ensure!(
        packet.comment == line && line.contains("stack=") && !line.ends_with("stack=-"),
        "{line}"
    );
    Ok(Outcome::Passed)
}

fn live_to_tcpdump(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let pipeline = r#""$0" "$@" | tcpdump -tlnr - 2>&1 | grep --line-buffered -v ^reading"#;
    let flags = ["--write", "-", "--count", "4"];
    let dropwatch = drops.watched_in_shell(path, pipeline, &flags)?;
    for (count, ports) in [(1, GUARDED), (2, CLOSED)] {
        drops.make_at(ports.start..ports.start + 1, 1)?;
        // It goes on: this is while packets come.
        wait_until(|| dropwatch.lines().len() >= count)
            .with_context(|| format!("waiting for packet {count}: {:?}", dropwatch.lines()))?;
    }
    drops.make(2)?;
    let ended = dropwatch.wait(SOON)?;
    ended.expect_status(0)?;
    let expected = [9, CLOSED.start, 9, 9]
        .map(|port| format!("IP 127.0.0.1.40500 > 127.0.0.1.{port}: UDP, length 100"));
    let lines: Vec<&str> = ended.stdout.lines().collect();
    ensure!(lines == expected, "{lines:?}");
    let account = Account::find(&ended.stderr)?;
    account.check()?;
    ensure!(account.printed == 4, "{account:?}");
    Ok(Outcome::Passed)
}

fn closed_pipe(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let mut command = drops.watched_by(path);
    command.args(["--write", "-"]);
    let (mut dropwatch, mut output) = Dropwatch::spawn_piped(command)?;
    dropwatch.wait_ready()?;
    drops.make(1)?;
    let mut start = [0; 4];
    output.read_exact(&mut start).context("reading the start")?;
    ensure!(start == [0x0a, 0x0d, 0x0d, 0x0a], "{start:?}");
    drop(output);
    ends_without_a_word(dropwatch)
}

/// Who does not read the lines takes nothing from the file, and the account tells both.
fn stopped_reader(path: &Path, script: &str) -> Result<Outcome> {
    const FLOOD: usize = 20_000;
    let drops = Drops::new()?;
    let folder = Folder::new()?;
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(path).args(drops.filter());
    // Less than the lines need.
    command
        .args(["--buffer-size", "4M", "--write"])
        .arg(folder.file());
    let (mut dropwatch, mut output) = Dropwatch::spawn_piped(command)?;
    dropwatch.wait_ready()?;
    for _ in 0..FLOOD / 100 {
        drops.make(100)?;
        // Not faster than dropwatch.
        thread::sleep(Duration::from_millis(5));
    }
    dropwatch.signal(Signal::SIGINT)?;
    // Whether anybody reads or not.
    let ended = dropwatch.wait(SOON)?;
    ended.expect_status(0)?;
    let mut text = String::new();
    output
        .read_to_string(&mut text)
        .context("reading the lines")?;
    let capture = read(&folder.file())?;
    // Standard error may have had no room for it.
    let account = capture.account.context("no account in the file")?;
    let account = Account::find(&format!("dropwatch: {}", account.comment))?;
    account.check()?;
    let is_line = |line: &&str| !line.starts_with("dropwatch: ");
    let lines = text.lines().filter(is_line).count() as u64;
    // One may be out in part.
    ensure!(
        lines.abs_diff(account.printed) <= 1 && account.printed + account.lost == FLOOD as u64,
        "{FLOOD} drops, {lines} lines: {account:?}"
    );
    let packets = capture.packets.len();
    ensure!(
        packets == FLOOD && account.lost > 0,
        "{packets} packets of {FLOOD} in the file: {account:?}"
    );
    Ok(Outcome::Passed)
}

/// Who has read enough ends the run; what was dropped until then is in the file, and told.
fn reader_gone(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let folder = Folder::new()?;
    let command = writing(path, &drops, &folder.file(), &[]);
    let (mut dropwatch, output) = Dropwatch::spawn_piped(command)?;
    dropwatch.wait_ready()?;
    dropwatch.pause()?;
    drops.make(3000)?;
    drop(output);
    dropwatch.signal(Signal::SIGCONT)?;
    let ended = dropwatch.wait(SOON)?;
    ended.expect_status(0)?;
    let account = Account::find(&ended.stderr)?;
    account.check()?;
    let packets = read(&folder.file())?.packets.len() as u64;
    ensure!(
        packets == 3000 && account.printed + account.lost == packets,
        "{packets} packets of 3000 in the file: {account:?}"
    );
    Ok(Outcome::Passed)
}

/// The second run on a file is refused, and the first one's file stays.
fn two_runs(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let folder = Folder::new()?;
    let mut first = Dropwatch::spawn_command(writing(path, &drops, &folder.file(), &[]))?;
    first.wait_ready()?;
    for flags in [&[][..], &["--rotate", "1M"]] {
        let second = writing(path, &drops, &folder.file(), flags);
        let ended = Dropwatch::spawn_command(second)?.wait(SOON)?;
        one_line_of_failure(&ended, &["is being written by another run"])?;
    }
    drops.make(3)?;
    wait_until(|| first.lines().len() >= 3)?;
    first.stop()?.expect_status(0)?;
    let packets = read(&folder.file())?.packets.len();
    ensure!(packets == 3, "{packets} packets of 3");
    Ok(Outcome::Passed)
}

/// Nobody is told that packets are in a file that is gone.
fn removed(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let folder = Folder::new()?;
    let mut dropwatch = Dropwatch::spawn_command(writing(path, &drops, &folder.file(), &[]))?;
    dropwatch.wait_ready()?;
    drops.make(3)?;
    wait_until(|| dropwatch.lines().len() >= 3)?;
    fs::remove_file(folder.file())?;
    let ended = dropwatch.stop()?;
    ended.expect_status(1)?;
    ended.account()?;
    let said = [
        "dropwatch: 0 packets in ",
        "was removed while it was written, and 3 packets with it",
    ];
    ensure!(
        said.iter().all(|said| ended.stderr.contains(said)),
        "{}",
        ended.stderr
    );
    Ok(Outcome::Passed)
}

fn full_disk(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let small = SmallDisk::new()?;
    let file = small.path().join("drops.pcapng");
    let mut dropwatch = Dropwatch::spawn_command(writing(path, &drops, &file, &[]))?;
    dropwatch.wait_ready()?;
    drops.make(500)?;
    let ended = dropwatch.wait(SOON)?;
    ended.expect_status(1)?;
    let account = ended.account()?;
    let capture = read(&file)?;
    let tshark = tshark(&file, &["frame.number"])?;
    let packets = capture.packets.len();
    ensure!(
        packets == tshark.len() && packets > 0,
        "{packets} packets, {} by tshark",
        tshark.len()
    );
    ensure!(
        account.printed >= packets as u64,
        "{account:?} for {packets} packets"
    );
    let said = format!("dropwatch: {packets} packets in {}", file.display());
    ensure!(
        ended.stderr.contains(&said),
        "no {said:?}: {}",
        ended.stderr
    );
    let errors = ended
        .stderr
        .lines()
        .filter(|line| line.contains("No space left"));
    let errors: Vec<&str> = errors.collect();
    ensure!(
        errors.len() == 1 && errors[0].contains(&file.display().to_string()),
        "one line was to say so: {}",
        ended.stderr
    );
    Ok(Outcome::Passed)
}

fn rotation(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let folder = Folder::new()?;
    // Not of ours, but for the last, which another run has left.
    for (name, content) in [
        ("drops.pcapng.old", ""),
        ("drops.pcapng.0", ""),
        ("drops.pcapng.7", "\n\r\r\n"),
    ] {
        fs::write(folder.0.path().join(name), content)?;
    }
    let flags = ["--rotate", "4K", "--keep", "3", "--no-stack"];
    let command = writing(path, &drops, &folder.file(), &flags);
    let mut dropwatch = Dropwatch::spawn_command(command)?;
    dropwatch.wait_ready()?;
    drops.make(100)?;
    let ended = dropwatch.stop()?;
    ended.expect_status(0)?;
    let lines: Vec<&str> = ended.stdout.lines().collect();
    ensure!(lines.len() == 100, "{} lines", lines.len());
    let names = folder.names()?;
    let number = |name: &String| name.strip_prefix("drops.pcapng.")?.parse().ok();
    let numbers = names.iter().filter_map(number).filter(|number| *number > 0);
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    ensure!(
        numbers.len() == 2 && numbers[0] > 8 && numbers[1] == numbers[0] + 1,
        "{names:?}"
    );
    ensure!(names.len() == 5, "{names:?}");
    let mut comments = Vec::new();
    let numbered = |number| folder.0.path().join(format!("drops.pcapng.{number}"));
    let mut files: Vec<PathBuf> = numbers.iter().map(numbered).collect();
    files.push(folder.file());
    for file in &files {
        let capture = read(file)?;
        ensure!(
            tshark(file, &["frame.number"])?.len() == capture.packets.len(),
            "tshark reads another number of packets"
        );
        let is_last = *file == folder.file();
        ensure!(
            capture.account.is_some() == is_last,
            "the account is in the last file"
        );
        let len = fs::metadata(file)?.len();
        ensure!(is_last || (4096..8192).contains(&len), "{len} bytes");
        comments.extend(capture.packets.into_iter().map(|packet| packet.comment));
    }
    let last = &lines[lines.len() - comments.len()..];
    let same = comments
        .iter()
        .zip(last)
        .all(|(comment, line)| line.ends_with(comment.as_str()));
    ensure!(
        same && comments.len() > 10,
        "{} packets in the last files",
        comments.len()
    );
    Ok(Outcome::Passed)
}

fn refused(path: &Path) -> Result<Outcome> {
    let folder = Folder::new()?;
    let target = folder.0.path().join("target");
    fs::write(&target, "precious")?;
    symlink(&target, folder.file())?;
    for flags in [&[][..], &["--rotate", "1M"]] {
        let mut command = Command::new(path);
        command.arg("--write").arg(folder.file()).args(flags);
        let ended = Dropwatch::spawn_command(command)?.wait(SOON)?;
        ended.expect_status(1)?;
        ensure!(
            ended.stderr.lines().count() == 1 && ended.stderr.contains("no regular file"),
            "{}",
            ended.stderr
        );
    }
    ensure!(fs::read(&target)? == b"precious", "the link was followed");
    let ended = Dropwatch::spawn(path, &["--write", "-", "-o", "json"])?.wait(SOON)?;
    ended.expect_status(2)?;
    ensure!(ended.stderr.lines().count() == 1, "{}", ended.stderr);
    Ok(Outcome::Passed)
}
