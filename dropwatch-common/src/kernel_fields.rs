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
            SKB_LEN: "sk_buff", "len", 4, true;
            SKB_DATA_LEN: "sk_buff", "data_len", 4, true;
            SKB_PROTOCOL: "sk_buff", "protocol", 2, true;
            SKB_NETWORK_HEADER: "sk_buff", "network_header", 2, true;
            SKB_HEAD: "sk_buff", "head", 8, true;
            SKB_DATA: "sk_buff", "data", 8, true;
            SKB_USERS: "sk_buff", "users.refs.counter", 4, true;
            NETDEV_IFINDEX: "net_device", "ifindex", 4, true;
            NETDEV_NAME: "net_device", "name", 16, true;
            NETDEV_NET: "net_device", "nd_net.net", 8, false;
            SOCK_NET: "sock", "__sk_common.skc_net.net", 8, false;
            NET_INUM: "net", "ns.inum", 4, false;
        }
    };
}

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
