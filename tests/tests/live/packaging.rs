//! The files of `packaging/`: checked by the tools that will read them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use dropwatch::{cli::Cli, config::Config};
use dropwatch_tests::run::Outcome;
use yaml_rust2::{Yaml, YamlLoader};

use crate::{
    checks::{Check, Drops},
    fleet::prometheus_program,
};

/// All checks.
pub(crate) const ALL: &[(&str, Check)] = &[
    ("packaging/rules", rules),
    ("packaging/unit", unit),
    ("packaging/unit_system_calls", unit_system_calls),
    ("packaging/daemon_set", daemon_set),
    ("packaging/container", container),
];

/// The highest exposure that `systemd-analyze security` may find, in tenths: what is left are the
/// capabilities, the network, and the processes that are looked at.
const MOST_EXPOSURE: f64 = 3.0;

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(file)
}

fn read(file: &str) -> Result<String> {
    let path = packaging(file);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// What a command prints; fails with it if the command does.
fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(output.status.success(), "{command:?}: {text}");
    Ok(text)
}

/// Fails unless dropwatch takes these arguments.
fn takes(args: &[&str]) -> Result<()> {
    let args = [&["dropwatch"], args].concat();
    let cli = Cli::try_parse_from(&args).with_context(|| format!("{args:?}"))?;
    Config::new(cli).with_context(|| format!("{args:?}"))?;
    Ok(())
}

fn rules(_: &Path) -> Result<Outcome> {
    let promtool = |args: [&str; 2], file: &str| {
        let mut command = Command::new(prometheus_program("promtool"));
        output(command.args(args).arg(packaging(file)))
    };
    let checked = promtool(["check", "rules"], "prometheus/dropwatch.rules.yml")?;
    promtool(["check", "config"], "prometheus/prometheus.example.yml")?;
    promtool(["test", "rules"], "prometheus/dropwatch.rules.test.yml")?;
    // Each alert has a test.
    let tests = read("prometheus/dropwatch.rules.test.yml")?;
    let rules = read("prometheus/dropwatch.rules.yml")?;
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: Vec<_> = alerts.collect();
    ensure!(
        checked.contains(&format!("{} rules found", alerts.len())),
        "{checked}"
    );
    for alert in alerts {
        let test = format!("alertname: {alert}\n        exp_alerts:");
        ensure!(tests.contains(&test), "no test in which {alert} fires");
    }
    Ok(Outcome::Passed)
}

/// The values of a unit's setting, those of several lines one behind the other.
fn setting<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    let lines = unit
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    lines.flat_map(str::split_whitespace).collect()
}

fn unit(path: &Path) -> Result<Outcome> {
    let text = read("dropwatch.service")?;
    // systemd looks whether the program is there.
    let dir = tempfile::Builder::new().prefix("dwt-").tempdir()?;
    let unit = dir.path().join("dropwatch.service");
    let program = path.canonicalize()?;
    fs::write(
        &unit,
        text.replace("/usr/bin/dropwatch", &program.to_string_lossy()),
    )?;
    let analyze = |args: &[&str]| output(Command::new("systemd-analyze").args(args).arg(&unit));
    let said = analyze(&["verify"])?;
    ensure!(said.trim().is_empty(), "systemd-analyze verify: {said}");
    let security = analyze(&["security", "--offline=true", "--no-pager"])?;
    let level = security
        .lines()
        .find_map(|line| line.split("exposure level for").nth(1));
    let level = level.and_then(|level| level.split(": ").nth(1)?.split(' ').next()?.parse().ok());
    let level: f64 = level.with_context(|| format!("no exposure level: {security}"))?;
    ensure!(level <= MOST_EXPOSURE, "{level}: {security}");
    let bounding = setting(&text, "CapabilityBoundingSet");
    ensure!(
        bounding == setting(&text, "AmbientCapabilities"),
        "two sets of capabilities"
    );
    let start = setting(&text, "ExecStart");
    let [_, args @ .., "$DROPWATCH_ARGS"] = &*start else {
        anyhow::bail!("not what starts it: {start:?}");
    };
    takes(args)?;
    let flags = text
        .lines()
        .find_map(|line| line.strip_prefix("#   DROPWATCH_ARGS="));
    let flags = flags.context("an example of flags")?.split_whitespace();
    takes(&args.iter().copied().chain(flags).collect::<Vec<_>>())?;
    Ok(Outcome::Passed)
}

/// The system calls of a set of systemd's, or the one of this name.
fn system_calls(name: &str) -> Result<BTreeSet<String>> {
    if !name.starts_with('@') {
        return Ok(BTreeSet::from([name.to_owned()]));
    }
    let listed = output(Command::new("systemd-analyze").args(["syscall-filter", name]))?;
    let members = listed.lines().map(str::trim);
    let members = members.filter(|it| !it.is_empty() && !it.starts_with('#') && *it != name);
    let mut calls = BTreeSet::new();
    for member in members {
        calls.extend(system_calls(member)?);
    }
    Ok(calls)
}

/// What the unit lets it call: each line of the setting adds or takes away (`systemd.exec`(5)).
fn allowed_by_unit() -> Result<BTreeSet<String>> {
    let mut allowed = system_calls("@default")?;
    let unit = read("dropwatch.service")?;
    let lines = unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="));
    for line in lines {
        let (refused, names) = match line.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, line),
        };
        for name in names.split_whitespace() {
            let calls = system_calls(name)?;
            match refused {
                true => allowed.retain(|call| !calls.contains(call)),
                false => allowed.extend(calls),
            }
        }
    }
    Ok(allowed)
}

/// From start to end `serve` makes no call that the unit refuses.
fn unit_system_calls(path: &Path) -> Result<Outcome> {
    let drops = Drops::new()?;
    let dir = tempfile::Builder::new().prefix("dwt-").tempdir()?;
    let trace = dir.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(&trace).arg(path);
    command.args(["serve", "--listen", "127.0.0.1:0", "--duration", "2s"]);
    output(command.args(["--netns", &drops.netns()]))?;
    let trace = fs::read_to_string(&trace).context("reading the trace")?;
    // A line is a process and a call: `812 openat(AT_FDCWD, …`. The first call is strace's own.
    let calls = trace.lines().skip(1).filter_map(|line| {
        let (name, _) = line.split_once(' ')?.1.trim_start().split_once('(')?;
        let is_name = name
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'_');
        is_name.then_some(name)
    });
    let made: BTreeSet<&str> = calls.collect();
    ensure!(made.contains("bpf"), "it has not attached: {made:?}");
    let allowed = allowed_by_unit()?;
    let refused: Vec<_> = made.iter().filter(|it| !allowed.contains(**it)).collect();
    ensure!(refused.is_empty(), "the unit refuses {refused:?}");
    Ok(Outcome::Passed)
}

fn words(list: &Yaml) -> Vec<String> {
    let list = list.as_vec().into_iter().flatten();
    list.filter_map(|it| it.as_str().map(str::to_owned))
        .collect()
}

fn names(list: &Yaml) -> BTreeSet<String> {
    let list = list.as_vec().into_iter().flatten();
    list.filter_map(|it| it["name"].as_str().map(str::to_owned))
        .collect()
}

fn daemon_set(_: &Path) -> Result<Outcome> {
    let documents = YamlLoader::load_from_str(&read("kubernetes/dropwatch.yaml")?)?;
    let daemon_set = documents
        .iter()
        .find(|it| it["kind"].as_str() == Some("DaemonSet"));
    let spec = &daemon_set.context("a DaemonSet")?["spec"];
    let template = &spec["template"];
    let labels = &template["metadata"]["labels"];
    ensure!(
        *labels == spec["selector"]["matchLabels"],
        "the selector finds other pods"
    );
    let pod = &template["spec"];
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    ensure!(
        context["privileged"].is_badvalue(),
        "a privileged container"
    );
    ensure!(
        context["allowPrivilegeEscalation"].as_bool() == Some(false),
        "escalation"
    );
    ensure!(
        words(&context["capabilities"]["drop"]) == ["ALL"],
        "all are dropped first"
    );
    let added = words(&context["capabilities"]["add"]).into_iter();
    let added: Vec<_> = added.map(|name| format!("CAP_{name}")).collect();
    let unit = read("dropwatch.service")?;
    ensure!(
        added == setting(&unit, "CapabilityBoundingSet"),
        "not those of the unit: {added:?}"
    );
    ensure!(
        names(&container["volumeMounts"]) == names(&pod["volumes"]),
        "volumes and mounts"
    );
    for probe in ["livenessProbe", "readinessProbe"] {
        let request = &container[probe]["httpGet"];
        let target = ["host", "path"].map(|key| request[key].as_str());
        // Nobody from elsewhere can get in its way.
        ensure!(
            target == [Some("127.0.0.1"), Some("/healthz")],
            "{probe}: {target:?}"
        );
    }
    let args = words(&container["args"]);
    let listen = args.iter().find_map(|arg| arg.strip_prefix("--listen="));
    ensure!(
        listen.is_some_and(|it| it.split(',').any(|it| it == "127.0.0.1:9466")),
        "the probes ask where it does not listen: {listen:?}"
    );
    for node in ["10.0.0.1", "fd00::1"] {
        let args: Vec<_> = args
            .iter()
            .map(|arg| arg.replace("$(NODE_IP)", node))
            .collect();
        takes(&args.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    Ok(Outcome::Passed)
}

fn container(path: &Path) -> Result<Outcome> {
    let file = read("Containerfile")?;
    let instruction = |name| file.lines().find_map(|line| line.strip_prefix(name));
    ensure!(instruction("FROM ") == Some("scratch"), "not from scratch");
    ensure!(
        instruction("ENTRYPOINT ") == Some(r#"["/dropwatch"]"#),
        "another entry point"
    );
    let args: Vec<String> = serde_json::from_str(instruction("CMD ").context("CMD")?)?;
    takes(&args.iter().map(String::as_str).collect::<Vec<_>>())?;
    // Nothing but the program is in the image, so it must need nothing else.
    let release = path.components().any(|part| part.as_os_str() == "release");
    if !release {
        return Ok(Outcome::Ignored(
            "a debug build needs the C library".to_owned(),
        ));
    }
    let dir = tempfile::Builder::new().prefix("dwt-").tempdir()?;
    fs::copy(path, dir.path().join("dropwatch"))?;
    let said = output(
        Command::new("chroot")
            .arg(dir.path())
            .args(["/dropwatch", "--version"]),
    )?;
    ensure!(said.starts_with("dropwatch "), "{said}");
    Ok(Outcome::Passed)
}
