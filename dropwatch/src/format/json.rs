//! JSON: an object for each drop, one on each line, and the account as the last one.
//!
//! `docs/schema.json` says what is in them. Keys are added, never changed or removed, without a
//! new number of the schema.

pub(super) mod object;
mod packet;
pub(super) mod source;

pub(crate) use self::object::ascii_json;
use jiff::tz::TimeZone;

use self::object::{
    Object, are_plain, key, write_array, write_characters, write_kernel_address, write_number,
    write_plain, write_text,
};
use super::{
    Format, TimestampStyle, summary::unescaped, text::direction_name, timestamp::TimestampWriter,
};
use crate::{
    account::Account,
    counters::Moved,
    names::state_name,
    record::{Direction, DropRecord, Gso, Netns, Owner, SkbFields, Stack, Workload},
};

/// Number of the schema: a key that changes its meaning or goes away makes a new one.
pub(super) const SCHEMA: u32 = 1;

/// Writes [`DropRecord`]s as JSON objects.
pub struct JsonFormat {
    timestamp: TimestampWriter,
    /// The member `counters` of the account; empty without one.
    counters: Vec<u8>,
}

impl JsonFormat {
    /// Writes times in UTC.
    #[must_use]
    pub fn new() -> Self {
        Self {
            timestamp: TimestampWriter::new(TimestampStyle::Utc, TimeZone::UTC),
            counters: Vec::new(),
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
            source,
            pid,
            comm,
            owner,
            netns,
            workload,
            stack,
            address,
            origin: _,
            bytes: _,
        } = record;
        let mut object = Object::open(line);
        object.number(key!("schema"), Some(SCHEMA));
        object.word(key!("type"), Some("drop"));
        write_plain(object.member(key!("time")), |line| {
            self.timestamp.write_rfc3339(time.unix_ns, line);
        });
        object.number(key!("boot_ns"), Some(time.boot_ns));
        object.word(key!("reason"), *reason);
        packet::write_tuple(&packet.tuple, &mut object);
        object.number(key!("len"), skb.map(|skb| skb.len));
        write_gso(gso.as_ref(), &mut object);
        packet::write_members(packet, &mut object);
        object.text(key!("if"), device.map(|device| device.name));
        object.number(key!("ifindex"), device.map(|device| device.ifindex));
        write_skb(skb.as_ref(), *direction, &mut object);
        object.word(key!("state"), state.and_then(|state| state_name(state.0)));
        object.word(key!("class"), Some(class.as_str()));
        if sample.is_some() {
            object.number(key!("sample"), *sample);
        }
        object.word(
            key!("at"),
            Some(*location).filter(|location| *location != "-"),
        );
        if let Some(source) = source {
            source::write_source(source, object.member(key!("source")));
        }
        object.number(key!("pid"), Some(*pid));
        object.text(key!("comm"), Some(comm));
        write_owner(owner.as_ref(), &mut object);
        write_netns(netns.as_ref(), &mut object);
        write_workload(workload, &mut object);
        write_kernel_address(*address, object.member(key!("skb")));
        if let Some(stack) = stack {
            write_stack(stack, &mut object);
        }
        object.close();
        line.push(b'\n');
    }

    fn set_counters(&mut self, moved: &[Moved]) {
        write_counters(moved, &mut self.counters);
    }

    fn write_account(&mut self, account: &Account, line: &mut Vec<u8>) {
        write_account(account, &self.counters, line);
    }
}

/// Appends the object that closes the output, with what [`write_counters`] wrote.
pub(super) fn write_account(account: &Account, counters: &[u8], line: &mut Vec<u8>) {
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
    object.number(key!("schema"), Some(SCHEMA));
    object.word(key!("type"), Some("account"));
    object.number(key!("seen"), Some(seen));
    match counted {
        Some(counted) => object.number(key!("counted"), Some(counted)),
        None => object.number(key!("printed"), Some(printed)),
    }
    object.number(key!("hidden"), Some(hidden));
    object.number(key!("filtered"), Some(filtered));
    object.number(key!("sampled_out"), Some(sampled_out));
    object.number(key!("limited"), Some(limited));
    object.number(key!("lost"), Some(lost));
    if !counters.is_empty() {
        object.member(key!("counters")).extend_from_slice(counters);
    }
    object.close();
    line.push(b'\n');
}

/// Writes an array of the counters that moved.
pub(super) fn write_counters(moved: &[Moved], text: &mut Vec<u8>) {
    text.clear();
    write_array(moved.iter(), text, write_moved);
}

fn write_moved(moved: &Moved, text: &mut Vec<u8>) {
    let Moved {
        name,
        netns,
        netns_inode,
        interface,
        qdisc,
        count,
        causes,
        remark,
    } = moved;
    let mut object = Object::open(text);
    object.word(key!("name"), Some(name));
    object.value(key!("netns"), netns.as_deref(), write_name);
    object.number(key!("netns_inode"), *netns_inode);
    object.value(key!("if"), interface.as_deref(), write_name);
    object.value(key!("qdisc"), qdisc.as_deref(), write_name);
    object.number(key!("count"), Some(*count));
    object.value(key!("causes"), causes.as_ref(), |causes, text| {
        write_array(causes.iter(), text, |cause, text| {
            let mut object = Object::open(text);
            object.word(key!("by"), Some(&cause.by));
            object.number(key!("drops"), Some(cause.drops));
            let perhaps: &[u8] = if cause.perhaps { b"true" } else { b"false" };
            object.member(key!("perhaps")).extend_from_slice(perhaps);
            object.close();
        });
    });
    object.number(key!("unexplained"), moved.unexplained());
    object.word(key!("remark"), remark.as_deref());
    object.close();
}

/// Writes a name that text has escaped.
fn write_name(name: &str, text: &mut Vec<u8>) {
    write_text(&unescaped(name), text);
}

fn write_gso(gso: Option<&Gso>, object: &mut Object<'_>) {
    if let Some(Gso { size, segments }) = gso {
        if *segments != Some(1) {
            object.number(key!("segs"), *segments);
        }
        object.number(key!("gso"), Some(*size));
    }
}

fn write_skb(skb: Option<&SkbFields>, direction: Option<Direction>, object: &mut Object<'_>) {
    let iif = skb.map(|skb| skb.iif).filter(|iif| *iif != 0);
    object.number(key!("iif"), iif);
    object.number(key!("queue"), skb.map(|skb| skb.queue));
    object.word(key!("dir"), direction.map(direction_name));
    object.number(key!("mark"), skb.map(|skb| skb.mark));
    object.number(key!("prio"), skb.map(|skb| skb.priority));
    object.number(key!("hash"), skb.map(|skb| skb.hash));
}

/// Writes the owner as the line shows it and, if it is known, in its parts.
fn write_owner(owner: Option<&Owner<'_>>, object: &mut Object<'_>) {
    object.value(key!("owner"), owner, |owner, line| {
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
        object.text(key!("owner_comm"), Some(comm));
        object.number(key!("owner_pid"), Some(*pid));
        object.number(key!("owner_others"), Some(*others));
    }
}

/// Writes the namespace as the line shows it and, if it is known, its inode number.
fn write_netns(netns: Option<&Netns<'_>>, object: &mut Object<'_>) {
    object.value(key!("netns"), netns, |netns, line| match netns.name {
        Some(name) => write_text(name, line),
        None => write_plain(line, |line| write_number(netns.inode, line)),
    });
    if let Some(netns) = netns {
        object.number(key!("netns_inode"), Some(netns.inode));
    }
}

fn write_workload(workload: &Workload<'_>, object: &mut Object<'_>) {
    let Workload {
        container,
        pod,
        unit,
        container_id: _,
    } = workload;
    object.text(key!("container"), *container);
    object.text(key!("pod"), *pod);
    object.text(key!("unit"), *unit);
}

fn write_stack(stack: &Stack<'_>, object: &mut Object<'_>) {
    let callers = match stack {
        Stack::Callers(callers) => Some(*callers),
        Stack::Unknown => None,
    };
    object.value(key!("stack"), callers, write_callers);
}

/// Appends an array of the callers, most of what there is in an object.
fn write_callers(callers: &str, line: &mut Vec<u8>) {
    let callers = callers.as_bytes();
    let write: fn(&[u8], &mut Vec<u8>) = match are_plain(callers) {
        true => |caller, line| line.extend_from_slice(caller),
        false => write_characters,
    };
    let mut separator = "[\"";
    for caller in callers.split(|byte| *byte == b',') {
        line.extend_from_slice(separator.as_bytes());
        write(caller, line);
        separator = "\",\"";
    }
    line.extend_from_slice(b"\"]");
}

#[cfg(test)]
#[path = "json/tests.rs"]
mod tests;
