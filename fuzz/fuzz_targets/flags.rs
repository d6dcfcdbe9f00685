//! See [`dropwatch_fuzz::flags`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dropwatch_fuzz::flags(bytes));
