//! Tokens that are printed only if asked for.

/// A token that is printed only if asked for, in the order of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExtraField {
    /// `gso=`: bytes of payload in each segment of a GSO packet.
    Gso,
    /// `seq=`: TCP's sequence number.
    Seq,
    /// `ack=`: TCP's acknowledgment number.
    Ack,
    /// `win=`: TCP's window, not scaled.
    Win,
    /// `ttl=`: time to live or hop limit.
    Ttl,
    /// `ipopt=`: options of the IPv4 header.
    Ipopt,
    /// `ext=`: extension headers of IPv6.
    Ext,
    /// `mac=`: addresses of the Ethernet header.
    Mac,
    /// `ifindex=`: the interface's index.
    Ifindex,
    /// `iif=`: index of the interface that the packet was received on.
    Iif,
    /// `queue=`: `skb->queue_mapping`.
    Queue,
    /// `dir=`: received, transmitted, forwarded, or local.
    Dir,
    /// `mark=`: `skb->mark`.
    Mark,
    /// `prio=`: `skb->priority`.
    Prio,
    /// `hash=`: `skb->hash`.
    Hash,
    /// `state=`: TCP state of the packet's socket.
    State,
    /// `unit=`: systemd unit of the packet's socket.
    Unit,
    /// `skb=`: the kernel address of the packet.
    Skb,
}

/// A set of [`ExtraField`]s, one bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FieldSet(u32);

impl FieldSet {
    /// Whether `field` was asked for.
    pub(super) fn has(self, field: ExtraField) -> bool {
        self.0 & Self::bit(field) != 0
    }

    fn bit(field: ExtraField) -> u32 {
        1 << field as u32
    }
}

impl From<&[ExtraField]> for FieldSet {
    fn from(fields: &[ExtraField]) -> Self {
        let bits = fields.iter().map(|field| Self::bit(*field));
        Self(bits.fold(0, |set, bit| set | bit))
    }
}
