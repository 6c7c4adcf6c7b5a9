//! Members in one thread of simulated time: the real code, but for disk, network, time and chance.
//!
//! ```text
//! seed ──> World ── steps of some milliseconds ──> Host (a machine: tokio with a paused clock, MemoryDisk, RocksDB)
//!            │                                       │  openraft, log, state, network over tonic, liveness
//!            ├─> Faults: cut, slow, kill, power loss, pause, slow, full and failing disk, clocks
//!            ├─> Client: sessions, records, locks; what is not answered is sent again
//!            ├─> Operator: members join, are replaced, leave and lead; disks are lost, former members run on
//!            └─> Ledger <── every entry that any member applies (Recorder, in the place of the machine)
//! ```
//!
//! - Expected flow: [`run`] with a seed: some members and clients, trouble for a while, then all is healed and has to come
//!   to rest.
//! - Checked always: an entry is the same, and does the same, on every member and after every start; whole states are equal
//!   where the applied index is; what was acknowledged is what was applied; whatever was seen before a request began
//!   lies before it in the log (linearizability of all records together, with the log's order as the witness); a
//!   request sent again has one effect and one answer; what was certainly not proposed is never applied; nobody holds
//!   what overlaps what another one holds, and fences rise; a session that was told that it lives does; a member stops
//!   only where its disk failed; all go by the same members from the same entry on, and a change of them that was told to be
//!   done was made. At rest: no change is half-done, logs have no holes and say the same, and all members that the last
//!   change left have applied the same; and what clients saw is judged by that alone, with and without the revisions they
//!   were told (`regraft_history`).
//! - Guarantees: the same seed is the same run. RocksDB's own threads change nothing that is seen.
//! - Left out: TLS (the pipe tells who is at its other end) and damage of what a disk holds, which tests of real processes
//!   and those of the log have; backups. What a crash takes of RocksDB is what it has in memory.
#![expect(
    clippy::disallowed_methods,
    reason = "time and tasks are the simulated ones here"
)]

mod checks;
mod client;
mod faults;
mod host;
mod membership;
mod observer;
mod operator;
mod pipe;
mod requests;
mod runtime;
mod tests;
mod watch;
mod world;

pub(crate) use host::DiskPace;
pub(crate) use pipe::Pipes;
pub(crate) use runtime::{Runtime, is_here};

use crate::planted::{self, Bug};
use std::path::Path;
use world::Outcome;

/// Where the states of members are, if it is there: a folder in memory.
const MEMORY_FOLDER: &str = "/dev/shm";

/// Runs a seed, with a bug or as it is.
fn run(seed: u64, bug: Option<Bug>) -> Outcome {
    let parent = match Path::new(MEMORY_FOLDER) {
        memory if memory.is_dir() => memory.to_owned(),
        _ => std::env::temp_dir(),
    };
    let root = tempfile::Builder::new()
        .prefix("regraft-simulation-")
        .tempdir_in(parent)
        .unwrap();
    planted::with(bug, || {
        runtime::simulate(seed, || world::run(seed, root.path()))
    })
}
