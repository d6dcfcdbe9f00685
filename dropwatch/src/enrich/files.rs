//! Files that others write, read with a bound; and the table of mounts.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// The mounts that this process sees, `proc_pid_mountinfo(5)`.
pub(super) const MOUNTINFO: &str = "proc/self/mountinfo";

/// Most bytes of [`MOUNTINFO`]: hosts with many containers have some thousand mounts.
pub(super) const MOUNTINFO_LIMIT: u64 = 16 << 20;

/// Reads a whole file.
///
/// # Errors
/// The file can't be read, or holds more than `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Not by the file's size: files in /proc have none.
    let read = File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if read as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

/// A line of [`MOUNTINFO`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// What of the file system is mounted: a path in it, or `net:[4026532000]` for a namespace.
    pub(super) root: Vec<u8>,
    /// Where it is mounted.
    pub(super) point: Vec<u8>,
    /// Type of the file system.
    pub(super) kind: Vec<u8>,
}

/// The mounts in the text of [`MOUNTINFO`]; lines that are not understood are left out.
pub(super) fn mounts(mountinfo: &[u8]) -> impl Iterator<Item = Mount> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        let root = words.nth(3)?;
        let point = words.next()?;
        // Optional fields, ended by a hyphen.
        words.by_ref().find(|word| *word == b"-")?;
        Some(Mount {
            root: unescape(root, b"\\", 8, 3),
            point: unescape(point, b"\\", 8, 3),
            kind: words.next()?.to_vec(),
        })
    })
}

/// Bytes written as `prefix` and `digits` digits of base `radix`, as the kernel writes white
/// space in tables (`\040`) and systemd what unit names can't hold (`\x2d`).
pub(super) fn unescape(mut text: &[u8], prefix: &[u8], radix: u32, digits: usize) -> Vec<u8> {
    let escaped = |text: &[u8]| {
        let number = text.strip_prefix(prefix)?.get(..digits)?;
        u8::from_str_radix(str::from_utf8(number).ok()?, radix).ok()
    };
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        if let Some(byte) = escaped(text) {
            bytes.push(byte);
            text = text.get(prefix.len() + digits..).unwrap_or_default();
        } else {
            bytes.push(*first);
            text = rest;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_beyond_the_bound_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        assert_eq!(
            read_bounded(&path, 4).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }

    #[test]
    fn mounts_with_and_without_optional_fields() {
        let text = b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw\n\
            \n41 broken\n\
            99 31 0:4 net:[4026532233] /run/netns/a\\040b rw shared:7 master:1 - nsfs nsfs rw\n";
        let mounts: Vec<Mount> = mounts(text).collect();
        let mount = |root: &str, point: &str, kind: &str| Mount {
            root: root.into(),
            point: point.into(),
            kind: kind.into(),
        };
        assert_eq!(
            mounts,
            [
                mount("/", "/sys/fs/cgroup", "tmpfs"),
                mount("net:[4026532233]", "/run/netns/a b", "nsfs"),
            ]
        );
    }

    #[test]
    fn escapes() {
        let systemd = |text: &str| unescape(text.as_bytes(), b"\\x", 16, 2);
        assert_eq!(systemd(r"my\x2dbox"), b"my-box");
        assert_eq!(systemd(r"\x2d\x2"), b"-\\x2");
        assert_eq!(systemd(r"\xzz\"), br"\xzz\");
        assert_eq!(unescape(br"a\040b\", b"\\", 8, 3), b"a b\\");
        assert_eq!(unescape(br"\777", b"\\", 8, 3), br"\777");
    }
}
