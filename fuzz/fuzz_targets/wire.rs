//! See `regraft_fuzz::wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| regraft_fuzz::wire(data));
