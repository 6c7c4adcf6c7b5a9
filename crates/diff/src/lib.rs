//! Desired against live: what differs, what to apply in which order, what to prune, and how well one object is.
//!
//! ```text
//! rendered objects --stamp--> desired --\
//! live objects, scalers - ClusterState --> compare --> Comparison { request, out_of_sync, blocked }
//! what was applied ---- Inventory ------/      (an application that left Git: retire)
//!
//! live object --health::judge--> Verdict
//! ```
//!
//! It never writes, never asks a server and never guesses: an object that differs only in how the server writes a
//! value down (`1000m` against `1`) is out of sync until a dry run said otherwise ([`KnownEqual`]).

pub mod compare;
pub mod health;
pub mod leaf;
pub mod order;
pub mod prune;
pub mod scaled;
mod stages;
pub mod stamp;

pub use compare::{Blocked, ClusterState, Comparison, Complete, Desired, KnownEqual, compare};
pub use prune::{deletion_token, retire};
pub use scaled::{scale_targets, wanted};
pub use stamp::stamp;
