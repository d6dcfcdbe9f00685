//! From configuration to attached programs.

use std::{
    fs::File,
    io::{Read as _, Seek as _},
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Map, MapData, MapType, PerCpuArray, PerfEventArray, RingBuf, StackTraceMap},
    programs::{
        BtfTracePoint, KProbe, Program, ProgramError, ProgramInfo, RawTracePoint,
        kprobe::KProbeLinkId, raw_trace_point::RawTracePointLinkId, tp_btf::BtfTracePointLinkId,
    },
    util::nr_cpus,
};
use dropwatch_common::{
    config::{ABSENT, BUFFER_PERF, BUFFER_RING, Counters, RangeKind},
    event::{HEADERS_LEN, MAX_FRAMES, MAX_TAIL},
    group::{GroupCounts, GroupKey, by},
};

use super::{
    attach::{AttachPoint, Hook},
    diagnostics::Diagnostics,
    filters::LiveMaps,
    groups::{self, GroupReader},
    layout::{self, Globals, TracepointLayout},
    object::OBJECT,
    transport::{PerfTransport, RingTransport, Transport},
    value_size,
};
use crate::{
    btf::Btf,
    config::{BufferChoice, Config, View},
    enrich::reason::ReasonNames,
    filter::KernelFilters,
    format::ExtraField,
    preflight,
    shared_flag::SharedFlag,
};

/// Stacks that the stack-trace map holds. A stack whose place is taken goes
/// into its record instead.
const STACK_ENTRIES: u32 = 4096;

/// Frames between the eBPF program and the call site, which are unwound with
/// the callers: the program, its trampolines, and the function that frees.
const INNER_FRAMES: u32 = 6;

/// Kernel memory that groups may take, in bytes.
const GROUP_MEMORY: u64 = 64 << 20;

/// Most groups, unless the user says otherwise.
const DEFAULT_MAX_GROUPS: u64 = 128 << 10;

/// What only the kernel's code can tell apart: nothing that comes in packets.
const BY_CODE: u32 = by::REASON | by::LOCATION;

/// Most groups of [`BY_CODE`]: kernels have a few thousand places that drop.
const MAX_CODE_GROUPS: u64 = 8 << 10;

/// Bytes of the map for each group, key and counts not included: `struct
/// htab_elem` (48 bytes, `kernel/bpf/hashtab.c`), a bucket (16) and the pointer to
/// the counts.
const GROUP_OVERHEAD: u64 = 48 + 16 + 8;

/// Size of an eBPF instruction, `struct bpf_insn` in `include/uapi/linux/bpf.h`.
const INSTRUCTION_SIZE: usize = 8;

/// An entry of the map `COUNTERS`: [`Counters`] as plain integers.
type CounterWords = [u64; size_of::<Counters>() / size_of::<u64>()];

/// The attached programs. Dropping it detaches them.
pub struct KernelSide {
    ebpf: Ebpf,
    counters: PerCpuArray<MapData, CounterWords>,
    /// The maps that change while drops are traced.
    pub live: LiveMaps,
    /// What was counted in groups.
    pub groups: GroupReader,
    /// Up when drops were lost since it was taken down.
    pub drops_lost: SharedFlag,
    /// The programs that are loaded, and what attaches them.
    attached: Vec<Attached>,
}

/// A loaded program with its link, `None` after it was detached.
struct Attached {
    point: &'static AttachPoint,
    program: &'static str,
    link: Option<Link>,
    /// What the kernel tells of the program; `None` where that can't be read.
    info: Option<File>,
}

enum Link {
    BtfTracePoint(BtfTracePointLinkId),
    RawTracePoint(RawTracePointLinkId),
    KProbe(KProbeLinkId),
}

/// Reads stacks from the stack-trace map.
pub struct StackReader(StackTraceMap<MapData>);

/// A hook that can be tried.
struct Candidate {
    hook: Hook,
    /// Where to attach, or why it can't be had.
    places: Result<Vec<Place>>,
}

/// An attach point on this kernel.
struct Place {
    point: &'static AttachPoint,
    /// The id of the tracepoint's type, where its arguments can be used with their types.
    type_id: Option<u32>,
}

impl Candidate {
    /// The hook at `points` on the kernel of `btf`, or why it can't be had.
    fn new(
        hook: Hook,
        points: Result<Vec<&'static AttachPoint>>,
        config: &Config,
        btf: &Btf,
    ) -> Self {
        // The ids have to be the running kernel's.
        let takes_types = config.kernel_btf.is_none();
        let place = |point: &'static AttachPoint| Place {
            point,
            type_id: takes_types
                .then(|| btf.tracepoint_type(point.target))
                .flatten(),
        };
        Self {
            hook,
            places: points.map(|points| points.into_iter().map(place).collect()),
        }
    }

    /// The first hook that can be had, behind those that can't.
    fn up_to_first_available(config: &Config, btf: &Btf) -> Vec<Self> {
        let choice = Hook::first_available(config.hook, btf, Path::new("/"));
        let refused = choice.refusals.into_iter();
        refused
            .map(|(hook, error)| (hook, Err(error)))
            .chain(choice.hook.map(|(hook, points)| (hook, Ok(points))))
            .map(|(hook, points)| Self::new(hook, points, config, btf))
            .collect()
    }

    /// The hook, to be tried because the kernel has refused a better one that it has: that is
    /// rare, so only now the types are read again and searched for it.
    fn in_reserve(hook: Hook, config: &Config) -> Self {
        match Btf::load(config.kernel_btf.as_deref()) {
            Ok(btf) => Self::new(hook, hook.available(&btf, Path::new("/")), config, &btf),
            Err(error) => Self {
                hook,
                places: Err(error),
            },
        }
    }
}

type TracepointResult = Result<Option<TracepointLayout>>;

/// Loads the eBPF programs and attaches them.
///
/// # Errors
/// Says what failed, on what, and what to do.
pub fn load(
    config: &Config,
    filters: &KernelFilters,
    btf: Btf,
    reasons: &ReasonNames,
) -> Result<(KernelSide, Transport, StackReader)> {
    if let Err(error) = preflight::raise_memlock_limit() {
        log::debug!("{error:#}");
    }
    let mut globals = layout::kernel_fields(&btf)?;
    let tracepoint = layout::tracepoint(&btf);
    globals.extend(choices(config, filters, reasons, &tracepoint));
    globals.push(("HAS_TYPED_TASK", layout::has_typed_task(&btf).into()));
    let candidates = Candidate::up_to_first_available(config, &btf);
    // aya is about to read it all by itself.
    drop(btf);
    let max_groups = max_groups(config)?;
    let mut ebpf = load_object(config, filters, &globals, max_groups)?;
    let drops_lost = map_flag(&mut ebpf, "DROPS_LOST")?;
    let live = LiveMaps::fill(&mut ebpf, filters)?;

    let counters = PerCpuArray::try_from(take_map(&mut ebpf, "COUNTERS")?)?;
    let groups = GroupReader::open(&mut ebpf, config.group_by(), max_groups)?;
    let stacks = StackReader(StackTraceMap::try_from(take_map(&mut ebpf, "STACKS")?)?);
    // The reader is there before the first record is.
    let transport = open_transport(&mut ebpf, config)?;
    let mut kernel = KernelSide {
        ebpf,
        counters,
        live,
        groups,
        drops_lost,
        attached: Vec::new(),
    };
    let rest = Hook::candidates(config.hook).iter().skip(candidates.len());
    let rest = rest.map(|hook| Candidate::in_reserve(*hook, config));
    kernel.attach_first(candidates.into_iter().chain(rest))?;
    Ok((kernel, transport, stacks))
}

/// Whether the kernel has ring buffers (5.8 on), by making one.
///
/// # Errors
/// The kernel does not let this process make maps.
pub fn has_ring_buffer() -> Result<bool> {
    aya::sys::is_map_supported(MapType::RingBuf).context("making a ring buffer")
}

/// The globals that stand for the user's choices and the kernel's reasons.
fn choices(
    config: &Config,
    filters: &KernelFilters,
    reasons: &ReasonNames,
    tracepoint: &TracepointResult,
) -> Globals {
    let has_reason = matches!(tracepoint, Ok(Some(layout)) if layout.has_reason);
    let has_socket = matches!(tracepoint, Ok(Some(layout)) if layout.has_socket);
    vec![
        ("TRACEPOINT_HAS_REASON", has_reason.into()),
        ("TRACEPOINT_HAS_SOCKET", has_socket.into()),
        ("REASON_CONSUMED", reasons.consumed().unwrap_or(ABSENT)),
        (
            "REASON_NOT_DROPPED_YET",
            reasons.not_dropped_yet().unwrap_or(ABSENT),
        ),
        (
            "BUFFER",
            match config.buffer {
                BufferChoice::Perf => BUFFER_PERF,
                BufferChoice::Auto | BufferChoice::Ring => BUFFER_RING,
            },
        ),
        (
            "STACK_BYTES",
            unwound_frames(config, filters) * size_of::<u64>() as u32,
        ),
        ("PACKET_LEN", packet_len(config)),
        ("SAMPLE", config.sample.unwrap_or(0)),
        ("FILTERS", filters.flags),
        ("RANGE_FILTERS", filters.range_flags),
        ("WANT_DIRECTION", shows_direction(config).into()),
        ("GROUP_BY", config.group_by()),
        ("EXAMPLES", matches!(config.view, View::Top(_)).into()),
    ]
}

/// Most bytes of a packet in a record, 0 where its headers are enough. The line's headers
/// are there whatever `--snaplen` says.
fn packet_len(config: &Config) -> u32 {
    let write = config.write.as_ref();
    write.map_or(0, |write| write.snaplen.max(HEADERS_LEN as u32))
}

fn shows_direction(config: &Config) -> bool {
    config.write.is_some()
        || matches!(&config.view, View::Lines { format, .. } if format.shows(ExtraField::Dir))
}

/// How many groups the kernel side tells apart.
fn max_groups(config: &Config) -> Result<u32> {
    let Some(grouping) = config.view.grouping() else {
        return Ok(1);
    };
    let processors = nr_cpus()
        .map_err(|(path, error)| anyhow::Error::new(error).context(format!("reading {path}")))?;
    // What user space counts has the same bound.
    let by = grouping.by.iter().fold(0, |all, by| all | by.bit());
    Ok(grouping
        .max_groups
        .unwrap_or_else(|| default_max_groups(by, processors)))
}

/// As many as the memory for them allows, which counts for each processor; few where
/// there can't be many, for the kernel takes its time to make room.
fn default_max_groups(by: u32, processors: usize) -> u32 {
    let bytes = GROUP_OVERHEAD
        + size_of::<GroupKey>() as u64
        + processors as u64 * size_of::<GroupCounts>() as u64;
    let most = match by & !BY_CODE {
        0 => MAX_CODE_GROUPS,
        _ => DEFAULT_MAX_GROUPS,
    };
    (GROUP_MEMORY / bytes).min(most) as u32
}

/// Frames to unwind, 0 where stacks are off: all that there are if one of them
/// has to be found.
fn unwound_frames(config: &Config, filters: &KernelFilters) -> u32 {
    let is_searched = filters.range_flags & RangeKind::StackFunction.bit() != 0;
    match config.stack_depth {
        _ if is_searched => MAX_FRAMES as u32,
        0 => 0,
        depth => (depth + INNER_FRAMES).min(MAX_FRAMES as u32),
    }
}

fn load_object(
    config: &Config,
    filters: &KernelFilters,
    globals: &Globals,
    max_groups: u32,
) -> Result<Ebpf> {
    let mut object = OBJECT.to_vec();
    let frames = unwound_frames(config, filters);
    let stack_size = frames.max(1) * size_of::<u64>() as u32;
    value_size::change(&mut object, "STACKS", |_| stack_size)?;
    let tail = packet_len(config).saturating_sub(HEADERS_LEN as u32);
    value_size::change(&mut object, "SCRATCH", |size| {
        size.saturating_sub(MAX_TAIL as u32) + tail.next_multiple_of(8)
    })?;
    let mut loader = EbpfLoader::new();
    // Offsets come from this project's own table; the object has nothing for
    // aya to relocate.
    loader.btf(None);
    for (name, value) in globals {
        loader.override_global(name, value, true);
    }
    let rate_limit = config.kernel_rate_limit();
    if let Some(limit) = &rate_limit {
        loader.override_global("RATE_INTERVAL_NS", &limit.interval_ns, true);
        loader.override_global("RATE_BURST_NS", &limit.burst_ns, true);
    }
    let counted_groups = match config.group_by() {
        0 => 1,
        _ => max_groups,
    };
    loader.map_max_entries(groups::map_name(config.group_by()), counted_groups);
    loader.map_max_entries("STACKS", if frames == 0 { 1 } else { STACK_ENTRIES });
    // The kernel takes whole pages only, also of a ring that is not used.
    let ring_bytes = match config.buffer {
        BufferChoice::Perf => rustix::param::page_size() as u32,
        BufferChoice::Auto | BufferChoice::Ring => config.buffer_size,
    };
    loader.map_max_entries("RECORDS_RING", ring_bytes);
    let log_level = aya_log_level();
    loader.override_global(aya_log::LEVEL, &log_level, true);
    // Writing the verifier's log takes longer than the verification.
    loader.verifier_log_level(if log::log_enabled!(log::Level::Debug) {
        VerifierLogLevel::DEBUG | VerifierLogLevel::STATS
    } else {
        VerifierLogLevel::DISABLE
    });
    loader
        .load(&object)
        .map_err(|error| preflight::explain_bpf_error(error.into()))
}

/// Most verbose level that the eBPF side's diagnostics have: with 0 the
/// verifier removes them all.
fn aya_log_level() -> u8 {
    if log::log_enabled!(target: "dropwatch_ebpf", log::Level::Debug) {
        aya_log::Level::Debug as u8
    } else {
        0
    }
}

/// A map that the programs still need to be loaded with: it must stay open.
pub(super) fn map_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map> {
    ebpf.map_mut(name)
        .ok_or_else(|| anyhow!("the eBPF object has no map {name}"))
}

pub(super) fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
    ebpf.take_map(name)
        .ok_or_else(|| anyhow!("the eBPF object has no map {name}"))
}

/// Maps the array of one flag into this process's memory.
fn map_flag(ebpf: &mut Ebpf, name: &str) -> Result<SharedFlag> {
    let Map::Array(array) = map_mut(ebpf, name)? else {
        bail!("the map {name} is no array");
    };
    SharedFlag::map(array.fd().as_fd()).with_context(|| format!("mapping the map {name}"))
}

fn open_transport(ebpf: &mut Ebpf, config: &Config) -> Result<Transport> {
    if config.buffer == BufferChoice::Perf {
        let buffers = PerfEventArray::try_from(take_map(ebpf, "RECORDS_PERF")?)?;
        log::info!("buffer perf: chosen with --buffer; the kernel wakes the reader for every drop");
        return Ok(Transport::Perf(Box::new(PerfTransport::new(
            buffers,
            config.buffer_size,
        )?)));
    }
    let ring = RingBuf::try_from(take_map(ebpf, "RECORDS_RING")?)?;
    let waits = map_flag(ebpf, "READER_WAITS")?;
    log::info!(
        "buffer ring: {} bytes, shared by all processors",
        config.buffer_size
    );
    Ok(Transport::Ring(Box::new(RingTransport::new(ring, waits)?)))
}

impl KernelSide {
    /// Attaches the first hook of `candidates` that can be had.
    fn attach_first(&mut self, candidates: impl Iterator<Item = Candidate>) -> Result<()> {
        let mut refusals = Vec::new();
        for Candidate { hook, places } in candidates {
            match places.and_then(|places| self.attach(hook, &places)) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    log::info!("hook {} can't be used: {error:#}", hook.name());
                    refusals.push(error.context(format!("hook {}", hook.name())));
                }
            }
            self.detach()?;
            self.attached.clear();
        }
        let mut refusals = refusals.into_iter();
        let first = refusals.next().unwrap_or_else(|| anyhow!("no hook"));
        Err(refusals.fold(first, |all, next| anyhow!("{all:#}; {next:#}")))
    }

    fn attach(&mut self, hook: Hook, places: &[Place]) -> Result<()> {
        for place in places {
            let point = place.point;
            let program = self
                .attach_point(place)
                .with_context(|| format!("attaching to {}", point.target))?;
            self.attached.push(program);
            log::info!(
                "hook {} ({}): attached to {} (kernels: {}); does not see: {}",
                hook.name(),
                hook.merit(),
                point.target,
                point.kernels,
                point.blind_to
            );
        }
        Ok(())
    }

    /// Attaches the better one of the point's programs that the kernel takes.
    fn attach_point(&mut self, &Place { point, type_id }: &Place) -> Result<Attached> {
        if let (Some(name), Some(type_id)) = (point.typed_program, type_id) {
            let attached = self.attach_program(point, name, |program| {
                attach_typed(program, point.target, type_id).map(Link::BtfTracePoint)
            });
            match attached {
                Ok(attached) => return Ok(attached),
                Err(error) => log::info!("program {name} can't be used: {error:#}"),
            }
        }
        self.attach_program(point, point.program, |program| match point.hook {
            Hook::Tracepoint => attach_tracepoint(program, point.target).map(Link::RawTracePoint),
            Hook::Kprobe => attach_kprobe(program, point.target).map(Link::KProbe),
        })
    }

    fn attach_program(
        &mut self,
        point: &'static AttachPoint,
        name: &'static str,
        attach: impl FnOnce(&mut Program) -> Result<Link, ProgramError>,
    ) -> Result<Attached> {
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or_else(|| anyhow!("the eBPF object has no program {name}"))?;
        let link = attach(program).map_err(|error| preflight::explain_bpf_error(error.into()))?;
        let fd = program.fd().context("reading a program's descriptor")?;
        let info = open_info(fd.as_fd().as_raw_fd());
        if let Ok(info) = program.info() {
            tell_size(name, &info);
        }
        Ok(Attached {
            point,
            program: name,
            link: Some(link),
            info,
        })
    }

    /// The programs that are attached, by where.
    pub fn attached(&self) -> impl Iterator<Item = (&'static AttachPoint, &'static str)> {
        let attached = self.attached.iter();
        attached.map(|attached| (attached.point, attached.program))
    }

    /// Detaches the programs. They stay loaded, and with them the kernel's
    /// count of the drops that they missed.
    ///
    /// A processor can still be in the middle of a program for a moment.
    ///
    /// # Errors
    /// A program can't be detached.
    pub fn detach(&mut self) -> Result<()> {
        for attached in &mut self.attached {
            let program = self.ebpf.program_mut(attached.program);
            match (attached.link.take(), program) {
                (Some(Link::BtfTracePoint(link)), Some(Program::BtfTracePoint(program))) => {
                    program.detach(link)
                }
                (Some(Link::RawTracePoint(link)), Some(Program::RawTracePoint(program))) => {
                    program.detach(link)
                }
                (Some(Link::KProbe(link)), Some(Program::KProbe(program))) => program.detach(link),
                _ => Ok(()),
            }
            .with_context(|| format!("detaching from {}", attached.point.target))?;
        }
        Ok(())
    }

    /// The sum of the counters of all processors.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn counters(&self) -> Result<Counters> {
        let per_cpu = self
            .counters
            .get(&0, 0)
            .context("reading the kernel side's counters")?;
        let sum = |index: usize| per_cpu.iter().map(|words| words[index]).sum();
        Ok(Counters {
            seen: sum(0),
            filtered: sum(1),
            sampled_out: sum(2),
            limited: sum(3),
            lost: sum(4),
            grouped: sum(5),
            no_group: sum(6),
            no_group_packets: sum(7),
            no_group_bytes: sum(8),
            nesting: sum(9),
            sampled_from: sum(10),
        })
    }

    /// Drops for which the kernel did not run the tracepoint's program, because
    /// it ran already on the same processor. The kernel counts them from 5.12
    /// on.
    ///
    /// # Errors
    /// The kernel's count can't be read.
    pub fn missed(&self) -> Result<u64> {
        self.recursion_misses(|hook| hook == Hook::Tracepoint)
    }

    /// Calls of probed functions for which the kernel did not run the program.
    /// Unlike [`KernelSide::missed`], they may or may not have been drops.
    ///
    /// # Errors
    /// The kernel's count can't be read.
    pub fn skipped_probes(&self) -> Result<u64> {
        self.recursion_misses(|hook| hook == Hook::Kprobe)
    }

    fn recursion_misses(&self, wanted: impl Fn(Hook) -> bool) -> Result<u64> {
        let attached = self.attached.iter();
        attached
            .filter(|attached| wanted(attached.point.hook))
            .filter_map(|attached| attached.info.as_ref())
            .map(recursion_misses)
            .sum()
    }

    /// The diagnostics of the eBPF side.
    ///
    /// # Errors
    /// They can't be opened.
    pub fn diagnostics(&mut self) -> Result<Diagnostics> {
        Diagnostics::new(&mut self.ebpf, aya_log_level())
    }
}

/// Tells what the verifier has left of a program (nothing of filters that are off), and how many
/// instructions it has looked at for it, where the kernel says so (5.16 on).
fn tell_size(name: &str, info: &ProgramInfo) {
    let Some(bytes) = info.size_translated() else {
        return;
    };
    let left = bytes as usize / INSTRUCTION_SIZE;
    match info.verified_instruction_count() {
        Some(verified) => {
            log::info!("program {name}: {left} instructions, {verified} verified");
        }
        None => log::info!("program {name}: {left} instructions"),
    }
}

fn attach_tracepoint(
    program: &mut Program,
    target: &str,
) -> Result<RawTracePointLinkId, ProgramError> {
    let program: &mut RawTracePoint = program.try_into()?;
    program.load()?;
    program.attach(target)
}

/// Attaches to the tracepoint whose type has the id `type_id`.
fn attach_typed(
    program: &mut Program,
    target: &str,
    type_id: u32,
) -> Result<BtfTracePointLinkId, ProgramError> {
    let program: &mut BtfTracePoint = program.try_into()?;
    program.load(
        target,
        &stand_in_btf(&format!("btf_trace_{target}"), type_id)?,
    )?;
    program.attach()
}

/// BTF in which the typedef `name` has the id `id`, and nothing else has a name.
///
/// aya looks up the id by itself, but takes more time and memory to read the kernel's
/// BTF than all the rest of a start.
fn stand_in_btf(name: &str, id: u32) -> Result<aya::Btf, aya::BtfError> {
    /// Types that can be empty, `include/uapi/linux/btf.h`: `BTF_KIND_FWD` and
    /// `BTF_KIND_TYPEDEF` in the place of `btf_type.info`.
    const FORWARD: u32 = 7 << 24;
    const TYPEDEF: u32 = 8 << 24;
    const MAGIC: u32 = 0xeb9f | 1 << 16;
    const HEADER_SIZE: u32 = 24;
    const TYPE_SIZE: u32 = 12;

    let types_len = id * TYPE_SIZE;
    // The first string is the empty one.
    let strings_len = name.len() as u32 + 2;
    let header = [MAGIC, HEADER_SIZE, 0, types_len, types_len, strings_len];
    let others = (1..id).flat_map(|_| [0, FORWARD, 0]);
    let words = header.into_iter().chain(others).chain([1, TYPEDEF, 0]);
    let mut bytes: Vec<u8> = Vec::with_capacity((HEADER_SIZE + types_len + strings_len) as usize);
    bytes.extend(words.flat_map(u32::to_ne_bytes));
    bytes.push(0);
    bytes.extend(name.bytes());
    bytes.push(0);
    aya::Btf::parse(&bytes, object::Endianness::default())
}

fn attach_kprobe(program: &mut Program, target: &str) -> Result<KProbeLinkId, ProgramError> {
    let program: &mut KProbe = program.try_into()?;
    program.load()?;
    program.attach(target, 0)
}

/// Opens what the kernel tells of the program with this descriptor, while it may be opened. A run
/// goes on without it.
fn open_info(fd: i32) -> Option<File> {
    let path = format!("/proc/self/fdinfo/{fd}");
    File::open(&path)
        .inspect_err(|error| {
            log::warn!(
                "opening {path}: {error}; drops that the kernel skips will not be in the account"
            );
        })
        .ok()
}

/// How often the kernel skipped a program (`bpf_prog_show_fdinfo` in `kernel/bpf/syscall.c`).
fn recursion_misses(mut file: &File) -> Result<u64> {
    let mut info = String::new();
    file.rewind()
        .and_then(|()| file.read_to_string(&mut info))
        .context("reading what the kernel tells of a program")?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"));
    line.map_or(Ok(0), |count| {
        let count = count.trim();
        count
            .parse()
            .with_context(|| format!("recursion_misses of a program: {count}"))
    })
}

impl StackReader {
    /// The stack with this id, innermost frame first; `None` if there is none.
    pub fn get(&self, id: u32) -> Option<Vec<u64>> {
        let stack = self.0.get(&id, 0).ok()?;
        Some(stack.frames().iter().map(|frame| frame.ip).collect())
    }
}
