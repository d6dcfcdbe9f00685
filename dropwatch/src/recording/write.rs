//! Records to a recording.

use jiff::{Timestamp, tz::TimeZone};
use rustc_hash::FxHashMap;

use super::{
    MAX_DEFINITIONS, MAX_REASONS, MAX_STACK_BYTES, MAX_TEXT_BYTES,
    frame::{self, append},
    kind,
    wire::{
        About, ClockFrame, DeviceFrame, DropFrame, GsoFrame, NetnsFrame, OwnerFrame, PacketFrame,
        ReasonName, Reasons, Skb, Tally, WorkloadFrame,
    },
};
use crate::{
    classify::Class,
    packet::Protocol,
    record::{Direction, DropRecord, DropTime, PacketBytes, Stack, Workload},
};

/// Bytes after which another section begins: what a damaged place can cost at most.
const SECTION_LEN: u64 = 4 << 20;

/// Bytes of the flags that are kept.
const MAX_FLAGS_LEN: usize = 4 << 10;

/// Names of drop reasons in one frame.
const REASONS_AT_ONCE: usize = 512;

/// Makes a recording. All that is written is appended to vectors; whoever has it puts it where
/// it belongs.
pub struct Recorder {
    /// What the next section says of itself.
    about: About,
    reasons: FxHashMap<u32, Box<str>>,
    subsystems: Vec<ReasonName>,
    definitions: Definitions,
    clock: Clock,
    /// Bytes of the section; 0 before the first one.
    section_len: u64,
}

/// What was written of names since the section began.
#[derive(Default)]
struct Definitions {
    texts: FxHashMap<Box<[u8]>, u32>,
    text_bytes: usize,
    stacks: FxHashMap<Box<str>, u32>,
    stack_bytes: usize,
}

/// The relation of clocks that was written last.
struct Clock {
    zone: TimeZone,
    /// The second, since the Unix epoch, that local time was asked for.
    second: i64,
    utc_offset_s: i32,
    written: Option<ClockFrame>,
}

impl Recorder {
    /// A recording of the run that `about` tells of, on a host with this local time and these
    /// drop reasons: all that have names now, and the subsystems.
    #[must_use]
    pub fn new(
        mut about: About,
        zone: TimeZone,
        reasons: Vec<ReasonName>,
        subsystems: Vec<ReasonName>,
    ) -> Self {
        let end = about.flags.floor_char_boundary(MAX_FLAGS_LEN);
        about.flags.truncate(end);
        let reasons = reasons.into_iter().take(MAX_REASONS);
        Self {
            about,
            reasons: reasons.map(|it| (it.number, it.name.into())).collect(),
            subsystems,
            definitions: Definitions::default(),
            clock: Clock {
                zone,
                second: i64::MIN,
                utc_offset_s: 0,
                written: None,
            },
            section_len: 0,
        }
    }

    /// Makes local time that of another zone.
    pub fn set_zone(&mut self, zone: TimeZone) {
        self.clock.zone = zone;
        self.clock.second = i64::MIN;
    }

    /// Drops that were recorded.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        self.about.recorded
    }

    /// Appends the start of a section, which needs nothing that was written before: each file
    /// begins with one.
    pub fn begin_section(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        self.definitions = Definitions::default();
        self.clock.written = None;
        frame::begin_section(out);
        append(kind::HEADER, out, |out| encode(&self.about, out));
        self.about.section = self.about.section.wrapping_add(1);
        self.write_reasons(out);
        self.section_len = (out.len() - start) as u64;
    }

    fn write_reasons(&self, out: &mut Vec<u8>) {
        let names = self.reasons.iter();
        let mut reasons: Vec<ReasonName> = names
            .map(|(number, name)| ReasonName {
                number: *number,
                name: name.to_string(),
            })
            .collect();
        reasons.sort_by_key(|reason| reason.number);
        let mut subsystems = self.subsystems.clone();
        for reasons in reasons.chunks(REASONS_AT_ONCE) {
            let frame = Reasons {
                reasons: reasons.to_vec(),
                subsystems: std::mem::take(&mut subsystems),
            };
            append(kind::REASONS, out, |out| encode(&frame, out));
        }
    }

    /// Appends a drop and the names that it is the first one with.
    pub fn write(&mut self, record: &DropRecord<'_>, out: &mut Vec<u8>) {
        if self.section_len == 0 || self.section_len >= SECTION_LEN || self.definitions.are_many() {
            self.begin_section(out);
        }
        let start = out.len();
        self.clock.write(record.time, out);
        self.define_reason(record, out);
        let frame = self.drop_frame(record, out);
        append(kind::DROP, out, |out| encode(&frame, out));
        self.about.recorded += 1;
        self.section_len += (out.len() - start) as u64;
    }

    /// Appends the account of the run, at its end.
    pub fn write_account(&mut self, tally: &Tally, out: &mut Vec<u8>) {
        if self.section_len == 0 {
            self.begin_section(out);
        }
        append(kind::ACCOUNT, out, |out| encode(tally, out));
    }

    /// Writes a reason that got its name later than the others.
    fn define_reason(&mut self, record: &DropRecord<'_>, out: &mut Vec<u8>) {
        let (Some(number), Some(name)) = (record.origin.reason, record.reason) else {
            return;
        };
        let known = self.reasons.get(&number);
        if known.is_some_and(|known| **known == *name) {
            return;
        }
        if self.reasons.len() < MAX_REASONS || known.is_some() {
            self.reasons.insert(number, name.into());
        }
        let frame = Reasons {
            reasons: vec![ReasonName {
                number,
                name: name.to_owned(),
            }],
            subsystems: Vec::new(),
        };
        append(kind::REASONS, out, |out| encode(&frame, out));
    }

    fn drop_frame<'a>(&mut self, record: &DropRecord<'a>, out: &mut Vec<u8>) -> DropFrame<'a> {
        let DropRecord {
            time,
            reason,
            class,
            sample,
            packet,
            skb,
            gso,
            device,
            direction,
            state,
            location,
            pid,
            comm,
            owner,
            netns,
            workload,
            stack,
            address,
            origin,
            bytes,
            // Not recorded: locate finds it by the call site.
            source: _,
        } = *record;
        let names = &mut self.definitions;
        let mut number = |text: &[u8]| names.text(text, out);
        DropFrame {
            boot_ns: time.boot_ns,
            reason: reason.and(origin.reason),
            class: class_number(class),
            sample,
            packet: bytes.map(packet_frame),
            skb: skb.map(|skb| Skb {
                len: skb.len,
                iif: skb.iif,
                queue: skb.queue,
                mark: skb.mark,
                priority: skb.priority,
                hash: skb.hash,
            }),
            gso: gso.map(|gso| GsoFrame {
                size: gso.size,
                segments: gso.segments,
            }),
            device: device.map(|device| DeviceFrame {
                ifindex: device.ifindex,
                name: number(device.name),
            }),
            direction: direction.map(direction_number),
            state: state.map(|state| state.0),
            location: number(location.as_bytes()),
            pid,
            comm: number(comm),
            owner: owner.map(|owner| OwnerFrame {
                comm: number(owner.comm),
                pid: owner.pid,
                others: owner.others,
            }),
            netns: netns.map(|netns| NetnsFrame {
                inode: netns.inode,
                name: netns.name.map(&mut number),
            }),
            workload: workload_frame(&workload, &mut number),
            cgroup: origin.cgroup.map(&mut number),
            stack: stack.map(|stack| match stack {
                Stack::Callers(callers) => names.stack(callers, out).saturating_add(1),
                Stack::Unknown => 0,
            }),
            address,
            family: match packet.tuple.protocol {
                Protocol::Family(family) => Some(family),
                Protocol::Unknown | Protocol::Ethertype(_) | Protocol::Ip(_) => None,
            },
        }
    }
}

/// The numbers of the names, `None` if there are none.
fn workload_frame(
    workload: &Workload<'_>,
    mut number: impl FnMut(&[u8]) -> u32,
) -> Option<WorkloadFrame> {
    let Workload {
        container,
        pod,
        unit,
        container_id,
    } = *workload;
    let frame = WorkloadFrame {
        container: container.map(&mut number),
        pod: pod.map(&mut number),
        unit: unit.map(&mut number),
        container_id: container_id.map(&mut number),
    };
    (frame != WorkloadFrame::default()).then_some(frame)
}

fn packet_frame(bytes: PacketBytes<'_>) -> PacketFrame<'_> {
    let PacketBytes {
        head,
        tail,
        network_offset,
        original_len,
        ethertype,
        vlan_tag,
        pkt_type,
    } = bytes;
    PacketFrame {
        ethertype,
        network_offset: network_offset as u64,
        head: head.into(),
        vlan_tpid: vlan_tag.map(|tag| tag.tpid),
        vlan_tci: vlan_tag.map(|tag| tag.tci),
        pkt_type,
        original_len,
        tail: tail.into(),
    }
}

fn class_number(class: Class) -> u8 {
    match class {
        Class::Drop => 0,
        Class::Refused => 1,
        Class::Teardown => 2,
        Class::Expected => 3,
    }
}

fn direction_number(direction: Direction) -> u8 {
    match direction {
        Direction::Receive => 0,
        Direction::Transmit => 1,
        Direction::Forward => 2,
        Direction::Local => 3,
    }
}

/// Appends CBOR.
fn encode(frame: &impl minicbor::Encode<()>, out: &mut Vec<u8>) {
    let encoded = minicbor::encode(frame, out);
    debug_assert!(encoded.is_ok(), "writing to a vector can't fail");
}

impl Definitions {
    /// Whether there may be too many after another drop.
    fn are_many(&self) -> bool {
        self.texts.len() >= MAX_DEFINITIONS / 2
            || self.text_bytes >= MAX_TEXT_BYTES / 2
            || self.stacks.len() >= MAX_DEFINITIONS / 2
            || self.stack_bytes >= MAX_STACK_BYTES / 2
    }

    /// The number of a text, which is written if it is new.
    fn text(&mut self, text: &[u8], out: &mut Vec<u8>) -> u32 {
        if let Some(number) = self.texts.get(text) {
            return *number;
        }
        let number = self.texts.len() as u32;
        // Nothing that has a name is longer than a few hundred bytes.
        let kept = text.get(..frame::MAX_PAYLOAD).unwrap_or(text);
        append(kind::TEXT, out, |out| out.extend_from_slice(kept));
        self.texts.insert(text.into(), number);
        self.text_bytes += text.len();
        number
    }

    /// The number of a stack, which is written if it is new.
    fn stack(&mut self, callers: &str, out: &mut Vec<u8>) -> u32 {
        if let Some(number) = self.stacks.get(callers) {
            return *number;
        }
        let texts: Vec<u32> = callers
            .split(',')
            .map(|caller| self.text(caller.as_bytes(), out))
            .collect();
        append(kind::STACK, out, |out| encode(&texts, out));
        let number = self.stacks.len() as u32;
        self.stacks.insert(callers.into(), number);
        self.stack_bytes += callers.len();
        number
    }
}

impl Clock {
    /// Appends how the clocks relate at `time`, if that has changed.
    fn write(&mut self, time: DropTime, out: &mut Vec<u8>) {
        let second = time.unix_ns.div_euclid(1_000_000_000);
        if second != self.second {
            self.second = second;
            // An i64 of nanoseconds is always within the range of a timestamp.
            let at = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
            self.utc_offset_s = self.zone.to_offset(at).seconds();
        }
        let now = ClockFrame {
            offset_ns: time.unix_ns.wrapping_sub_unsigned(time.boot_ns),
            utc_offset_s: self.utc_offset_s,
        };
        if self.written != Some(now) {
            append(kind::CLOCK, out, |out| encode(&now, out));
            self.written = Some(now);
        }
    }
}
