//! See [`dropwatch_fuzz::recording`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dropwatch_fuzz::recording(bytes));
