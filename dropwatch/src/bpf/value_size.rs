//! The size of a map's values.
//!
//! The map's definition fixes it, so the definition is changed in the object before it is
//! loaded. Of the stack-trace map it is the depth of the stacks: the kernel unwinds as
//! many frames as a value holds, and unwinding is most of what a stack costs. Of the
//! scratch area it is memory of every processor.

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// Offset of `value_size` in a map definition (`struct bpf_map_def` of libbpf:
/// type, key size, value size, most entries, flags; all `u32`).
const VALUE_SIZE_OFFSET: u64 = 8;

/// Makes the size in bytes of the values of the map `name` what `change` makes of it.
///
/// # Errors
/// The object has no such map; it was not built from this project.
pub(crate) fn change(object: &mut [u8], name: &str, change: impl FnOnce(u32) -> u32) -> Result<()> {
    let position = position(object, name).with_context(|| format!("finding the map {name}"))?;
    let bytes = object
        .get_mut(position..)
        .and_then(<[u8]>::first_chunk_mut)
        .with_context(|| format!("the definition of the map {name} lies outside of the object"))?;
    *bytes = change(u32::from_ne_bytes(*bytes)).to_ne_bytes();
    Ok(())
}

/// Where the size of the map's values is.
fn position(object: &[u8], name: &str) -> Result<usize> {
    let file = object::File::parse(object)?;
    let symbol = file
        .symbol_by_name(name)
        .with_context(|| format!("the eBPF object has no map {name}"))?;
    let section = symbol
        .section_index()
        .with_context(|| format!("the map {name} has no section"))?;
    let (start, _) = file
        .section_by_index(section)?
        .file_range()
        .context("the section of the maps has no content")?;
    Ok(usize::try_from(
        start + symbol.address() + VALUE_SIZE_OFFSET,
    )?)
}

#[cfg(test)]
#[path = "value_size/tests.rs"]
mod tests;
