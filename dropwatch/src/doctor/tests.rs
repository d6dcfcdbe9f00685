//! The checks on four kernels and on made-up `/proc` and `/sys`.

use std::{fs, io::Write as _};

use clap::Parser as _;
use flate2::{Compression, write::GzEncoder};

use super::{fields::Available, *};
use crate::{cli::Cli, fixture};

fn config(arguments: &[&str]) -> Config {
    let words = ["dropwatch", "doctor"].iter().chain(arguments);
    Config::new(Cli::parse_from(words)).unwrap()
}

/// A root folder with these files.
fn root(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

fn machine<'a>(config: &'a Config, kernel: &str, root: &Path) -> Machine<'a> {
    Machine {
        config,
        root: root.to_owned(),
        release: format!("{kernel}.7-test"),
        architecture: "x86_64".to_owned(),
        capabilities: CapabilitySet::all(),
        btf: Ok(fixture::btf(kernel)),
        symbols: KernelSymbols::Shown(100_000),
    }
}

fn check(machine: &Machine<'_>, name: &str) -> Finding {
    let (_, check) = checks::ALL.iter().find(|(it, _)| *it == name).unwrap();
    check(machine)
}

/// The checks that make something of the machine that the tests run on.
fn pure_report(machine: &Machine<'_>) -> Report {
    Report::new(machine, |_| Finding::ok("a drop came back"))
}

#[test]
fn verdicts_by_kernel() {
    let (config, nowhere) = (config(&[]), root(&[]));
    for kernel in fixture::KERNELS {
        let machine = machine(&config, kernel, nowhere.path());
        let verdict = |name| check(&machine, name).verdict;
        for name in [
            "kernel",
            "btf",
            "tracepoint",
            "hook",
            "capabilities",
            "buffer",
        ] {
            assert_eq!(verdict(name), Verdict::Ok, "{kernel}: {name}");
        }
        let reasons = if kernel == "5.10" {
            Verdict::Limited
        } else {
            Verdict::Ok
        };
        assert_eq!(verdict("reasons"), reasons, "{kernel}");
        // There are no kprobes below that root.
        assert_eq!(verdict("kprobes"), Verdict::Limited, "{kernel}");
        let (hook, _) = machine.hook();
        assert_eq!(hook.unwrap().name, "tracepoint");
    }
}

#[test]
fn old_kernels_are_told_apart() {
    let (config, nowhere) = (config(&[]), root(&[]));
    let mut machine = machine(&config, "5.10", nowhere.path());
    for (release, version, verdict) in [
        ("5.4.0-42-generic", Some((5, 4)), Verdict::Limited),
        ("5.10.0-rc1", Some((5, 10)), Verdict::Ok),
        ("6.18", Some((6, 18)), Verdict::Ok),
        ("strange", None, Verdict::Ok),
    ] {
        machine.release = release.to_owned();
        assert_eq!(machine.version(), version);
        assert_eq!(check(&machine, "kernel").verdict, verdict, "{release}");
    }
}

#[test]
fn a_tracepoint_that_is_not_known_is_not_chosen() {
    let config = config(&[]);
    let probes = root(&[("sys/bus/event_source/devices/kprobe/type", b"6\n")]);
    let mut machine = machine(&config, "6.12", probes.path());
    machine.btf = Ok(fixture::btf_with_renamed("6.12", "sk_buff", "sk_muff"));
    let tracepoint = check(&machine, "tracepoint");
    assert_eq!(tracepoint.verdict, Verdict::Limited, "{tracepoint:?}");
    let hook = check(&machine, "hook");
    assert_eq!(hook.verdict, Verdict::Ok, "{hook:?}");
    assert!(
        hook.found.starts_with("kprobe at sk_skb_reason_drop"),
        "{hook:?}"
    );
    assert!(hook.found.contains("report it"), "why: {hook:?}");
}

#[test]
fn a_hook_that_can_not_be_had_fails() {
    let (config, nowhere) = (config(&["--hook", "kprobe"]), root(&[]));
    let machine = machine(&config, "6.12", nowhere.path());
    let hook = check(&machine, "hook");
    assert_eq!(hook.verdict, Verdict::Fails);
    assert!(hook.found.contains("CONFIG_KPROBE_EVENTS"), "{hook:?}");
    let report = pure_report(&machine);
    assert!(!report.can_run && report.hook.is_none());
}

#[test]
fn without_btf_all_the_rest_is_still_said() {
    let (config, nowhere) = (config(&[]), root(&[]));
    let mut machine = machine(&config, "6.12", nowhere.path());
    machine.btf = Err(anyhow::anyhow!("no such file"));
    let report = pure_report(&machine);
    assert!(!report.can_run);
    let verdict = |name| {
        let named = report.checks.iter().find(|check| check.name == name);
        named.unwrap().finding.verdict
    };
    assert_eq!(verdict("btf"), Verdict::Fails);
    assert_eq!(verdict("tracepoint"), Verdict::Unknown);
    assert_eq!(verdict("hook"), Verdict::Unknown);
    assert_eq!(verdict("capabilities"), Verdict::Ok);
    assert_eq!(verdict("self_test"), Verdict::Unknown, "not tried");
    assert!(report.fields.iter().all(|it| it.available == Available::No));
}

#[test]
fn capabilities() {
    let (config, nowhere) = (config(&[]), root(&[]));
    let mut machine = machine(&config, "6.12", nowhere.path());
    let tracing = CapabilitySet::BPF | CapabilitySet::PERFMON;
    for (held, verdict, says) in [
        (CapabilitySet::empty(), Verdict::Fails, "CAP_BPF"),
        (CapabilitySet::BPF, Verdict::Fails, "CAP_PERFMON"),
        (tracing, Verdict::Limited, "CAP_SYSLOG"),
        (
            tracing | CapabilitySet::SYSLOG,
            Verdict::Limited,
            "CAP_SYS_PTRACE",
        ),
    ] {
        machine.capabilities = held;
        let finding = check(&machine, "capabilities");
        assert_eq!(finding.verdict, verdict);
        assert!(finding.remedy.unwrap().contains(says));
    }
    // Nothing is made that would have to be allowed.
    machine.capabilities = CapabilitySet::empty();
    assert_eq!(check(&machine, "ring_buffer").verdict, Verdict::Unknown);
    machine.capabilities = tracing;
    let skipped = self_test::run(&machine);
    assert_eq!(skipped.verdict, Verdict::Unknown);
    assert!(skipped.found.contains("CAP_SYS_ADMIN"), "{skipped:?}");
}

#[test]
fn files_of_the_kernel() {
    let config = config(&[]);
    let cases: &[(&str, &str, &[u8], Verdict, &str)] = &[
        (
            "jit",
            "proc/sys/net/core/bpf_jit_enable",
            b"1\n",
            Verdict::Ok,
            "=1",
        ),
        (
            "jit",
            "proc/sys/net/core/bpf_jit_enable",
            b"0\n",
            Verdict::Limited,
            "off",
        ),
        ("jit", "proc/other", b"", Verdict::Unknown, "bpf_jit_enable"),
        ("lockdown", "proc/other", b"", Verdict::Unknown, "not show"),
        (
            "lockdown",
            "sys/kernel/security/lockdown",
            b"none integrity [confidentiality]\n",
            Verdict::Fails,
            "confidentiality",
        ),
        (
            "kprobes",
            "sys/bus/event_source/devices/kprobe/type",
            b"6\n",
            Verdict::Ok,
            "",
        ),
        (
            "module_btf",
            "proc/other",
            b"",
            Verdict::Unknown,
            "/proc/modules",
        ),
        ("module_btf", "proc/modules", b"", Verdict::Ok, "no modules"),
        (
            "module_btf",
            "proc/modules",
            b"ovs 1 0 - Live 0x0\nnf 1 0 - Live 0x0\n",
            Verdict::Limited,
            "2 of 2",
        ),
        (
            "symbols",
            "proc/sys/kernel/kptr_restrict",
            b"1\n",
            Verdict::Ok,
            "kernel.kptr_restrict=1 kernel.perf_event_paranoid=unknown",
        ),
    ];
    for (name, path, content, verdict, says) in cases {
        let root = root(&[(path, content)]);
        let finding = check(&machine(&config, "6.12", root.path()), name);
        assert_eq!(finding.verdict, *verdict, "{name}: {finding:?}");
        assert!(finding.found.contains(says), "{name}: {finding:?}");
    }
    let all = root(&[
        ("proc/modules", b"ovs 1 0 - Live 0x0\n"),
        ("sys/kernel/btf/ovs", b""),
    ]);
    let finding = check(&machine(&config, "6.12", all.path()), "module_btf");
    assert_eq!(finding.verdict, Verdict::Ok);
}

/// Without CAP_SYSLOG, two settings decide: both values are shown, and both are in the remedy.
#[test]
fn hidden_symbols() {
    let config = config(&[]);
    let root = root(&[
        ("proc/sys/kernel/kptr_restrict", b"0\n"),
        ("proc/sys/kernel/perf_event_paranoid", b"2\n"),
    ]);
    let mut machine = machine(&config, "6.12", root.path());
    machine.symbols = KernelSymbols::Hidden;
    let finding = check(&machine, "symbols");
    assert_eq!(finding.verdict, Verdict::Limited);
    let values = "kernel.kptr_restrict=0 kernel.perf_event_paranoid=2";
    assert!(finding.found.ends_with(values), "{finding:?}");
    let remedy = finding.remedy.unwrap();
    for part in [
        "CAP_SYSLOG",
        "kernel.kptr_restrict=0",
        "kernel.perf_event_paranoid=1",
    ] {
        assert!(remedy.contains(part), "{remedy}");
    }
}

#[test]
fn kernel_configurations() {
    const GOOD: &str = "CONFIG_BPF_SYSCALL=y\nCONFIG_BPF_EVENTS=y\nCONFIG_BPF_JIT=y\n\
        CONFIG_DEBUG_INFO_BTF=y\nCONFIG_KPROBE_EVENTS=y\nCONFIG_KALLSYMS=y\n\
        CONFIG_STACKTRACE=y\nCONFIG_NET_NS=y\nCONFIG_SOCK_CGROUP_DATA=y\n";
    let config = config(&[]);
    let gz = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let verdict = |path: &str, content: &[u8]| {
        let root = root(&[(path, content)]);
        check(&machine(&config, "6.12", root.path()), "config")
    };
    let boot = "boot/config-6.12.7-test";
    assert_eq!(verdict(boot, GOOD.as_bytes()).verdict, Verdict::Ok);
    assert_eq!(verdict("proc/config.gz", &gz(GOOD)).verdict, Verdict::Ok);
    let no_modules_btf = format!("{GOOD}CONFIG_MODULES=y\n");
    let finding = verdict(boot, no_modules_btf.as_bytes());
    assert_eq!(finding.verdict, Verdict::Limited);
    assert!(
        finding
            .remedy
            .unwrap()
            .contains("CONFIG_DEBUG_INFO_BTF_MODULES")
    );
    let no_bpf = GOOD.replace("CONFIG_BPF_SYSCALL=y", "# CONFIG_BPF_SYSCALL is not set");
    let finding = verdict("proc/config.gz", &gz(&no_bpf));
    assert_eq!(finding.verdict, Verdict::Fails);
    assert!(finding.found.contains("BPF_SYSCALL=n"), "{finding:?}");
    // Neither is there, or what is there is cut off.
    assert_eq!(verdict("boot/config-other", b"").verdict, Verdict::Unknown);
    let cut = &gz(GOOD)[..20];
    assert_eq!(verdict("proc/config.gz", cut).verdict, Verdict::Unknown);
}

#[test]
fn fields_by_kernel() {
    let (config, nowhere) = (config(&[]), root(&[]));
    let expected = [
        ("5.10", Available::No, Available::Limited),
        ("6.1", Available::Yes, Available::Limited),
        ("6.12", Available::Yes, Available::Yes),
        ("7.3", Available::Yes, Available::Yes),
    ];
    for (kernel, reason, owner) in expected {
        let mut machine = machine(&config, kernel, nowhere.path());
        let available = |machine: &Machine<'_>, name| {
            let all = fields::all(machine);
            all.iter().find(|it| it.name == name).unwrap().available
        };
        assert_eq!(available(&machine, "reason"), reason, "{kernel}");
        assert_eq!(available(&machine, "owner"), owner, "{kernel}");
        for name in ["if", "netns", "container", "unit", "at", "len"] {
            assert_eq!(
                available(&machine, name),
                Available::Yes,
                "{kernel}: {name}"
            );
        }
        machine.symbols = KernelSymbols::Hidden;
        assert_eq!(available(&machine, "at"), Available::Limited);
        assert_eq!(check(&machine, "symbols").verdict, Verdict::Limited);
    }
    // The field of a kernel without network namespaces.
    let mut machine = machine(&config, "6.12", nowhere.path());
    machine.btf = Ok(fixture::btf_with_renamed("6.12", "nd_net", "no_net"));
    let fields = fields::all(&machine);
    let field = fields.iter().find(|it| it.name == "if").unwrap();
    assert_eq!(field.available, Available::No);
    assert!(
        field
            .why
            .as_ref()
            .unwrap()
            .contains("net_device.nd_net.net")
    );
}

#[test]
fn reports() {
    let (config, nowhere) = (config(&[]), root(&[]));
    let mut machine = machine(&config, "6.1", nowhere.path());
    // The rest of the report does not depend on where it is made.
    machine.capabilities = CapabilitySet::empty();
    let report = pure_report(&machine);
    let text = report.text(Palette::new(false)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.contains(&"kernel            ok       6.1.7-test x86_64"));
    let at = lines
        .iter()
        .position(|line| line.starts_with("capabilities "))
        .unwrap();
    assert!(lines[at].contains(" fails "));
    assert!(lines[at + 1].trim_start().starts_with("remedy:"), "{text}");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("field:owner       limited  "))
    );
    assert!(lines.contains(&"field:len         yes"));
    assert_eq!(
        lines.last(),
        Some(&"result            fails    dropwatch can't run here")
    );

    let object: serde_json::Value = serde_json::to_value(&report).unwrap();
    assert_eq!(object["schema"], 1);
    assert_eq!(object["can_run"], false);
    assert_eq!(object["hook"]["attach_points"][0]["target"], "kfree_skb");
    assert_eq!(object["buffer"]["name"], "ring");
    let checks = object["checks"].as_array().unwrap();
    assert_eq!(checks.len(), checks::ALL.len() + 1);
    for check in checks {
        let verdict = check["verdict"].as_str().unwrap();
        assert!(check["name"].is_string() && check["found"].is_string());
        assert_eq!(verdict != "ok", check["remedy"].is_string(), "{check}");
    }
}

#[test]
fn what_others_have_named_neither_controls_a_terminal_nor_makes_a_line() {
    let (config, nowhere) = (config(&[]), root(&[]));
    let mut machine = machine(&config, "6.1", nowhere.path());
    machine.btf = Btf::load(Some(Path::new(
        "/none\x1b[31m\u{202e}\x7f\nfield:reason forged",
    )));
    let report = pure_report(&machine);
    let text = report.text(Palette::new(false)).unwrap();
    let line = text.lines().find(|line| line.starts_with("btf ")).unwrap();
    assert!(
        line.contains(r"/none\u{1b}[31m\u{202e}\u{7f}\nfield:reason forged: "),
        "{line}"
    );
    assert_eq!(text.matches("\nfield:reason ").count(), 1);

    let json = report.json().unwrap();
    assert!(
        json.chars().all(|it| matches!(it, '\n' | ' '..='~')),
        "{json}"
    );
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(read, serde_json::to_value(&report).unwrap());
}
