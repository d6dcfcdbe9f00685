//! Recordings as files of `--write`.

use std::{
    env,
    hash::{BuildHasher as _, Hasher as _, RandomState},
};

use jiff::{Timestamp, tz::TimeZone};
use rustix::system::uname;

use super::Encoder;
use crate::{
    account::Account,
    cli::joined,
    enrich::reason::ReasonNames,
    record::DropRecord,
    recording::{About, ReasonName, Recorder, Tally},
};

impl Encoder for Recorder {
    fn begin(&mut self, file: &mut Vec<u8>) {
        self.begin_section(file);
    }

    fn set_zone(&mut self, zone: TimeZone) {
        Self::set_zone(self, zone);
    }

    fn add(&mut self, record: &DropRecord<'_>, file: &mut Vec<u8>) {
        self.write(record, file);
    }

    fn end(&mut self, account: Option<&Account>, file: &mut Vec<u8>) {
        if let Some(account) = account {
            let tally = Tally::new(account, self.recorded());
            self.write_account(&tally, file);
        }
    }
}

/// What a recording says of this run and host.
#[must_use]
pub fn about_this_run(stack_depth: u32) -> About {
    let system = uname();
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    About {
        dropwatch: env!("CARGO_PKG_VERSION").to_owned(),
        host: text(system.nodename()),
        kernel: text(system.release()),
        machine: text(system.machine()),
        // The keys of hash tables are random.
        run: RandomState::new().build_hasher().finish(),
        section: 0,
        started_ns: i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX),
        flags: joined(env::args_os().skip(1)),
        stack_depth,
        recorded: 0,
    }
}

/// The names of all drop reasons that the host has now, and of their subsystems.
#[must_use]
pub fn reasons_of(names: &mut ReasonNames) -> (Vec<ReasonName>, Vec<ReasonName>) {
    let owned = |(number, name): (u32, &str)| ReasonName {
        number,
        name: name.to_owned(),
    };
    names.search_all();
    let reasons = names.known().map(owned).collect();
    (reasons, names.subsystems().map(owned).collect())
}
