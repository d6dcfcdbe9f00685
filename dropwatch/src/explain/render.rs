//! Blocks of text: what there is to say of a kind of drop, with present values.

use std::cmp::Reverse;

use textwrap::{Options, WordSplitter, fill};

use super::{
    present::Present,
    sockets::Socket,
    texts::{Entry, Queues},
};

/// Columns of the text: what a narrow terminal has.
const WIDTH: usize = 80;
/// Left of all but titles.
const INDENT: &str = "  ";
/// Left of what stands behind a label.
const LABELLED: usize = 12;
/// Most sockets that are shown.
const SOCKETS: usize = 5;
const MISSING: &str = "not on this host";

/// A part of a block: how the entry belongs to the drop, and the entry.
pub(super) type Part<'a> = (String, &'a Entry);

/// The block of a kind of drop.
pub(super) fn block(title: &str, parts: &[Part<'_>], present: &mut Present) -> String {
    let mut text = format!("{title}\n");
    for (lead, entry) in parts {
        let options = options(INDENT, INDENT);
        text.push_str(&fill(&format!("{lead}{}", entry.means), options));
        text.push('\n');
    }
    // Each once, those of the last part first: it is the one that knows most.
    let all = |list: fn(&Entry) -> &[String]| {
        let mut items: Vec<&str> = Vec::new();
        for item in parts.iter().rev().flat_map(|(_, entry)| list(entry)) {
            if !items.contains(&item.as_str()) {
                items.push(item);
            }
        }
        items
    };
    let plain = |items: Vec<&str>| items.into_iter().map(str::to_owned).collect();
    section("causes", "- ", plain(all(|entry| &entry.causes)), &mut text);
    let counters = counters(&all(|entry| &entry.counters), present);
    section("counters", "", counters, &mut text);
    section("see", "", plain(all(|entry| &entry.see)), &mut text);
    let settings = settings(&all(|entry| &entry.sysctls), present);
    section("settings", "", settings, &mut text);
    let queues = parts.iter().find_map(|(_, entry)| entry.show);
    let queues = queues.map(|queues| sockets(queues, present));
    section("queues", "", queues.unwrap_or_default(), &mut text);
    section("do", "- ", plain(all(|entry| &entry.steps)), &mut text);
    text
}

/// How text is wrapped: at white space only, so that options and names stay whole.
fn options<'a>(first: &'a str, others: &'a str) -> Options<'a> {
    Options::new(WIDTH)
        .initial_indent(first)
        .subsequent_indent(others)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false)
}

/// Items behind a label; nothing if there are none.
fn section(label: &str, bullet: &str, items: Vec<String>, text: &mut String) {
    let mut first = format!("{INDENT}{label}");
    for item in items {
        let start = format!("{first:<LABELLED$}{bullet}");
        let others = " ".repeat(start.len());
        text.push_str(&fill(&item, options(&start, &others)));
        text.push('\n');
        first.clear();
    }
}

fn counters(names: &[&str], present: &Present) -> Vec<String> {
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let line = |name: &&str| match present.counter(name) {
        Some(value) => format!("{name:<width$}  now {value}"),
        None => format!("{name:<width$}  {MISSING}"),
    };
    names.iter().map(line).collect()
}

fn settings(names: &[&str], present: &Present) -> Vec<String> {
    let line = |name: &&str| match present.sysctl(name) {
        Some(value) => format!("{name} = {value}"),
        None => format!("{name}, {MISSING}"),
    };
    names.iter().map(line).collect()
}

/// The sockets whose queues are full or about to be, or that have dropped packets.
fn sockets(queues: Queues, present: &mut Present) -> Vec<String> {
    let (name, none) = match queues {
        Queues::Listeners => ("listen queue", "no listen queue is nearly full now"),
        Queues::Receivers => (
            "receive buffer",
            "no UDP socket has dropped packets or a nearly full buffer now",
        ),
    };
    let Some(mut sockets) = present.sockets(queues) else {
        return vec![format!("each {name}: {MISSING}")];
    };
    sockets.retain(|socket| socket.is_nearly_full() || socket.drops > 0);
    sockets.sort_by_key(|socket| Reverse((socket.drops, socket.waiting)));
    if sockets.is_empty() {
        return vec![none.to_owned()];
    }
    let line = |socket: &Socket| {
        let Socket {
            local,
            waiting,
            limit,
            drops,
            ..
        } = socket;
        let owner = present.owner(socket);
        let line = format!("{name} of {owner} at {local}: {waiting}/{limit}");
        match queues {
            Queues::Listeners => line,
            Queues::Receivers => format!("{line} bytes, {drops} drops"),
        }
    };
    sockets.iter().take(SOCKETS).map(line).collect()
}
