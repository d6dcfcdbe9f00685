//! The depth of the stack-trace map.
//!
//! The kernel unwinds as many frames as a value of the map holds, and unwinding
//! is most of what a stack costs. The map's definition fixes that size, so the
//! definition is changed in the object before it is loaded.

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// Offset of `value_size` in a map definition (`struct bpf_map_def` of libbpf:
/// type, key size, value size, most entries, flags; all `u32`).
const VALUE_SIZE_OFFSET: u64 = 8;

/// Sets the number of frames that a value of the map `STACKS` holds.
///
/// # Errors
/// The object has no such map; it was not built from this project.
pub(crate) fn set(object: &mut [u8], frames: u32) -> Result<()> {
    let position = value_size_position(object).context("finding the stack-trace map")?;
    let bytes = object
        .get_mut(position..position + size_of::<u32>())
        .context("the definition of the stack-trace map lies outside of the object")?;
    bytes.copy_from_slice(&(frames * size_of::<u64>() as u32).to_ne_bytes());
    Ok(())
}

fn value_size_position(object: &[u8]) -> Result<usize> {
    let file = object::File::parse(object)?;
    let symbol = file
        .symbol_by_name("STACKS")
        .context("the eBPF object has no map STACKS")?;
    let section = symbol
        .section_index()
        .context("the map STACKS has no section")?;
    let (start, _) = file
        .section_by_index(section)?
        .file_range()
        .context("the section of the maps has no content")?;
    Ok(usize::try_from(
        start + symbol.address() + VALUE_SIZE_OFFSET,
    )?)
}

#[cfg(test)]
#[path = "stack_depth/tests.rs"]
mod tests;
