//! A strict reader of the pcapng files that dropwatch writes (draft-ietf-opsawg-pcapng):
//! little-endian, and nothing in them but what is known here.

use anyhow::{Context as _, Result, bail, ensure};

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// Hardware, operating system and program, of each section.
    pub sections: Vec<[String; 3]>,
    /// Interfaces of all sections.
    pub interfaces: Vec<Interface>,
    /// Packets.
    pub packets: Vec<Packet>,
    /// The statistics at the end, one that a whole run has.
    pub account: Option<Account>,
}

/// A description of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Number of the link type.
    pub link: u16,
    /// Most bytes of a packet.
    pub snaplen: u32,
    /// Name.
    pub name: String,
    /// What else is said of it.
    pub description: String,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Place of the interface in [`Capture::interfaces`].
    pub interface: usize,
    /// Nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// How long it was.
    pub original_len: u32,
    /// What was captured of it.
    pub data: Vec<u8>,
    /// Comment.
    pub comment: String,
    /// Flags.
    pub flags: u32,
}

/// Statistics of the first interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// When the first and the last packet were dropped, nanoseconds since the Unix epoch.
    pub times: [u64; 2],
    /// The account as a line.
    pub comment: String,
    /// Received, accepted, lost, delivered.
    pub counts: [u64; 4],
}

/// Reads a whole file.
pub fn read(file: &[u8]) -> Result<Capture> {
    let mut capture = Capture::default();
    let mut first_interface = 0;
    let mut rest = Bytes(file);
    while !rest.0.is_empty() {
        let at = file.len() - rest.0.len();
        read_block(&mut rest, &mut capture, &mut first_interface)
            .with_context(|| format!("in the block at byte {at} of {}", file.len()))?;
    }
    ensure!(!capture.sections.is_empty(), "there is no section");
    Ok(capture)
}

fn read_block(
    rest: &mut Bytes<'_>,
    capture: &mut Capture,
    first_interface: &mut usize,
) -> Result<()> {
    let kind = rest.u32()?;
    let len = rest.u32()? as usize;
    ensure!(len.is_multiple_of(4) && len >= 12, "a length of {len}");
    let mut block = Bytes(rest.take(len - 12)?);
    ensure!(rest.u32()? as usize == len, "another length at its end");
    ensure!(capture.account.is_none(), "something behind the account");
    match kind {
        0x0a0d_0d0a => {
            ensure!(block.u32()? == 0x1a2b_3c4d, "another byte order");
            ensure!([block.u16()?, block.u16()?] == [1, 0], "another version");
            ensure!(block.take(8)? == [0xff; 8], "a length of the section");
            let [hardware, os, program] = block.options([2, 3, 4])?;
            capture
                .sections
                .push([text(hardware)?, text(os)?, text(program)?]);
            *first_interface = capture.interfaces.len();
        }
        1 => {
            let link = block.u16()?;
            ensure!(block.u16()? == 0, "reserved bits are set");
            let snaplen = block.u32()?;
            let [name, description, resolution] = block.options([2, 3, 9])?;
            ensure!(resolution == [9], "times are no nanoseconds");
            capture.interfaces.push(Interface {
                link,
                snaplen,
                name: text(name)?,
                description: text(description)?,
            });
        }
        6 => {
            let interface = *first_interface + block.u32()? as usize;
            let described = capture
                .interfaces
                .get(interface)
                .context("no such interface")?;
            let time_ns = block.time()?;
            let len = block.u32()?;
            let original_len = block.u32()?;
            ensure!(
                len <= original_len && len <= described.snaplen,
                "{len} bytes of {original_len}"
            );
            let data = block.padded(len as usize)?.to_vec();
            let [comment, flags] = block.options([1, 2])?;
            capture.packets.push(Packet {
                interface,
                time_ns,
                original_len,
                data,
                comment: text(comment)?,
                flags: Bytes(flags).u32()?,
            });
        }
        5 => {
            ensure!(block.u32()? == 0, "of another interface than the first");
            ensure!(
                *first_interface < capture.interfaces.len(),
                "no such interface"
            );
            let time = block.time()?;
            let [comment, start, end, counts @ ..] = block.options([1, 2, 3, 4, 6, 7, 8])?;
            let times = [Bytes(start).time()?, Bytes(end).time()?];
            ensure!(times[1] == time, "another time");
            let [received, accepted, lost, delivered] = counts.map(|count| Bytes(count).u64());
            capture.account = Some(Account {
                times,
                comment: text(comment)?,
                counts: [received?, accepted?, lost?, delivered?],
            });
        }
        kind => bail!("of type {kind}"),
    }
    ensure!(block.0.is_empty(), "{} bytes too many", block.0.len());
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String> {
    ensure!(
        bytes
            .iter()
            .all(|byte| byte.is_ascii_graphic() || *byte == b' '),
        "something else than visible ASCII"
    );
    Ok(String::from_utf8(bytes.to_vec())?)
}

/// What has not been read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).context("it is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Result<u64> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    /// Bytes that are filled up to four by zeros.
    fn padded(&mut self, len: usize) -> Result<&'a [u8]> {
        let bytes = self.take(len)?;
        let padding = self.take(len.next_multiple_of(4) - len)?;
        ensure!(
            padding.iter().all(|byte| *byte == 0),
            "it is not filled up by zeros"
        );
        Ok(bytes)
    }

    /// The values of exactly these options, in their order, and the end of options.
    fn options<const N: usize>(&mut self, codes: [u16; N]) -> Result<[&'a [u8]; N]> {
        let mut values = [&[][..]; N];
        for (code, value) in codes.into_iter().zip(&mut values) {
            let found = self.u16()?;
            ensure!(found == code, "option {found} in place of {code}");
            let len = self.u16()?;
            *value = self.padded(len.into())?;
        }
        ensure!(self.u32()? == 0, "another option");
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_is_cut_off_is_no_file() {
        assert!(read(&[]).is_err());
        let section = [
            &0x0a0d_0d0a_u32.to_le_bytes()[..],
            &44_u32.to_le_bytes(),
            &0x1a2b_3c4d_u32.to_le_bytes(),
            &[1, 0, 0, 0],
            &[0xff; 8],
            &[2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0],
            &[0; 4],
            &44_u32.to_le_bytes(),
        ]
        .concat();
        assert!(read(&section).is_ok());
        for len in 1..section.len() {
            assert!(read(&section[..len]).is_err(), "{len} bytes");
        }
    }
}
