//! Standard output and error without waiting for who reads them.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    },
};

use rustix::{
    fs::OFlags,
    net::{SendFlags, send},
};

/// A pipe, terminal or socket of this process, whose reader is not waited for; others that share it
/// keep it as it is.
#[derive(Debug)]
pub(crate) struct NonBlocking {
    file: File,
    is_socket: bool,
}

impl NonBlocking {
    /// Opens descriptor `number` of this process, which is `inherited`.
    ///
    /// # Errors
    /// It is something else, or can't be opened.
    pub(crate) fn open(number: u8, inherited: impl AsFd) -> io::Result<Self> {
        let inherited = File::from(inherited.as_fd().try_clone_to_owned()?);
        let file_type = inherited.metadata()?.file_type();
        if file_type.is_socket() {
            // It can't be opened anew, but each write can be told not to wait.
            return Ok(Self {
                file: inherited,
                is_socket: true,
            });
        }
        if !file_type.is_fifo() && !file_type.is_char_device() {
            return Err(ErrorKind::Unsupported.into());
        }
        let file = OpenOptions::new()
            .write(true)
            .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32)
            .open(format!("/proc/self/fd/{number}"))?;
        Ok(Self {
            file,
            is_socket: false,
        })
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.is_socket {
            true => Ok(send(&self.file, bytes, SendFlags::DONTWAIT)?),
            false => (&self.file).write(bytes),
        }
    }
}

impl AsFd for NonBlocking {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for NonBlocking {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::pipe,
        os::{fd::OwnedFd, unix::net::UnixStream},
    };

    use super::*;

    /// Writes until there is no room.
    fn fill(end: &OwnedFd) -> NonBlocking {
        let number = u8::try_from(end.as_raw_fd()).unwrap();
        let end = NonBlocking::open(number, end).unwrap();
        loop {
            match end.write(&[0; 4096]) {
                Ok(count) => assert!(count > 0),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return end;
                }
            }
        }
    }

    #[test]
    fn nobody_is_waited_for() {
        let (reader, writer) = pipe().unwrap();
        let (mine, other) = UnixStream::pair().unwrap();
        let (pipe, socket) = (fill(&writer.into()), fill(&mine.into()));
        drop((reader, other));
        for end in [pipe, socket] {
            assert_eq!(end.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
        let file = tempfile::tempfile().unwrap();
        let number = u8::try_from(file.as_raw_fd()).unwrap();
        assert!(NonBlocking::open(number, &file).is_err());
    }
}
