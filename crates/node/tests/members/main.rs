//! Members as real processes without a cluster to look after, and the command line as a person uses it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod backup;
mod data;
mod health;
mod refusals;
mod replace;
mod single;
mod stopping;
mod support;
mod trio;
