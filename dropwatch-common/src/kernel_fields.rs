//! The table of kernel struct fields that the eBPF programs read.
//!
//! User space looks up each field's offset in the running kernel's BTF and sets
//! the global of the same name before load. Nothing else in the project names
//! the offset of a kernel field.

/// What the loader needs to know about one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelField {
    /// Name of the eBPF global that holds the offset, as `SKB_LEN`.
    pub global: &'static str,
    /// Name of the kernel struct, as `sk_buff`.
    pub strukt: &'static str,
    /// Path of the member in it; anonymous structs and unions are not spelled.
    pub path: &'static str,
    /// Size in bytes that the eBPF program reads; a kernel whose member has
    /// another size is not supported.
    pub size: u32,
    /// Whether dropwatch can't work without the field.
    pub required: bool,
}

/// Hands the table to the macro named by its argument, one row per field:
/// `NAME: "struct", "path", size in bytes, required;`.
#[macro_export]
macro_rules! with_kernel_fields {
    ($consumer:ident) => {
        $consumer! {
            SKB_NEXT: "sk_buff", "next", 8, true;
            SKB_SK: "sk_buff", "sk", 8, true;
            SKB_DEV: "sk_buff", "dev", 8, true;
            SKB_REFDST: "sk_buff", "_skb_refdst", 8, false;
            SKB_LEN: "sk_buff", "len", 4, true;
            SKB_DATA_LEN: "sk_buff", "data_len", 4, true;
            SKB_PROTOCOL: "sk_buff", "protocol", 2, true;
            SKB_NETWORK_HEADER: "sk_buff", "network_header", 2, true;
            SKB_MAC_HEADER: "sk_buff", "mac_header", 2, true;
            SKB_HEAD: "sk_buff", "head", 8, true;
            SKB_DATA: "sk_buff", "data", 8, true;
            SKB_END: "sk_buff", "end", 4, true;
            SKB_USERS: "sk_buff", "users.refs.counter", 4, true;
            SKB_MARK: "sk_buff", "mark", 4, true;
            SKB_PRIORITY: "sk_buff", "priority", 4, true;
            SKB_HASH: "sk_buff", "hash", 4, true;
            SKB_IIF: "sk_buff", "skb_iif", 4, true;
            SKB_QUEUE_MAPPING: "sk_buff", "queue_mapping", 2, true;
            SKB_VLAN_PROTO: "sk_buff", "vlan_proto", 2, true;
            SKB_VLAN_TCI: "sk_buff", "vlan_tci", 2, true;
            SHINFO_GSO_SIZE: "skb_shared_info", "gso_size", 2, true;
            SHINFO_GSO_SEGS: "skb_shared_info", "gso_segs", 2, true;
            NETDEV_IFINDEX: "net_device", "ifindex", 4, true;
            NETDEV_NAME: "net_device", "name", 16, true;
            NETDEV_NET: "net_device", "nd_net.net", 8, false;
            DST_DEV: "dst_entry", "dev", 8, false;
            DST_INPUT: "dst_entry", "input", 8, false;
            SOCK_NET: "sock", "__sk_common.skc_net.net", 8, false;
            SOCK_FAMILY: "sock", "__sk_common.skc_family", 2, true;
            SOCK_STATE: "sock", "__sk_common.skc_state", 1, true;
            SOCK_LISTENER: "sock", "__sk_common.skc_listener", 8, false;
            SOCK_PROTOCOL: "sock", "sk_protocol", 2, false;
            SOCK_SOCKET: "sock", "sk_socket", 8, true;
            SOCK_CGROUP: "sock", "sk_cgrp_data.cgroup", 8, false;
            SOCK_CGROUP_VALUE: "sock", "sk_cgrp_data.val", 8, false;
            SOCKET_INODE: "socket_alloc", "vfs_inode.i_ino", 8, true;
            NET_INUM: "net", "ns.inum", 4, false;
            TASK_COMM: "task_struct", "comm", 16, true;
            TASK_TGID: "task_struct", "tgid", 4, true;
            TASK_GROUP_LEADER: "task_struct", "group_leader", 8, true;
            TASK_FILES: "task_struct", "files", 8, true;
            TASK_CGROUPS: "task_struct", "cgroups", 8, false;
            FILES_FDT: "files_struct", "fdt", 8, true;
            FDTABLE_FD: "fdtable", "fd", 8, true;
            FDTABLE_MAX_FDS: "fdtable", "max_fds", 4, true;
            FILE_PRIVATE_DATA: "file", "private_data", 8, true;
            CSS_SET_CGROUP: "css_set", "dfl_cgrp", 8, false;
            CGROUP_NODE: "cgroup", "kn", 8, false;
            CGROUP_PARENT: "cgroup", "self.parent", 8, false;
            CSS_CGROUP: "cgroup_subsys_state", "cgroup", 8, false;
            KERNFS_ID: "kernfs_node", "id", 8, false;
        }
    };
}

/// Hands the table of bit fields to the macro named by its argument, one row per
/// field: `NAME: "struct", "path", number of bits;`. The global holds the bit's
/// distance from the start of the struct, in bits. All of them are optional.
#[macro_export]
macro_rules! with_kernel_bits {
    ($consumer:ident) => {
        $consumer! {
            SKB_PKT_TYPE: "sk_buff", "pkt_type", 3;
            SKB_VLAN_PRESENT: "sk_buff", "vlan_present", 1;
        }
    };
}

/// What the loader needs to know about one bit field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelBits {
    /// Name of the eBPF global that holds the distance in bits.
    pub global: &'static str,
    /// Name of the kernel struct.
    pub strukt: &'static str,
    /// Path of the member in it.
    pub path: &'static str,
    /// Number of bits; they must lie in one byte.
    pub bits: u32,
}

macro_rules! bits_table {
    ($($name:ident: $strukt:literal, $path:literal, $bits:literal;)*) => {
        /// Every bit field that is read.
        pub const KERNEL_BITS: &[KernelBits] = &[$(KernelBits {
            global: stringify!($name),
            strukt: $strukt,
            path: $path,
            bits: $bits,
        }),*];
    };
}

with_kernel_bits!(bits_table);

macro_rules! field_table {
    ($($name:ident: $strukt:literal, $path:literal, $size:literal, $required:literal;)*) => {
        /// Every kernel field that is read.
        pub const KERNEL_FIELDS: &[KernelField] = &[$(KernelField {
            global: stringify!($name),
            strukt: $strukt,
            path: $path,
            size: $size,
            required: $required,
        }),*];
    };
}

with_kernel_fields!(field_table);

/// Bytes of a `struct sk_buff` that are copied in one read; every `sk_buff`
/// field of the table must lie within them.
pub const SKB_SNAPSHOT_LEN: usize = 256;
