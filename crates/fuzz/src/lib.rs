//! What must hold whatever bytes a decoder gets: one function for each, that panics when a promise is broken.
//!
//! ```text
//! libFuzzer (`fuzz/`, cargo xtask fuzz) ──┐
//! the kept corpus, and mutations of it ───┴─> TARGETS: fn(&[u8]) ─> decode ─> use ─> encode ─> compare
//!   (tests/corpus.rs)
//! ```
//!
//! Bytes alone rarely get past a checksum or a length in front. So most targets read their input as a few parts, and put
//! the checksums and lengths around them that an honest writer would, and some that it would not.
//!
//! It never reads a clock, a file or randomness: the same bytes do the same for good.
#![forbid(unsafe_code)]
#![expect(
    clippy::panic,
    reason = "it stops at the first thing that is not as it should be"
)]

mod certificates;
mod commands;
pub mod input;
mod model;
mod requests;
mod snapshots;
mod stored;
mod wal;
mod wire;

pub use certificates::certificates;
pub use commands::commands;
pub use requests::requests;
pub use snapshots::snapshots;
pub use stored::stored;
pub use wal::wal;
pub use wire::wire;

/// Takes any bytes, and panics when a promise is broken.
pub type Check = fn(&[u8]);

/// Every target by its name, which is that of its folder in `fuzz/corpus` and of its program in `fuzz/fuzz_targets`.
pub const TARGETS: [(&str, Check); 7] = [
    ("certificates", certificates),
    ("commands", commands),
    ("requests", requests),
    ("snapshots", snapshots),
    ("stored", stored),
    ("wal", wal),
    ("wire", wire),
];
