//! See `regraft_fuzz::requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| regraft_fuzz::requests(data));
