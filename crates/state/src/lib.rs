//! The replicated machine: `apply(command)` over an ordered key-value store.
//!
//! ```text
//! log entry (Stamped > Envelope > Command) + store  ->  Batch + Response
//! every member applies the same entries in the same order  ->  the same state (I4)
//! ```
//!
//! It keeps heads, configurations, assignments, statuses, baselines, incidents, locks, vetoes, people's words and the
//! audit chain. It reads no clock (time is in the entry), no randomness and no hash order; it never writes the store itself.

pub mod audit;
pub mod baseline;
pub mod command;
mod git;
mod incident;
mod lock;
pub mod machine;
pub mod operation;
mod people;
pub mod record;
mod session;
pub mod store;
pub mod table;
mod target;
mod transaction;
pub mod view;

pub use machine::{Applied, Halt, apply};
