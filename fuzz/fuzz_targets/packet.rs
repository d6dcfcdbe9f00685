//! See [`dropwatch_fuzz::packet`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dropwatch_fuzz::packet(bytes));
