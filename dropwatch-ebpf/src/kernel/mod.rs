//! Typed access to kernel structs.

pub(crate) mod netdev;
pub(crate) mod read;
pub(crate) mod skb;
pub(crate) mod sock;
