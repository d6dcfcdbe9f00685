//! See [`dropwatch_fuzz::kallsyms`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dropwatch_fuzz::kallsyms(bytes));
