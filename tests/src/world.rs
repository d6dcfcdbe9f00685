//! The small networks that scenarios play in.

use std::{any::Any, fs, process::Command, sync::Mutex};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::netns::Netns;

/// MAC address of the subject's `v0`.
pub const SUBJECT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// MAC address of the peer's `p0`.
pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Two namespaces: the *subject*, whose drops are looked at, and its *peer*.
///
/// Both have 127.0.0.1 on `lo`, and they share a cable: `v0` (10.77.0.1) in the subject, `p0`
/// (10.77.0.2) in the peer, neighbours known for good. There is no IPv6 and nothing that speaks
/// unasked, so that every drop is one that the scenario made.
#[derive(Debug)]
pub struct World {
    /// Where drops are expected.
    pub subject: Netns,
    /// The other end of the cable.
    pub peer: Netns,
    kept: Mutex<Vec<Box<dyn Any + Send>>>,
}

/// What both namespaces begin with. New namespaces inherit some sysctls from the host: pin them.
const QUIET: &[&str] = &[
    "sysctl net.ipv6.conf.all.disable_ipv6=1",
    "sysctl net.ipv6.conf.default.disable_ipv6=1",
    "sysctl net.ipv4.conf.all.rp_filter=0",
    "sysctl net.ipv4.conf.default.rp_filter=0",
    "sysctl net.ipv4.ip_forward=0",
    "sysctl net.ipv4.icmp_ratelimit=0",
    "ip link set lo up",
];

impl World {
    /// Makes the namespaces and the cable.
    pub fn new() -> Result<Self> {
        let world = Self {
            subject: Netns::new()?,
            peer: Netns::new()?,
            kept: Mutex::default(),
        };
        let peer = world.peer.path();
        world.set_up(QUIET.iter().copied())?;
        world
            .peer
            .run(|| QUIET.iter().try_for_each(|command| run_command(command)))?;
        world.set_up([
            "ip link add v0 address 02:00:00:00:00:01 type veth peer name p0 address 02:00:00:00:00:02",
            &format!("ip link set p0 netns {}", peer.display()),
            "ip addr add 10.77.0.1/24 dev v0",
            "ip link set v0 up",
            "peer: ip addr add 10.77.0.2/24 dev p0",
            "peer: ip link set p0 up",
            "ip neigh replace 10.77.0.2 lladdr 02:00:00:00:00:02 dev v0 nud permanent",
            "peer: ip neigh replace 10.77.0.1 lladdr 02:00:00:00:00:01 dev p0 nud permanent",
        ])?;
        Ok(world)
    }

    /// Inode numbers of the namespaces, as lines show them.
    #[must_use]
    pub fn namespaces(&self) -> [String; 2] {
        [&self.subject, &self.peer].map(|netns| netns.inode().to_string())
    }

    /// Keeps what lines about this world's drops may still be looked up in: processes, cgroups.
    pub fn keep(&self, thing: impl Any + Send) {
        if let Ok(mut kept) = self.kept.lock() {
            kept.push(Box::new(thing));
        }
    }

    /// Runs commands in the subject, or in the peer if they begin with `peer: `.
    pub fn set_up<'a>(&self, commands: impl IntoIterator<Item = &'a str>) -> Result<()> {
        commands
            .into_iter()
            .try_for_each(|command| match command.strip_prefix("peer: ") {
                Some(command) => self.peer.run(|| run_command(command)),
                None => self.subject.run(|| run_command(command)),
            })
    }
}

/// Runs one command line: words, with `'...'` around what has spaces, and `A || B` to try B if A
/// fails. `sysctl KEY=VALUE` writes the file itself, for not every machine has the tool.
pub fn run_command(line: &str) -> Result<()> {
    let mut result = Ok(());
    for alternative in line.split(" || ") {
        result = run_one(alternative).with_context(|| format!("running `{alternative}`"));
        if result.is_ok() {
            break;
        }
    }
    result
}

fn run_one(line: &str) -> Result<()> {
    let words = words(line);
    let (program, args) = words.split_first().context("an empty command")?;
    if program == "sysctl" {
        return args.iter().try_for_each(|setting| sysctl(setting));
    }
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("starting {program}"))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// The standard output of a command.
pub fn output_of(line: &str) -> Result<String> {
    let words = words(line);
    let (program, args) = words.split_first().context("an empty command")?;
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("starting {program}"))?;
    ensure!(output.status.success(), "`{line}`: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn sysctl(setting: &str) -> Result<()> {
    let (key, value) = setting
        .split_once('=')
        .ok_or_else(|| anyhow!("not KEY=VALUE: {setting:?}"))?;
    let path = format!("/proc/sys/{}", key.replace('.', "/"));
    fs::write(&path, value).with_context(|| format!("writing {path}"))
}

fn words(line: &str) -> Vec<String> {
    // The odd pieces between quotes are one word each.
    line.split('\'')
        .enumerate()
        .flat_map(|(piece, text)| match piece % 2 {
            0 => text.split_whitespace().map(str::to_owned).collect(),
            _ => vec![text.to_owned()],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{run_command, words};

    #[test]
    fn words_and_quotes() {
        assert_eq!(
            words("nft add rule t '{ a ; }' drop"),
            ["nft", "add", "rule", "t", "{ a ; }", "drop"]
        );
    }

    #[test]
    fn the_second_way_is_tried() {
        assert!(run_command("false || true").is_ok());
        assert!(run_command("false || false").is_err());
    }
}
