//! Limits on what passes the filters: `--sample` and `--rate-limit`. One that is
//! off is removed by the verifier, as filters are.

use dropwatch_common::{
    config::Counters,
    event::{DropEvent, present},
    limit::RateLimit,
};

use crate::{
    config::{RATE_BURST_NS, RATE_INTERVAL_NS, SAMPLE},
    maps::RATE_FULL_NS,
    probe::{Outcome, add},
};

/// Whether the limits look at the time of the drop.
#[inline(always)]
pub(crate) fn needs_time() -> bool {
    RATE_INTERVAL_NS.load() != 0
}

/// Lets a drop pass that has passed the filters, or says what became of it.
///
/// Taking a sample and filtering can change places, so the sample is taken also of
/// drops that user space has yet to decide about. Taking a token can't: a token
/// for a drop that is turned down later would be missing for one that is wanted,
/// so user space limits those.
#[inline(always)]
pub(crate) fn pass(counters: *mut Counters, event: &DropEvent) -> Result<(), Outcome> {
    if SAMPLE.load() > 1 && !is_in_sample(counters) {
        return Err(Outcome::SampledOut);
    }
    let is_open = event.present & present::PROCESS_OPEN != 0;
    if needs_time() && !is_open && !take_token(event.time_ns) {
        return Err(Outcome::Limited);
    }
    Ok(())
}

/// Whether the drop is one of the sample: on each processor the first, and then
/// every so many.
#[inline(always)]
fn is_in_sample(counters: *mut Counters) -> bool {
    // SAFETY: the pointer comes from the map and is this CPU's. Volatile, because
    // an interrupt may have added to it.
    unsafe {
        let number = (&raw const (*counters).sampled_from).read_volatile();
        add(&raw mut (*counters).sampled_from, 1);
        number.is_multiple_of(u64::from(SAMPLE.load()))
    }
}

/// Takes a token out of the bucket that all processors share.
///
/// Kernels before 5.12 have no way to compare and exchange, and tracing programs no
/// locks: processors that look at the same moment can take the same token. So this
/// lets a few more through than it should, never fewer, and user space has the
/// last word.
#[inline(always)]
fn take_token(now_ns: u64) -> bool {
    let Some(shared) = RATE_FULL_NS.get_ptr_mut(0) else {
        return true;
    };
    let limit = RateLimit {
        interval_ns: RATE_INTERVAL_NS.load(),
        burst_ns: RATE_BURST_NS.load(),
    };
    // SAFETY: the pointer comes from the map. Volatile, because other processors
    // write it, too.
    unsafe {
        let mut full_ns = shared.read_volatile();
        let taken = limit.take(&mut full_ns, now_ns);
        if taken {
            shared.write_volatile(full_ns);
        }
        taken
    }
}
