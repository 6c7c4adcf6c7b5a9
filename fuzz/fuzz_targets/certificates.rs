//! See `regraft_fuzz::certificates`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| regraft_fuzz::certificates(data));
