//! The text line: positional columns first, then `key=value` tokens in a fixed
//! order. No value holds white space, and `-` stands for what can't be known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Format, TimestampStyle, append, timestamp::TimestampWriter};
use crate::{
    packet::{Packet, Protocol, Transport},
    record::{DropRecord, Stack},
};

/// What the user may choose of the text line.
#[derive(Clone, Debug, Default)]
pub struct TextOptions {
    /// The first column.
    pub timestamp: TimestampStyle,
    /// Tokens beyond the default ones.
    pub fields: Vec<ExtraField>,
    /// Columns of the terminal the line goes to: the stack of a longer line is
    /// cut and ends in `…`. `None` writes the line whole.
    pub width: Option<usize>,
}

/// A token that is printed only if asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExtraField {
    /// `ifindex=`: the interface's index.
    Ifindex,
    /// `skb=`: the kernel address of the packet.
    Skb,
}

/// Writes [`DropRecord`]s as lines of text.
pub struct TextFormat {
    timestamp: TimestampWriter,
    ifindex: bool,
    skb: bool,
    width: Option<usize>,
}

impl TextFormat {
    /// A format with `options`; local time is that of the system's time zone.
    pub fn new(options: &TextOptions) -> Self {
        Self {
            timestamp: TimestampWriter::new(options.timestamp, jiff::tz::TimeZone::system()),
            ifindex: options.fields.contains(&ExtraField::Ifindex),
            skb: options.fields.contains(&ExtraField::Skb),
            width: options.width,
        }
    }
}

impl Format for TextFormat {
    fn set_width(&mut self, columns: Option<usize>) {
        self.width = columns;
    }

    fn write(&mut self, record: &DropRecord<'_>, line: &mut Vec<u8>) {
        let DropRecord {
            time,
            reason,
            packet,
            len,
            device,
            location,
            pid,
            comm,
            netns,
            stack,
            skb,
        } = record;
        let start = line.len();
        self.timestamp.write(*time, line);
        line.extend_from_slice(reason.unwrap_or("-").as_bytes());
        write_packet(packet, line);

        write_number(" len=", *len, line);
        write_transport(packet.transport, line);
        line.extend_from_slice(b" if=");
        match device {
            Some(device) => write_escaped(device.name, line),
            None => line.push(b'-'),
        }
        if self.ifindex {
            write_number(" ifindex=", device.map(|device| device.ifindex), line);
        }
        line.extend_from_slice(b" at=");
        line.extend_from_slice(location.as_bytes());
        write_number(" pid=", Some(*pid), line);
        line.extend_from_slice(b" comm=");
        write_escaped(comm, line);
        write_number(" netns=", *netns, line);
        if self.skb {
            line.extend_from_slice(b" skb=0x");
            append(line, format_args!("{skb:x}"));
        }
        if let Some(stack) = stack {
            line.extend_from_slice(b" stack=");
            let stack_start = line.len();
            match stack {
                Stack::Callers(callers) => line.extend_from_slice(callers.as_bytes()),
                Stack::Unknown => line.push(b'-'),
            }
            if let Some(width) = self.width {
                cut(line, stack_start.max(start + width.saturating_sub(1)));
            }
        }
        line.push(b'\n');
    }
}

/// Cuts what lies behind the first `length` bytes of `line`, which are ASCII:
/// whatever a name may hold otherwise has been escaped.
fn cut(line: &mut Vec<u8>, length: usize) {
    if line.len() > length + 1 {
        line.truncate(length);
        line.extend_from_slice("…".as_bytes());
    }
}

/// Appends ` PROTOCOL SOURCE > DESTINATION`.
fn write_packet(packet: &Packet, line: &mut Vec<u8>) {
    line.push(b' ');
    write_protocol(packet.protocol, line);
    line.push(b' ');
    let (source, destination) = match packet.addresses {
        Some(addresses) => (Some(addresses.source), Some(addresses.destination)),
        None => (None, None),
    };
    let (source_port, destination_port) = match packet.transport {
        Transport::Ports { ports } | Transport::Tcp { ports, .. } => (
            Some(ports.map(|(source, _)| source)),
            Some(ports.map(|(_, destination)| destination)),
        ),
        _ => (None, None),
    };
    write_endpoint(source, source_port, line);
    line.extend_from_slice(b" > ");
    write_endpoint(destination, destination_port, line);
}

/// Appends an address and, for a protocol with ports, the port: `-` where the
/// transport header is not there.
fn write_endpoint(address: Option<IpAddr>, port: Option<Option<u16>>, line: &mut Vec<u8>) {
    match (address, port) {
        (None, _) => line.push(b'-'),
        (Some(IpAddr::V4(address)), _) => write_ipv4(address, line),
        (Some(IpAddr::V6(address)), None) => write_ipv6(address, line),
        (Some(IpAddr::V6(address)), Some(_)) => {
            line.push(b'[');
            write_ipv6(address, line);
            line.push(b']');
        }
    }
    if let (Some(_), Some(port)) = (address, port) {
        write_number(":", port, line);
    }
}

fn write_ipv4(address: Ipv4Addr, line: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            line.push(b'.');
        }
        line.extend_from_slice(buffer.format(octet).as_bytes());
    }
}

fn write_ipv6(address: Ipv6Addr, line: &mut Vec<u8>) {
    append(line, format_args!("{address}"));
}

/// Appends what the transport header says beyond the ports.
fn write_transport(transport: Transport, line: &mut Vec<u8>) {
    match transport {
        Transport::Tcp { flags, .. } => write_tcp_flags(flags, line),
        Transport::Icmp {
            type_code: Some((icmp_type, code)),
        } => {
            write_number(" icmp=", Some(u32::from(icmp_type)), line);
            write_number("/", Some(u32::from(code)), line);
        }
        Transport::Icmp { type_code: None } => line.extend_from_slice(b" icmp=-"),
        Transport::Ports { .. } | Transport::None => {}
    }
}

/// TCP flags in the order that people say them, with the bit of the header.
const TCP_FLAGS: [(u8, &str); 8] = [
    (0x02, "SYN"),
    (0x01, "FIN"),
    (0x04, "RST"),
    (0x08, "PSH"),
    (0x10, "ACK"),
    (0x20, "URG"),
    (0x40, "ECE"),
    (0x80, "CWR"),
];

fn write_tcp_flags(flags: Option<u8>, line: &mut Vec<u8>) {
    line.extend_from_slice(b" flags=");
    let Some(flags) = flags else {
        line.push(b'-');
        return;
    };
    if flags == 0 {
        line.extend_from_slice(b"none");
    }
    let mut separator: &[u8] = b"";
    for (bit, name) in TCP_FLAGS {
        if flags & bit != 0 {
            line.extend_from_slice(separator);
            line.extend_from_slice(name.as_bytes());
            separator = b",";
        }
    }
}

/// Names of ethertypes other than IP, `include/uapi/linux/if_ether.h`.
const ETHERTYPES: [(u16, &str); 16] = [
    (0x0800, "ipv4"),
    (0x0806, "arp"),
    (0x86dd, "ipv6"),
    (0x0004, "802.2"),
    (0x22f0, "tsn"),
    (0x8035, "rarp"),
    (0x8100, "vlan"),
    (0x8847, "mpls"),
    (0x8848, "mpls-mc"),
    (0x8863, "pppoe-disc"),
    (0x8864, "pppoe"),
    (0x888e, "eapol"),
    (0x88a8, "qinq"),
    (0x88cc, "lldp"),
    (0x88e5, "macsec"),
    (0x88f7, "ptp"),
];

/// Names of IP protocols: the IANA keyword in lower case.
const IP_PROTOCOLS: [(u8, &str); 19] = [
    (6, "tcp"),
    (17, "udp"),
    (1, "icmp"),
    (58, "icmpv6"),
    (132, "sctp"),
    (136, "udplite"),
    (2, "igmp"),
    (4, "ipip"),
    (33, "dccp"),
    (41, "ipv6-in-ip"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (59, "ipv6-nonxt"),
    (88, "eigrp"),
    (89, "ospf"),
    (103, "pim"),
    (112, "vrrp"),
    (115, "l2tp"),
];

fn write_protocol(protocol: Protocol, line: &mut Vec<u8>) {
    match protocol {
        Protocol::Unknown => line.push(b'-'),
        Protocol::Ethertype(ethertype) => match name_of(&ETHERTYPES, ethertype) {
            Some(name) => line.extend_from_slice(name.as_bytes()),
            None => {
                append(line, format_args!("ethertype-{ethertype:#06x}"));
            }
        },
        Protocol::Ip(number) => match name_of(&IP_PROTOCOLS, number) {
            Some(name) => line.extend_from_slice(name.as_bytes()),
            None => write_number("proto-", Some(u32::from(number)), line),
        },
    }
}

fn name_of<N: PartialEq>(names: &[(N, &'static str)], number: N) -> Option<&'static str> {
    names
        .iter()
        .find(|(candidate, _)| *candidate == number)
        .map(|(_, name)| *name)
}

fn write_number<N: itoa::Integer>(key: &str, number: Option<N>, line: &mut Vec<u8>) {
    line.extend_from_slice(key.as_bytes());
    match number {
        Some(number) => {
            line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        None => line.push(b'-'),
    }
}

/// Appends a name that others may have chosen: everything but visible ASCII,
/// and the backslash, is written as `\xNN`, so that a value holds no white
/// space and a terminal sees no control characters. So is a lone `-`, which
/// stands for what can't be known.
fn write_escaped(name: &[u8], line: &mut Vec<u8>) {
    if name.is_empty() {
        line.push(b'-');
    }
    for &byte in name {
        if byte.is_ascii_graphic() && byte != b'\\' && name != b"-" {
            line.push(byte);
        } else {
            append(line, format_args!("\\x{byte:02x}"));
        }
    }
}

#[cfg(test)]
#[path = "text/tests.rs"]
mod tests;
