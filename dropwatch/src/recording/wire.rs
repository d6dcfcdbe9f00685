//! What lies in frames: CBOR (RFC 8949), each struct an array in the order of its numbers.
//!
//! What is added goes to the end and is optional; numbers never change what they mean.

use std::borrow::Cow;

use minicbor::{Decode, Encode};

use crate::account::Account;

/// Where a section comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct About {
    /// Version of the dropwatch that recorded.
    #[n(0)]
    pub dropwatch: String,
    /// Name of the host.
    #[n(1)]
    pub host: String,
    /// Release of its kernel, as `uname -r` prints it.
    #[n(2)]
    pub kernel: String,
    /// Its architecture, as `uname -m` prints it.
    #[n(3)]
    pub machine: String,
    /// Any number that tells runs apart.
    #[n(4)]
    pub run: u64,
    /// Which section of the run it is, from 0.
    #[n(5)]
    pub section: u32,
    /// When the run started, in nanoseconds since the Unix epoch.
    #[n(6)]
    pub started_ns: i64,
    /// The flags that it was started with, filters among them.
    #[n(7)]
    pub flags: String,
    /// Most callers of a stack; 0 where stacks are off.
    #[n(8)]
    pub stack_depth: u32,
    /// Drops of the run that were recorded before this section.
    #[n(9)]
    pub recorded: u64,
}

/// Names of drop reasons, and of their subsystems.
#[derive(Debug, Default, Encode, Decode)]
pub(super) struct Reasons {
    #[n(0)]
    pub(super) reasons: Vec<ReasonName>,
    #[n(1)]
    pub(super) subsystems: Vec<ReasonName>,
}

/// The name of a drop reason as lines show it, or of a subsystem.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReasonName {
    /// Value of the reason, with the subsystem in the high 16 bits; or the number of the
    /// subsystem.
    #[n(0)]
    pub number: u32,
    /// The name.
    #[n(1)]
    pub name: String,
}

/// How the clocks of a host relate, from here on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct ClockFrame {
    /// Wall clock (nanoseconds since the Unix epoch) minus `CLOCK_BOOTTIME`, modulo 2^64.
    #[n(0)]
    pub(super) offset_ns: i64,
    /// Local time minus UTC in seconds.
    #[n(1)]
    pub(super) utc_offset_s: i32,
}

/// A drop. Names are numbers of texts.
#[derive(Clone, Debug, Encode, Decode)]
pub(super) struct DropFrame<'a> {
    #[n(0)]
    pub(super) boot_ns: u64,
    #[n(1)]
    pub(super) reason: Option<u32>,
    #[n(2)]
    pub(super) class: u8,
    #[n(3)]
    pub(super) sample: Option<u32>,
    #[n(4)]
    pub(super) packet: Option<PacketFrame<'a>>,
    #[n(5)]
    pub(super) skb: Option<Skb>,
    #[n(6)]
    pub(super) gso: Option<GsoFrame>,
    #[n(7)]
    pub(super) device: Option<DeviceFrame>,
    #[n(8)]
    pub(super) direction: Option<u8>,
    #[n(9)]
    pub(super) state: Option<u8>,
    #[n(10)]
    pub(super) location: u32,
    #[n(11)]
    pub(super) pid: u32,
    #[n(12)]
    pub(super) comm: u32,
    #[n(13)]
    pub(super) owner: Option<OwnerFrame>,
    #[n(14)]
    pub(super) netns: Option<NetnsFrame>,
    #[n(15)]
    pub(super) workload: Option<WorkloadFrame>,
    /// 0 where the kernel gave none, else the number of the stack and one.
    #[n(16)]
    pub(super) stack: Option<u32>,
    #[n(17)]
    pub(super) address: u64,
    #[n(18)]
    pub(super) cgroup: Option<u32>,
    /// Address family of the socket, where it is all that is known of the protocol.
    #[n(19)]
    pub(super) family: Option<u16>,
}

/// What was captured of the packet.
#[derive(Clone, Debug, Encode, Decode)]
pub(super) struct PacketFrame<'a> {
    #[n(0)]
    pub(super) ethertype: u16,
    #[n(1)]
    pub(super) network_offset: u64,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(super) head: Cow<'a, [u8]>,
    #[n(3)]
    pub(super) vlan_tpid: Option<u16>,
    #[n(4)]
    pub(super) vlan_tci: Option<u16>,
    #[n(5)]
    pub(super) pkt_type: Option<u8>,
    #[n(6)]
    pub(super) original_len: Option<u32>,
    #[cbor(n(7), with = "minicbor::bytes")]
    pub(super) tail: Cow<'a, [u8]>,
}

#[derive(Clone, Copy, Debug, Encode, Decode)]
pub(super) struct Skb {
    #[n(0)]
    pub(super) len: u32,
    #[n(1)]
    pub(super) iif: u32,
    #[n(2)]
    pub(super) queue: u16,
    #[n(3)]
    pub(super) mark: u32,
    #[n(4)]
    pub(super) priority: u32,
    #[n(5)]
    pub(super) hash: u32,
}

#[derive(Clone, Copy, Debug, Encode, Decode)]
pub(super) struct GsoFrame {
    #[n(0)]
    pub(super) size: u16,
    #[n(1)]
    pub(super) segments: Option<u16>,
}

#[derive(Clone, Copy, Debug, Encode, Decode)]
pub(super) struct DeviceFrame {
    #[n(0)]
    pub(super) ifindex: u32,
    #[n(1)]
    pub(super) name: u32,
}

#[derive(Clone, Copy, Debug, Encode, Decode)]
pub(super) struct OwnerFrame {
    #[n(0)]
    pub(super) comm: u32,
    #[n(1)]
    pub(super) pid: u32,
    #[n(2)]
    pub(super) others: u32,
}

#[derive(Clone, Copy, Debug, Encode, Decode)]
pub(super) struct NetnsFrame {
    #[n(0)]
    pub(super) inode: u32,
    #[n(1)]
    pub(super) name: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct WorkloadFrame {
    #[n(0)]
    pub(super) container: Option<u32>,
    #[n(1)]
    pub(super) pod: Option<u32>,
    #[n(2)]
    pub(super) unit: Option<u32>,
    #[n(3)]
    pub(super) container_id: Option<u32>,
}

/// The account of a run at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Tally {
    /// Drops that were recorded.
    #[n(0)]
    pub recorded: u64,
    /// Drops that the kernel side counted.
    #[n(1)]
    pub seen: u64,
    /// Lines that reached standard output.
    #[n(2)]
    pub printed: u64,
    /// Drops of the classes that `--hide-expected` hides.
    #[n(3)]
    pub hidden: u64,
    /// Drops that a filter turned down.
    #[n(4)]
    pub filtered: u64,
    /// Drops that `--sample` left out.
    #[n(5)]
    pub sampled_out: u64,
    /// Drops past `--rate-limit` and `--count`.
    #[n(6)]
    pub limited: u64,
    /// Drops without room in the buffer, or whose line could not be written.
    #[n(7)]
    pub lost: u64,
}

impl Tally {
    /// The tally of a run with this account, of which so many drops were recorded.
    #[must_use]
    pub fn new(account: &Account, recorded: u64) -> Self {
        let Account {
            seen,
            printed,
            counted: _,
            hidden,
            filtered,
            sampled_out,
            limited,
            lost,
        } = *account;
        Self {
            recorded,
            seen,
            printed,
            hidden,
            filtered,
            sampled_out,
            limited,
            lost,
        }
    }
}
