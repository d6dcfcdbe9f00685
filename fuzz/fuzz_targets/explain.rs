//! See [`dropwatch_fuzz::explain`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dropwatch_fuzz::explain(bytes));
