use std::env;
use std::process;

use super::*;

fn table(text: &str) -> Table {
    Table::read(text.as_bytes()).unwrap()
}

/// What `address` is called: `name+0xoff`, `name+0xoff[module]`, `-`.
fn label(symbol: Option<Symbol<'_>>) -> String {
    match symbol {
        None => "-".to_owned(),
        Some(Symbol {
            name,
            offset,
            module,
        }) => match module {
            None => format!("{name}+{offset:#x}"),
            Some(module) => format!("{name}+{offset:#x}[{module}]"),
        },
    }
}

fn check(text: &str, expected: &[(u64, &str)]) {
    let table = table(text);
    for &(address, expected) in expected {
        assert_eq!(label(table.lookup(address)), expected, "{address:#x}");
    }
}

#[test]
fn functions_end_where_the_next_symbol_begins() {
    check(
        "ffffffff81000100 T one\n\
         ffffffff81000180 t two\n\
         ffffffff81000200 D data\n\
         ffffffff81000280 W three\n\
         ffffffff81000300 T _etext\n",
        &[
            (0, "-"),
            (0xffff_ffff_8100_00ff, "-"),
            (0xffff_ffff_8100_0100, "one+0x0"),
            (0xffff_ffff_8100_017f, "one+0x7f"),
            (0xffff_ffff_8100_0180, "two+0x0"),
            (0xffff_ffff_8100_01ff, "two+0x7f"),
            (0xffff_ffff_8100_0200, "-"),
            (0xffff_ffff_8100_0280, "three+0x0"),
            (0xffff_ffff_8100_0300, "-"),
            (u64::MAX, "-"),
        ],
    );
}

#[test]
fn a_function_has_no_end_that_no_function_could_have() {
    check(
        "ffffffff81000000 T kernel\n\
         ffffffff82000000 T far_away\n\
         ffffffffc0000f00 t last_of_module\t[one]\n\
         ffffffffc0002000 t first_of_module\t[two]\n\
         ffffffffc0002080 t next_of_module\t[two]\n\
         ffffffffc0003000 t bpf_prog_1_a\t[bpf]\n\
         ffffffffc0100000 t bpf_prog_2_b\t[bpf]\n",
        &[
            (0xffff_ffff_8103_ffff, "kernel+0x3ffff"),
            (0xffff_ffff_8104_0000, "-"),
            // The last of the kernel and of a module: to the end of the page.
            (0xffff_ffff_8200_0fff, "far_away+0xfff"),
            (0xffff_ffff_8200_1000, "-"),
            (0xffff_ffff_c000_0fff, "last_of_module+0xff[one]"),
            (0xffff_ffff_c000_1000, "-"),
            (0xffff_ffff_c000_207f, "first_of_module+0x7f[two]"),
            (0xffff_ffff_c000_2fff, "next_of_module+0xf7f[two]"),
            (0xffff_ffff_c000_3010, "bpf_prog_1_a+0x10[bpf]"),
            (0xffff_ffff_c001_2fff, "bpf_prog_1_a+0xffff[bpf]"),
            (0xffff_ffff_c001_3000, "-"),
            (0xffff_ffff_c010_0fff, "bpf_prog_2_b+0xfff[bpf]"),
            (0xffff_ffff_c010_1000, "-"),
        ],
    );
}

#[test]
fn of_aliases_one_is_chosen_whatever_their_order() {
    let lines = [
        "ffffffff81000100 t aaa",
        "ffffffff81000100 T __x64_sys_thing",
        "ffffffff81000100 T sys_thing",
        "ffffffff81000100 T a_sys_thing",
        "ffffffff81000100 D a",
        "ffffffff81000100 T __entry_text_start",
        "ffffffff81000200 t only_local",
        "ffffffff81000200 t __entry_text_end",
        "ffffffff81000300 T _etext",
    ];
    let reverse: Vec<_> = lines.iter().rev().copied().collect();
    for text in [lines.join("\n"), reverse.join("\n")] {
        check(
            &text,
            &[
                (0xffff_ffff_8100_0110, "sys_thing+0x10"),
                (0xffff_ffff_8100_0210, "only_local+0x10"),
            ],
        );
    }
}

#[test]
fn padding_and_markers_name_nothing() {
    check(
        "ffffffff81000000 T _stext\n\
         ffffffff81000010 T one\n\
         ffffffff81000080 T __pfx_two\n\
         ffffffff81000090 T two\n\
         ffffffff81000100 T __noinstr_text_end\n\
         ffffffff81000200 T three\n",
        &[
            (0xffff_ffff_8100_0000, "-"),
            (0xffff_ffff_8100_0088, "one+0x78"),
            (0xffff_ffff_8100_0090, "two+0x0"),
            (0xffff_ffff_8100_0180, "-"),
        ],
    );
}

#[test]
fn a_return_address_belongs_to_the_call_before_it() {
    let symbols = symbols(
        "return",
        "ffffffff81000100 T calls_panic\nffffffff81000180 T next\n",
    );
    let end = 0xffff_ffff_8100_0180;
    assert_eq!(label(symbols.lookup(end)), "next+0x0");
    assert_eq!(label(symbols.lookup_return(end)), "calls_panic+0x80");
    assert_eq!(label(symbols.lookup_return(end - 0x10)), "calls_panic+0x70");
    assert_eq!(label(symbols.lookup_return(0xffff_ffff_8100_0100)), "-");
    assert_eq!(label(symbols.lookup_return(0)), "-");
}

#[test]
fn lines_that_are_not_symbols_are_left_out() {
    check(
        "\n\
         garbage\n\
         ffffffff81000100\n\
         ffffffff81000100 T\n\
         ffffffff81000100 T \n\
         ffffffff81000100T x\n\
         fffffffffffffffff T seventeen_digits\n\
         ffffffff81000100 T name\t(module)\n\
         ffffffff81000100 T name\t[module\n\
         ffffffff81000100 Text name\n\
         ffffffff81000200 T good\n\
         ffffffff81000300 T \u{fffd}\u{e4}\n\
         ffffffff81000380 t crlf\r\n",
        &[
            (0xffff_ffff_8100_0100, "-"),
            (0xffff_ffff_8100_0200, "good+0x0"),
            (0xffff_ffff_8100_0300, "\u{fffd}\u{e4}+0x0"),
        ],
    );
    let mut builder = Builder::default();
    builder.line(b"ffffffff81000100 T \xff\xfe");
    assert_eq!(builder.finish(), Table::default());
}

#[test]
fn random_bytes_do_no_harm() {
    let mut state = 1u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let alphabet = b"0123456789abcdef tTdDwW\t[]\n_ax\xff\r";
    for _ in 0..200 {
        let mut builder = Builder::default();
        let bytes: Vec<u8> = (0..2000)
            .map(|_| alphabet[usize::try_from(random()).unwrap() % alphabet.len()])
            .collect();
        bytes
            .split(|&b| b == b'\n')
            .for_each(|line| builder.line(line));
        let table = builder.finish();
        for _ in 0..100 {
            table.lookup(random() >> (random() % 64));
        }
        for entry in &table.entries {
            table.lookup(entry.address);
        }
    }
}

/// The expected sizes come from sorting the whole kallsyms of each kernel with other tools.
#[test]
fn functions_of_real_kernels_are_found_to_their_last_byte() {
    let table = [
        ("5.10", "kfree_skb", 0xffff_ffff_afeb_ee80, 0xb0),
        ("5.10", "__udp4_lib_rcv", 0xffff_ffff_affa_cf50, 0xc00),
        ("5.10", "nf_hook_slow", 0xffff_ffff_aff6_3870, 0xb0),
        (
            "5.10",
            "nft_do_chain[nf_tables]",
            0xffff_ffff_c014_00a0,
            0x530,
        ),
        (
            "5.10",
            "netem_init.cold[sch_netem]",
            0xffff_ffff_c018_63b0,
            0x11,
        ),
        ("6.1", "kfree_skb_reason", 0xffff_ffff_9f79_0970, 0xd0),
        ("6.1", "kfree_skb_list_reason", 0xffff_ffff_9f79_11b0, 0x30),
        ("6.1", "__udp4_lib_rcv", 0xffff_ffff_9f88_bc60, 0xc30),
        (
            "6.1",
            "nft_do_chain[nf_tables]",
            0xffff_ffff_c033_60d0,
            0x5e0,
        ),
        (
            "6.12",
            "kfree_skb_list_reason",
            0xffff_ffff_bc9d_8ae0,
            0x220,
        ),
        ("6.12", "sk_skb_reason_drop", 0xffff_ffff_bc9d_b060, 0x130),
        ("6.12", "nf_hook_slow", 0xffff_ffff_bcaa_66d0, 0x100),
        (
            "6.12",
            "nft_do_chain[nf_tables]",
            0xffff_ffff_c045_90f0,
            0x640,
        ),
        // The last one of its module, after which another module's page begins.
        (
            "6.12",
            "netem_init.cold[sch_netem]",
            0xffff_ffff_c04b_a84c,
            0x7b4,
        ),
        ("7.3", "kfree_skb_list_reason", 0xffff_ffff_8a67_61e0, 0x240),
        ("7.3", "sk_skb_reason_drop", 0xffff_ffff_8a67_8c60, 0x140),
        ("7.3", "udp_rcv", 0xffff_ffff_8a7b_fdf0, 0xb30),
        (
            "7.3",
            "nft_do_chain[nf_tables]",
            0xffff_ffff_c081_d0f0,
            0x780,
        ),
    ];
    for (kernel, name, start, size) in table {
        let symbols = fixture(kernel);
        let (name, module) = name.split_at(name.find('[').unwrap_or(name.len()));
        let expect = |offset: u64| format!("{name}+{offset:#x}{module}");
        for offset in [0, 1, size / 2, size - 1] {
            let found = label(symbols.lookup(start + offset));
            assert_eq!(found, expect(offset), "on {kernel}");
        }
        assert_eq!(
            label(symbols.lookup_return(start + size)),
            expect(size),
            "on {kernel}"
        );
        assert_ne!(
            symbols.lookup(start + size).map(|it| it.name),
            Some(name),
            "on {kernel}"
        );
    }
}

fn ranges(symbols: &Symbols, pattern: &str) -> Vec<(u64, u64)> {
    let ranges = symbols.functions_matching(pattern);
    ranges.into_iter().map(|it| (it.start, it.end)).collect()
}

#[test]
fn functions_are_found_by_pattern() {
    let symbols = symbols(
        "pattern",
        "ffffffff81000000 T udp_rcv\n\
         ffffffff81000100 t udp_rcv_core.isra.0\n\
         ffffffff81000200 D data\n\
         ffffffff81000300 t udp_rcv.cold\n\
         ffffffff81000400 t tcp_rcv\n\
         ffffffff81000500 t _etext\n\
         ffffffffc0000000 t udp_rcv\t[mine]\n\
         ffffffffc0000100 t last\t[mine]\n",
    );
    const KERNEL: u64 = 0xffff_ffff_8100_0000;
    const MODULE: u64 = 0xffff_ffff_c000_0000;
    let hot = (KERNEL, KERNEL + 0x100);
    let core = (KERNEL + 0x100, KERNEL + 0x200);
    let cold = (KERNEL + 0x300, KERNEL + 0x400);
    let tcp = (KERNEL + 0x400, KERNEL + 0x500);
    let module = (MODULE, MODULE + 0x100);
    for (pattern, expected) in [
        // The parts of one function, and the one of the same name in a module.
        ("udp_rcv", vec![hot, cold, module]),
        ("udp_rcv_core", vec![core]),
        ("udp_rcv_core.isra.0", vec![core]),
        ("udp_rcv.cold", vec![cold]),
        ("udp_rcv[mine]", vec![module]),
        ("udp_rcv[m*]", vec![module]),
        ("udp_rcv[other]", vec![]),
        ("tcp_rcv[mine]", vec![]),
        // Ranges that touch are one.
        ("udp_rcv*", vec![(hot.0, core.1), cold, module]),
        ("???_rcv", vec![hot, (cold.0, tcp.1), module]),
        ("*.cold", vec![cold]),
        ("udp", vec![]),
        ("data", vec![]),
        ("", vec![]),
        ("UDP_RCV", vec![]),
    ] {
        assert_eq!(ranges(&symbols, pattern), expected, "{pattern}");
    }
    // The last one ends with its page, and nothing has names between the kernel and the module.
    assert_eq!(
        ranges(&symbols, "*"),
        [(hot.0, core.1), (cold.0, tcp.1), (MODULE, MODULE + 0x1000)]
    );
    assert_eq!(ranges(&Symbols::none(), "*"), []);
    assert_eq!(symbols.nearest_functions("upd_rcv", 1), ["udp_rcv"]);
    assert_eq!(symbols.nearest_functions("udp_rvc[mine]", 1), ["udp_rcv"]);
    assert_eq!(symbols.nearest_functions("zzz", 3), [""; 0]);
}

#[test]
fn functions_of_real_kernels_are_found_by_pattern() {
    for (kernel, pattern, parts) in [
        ("5.10", "kfree_skb", 1),
        ("6.1", "tcp_v4_rcv", 1),
        ("6.12", "__dev_queue_xmit", 2),
        ("6.12", "nft_do_chain[nf_tables]", 1),
        ("7.3", "ip_rcv_finish_core", 2),
        ("7.3", "nft_do_chain[sch_netem]", 0),
        ("7.3", "kfree_skb", 0),
    ] {
        let symbols = fixture(kernel);
        let found = symbols.functions_matching(pattern);
        assert_eq!(found.len(), parts, "{pattern} on {kernel}");
        let (name, _) = split_module(pattern);
        for range in &found {
            let first = symbols.lookup(range.start).unwrap();
            assert_eq!(
                (without_suffix(first.name), first.offset),
                (name, 0),
                "{kernel}"
            );
            let last = symbols.lookup_return(range.end).unwrap();
            assert_eq!(without_suffix(last.name), name, "{kernel}");
            assert_eq!(last.offset, range.end - range.start, "{kernel}");
        }
    }
    let symbols = fixture("7.3");
    let nearest = symbols.nearest_functions("kfree_skb_list_reasons", 2);
    assert_eq!(nearest[0], "kfree_skb_list_reason", "{nearest:?}");
}

/// What a range contains is what the names say, for every byte around every function.
#[test]
fn ranges_agree_with_names() {
    for kernel in ["5.10", "6.1", "6.12", "7.3"] {
        let symbols = fixture(kernel);
        for pattern in ["*", "*rcv*", "nf*[nf_*]", "*.cold"] {
            let wanted = FunctionPattern::new(pattern);
            let ranges = symbols.functions_matching(pattern);
            for window in ranges.windows(2) {
                assert!(window[0].end < window[1].start, "{pattern} on {kernel}");
            }
            for entry in &symbols.table.entries {
                for address in [entry.address - 1, entry.address, entry.address + 1] {
                    let contained = ranges.iter().any(|range| range.contains(&address));
                    let named = symbols.lookup(address).is_some_and(|symbol| {
                        let start = address - symbol.offset;
                        let entries = &symbols.table.entries;
                        let owner = entries.iter().find(|it| it.address == start).unwrap();
                        FunctionName::of(&symbols.table, owner)
                            .is_some_and(|name| wanted.matches(name))
                    });
                    assert_eq!(contained, named, "{address:#x}, {pattern} on {kernel}");
                }
            }
        }
    }
}

#[test]
fn gaps_of_real_kernels_have_no_names() {
    for (kernel, etext) in [
        ("5.10", 0xffff_ffff_b040_25f2_u64),
        ("6.1", 0xffff_ffff_9fe0_1ef2),
        ("6.12", 0xffff_ffff_bd00_0000),
        ("7.3", 0xffff_ffff_8a96_f060),
    ] {
        let symbols = fixture(kernel);
        for address in [
            etext,
            etext + 1,
            etext + 0x1000,
            0x1000,
            0x7fff_ffff_ffff,
            u64::MAX,
        ] {
            assert_eq!(
                label(symbols.lookup(address)),
                "-",
                "{address:#x} on {kernel}"
            );
        }
        assert!(!symbols.hidden());
        assert!(symbols.len() > 80, "{}", symbols.len());
    }
}

fn fixture(kernel: &str) -> Symbols {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let folder = fixtures.join(kernel);
    Symbols::load(&folder.join("kallsyms"), &folder.join("modules")).unwrap()
}

/// A file that is gone with the value.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Self {
        let path = env::temp_dir().join(format!("dropwatch-{}-{name}", process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

fn symbols(name: &str, text: &str) -> Symbols {
    let file = Temporary::new(name, text);
    Symbols::load(&file.0, Path::new("/no/such/modules")).unwrap()
}

#[test]
fn hidden_addresses_are_told_from_no_symbols() {
    let hidden = symbols(
        "hidden",
        "0000000000000000 T one\n0000000000000000 t two\t[module]\n",
    );
    assert!(hidden.hidden() && hidden.is_empty());
    assert_eq!(hidden.lookup(0), None);
    assert_eq!(hidden.lookup_return(1), None);
    let empty = symbols("empty", "");
    assert!(!empty.hidden() && empty.is_empty());
    // Per-CPU offsets of some kernels are 0 as well.
    let some = symbols(
        "some",
        "0000000000000000 A percpu\nffffffff81000000 T one\n",
    );
    assert!(!some.hidden());
    assert_eq!(some.len(), 1);
}

#[test]
fn a_missing_file_is_named() {
    let error = Symbols::load(Path::new("/no/such/kallsyms"), Path::new(MODULES)).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("/no/such/kallsyms"), "{error}");
}

#[test]
fn lines_across_chunks_are_whole() {
    let mut text = String::new();
    for i in 0..5000u64 {
        // Lengths that shift against the size of a chunk.
        let name = "x".repeat(usize::try_from(i % 97).unwrap());
        text += &format!("{:016x} t f{i}{name}\t[m{}]\n", 0x1000 + i * 16, i % 7);
    }
    // The last line has no end.
    let symbols = symbols("chunks", text.trim_end());
    assert_eq!(symbols.len(), 5000);
    for i in 0..5000u64 {
        let symbol = symbols.lookup(0x1000 + i * 16 + 3).unwrap();
        assert!(symbol.name.starts_with(&format!("f{i}")), "{symbol:?}");
        assert_eq!(symbol.module, Some(&*format!("m{}", i % 7)));
        assert_eq!(symbol.offset, 3);
    }
}

#[test]
fn an_endless_line_is_skipped() {
    let long = "y".repeat(3 * CHUNK);
    let symbols = symbols(
        "endless",
        &format!("ffffffff81000000 T {long}\nffffffff81000100 T one\n"),
    );
    assert_eq!(label(symbols.lookup(0xffff_ffff_8100_0100)), "one+0x0");
}

#[test]
fn modules_that_come_and_go_are_noticed() {
    let kernel = "ffffffff81000000 T one\nffffffff81000100 T two\n";
    let module = "ffffffffc0000000 t three\t[netem]\n";
    let line = "netem 20480 1 - Live 0xffffffffc0000000\n";
    let used = "netem 20480 2 sch, Live 0xffffffffc0000000\n";
    let kallsyms = Temporary::new("refresh-kallsyms", kernel);
    let modules = Temporary::new("refresh-modules", "");
    let mut symbols = Symbols::load(&kallsyms.0, &modules.0).unwrap();
    let address = 0xffff_ffff_c000_0010;
    let mut now = Instant::now();
    let mut after = |seconds| {
        now += Duration::from_secs(seconds);
        now
    };

    fs::write(&kallsyms.0, format!("{kernel}{module}")).unwrap();
    fs::write(&modules.0, line).unwrap();
    // Not before a second has passed.
    assert!(!symbols.refresh_if_changed(after(0), true).unwrap());
    assert_eq!(label(symbols.lookup(address)), "-");
    assert!(symbols.refresh_if_changed(after(2), false).unwrap());
    assert_eq!(label(symbols.lookup(address)), "three+0x10[netem]");
    // Another use of the module changes nothing, whatever kallsyms says.
    fs::write(&modules.0, used).unwrap();
    fs::write(&kallsyms.0, kernel).unwrap();
    assert!(!symbols.refresh_if_changed(after(2), false).unwrap());
    // An unknown address does.
    assert!(symbols.refresh_if_changed(after(2), true).unwrap());
    assert_eq!(label(symbols.lookup(address)), "-");
    // Unknown addresses that stay so cause fewer and fewer reloads.
    let mut reloads = 0;
    for _ in 0..300 {
        let before = symbols.loaded;
        assert!(!symbols.refresh_if_changed(after(1), true).unwrap());
        reloads += u32::from(symbols.loaded != before);
    }
    assert!((6..12).contains(&reloads), "{reloads}");
    // But a module is still noticed at once.
    fs::write(&modules.0, "").unwrap();
    fs::write(&kallsyms.0, format!("{kernel}{module}")).unwrap();
    assert!(symbols.refresh_if_changed(after(1), false).unwrap());
}

#[test]
fn code_has_no_name_from_before_it_was_there() {
    let [kernel, one, two, three] = [
        "ffffffff81000000 T kernel\n",
        "ffffffffc0000000 t one\t[first]\n",
        "ffffffffc0000000 t two\t[second]\n",
        "ffffffffc0008000 t three\t[third]\n",
    ];
    let kallsyms = Temporary::new("moved-kallsyms", &format!("{kernel}{one}"));
    let modules = Temporary::new("moved-modules", "first 4096 0 - Live 0xffffffffc0000000\n");
    let before = boot_ns();
    let mut symbols = Symbols::load(&kallsyms.0, &modules.0).unwrap();
    let loaded = boot_ns();
    fs::write(&kallsyms.0, format!("{kernel}{two}{three}")).unwrap();
    fs::write(
        &modules.0,
        "second 4096 0 - Live 0xffffffffc0000000\nthird 4096 0 - Live 0xffffffffc0008000\n",
    )
    .unwrap();
    let later = Instant::now() + Duration::from_secs(5);
    assert!(symbols.refresh_if_changed(later, false).unwrap());
    let reloaded = boot_ns();

    let names = |symbols: &Symbols| {
        [
            0xffff_ffff_8100_0001,
            0xffff_ffff_c000_0001,
            0xffff_ffff_c000_8001,
        ]
        .map(|address| {
            (
                label(symbols.lookup(address)),
                label(symbols.lookup_return(address)),
            )
        })
        .map(|(site, caller)| {
            assert_eq!(site, caller);
            site
        })
    };
    // Before anything was read, `third` can't be told from what may have been there.
    assert!(!symbols.go_to(before));
    assert_eq!(names(&symbols), ["kernel+0x1", "-", "-"]);
    // Nobody was there then.
    assert!(!symbols.go_to(loaded));
    assert_eq!(names(&symbols), ["kernel+0x1", "-", "three+0x1[third]"]);
    assert!(symbols.is_known(0xffff_ffff_c000_0001));
    let all = ["kernel+0x1", "two+0x1[second]", "three+0x1[third]"];
    assert!(!symbols.go_to(reloaded));
    assert_eq!(names(&symbols), all);
    // Once nothing older comes, caches are to be made anew.
    assert!(symbols.go_to(reloaded + DISORDER_NS));
    assert_eq!(names(&symbols), all);
    assert!(!symbols.go_to(reloaded + 2 * DISORDER_NS));
}

#[test]
fn code_that_reaches_over_old_code_was_not_there_before() {
    let table = |text: &str| Table::read(text.as_bytes()).unwrap();
    let older = table("ffffffffc0005000 t old\t[old]\nffffffffc0005080 t end\t[old]\n");
    let newer = table("ffffffffc0004f80 t new\t[new]\nffffffffc0006000 t other\t[new]\n");
    let moved = newer.moved_since(&older, 1, 2);
    let since = |address: u64| {
        let of = |moved: &&Moved| moved.code.contains(&address);
        moved.iter().find(of).map(|moved| moved.since_ns)
    };
    assert_eq!(since(0xffff_ffff_c000_5040), Some(2));
    assert_eq!(since(0xffff_ffff_c000_6000), Some(1));
}

#[test]
fn what_a_module_started_with_holds_no_place() {
    let table = |text: &str| Table::read(text.as_bytes()).unwrap();
    let core = "ffffffffc0001000 t core\t[first]\n";
    let older = table(&format!("{core}ffffffffc0005000 t start\t[first]\n"));
    let since = |newer: &Table| newer.moved_since(&older, 1, 2)[0].since_ns;
    let second = "ffffffffc0005000 t new\t[second]\n";
    assert_eq!(since(&table(&format!("{core}{second}"))), 1);
    // Without the rest of it, the module is gone.
    assert_eq!(since(&table(second)), 2);
}

#[test]
fn without_drops_new_code_takes_no_memory() {
    let kallsyms = Temporary::new("many-kallsyms", "ffffffff81000000 T kernel\n");
    let mut symbols = Symbols::load(&kallsyms.0, Path::new("/no/such/modules")).unwrap();
    let mut now = Instant::now();
    for round in 0..10_u64 {
        let mut text = "ffffffff81000000 T kernel\n".to_owned();
        for program in 0..300_u64 {
            // Each a page for itself, so that none is next to another one.
            let address = 0xffff_ffff_c000_0000 + program * 0x2000;
            text += &format!("{address:x} t bpf_prog_{round}_{program}\t[bpf]\n");
            text += &format!("{:x} t end\n", address + 0x100);
        }
        fs::write(&kallsyms.0, text).unwrap();
        now += LONGEST_PAUSE;
        assert!(symbols.refresh_if_changed(now, true).unwrap());
        assert!(symbols.moved.len() <= MAX_MOVED, "{}", symbols.moved.len());
    }
    symbols.go_to(0);
    assert_eq!(label(symbols.lookup(0xffff_ffff_c000_0001)), "-");
    assert!(symbols.go_to(u64::MAX));
    assert_eq!(
        label(symbols.lookup(0xffff_ffff_c000_0001)),
        "bpf_prog_9_0+0x1[bpf]"
    );
}

#[test]
fn a_refresh_that_fails_keeps_the_symbols() {
    let kallsyms = Temporary::new("keep-kallsyms", "ffffffff81000000 T one\n");
    let moved = kallsyms.0.with_extension("moved");
    let mut symbols = Symbols::load(&kallsyms.0, Path::new("/no/such/modules")).unwrap();
    fs::rename(&kallsyms.0, &moved).unwrap();
    let later = Instant::now() + Duration::from_secs(5);
    assert!(symbols.refresh_if_changed(later, true).is_err());
    fs::rename(&moved, &kallsyms.0).unwrap();
    assert_eq!(label(symbols.lookup(0xffff_ffff_8100_0001)), "one+0x1");
}
