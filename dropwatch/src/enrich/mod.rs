//! Names for numbers: a [`DropEvent`](dropwatch_common::event::DropEvent)
//! becomes a [`DropRecord`].

mod cache;
mod class;
pub(crate) mod clock;
pub mod container;
mod direction;
pub(crate) mod files;
pub mod group;
mod host;
mod location;
pub mod netns;
pub mod owner;
pub mod reason;
mod site_source;
mod suggest;
pub mod symbol;
mod throttle;

pub use host::Host;

use std::{net::SocketAddr, time::Instant};

use dropwatch_common::{
    config::{OWNER_VALID_NS, OwnerEntry, verdict},
    event::{DropEvent, present},
    uapi::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_NEW_SYN_RECV, TCP_TIME_WAIT},
};

use self::{
    class::Classes,
    clock::Clock,
    location::{Locations, StackSource},
    owner::{Flow, Owners, Question},
    reason::ReasonNames,
    site_source::SiteSources,
    symbol::Symbols,
};
use crate::{
    decode::{Decoded, until_nul},
    filter::Filters,
    packet::{Packet, Part, Protocol, VlanTag},
    record::{Device, DropRecord, Gso, Netns, Origin, Owner, PacketBytes, SkbFields, TcpState},
    source::Sources,
};

/// How long it counts that no process is known to hold a socket, in nanoseconds.
const NOBODY_VALID_NS: u64 = 100_000_000;

/// Turns events into records, with caches that live as long as the run.
pub struct Enricher {
    reasons: ReasonNames,
    locations: Locations,
    clock: Clock,
    owners: Owners,
    host: Host,
    classes: Classes,
    sample: Option<u32>,
    /// Where call sites are in the source; `None` where nobody asked.
    sources: Option<SiteSources>,
    now: Instant,
}

/// What `--pid` and `--comm` say of a drop that the kernel side left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether they match.
    pub matches: bool,
    /// The socket's inode number, and what the kernel side should know of it, to
    /// decide by itself.
    pub note: Option<(u64, OwnerEntry)>,
}

impl Enricher {
    /// An enricher that names what `reasons` and `symbols` know and shows at
    /// most `stack_depth` callers, none at all with 0. Processes, namespaces and
    /// containers are those of `host`.
    pub fn new(reasons: ReasonNames, symbols: Symbols, stack_depth: usize, host: Host) -> Self {
        Self {
            reasons,
            locations: Locations::new(symbols, stack_depth),
            clock: Clock::default(),
            owners: Owners::new(&host.proc),
            host,
            classes: Classes::default(),
            sample: None,
            sources: None,
            now: Instant::now(),
        }
    }

    /// To be called before each batch of records: notices a clock that was set,
    /// modules that were loaded, and names that have changed.
    pub fn begin_batch(&mut self) {
        self.now = Instant::now();
        if let Some(step) = self.clock.sample() {
            log::warn!("{step}");
        }
        self.locations.refresh();
        self.host.refresh();
    }

    /// To be called when drops are traced: what takes time is begun before the
    /// first one comes.
    pub fn prepare(&mut self) {
        self.owners.prepare(Instant::now());
        self.host.containers.prepare();
    }

    /// Tells that each event stands for so many drops.
    pub fn set_sample(&mut self, sample: Option<u32>) {
        self.sample = sample;
    }

    /// Has the place in the source looked up of each call site.
    pub fn set_sources(&mut self, sources: Sources) {
        self.sources = Some(SiteSources::new(sources));
    }

    /// The names of drop reasons.
    pub fn reasons(&mut self) -> &mut ReasonNames {
        &mut self.reasons
    }

    /// The host that is traced.
    pub fn host(&mut self) -> &mut Host {
        &mut self.host
    }

    /// Decides `--pid` and `--comm` where the kernel side could not: by all
    /// processes that hold the packet's socket or, if none is known or there are too
    /// many to ask, by the task on the CPU.
    pub fn decide(&mut self, decoded: &Decoded<'_>, filters: &Filters) -> Decision {
        let event = &decoded.event;
        let has = |bit| event.present & bit != 0;
        self.learn_owner(event);
        let has_name = |name: &[u8]| filters.comm_matches(name);
        let question = Question {
            pids: &filters.pids,
            name: (!filters.comms.is_empty()).then_some(&has_name),
        };
        let answer = if has(present::SOCKET_INODE) {
            self.owners
                .any_holder(event.socket_inode, event.tgid, self.now, question)
        } else {
            let packet = parse(decoded);
            let flow = self.flow(event, &packet);
            flow.and_then(|(netns, flow)| {
                self.owners
                    .any_holder_at(netns, &flow, event.tgid, self.now, question)
            })
        };
        let by_task = || filters.process_matches(event.tgid, until_nul(&event.comm));
        Decision {
            matches: answer.unwrap_or_else(by_task),
            note: has(present::SOCKET_INODE)
                .then(|| (event.socket_inode, owner_entry(event, answer))),
        }
    }

    /// Notes what the kernel side knows of the owner.
    fn learn_owner(&mut self, event: &DropEvent) {
        if event.present & present::OWNER != 0 {
            let name = until_nul(&event.owner_comm);
            self.owners
                .learn(event.socket_inode, event.owner_tgid, name, self.now);
        }
    }

    /// What a received packet's socket is looked up by, where the kernel does not
    /// say which it is: namespace, if known, and flow.
    fn flow(&self, event: &DropEvent, packet: &Packet) -> Option<(Option<u32>, Flow)> {
        if event.present & present::SOCKET_BY_ADDRESS == 0 {
            return None;
        }
        let Protocol::Ip(protocol) = packet.tuple.protocol else {
            return None;
        };
        let addresses = packet.tuple.addresses?;
        let (source, destination) = match packet.tuple.ports {
            Part::Known(ports) => ports,
            Part::Absent => (0, 0),
            Part::CutOff => return None,
        };
        let netns = (event.present & present::NETNS != 0).then_some(event.netns);
        Some((
            netns,
            Flow {
                protocol,
                raw: self
                    .locations
                    .function(event.location)
                    .is_some_and(|name| name.starts_with("raw")),
                local: SocketAddr::new(addresses.destination, destination),
                remote: SocketAddr::new(addresses.source, source),
            },
        ))
    }

    /// Adds the names that belong to the numbers of `decoded`.
    ///
    /// `stack_of_id` reads a stack of the stack-trace map.
    pub fn enrich<'a>(
        &'a mut self,
        decoded: &'a Decoded<'_>,
        stack_of_id: impl FnOnce(u32) -> Option<Vec<u64>>,
    ) -> DropRecord<'a> {
        let event = &decoded.event;
        let packet = parse(decoded);
        self.locations.go_to(event.time_ns);
        self.learn_owner(event);
        let flow = self.flow(event, &packet);
        let record = self.name(event, packet, flow, |source| match source {
            StackSource::Id(id) => stack_of_id(id),
            StackSource::Frames => Some(decoded.frames().collect()),
        });
        DropRecord {
            bytes: packet_bytes(decoded),
            ..record
        }
    }

    /// Names what the drops of a group have in common: `event` and `packet` as
    /// [`group::parts`] gives them. What groups are not told apart by is not known.
    ///
    /// `stack_of_id` reads a stack of the stack-trace map.
    pub fn enrich_group<'a>(
        &'a mut self,
        event: &'a DropEvent,
        packet: Packet,
        stack_of_id: impl FnOnce(u32) -> Option<Vec<u64>>,
    ) -> DropRecord<'a> {
        // They have no time of their own.
        self.locations.go_to(u64::MAX);
        self.learn_owner(event);
        self.name(event, packet, None, |source| match source {
            StackSource::Id(id) => stack_of_id(id),
            StackSource::Frames => None,
        })
    }

    /// Adds the names that belong to the numbers of `event`.
    fn name<'a>(
        &'a mut self,
        event: &'a DropEvent,
        packet: Packet,
        flow: Option<(Option<u32>, Flow)>,
        frames: impl FnOnce(StackSource) -> Option<Vec<u64>>,
    ) -> DropRecord<'a> {
        let has = |bit| event.present & bit != 0;
        let input = has(present::DST_INPUT).then_some(event.dst_input);
        let input = input.and_then(|address| self.locations.function(address));
        let direction = direction::of(event, input);
        let source = if has(present::STACK_ID) {
            StackSource::Id(event.stack_id)
        } else {
            StackSource::Frames
        };
        let place = self
            .locations
            .describe(event.location, source, || frames(source));
        let reason = has(present::REASON).then(|| self.reasons.name(event.reason));
        let owner = if has(present::SOCKET_INODE) {
            self.owners
                .of_socket(event.socket_inode, event.tgid, self.now)
        } else {
            flow.and_then(|(netns, flow)| self.owners.of_flow(netns, &flow, event.tgid, self.now))
        };
        let netns = has(present::NETNS).then_some(event.netns);
        let cgroup = has(present::SOCKET_CGROUP).then_some(event.socket_cgroup);
        self.host.containers.learn(cgroup, netns);
        let containers = &self.host.containers;
        DropRecord {
            time: self.clock.time(event.time_ns),
            reason,
            class: self.classes.of(event, &packet, reason, &place),
            sample: self.sample,
            packet,
            skb: has(present::SKB).then_some(SkbFields {
                len: event.len,
                iif: event.iif,
                queue: event.queue,
                mark: event.mark,
                priority: event.priority,
                hash: event.hash,
            }),
            gso: has(present::GSO).then_some(Gso {
                size: event.gso_size,
                segments: (event.gso_segs > 0).then_some(event.gso_segs),
            }),
            device: has(present::DEV).then(|| Device {
                ifindex: event.ifindex,
                name: until_nul(&event.ifname),
            }),
            direction,
            state: tcp_state(event),
            location: place.location,
            source: self.sources.as_mut().map(|it| it.of(&place)),
            pid: event.tgid,
            comm: until_nul(&event.comm),
            owner: owner.map(|owner| Owner {
                comm: &owner.comm,
                pid: owner.pid,
                others: owner.others,
            }),
            netns: netns.map(|inode| Netns {
                inode,
                name: self.host.netns.name(inode),
            }),
            workload: containers.known(cgroup, netns),
            stack: place.stack,
            address: event.skb,
            origin: Origin {
                reason: has(present::REASON).then_some(event.reason),
                cgroup: cgroup.and_then(|id| containers.path(id)),
            },
            bytes: None,
        }
    }
}

/// What the kernel side should know of the event's socket. Only the verdict: what
/// it noted of a process would come back as what it has seen.
fn owner_entry(event: &DropEvent, answer: Option<bool>) -> OwnerEntry {
    let (verdict, valid_ns) = match answer {
        Some(true) => (verdict::MATCH, OWNER_VALID_NS),
        Some(false) => (verdict::NO_MATCH, OWNER_VALID_NS),
        None => (verdict::NOBODY, NOBODY_VALID_NS),
    };
    OwnerEntry {
        inode: event.socket_inode,
        expires_ns: event.time_ns + valid_ns,
        verdict,
        ..OwnerEntry::default()
    }
}

/// The packet's bytes, as far as they were captured.
fn packet_bytes<'a>(decoded: &'a Decoded<'_>) -> Option<PacketBytes<'a>> {
    let event = &decoded.event;
    let has = |bit| event.present & bit != 0;
    let head = decoded.headers();
    let captured = head.len() + decoded.tail.len();
    let original_len = if head.is_empty() {
        // It starts where its length begins to count.
        Some(event.len)
    } else {
        let len = i64::from(event.len) + i64::from(event.data_offset);
        let len = u32::try_from(len.max(captured as i64)).ok();
        len.filter(|_| has(present::DATA_OFFSET))
    };
    has(present::SKB).then_some(PacketBytes {
        head,
        tail: decoded.tail,
        network_offset: usize::from(event.network_offset).min(head.len()),
        original_len,
        ethertype: u16::from_be(event.ethertype),
        vlan_tag: vlan_tag(event),
        pkt_type: has(present::PKT_TYPE).then_some(event.pkt_type),
    })
}

/// The VLAN tag that the kernel keeps outside of the frame.
fn vlan_tag(event: &DropEvent) -> Option<VlanTag> {
    (event.present & present::VLAN != 0).then(|| VlanTag {
        tpid: u16::from_be(event.vlan_proto),
        tci: event.vlan_tci,
    })
}

/// Reads the captured headers.
fn parse(decoded: &Decoded<'_>) -> Packet {
    let event = &decoded.event;
    let family = (event.present & present::SOCKET != 0).then_some(event.socket_family);
    let capture = packet_bytes(decoded).map(|bytes| bytes.capture());
    Packet::of(&capture.unwrap_or_default(), family)
}

/// The state of the packet's socket, if that is one of TCP. Of requests and
/// time-wait sockets only TCP's have a state of their own.
fn tcp_state(event: &DropEvent) -> Option<TcpState> {
    let is_inet = matches!(event.socket_family, AF_INET | AF_INET6);
    let is_tcp = is_inet
        && (event.socket_protocol == IPPROTO_TCP
            || matches!(event.socket_state, TCP_TIME_WAIT | TCP_NEW_SYN_RECV));
    (event.present & present::SOCKET != 0 && is_tcp).then_some(TcpState(event.socket_state))
}

#[cfg(test)]
mod tests;
