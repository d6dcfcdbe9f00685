//! See [`dropwatch_fuzz::cgroup`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dropwatch_fuzz::cgroup(bytes));
