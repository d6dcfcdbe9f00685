//! Typed access to kernel structs.

pub(crate) mod cgroup;
pub(crate) mod dst;
pub(crate) mod netdev;
pub(crate) mod read;
pub(crate) mod skb;
pub(crate) mod sock;
pub(crate) mod task;
