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
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory as _, FromArgMatches as _, ValueEnum as _};
use dropwatch::{
    account::Account,
    btf::Btf,
    cli::Cli,
    config::Config,
    decode::decode,
    enrich::{Enricher, Host, container::identity::identify, reason::ReasonNames, symbol::Symbols},
    explain::{
        query::{Query, function_of},
        texts::Texts,
    },
    format::{
        ExtraField, Format, Host as CaptureHost, JsonFormat, PcapngFormat, PcapngOptions,
        TextFormat, TextOptions, TimestampStyle,
    },
    packet::{Capture, Packet, VlanTag},
    record::DropRecord,
    recording::{About, Reader, Recorder, Step},
    source::{BuildId, frame::Frame},
};
use dropwatch_common::event::{HEADERS_LEN, MAX_SNAPLEN};
use jiff::tz::TimeZone;
use tempfile::NamedTempFile;

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
    static COMMAND: RefCell<Command> = RefCell::new(Cli::command());
    static TEXTS: Texts = Texts::load().expect("the texts that are built in");
    static FILE: RefCell<NamedTempFile> = RefCell::new(file());
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/6.12")
}

/// The names of a 6.12, and nothing of this machine.
fn enricher() -> Enricher {
    let fixtures = fixtures();
    let btf = Btf::load(Some(&fixtures.join("btf/vmlinux"))).expect("the BTF is whole");
    let symbols = Symbols::load(&fixtures.join("kallsyms"), &fixtures.join("modules"));
    Enricher::new(
        ReasonNames::new(&btf, &fixtures.join("btf")),
        symbols.expect("kallsyms is readable"),
        16,
        Host::below(Path::new("/nonexistent")),
    )
}

/// A file in memory, if there is such a place.
fn file() -> NamedTempFile {
    let made = NamedTempFile::new_in("/dev/shm").or_else(|_no_shm| NamedTempFile::new());
    made.expect("a file for what is only read from files")
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
    let whole = Packet::parse(&capture);
    // The same each time: nothing is read that was not captured.
    assert_eq!(Packet::parse(&capture), whole);
}

/// Types of a kernel or module, as `--kernel-btf` takes them from any file.
pub fn btf(bytes: &[u8]) {
    let Ok(btf) = Btf::from_bytes(bytes.to_vec(), Path::new("fuzz")) else {
        return;
    };
    for (strukt, member) in [("sk_buff", "dev"), ("sock", "__sk_common.skc_family")] {
        btf.member(strukt, member).ok();
        btf.struct_size(strukt);
    }
    btf.tracepoint_args("kfree_skb");
    btf.tracepoint_type("kfree_skb");
    btf.function_args("kfree_skb_reason");
    btf.enums(|name| name.contains("drop_reason"));
    for strukt in btf.types() {
        strukt.members().for_each(drop);
        strukt.params().for_each(drop);
        strukt.enumerators().for_each(drop);
    }
}

/// `/proc/kallsyms`, in which modules and eBPF programs choose names.
pub fn kallsyms(bytes: &[u8]) {
    FILE.with_borrow_mut(|file| {
        let write = |file: &mut NamedTempFile| {
            file.as_file().set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(bytes)
        };
        write(file).expect("room for a file");
        let Ok(symbols) = Symbols::load(file.path(), &fixtures().join("modules")) else {
            return;
        };
        for address in [0, 1, 0xffff_ffff_8100_0000, u64::MAX] {
            let found = symbols.lookup(address);
            assert!(found.is_none_or(|symbol| symbol.offset <= address));
            symbols.lookup_return(address);
        }
        symbols.functions_matching("*a*");
        symbols.nearest_functions("kfree_skb", 3);
    });
}

/// Paths of control groups, whose names anybody with a part of the tree chooses.
pub fn cgroup(bytes: &[u8]) {
    let found = identify(bytes);
    assert!(found.unit.is_none_or(|unit| unit.len() <= bytes.len()));
    if let Some(container) = found.container {
        assert!(container.short().len() <= bytes.len());
        container.has_digits();
    }
    assert!(found.pod.is_none_or(|pod| pod.short().len() <= bytes.len()));
}

/// A file to replay, in pieces as the first byte says.
pub fn recording(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let mut reader = Reader::default();
    let mut pieces = bytes.chunks(usize::from(*size) * 16 + 1);
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

/// A command line, a word on each line: filters, durations, sizes.
pub fn flags(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    // What reads files of the host is not what this is about.
    const OF_THE_HOST: [&str; 4] = ["netns", "kernel-btf", "vmlinux", "write"];
    if OF_THE_HOST.iter().any(|flag| text.contains(flag)) {
        return;
    }
    let words = ["dropwatch"].into_iter().chain(text.lines());
    let matches = COMMAND.with_borrow_mut(|command| command.try_get_matches_from_mut(words));
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => {
            black_box(Config::new(cli).map_or_else(|error| error.to_string(), |_| String::new()))
        }
        Err(error) => black_box(error.to_string()),
    };
}

/// Words and lines that are to be explained or located.
pub fn explain(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if bytes.len() < 64 {
        // As long as what anybody mistypes; it compares with all there is.
        TEXTS.with(|texts| black_box(texts.nearest(&text)).len());
    }
    for line in text.lines() {
        black_box((function_of(line), Frame::parse(line), BuildId::parse(line)));
        TEXTS.with(|texts| {
            black_box(texts.reasons_matching(line));
            match Query::parse(line) {
                Some(Query::Drop(place)) => {
                    black_box(place.reason.and_then(|reason| texts.reason(reason)));
                    black_box(place.at.and_then(|function| texts.site(function)));
                }
                Some(Query::Word(word)) => {
                    black_box((texts.reason(word), texts.site(word)));
                }
                None => {}
            }
        });
    }
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
}
