//! A member's part of the replicated state: consensus, storage and network around
//! `regraft_state::apply`.
//!
//! ```text
//!           propose ----------+                          +--> changes
//!                             v                          |
//! leader: stamp time --> log (segments, one sync for all that waits) --> apply --> state (RocksDB) --> read
//!                             |                                        |
//!                             +--- mutual TLS, gRPC --- followers      +--> snapshot files
//! ```
//!
//! [`Replica::start`] runs a member; [`Replica::propose`] has a command applied, once it is on a
//! quorum's disks; [`Replica::barrier`] and then [`Replica::read`] read linearizably;
//! [`Replica::changes`] follows. [`Replica::backup`] gives the whole state as a stream, and [`backup`] makes data folders of
//! it. [`certs`] makes the certificates that members know each other by.
//!
//! The consensus engine is openraft; none of its types is part of this crate's interface or of a
//! format on disk or on the wire.
//!
//! Never: decides what a command means, re-encodes a command, reads a clock (it is an argument; only
//! certificates are judged by the machine's), or answers another member before it knows who asks.
#![forbid(unsafe_code)]

pub mod backup;
pub mod certs;
mod changes;
mod config;
mod database;
mod disk;
mod error;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod home;
mod leadership;
mod line;
mod listener;
mod liveness;
mod local;
mod log;
mod machine;
mod members;
mod network;
mod opening;
mod planted;
mod replica;
mod restore;
mod room;
mod service;
#[cfg(test)]
mod simulation;
mod state;
mod status;
mod tls;
mod types;

pub use changes::{Change, ChangesError, Subscription};
pub use config::{Clock, Config, LogDisk, PeerAddress, Timings};
pub use error::{BackupError, BarrierError, Error, ProposeError};
pub use listener::{Connection, incoming};
pub use local::{COMMAND_BYTES_MAX, Proposed};
pub use machine::{Machine, StateMachine};
pub use members::{MemberChange, MembersError};
pub use replica::{Listing, Replica, WeakReplica};
pub use service::{StoreLimits, serve_store};
pub use status::{Role, Status};
pub use tls::{Peer, Tls, TlsPaths};
