//! Packets for Wireshark: pcapng (draft-ietf-opsawg-pcapng).
//!
//! A file is a section: its header, a description of each interface as it appears, and
//! the packets, each with its line, without the time, as a comment. The first interface
//! is dropwatch itself; it has no packets but, at the end, the account.

mod block;
mod link;

use std::{collections::HashMap, fs, mem};

use rustix::system::uname;

use self::{
    block::{Block, ENHANCED_PACKET, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS, SECTION_HEADER},
    link::LinkType,
};
use super::{
    Format, TextFormat, TextOptions, TimestampStyle,
    text::{write_name, write_netns, write_number},
};
use crate::{
    account::Account,
    record::{Direction, DropRecord},
};

/// Shows readers the byte order.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// A section's length where it is not known.
const UNKNOWN_LENGTH: u64 = u64::MAX;

const OPTION_COMMENT: u16 = 1;
/// `shb_hardware`, `shb_os`, `shb_userappl`.
const OPTION_HARDWARE: u16 = 2;
const OPTION_OS: u16 = 3;
const OPTION_APPLICATION: u16 = 4;
/// `if_name`, `if_description`, `if_tsresol`.
const OPTION_NAME: u16 = 2;
const OPTION_DESCRIPTION: u16 = 3;
const OPTION_TIME_RESOLUTION: u16 = 9;
/// `epb_flags`.
const OPTION_FLAGS: u16 = 2;
/// `isb_starttime`, `isb_endtime`, `isb_ifrecv`, `isb_filteraccept`, `isb_osdrop`,
/// `isb_usrdeliv`.
const OPTION_START: u16 = 2;
const OPTION_END: u16 = 3;
const OPTION_RECEIVED: u16 = 4;
const OPTION_ACCEPTED: u16 = 6;
const OPTION_LOST: u16 = 7;
const OPTION_DELIVERED: u16 = 8;

/// Times are nanoseconds: 10 to the power of -9 seconds.
const NANOSECONDS: u8 = 9;

/// Interfaces of a section. Where they come and go for days, a new section forgets
/// those before it.
const MAX_INTERFACES: usize = 4096;

/// What may be chosen of the format.
#[derive(Clone, Debug)]
pub struct PcapngOptions {
    /// Most bytes of each packet.
    pub snaplen: u32,
    /// Whether all packets get a Linux cooked header.
    pub is_cooked: bool,
    /// What comments look like; timestamp and width do not matter.
    pub text: TextOptions,
    /// Where packets are captured.
    pub host: Host,
}

/// What files say of the host.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Name of the machine's architecture.
    pub hardware: String,
    /// Name and version of the kernel.
    pub os: String,
    /// Name and version of this program.
    pub application: String,
    /// Inode number of the network namespace whose interfaces have bare names; those of
    /// all others have their namespace in front.
    pub netns: Option<u32>,
}

impl Host {
    /// This host, and the namespace that this process is in.
    #[must_use]
    pub fn this() -> Self {
        use std::os::unix::fs::MetadataExt as _;

        let system = uname();
        let netns = fs::metadata("/proc/self/ns/net").ok();
        Self {
            application: concat!("dropwatch ", env!("CARGO_PKG_VERSION")).to_owned(),
            hardware: system.machine().to_string_lossy().into_owned(),
            os: format!(
                "{} {}",
                system.sysname().to_string_lossy(),
                system.release().to_string_lossy()
            ),
            netns: netns.and_then(|netns| u32::try_from(netns.ino()).ok()),
        }
    }
}

/// Writes [`DropRecord`]s as packets.
pub struct PcapngFormat {
    options: PcapngOptions,
    text: TextFormat,
    /// Numbers of the section's interfaces, by what they are told apart by.
    interfaces: HashMap<Vec<u8>, u32>,
    /// When the first and the last packet of all files were dropped, in nanoseconds
    /// since the Unix epoch.
    times: Option<(u64, u64)>,
    frame: Vec<u8>,
    comment: Vec<u8>,
    key: Vec<u8>,
}

impl PcapngFormat {
    /// A format with `options`.
    #[must_use]
    pub fn new(options: PcapngOptions) -> Self {
        let text = TextFormat::new(&TextOptions {
            timestamp: TimestampStyle::None,
            width: None,
            ..options.text.clone()
        });
        Self {
            options,
            text,
            interfaces: HashMap::new(),
            times: None,
            frame: Vec::new(),
            comment: Vec::new(),
            key: Vec::new(),
        }
    }

    fn describe_interface(
        &self,
        link: LinkType,
        name: &[u8],
        description: &[u8],
        out: &mut Vec<u8>,
    ) {
        Block::begin(INTERFACE_DESCRIPTION, out)
            .u16(link.number())
            .u16(0)
            .u32(self.options.snaplen)
            .option(OPTION_NAME, name)
            .option(OPTION_DESCRIPTION, description)
            .option(OPTION_TIME_RESOLUTION, &[NANOSECONDS])
            .end();
    }

    /// The number of the record's interface, which is described if it is new.
    fn interface(&mut self, link: LinkType, record: &DropRecord<'_>, out: &mut Vec<u8>) -> u32 {
        // Everything in the key, so that no name outlives what it stands for.
        let mut key = mem::take(&mut self.key);
        key.clear();
        let inode = record.netns.map(|netns| netns.inode);
        if inode.is_none() || inode != self.options.host.netns {
            write_netns("", record.netns.as_ref(), &mut key);
            key.push(b'/');
        }
        write_name("", record.device.map(|device| device.name), &mut key);
        let name_len = key.len();
        write_number(
            "ifindex=",
            record.device.map(|device| device.ifindex),
            &mut key,
        );
        write_number(" netns=", inode, &mut key);
        let len = key.len();
        key.extend_from_slice(&link.number().to_le_bytes());

        let number = match self.interfaces.get(&key) {
            Some(number) => *number,
            None => {
                if self.interfaces.len() >= MAX_INTERFACES {
                    self.write_head(out);
                }
                let name = key.get(..name_len).unwrap_or_default();
                let description = key.get(name_len..len).unwrap_or_default();
                self.describe_interface(link, name, description, out);
                let number = self.interfaces.len() as u32 + 1;
                self.interfaces.insert(key.clone(), number);
                number
            }
        };
        self.key = key;
        number
    }
}

/// Whether a file of pcapng begins with these bytes, as [`PcapngFormat`] writes it.
pub(crate) fn is_pcapng(head: &[u8]) -> bool {
    head.starts_with(&SECTION_HEADER.to_le_bytes())
}

impl Format for PcapngFormat {
    /// Begins a section.
    fn write_head(&mut self, out: &mut Vec<u8>) {
        self.interfaces.clear();
        let Host {
            hardware,
            os,
            application,
            ..
        } = &self.options.host;
        Block::begin(SECTION_HEADER, out)
            .u32(BYTE_ORDER_MAGIC)
            .u16(1)
            .u16(0)
            .u64(UNKNOWN_LENGTH)
            .option(OPTION_HARDWARE, hardware.as_bytes())
            .option(OPTION_OS, os.as_bytes())
            .option(OPTION_APPLICATION, application.as_bytes())
            .end();
        let link = if self.options.is_cooked {
            LinkType::Cooked
        } else {
            LinkType::Ethernet
        };
        self.describe_interface(link, b"dropwatch", b"all drops: the account", out);
    }

    fn write(&mut self, record: &DropRecord<'_>, out: &mut Vec<u8>) {
        let mut frame = mem::take(&mut self.frame);
        let (link, original_len) = link::write(record, self.options.is_cooked, &mut frame);
        frame.truncate(self.options.snaplen as usize);
        let interface = self.interface(link, record, out);
        let time = u64::try_from(record.time.unix_ns).unwrap_or(0);
        let (first, _) = *self.times.get_or_insert((time, time));
        self.times = Some((first, time));
        self.comment.clear();
        self.text.write(record, &mut self.comment);
        Block::begin(ENHANCED_PACKET, out)
            .u32(interface)
            .time(time)
            .u32(frame.len() as u32)
            .u32(original_len)
            .padded(&frame)
            .option(OPTION_COMMENT, self.comment.trim_ascii_end())
            .option(OPTION_FLAGS, &flags(record).to_le_bytes())
            .end();
        self.frame = frame;
    }

    /// The account, as the statistics of the first interface.
    fn write_account(&mut self, account: &Account, out: &mut Vec<u8>) {
        let (first, last) = self.times.unwrap_or_default();
        let accepted = account.seen.saturating_sub(account.filtered);
        Block::begin(INTERFACE_STATISTICS, out)
            .u32(0)
            .time(last)
            .option(OPTION_COMMENT, account.to_string().as_bytes())
            .time_option(OPTION_START, first)
            .time_option(OPTION_END, last)
            .option(OPTION_RECEIVED, &account.seen.to_le_bytes())
            .option(OPTION_ACCEPTED, &accepted.to_le_bytes())
            .option(OPTION_LOST, &account.lost.to_le_bytes())
            .option(OPTION_DELIVERED, &account.printed.to_le_bytes())
            .end();
    }
}

/// Which way a packet went through its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

impl Way {
    /// `None` where it can't be known.
    fn of(record: &DropRecord<'_>) -> Option<Self> {
        let iif = record.skb.map(|skb| skb.iif);
        let came_from_it = record
            .device
            .is_some_and(|device| Some(device.ifindex) == iif);
        match record.direction? {
            Direction::Receive => Some(Self::In),
            Direction::Forward | Direction::Local if came_from_it => Some(Self::In),
            Direction::Transmit | Direction::Forward | Direction::Local => Some(Self::Out),
        }
    }
}

/// `epb_flags`: which way the packet went and, if it came in, whom it was for.
fn flags(record: &DropRecord<'_>) -> u32 {
    const INBOUND: u32 = 1;
    const OUTBOUND: u32 = 2;

    match Way::of(record) {
        Some(Way::In) => INBOUND | reception(record) << 2,
        Some(Way::Out) => OUTBOUND,
        None => 0,
    }
}

/// The reception type, by the kernel's packet type: `PACKET_HOST` and so on in
/// `include/uapi/linux/if_packet.h`.
fn reception(record: &DropRecord<'_>) -> u32 {
    const UNICAST: u32 = 1;
    const MULTICAST: u32 = 2;
    const BROADCAST: u32 = 3;
    const PROMISCUOUS: u32 = 4;

    match record.bytes.and_then(|bytes| bytes.pkt_type) {
        Some(0) => UNICAST,
        Some(1) => BROADCAST,
        Some(2) => MULTICAST,
        Some(3) => PROMISCUOUS,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
