use super::*;
use crate::fixture::{KERNELS, btf, btf_with_renamed};

/// What `pahole` says of each kernel, in the order of [`KERNELS`].
const OFFSETS: [(&str, [u32; 4]); 54] = [
    ("SKB_NEXT", [0; 4]),
    ("SKB_SK", [24; 4]),
    ("SKB_DEV", [16; 4]),
    ("SKB_REFDST", [88; 4]),
    ("SKB_LEN", [112; 4]),
    ("SKB_DATA_LEN", [116; 4]),
    ("SKB_PROTOCOL", [176, 180, 180, 180]),
    ("SKB_NETWORK_HEADER", [180, 184, 184, 184]),
    ("SKB_MAC_HEADER", [182, 186, 186, 186]),
    ("SKB_HEAD", [192, 200, 200, 200]),
    ("SKB_DATA", [200, 208, 208, 208]),
    ("SKB_END", [188, 192, 192, 192]),
    ("SKB_USERS", [212, 220, 220, 220]),
    ("SKB_MARK", [164, 168, 168, 168]),
    ("SKB_PRIORITY", [140, 140, 144, 144]),
    ("SKB_HASH", [148, 148, 152, 152]),
    ("SKB_IIF", [144, 144, 148, 148]),
    ("SKB_QUEUE_MAPPING", [124; 4]),
    ("SKB_VLAN_PROTO", [152, 152, 156, 156]),
    ("SKB_VLAN_TCI", [154, 154, 158, 158]),
    ("SHINFO_GSO_SIZE", [4; 4]),
    ("SHINFO_GSO_SEGS", [6; 4]),
    ("NETDEV_IFINDEX", [256, 216, 224, 224]),
    ("NETDEV_NAME", [0, 0, 304, 288]),
    ("NETDEV_NET", [1264, 1272, 280, 264]),
    ("DST_DEV", [0; 4]),
    ("DST_INPUT", [40; 4]),
    ("SOCK_NET", [48; 4]),
    ("SOCK_FAMILY", [16; 4]),
    ("SOCK_STATE", [18; 4]),
    ("SOCK_LISTENER", [96; 4]),
    ("SOCK_PROTOCOL", [540, 516, 574, 540]),
    ("SOCK_SOCKET", [640, 624, 288, 288]),
    ("SOCK_CGROUP", [664, 648, 672, 688]),
    ("SOCK_CGROUP_VALUE", [ABSENT; 4]),
    ("SOCKET_INODE", [192; 4]),
    ("NET_INUM", [144, 144, 136, 280]),
    ("TASK_COMM", [2736, 2976, 2976, 3408]),
    ("TASK_TGID", [2236, 2420, 2436, 2876]),
    ("TASK_GROUP_LEADER", [2296, 2480, 2496, 2936]),
    ("TASK_FILES", [2808, 3048, 3048, 3488]),
    ("TASK_CGROUPS", [3328, 3600, 3584, 4072]),
    ("FILES_FDT", [32; 4]),
    ("FDTABLE_FD", [8; 4]),
    ("FDTABLE_MAX_FDS", [0; 4]),
    ("FILE_PRIVATE_DATA", [200, 200, 32, 24]),
    ("CSS_SET_CGROUP", [120, 128, 128, 128]),
    ("CGROUP_NODE", [248, 248, 256, 296]),
    ("CGROUP_PARENT", [192, 192, 192, 184]),
    ("CSS_CGROUP", [0; 4]),
    ("KERNFS_ID", [104, 104, 96, 96]),
    ("SKB_SNAPSHOT_USED", [216, 224, 224, 224]),
    ("SKB_PKT_TYPE", [1024; 4]),
    ("SKB_VLAN_PRESENT", [1040, 1040, ABSENT, ABSENT]),
];

#[test]
fn offsets_are_those_of_pahole() {
    for (index, kernel) in KERNELS.into_iter().enumerate() {
        let expected: Globals = OFFSETS
            .iter()
            .map(|(name, offsets)| (*name, offsets[index]))
            .collect();
        assert_eq!(kernel_fields(&btf(kernel)).unwrap(), expected, "{kernel}");
    }
}

const LEN: KernelField = KernelField {
    global: "SKB_LEN",
    strukt: "sk_buff",
    path: "len",
    size: 4,
    required: true,
};

#[test]
fn a_field_that_is_not_as_known_is_an_error() {
    let cases = [
        (
            KernelField { size: 8, ..LEN },
            "sk_buff.len has 4 bytes on this kernel, dropwatch knows it with 8; please report it",
        ),
        (
            KernelField {
                path: "pkt_type",
                size: 1,
                ..LEN
            },
            "sk_buff.pkt_type is a bit field on this kernel, dropwatch knows it with 1 bytes; please \
             report it",
        ),
        (
            KernelField {
                path: "length",
                ..LEN
            },
            "the kernel's BTF has no sk_buff.length; if it was given with --kernel-btf, it is not \
             this kernel's",
        ),
        (
            KernelField {
                strukt: "socket_buffer",
                ..LEN
            },
            "the kernel's BTF has no socket_buffer.len; if it was given with --kernel-btf, it is \
             not this kernel's",
        ),
    ];
    for (field, expected) in cases {
        let error = offset_of(&btf("6.12"), &field).unwrap_err();
        assert_eq!(format!("{error:#}"), expected);
    }
}

#[test]
fn an_optional_field_may_be_missing() {
    let field = KernelField {
        path: "length",
        required: false,
        ..LEN
    };
    assert_eq!(offset_of(&btf("6.12"), &field).unwrap(), ABSENT);

    let without_netns = btf_with_renamed("6.12", "nd_net", "no_net");
    let globals = kernel_fields(&without_netns).unwrap();
    assert!(globals.contains(&("NETDEV_NET", ABSENT)), "{globals:?}");
}

#[test]
fn a_required_field_may_not() {
    let error = kernel_fields(&btf_with_renamed(
        "6.12",
        "network_header",
        "network_footer",
    ));
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("no sk_buff.network_header"), "{error}");
}

#[test]
fn the_tracepoint_is_as_on_each_kernel() {
    let expected = [(false, 2), (true, 3), (true, 4), (true, 4)];
    for (kernel, (has_reason, arguments)) in KERNELS.into_iter().zip(expected) {
        let layout = TracepointLayout {
            has_reason,
            has_socket: arguments == 4,
            arguments,
        };
        assert_eq!(tracepoint(&btf(kernel)).unwrap(), Some(layout), "{kernel}");
    }
}

#[test]
fn newer_kernels_name_the_receiver() {
    let names: Vec<bool> = KERNELS.map(|kernel| names_receiver(&btf(kernel))).into();
    assert_eq!(names, [false, false, true, true]);
}

#[test]
fn a_tracepoint_that_is_not_as_known_is_an_error() {
    let unknown_packet = btf_with_renamed("6.12", "sk_buff", "so_buff");
    let error = tracepoint(&unknown_packet).unwrap_err().to_string();
    assert!(error.contains("--hook kprobe"), "{error}");

    let none = btf_with_renamed("6.12", "btf_trace_kfree_skb", "btf_trace_gfree_skb");
    assert_eq!(tracepoint(&none).unwrap(), None);
}

#[test]
fn an_enum_of_another_name_is_no_reason() {
    let renamed = btf_with_renamed("6.1", "skb_drop_reason", "skb_free_reason");
    let layout = tracepoint(&renamed).unwrap().unwrap();
    assert!(!layout.has_reason);
}

#[test]
fn arguments_in_another_order_are_an_error() {
    let arguments = btf("6.12").tracepoint_args("kfree_skb").unwrap();
    assert!(layout_of(&arguments).is_ok());
    for (one, other) in [(0, 1), (0, 2), (1, 2), (2, 3)] {
        let mut arguments = arguments.clone();
        arguments.swap(one, other);
        assert!(layout_of(&arguments).is_err(), "{one} and {other}");
    }
}
