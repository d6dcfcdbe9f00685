//! The only place that reads kernel memory.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use dropwatch_common::{config::ABSENT, kernel_fields::SKB_SNAPSHOT_LEN};

use crate::config::SKB_SNAPSHOT_USED;

/// A copy of a `struct sk_buff`, as far as its fields are read.
pub(crate) type SkbCopy = [u64; SKB_SNAPSHOT_LEN / 8];

/// A name of the kernel's, NUL-terminated, in memory order.
type Name = [u64; 2];

/// How a program gets at the kernel's structs.
///
/// Everything that can't be read is 0: what this kernel does not have, and what an
/// address that is not the struct's leads to.
pub(crate) trait Access {
    /// Whether the verifier knows the types of the pointers.
    const IS_TYPED: bool;

    /// The member at `offset` of the struct at `address`.
    fn load<T: Copy + Default>(address: u64, offset: u32) -> T;

    /// The pointer at `offset` of the struct at `address`.
    #[inline(always)]
    fn pointer(address: u64, offset: u32) -> u64 {
        Self::vetted(Self::load(address, offset))
    }

    /// `pointer`, or 0 if it must not be followed.
    fn vetted(pointer: u64) -> u64;

    /// The 16 bytes at `offset` of the struct at `address`.
    fn name(address: u64, offset: u32) -> Name;

    /// Makes the `struct sk_buff` at `address` ready for `skb_field`, which may take
    /// a copy; false if it can't be read.
    fn open_skb(address: u64, copy: &mut SkbCopy) -> bool;

    /// The field at `offset` of the `struct sk_buff` at `address`, of which there is
    /// a copy if the access takes one. The loader has checked that it is aligned.
    fn skb_field<T: Copy + Default>(address: u64, copy: &SkbCopy, offset: u32) -> T;
}

/// Reads through a helper, which takes any address.
#[derive(Clone, Copy)]
pub(crate) struct Copied;

/// Loads that the verifier checks against the kernel's type information: for
/// pointers that come from a typed argument, and only for those. A load from a
/// pointer that leads nowhere gives 0.
///
/// A call of a helper takes as long as a dozen loads, most of all where returns
/// are slowed down against speculation.
#[derive(Clone, Copy)]
pub(crate) struct Typed;

impl Access for Copied {
    const IS_TYPED: bool = false;

    #[inline(always)]
    fn load<T: Copy + Default>(address: u64, offset: u32) -> T {
        let mut value = T::default();
        if address == 0 || offset == ABSENT {
            return value;
        }
        // SAFETY: `value` is valid for `size_of::<T>()` bytes, and every bit
        // pattern is a valid integer. A failed read clears it.
        unsafe {
            bytes(
                (&raw mut value).cast(),
                size_of::<T>() as u32,
                address.wrapping_add(u64::from(offset)),
            )
        };
        value
    }

    #[inline(always)]
    fn vetted(pointer: u64) -> u64 {
        pointer
    }

    #[inline(always)]
    fn name(address: u64, offset: u32) -> Name {
        Self::load(address, offset)
    }

    #[inline(always)]
    fn open_skb(address: u64, copy: &mut SkbCopy) -> bool {
        let len = SKB_SNAPSHOT_USED.load();
        // SAFETY: `len` is at most the size of the copy.
        len as usize <= SKB_SNAPSHOT_LEN && unsafe { bytes(copy.as_mut_ptr().cast(), len, address) }
    }

    #[inline(always)]
    fn skb_field<T: Copy + Default>(_: u64, copy: &SkbCopy, offset: u32) -> T {
        // The loader has checked it, but the verifier wants to see it.
        if offset as usize > SKB_SNAPSHOT_LEN - size_of::<T>() {
            return T::default();
        }
        // SAFETY: in bounds by the check above, aligned as the kernel's own
        // member is, and every bit pattern is a valid integer.
        unsafe {
            copy.as_ptr()
                .cast::<u8>()
                .add(offset as usize)
                .cast::<T>()
                .read()
        }
    }
}

impl Access for Typed {
    const IS_TYPED: bool = true;

    #[inline(always)]
    fn load<T: Copy + Default>(address: u64, offset: u32) -> T {
        if address == 0 || offset == ABSENT {
            return T::default();
        }
        let member = (address as *const u8).wrapping_add(offset as usize);
        // SAFETY: the verifier takes only members of the struct that it knows to be
        // there, and the kernel makes a load that fails give 0. Volatile, because the
        // kernel may change it, and the compiler must not read it a second time.
        unsafe { member.cast::<T>().read_volatile() }
    }

    #[inline(always)]
    fn vetted(pointer: u64) -> u64 {
        if is_kernel_address(pointer) {
            pointer
        } else {
            0
        }
    }

    #[inline(always)]
    fn name(address: u64, offset: u32) -> Name {
        [Self::load(address, offset), Self::load(address, offset + 8)]
    }

    #[inline(always)]
    fn open_skb(address: u64, _: &mut SkbCopy) -> bool {
        address != 0
    }

    #[inline(always)]
    fn skb_field<T: Copy + Default>(address: u64, _: &SkbCopy, offset: u32) -> T {
        Self::load(address, offset)
    }
}

/// Whether `address` can be one of the kernel's: some fields share their place with
/// other things, and kernels before 5.12 do not check the address of a typed load.
///
/// Spelled out, because the verifier takes only the comparison with 0 for a check
/// that a pointer is not NULL, and refuses the shift that is the compiler's way to
/// the other one.
#[inline(always)]
fn is_kernel_address(address: u64) -> bool {
    let mut is_kernel = 0_u64;
    // SAFETY: only compares.
    unsafe {
        asm!(
            "if {address} == 0 goto +2",
            "if {address} s> 0 goto +1",
            "{is_kernel} = 1",
            address = in(reg) address,
            is_kernel = inout(reg) is_kernel,
            options(pure, nomem, nostack),
        );
    }
    is_kernel != 0
}

/// `name` with nothing but NULs behind its end, as the keys of the maps are: what
/// was there before can leave a longer name's end there.
#[inline(always)]
pub(crate) fn padded([first, second]: Name) -> [u8; 16] {
    let words = match until_nul(first) {
        u64::MAX => [first, second & until_nul(second)],
        mask => [first & mask, 0],
    };
    // SAFETY: every bit pattern is valid for both.
    unsafe { core::mem::transmute(words) }
}

/// The bits of the bytes before the first NUL of `word`, the lowest byte being the
/// first: all of them if there is none.
#[inline(always)]
const fn until_nul(word: u64) -> u64 {
    // The lowest bit that is set here is the highest one of the first NUL.
    let nuls = word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
    (nuls & nuls.wrapping_neg()).wrapping_sub(1)
}

/// Copies `len` bytes from kernel `address` to `destination`; false if the
/// address can't be read.
///
/// # Safety
///
/// `destination` must be valid for writes of `len` bytes.
#[inline(always)]
pub(crate) unsafe fn bytes(destination: *mut u8, len: u32, address: u64) -> bool {
    // SAFETY: the caller vouches for `destination`; the helper checks `address`
    // itself and fails on one that can't be read.
    unsafe { bpf_probe_read_kernel(destination.cast(), len, address as *const c_void) == 0 }
}
