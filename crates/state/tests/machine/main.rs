//! The machine through its one door: entries in, answers and state out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod baselines;
mod client;
mod harness;
mod incidents;
mod locks;
mod log;
mod queues;
mod random;
mod records;
mod scopes;
mod sessions;
mod targets;
mod upgrade;
