//! The machine through its one door: entries in, answers and state out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod baselines;
mod harness;
mod incidents;
mod locks;
mod log;
mod targets;
