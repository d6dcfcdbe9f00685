//! What reads bytes that others on the host can choose, each as a function that takes any bytes and
//! panics if it does not keep what it promises.
//!
//! `cargo xtask fuzz` looks for bytes that break one, by coverage. Those that were kept, in
//! `corpus/`, are played to them by a test as well.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    hint::black_box,
    io::Read as _,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use anyhow::{Error, Result};
use clap::{CommandFactory as _, FromArgMatches as _, Parser as _, ValueEnum as _};
use dropwatch::{
    account::Account,
    btf::Btf,
    cli::{CaptureArgs, Cli, Command, FilterArgs},
    config::Config,
    decode::decode,
    enrich::{
        Enricher, Host,
        container::{ContainerMatch, identity::identify},
        reason::ReasonNames,
        symbol::Symbols,
    },
    explain::{self, present::Present, texts::Texts},
    filter::{Filters, Range, RecordFilters, Resolver},
    format::{
        ExtraField, Format, Host as CaptureHost, JsonFormat, PcapngFormat, PcapngOptions,
        TextFormat, TextOptions, TimestampStyle,
    },
    output::Plain,
    packet::{Capture, Packet, VlanTag},
    record::DropRecord,
    recording::{About, Reader, Recorder, Step},
    source::{BuildId, frame::Frame},
};
use dropwatch_common::event::{HEADERS_LEN, MAX_SNAPLEN};
use jiff::tz::TimeZone;

/// A target: its name, and what it is given bytes by.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 8] = [
    ("record", record),
    ("packet", packet),
    ("btf", btf),
    ("kallsyms", kallsyms),
    ("cgroup", cgroup),
    ("recording", recording),
    ("flags", flags),
    ("explain", explain),
];

/// Bytes that one drop may become in any format: names are short, and a packet is at most
/// [`MAX_SNAPLEN`] long.
const MAX_OUTPUT: usize = 128 << 10;

thread_local! {
    static KERNEL: RefCell<Enricher> = RefCell::new(enricher());
    // Built once: that takes longer than to read a command line.
    static COMMAND: RefCell<clap::Command> = RefCell::new(Cli::command());
    static VIEWS: [Cli; 4] = VIEW_NAMES.map(bare_view);
    static BTF: Btf = kernel_btf();
    static TEXTS: Texts = Texts::load().expect("the texts that are built in");
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/6.12")
}

fn kernel_btf() -> Btf {
    Btf::load(Some(&fixtures().join("btf/vmlinux"))).expect("the BTF is whole")
}

/// The names of a 6.12, and nothing of this machine.
fn enricher() -> Enricher {
    let fixtures = fixtures();
    let symbols = Symbols::load(&fixtures.join("kallsyms"), &fixtures.join("modules"));
    Enricher::new(
        ReasonNames::new(&kernel_btf(), &fixtures.join("btf")),
        symbols.expect("kallsyms is readable"),
        16,
        Host::below(Path::new("/nonexistent")),
    )
}

/// A record of the kernel side becomes a line, an object, a packet or a recorded drop, as its last byte
/// says.
pub fn record(bytes: &[u8]) {
    let Some(decoded) = decode(bytes) else { return };
    KERNEL.with_borrow_mut(|enricher| {
        let frames = || Some(decoded.frames().collect());
        let record = enricher.enrich(&decoded, |_| frames());
        written(&record, bytes.last().copied().map_or(0, usize::from));
    });
}

/// One format, with what it promises of any drop: all take too long for each input.
fn written(record: &DropRecord<'_>, which: usize) {
    match (which % 4, which / 4) {
        (0, which) => {
            let styles = TimestampStyle::value_variants();
            let mut text = TextFormat::new(&TextOptions {
                timestamp: styles[which % styles.len()],
                fields: ExtraField::value_variants().to_vec(),
                ..TextOptions::default()
            });
            text.set_zone(TimeZone::UTC);
            is_one_plain_line(&line(&mut text, record));
        }
        (1, _) => {
            let object = line(&mut JsonFormat::new(), record);
            is_one_plain_line(&object);
            serde_json::from_slice::<serde_json::Value>(&object).expect("a JSON object");
        }
        (2, which) => {
            let mut pcapng = PcapngFormat::new(pcapng(which % 2 == 0));
            let mut file = Vec::new();
            pcapng.write_head(&mut file);
            pcapng.write(record, &mut file);
            pcapng.write_account(&Account::default(), &mut file);
            is_made_of_blocks(&file);
        }
        _ => recorded(record),
    }
}

fn line(format: &mut dyn Format, record: &DropRecord<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    format.write(record, &mut line);
    line
}

/// No byte can control a terminal, and the only line end is the last byte.
fn is_one_plain_line(line: &[u8]) {
    let (end, text) = line.split_last().expect("a line");
    assert_eq!(*end, b'\n');
    assert!(text.iter().all(|byte| (b' '..=b'~').contains(byte)));
    assert!(line.len() < MAX_OUTPUT);
}

fn pcapng(is_cooked: bool) -> PcapngOptions {
    PcapngOptions {
        snaplen: MAX_SNAPLEN as u32,
        is_cooked,
        text: TextOptions::default(),
        host: CaptureHost {
            hardware: String::new(),
            os: String::new(),
            application: String::new(),
            netns: None,
        },
    }
}

/// Each block of pcapng begins and ends with its length (draft-ietf-opsawg-pcapng).
fn is_made_of_blocks(mut file: &[u8]) {
    assert!(file.len() < MAX_OUTPUT);
    while !file.is_empty() {
        let length = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().expect("four bytes"));
        let len = length(&file[4..8]) as usize;
        assert_eq!(len % 4, 0);
        let (block, rest) = file.split_at(len);
        assert_eq!(length(&block[len - 4..]) as usize, len);
        file = rest;
    }
}

/// What was recorded is read, and shown as it was.
fn recorded(record: &DropRecord<'_>) {
    let mut recorder = Recorder::new(about(), TimeZone::UTC, Vec::new(), Vec::new());
    let mut bytes = Vec::new();
    recorder.begin_section(&mut bytes);
    recorder.write(record, &mut bytes);
    assert!(bytes.len() < MAX_OUTPUT);
    let mut reader = Reader::default();
    reader.push(&bytes);
    reader.end();
    let mut drops = 0;
    loop {
        match reader.step().expect("a recording") {
            Step::Record => {
                let read = reader.record().expect("a record");
                let shown = |record| line(&mut JsonFormat::new(), record);
                assert_eq!(shown(&read), shown(record));
                drops += 1;
            }
            Step::End => break,
            Step::Section | Step::Account(_) | Step::Hungry => {}
        }
    }
    assert_eq!(drops, 1);
    assert_eq!(reader.damage().bytes, 0);
}

fn about() -> About {
    About {
        dropwatch: String::new(),
        host: String::new(),
        kernel: String::new(),
        machine: String::new(),
        run: 0,
        section: 0,
        started_ns: 0,
        flags: String::new(),
        stack_depth: 16,
        recorded: 0,
    }
}

/// Headers are taken apart: the first five bytes say what the kernel knows beside them.
pub fn packet(bytes: &[u8]) {
    let Some((&[high, low, offset, tci, kind], bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let bytes = &bytes[..bytes.len().min(HEADERS_LEN)];
    let vlan_tag = (kind & 1 != 0).then(|| VlanTag {
        tpid: if kind & 2 == 0 { 0x8100 } else { 0x88a8 },
        tci: tci.into(),
    });
    let capture = Capture {
        ethertype: u16::from_be_bytes([high, low]),
        vlan_tag,
        bytes,
        network_offset: usize::from(offset),
    };
    let whole = black_box(Packet::parse(black_box(&capture)));
    // The same each time: nothing is read that was not captured.
    assert_eq!(Packet::parse(&capture), whole);
}

/// Types of a kernel, as `--kernel-btf` takes them from any file, and of a module, as the first byte
/// says.
pub fn btf(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let (bytes, path) = (bytes.to_vec(), Path::new("fuzz"));
    let btf = match kind % 2 {
        0 => Btf::from_bytes(bytes, path),
        _ => BTF.with(|kernel| kernel.module_from_bytes(bytes, path)),
    };
    let Ok(btf) = btf else { return };
    for (strukt, member) in [("sk_buff", "dev"), ("sock", "__sk_common.skc_family")] {
        black_box((btf.member(strukt, member).ok(), btf.struct_size(strukt)));
    }
    black_box((
        btf.tracepoint_args("kfree_skb"),
        btf.tracepoint_type("kfree_skb"),
    ));
    black_box(btf.function_args("kfree_skb_reason"));
    black_box(btf.enums(|name| name.contains("drop_reason")));
    for strukt in btf.types() {
        strukt.members().for_each(used);
        strukt.params().for_each(used);
        strukt.enumerators().for_each(used);
    }
}

/// What is not used is not made either.
fn used<T>(it: T) {
    black_box(it);
}

/// `/proc/kallsyms`, in which modules and eBPF programs choose names.
pub fn kallsyms(bytes: &[u8]) {
    // In two pieces, for lines are read in pieces as well.
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let symbols = Symbols::of_text(first.chain(rest)).expect("bytes in memory");
    for address in [0, 1, 0xffff_ffff_8100_0000, u64::MAX] {
        let found = symbols.lookup(address);
        assert!(found.is_none_or(|symbol| symbol.offset <= address));
        black_box(symbols.lookup_return(address));
    }
    black_box(symbols.functions_matching("*a*"));
    if is_one_of(bytes, 16) {
        black_box(symbols.nearest_functions("kfree_skb", 3));
    }
}

/// Paths of control groups, whose names anybody with a part of the tree chooses.
pub fn cgroup(bytes: &[u8]) {
    let found = identify(bytes);
    assert!(found.unit.is_none_or(|unit| unit.len() <= bytes.len()));
    if let Some(container) = found.container {
        assert!(container.short().len() <= bytes.len());
        black_box(container.has_digits());
    }
    assert!(found.pod.is_none_or(|pod| pod.short().len() <= bytes.len()));
}

/// A file to replay, in pieces as the first byte says. Without its top bit checksums are made right,
/// for otherwise nothing behind them would be reached.
pub fn recording(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let mut bytes = bytes.to_vec();
    if size & 0x80 == 0 {
        seal(&mut bytes);
    }
    let mut reader = Reader::default();
    let mut pieces = bytes.chunks(usize::from(*size & 0x7f) * 16 + 1);
    let mut steps = 0;
    loop {
        // A drop takes some bytes, so there can't be more of them.
        steps += 1;
        assert!(steps <= 4 * bytes.len() + 8, "it does not end");
        match reader.step() {
            Err(_) | Ok(Step::End) => break,
            Ok(Step::Hungry) => match pieces.next() {
                Some(piece) => reader.push(piece),
                None => reader.end(),
            },
            Ok(Step::Record) => written(&reader.record().expect("a record"), steps),
            Ok(Step::Section | Step::Account(_)) => {}
        }
    }
    assert!(reader.damage().bytes <= bytes.len() as u64);
}

/// Puts the checksum of each section and frame where it belongs (docs/recording.md).
fn seal(mut bytes: &mut [u8]) {
    const MAGIC: &[u8] = b"\x89DWR\r\n\x1a\n";
    loop {
        let (checksum, checked) = if bytes.starts_with(MAGIC) && bytes.len() >= 16 {
            let (section, rest) = bytes.split_at_mut(16);
            bytes = rest;
            let (checked, checksum) = section.split_at_mut(12);
            (checksum, checked)
        } else {
            let Some((len, rest)) = bytes.split_first_chunk_mut::<4>() else {
                return;
            };
            // The kind is part of what is checked.
            let len = (u32::from_le_bytes(*len) as usize).saturating_add(1);
            let Some((checksum, rest)) = rest.split_at_mut_checked(4) else {
                return;
            };
            let Some((checked, rest)) = rest.split_at_mut_checked(len) else {
                return;
            };
            bytes = rest;
            (checksum, checked)
        };
        checksum.copy_from_slice(&crc32fast::hash(checked).to_le_bytes());
    }
}

/// A command line, a word on each line: filters, durations, sizes.
pub fn flags(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let configured = match is_one_of(bytes, 512) {
        true => by_clap(text),
        false => Config::new(by_hand(text)),
    };
    match configured {
        Ok(config) => resolved(&config.filters),
        Err(error) => is_plain(&error),
    }
}

/// Whether this is one of the few inputs, one in `count`, that something slow is done with.
fn is_one_of(bytes: &[u8], count: usize) -> bool {
    let sum: usize = bytes.iter().copied().map(usize::from).sum();
    sum.is_multiple_of(count)
}

fn by_clap(text: &str) -> Result<Config> {
    let words = ["dropwatch"].into_iter().chain(text.lines());
    let matches = COMMAND.with_borrow_mut(|command| command.try_get_matches_from_mut(words))?;
    Config::new(Cli::from_arg_matches(&matches)?)
}

/// The views that flags belong to; lines are the one without a name.
const VIEW_NAMES: [&str; 4] = ["", "summary", "top", "serve"];

fn bare_view(name: &str) -> Cli {
    let words = ["dropwatch", name].into_iter().filter(|it| !it.is_empty());
    Cli::try_parse_from(words).expect("a view without flags")
}

/// The same command line without clap, which takes a thousand times as long: flags whose values are
/// texts that dropwatch itself reads.
fn by_hand(text: &str) -> Cli {
    let mut words = text.lines().peekable();
    let view = words.peek().copied().unwrap_or_default();
    let view = VIEW_NAMES.iter().position(|name| *name == view);
    let mut cli = VIEWS.with(|views| views[view.unwrap_or_default()].clone());
    while let Some(word) = words.next() {
        match word {
            "-4" => filter(&mut cli).ipv4 = true,
            "-6" => filter(&mut cli).ipv6 = true,
            "--hide-expected" => filter(&mut cli).hide_expected = true,
            flag if flag.starts_with('-') => {
                set(&mut cli, flag, words.next().unwrap_or_default());
            }
            _ => {}
        }
    }
    cli
}

fn filter(cli: &mut Cli) -> &mut FilterArgs {
    match &mut cli.command {
        Some(Command::Summary(args)) => &mut args.filter,
        Some(Command::Top(args)) => &mut args.filter,
        Some(Command::Serve(args)) => &mut args.filter,
        _ => &mut cli.lines.filter,
    }
}

fn capture(cli: &mut Cli) -> &mut CaptureArgs {
    match &mut cli.command {
        Some(Command::Summary(args)) => &mut args.count.capture,
        Some(Command::Top(args)) => &mut args.count.capture,
        Some(Command::Serve(args)) => &mut args.count.capture,
        _ => &mut cli.lines.capture,
    }
}

fn set(cli: &mut Cli, flag: &str, value: &str) {
    let text = value.to_owned();
    match (flag, &mut cli.command) {
        ("--duration", _) => capture(cli).duration = Some(text),
        ("--buffer-size", _) => capture(cli).buffer_size = text,
        ("--rate-limit", None) => cli.lines.rate_limit = Some(text),
        ("--fields", None) => cli.lines.look.fields.push(text),
        ("--write", None) => cli.lines.write.write = Some(text.into()),
        ("--rotate", None) => cli.lines.write.rotate = Some(text),
        ("--interval", Some(Command::Summary(args))) => args.interval = Some(text),
        ("--interval", Some(Command::Top(args))) => args.interval = text,
        ("--listen", Some(Command::Serve(args))) => args.listen.push(text),
        ("--otlp", Some(Command::Serve(args))) => args.otlp = Some(text),
        ("--otlp-interval", Some(Command::Serve(args))) => args.otlp_interval = text,
        _ => {
            if let Some(list) = list(filter(cli), flag) {
                list.extend(value.split(',').map(str::to_owned));
            }
        }
    }
}

fn list<'a>(filter: &'a mut FilterArgs, flag: &str) -> Option<&'a mut Vec<String>> {
    Some(match flag {
        "--comm" => &mut filter.comm,
        "--iface" => &mut filter.iface,
        "--exclude-iface" => &mut filter.exclude_iface,
        "--netns" => &mut filter.netns,
        "--addr" => &mut filter.addr,
        "--saddr" => &mut filter.saddr,
        "--daddr" => &mut filter.daddr,
        "--port" => &mut filter.port,
        "--sport" => &mut filter.sport,
        "--dport" => &mut filter.dport,
        "--proto" => &mut filter.proto,
        "--reason" => &mut filter.reason,
        "--exclude-reason" => &mut filter.exclude_reason,
        "--func" => &mut filter.func,
        "--exclude-func" => &mut filter.exclude_func,
        "--stack-func" => &mut filter.stack_func,
        "--mark" => &mut filter.mark,
        "--len" => &mut filter.len,
        "--container" => &mut filter.container,
        "--cgroup" => &mut filter.cgroup,
        _ => return None,
    })
}

/// What becomes of filters: numbers for the kernel side, and what a replay goes by.
fn resolved(filters: &Filters) {
    if let Err(error) = RecordFilters::new(filters) {
        is_plain(&error);
    }
    match filters.resolve(&mut Everything) {
        Ok(kernel) => kernel.ranges.iter().for_each(is_whole),
        Err(error) => is_plain(&error),
    }
}

/// A system that knows each name.
struct Everything;

impl Resolver for Everything {
    fn reasons(&mut self, _flag: &str, pattern: &str) -> Result<Vec<RangeInclusive<u32>>> {
        Ok(vec![0..=pattern.len() as u32])
    }

    fn functions(&mut self, _flag: &str, pattern: &str) -> Result<Vec<std::ops::Range<u64>>> {
        Ok(vec![1..2, 4..5 + pattern.len() as u64])
    }

    fn netns(&mut self, name: &str) -> Result<u32> {
        Ok(name.len() as u32)
    }

    fn cgroup(&mut self, path: &str) -> Result<u64> {
        Ok(path.len() as u64)
    }

    fn container(&mut self, _name: &str) -> Result<ContainerMatch> {
        Ok(ContainerMatch::default())
    }
}

/// The prefixes that a range is given to the kernel as are the range, each value once.
fn is_whole(range: &Range) {
    let mut next = *range.values.start();
    for (value, bits) in range.prefixes() {
        assert_eq!(value, next);
        let free = range.bits - bits;
        assert!(value.trailing_zeros() >= free);
        next = value.wrapping_add(1_u128.checked_shl(free).unwrap_or_default());
    }
    assert_eq!(next, range.values.end().wrapping_add(1));
}

/// A message, as it is shown, can't control a terminal.
fn is_plain(error: &Error) {
    let shown = Plain(format_args!("{error:#}")).to_string();
    assert!(!shown.contains(char::is_control), "{shown:?}");
}

/// Words and lines that are to be explained or located.
pub fn explain(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    TEXTS.with(|texts| {
        if bytes.len() < 64 && is_one_of(bytes, 256) {
            // As long as what anybody mistypes; it compares with all there is.
            is_plain(&explain::unknown(texts, &text));
        }
        let is_shown = is_one_of(bytes, 8);
        // Each is looked at by itself.
        for line in text.lines().take(2) {
            black_box((Frame::parse(line), BuildId::parse(line)));
            let kinds = explain::asked(texts, line).unwrap_or_default();
            for kind in kinds.iter().take(2).filter(|_| is_shown) {
                let shown = explain::explain(texts, kind, &mut Present::none());
                assert!(shown.chars().all(|it| it == '\n' || !it.is_control()));
            }
        }
    });
}

/// Plays the kept bytes of each target to it; how many there are.
///
/// # Panics
/// A target does, or there are none for it.
#[must_use]
pub fn play_corpus() -> usize {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut played = 0;
    for (name, target) in TARGETS {
        let entries = fs::read_dir(corpus.join(name)).expect("a corpus");
        let paths: BTreeSet<PathBuf> = entries.map(|it| it.expect("an entry").path()).collect();
        assert!(!paths.is_empty(), "{name} has no corpus");
        for path in paths {
            target(&fs::read(&path).expect("bytes"));
            played += 1;
        }
    }
    played
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_breaks_nothing() {
        assert!(play_corpus() > TARGETS.len());
    }

    /// Kept bytes, without the first one.
    fn kept(file: &str) -> Vec<u8> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        fs::read(corpus.join(file)).unwrap().split_off(1)
    }

    #[test]
    fn types_are_reached() {
        let path = Path::new("fuzz");
        let kernel = Btf::from_bytes(kept("btf/1"), path).unwrap();
        assert!(kernel.member("sk_buff", "dev").unwrap().is_some());
        assert_eq!(kernel.tracepoint_args("kfree_skb").unwrap().len(), 3);
        let module = kernel_btf().module_from_bytes(kept("btf/0"), path);
        let enums = module.unwrap().enums(|name| name == "ovs_drop_reason");
        assert_eq!(enums.len(), 1);
    }

    #[test]
    fn checksums_are_made_right() {
        let whole = kept("recording/0");
        let mut damaged = whole.clone();
        // That of the section, and of the frame behind it.
        for at in [12, 20] {
            damaged[at] ^= 0xff;
        }
        assert_ne!(damaged, whole);
        seal(&mut damaged);
        assert_eq!(damaged, whole);
    }

    #[test]
    fn by_hand_is_as_by_clap() {
        for text in [
            "--comm\ncurl,a\n--netns\nblue",
            "summary\n--addr\n10.0.0.0/8,1.2.3.4\n-4\n--interval\n10s",
            "serve\n--port\n80-90\n--otlp-interval\n5s\n--hide-expected",
            "top\n--interval\n500ms\n--duration\n1m\n--buffer-size\n64k",
            "--rate-limit\n5/m\n--fields\n+mark\n--write\nx\n--rotate\n1M",
        ] {
            let by_hand = Config::new(by_hand(text)).unwrap();
            let by_clap = by_clap(text).unwrap();
            assert_eq!(format!("{by_hand:?}"), format!("{by_clap:?}"), "{text}");
        }
    }
}
