//! Debug files that are compressed as a whole, as modules are on some distributions.

use std::io::Read as _;

use anyhow::{Context as _, Result, ensure};
use flate2::read::GzDecoder;
use ruzstd::decoding::StreamingDecoder;

/// What a compressed file begins with.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

/// Most bytes that are unpacked: the largest modules with debug information have a tenth of it.
const MAX_BYTES: u64 = 1 << 30;

/// The bytes of a file that may be compressed by gzip or zstd.
///
/// # Errors
/// It is broken, too large, or compressed by something else.
pub(super) fn unpack(file: &'static [u8]) -> Result<&'static [u8]> {
    let mut bytes = Vec::new();
    if file.starts_with(GZIP) {
        let decoder = GzDecoder::new(file);
        let limited = decoder.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        limited.context("unpacking it (gzip)")?;
    } else if file.starts_with(ZSTD) {
        let decoder = StreamingDecoder::new(file).context("unpacking it (zstd)")?;
        let limited = decoder.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        limited.context("unpacking it (zstd)")?;
    } else {
        ensure!(
            !file.starts_with(XZ),
            "is packed by xz; unpack it with xz -dk"
        );
        return Ok(file);
    }
    ensure!(
        bytes.len() as u64 <= MAX_BYTES,
        "is too large when unpacked"
    );
    // It lives as long as a file that is mapped.
    Ok(Box::leak(bytes.into_boxed_slice()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn what_is_packed_and_what_is_not() {
        assert_eq!(unpack(b"\x7fELF").unwrap(), b"\x7fELF");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"\x7fELF and so on").unwrap();
        let packed = encoder.finish().unwrap().leak();
        assert_eq!(unpack(packed).unwrap(), b"\x7fELF and so on");
        assert!(unpack(&packed[..packed.len() - 9]).is_err());
        // `printf '\x7fELF' | zstd`: a frame with one raw block and a checksum.
        let packed = b"\x28\xb5\x2f\xfd\x04\x58\x21\x00\x00\x7fELF\x48\xa7\x43\xac";
        assert_eq!(unpack(packed).unwrap(), b"\x7fELF");
        assert!(
            unpack(b"\xfd7zXZ\0\0")
                .unwrap_err()
                .to_string()
                .contains("xz -dk")
        );
    }
}
