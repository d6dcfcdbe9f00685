//! See [`dropwatch_fuzz::btf`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dropwatch_fuzz::btf(bytes));
