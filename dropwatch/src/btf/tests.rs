//! The expected places come from `pahole -F btf -C STRUCT` on the whole BTF of each kernel.

use super::*;

const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "7.3"];

fn folder(kernel: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    fixtures.join(kernel).join("btf")
}

fn load(kernel: &str) -> Btf {
    Btf::load(Some(&folder(kernel).join("vmlinux"))).unwrap()
}

/// A member as `offset+size`, for bit fields with `:first/width`; `-` if there is none.
fn place(btf: &Btf, strukt: &str, path: &str) -> String {
    match btf.member(strukt, path).unwrap() {
        None => "-".to_owned(),
        Some(Member { offset, size, bits }) => match bits {
            None => format!("{offset}+{size}"),
            Some(Bits {
                offset: first,
                size: width,
            }) => format!("{offset}+{size}:{first}/{width}"),
        },
    }
}

#[test]
fn members_are_where_pahole_says() {
    let table = [
        ("sk_buff", "next", ["0+8"; 4]),
        ("sk_buff", "sk", ["24+8"; 4]),
        ("sk_buff", "dev", ["16+8"; 4]),
        ("sk_buff", "cb", ["40+48"; 4]),
        ("sk_buff", "len", ["112+4"; 4]),
        ("sk_buff", "data_len", ["116+4"; 4]),
        ("sk_buff", "queue_mapping", ["124+2"; 4]),
        ("sk_buff", "protocol", ["176+2", "180+2", "180+2", "180+2"]),
        (
            "sk_buff",
            "transport_header",
            ["178+2", "182+2", "182+2", "182+2"],
        ),
        (
            "sk_buff",
            "network_header",
            ["180+2", "184+2", "184+2", "184+2"],
        ),
        (
            "sk_buff",
            "mac_header",
            ["182+2", "186+2", "186+2", "186+2"],
        ),
        ("sk_buff", "head", ["192+8", "200+8", "200+8", "200+8"]),
        ("sk_buff", "data", ["200+8", "208+8", "208+8", "208+8"]),
        ("sk_buff", "tail", ["184+4", "188+4", "188+4", "188+4"]),
        ("sk_buff", "end", ["188+4", "192+4", "192+4", "192+4"]),
        ("sk_buff", "users", ["212+4", "220+4", "220+4", "220+4"]),
        (
            "sk_buff",
            "users.refs.counter",
            ["212+4", "220+4", "220+4", "220+4"],
        ),
        ("sk_buff", "skb_iif", ["144+4", "144+4", "148+4", "148+4"]),
        ("sk_buff", "hash", ["148+4", "148+4", "152+4", "152+4"]),
        ("sk_buff", "mark", ["164+4", "168+4", "168+4", "168+4"]),
        (
            "sk_buff",
            "vlan_proto",
            ["152+2", "152+2", "156+2", "156+2"],
        ),
        ("sk_buff", "vlan_tci", ["154+2", "154+2", "158+2", "158+2"]),
        (
            "sk_buff",
            "vlan_present",
            ["130+1:0/1", "130+1:0/1", "-", "-"],
        ),
        ("sk_buff", "vlan_all", ["-", "-", "156+4", "156+4"]),
        ("sk_buff", "pkt_type", ["128+1:0/3"; 4]),
        (
            "sk_buff",
            "encapsulation",
            ["129+1:5/1", "129+1:5/1", "130+1:4/1", "130+1:4/1"],
        ),
        ("skb_shared_info", "frag_list", ["8+8"; 4]),
        ("skb_shared_info", "nr_frags", ["2+1"; 4]),
        (
            "net_device",
            "ifindex",
            ["256+4", "216+4", "224+4", "224+4"],
        ),
        ("net_device", "name", ["0+16", "0+16", "304+16", "288+16"]),
        (
            "net_device",
            "nd_net.net",
            ["1264+8", "1272+8", "280+8", "264+8"],
        ),
        (
            "net_device",
            "reg_state",
            ["1240+1:0/8", "1248+1:0/8", "1368+1", "1472+1"],
        ),
        ("net_device", "type", ["556+2", "296+2", "560+2", "544+2"]),
        ("net", "ns.inum", ["144+4", "144+4", "136+4", "280+4"]),
        ("ns_common", "inum", ["16+4", "16+4", "16+4", "88+4"]),
        ("sock_common", "skc_net.net", ["48+8"; 4]),
        ("sock_common", "skc_family", ["16+2"; 4]),
        ("sock_common", "skc_state", ["18+1"; 4]),
        ("sock", "__sk_common.skc_net.net", ["48+8"; 4]),
        ("sock", "__sk_common.skc_v6_daddr", ["56+16"; 4]),
        ("sock", "sk_socket", ["640+8", "624+8", "288+8", "288+8"]),
        ("sock", "sk_protocol", ["540+2", "516+2", "574+2", "540+2"]),
        ("sock", "sk_ino", ["-", "-", "-", "624+8"]),
        ("socket", "file", ["16+8"; 4]),
        ("socket_alloc", "socket", ["0+128"; 4]),
        ("socket_alloc", "vfs_inode.i_ino", ["192+8"; 4]),
        ("file", "f_inode", ["32+8", "32+8", "40+8", "32+8"]),
        ("possible_net_t", "net", ["0+8"; 4]),
        // Not a member; a member of a member of another name; what a pointer points to; nothing.
        ("sk_buff", "no_such_member", ["-"; 4]),
        ("sk_buff", "counter", ["-"; 4]),
        ("sk_buff", "dev.ifindex", ["-"; 4]),
        ("sk_buff", "pkt_type.x", ["-"; 4]),
        ("sk_buff", "", ["-"; 4]),
        ("sk_buff", "users..refs", ["-"; 4]),
        ("no_such_struct", "len", ["-"; 4]),
    ];
    for (i, kernel) in KERNELS.iter().enumerate() {
        let btf = load(kernel);
        for (strukt, path, expected) in table {
            let found = place(&btf, strukt, path);
            assert_eq!(found, expected[i], "{strukt}.{path} on {kernel}");
        }
    }
}

#[test]
fn an_anonymous_member_of_a_named_type_is_looked_into() {
    // `struct ns_tree;` within `struct ns_common`, which is at byte 96.
    assert_eq!(place(&load("7.3"), "ns_common", "ns_id"), "96+8");
}

#[test]
fn sizes_and_presence_of_structs() {
    let sizes = |name| KERNELS.map(|kernel| load(kernel).struct_size(name));
    let all = |sizes: [u32; 4]| sizes.map(Some);
    assert_eq!(sizes("sk_buff"), all([224, 232, 232, 232]));
    assert_eq!(sizes("net_device"), all([2368, 2432, 2496, 2752]));
    assert_eq!(sizes("possible_net_t"), all([8; 4]));
    assert_eq!(sizes("no_such_struct"), [None; 4]);
    // Not in 5.10 and 6.1: `kfree_skb_list_reason` frees in bulk from 6.3 on.
    assert_eq!(sizes("skb_free_array"), [None, None, Some(136), Some(136)]);
    assert!(load("7.3").has_struct("skb_free_array"));
    assert!(!load("6.1").has_struct("skb_free_array"));
    // Declared, not defined.
    assert!(!load("6.1").has_struct("nf_bridge_info"));
    assert!(!load("6.1").has_struct("skb_drop_reason"));
}

#[test]
fn tracepoint_arguments_are_found_by_type() {
    let skb = |arg: &Arg| arg.points_to("sk_buff");
    let location = Arg::is_void_pointer;
    let reason = |arg: &Arg| arg.is_enum("skb_drop_reason");
    let rx_sk = |arg: &Arg| arg.points_to("sock");
    let expected = [
        (2, [Some(0), Some(1), None, None]),
        (3, [Some(0), Some(1), Some(2), None]),
        (4, [Some(0), Some(1), Some(2), Some(3)]),
        (4, [Some(0), Some(1), Some(2), Some(3)]),
    ];
    for (kernel, expected) in KERNELS.iter().zip(expected) {
        let args = load(kernel).tracepoint_args("kfree_skb").unwrap();
        let places = [
            args.iter().position(skb),
            args.iter().position(location),
            args.iter().position(reason),
            args.iter().position(rx_sk),
        ];
        assert_eq!((args.len(), places), expected, "on {kernel}");
    }
    assert_eq!(load("6.1").tracepoint_args("no_such_tracepoint"), None);
}

#[test]
fn function_arguments_have_names_and_types() {
    let args = load("6.12").function_args("sk_skb_reason_drop").unwrap();
    let names: Vec<_> = args.iter().filter_map(|arg| arg.name.as_deref()).collect();
    assert_eq!(names, ["sk", "skb", "reason"]);
    assert!(args[0].points_to("sock") && args[1].points_to("sk_buff"));
    assert!(args[2].is_enum("skb_drop_reason"));
    assert_eq!(load("5.10").function_args("sk_skb_reason_drop"), None);
}

#[test]
fn enum_values_keep_their_order() {
    let values = load("6.12").enum_values("skb_drop_reason_subsys").unwrap();
    let values: Vec<_> = values.iter().map(|it| (&*it.name, it.value)).collect();
    assert_eq!(
        values,
        [
            ("SKB_DROP_REASON_SUBSYS_CORE", 0),
            ("SKB_DROP_REASON_SUBSYS_MAC80211_UNUSABLE", 1),
            ("SKB_DROP_REASON_SUBSYS_MAC80211_MONITOR", 2),
            ("SKB_DROP_REASON_SUBSYS_OPENVSWITCH", 3),
            ("SKB_DROP_REASON_SUBSYS_NUM", 4),
        ]
    );
    assert_eq!(load("5.10").enum_values("skb_drop_reason"), None);
    assert_eq!(load("6.1").enum_values("sk_buff"), None);
}

#[test]
fn a_modules_btf_builds_on_the_kernels() {
    let kernel = load("6.12");
    let module = kernel
        .load_module(&folder("6.12").join("openvswitch"))
        .unwrap();
    let values = module.enum_values("ovs_drop_reason").unwrap();
    assert_eq!(values[1].name, "OVS_DROP_LAST_ACTION");
    assert_eq!(values[1].value, 196_609);
    assert_eq!(kernel.enum_values("ovs_drop_reason"), None);
    // The kernel's types can be found through the module's.
    assert_eq!(place(&module, "sk_buff", "len"), "112+4");
    let own: Vec<_> = module.enums(|_| true).into_iter().map(|it| it.0).collect();
    assert_eq!(own, ["ovs_drop_reason"]);
    assert!(
        module
            .load_module(&folder("6.12").join("openvswitch"))
            .is_err()
    );
}

#[test]
fn unusable_files_are_named_with_the_reason() {
    let error = |path: &Path| format!("{:#}", Btf::load(Some(path)).unwrap_err());
    let missing = error(Path::new("/no/such/file"));
    assert!(
        missing.contains("/no/such/file") && missing.contains("No such file"),
        "{missing}"
    );
    let module = error(&folder("6.12").join("openvswitch"));
    assert!(
        module.contains("openvswitch is not a usable kernel BTF"),
        "{module}"
    );
    assert!(module.contains("it is the BTF of a module"), "{module}");

    let whole = fs::read(folder("5.10").join("vmlinux")).unwrap();
    let error = |data: Vec<u8>| {
        let error = Btf::from_bytes(data, Path::new("/some/file")).unwrap_err();
        format!("{error:#}")
    };
    for (data, expected) in [
        (whole[..whole.len() - 1].to_vec(), "bytes are there"),
        (whole[..10].to_vec(), "it is truncated within the header"),
        (vec![], "it is truncated"),
        (b"\x7fELF and so on".to_vec(), "objcopy -O binary"),
        (b"\xeb\x9f\x01\x00".to_vec(), "the other byte order"),
        (b"GARBLED".to_vec(), "it doesn't start as BTF does"),
    ] {
        let message = error(data);
        assert!(
            message.starts_with("/some/file is not a usable kernel BTF: "),
            "{message}"
        );
        assert!(message.contains(expected), "{message}");
    }
}

/// Asks everything that dropwatch asks.
fn query(btf: &Btf) {
    for (strukt, path) in [
        ("sk_buff", "users.refs.counter"),
        ("sk_buff", "pkt_type"),
        ("net", "ns.inum"),
        ("net_device", "nd_net.net"),
        ("sock", "__sk_common.skc_net.net"),
        ("socket_alloc", "vfs_inode.i_ino"),
    ] {
        drop(btf.member(strukt, path));
        btf.struct_size(strukt);
    }
    btf.tracepoint_args("kfree_skb");
    btf.function_args("kfree_skb");
    btf.enum_values("skb_drop_reason");
    btf.enums(|_| true);
    for t in btf.types() {
        btf.string(t.name);
    }
}

#[test]
fn no_truncation_panics() {
    let whole = fs::read(folder("5.10").join("vmlinux")).unwrap();
    for len in 0..whole.len() {
        assert!(Btf::from_bytes(whole[..len].to_vec(), Path::new("cut")).is_err());
    }
    // The same within the parts, where the header agrees with the length.
    for cut in (0..whole.len() - 24).step_by(97) {
        let mut data = whole.clone();
        data.truncate(24);
        data.extend_from_slice(&whole[24 + cut..]);
        let types = u32_at(&whole, 12).unwrap();
        let kept = types.saturating_sub(u32::try_from(cut).unwrap());
        let strings = u32::try_from(data.len()).unwrap() - 24 - kept;
        for (at, value) in [(12, kept), (16, kept), (20, strings)] {
            data[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        if let Ok(btf) = Btf::from_bytes(data, Path::new("cut")) {
            query(&btf);
        }
    }
}

#[test]
fn no_garbling_panics() {
    let whole = fs::read(folder("7.3").join("vmlinux")).unwrap();
    let module = fs::read(folder("7.3").join("openvswitch")).unwrap();
    let kernel = load("7.3");
    let mut random = Random(1);
    let mut parsed = 0;
    for _ in 0..300 {
        let mut data = whole.clone();
        for _ in 0..=random.below(8) {
            let at = random.below(data.len());
            data[at] ^= 1 << random.below(8);
        }
        if let Ok(btf) = Btf::from_bytes(data, Path::new("garbled")) {
            parsed += 1;
            query(&btf);
        }
        let mut data = module.clone();
        let at = random.below(data.len());
        data[at] ^= 1 << random.below(8);
        let section = Section::parse(data, Path::new("garbled"), Some(&kernel.own));
        if let Ok(own) = section {
            query(&Btf {
                own: Arc::new(own),
                base: kernel.base.clone().or(Some(Arc::clone(&kernel.own))),
            });
        }
    }
    assert!(
        parsed > 100,
        "only {parsed} of 300 got past the first check"
    );
}

/// Marsaglia's xorshift: the same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// BTF of these records (in words), with the names `\0a\0b\0c\0d\0`: at 1, 3, 5 and 7.
fn build(records: &[&[u32]], layout: &[u8]) -> Result<Btf> {
    let types: Vec<u8> = records
        .concat()
        .iter()
        .flat_map(|w| w.to_ne_bytes())
        .collect();
    let len = |part: &[u8]| u32::try_from(part.len()).unwrap();
    let strings = b"\0a\0b\0c\0d\0";
    let mut data = 0xeb9f_u16.to_ne_bytes().to_vec();
    data.extend_from_slice(&[1, 0]);
    let after = len(&types) + len(strings);
    for word in [
        32,
        0,
        len(&types),
        len(&types),
        len(strings),
        after,
        len(layout),
    ] {
        data.extend_from_slice(&word.to_ne_bytes());
    }
    data.extend_from_slice(&types);
    data.extend_from_slice(strings);
    data.extend_from_slice(layout);
    Btf::from_bytes(data, Path::new("built"))
}

const INT: u32 = 1 << 24;
const ARRAY: u32 = 3 << 24;
const STRUCT: u32 = 4 << 24;
const TYPEDEF: u32 = 8 << 24;
const FLAG: u32 = 1 << 31;

#[test]
fn of_structs_with_one_name_the_largest_with_the_member_counts() {
    let int: &[u32] = &[0, INT, 4, 32];
    let small: &[u32] = &[1, STRUCT | 1, 4, 3, 1, 0];
    let large: &[u32] = &[1, STRUCT | 2, 8, 3, 1, 32, 5, 1, 0];
    let other: &[u32] = &[1, STRUCT | 1, 16, 5, 1, 96];
    for order in [[int, small, large, other], [int, other, large, small]] {
        let btf = build(&order, &[]).unwrap();
        assert_eq!(place(&btf, "a", "b"), "4+4");
        assert_eq!(place(&btf, "a", "c"), "12+4");
        assert_eq!(btf.struct_size("a"), Some(16));
    }
}

#[test]
fn bit_fields_of_old_encoders_and_across_bytes() {
    // The width in the type (pahole before 1.12), and 9 bits from bit 6 on.
    let old: [&[u32]; 2] = [&[0, INT, 4, 3], &[1, STRUCT | 1, 4, 3, 1, 13]];
    assert_eq!(place(&build(&old, &[]).unwrap(), "a", "b"), "1+1:5/3");
    let wide: [&[u32]; 2] = [
        &[0, INT, 4, 32],
        &[1, FLAG | STRUCT | 1, 4, 3, 1, 9 << 24 | 6],
    ];
    assert_eq!(place(&build(&wide, &[]).unwrap(), "a", "b"), "0+2:6/9");
}

#[test]
fn enums_of_all_widths_and_signs() {
    let (enum32, enum64) = (6 << 24, 19 << 24);
    let minus = u32::MAX;
    let btf = build(
        &[
            &[1, enum32 | 1, 4, 3, minus],
            &[3, FLAG | enum32 | 1, 4, 3, minus],
            &[5, FLAG | enum64 | 1, 8, 3, minus, minus],
            // A typedef of an anonymous one.
            &[0, enum64 | 2, 8, 3, 1, 2, 5, minus, minus],
            &[7, TYPEDEF, 4],
        ],
        &[],
    )
    .unwrap();
    let values = |name| {
        let values = btf.enum_values(name).unwrap();
        values.iter().map(|it| it.value).collect::<Vec<_>>()
    };
    assert_eq!(values("a"), [i128::from(u32::MAX)]);
    assert_eq!(values("b"), [-1]);
    assert_eq!(values("c"), [-1]);
    assert_eq!(values("d"), [0x2_0000_0001, i128::from(u64::MAX)]);
}

#[test]
fn types_that_refer_to_themselves_are_refused() {
    // A typedef of itself; a struct that contains itself without a name; an array of itself.
    let typedef = build(&[&[1, TYPEDEF, 1]], &[]).unwrap();
    assert_eq!(typedef.member("a", "b").unwrap(), None);
    assert_eq!(typedef.enum_values("a"), None);
    let strukt = build(&[&[1, STRUCT | 1, 4, 0, 1, 0]], &[]).unwrap();
    let error = strukt.member("a", "b").unwrap_err();
    assert!(error.to_string().contains("contains itself"), "{error}");
    let array: [&[u32]; 2] = [&[0, ARRAY, 0, 1, 1, 2], &[1, STRUCT | 1, 4, 3, 1, 0]];
    assert!(build(&array, &[]).unwrap().member("a", "b").is_err());
}

#[test]
fn kinds_from_the_future_are_skipped_where_the_file_tells_their_length() {
    let new = 21u32;
    let records: [&[u32]; 3] = [
        &[0, new << 24 | 2, 0, 7, 8, 8],
        &[0, INT, 4, 32],
        &[1, STRUCT | 1, 4, 3, 2, 0],
    ];
    let mut layout = vec![0; 22 * 4];
    layout[21 * 4..].copy_from_slice(&[4, 4, 0, 0]);
    let btf = build(&records, &layout).unwrap();
    assert_eq!(btf.raw(1).unwrap().kind, Kind::Unknown(21));
    assert_eq!(place(&btf, "a", "b"), "0+4");
    let error = format!("{:#}", build(&records, &[]).unwrap_err());
    assert!(
        error.contains("kind 21 of a type record is not known"),
        "{error}"
    );
}
