//! The replicated machine: `apply(command)` over an ordered key-value store.
//!
//! ```text
//! log entry (Stamped > Envelope > Command or Operation) + store  ->  Batch + answer
//! every member applies the same entries in the same order  ->  the same state (I4)
//!
//! Command    members and people, JSON   heads, configurations, assignments, statuses, incidents, words of people
//! Operation  clients' sessions, prost   records by key, locks with queues
//! ```
//!
//! It keeps heads, configurations, assignments, statuses, baselines, incidents, locks, vetoes, people's words and the
//! audit chain; for clients sessions, records, locks and who waits for them. Repairs and sessions lock in one order of
//! scopes: each keeps the other out. What operations do is in no audit chain: it is too much.
//! It reads no clock (time is in the entry), no randomness and no hash order; it never writes the store itself.

pub mod audit;
pub mod baseline;
mod client;
pub mod command;
pub mod format;
mod git;
mod hold;
mod incident;
mod lock;
pub mod machine;
pub mod operation;
mod people;
mod queue;
pub mod record;
mod records;
mod scope;
mod session;
pub mod store;
pub mod stored;
pub mod table;
mod target;
mod transaction;
pub mod view;

pub use machine::{Applied, Halt, apply};
