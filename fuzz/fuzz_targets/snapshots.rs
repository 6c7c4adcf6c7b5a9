//! See `regraft_fuzz::snapshots`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| regraft_fuzz::snapshots(data));
