//! Records for tests.

use proptest::{collection::vec, prelude::*};

use crate::{
    classify::Class,
    packet::{
        Packet,
        samples::{garbled, sample},
    },
    record::{
        Device, Direction, DropRecord, DropTime, Gso, Netns, Owner, SkbFields, Stack, TcpState,
        Workload,
    },
};

/// What a record is made of.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) time: DropTime,
    pub(super) reason: Option<&'static str>,
    pub(super) class: Class,
    pub(super) packet: Packet,
    pub(super) skb: Option<SkbFields>,
    pub(super) gso: Option<Gso>,
    pub(super) device: Option<(u32, Vec<u8>)>,
    pub(super) direction: Option<Direction>,
    pub(super) state: Option<TcpState>,
    pub(super) sample: Option<u32>,
    pub(super) pid: u32,
    pub(super) comm: Vec<u8>,
    pub(super) owner: Option<(Vec<u8>, u32, u32)>,
    pub(super) netns: Option<(u32, Option<Vec<u8>>)>,
    pub(super) workload: [Option<Vec<u8>>; 3],
    pub(super) stack: Option<&'static str>,
}

impl Parts {
    /// The record.
    pub(super) fn record(&self) -> DropRecord<'_> {
        let [container, pod, unit] = &self.workload;
        DropRecord {
            time: self.time,
            reason: self.reason,
            class: self.class,
            sample: self.sample,
            packet: self.packet,
            skb: self.skb,
            gso: self.gso,
            device: self.device.as_ref().map(|(ifindex, name)| Device {
                ifindex: *ifindex,
                name,
            }),
            direction: self.direction,
            state: self.state,
            location: "nft_do_chain+0x3e8[nf_tables]",
            pid: self.pid,
            comm: &self.comm,
            owner: self.owner.as_ref().map(|(comm, pid, others)| Owner {
                comm,
                pid: *pid,
                others: *others,
            }),
            netns: self.netns.as_ref().map(|(inode, name)| Netns {
                inode: *inode,
                name: name.as_deref(),
            }),
            workload: Workload {
                container: container.as_deref(),
                pod: pod.as_deref(),
                unit: unit.as_deref(),
            },
            stack: self.stack.map(|callers| match callers {
                "" => Stack::Unknown,
                callers => Stack::Callers(callers),
            }),
            address: 0xffff_8881_0000_0000,
            bytes: None,
        }
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..20)
}

prop_compose! {
    /// What the kernel keeps beside the packet.
    fn beside()(
        skb in any::<Option<(u32, u32, u16, u32, u32, u32)>>(),
        gso in any::<Option<(u16, Option<u16>)>>(),
        state in any::<Option<u8>>(),
        direction in prop::option::of(prop::sample::select(vec![
            Direction::Receive, Direction::Transmit, Direction::Forward, Direction::Local,
        ])),
    ) -> (Option<SkbFields>, Option<Gso>, Option<TcpState>, Option<Direction>) {
        let skb = skb.map(|(len, iif, queue, mark, priority, hash)| SkbFields {
            len, iif, queue, mark, priority, hash,
        });
        let gso = gso.map(|(size, segments)| Gso { size, segments });
        (skb, gso, state.map(TcpState), direction)
    }
}

prop_compose! {
    /// Whose packet it is.
    fn whose()(
        owner in prop::option::of((name(), any::<u32>(), 0..3_u32)),
        netns in prop::option::of((any::<u32>(), prop::option::of(name()))),
        workload in prop::array::uniform3(prop::option::of(name())),
    ) -> (Option<(Vec<u8>, u32, u32)>, Option<(u32, Option<Vec<u8>>)>, [Option<Vec<u8>>; 3]) {
        (owner, netns, workload)
    }
}

fn packet() -> impl Strategy<Value = Packet> {
    prop_oneof![sample(), garbled()].prop_map(|sample| Packet::parse(&sample.capture()))
}

prop_compose! {
    /// Any record.
    pub(super) fn parts()(
        (boot_ns, unix_ns) in any::<(u64, i64)>(),
        reason in prop::option::of(Just("openvswitch:LAST_ACTION")),
        packet in packet(),
        class in prop::sample::select(vec![
            Class::Drop, Class::Refused, Class::Teardown, Class::Expected,
        ]),
        (sample, pid) in any::<(Option<u32>, u32)>(),
        (skb, gso, state, direction) in beside(),
        (owner, netns, workload) in whose(),
        device in prop::option::of((any::<u32>(), vec(any::<u8>(), 0..16))),
        comm in vec(any::<u8>(), 0..16),
        stack in prop::option::of(prop::sample::select(
            vec!["", "a+0x0", "ip_rcv+0x1,ip_local_deliver+0x81,__netif_receive_skb_core+0x8d"],
        )),
    ) -> Parts {
        let time = DropTime { boot_ns, unix_ns };
        Parts {
            time, reason, class, sample, packet, skb, gso, device, direction, state, pid, comm, owner,
            netns, workload, stack,
        }
    }
}
