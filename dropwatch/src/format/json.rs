//! JSON: an object for each drop, one on each line, and the account as the last one.
//!
//! `docs/schema.json` says what is in them. Keys are added, never changed or removed, without a
//! new number of the schema.

mod object;
mod packet;

use jiff::tz::TimeZone;

use self::object::{Object, write_array, write_characters, write_number, write_plain, write_text};
use super::{Format, TimestampStyle, append, text::direction_name, timestamp::TimestampWriter};
use crate::{
    account::Account,
    names::state_name,
    record::{Direction, DropRecord, Gso, Netns, Owner, SkbFields, Stack, Workload},
};

/// Number of the schema: a key that changes its meaning or goes away makes a new one.
pub(super) const SCHEMA: u32 = 1;

/// Writes [`DropRecord`]s as JSON objects.
pub struct JsonFormat {
    timestamp: TimestampWriter,
}

impl JsonFormat {
    /// Writes times in UTC.
    #[must_use]
    pub fn new() -> Self {
        Self {
            timestamp: TimestampWriter::new(TimestampStyle::Utc, TimeZone::UTC),
        }
    }
}

impl Default for JsonFormat {
    fn default() -> Self {
        Self::new()
    }
}

impl Format for JsonFormat {
    fn write(&mut self, record: &DropRecord<'_>, line: &mut Vec<u8>) {
        let DropRecord {
            time,
            reason,
            class,
            sample,
            packet,
            skb,
            gso,
            device,
            direction,
            state,
            location,
            pid,
            comm,
            owner,
            netns,
            workload,
            stack,
            address,
        } = record;
        let mut object = Object::open(line);
        object.number("schema", Some(SCHEMA));
        object.word("type", Some("drop"));
        write_plain(object.member("time"), |line| {
            self.timestamp.write_rfc3339(time.unix_ns, line);
        });
        object.number("boot_ns", Some(time.boot_ns));
        object.word("reason", *reason);
        packet::write_tuple(&packet.tuple, &mut object);
        object.number("len", skb.map(|skb| skb.len));
        write_gso(gso.as_ref(), &mut object);
        packet::write_members(packet, &mut object);
        object.text("if", device.map(|device| device.name));
        object.number("ifindex", device.map(|device| device.ifindex));
        write_skb(skb.as_ref(), *direction, &mut object);
        object.word("state", state.and_then(|state| state_name(state.0)));
        object.word("class", Some(class.as_str()));
        if sample.is_some() {
            object.number("sample", *sample);
        }
        object.word("at", Some(*location).filter(|location| *location != "-"));
        object.number("pid", Some(*pid));
        object.text("comm", Some(comm));
        write_owner(owner.as_ref(), &mut object);
        write_netns(netns.as_ref(), &mut object);
        write_workload(workload, &mut object);
        write_plain(object.member("skb"), |line| {
            append(line, format_args!("{address:#x}"));
        });
        if let Some(stack) = stack {
            write_stack(stack, &mut object);
        }
        object.close();
        line.push(b'\n');
    }

    fn write_account(&mut self, account: &Account, line: &mut Vec<u8>) {
        write_account(account, line);
    }
}

/// Appends the object that closes the output.
pub(super) fn write_account(account: &Account, line: &mut Vec<u8>) {
    let Account {
        seen,
        printed,
        counted,
        hidden,
        filtered,
        sampled_out,
        limited,
        lost,
    } = *account;
    let mut object = Object::open(line);
    object.number("schema", Some(SCHEMA));
    object.word("type", Some("account"));
    object.number("seen", Some(seen));
    match counted {
        Some(counted) => object.number("counted", Some(counted)),
        None => object.number("printed", Some(printed)),
    }
    object.number("hidden", Some(hidden));
    object.number("filtered", Some(filtered));
    object.number("sampled_out", Some(sampled_out));
    object.number("limited", Some(limited));
    object.number("lost", Some(lost));
    object.close();
    line.push(b'\n');
}

fn write_gso(gso: Option<&Gso>, object: &mut Object<'_>) {
    if let Some(Gso { size, segments }) = gso {
        if *segments != Some(1) {
            object.number("segs", *segments);
        }
        object.number("gso", Some(*size));
    }
}

fn write_skb(skb: Option<&SkbFields>, direction: Option<Direction>, object: &mut Object<'_>) {
    let iif = skb.map(|skb| skb.iif).filter(|iif| *iif != 0);
    object.number("iif", iif);
    object.number("queue", skb.map(|skb| skb.queue));
    object.word("dir", direction.map(direction_name));
    object.number("mark", skb.map(|skb| skb.mark));
    object.number("prio", skb.map(|skb| skb.priority));
    object.number("hash", skb.map(|skb| skb.hash));
}

/// Writes the owner as the line shows it and, if it is known, in its parts.
fn write_owner(owner: Option<&Owner<'_>>, object: &mut Object<'_>) {
    object.value("owner", owner, |owner, line| {
        line.push(b'"');
        write_characters(owner.comm, line);
        line.push(b'[');
        write_number(owner.pid, line);
        line.push(b']');
        if owner.others > 0 {
            line.push(b'+');
            write_number(owner.others, line);
        }
        line.push(b'"');
    });
    if let Some(Owner { comm, pid, others }) = owner {
        object.text("owner_comm", Some(comm));
        object.number("owner_pid", Some(*pid));
        object.number("owner_others", Some(*others));
    }
}

/// Writes the namespace as the line shows it and, if it is known, its inode number.
fn write_netns(netns: Option<&Netns<'_>>, object: &mut Object<'_>) {
    object.value("netns", netns, |netns, line| match netns.name {
        Some(name) => write_text(name, line),
        None => write_plain(line, |line| write_number(netns.inode, line)),
    });
    if let Some(netns) = netns {
        object.number("netns_inode", Some(netns.inode));
    }
}

fn write_workload(workload: &Workload<'_>, object: &mut Object<'_>) {
    let Workload {
        container,
        pod,
        unit,
    } = workload;
    object.text("container", *container);
    object.text("pod", *pod);
    object.text("unit", *unit);
}

fn write_stack(stack: &Stack<'_>, object: &mut Object<'_>) {
    let callers = match stack {
        Stack::Callers(callers) => Some(callers.split(',')),
        Stack::Unknown => None,
    };
    object.value("stack", callers, |callers, line| {
        write_array(callers, line, |caller, line| {
            write_text(caller.as_bytes(), line);
        });
    });
}

#[cfg(test)]
#[path = "json/tests.rs"]
mod tests;
