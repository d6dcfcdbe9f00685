//! The value of a dimension, written as the line writes it.

use super::text::{
    packet::{write_address, write_protocol},
    write_name, write_netns, write_number, write_owner, write_word,
};
use crate::{
    groups::Dimension,
    packet::Part,
    record::{DropRecord, Stack},
};

/// Appends what `record` has for `dimension`; `-` where it can't be known.
pub fn write_dimension(dimension: Dimension, record: &DropRecord<'_>, text: &mut Vec<u8>) {
    let tuple = &record.packet.tuple;
    match dimension {
        Dimension::Reason => write_word("", record.reason, text),
        Dimension::At => write_word("", Some(record.location), text),
        Dimension::If => write_name("", record.device.map(|device| device.name), text),
        Dimension::Proto => write_protocol(tuple.protocol, text),
        Dimension::Saddr => {
            write_address(tuple.addresses.map(|addresses| addresses.source), text);
        }
        Dimension::Daddr => {
            write_address(tuple.addresses.map(|addresses| addresses.destination), text);
        }
        Dimension::Dport => {
            let port = match tuple.ports {
                Part::Known((_, destination)) => Some(destination),
                Part::Absent | Part::CutOff => None,
            };
            write_number("", port, text);
        }
        Dimension::Comm => write_name("", Some(record.comm), text),
        Dimension::Owner => write_owner("", record.owner.as_ref(), text),
        Dimension::Netns => write_netns("", record.netns.as_ref(), text),
        Dimension::Container => write_name("", record.workload.container, text),
        Dimension::Stack => match record.stack {
            Some(Stack::Callers(callers)) => text.extend_from_slice(callers.as_bytes()),
            Some(Stack::Unknown) | None => text.push(b'-'),
        },
        Dimension::Class => write_word("", Some(record.class.as_str()), text),
    }
}
