//! See `regraft_fuzz::wal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| regraft_fuzz::wal(data));
