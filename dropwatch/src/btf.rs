//! Reading the running kernel's type information (BTF).
//!
//! A kernel's BTF is 3 to 10 MB with more than 100,000 types, of which a dozen matter here, once,
//! at start. So the file is read whole, one pass checks it and notes where each type begins, and a
//! small sorted index finds the named types; nothing else is decoded before it is asked for.
//! The format mirrors `include/uapi/linux/btf.h` and `Documentation/bpf/btf.rst`.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};

/// Where a kernel built with `CONFIG_DEBUG_INFO_BTF` exports its own BTF.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Longest chain of typedefs and qualifiers, or nest of anonymous structs, that is followed.
/// Kernels need about six; more means that garbled BTF refers to itself.
const MAX_DEPTH: usize = 32;

/// The BTF of a kernel, or of one of its modules on top of the kernel's.
#[derive(Debug, Clone)]
pub struct Btf {
    own: Arc<Section>,
    /// The kernel's BTF, which a module's refers to by type ids and string offsets.
    base: Option<Arc<Section>>,
}

/// Where a member lies in its outermost struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Distance in bytes from the start of the outermost struct. For a bit field: of the byte
    /// that holds its first bit.
    pub offset: u32,
    /// Size in bytes; 0 for a flexible array. For a bit field: of the bytes that it touches.
    pub size: u32,
    /// Set for a bit field.
    pub bits: Option<Bits>,
}

/// The part of the bytes at [`Member::offset`] that a bit field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits {
    /// First bit, counted from the least significant one on little-endian machines and from the
    /// most significant one on big-endian machines (0 to 7).
    pub offset: u32,
    /// Number of bits.
    pub size: u32,
}

/// One argument of a tracepoint or a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// Name of the parameter; tracepoint prototypes have none.
    pub name: Option<String>,
    /// What is passed.
    pub kind: ArgKind,
}

/// The type of an [`Arg`], as far as finding an argument by its type needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgKind {
    /// A pointer, with the name of the type pointed to; `None` for `void *`.
    Pointer(Option<String>),
    /// A value of the named enum.
    Enum(String),
    /// An integer (or a boolean) of this size in bytes.
    Integer(u32),
    /// Anything else.
    Other,
}

impl Arg {
    /// Whether the argument is a pointer to the named struct.
    pub fn points_to(&self, strukt: &str) -> bool {
        matches!(&self.kind, ArgKind::Pointer(Some(name)) if name == strukt)
    }

    /// Whether the argument is a value of the named enum.
    pub fn is_enum(&self, name: &str) -> bool {
        matches!(&self.kind, ArgKind::Enum(it) if it == name)
    }

    /// Whether the argument is a `void *`.
    pub fn is_void_pointer(&self) -> bool {
        self.kind == ArgKind::Pointer(None)
    }
}

impl fmt::Display for Arg {
    /// As `reason: enum skb_drop_reason`, as far as it is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        match &self.kind {
            ArgKind::Pointer(None) => f.write_str("void *"),
            ArgKind::Pointer(Some(name)) if name.is_empty() => f.write_str("? *"),
            ArgKind::Pointer(Some(name)) => write!(f, "{name} *"),
            ArgKind::Enum(name) => write!(f, "enum {name}"),
            ArgKind::Integer(bytes) => write!(f, "int{}", u64::from(*bytes) * 8),
            ArgKind::Other => f.write_str("?"),
        }
    }
}

/// One `NAME = value` of an enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enumerator {
    /// Name as in the kernel's source.
    pub name: String,
    /// Value; wide enough for signed and unsigned enums of 64 bits.
    pub value: i128,
}

/// The bytes of the running kernel's own BTF.
fn read_own_btf() -> Result<Vec<u8>> {
    fs::read(VMLINUX_BTF).map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::NotFound => {
                "; the kernel was built without CONFIG_DEBUG_INFO_BTF, or /sys is not mounted; \
                 give a BTF file for this kernel with --kernel-btf FILE"
            }
            _ => "",
        };
        anyhow!("reading the kernel's BTF from {VMLINUX_BTF}: {error}{advice}")
    })
}

impl Btf {
    /// Reads the kernel's BTF from `path`, or from [`VMLINUX_BTF`].
    ///
    /// # Errors
    /// The file can't be read (with what to do about it) or is not the whole BTF of a kernel.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let data = match path {
            Some(path) => fs::read(path)
                .with_context(|| format!("reading the kernel's BTF from {}", path.display()))?,
            None => read_own_btf()?,
        };
        let path = path.unwrap_or(Path::new(VMLINUX_BTF));
        Self::from_bytes(data, path)
    }

    /// Takes BTF that is already in memory; `path` names it in error messages.
    ///
    /// # Errors
    /// The bytes are not the whole BTF of a kernel.
    pub fn from_bytes(data: Vec<u8>, path: &Path) -> Result<Self> {
        let own = Section::parse(data, path, None)
            .with_context(|| format!("{} is not a usable kernel BTF", path.display()))?;
        Ok(Self {
            own: Arc::new(own),
            base: None,
        })
    }

    /// Reads a module's BTF (`/sys/kernel/btf/MODULE`), which builds on `self`.
    ///
    /// # Errors
    /// `self` is a module's, the file can't be read, or it doesn't fit this kernel.
    pub fn load_module(&self, path: &Path) -> Result<Self> {
        let data = fs::read(path)
            .with_context(|| format!("reading the module's BTF from {}", path.display()))?;
        self.module_from_bytes(data, path)
    }

    /// The same from `data`; `path` is for messages only.
    ///
    /// # Errors
    /// `self` is a module's, or `data` is damaged.
    pub fn module_from_bytes(&self, data: Vec<u8>, path: &Path) -> Result<Self> {
        ensure!(
            self.base.is_none(),
            "a module's BTF can't be the base of {}",
            path.display()
        );
        let own = Section::parse(data, path, Some(&self.own))
            .with_context(|| format!("{} is not a usable module BTF", path.display()))?;
        Ok(Self {
            own: Arc::new(own),
            base: Some(Arc::clone(&self.own)),
        })
    }

    /// Finds a member by a path such as `len` or `__sk_common.skc_net.net`.
    ///
    /// `strukt` names a struct, a union, or a typedef of one. Each step of the path is looked for
    /// in anonymous members as well, as the C compiler does. `None` if this kernel has no such
    /// struct or member. Where several structs share the name (drivers do that), the largest one
    /// with that member counts.
    ///
    /// # Errors
    /// The BTF contradicts itself.
    pub fn member(&self, strukt: &str, path: &str) -> Result<Option<Member>> {
        let mut best: Option<(u32, Member)> = None;
        for id in self.composites(strukt) {
            let size = self.get(id)?.size_or_type;
            let Some(member) = self.member_of(id, path)? else {
                continue;
            };
            if best.is_none_or(|(largest, _)| size > largest) {
                best = Some((size, member));
            }
        }
        Ok(best.map(|(_, member)| member))
    }

    /// Size in bytes of a struct, a union, or a typedef of one; of the largest one with this name.
    pub fn struct_size(&self, name: &str) -> Option<u32> {
        self.composites(name)
            .filter_map(|id| Some(self.get(id).ok()?.size_or_type))
            .max()
    }

    /// Whether this kernel defines a struct, a union, or a typedef of one with this name.
    pub fn has_struct(&self, name: &str) -> bool {
        self.composites(name).next().is_some()
    }

    /// The arguments that a raw tracepoint program gets, in order; `None` if the kernel has no
    /// such tracepoint.
    ///
    /// They come from `btf_trace_NAME`, the type of the probe function (`__DEFINE_TRACE` in
    /// `include/trace/bpf_probe.h`), whose first parameter `void *__data` no program sees.
    pub fn tracepoint_args(&self, tracepoint: &str) -> Option<Vec<Arg>> {
        let typedef = self.tracepoint_type(tracepoint)?;
        let pointer = self.get(self.resolve(typedef).ok()?).ok()?;
        let proto = self.get(pointer.size_or_type).ok()?;
        if pointer.kind != Kind::Ptr || proto.kind != Kind::FuncProto {
            return None;
        }
        let mut args = self.args_of(&proto);
        (!args.is_empty()).then(|| {
            args.remove(0);
            args
        })
    }

    /// The id of `btf_trace_NAME`, the type by which a program is attached to a tracepoint; `None`
    /// if the kernel has no such tracepoint.
    pub fn tracepoint_type(&self, tracepoint: &str) -> Option<u32> {
        self.named(&format!("btf_trace_{tracepoint}"))
            .find(|&id| self.get(id).is_ok_and(|t| t.kind == Kind::Typedef))
    }

    /// The parameters of a function of the kernel, in order; `None` if there is no such function
    /// (functions that are inlined everywhere are left out of BTF).
    pub fn function_args(&self, function: &str) -> Option<Vec<Arg>> {
        let func = self.own.function(function, self.base.as_deref())?;
        let proto = self.get(func.size_or_type).ok()?;
        (proto.kind == Kind::FuncProto).then(|| self.args_of(&proto))
    }

    /// The enumerators of an enum, or of a typedef of one, in the order of declaration; those whose
    /// name is no [`Btf::word`] are left out.
    pub fn enum_values(&self, name: &str) -> Option<Vec<Enumerator>> {
        self.named(name)
            .filter_map(|id| self.get(self.resolve(id).ok()?).ok())
            .find(|t| t.is_enum())
            .map(|t| self.enumerators_of(&t))
    }

    /// All enums whose name `wanted` accepts, with their enumerators, in the order of the file; of
    /// a module's BTF only the module's own.
    pub fn enums(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, Vec<Enumerator>)> {
        let mut ids: Vec<u32> = self.own.names.iter().map(|&(_, id)| id).collect();
        ids.sort_unstable();
        ids.into_iter()
            .filter_map(|id| self.raw(id))
            .filter(RawType::is_enum)
            .filter_map(|t| Some((self.string(t.name)?, t)))
            .filter(|(name, _)| wanted(name))
            .map(|(name, t)| (name.to_owned(), self.enumerators_of(&t)))
            .collect()
    }

    /// The raw types in order of their ids, the first one with id 1; of a module's BTF only the
    /// module's own.
    pub fn types(&self) -> impl Iterator<Item = RawType<'_>> {
        (0..self.own.starts.len()).filter_map(|index| self.own.raw(index))
    }

    /// The type with this id; `None` for `void` (0) and ids out of range.
    pub fn raw(&self, id: u32) -> Option<RawType<'_>> {
        let own = id.checked_sub(self.own.first_id);
        match (own, &self.base) {
            (Some(index), _) => self.own.raw(index as usize),
            (None, Some(base)) => base.raw(id.checked_sub(base.first_id)? as usize),
            (None, None) => None,
        }
    }

    /// The string at this offset; `None` if it is out of range or not printable ASCII. Kernels have
    /// no others, and what is in a file that somebody gives must control no terminal.
    pub fn string(&self, offset: u32) -> Option<&str> {
        let bytes = match (offset.checked_sub(self.own.first_string), &self.base) {
            (Some(offset), _) => self.own.string(offset)?,
            (None, base) => base.as_ref()?.string(offset)?,
        };
        let is_printable = |text: &&str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        std::str::from_utf8(bytes).ok().filter(is_printable)
    }

    /// The same, `None` also if it holds a space: names in C have none, but for those of integers, and
    /// what lines show must be one token.
    pub fn word(&self, offset: u32) -> Option<&str> {
        self.string(offset).filter(|text| !text.contains(' '))
    }

    fn get(&self, id: u32) -> Result<RawType<'_>> {
        self.raw(id)
            .with_context(|| format!("{}: no type has the id {id}", self.own.path.display()))
    }

    /// The ids of the structs, unions, enums and typedefs with this name, the module's own first.
    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        let base = self.base.iter().flat_map(|base| base.candidates(name));
        self.own
            .candidates(name)
            .chain(base)
            .filter(move |&id| self.raw(id).and_then(|t| self.string(t.name)) == Some(name))
    }

    /// The ids of the structs and unions that `name` means, looking through typedefs.
    fn composites<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.named(name)
            .filter_map(|id| self.resolve(id).ok())
            .filter(|&id| self.raw(id).is_some_and(|t| t.is_composite()))
    }

    /// Looks through typedefs, qualifiers and tags.
    fn resolve(&self, mut id: u32) -> Result<u32> {
        for _ in 0..MAX_DEPTH {
            match self.raw(id) {
                Some(t) if t.is_alias() => id = t.size_or_type,
                _ => return Ok(id),
            }
        }
        bail!("{}: type {id} refers to itself", self.own.path.display())
    }

    /// Walks `path` from the struct or union `id`.
    fn member_of(&self, id: u32, path: &str) -> Result<Option<Member>> {
        let mut id = id;
        let mut bit = 0u32;
        let mut found = None;
        for step in path.split('.') {
            if found.take().is_some_and(|f: Found| f.bits != 0) || step.is_empty() {
                return Ok(None);
            }
            let Some(step) = self.find_in(id, step, 0)? else {
                return Ok(None);
            };
            bit = self.add_bits(bit, step.bit)?;
            id = self.resolve(step.type_id)?;
            found = Some(step);
        }
        let Some(found) = found else { return Ok(None) };
        let (offset, first) = (bit / 8, bit % 8);
        if found.bits == 0 {
            let size = self.size_of(id, 0)?;
            return Ok(Some(Member {
                offset,
                size,
                bits: None,
            }));
        }
        Ok(Some(Member {
            offset,
            size: (first + found.bits).div_ceil(8),
            bits: Some(Bits {
                offset: first,
                size: found.bits,
            }),
        }))
    }

    /// Looks for the member `name` in the struct or union `id` and its anonymous members.
    fn find_in(&self, id: u32, name: &str, depth: usize) -> Result<Option<Found>> {
        ensure!(
            depth < MAX_DEPTH,
            "{}: type {id} contains itself",
            self.own.path.display()
        );
        let t = self.get(id)?;
        if !t.is_composite() {
            return Ok(None);
        }
        for member in t.members() {
            let at = self.string(member.name).with_context(|| {
                let path = self.own.path.display();
                format!("{path}: the name of a member of type {id} is no text")
            })?;
            if at == name {
                return Ok(Some(Found {
                    type_id: member.type_id,
                    bit: member.bit,
                    bits: self.bits_of(&member),
                }));
            }
            if !at.is_empty() {
                continue;
            }
            // The member is anonymous; its type can still have a name (`-fms-extensions`, as
            // `struct ns_tree;` within `struct ns_common` from 7.0 on).
            let inner = self.resolve(member.type_id)?;
            if let Some(mut found) = self.find_in(inner, name, depth + 1)? {
                found.bit = self.add_bits(found.bit, member.bit)?;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn add_bits(&self, a: u32, b: u32) -> Result<u32> {
        a.checked_add(b).with_context(|| {
            let path = self.own.path.display();
            format!("{path}: a member lies outside every struct")
        })
    }

    /// Width of a bit field, 0 for other members. Old encoders give the width with the type.
    fn bits_of(&self, member: &RawMember) -> u32 {
        if member.bits != 0 {
            return member.bits;
        }
        match self
            .resolve(member.type_id)
            .ok()
            .and_then(|id| self.raw(id))
        {
            Some(t) if t.kind == Kind::Int => {
                let bits = t.word(0) & 0xff;
                let whole = t.size_or_type.saturating_mul(8);
                if bits < whole { bits } else { 0 }
            }
            _ => 0,
        }
    }

    /// Size in bytes of the type `id`.
    fn size_of(&self, id: u32, depth: usize) -> Result<u32> {
        ensure!(
            depth < MAX_DEPTH,
            "{}: type {id} contains itself",
            self.own.path.display()
        );
        let t = self.get(self.resolve(id)?)?;
        match t.kind {
            // The kernels that dropwatch runs on use 64-bit pointers.
            Kind::Ptr => Ok(8),
            Kind::Array => {
                let element = self.size_of(t.word(0), depth + 1)?;
                element.checked_mul(t.word(2)).with_context(|| {
                    let path = self.own.path.display();
                    format!("{path}: array {id} is larger than any memory")
                })
            }
            _ if t.has_size() => Ok(t.size_or_type),
            _ => bail!("{}: type {id} has no size", self.own.path.display()),
        }
    }

    fn args_of(&self, proto: &RawType<'_>) -> Vec<Arg> {
        proto
            .params()
            .map(|(name, type_id)| Arg {
                name: self
                    .string(name)
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned),
                kind: self.arg_kind(type_id).unwrap_or(ArgKind::Other),
            })
            .collect()
    }

    fn arg_kind(&self, type_id: u32) -> Option<ArgKind> {
        let t = self.raw(self.resolve(type_id).ok()?)?;
        let name = || self.string(t.name).map(str::to_owned);
        match t.kind {
            Kind::Ptr => match self.resolve(t.size_or_type).ok()? {
                0 => Some(ArgKind::Pointer(None)),
                id => {
                    let pointee = self.string(self.raw(id)?.name)?;
                    Some(ArgKind::Pointer(Some(pointee.to_owned())))
                }
            },
            Kind::Enum | Kind::Enum64 => name().map(ArgKind::Enum),
            Kind::Int => Some(ArgKind::Integer(t.size_or_type)),
            _ => None,
        }
    }

    fn enumerators_of(&self, t: &RawType<'_>) -> Vec<Enumerator> {
        t.enumerators()
            .filter_map(|(name, value)| {
                let name = self.word(name)?.to_owned();
                Some(Enumerator { name, value })
            })
            .collect()
    }
}

/// A member found by name: its place in bits from the start of the struct, and its type.
struct Found {
    type_id: u32,
    bit: u32,
    /// Width of a bit field, 0 for other members.
    bits: u32,
}

/// The kinds of type records, `BTF_KIND_*` in `include/uapi/linux/btf.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An integer, a boolean or a character.
    Int,
    /// A pointer.
    Ptr,
    /// An array.
    Array,
    /// A struct.
    Struct,
    /// A union.
    Union,
    /// An enum of 32 bits or less.
    Enum,
    /// A struct or union that is declared, not defined.
    Fwd,
    /// Another name for a type.
    Typedef,
    /// `volatile`.
    Volatile,
    /// `const`.
    Const,
    /// `restrict`.
    Restrict,
    /// A function, by name; its type is a `FuncProto`.
    Func,
    /// The parameters and the result of a function.
    FuncProto,
    /// A global variable.
    Var,
    /// A section with variables.
    Datasec,
    /// A floating-point number.
    Float,
    /// A note on a declaration.
    DeclTag,
    /// A note on a type, as `__rcu`.
    TypeTag,
    /// An enum of 64 bits.
    Enum64,
    /// Newer than this program; its size came from the BTF's own layout section.
    Unknown(u8),
}

impl Kind {
    /// The kind with this number in the format.
    fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Int,
            2 => Self::Ptr,
            3 => Self::Array,
            4 => Self::Struct,
            5 => Self::Union,
            6 => Self::Enum,
            7 => Self::Fwd,
            8 => Self::Typedef,
            9 => Self::Volatile,
            10 => Self::Const,
            11 => Self::Restrict,
            12 => Self::Func,
            13 => Self::FuncProto,
            14 => Self::Var,
            15 => Self::Datasec,
            16 => Self::Float,
            17 => Self::DeclTag,
            18 => Self::TypeTag,
            19 => Self::Enum64,
            other => Self::Unknown(other),
        }
    }

    /// Bytes after the common 12 of a record: fixed ones, and for each of its elements.
    fn body(self) -> Option<(usize, usize)> {
        match self {
            Self::Int | Self::Var | Self::DeclTag => Some((4, 0)),
            Self::Array => Some((12, 0)),
            Self::Struct | Self::Union | Self::Datasec | Self::Enum64 => Some((0, 12)),
            Self::Enum | Self::FuncProto => Some((0, 8)),
            Self::Ptr
            | Self::Fwd
            | Self::Typedef
            | Self::Volatile
            | Self::Const
            | Self::Restrict
            | Self::Func
            | Self::Float
            | Self::TypeTag => Some((0, 0)),
            Self::Unknown(_) => None,
        }
    }

    /// Whether the index finds types of this kind by name.
    fn is_indexed(self) -> bool {
        matches!(
            self,
            Self::Struct | Self::Union | Self::Enum | Self::Enum64 | Self::Typedef
        )
    }
}

/// A type record as it is in the file.
#[derive(Debug, Clone, Copy)]
pub struct RawType<'a> {
    /// Offset of the name, see [`Btf::string`]; 0 (the empty string) if it has none.
    pub name: u32,
    /// What it is.
    pub kind: Kind,
    /// The flag in the top bit of `info`: bit fields in a struct, a union in a forward
    /// declaration, a signed enum.
    pub flag: bool,
    /// Size in bytes or id of a type, as the kind has it.
    pub size_or_type: u32,
    /// What follows the common 12 bytes.
    pub body: &'a [u8],
}

/// A member of a struct or union as it is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawMember {
    /// Offset of the name, see [`Btf::string`].
    pub name: u32,
    /// Id of its type.
    pub type_id: u32,
    /// Distance in bits from the start of the struct.
    pub bit: u32,
    /// Width of a bit field in bits, 0 for other members.
    pub bits: u32,
}

impl RawType<'_> {
    /// The 32-bit number at `index` in the body, 0 if that is outside.
    pub fn word(&self, index: usize) -> u32 {
        u32_at(self.body, index * 4).unwrap_or(0)
    }

    /// The members of a struct or union.
    pub fn members(&self) -> impl Iterator<Item = RawMember> {
        let count = if self.is_composite() {
            self.body.len() / 12
        } else {
            0
        };
        (0..count).map(|i| {
            let place = self.word(i * 3 + 2);
            let (bit, bits) = if self.flag {
                (place & 0xff_ffff, place >> 24)
            } else {
                (place, 0)
            };
            RawMember {
                name: self.word(i * 3),
                type_id: self.word(i * 3 + 1),
                bit,
                bits,
            }
        })
    }

    /// Name offset and type id of each parameter of a function prototype.
    pub fn params(&self) -> impl Iterator<Item = (u32, u32)> {
        let count = match self.kind {
            Kind::FuncProto => self.body.len() / 8,
            _ => 0,
        };
        (0..count).map(|i| (self.word(i * 2), self.word(i * 2 + 1)))
    }

    /// Name offset and value of each enumerator of an enum.
    pub fn enumerators(&self) -> impl Iterator<Item = (u32, i128)> {
        let words = match self.kind {
            Kind::Enum => 2,
            _ => 3,
        };
        let count = if self.is_enum() {
            self.body.len() / (words * 4)
        } else {
            0
        };
        (0..count).map(move |i| {
            let low = self.word(i * words + 1);
            let value = match (words, self.flag) {
                (2, false) => i128::from(low),
                (2, true) => i128::from(low.cast_signed()),
                (_, signed) => {
                    let value = u64::from(self.word(i * words + 2)) << 32 | u64::from(low);
                    if signed {
                        i128::from(value.cast_signed())
                    } else {
                        i128::from(value)
                    }
                }
            };
            (self.word(i * words), value)
        })
    }

    fn is_composite(&self) -> bool {
        matches!(self.kind, Kind::Struct | Kind::Union)
    }

    fn is_enum(&self) -> bool {
        matches!(self.kind, Kind::Enum | Kind::Enum64)
    }

    /// Whether the type is another one under a name, with a qualifier or with a tag.
    fn is_alias(&self) -> bool {
        matches!(
            self.kind,
            Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag
        )
    }

    fn has_size(&self) -> bool {
        self.is_composite() || self.is_enum() || matches!(self.kind, Kind::Int | Kind::Float)
    }
}

/// One file of BTF, checked.
#[derive(Debug)]
struct Section {
    /// For error messages.
    path: PathBuf,
    data: Vec<u8>,
    strings: Range<usize>,
    /// Place in `data` of each type record.
    starts: Vec<u32>,
    /// Bytes of records of kinds that this program doesn't know; empty for most kernels.
    layout: Range<usize>,
    /// Hash of the name and id of each struct, union, enum and typedef, sorted.
    names: Vec<(u32, u32)>,
    /// Id of the first type record: 1, or for a module the first that the kernel doesn't use.
    first_id: u32,
    /// Offset of the first string: 0, or for a module where the kernel's strings end.
    first_string: u32,
}

impl Section {
    /// Checks every record, so that later reads stay in range.
    fn parse(data: Vec<u8>, path: &Path, base: Option<&Self>) -> Result<Self> {
        let header = Header::parse(&data)?;
        let mut section = Self {
            path: path.to_owned(),
            strings: header.strings,
            layout: header.layout,
            starts: Vec::new(),
            names: Vec::new(),
            first_id: base.map_or(1, Self::end_id),
            first_string: base.map_or(0, |base| base.first_string + base.strings_len()),
            data,
        };
        let strings = &section.data[section.strings.clone()];
        ensure!(strings.last() == Some(&0), "its strings have no end");
        ensure!(
            base.is_some() || strings.first() == Some(&0),
            "it is the BTF of a module, where that of the kernel is needed"
        );
        section.index(header.types, base)?;
        Ok(section)
    }

    /// Finds where each record starts, and indexes the names.
    fn index(&mut self, types: Range<usize>, base: Option<&Self>) -> Result<()> {
        let mut starts = Vec::with_capacity(types.len() / 24);
        let mut names = Vec::new();
        let mut at = types.start;
        while at < types.end {
            let (kind, len) = self.record(at)?;
            ensure!(
                len <= types.end - at,
                "it is truncated: the last type record is not whole"
            );
            if kind.is_indexed() {
                let offset = u32_at(&self.data, at).unwrap_or(0);
                let name = self.name(offset, base);
                let name = name.context("it is garbled: the name of a type is out of range")?;
                if !name.is_empty() {
                    let id = self.first_id + u32::try_from(starts.len())?;
                    names.push((hash(name), id));
                }
            }
            starts.push(u32::try_from(at)?);
            at += len;
        }
        ensure!(
            !starts.is_empty() || base.is_some(),
            "it describes no types"
        );
        names.sort_unstable();
        names.shrink_to_fit();
        starts.shrink_to_fit();
        (self.starts, self.names) = (starts, names);
        Ok(())
    }

    /// Kind and length in bytes of the record at `at`.
    fn record(&self, at: usize) -> Result<(Kind, usize)> {
        let info = u32_at(&self.data, at + 4).context("it is truncated")?;
        let (kind, count) = split_info(info);
        let (fixed, each) = match kind {
            Kind::Unknown(number) => self.unknown_body(number)?,
            _ => kind.body().unwrap_or((0, 0)),
        };
        Ok((kind, 12 + fixed + each * count))
    }

    /// `struct btf_layout` of kernels from 7.x on: how long records of a newer kind are.
    fn unknown_body(&self, number: u8) -> Result<(usize, usize)> {
        let layout = self.data.get(self.layout.clone()).unwrap_or_default();
        let at = usize::from(number) * 4;
        match layout.get(at..at + 2) {
            Some(&[fixed, each]) if number != 0 => Ok((fixed.into(), each.into())),
            _ => bail!("it is garbled or too new: kind {number} of a type record is not known"),
        }
    }

    fn raw(&self, index: usize) -> Option<RawType<'_>> {
        let start = *self.starts.get(index)? as usize;
        let (_, len) = self.record(start).ok()?;
        let record = self.data.get(start..start + len)?;
        let info = u32_at(record, 4)?;
        let (kind, _) = split_info(info);
        Some(RawType {
            name: u32_at(record, 0)?,
            kind,
            flag: info >> 31 == 1,
            size_or_type: u32_at(record, 8)?,
            body: record.get(12..)?,
        })
    }

    /// The function with this name. There are some 50,000, too many to index them for two or three
    /// look-ups, so this goes through all, without decoding those of other names.
    fn function(&self, name: &str, base: Option<&Self>) -> Option<RawType<'_>> {
        let is_wanted = |start: usize| {
            let info = u32_at(&self.data, start + 4)?;
            let offset = u32_at(&self.data, start)?;
            (split_info(info).0 == Kind::Func && self.has_name(offset, name, base)).then_some(())
        };
        let mut starts = self.starts.iter();
        let index = starts.position(|&start| is_wanted(start as usize).is_some())?;
        self.raw(index)
    }

    /// Whether the string at `offset` is `name`; looks at no more of it than needed.
    fn has_name(&self, offset: u32, name: &str, base: Option<&Self>) -> bool {
        let (section, offset) = match (offset.checked_sub(self.first_string), base) {
            (Some(offset), _) => (self, offset),
            (None, Some(base)) => (base, offset),
            (None, None) => return false,
        };
        let strings = section.data.get(section.strings.clone());
        let rest = strings.and_then(|strings| strings.get(offset as usize..));
        let after = rest.and_then(|rest| rest.strip_prefix(name.as_bytes()));
        after.is_some_and(|after| after.first() == Some(&0))
    }

    /// The string at `offset` from the start of this section's strings, without its NUL.
    fn string(&self, offset: u32) -> Option<&[u8]> {
        let strings = self.data.get(self.strings.clone())?;
        let rest = strings.get(offset as usize..)?;
        rest.split(|&byte| byte == 0)
            .next()
            .filter(|_| !rest.is_empty())
    }

    fn name<'a>(&'a self, offset: u32, base: Option<&'a Self>) -> Option<&'a [u8]> {
        match offset.checked_sub(self.first_string) {
            Some(own) => self.string(own),
            None => base?.string(offset),
        }
    }

    /// Ids of the types whose name has the same hash as `name`.
    fn candidates(&self, name: &str) -> impl Iterator<Item = u32> + '_ {
        let hash = hash(name.as_bytes());
        let first = self.names.partition_point(|&(it, _)| it < hash);
        self.names[first..]
            .iter()
            .take_while(move |&&(it, _)| it == hash)
            .map(|&(_, id)| id)
    }

    /// The id after the last one.
    fn end_id(&self) -> u32 {
        // `starts` has at most one entry for 12 bytes of a file below 4 GB.
        self.first_id
            .saturating_add(u32::try_from(self.starts.len()).unwrap_or(u32::MAX))
    }

    fn strings_len(&self) -> u32 {
        u32::try_from(self.strings.len()).unwrap_or(u32::MAX)
    }
}

/// Where the parts of a BTF file are, `struct btf_header`.
struct Header {
    types: Range<usize>,
    strings: Range<usize>,
    layout: Range<usize>,
}

impl Header {
    fn parse(data: &[u8]) -> Result<Self> {
        ensure!(
            !data.starts_with(b"\x7fELF"),
            "it is an ELF file; take its BTF out with `objcopy -O binary --only-section=.BTF \
             --set-section-flags .BTF=alloc IN OUT`"
        );
        let magic = data.get(..2).context("it is truncated")?;
        let magic = u16::from_ne_bytes([magic[0], magic[1]]);
        ensure!(
            magic != 0x9feb,
            "it is for a machine with the other byte order"
        );
        ensure!(magic == 0xeb9f, "it doesn't start as BTF does");
        let version = *data.get(2).context("it is truncated")?;
        ensure!(version == 1, "BTF version {version} is not known");
        let len = u32_at(data, 4).context("it is truncated")? as usize;
        ensure!(len >= 24, "it is garbled: the header is too short");
        Ok(Self {
            types: Self::part(data, len, 8)?,
            strings: Self::part(data, len, 16)?,
            layout: if len >= 32 {
                Self::part(data, len, 24)?
            } else {
                0..0
            },
        })
    }

    /// The part whose offset (from the end of the header) and length the header has at `at`.
    fn part(data: &[u8], header: usize, at: usize) -> Result<Range<usize>> {
        let field = |at| u32_at(data, at).map(|value| value as usize);
        let (offset, len) = field(at)
            .zip(field(at + 4))
            .context("it is truncated within the header")?;
        let start = header.saturating_add(offset);
        let end = start.saturating_add(len);
        let have = data.len();
        ensure!(
            end <= have,
            "it is truncated: {have} of at least {end} bytes are there"
        );
        Ok(start..end)
    }
}

/// Kind and number of elements from a record's `info` word. The masks are those of 7.x kernels,
/// which gave both fields the bits that were unused (and 0) before.
fn split_info(info: u32) -> (Kind, usize) {
    let kind = u8::try_from(info >> 24 & 0x7f).unwrap_or(0);
    let kind = Kind::from_number(kind);
    // A function keeps its linkage in place of a number of elements; it has no body either way.
    (kind, (info & 0xff_ffff) as usize)
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

/// FNV-1a: short, and good enough to find a dozen among some 15,000 names.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
#[path = "btf/tests.rs"]
mod tests;
