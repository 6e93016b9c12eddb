#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parlo_fuzz::run("media", bytes));
