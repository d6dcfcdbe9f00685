//! A recording to records.

use std::fmt;

use minicbor::Decode;
use rustc_hash::FxHashMap;

use super::{
    MAJOR, MAX_ABOUT_BYTES, MAX_COUNT, MAX_DEFINITIONS, MAX_REASONS, MAX_STACK_BYTES,
    MAX_TEXT_BYTES,
    frame::{self, Scanned, scan},
    kind,
    wire::{About, ClockFrame, DropFrame, PacketFrame, ReasonName, Reasons, Tally},
};
use crate::{
    classify::Class,
    packet::{Packet, VlanTag},
    record::{
        Device, Direction, DropRecord, DropTime, Gso, Netns, Origin, Owner, PacketBytes, SkbFields,
        Stack, TcpState, Workload,
    },
};

/// Most callers of a stack: the kernel's own limit.
const MAX_CALLERS: usize = dropwatch_common::event::MAX_FRAMES;

/// Reads a recording from its bytes, which may come in any pieces.
///
/// Bounded in memory, whatever the bytes are.
#[derive(Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// How much of `buffer` was read.
    at: usize,
    /// Whether no more bytes come.
    is_ended: bool,
    /// Whether a section has begun that can be read.
    section: Option<Section>,
    current: Option<Current>,
    damage: Damage,
}

/// What [`Reader::step`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A section begins: [`Reader::about`].
    Section,
    /// A drop: [`Reader::record`].
    Record,
    /// The account of a run at its end.
    Account(Tally),
    /// More bytes are needed.
    Hungry,
    /// It was the last one.
    End,
}

/// What could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Bytes that were cut off or damaged.
    pub bytes: u64,
    /// Whether whole sections followed the damage.
    pub is_inside: bool,
    /// Frames of a kind that a newer dropwatch writes.
    pub unknown: u64,
    /// Frames that are whole and make no sense.
    pub nonsense: u64,
}

/// Why a recording can't be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReadable {
    /// It does not start as a recording does.
    NoRecording,
    /// It is of another version of the layout.
    Version(u16),
}

impl fmt::Display for NotReadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecording => write!(f, "it is no recording; dropwatch -w FILE.dwr writes one"),
            Self::Version(major) => write!(
                f,
                "it is of version {major} of the format, and this dropwatch reads version {MAJOR}: \
                 use the dropwatch that wrote it, or a newer one"
            ),
        }
    }
}

impl std::error::Error for NotReadable {}

/// The drop reasons of a host.
#[derive(Default)]
pub struct ReasonTable {
    /// Names by number, as lines show them.
    pub names: FxHashMap<u32, Box<str>>,
    /// The subsystems.
    pub subsystems: Vec<ReasonName>,
    /// How often something was added.
    pub version: u64,
}

/// What was defined since a section began.
#[derive(Default)]
struct Section {
    about: About,
    reasons: ReasonTable,
    clock: ClockFrame,
    texts: Vec<Text>,
    text_bytes: usize,
    stacks: Vec<Box<str>>,
    stack_bytes: usize,
}

/// A text, in one of two forms.
enum Text {
    /// Visible ASCII.
    Word(Box<str>),
    /// Any bytes.
    Bytes(Box<[u8]>),
}

impl Text {
    fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(word) if is_word(word) => Self::Word(word.into()),
            _ => Self::Bytes(bytes.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Word(word) => word.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Whether lines can show a text as it is.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The last drop.
struct Current {
    frame: DropFrame<'static>,
    packet: Packet,
    class: Class,
    direction: Option<Direction>,
}

/// A frame that makes no sense.
struct Nonsense;

impl From<minicbor::decode::Error> for Nonsense {
    fn from(_: minicbor::decode::Error) -> Self {
        Self
    }
}

impl Reader {
    /// Adds bytes behind those that were added before.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Says that no more bytes come.
    pub fn end(&mut self) {
        self.is_ended = true;
    }

    /// What could not be read until now.
    #[must_use]
    pub fn damage(&self) -> Damage {
        self.damage
    }

    /// Goes on to the next thing that somebody wants to know of.
    ///
    /// # Errors
    /// The bytes are no recording, or one of another version.
    pub fn step(&mut self) -> Result<Step, NotReadable> {
        loop {
            let buffer = std::mem::take(&mut self.buffer);
            let (scanned, len) = scan(buffer.get(self.at..).unwrap_or_default());
            self.at += len;
            let step = self.take(scanned);
            self.buffer = buffer;
            match step? {
                Taken::Step(step) => return Ok(step),
                Taken::Nothing => {}
                Taken::Broken => {
                    self.at -= len;
                    self.skip_damage();
                }
                Taken::Hungry if !self.is_ended => return Ok(Step::Hungry),
                Taken::Hungry if self.at >= self.buffer.len() => return Ok(Step::End),
                Taken::Hungry if self.is_first() => return Err(NotReadable::NoRecording),
                Taken::Hungry => self.skip_damage(),
            }
        }
    }

    /// Whether nothing at all was read yet.
    fn is_first(&self) -> bool {
        self.section.is_none() && self.damage == Damage::default()
    }

    fn take(&mut self, scanned: Scanned<'_>) -> Result<Taken, NotReadable> {
        match scanned {
            Scanned::Section { major, .. } if major != MAJOR => Err(NotReadable::Version(major)),
            Scanned::Section { .. } => {
                self.damage.is_inside |= self.damage.bytes > 0;
                self.section = Some(Section::default());
                Ok(Taken::Nothing)
            }
            Scanned::Frame { kind, payload } => Ok(self.take_frame(kind, payload)),
            Scanned::Incomplete => Ok(Taken::Hungry),
            Scanned::Broken if self.is_first() => Err(NotReadable::NoRecording),
            Scanned::Broken => Ok(Taken::Broken),
        }
    }

    fn take_frame(&mut self, kind: u8, payload: &[u8]) -> Taken {
        let Some(section) = &mut self.section else {
            // It belongs to a section that was damaged.
            return Taken::Broken;
        };
        let taken = match kind {
            kind::HEADER => section
                .set_about(payload)
                .map(|()| Taken::Step(Step::Section)),
            kind::REASONS => section.add_reasons(payload).map(|()| Taken::Nothing),
            kind::CLOCK => section.set_clock(payload).map(|()| Taken::Nothing),
            // What comes later counts on the number of this one.
            kind::TEXT if section.add_text(payload).is_err() => Ok(Taken::Broken),
            kind::STACK if section.add_stack(payload).is_err() => Ok(Taken::Broken),
            kind::TEXT | kind::STACK => Ok(Taken::Nothing),
            kind::DROP => section.read_drop(payload).map(|current| {
                self.current = Some(current);
                Taken::Step(Step::Record)
            }),
            kind::ACCOUNT => read_account(payload).map(|tally| Taken::Step(Step::Account(tally))),
            _ => {
                self.damage.unknown += 1;
                Ok(Taken::Nothing)
            }
        };
        taken.unwrap_or_else(|Nonsense| {
            self.damage.nonsense += 1;
            Taken::Nothing
        })
    }

    /// Goes on with the next section, for everything up to there may count on what is damaged.
    fn skip_damage(&mut self) {
        self.section = None;
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let skipped = frame::next_section(rest);
        self.damage.bytes += skipped as u64;
        self.at += skipped;
    }

    /// Where the section comes from.
    #[must_use]
    pub fn about(&self) -> Option<&About> {
        self.section.as_ref().map(|section| &section.about)
    }

    /// The drop reasons of the host.
    #[must_use]
    pub fn reasons(&self) -> Option<&ReasonTable> {
        self.section.as_ref().map(|section| &section.reasons)
    }

    /// Local time minus UTC in seconds, where and when the last drop was recorded.
    #[must_use]
    pub fn utc_offset_s(&self) -> i32 {
        let section = self.section.as_ref();
        section.map_or(0, |section| section.clock.utc_offset_s)
    }

    /// The last drop, `None` if there is none or it makes no sense.
    #[must_use]
    pub fn record(&self) -> Option<DropRecord<'_>> {
        self.section.as_ref()?.record(self.current.as_ref()?)
    }
}

/// What became of a frame.
enum Taken {
    /// Somebody wants to know of it.
    Step(Step),
    /// Nobody does.
    Nothing,
    /// The bytes here are damaged.
    Broken,
    /// More bytes are needed.
    Hungry,
}

fn decode<'b, T: Decode<'b, ()>>(payload: &'b [u8]) -> Result<T, Nonsense> {
    Ok(minicbor::decode(payload)?)
}

fn read_account(payload: &[u8]) -> Result<Tally, Nonsense> {
    let tally: Tally = decode(payload)?;
    let Tally {
        recorded,
        seen,
        printed,
        hidden,
        filtered,
        sampled_out,
        limited,
        lost,
    } = tally;
    let counts = [
        recorded,
        seen,
        printed,
        hidden,
        filtered,
        sampled_out,
        limited,
        lost,
    ];
    match counts.iter().all(|count| *count <= MAX_COUNT) {
        true => Ok(tally),
        false => Err(Nonsense),
    }
}

impl Section {
    fn set_about(&mut self, payload: &[u8]) -> Result<(), Nonsense> {
        if payload.len() > MAX_ABOUT_BYTES {
            return Err(Nonsense);
        }
        self.about = decode(payload)?;
        Ok(())
    }

    fn set_clock(&mut self, payload: &[u8]) -> Result<(), Nonsense> {
        let clock: ClockFrame = decode(payload)?;
        self.clock = clock;
        Ok(())
    }

    fn add_reasons(&mut self, payload: &[u8]) -> Result<(), Nonsense> {
        let Reasons {
            reasons,
            subsystems,
        } = decode(payload)?;
        let mut all = reasons.iter().chain(&subsystems);
        let table = &mut self.reasons;
        let room = table.names.len() + reasons.len() <= 2 * MAX_REASONS
            && table.subsystems.len() + subsystems.len() <= MAX_REASONS;
        if !room || !all.all(|reason| is_word(&reason.name)) {
            return Err(Nonsense);
        }
        let reasons = reasons.into_iter();
        table
            .names
            .extend(reasons.map(|reason| (reason.number, reason.name.into())));
        table.subsystems.extend(subsystems);
        table.version += 1;
        Ok(())
    }

    fn add_text(&mut self, payload: &[u8]) -> Result<(), Nonsense> {
        let bytes = self.text_bytes + payload.len();
        if self.texts.len() >= MAX_DEFINITIONS || bytes > MAX_TEXT_BYTES {
            return Err(Nonsense);
        }
        self.text_bytes = bytes;
        self.texts.push(Text::new(payload));
        Ok(())
    }

    fn add_stack(&mut self, payload: &[u8]) -> Result<(), Nonsense> {
        let callers = self.callers(payload)?;
        let bytes = self.stack_bytes + callers.len();
        if self.stacks.len() >= MAX_DEFINITIONS || bytes > MAX_STACK_BYTES {
            return Err(Nonsense);
        }
        self.stack_bytes = bytes;
        self.stacks.push(callers.into());
        Ok(())
    }

    /// The text of a stack; at least one caller.
    fn callers(&self, payload: &[u8]) -> Result<String, Nonsense> {
        let mut decoder = minicbor::Decoder::new(payload);
        let mut callers = String::new();
        for (count, number) in decoder.array_iter::<u32>()?.enumerate() {
            let caller = self.word(number?).ok_or(Nonsense)?;
            let bytes = self.stack_bytes + callers.len() + caller.len();
            if count >= MAX_CALLERS || caller.contains(',') || bytes > MAX_STACK_BYTES {
                return Err(Nonsense);
            }
            if count > 0 {
                callers.push(',');
            }
            callers.push_str(caller);
        }
        if callers.is_empty() {
            return Err(Nonsense);
        }
        Ok(callers)
    }

    fn text(&self, number: u32) -> Option<&[u8]> {
        self.texts.get(number as usize).map(Text::bytes)
    }

    /// A text that lines show as it is.
    fn word(&self, number: u32) -> Option<&str> {
        match self.texts.get(number as usize)? {
            Text::Word(word) => Some(word),
            Text::Bytes(_) => None,
        }
    }

    fn read_drop(&self, payload: &[u8]) -> Result<Current, Nonsense> {
        let frame: DropFrame<'static> = decode(payload)?;
        let bytes = frame.packet.as_ref().map(packet_bytes);
        let capture = bytes.map(|bytes| bytes.capture());
        let current = Current {
            packet: Packet::of(&capture.unwrap_or_default(), frame.family),
            class: class(frame.class).ok_or(Nonsense)?,
            direction: optional(frame.direction, direction)?,
            frame,
        };
        match self.record(&current) {
            Some(_) => Ok(current),
            None => Err(Nonsense),
        }
    }

    /// The record of a drop; `None` if it refers to what is not there.
    fn record<'a>(&'a self, current: &'a Current) -> Option<DropRecord<'a>> {
        let Current {
            frame,
            packet,
            class,
            direction,
        } = current;
        let DropFrame {
            boot_ns,
            reason,
            class: _,
            sample,
            packet: captured,
            skb,
            gso,
            device,
            direction: _,
            state,
            location,
            pid,
            comm,
            owner,
            netns,
            workload,
            stack,
            address,
            cgroup,
            family: _,
        } = frame;
        let text = |number| self.text(number);
        let workload = workload.unwrap_or_default();
        Some(DropRecord {
            time: DropTime {
                boot_ns: *boot_ns,
                unix_ns: self.clock.offset_ns.wrapping_add_unsigned(*boot_ns),
            },
            reason: known(*reason, |number| self.reasons.names.get(&number))?.map(|name| &**name),
            class: *class,
            sample: *sample,
            packet: *packet,
            skb: skb.map(|skb| SkbFields {
                len: skb.len,
                iif: skb.iif,
                queue: skb.queue,
                mark: skb.mark,
                priority: skb.priority,
                hash: skb.hash,
            }),
            gso: gso.map(|gso| Gso {
                size: gso.size,
                segments: gso.segments,
            }),
            device: known(*device, |device| {
                Some(Device {
                    ifindex: device.ifindex,
                    name: text(device.name)?,
                })
            })?,
            direction: *direction,
            state: state.map(TcpState),
            location: self.word(*location)?,
            source: None,
            pid: *pid,
            comm: text(*comm)?,
            owner: known(*owner, |owner| {
                Some(Owner {
                    comm: text(owner.comm)?,
                    pid: owner.pid,
                    others: owner.others,
                })
            })?,
            netns: known(*netns, |netns| {
                Some(Netns {
                    inode: netns.inode,
                    name: known(netns.name, text)?,
                })
            })?,
            workload: Workload {
                container: known(workload.container, text)?,
                pod: known(workload.pod, text)?,
                unit: known(workload.unit, text)?,
                container_id: known(workload.container_id, text)?,
            },
            stack: known(*stack, |number| self.stack(number))?,
            address: *address,
            origin: Origin {
                reason: *reason,
                cgroup: known(*cgroup, text)?,
            },
            bytes: captured.as_ref().map(packet_bytes),
        })
    }

    fn stack(&self, number: u32) -> Option<Stack<'_>> {
        match number.checked_sub(1) {
            None => Some(Stack::Unknown),
            Some(index) => {
                let callers = self.stacks.get(index as usize)?;
                Some(Stack::Callers(callers))
            }
        }
    }
}

/// What `find` finds for a value that is there; `None` if it finds nothing.
fn known<T, U>(value: Option<T>, find: impl FnOnce(T) -> Option<U>) -> Option<Option<U>> {
    match value {
        None => Some(None),
        Some(value) => find(value).map(Some),
    }
}

fn optional<T>(number: Option<u8>, of: fn(u8) -> Option<T>) -> Result<Option<T>, Nonsense> {
    known(number, of).ok_or(Nonsense)
}

fn class(number: u8) -> Option<Class> {
    match number {
        0 => Some(Class::Drop),
        1 => Some(Class::Refused),
        2 => Some(Class::Teardown),
        3 => Some(Class::Expected),
        _ => None,
    }
}

fn direction(number: u8) -> Option<Direction> {
    match number {
        0 => Some(Direction::Receive),
        1 => Some(Direction::Transmit),
        2 => Some(Direction::Forward),
        3 => Some(Direction::Local),
        _ => None,
    }
}

fn packet_bytes<'a>(packet: &'a PacketFrame<'_>) -> PacketBytes<'a> {
    let PacketFrame {
        ethertype,
        network_offset,
        head,
        vlan_tpid,
        vlan_tci,
        pkt_type,
        original_len,
        tail,
    } = packet;
    let vlan = vlan_tpid.zip(*vlan_tci);
    PacketBytes {
        head,
        tail,
        // Behind all bytes if it is beyond what this machine can count.
        network_offset: usize::try_from(*network_offset).unwrap_or(usize::MAX),
        original_len: *original_len,
        ethertype: *ethertype,
        vlan_tag: vlan.map(|(tpid, tci)| VlanTag { tpid, tci }),
        pkt_type: *pkt_type,
    }
}
