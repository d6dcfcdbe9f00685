//! One drop as the kernel side records it, and the line that comes of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dropwatch::{
    btf::Btf,
    decode::decode,
    enrich::{Enricher, Host, reason::ReasonNames, symbol::Symbols},
    format::{ExtraField, JsonFormat, TextFormat, TextOptions, TimestampStyle},
    record::{DropRecord, Position, Source},
};
use dropwatch_common::event::{DropEvent, FIXED_SIZE, HEADERS_LEN, present};
use zerocopy::IntoBytes as _;

use crate::{json, packets, recorded};

/// Key of the stack in the stack-trace map.
pub(crate) const STACK_ID: u32 = 7;

/// A drop, the kernel that it happens on, and how it is shown.
#[derive(Clone)]
pub(crate) struct Case {
    /// The folder of the kernel's fixtures.
    pub(crate) kernel: &'static str,
    /// The record without its stack frames.
    pub(crate) event: DropEvent,
    /// Stack frames of the record.
    pub(crate) frames: Vec<u64>,
    /// The stack that the stack-trace map has for [`STACK_ID`].
    pub(crate) stack: Option<Vec<u64>>,
    /// Bytes behind the record.
    pub(crate) padding: usize,
    /// How many drops the record stands for.
    pub(crate) sample: Option<u32>,
    /// Where the call site is in the source; empty where that can't be known.
    pub(crate) source: Option<Vec<Position>>,
    /// Most callers that are shown.
    pub(crate) depth: usize,
    /// What the line looks like.
    pub(crate) options: TextOptions,
}

/// A packet with its MAC header.
#[derive(Clone, Default)]
pub(crate) struct Frame {
    /// `sk_buff.protocol`, in host byte order.
    pub(crate) ethertype: u16,
    /// Id of a VLAN whose tag is beside the frame.
    pub(crate) vlan: Option<u16>,
    /// From the MAC header on.
    pub(crate) bytes: Vec<u8>,
    /// Where the network header is.
    pub(crate) network_offset: usize,
}

impl Default for Case {
    /// A UDP datagram to a closed port on Linux 6.12, stacks off.
    fn default() -> Self {
        let case = Self {
            kernel: "6.12",
            event: event(),
            frames: Vec::new(),
            stack: None,
            padding: 0,
            sample: None,
            source: None,
            depth: 0,
            options: TextOptions {
                timestamp: TimestampStyle::Boot,
                ..TextOptions::default()
            },
        };
        case.packet(packets::IPV4, &packets::udp())
            .at("__udp4_lib_rcv", 0x4bc)
    }
}

/// An event with everything but a packet and a stack.
fn event() -> DropEvent {
    DropEvent {
        time_ns: 1_234_567_890_123,
        skb: 0xffff_8881_0234_5600,
        location: 0,
        socket_inode: 0,
        socket_cgroup: 0,
        dst_input: 0,
        // `NO_SOCKET` on 6.12.
        reason: 3,
        len: 128,
        present: present::REASON | present::SKB | present::DEV | present::NETNS,
        ifindex: 2,
        netns: 4_026_531_840,
        tgid: 28_371,
        stack_id: 0,
        mark: 0x2a,
        priority: 6,
        hash: 0x1234_abcd,
        iif: 2,
        owner_tgid: 0,
        ethertype: 0,
        queue: 3,
        vlan_proto: 0,
        vlan_tci: 0,
        gso_size: 0,
        gso_segs: 0,
        socket_family: 0,
        headers_len: 0,
        frame_count: 0,
        socket_state: 0,
        socket_protocol: 0,
        pkt_type: 0,
        network_offset: 0,
        data_offset: 0,
        comm: padded("flood"),
        owner_comm: [0; 16],
        ifname: padded("eth0"),
        headers: [0; HEADERS_LEN],
    }
}

/// A name as the kernel holds it.
pub(crate) fn padded(name: impl AsRef<[u8]>) -> [u8; 16] {
    let mut bytes = [0; 16];
    let name = name.as_ref();
    bytes[..name.len()].copy_from_slice(name);
    bytes
}

impl Case {
    /// With this packet, of which the kernel side captures the first bytes.
    pub(crate) fn packet(self, ethertype: u16, bytes: &[u8]) -> Self {
        self.frame(&Frame {
            ethertype,
            bytes: bytes.to_vec(),
            ..Frame::default()
        })
    }

    /// With this packet on the wire.
    pub(crate) fn frame(mut self, frame: &Frame) -> Self {
        let captured = &frame.bytes[..frame.bytes.len().min(HEADERS_LEN)];
        let event = &mut self.event;
        event.ethertype = frame.ethertype.to_be();
        event.headers = [0; HEADERS_LEN];
        event.headers[..captured.len()].copy_from_slice(captured);
        event.headers_len = captured.len() as u16;
        event.network_offset = frame.network_offset as u8;
        event.present &= !present::VLAN;
        if let Some(id) = frame.vlan {
            event.present |= present::VLAN;
            event.vlan_proto = 0x8100_u16.to_be();
            event.vlan_tci = id;
        }
        self
    }

    /// With these tokens beyond the default ones.
    pub(crate) fn fields(self, fields: &[ExtraField]) -> Self {
        self.options(|options| options.fields = fields.to_vec())
    }

    /// With the place of the call site in the source.
    pub(crate) fn source(mut self, positions: Vec<Position>) -> Self {
        self.source = Some(positions);
        self
    }

    /// One of a sample of one in so many.
    pub(crate) fn sample(mut self, of: u32) -> Self {
        self.sample = Some(of);
        self
    }

    /// With another event.
    pub(crate) fn event(mut self, change: impl FnOnce(&mut DropEvent)) -> Self {
        change(&mut self.event);
        self
    }

    /// Without the fields of these bits of [`mod@present`]; what is in them is
    /// left over from another drop.
    pub(crate) fn without(self, bits: u32) -> Self {
        self.event(|event| event.present &= !bits)
    }

    /// With this call site.
    pub(crate) fn at(mut self, function: &str, offset: u64) -> Self {
        self.event.location = self.address(function, offset);
        self
    }

    /// On a route that hands received packets to this function.
    pub(crate) fn forwarded_by(mut self, function: &str) -> Self {
        self.event.present |= present::DST_INPUT;
        self.event.dst_input = self.address(function, 0);
        self
    }

    /// With these stack frames, innermost first, in the stack-trace map.
    pub(crate) fn stack(mut self, frames: &[(&str, u64)]) -> Self {
        self.stack = Some(self.addresses(frames));
        self.event.present |= present::STACK_ID;
        self.event.stack_id = STACK_ID;
        self.depth = 16;
        self
    }

    /// With these stack frames, innermost first, in the record.
    pub(crate) fn frames(mut self, frames: &[(&str, u64)]) -> Self {
        self.frames = self.addresses(frames);
        self.depth = 16;
        self
    }

    fn addresses(&self, frames: &[(&str, u64)]) -> Vec<u64> {
        let address = |&(function, offset): &(&str, u64)| self.address(function, offset);
        frames.iter().map(address).collect()
    }

    /// The line with these options.
    pub(crate) fn options(mut self, change: impl FnOnce(&mut TextOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Address of a function of the kernel plus `offset`; just `offset` for the
    /// function `""`.
    fn address(&self, function: &str, offset: u64) -> u64 {
        if function.is_empty() {
            return offset;
        }
        let kallsyms = fs::read_to_string(self.fixture("kallsyms")).expect("kallsyms is there");
        let start = kallsyms.lines().find_map(|line| {
            let mut words = line.split([' ', '\t']);
            let address = words.next()?;
            (words.nth(1) == Some(function)).then_some(address)
        });
        let start = start.unwrap_or_else(|| panic!("{} has no {function}", self.kernel));
        u64::from_str_radix(start, 16).expect("an address") + offset
    }

    fn fixture(&self, file: &str) -> PathBuf {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        fixtures.join(self.kernel).join(file)
    }

    /// The bytes that the kernel side hands over.
    pub(crate) fn record(&self) -> Vec<u8> {
        let mut event = self.event;
        event.frame_count = self.frames.len() as u16;
        let mut bytes = event.as_bytes().to_vec();
        if self.frames.is_empty() {
            bytes.truncate(FIXED_SIZE + usize::from(event.headers_len));
        }
        for frame in &self.frames {
            bytes.extend_from_slice(&frame.to_ne_bytes());
        }
        bytes.resize(bytes.len() + self.padding, 0xff);
        bytes
    }

    fn enricher(&self) -> Enricher {
        let btf = Btf::load(Some(&self.fixture("btf/vmlinux"))).expect("the BTF is whole");
        let symbols = Symbols::load(&self.fixture("kallsyms"), &self.fixture("modules"));
        Enricher::new(
            ReasonNames::new(&btf, &self.fixture("btf")),
            symbols.expect("kallsyms is readable"),
            self.depth,
            // Nothing of the machine that the tests run on.
            Host::below(Path::new("/nonexistent")),
        )
    }

    /// The line without its end; the JSON object of the same drop has to say the same,
    /// and what was recorded of it has to be shown as it is.
    pub(crate) fn line(&self) -> String {
        self.shown(|record| {
            json::agrees(record);
            recorded::agrees(record);
            let line = json::written(&mut TextFormat::new(&self.options), record);
            line.strip_suffix('\n').expect("a line ends").to_owned()
        })
    }

    /// The JSON object, line end included.
    pub(crate) fn json(&self) -> String {
        self.shown(|record| json::written(&mut JsonFormat::new(), record))
    }

    /// What `show` makes of the drop.
    pub(crate) fn shown<T>(&self, show: impl FnOnce(&DropRecord<'_>) -> T) -> T {
        self.shown_of(&self.record(), show)
    }

    /// The same with another record in place of its own.
    pub(crate) fn shown_of<T>(&self, bytes: &[u8], show: impl FnOnce(&DropRecord<'_>) -> T) -> T {
        let decoded = decode(bytes).expect("it is a record");
        let mut enricher = self.enricher();
        enricher.set_sample(self.sample);
        let record = enricher.enrich(&decoded, |id| {
            assert_eq!(id, STACK_ID);
            self.stack.clone()
        });
        let source = self.source.as_deref().map(|positions| match positions {
            [] => Source::Unknown,
            positions => Source::Positions(positions),
        });
        show(&DropRecord { source, ..record })
    }
}
