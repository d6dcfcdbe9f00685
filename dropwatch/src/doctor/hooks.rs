//! Where this kernel lets one see packets go: for `--list-hooks`.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{
    bpf::attach::{AttachPoint, Hook},
    btf::{Arg, Btf, Kind},
    config::{Config, HookChoice},
    output,
    pattern::Pattern,
};

/// Where the kernel shows which subsystem has a tracepoint, if it is mounted; BTF does not say.
const TRACEFS: [&str; 2] = ["sys/kernel/tracing", "sys/kernel/debug/tracing"];

/// The subsystems that report what becomes of every packet.
const SYSTEMS: [&str; 2] = ["skb", "net"];

/// Functions that give up a packet.
const FUNCTIONS: [&str; 6] = [
    "kfree_skb*",
    "__kfree_skb*",
    "sk_skb_reason_drop",
    "consume_skb",
    "__consume_stateless_skb",
    "dev_kfree_skb*",
];

/// Prints the tracepoints that hand over a packet, and the functions that give one up: whether
/// dropwatch uses them, what they are, and their arguments.
///
/// # Errors
/// The kernel's type information or standard output can't be used.
pub fn list_hooks(config: &Config) -> Result<()> {
    let btf = Btf::load(config.kernel_btf.as_deref())?;
    output::print(&listing(&btf, Path::new("/"), config)?)?;
    Ok(())
}

/// What dropwatch does with an attach point: the hook that would be taken, or another one that
/// could be had.
fn mark(point: Option<&AttachPoint>, chosen: Option<Hook>) -> &'static str {
    match point {
        Some(point) if Some(point.hook) == chosen => "used",
        Some(_) => "possible",
        None => "-",
    }
}

fn listing(btf: &Btf, root: &Path, config: &Config) -> Result<String> {
    let first = Hook::first_available(config.hook, btf, root);
    let chosen = first.hook.map(|(hook, _)| hook);
    let points: Vec<&AttachPoint> = Hook::candidates(HookChoice::Auto)
        .iter()
        .flat_map(|hook| hook.available(btf, root).unwrap_or_default())
        .collect();
    let tracefs = TRACEFS.map(|path| root.join(path).join("events"));
    let mut text = String::new();
    let mut write = |hook: Hook, kind: &str, name: &str, shown: &str, args: &[Arg]| {
        let is_it = |point: &&AttachPoint| point.hook == hook && point.target == name;
        let point = points.iter().copied().find(is_it);
        let args: Vec<String> = args.iter().map(Arg::to_string).collect();
        let (mark, args) = (mark(point, chosen), args.join(", "));
        writeln!(text, "{mark:<8} {kind:<10} {shown:<32} ({args})")
    };
    for name in names(btf, Kind::Typedef, |name| name.strip_prefix("btf_trace_")) {
        let args = btf.tracepoint_args(name).unwrap_or_default();
        if args.iter().any(|arg| arg.points_to("sk_buff"))
            && let Some(shown) = with_system(name, &tracefs)
        {
            write(Hook::Tracepoint, "tracepoint", name, &shown, &args)?;
        }
    }
    let patterns = FUNCTIONS.map(Pattern::new);
    let wanted = |name: &str| patterns.iter().any(|it| it.matches(name));
    for name in names(btf, Kind::Func, |name| wanted(name).then_some(name)) {
        let args = btf.function_args(name).unwrap_or_default();
        if args.iter().any(|arg| arg.points_to("sk_buff")) {
            write(Hook::Kprobe, "function", name, name, &args)?;
        }
    }
    Ok(text)
}

/// What `part` takes of the names of all types of this kind, each once, sorted.
fn names<'a>(btf: &'a Btf, kind: Kind, part: impl Fn(&'a str) -> Option<&'a str>) -> Vec<&'a str> {
    let types = btf.types().filter(|it| it.kind == kind);
    let mut names: Vec<&str> = types.filter_map(|it| part(btf.word(it.name)?)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// `skb:NAME` or `net:NAME` where tracefs says so, `None` where it says otherwise; the name alone
/// where there is no tracefs to be read.
fn with_system(name: &str, tracefs: &[PathBuf]) -> Option<String> {
    let Some(events) = tracefs
        .iter()
        .find(|events| events.join(SYSTEMS[0]).is_dir())
    else {
        return Some(name.to_owned());
    };
    let system = SYSTEMS
        .iter()
        .find(|system| events.join(system).join(name).is_dir())?;
    Some(format!("{system}:{name}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;

    use super::*;
    use crate::{cli::Cli, fixture};

    fn lines(kernel: &str, root: &Path) -> Vec<String> {
        lines_of(&fixture::btf(kernel), root)
    }

    fn lines_of(btf: &Btf, root: &Path) -> Vec<String> {
        let config = Config::new(Cli::parse_from(["dropwatch"])).unwrap();
        let text = listing(btf, root, &config).unwrap();
        text.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn the_tracepoint_is_marked_and_has_the_kernels_arguments() {
        let nowhere = tempfile::tempdir().unwrap();
        let expected = [
            ("5.10", "(sk_buff *, void *)"),
            ("6.1", "(sk_buff *, void *, enum skb_drop_reason)"),
            ("6.12", "(sk_buff *, void *, enum skb_drop_reason, sock *)"),
            ("7.3", "(sk_buff *, void *, enum skb_drop_reason, sock *)"),
        ];
        for (kernel, args) in expected {
            let lines = lines(kernel, nowhere.path());
            let line = format!("used tracepoint kfree_skb {args}");
            assert!(lines.contains(&line), "{kernel}: {lines:#?}");
            let consume = "- tracepoint consume_skb (";
            assert!(lines.iter().any(|line| line.starts_with(consume)));
        }
    }

    #[test]
    fn names_that_no_kernel_has_are_left_out() {
        let nowhere = tempfile::tempdir().unwrap();
        let all = lines("6.12", nowhere.path()).len();
        for name in ["kfree_skb_li\x1b[31m\nabc", "kfree_skb_li   (x: y)"] {
            let btf = fixture::btf_with_renamed("6.12", "kfree_skb_list_reason", name);
            let lines = lines_of(&btf, nowhere.path());
            assert_eq!(lines.len(), all - 1, "{lines:#?}");
            assert!(!lines.iter().any(|line| line.contains("kfree_skb_li")));
        }
    }

    #[test]
    fn functions_are_possible_where_there_are_kprobes() {
        let root = tempfile::tempdir().unwrap();
        let function = |mark: &str| {
            let start = format!("{mark} function sk_skb_reason_drop (sk: sock *, skb: sk_buff *");
            let lines = lines("6.12", root.path());
            assert!(
                lines.iter().any(|line| line.starts_with(&start)),
                "{start}: {lines:#?}"
            );
        };
        function("-");
        let pmu = root.path().join("sys/bus/event_source/devices/kprobe");
        fs::create_dir_all(pmu).unwrap();
        function("possible");
    }

    #[test]
    fn tracefs_names_the_subsystem_and_leaves_out_others() {
        let root = tempfile::tempdir().unwrap();
        let events = root.path().join("sys/kernel/tracing/events/skb/kfree_skb");
        fs::create_dir_all(events).unwrap();
        let lines = lines("6.12", root.path());
        assert!(lines.iter().any(|line| line.contains(" skb:kfree_skb (")));
        assert!(!lines.iter().any(|line| line.contains("tracepoint consume")));
    }
}
