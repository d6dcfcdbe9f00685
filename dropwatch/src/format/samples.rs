//! Records for tests.

use proptest::{collection::vec, prelude::*};

use crate::{
    classify::Class,
    packet::{
        Packet,
        samples::{Sample, garbled, sample},
    },
    record::{
        Device, Direction, DropRecord, DropTime, Gso, Netns, Origin, Owner, PacketBytes, SkbFields,
        Stack, TcpState, Workload,
    },
};

/// What a record is made of.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) time: DropTime,
    pub(crate) reason: Option<&'static str>,
    pub(crate) class: Class,
    pub(crate) packet: Sample,
    pub(crate) family: Option<u16>,
    pub(crate) reason_number: u32,
    pub(crate) tail: Vec<u8>,
    pub(crate) original_len: Option<u32>,
    pub(crate) pkt_type: Option<u8>,
    pub(crate) skb: Option<SkbFields>,
    pub(crate) gso: Option<Gso>,
    pub(crate) device: Option<(u32, Vec<u8>)>,
    pub(crate) direction: Option<Direction>,
    pub(crate) state: Option<TcpState>,
    pub(crate) sample: Option<u32>,
    pub(crate) pid: u32,
    pub(crate) comm: Vec<u8>,
    pub(crate) owner: Option<(Vec<u8>, u32, u32)>,
    pub(crate) netns: Option<(u32, Option<Vec<u8>>)>,
    pub(crate) workload: [Option<Vec<u8>>; 4],
    pub(crate) stack: Option<&'static str>,
    pub(crate) cgroup: Option<Vec<u8>>,
}

impl Parts {
    /// The record.
    pub(crate) fn record(&self) -> DropRecord<'_> {
        let [container, pod, unit, container_id] = &self.workload;
        DropRecord {
            time: self.time,
            reason: self.reason,
            class: self.class,
            sample: self.sample,
            packet: Packet::of(&self.packet.capture(), self.family),
            skb: self.skb,
            gso: self.gso,
            device: self.device.as_ref().map(|(ifindex, name)| Device {
                ifindex: *ifindex,
                name,
            }),
            direction: self.direction,
            state: self.state,
            location: "nft_do_chain+0x3e8[nf_tables]",
            source: None,
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
                container_id: container_id.as_deref(),
            },
            stack: self.stack.map(|callers| match callers {
                "" => Stack::Unknown,
                callers => Stack::Callers(callers),
            }),
            address: 0xffff_8881_0000_0000,
            origin: Origin {
                reason: self.reason.map(|_| self.reason_number),
                cgroup: self.cgroup.as_deref(),
            },
            bytes: Some(PacketBytes {
                head: &self.packet.bytes,
                tail: &self.tail,
                network_offset: self.packet.network_offset,
                original_len: self.original_len,
                ethertype: self.packet.ethertype,
                vlan_tag: self.packet.vlan_tag,
                pkt_type: self.pkt_type,
            }),
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
        workload in prop::array::uniform4(prop::option::of(name())),
    ) -> (Option<(Vec<u8>, u32, u32)>, Option<(u32, Option<Vec<u8>>)>, [Option<Vec<u8>>; 4]) {
        (owner, netns, workload)
    }
}

fn packet() -> impl Strategy<Value = Sample> {
    prop_oneof![sample(), garbled()]
}

prop_compose! {
    /// Any record.
    pub(crate) fn parts()(
        (boot_ns, unix_ns) in any::<(u64, i64)>(),
        reason in prop::option::of(Just("openvswitch:LAST_ACTION")),
        packet in packet(),
        (family, reason_number) in any::<(Option<u16>, u32)>(),
        (tail, original_len, pkt_type) in any::<(Vec<u8>, Option<u32>, Option<u8>)>(),
        cgroup in prop::option::of(name()),
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
            time, reason, class, sample, packet, family, reason_number, tail, original_len, pkt_type, cgroup, skb, gso, device, direction, state, pid, comm, owner,
            netns, workload, stack,
        }
    }
}
