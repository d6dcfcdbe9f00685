//! Cuts what a real kernel says about itself down to what the tests read.
//!
//! A kernel's BTF has megabytes and its kallsyms 100,000 lines; dropwatch reads a dozen structs and
//! looks up a few functions. The tests run on those of several kernels, without root, and this
//! makes their files: real offsets, sizes, values and addresses, everything else left out.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

// dropwatch itself can't be a dependency: building it needs what `cargo xtask setup` brings.
#[path = "../../dropwatch/src/btf.rs"]
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "this is dropwatch's reader, of which a part is used here"
    )
)]
#[expect(unreachable_pub, reason = "it is public in dropwatch")]
mod btf;

use btf::{Btf, Kind, RawType};

/// Structs and unions that are kept with their members. Others become forward declarations where
/// they are pointed to, and keep nothing but their size where they are part of another struct.
const STRUCTS: [&str; 25] = [
    "cgroup",
    "cgroup_subsys_state",
    "css_set",
    "dst_entry",
    "fdtable",
    "file",
    "files_struct",
    "inode",
    "kernfs_node",
    "net",
    "net_device",
    "ns_common",
    "ns_tree",
    "refcount_struct",
    "request_sock",
    "sk_buff",
    "sk_buff_head",
    "skb_free_array",
    "skb_shared_info",
    "sock",
    "sock_cgroup_data",
    "sock_common",
    "socket",
    "socket_alloc",
    "task_struct",
];
/// Typedefs that nothing else leads to.
const TYPEDEFS: [&str; 2] = ["btf_trace_kfree_skb", "btf_trace_consume_skb"];
/// Functions that are kept with the names and types of their parameters.
const FUNCTIONS: [&str; 8] = [
    "__kfree_skb",
    "consume_skb",
    "kfree_skb",
    "kfree_skb_list",
    "kfree_skb_list_reason",
    "kfree_skb_reason",
    "sk_skb_reason_drop",
    "tcp_drop",
];
/// All enums with this in their name are kept whole; of others, the first enumerator.
const ENUMS: &str = "drop_reason";

/// Functions that keep their line in kallsyms, with that of the symbol behind them. Suffixes from
/// the compiler (`.isra.0`, `.cold`) do not count.
const SYMBOLS: [&str; 41] = [
    "__dev_queue_xmit",
    "__kfree_skb",
    "__netif_receive_skb_core",
    "__netif_receive_skb_one_core",
    "__sys_sendto",
    "__udp4_lib_rcv",
    "__udp6_lib_rcv",
    "__x64_sys_sendto",
    "consume_skb",
    "dev_hard_start_xmit",
    "do_softirq",
    "do_syscall_64",
    "entry_SYSCALL_64",
    "entry_SYSCALL_64_after_hwframe",
    "fib_validate_source",
    "icmp_rcv",
    "ip_error",
    "ip_finish_output2",
    "ip_forward",
    "ip_local_deliver",
    "ip_local_deliver_finish",
    "ip_protocol_deliver_rcu",
    "ip_rcv",
    "ip_rcv_core",
    "ip_rcv_finish_core",
    "kfree_skb",
    "kfree_skb_list",
    "kfree_skb_list_reason",
    "kfree_skb_reason",
    "memcpy",
    "net_rx_action",
    "nf_hook_slow",
    "nft_do_chain",
    "panic",
    "process_backlog",
    "sk_skb_reason_drop",
    "skb_release_data",
    "tcp_v4_rcv",
    "tcp_v6_rcv",
    "udp_queue_rcv_one_skb",
    "udp_rcv",
];
/// How many symbols are kept at both ends of each module and of the kernel's text.
const AT_ENDS: usize = 3;

/// Writes `tests/fixtures/LABEL` in the repository at `root` from a kernel's files in `from`:
/// `btf/vmlinux` and the BTF of modules beside it (as in `/sys/kernel/btf`), `kallsyms`, `modules`
/// (as in `/proc`). Any but the first can be missing, and then keeps what is there.
///
/// # Errors
/// A file can't be read or written, or is no BTF.
pub(crate) fn write(root: &Path, label: &str, from: &Path) -> Result<()> {
    let to = root.join("tests/fixtures").join(label);
    let folder = to.join("btf");
    let kernel = Btf::load(Some(&from.join("btf/vmlinux")))?;
    let reduced = reduce(&kernel)?;
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    for module in modules_with_reasons(&kernel, &from.join("btf"))? {
        let bytes = reduce_module(&kernel.load_module(&module)?, &reduced)?;
        let name = module.file_name().context("a module's BTF has no name")?;
        save(&folder.join(name), &bytes.bytes())?;
    }
    save(&folder.join("vmlinux"), &reduced.bytes())?;
    if let Ok(kallsyms) = fs::read_to_string(from.join("kallsyms")) {
        save(&to.join("kallsyms"), reduce_kallsyms(&kallsyms).as_bytes())?;
    }
    if let Ok(modules) = fs::read(from.join("modules")) {
        save(&to.join("modules"), &modules)?;
    }
    Ok(())
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// The BTF files of the modules that have drop reasons of their own.
fn modules_with_reasons(kernel: &Btf, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let files = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    for file in files {
        let path = file?.path();
        if path.file_name().is_some_and(|name| name != "vmlinux") {
            let module = kernel.load_module(&path)?;
            if !module.enums(|name| name.contains(ENUMS)).is_empty() {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// BTF under construction.
#[derive(Default)]
struct Writer {
    records: Vec<Vec<u32>>,
    strings: Vec<u8>,
    string_at: HashMap<String, u32>,
    /// Of the BTF that this one builds on: what it adds to ids and string offsets.
    base_types: u32,
    base_strings: u32,
}

impl Writer {
    /// A kernel's BTF, whose first string is the empty one.
    fn kernel() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    /// A module's BTF on top of a kernel's.
    fn module(base: &Self) -> Result<Self> {
        Ok(Self {
            base_types: u32::try_from(base.records.len())?,
            base_strings: u32::try_from(base.strings.len())?,
            ..Self::default()
        })
    }

    fn string(&mut self, text: &str) -> Result<u32> {
        if text.is_empty() {
            return Ok(0);
        }
        if let Some(&at) = self.string_at.get(text) {
            return Ok(at);
        }
        let at = self.base_strings + u32::try_from(self.strings.len())?;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.string_at.insert(text.to_owned(), at);
        Ok(at)
    }

    /// Takes the next id, so that a type can refer to itself before its record is known.
    fn reserve(&mut self) -> Result<u32> {
        self.records.push(Vec::new());
        Ok(self.base_types + u32::try_from(self.records.len())?)
    }

    fn set(&mut self, id: u32, record: Vec<u32>) {
        if let Some(slot) = self.records.get_mut((id - self.base_types - 1) as usize) {
            *slot = record;
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let types: Vec<u32> = self.records.concat();
        let type_len = u32::try_from(types.len() * 4).unwrap_or(u32::MAX);
        let string_len = u32::try_from(self.strings.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&0xeb9f_u16.to_ne_bytes());
        bytes.extend_from_slice(&[1, 0]);
        for word in [24, 0, type_len, type_len, string_len].iter().chain(&types) {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(&self.strings);
        bytes
    }
}

/// The numbers of the kinds that this writes, `BTF_KIND_*`.
const KIND_PTR: u32 = 2;
const KIND_FWD: u32 = 7;

/// Copies types from one BTF to another, each once.
struct Reducer<'a> {
    from: &'a Btf,
    to: Writer,
    /// New id of each type that was copied, by its id in `from`.
    ids: HashMap<u32, u32>,
    /// New id of each forward declaration, by name and whether it is of a union.
    forwards: HashMap<(String, bool), u32>,
    /// Ids in `from` of the prototypes of kept tracepoints; others are not worth their room.
    prototypes: Vec<u32>,
}

fn reduce(full: &Btf) -> Result<Writer> {
    let mut reducer = Reducer::new(full, Writer::kernel());
    for (id, t) in (1..).zip(full.types()) {
        let name = full.string(t.name).unwrap_or_default();
        let wanted = match t.kind {
            Kind::Struct | Kind::Union => STRUCTS.contains(&name),
            Kind::Typedef => TYPEDEFS.contains(&name),
            Kind::Func => FUNCTIONS.contains(&name),
            Kind::Enum | Kind::Enum64 => name.contains(ENUMS),
            _ => false,
        };
        if wanted {
            reducer.copy(id)?;
        }
    }
    Ok(reducer.to)
}

fn reduce_module(full: &Btf, base: &Writer) -> Result<Writer> {
    let mut reducer = Reducer::new(full, Writer::module(base)?);
    for t in full.types() {
        let is_enum = matches!(t.kind, Kind::Enum | Kind::Enum64);
        if is_enum && full.string(t.name).is_some_and(|it| it.contains(ENUMS)) {
            let id = reducer.to.reserve()?;
            let record = reducer.record(&t)?;
            reducer.to.set(id, record);
        }
    }
    Ok(reducer.to)
}

impl<'a> Reducer<'a> {
    fn new(from: &'a Btf, to: Writer) -> Self {
        let is_kept = |t: &RawType<'_>| {
            let name = from.string(t.name).unwrap_or_default();
            t.kind == Kind::Typedef && TYPEDEFS.contains(&name)
        };
        let pointers = from.types().filter(is_kept).map(|t| t.size_or_type);
        Self {
            from,
            to,
            ids: HashMap::new(),
            forwards: HashMap::new(),
            prototypes: pointers
                .filter_map(|id| Some(from.raw(id)?.size_or_type))
                .collect(),
        }
    }

    /// Copies the type `id` with all that it needs; gives its new id.
    fn copy(&mut self, id: u32) -> Result<u32> {
        if id == 0 {
            return Ok(0);
        }
        if let Some(&new) = self.ids.get(&id) {
            return Ok(new);
        }
        let t = self.from.raw(id).with_context(|| format!("no type {id}"))?;
        let new = self.to.reserve()?;
        self.ids.insert(id, new);
        let record = self.record(&t)?;
        self.to.set(new, record);
        Ok(new)
    }

    /// The record of `t` with new ids and string offsets.
    fn record(&mut self, t: &RawType<'_>) -> Result<Vec<u32>> {
        let name = self.from.string(t.name).unwrap_or_default();
        let name_at = self.to.string(name)?;
        let body: Vec<u32> = (0..t.body.len() / 4).map(|i| t.word(i)).collect();
        let (target, body) = match t.kind {
            Kind::Int | Kind::Float | Kind::Fwd => (t.size_or_type, body),
            Kind::Ptr => (self.copy_pointee(t.size_or_type)?, body),
            Kind::Array => {
                let (element, index) = (self.copy(body[0])?, self.copy(body[1])?);
                (0, vec![element, index, body[2]])
            }
            Kind::Struct | Kind::Union if name.is_empty() || STRUCTS.contains(&name) => {
                (t.size_or_type, self.members(t)?)
            }
            Kind::Struct | Kind::Union => (t.size_or_type, Vec::new()),
            Kind::Enum | Kind::Enum64 => (t.size_or_type, self.enumerators(t, name)?),
            Kind::FuncProto => {
                let mut params = Vec::new();
                for (name, id) in t.params() {
                    let name = self.from.string(name).unwrap_or_default();
                    params.extend([self.to.string(name)?, self.copy(id)?]);
                }
                (self.copy(t.size_or_type)?, params)
            }
            _ => (self.copy(t.size_or_type)?, body),
        };
        let info = self.info(t, body.len())?;
        Ok([name_at, info, target].into_iter().chain(body).collect())
    }

    /// The `info` word for a body of so many words.
    fn info(&self, t: &RawType<'_>, words: usize) -> Result<u32> {
        let (kind, each) = match t.kind {
            Kind::Int => (1, 0),
            Kind::Ptr => (KIND_PTR, 0),
            Kind::Array => (3, 0),
            Kind::Struct => (4, 3),
            Kind::Union => (5, 3),
            Kind::Enum => (6, 2),
            Kind::Fwd => (KIND_FWD, 0),
            Kind::Typedef => (8, 0),
            Kind::Volatile => (9, 0),
            Kind::Const => (10, 0),
            Kind::Restrict => (11, 0),
            Kind::Func => (12, 0),
            Kind::FuncProto => (13, 2),
            Kind::Float => (16, 0),
            Kind::TypeTag => (18, 0),
            Kind::Enum64 => (19, 3),
            other => anyhow::bail!("a {other:?} was not expected among the types that are kept"),
        };
        let count = words.checked_div(each).unwrap_or(0);
        ensure!(count <= 0xffff, "a type has too many elements");
        Ok(u32::from(t.flag) << 31 | kind << 24 | u32::try_from(count)?)
    }

    fn members(&mut self, t: &RawType<'_>) -> Result<Vec<u32>> {
        let mut words = Vec::new();
        for (i, member) in t.members().enumerate() {
            let name = self.from.string(member.name).unwrap_or_default();
            let name = self.to.string(name)?;
            let id = self.copy(member.type_id)?;
            words.extend([name, id, t.word(i * 3 + 2)]);
        }
        Ok(words)
    }

    fn enumerators(&mut self, t: &RawType<'_>, name: &str) -> Result<Vec<u32>> {
        let each = if t.kind == Kind::Enum { 2 } else { 3 };
        let keep = if name.contains(ENUMS) { usize::MAX } else { 1 };
        let mut words = Vec::new();
        for i in 0..t.enumerators().take(keep).count() {
            let name = self.from.string(t.word(i * each)).unwrap_or_default();
            words.push(self.to.string(name)?);
            words.extend((1..each).map(|w| t.word(i * each + w)));
        }
        Ok(words)
    }

    /// Copies what a pointer points to: kept structs whole, others as forward declarations, and
    /// functions as `void`.
    fn copy_pointee(&mut self, id: u32) -> Result<u32> {
        let Some(t) = self.from.raw(id) else {
            return Ok(0);
        };
        let name = self.from.string(t.name).unwrap_or_default().to_owned();
        match t.kind {
            Kind::FuncProto if !self.prototypes.contains(&id) => Ok(0),
            Kind::Struct | Kind::Union if name.is_empty() => Ok(0),
            Kind::Struct | Kind::Union if STRUCTS.contains(&name.as_str()) => self.copy(id),
            Kind::Struct | Kind::Union => self.forward(name, t.kind == Kind::Union),
            _ => self.copy(id),
        }
    }

    fn forward(&mut self, name: String, is_union: bool) -> Result<u32> {
        if let Some(&id) = self.forwards.get(&(name.clone(), is_union)) {
            return Ok(id);
        }
        let at = self.to.string(&name)?;
        let id = self.to.reserve()?;
        let info = u32::from(is_union) << 31 | KIND_FWD << 24;
        self.to.set(id, vec![at, info, 0]);
        self.forwards.insert((name, is_union), id);
        Ok(id)
    }
}

/// Keeps the lines of [`SYMBOLS`] and of what bounds them, in the order that they are in.
fn reduce_kallsyms(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut sorted: Vec<(&str, usize)> = lines
        .iter()
        .enumerate()
        .filter_map(|(i, line)| Some((line.split(' ').next()?, i)))
        .collect();
    sorted.sort_unstable();
    let mut keep = BTreeSet::new();
    for (place, &(address, line)) in sorted.iter().enumerate() {
        if !is_of_interest(lines[line]) {
            continue;
        }
        let first = sorted[..place].partition_point(|&(it, _)| it < address);
        let rest = &sorted[first..];
        // With the aliases, and all up to what ends the function.
        let inside = |&&(it, line): &&(&str, usize)| {
            it == address || name_of(lines[line]).starts_with("__pfx_")
        };
        let count = rest.iter().take_while(inside).count();
        keep.extend(rest.iter().take(count + 1).map(|&(_, line)| line));
    }
    for group in by_module(&lines, &sorted) {
        keep.extend(group.iter().take(AT_ENDS));
        keep.extend(group.iter().rev().take(AT_ENDS));
    }
    keep.into_iter()
        .map(|i| format!("{}\n", lines[i]))
        .collect()
}

/// The text symbols of the kernel and of each module, in order of their addresses.
fn by_module(lines: &[&str], sorted: &[(&str, usize)]) -> Vec<Vec<usize>> {
    let mut groups: HashMap<&str, Vec<usize>> = HashMap::new();
    for &(_, i) in sorted {
        let line = lines[i];
        let is_text = matches!(line.split(' ').nth(1), Some("t" | "T" | "w" | "W"));
        if is_text {
            let module = line.split_once('\t').map_or("", |(_, module)| module);
            groups.entry(module).or_default().push(i);
        }
    }
    groups.into_values().collect()
}

fn name_of(line: &str) -> &str {
    line.split([' ', '\t']).nth(2).unwrap_or_default()
}

fn is_of_interest(line: &str) -> bool {
    let name = name_of(line);
    let name = name.strip_prefix("__pfx_").unwrap_or(name);
    let base = name.split('.').next().unwrap_or_default();
    let marks = ["_stext", "_etext", "_sinittext", "_einittext", "_end"];
    SYMBOLS.contains(&base) || marks.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reducing what is reduced already must change nothing, so nothing that is read gets lost.
    #[test]
    fn reducing_twice_is_reducing_once() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
        for kernel in ["5.10", "6.1", "6.12", "7.3"] {
            let folder = fixtures.join(kernel);
            let path = folder.join("btf/vmlinux");
            let full = Btf::load(Some(&path)).unwrap();
            let reduced = reduce(&full).unwrap();
            assert!(reduced.bytes() == fs::read(&path).unwrap(), "{kernel}");
            let modules = modules_with_reasons(&full, &folder.join("btf")).unwrap();
            for path in modules {
                let module = full.load_module(&path).unwrap();
                let bytes = reduce_module(&module, &reduced).unwrap().bytes();
                assert!(bytes == fs::read(&path).unwrap(), "{}", path.display());
            }
            let kallsyms = fs::read_to_string(folder.join("kallsyms")).unwrap();
            assert_eq!(reduce_kallsyms(&kallsyms), kallsyms, "{kernel}");
        }
    }

    #[test]
    fn functions_keep_their_aliases_and_their_end() {
        let text = "0000000000000010 t before\n\
                    0000000000000020 T kfree_skb\n\
                    0000000000000020 T alias\n\
                    0000000000000030 t __pfx_after\n\
                    0000000000000040 t after\n\
                    0000000000000050 t x1\n\
                    0000000000000060 t x2\n\
                    0000000000000070 t x3\n\
                    0000000000000080 t nft_do_chain.isra.0\t[nf_tables]\n\
                    0000000000000090 t kfree_skb_not\n\
                    00000000000000a0 t y1\n\
                    00000000000000b0 t y2\n\
                    00000000000000c0 t y3\n";
        let left_out = ["x1", "x2", "x3"];
        let expected: String = text
            .split_inclusive('\n')
            .filter(|line| !left_out.contains(&name_of(line.trim())))
            .collect();
        assert_eq!(reduce_kallsyms(text), expected);
    }
}
