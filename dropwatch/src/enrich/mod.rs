//! Names for numbers: a [`DropEvent`](dropwatch_common::event::DropEvent)
//! becomes a [`DropRecord`].

mod clock;
pub mod container;
mod files;
mod location;
pub mod netns;
pub mod owner;
pub mod reason;
mod suggest;
pub mod symbol;
mod throttle;

use dropwatch_common::event::present;

use self::{
    clock::Clock,
    location::{Locations, StackSource},
    reason::ReasonNames,
    symbol::Symbols,
};
use crate::{
    decode::{Decoded, until_nul},
    packet::{Capture, Packet},
    record::{Device, DropRecord},
};

/// Turns events into records, with caches that live as long as the run.
pub struct Enricher {
    reasons: ReasonNames,
    locations: Locations,
    clock: Clock,
}

impl Enricher {
    /// An enricher that names what `reasons` and `symbols` know and shows at
    /// most `stack_depth` callers, none at all with 0.
    pub fn new(reasons: ReasonNames, symbols: Symbols, stack_depth: usize) -> Self {
        Self {
            reasons,
            locations: Locations::new(symbols, stack_depth),
            clock: Clock::default(),
        }
    }

    /// To be called before each batch of records: notices a clock that was set
    /// and modules that were loaded.
    pub fn begin_batch(&mut self) {
        self.clock.sample();
        self.locations.refresh();
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
        let has = |bit| event.present & bit != 0;
        let source = if has(present::STACK_ID) {
            StackSource::Id(event.stack_id)
        } else {
            StackSource::Frames
        };
        let (location, stack) = self
            .locations
            .describe(event.location, source, || match source {
                StackSource::Id(id) => stack_of_id(id),
                StackSource::Frames => Some(decoded.frames().collect()),
            });
        // The ethertype came with the length.
        let ethertype = if has(present::LEN) {
            event.ethertype
        } else {
            0
        };
        DropRecord {
            time: self.clock.time(event.time_ns),
            reason: has(present::REASON).then(|| self.reasons.name(event.reason)),
            packet: Packet::parse(&Capture {
                ethertype: u16::from_be(ethertype),
                vlan_tag: None,
                bytes: decoded.headers(),
                network_offset: 0,
            }),
            len: has(present::LEN).then_some(event.len),
            device: has(present::DEV).then(|| Device {
                ifindex: event.ifindex,
                name: until_nul(&event.ifname),
            }),
            location,
            pid: event.tgid,
            comm: until_nul(&event.comm),
            netns: has(present::NETNS).then_some(event.netns),
            stack,
            skb: event.skb,
        }
    }
}

#[cfg(test)]
mod tests;
