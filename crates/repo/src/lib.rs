//! Git at the edge: hears where a branch is, reads trees without a checkout, and pushes one commit only if the branch
//! still is where the plan was made.
//!
//! ```text
//!  Config ── Address ── Connection ─(http, ssh, file)── the remote
//!                           │ fetch, push                  ▲ old tip must be the plan's parent
//!                           ▼                              │
//!  Repository ──────── bare clone ── View ── Snapshot, SourceTree, History, diff
//!        └── commit(CommitRequest) ── tree edit by blob ── CommitOutcome
//! ```
//!
//! It never checks out files, follows links or submodules, runs hooks or other programs, reads a person's
//! `~/.gitconfig`, accepts a host key or certificate it cannot verify, forces a tracked branch, or reads a clock.
//! The clone is a cache: a damaged one is cloned again into a fresh folder and swapped.
//!
//! All calls block; a caller with an async runtime puts them on its blocking threads. Every wait for the remote is
//! bounded by [`Config::patience`] since its last sign of life.

mod address;
mod certificate;
mod commit;
mod config;
mod connection;
mod credentials;
mod error;
mod history;
mod known_hosts;
mod message;
mod push;
mod repository;
mod store;
mod tree_edit;
mod view;
mod watch;

#[cfg(test)]
mod tests;

pub use address::{Address, Transport};
pub use config::{Config, Identity, Proxy, is_branch};
pub use credentials::{Credentials, CredentialsSource, SecretSource};
pub use error::{Error, Failure, Operation};
pub use push::Permit;
pub use repository::{Fetched, Repository};
