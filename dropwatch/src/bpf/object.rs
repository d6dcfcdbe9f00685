//! The eBPF object, embedded at build time.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Its bytes, an ELF file.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dropwatch-ebpf"));

/// What tells it from every other one, for `--version --verbose`: length, and SHA-256 in
/// hexadecimal as `sha256sum` prints it.
#[must_use]
pub fn identity() -> String {
    let mut text = format!("{} bytes, sha256 ", OBJECT.len());
    for byte in Sha256::digest(OBJECT) {
        // Writing to a string can't fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_hash_is_that_of_the_file() {
        let file = concat!(env!("OUT_DIR"), "/dropwatch-ebpf");
        let output = Command::new("sha256sum").arg(file).output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let (hash, _) = output.split_once(' ').unwrap();
        let len = std::fs::metadata(file).unwrap().len();
        assert_eq!(identity(), format!("{len} bytes, sha256 {hash}"));
    }
}
