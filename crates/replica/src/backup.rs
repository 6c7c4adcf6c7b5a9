//! Backups: the whole state at one moment, as a stream and as a file.
//!
//! ```text
//! member --barrier--> checkpoint of the state --stream--> FILE --read--> what it is, its pairs
//!                                                          +--restore (crate::restore)--> data folder of a new member
//! ```
//!
//! A backup is what a member sends another that lacks too much of the log (`crate::state::frames`), with the time it was
//! taken.
//!
//! - Guarantees: it holds everything that was acknowledged before it was asked for, and nothing of it twice; a file that
//!   is damaged, cut, or goes on after its end is refused.
//! - Errors: [`Error`] says which file and what is wrong with it.

use crate::error::{BackupError, Error};
use crate::state::frames::{self, FrameError};
use crate::state::generation::Generation;
use crate::state::sending;
use crate::state::snapshot::Snapshots;
use crate::types::{LogId, StoredMembership, log_id_from_wire, stored_membership_from_wire};
use data_encoding::HEXLOWER;
use futures::stream::Stream;
use regraft_state::command::COMMAND_FORMAT;
use regraft_state::table;
use regraft_wire::raft::v1 as wire;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;

pub use crate::restore::{ClusterName, Restored, restore};

/// Backups taken from one member at the same time: each keeps files of the state that it would delete otherwise.
pub(crate) const BACKUPS_MAX: usize = 1;

/// A piece of a backup that arrives.
pub type Part = io::Result<Vec<u8>>;

/// Gets the key and the value of every pair.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> io::Result<()>;

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    /// The cluster.
    pub cluster_id: String,
    /// Log index of the last entry in it.
    pub index: u64,
    /// When it was taken, milliseconds since the epoch by the clock of the member it is of.
    pub taken_ms: i64,
    /// Who had a vote.
    pub voters: BTreeSet<u64>,
    /// Where each member listened for the others.
    pub members: BTreeMap<u64, String>,
    /// The newest format of commands that may be in its state.
    pub format: u32,
    /// Pairs of key and value.
    pub pairs: u64,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
}

/// A backup that was read to its end.
pub(crate) struct Whole {
    pub(crate) info: BackupInfo,
    pub(crate) last_log: LogId,
}

/// Reads a backup to its end and gives every pair of it to `visit`, in the order of keys. `path` names it in errors.
///
/// # Errors
/// When it cannot be read, is not whole, or a newer version wrote it; and what `visit` says.
pub fn read(path: &Path, input: impl Read, visit: Visit<'_>) -> Result<BackupInfo, Error> {
    read_whole(path, input, visit).map(|whole| whole.info)
}

/// As [`read`], from the file of this name.
///
/// # Errors
/// As those of [`read`].
pub fn read_file(path: &Path, visit: Visit<'_>) -> Result<BackupInfo, Error> {
    read_file_whole(path, visit).map(|whole| whole.info)
}

/// Checks that a backup is whole, and says what it is of.
///
/// # Errors
/// As those of [`read`].
pub fn verify(path: &Path) -> Result<BackupInfo, Error> {
    read_file(path, &mut |_, _| Ok(()))
}

pub(crate) fn read_file_whole(path: &Path, visit: Visit<'_>) -> Result<Whole, Error> {
    let file = File::open(path).map_err(|source| Error::ReadFile {
        path: path.to_owned(),
        source,
    })?;
    read_whole(path, file, visit)
}

fn read_whole(path: &Path, input: impl Read, visit: Visit<'_>) -> Result<Whole, Error> {
    let mut input = Summed {
        input,
        bytes: 0,
        digest: Sha256::new(),
    };
    let (mut pairs, mut format) = (0, None);
    let header = frames::read_all(BufReader::new(&mut input), &mut |chunk| {
        for wire::Pair { key, value } in chunk {
            if key == table::FORMAT.as_bytes() {
                format = Some(value.clone());
            }
            pairs += 1;
            visit(&key, &value)?;
        }
        Ok(())
    });
    let header = header.map_err(|error| refused(path, error))?;
    let damaged = |reason: &str| Error::DamagedBackup {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let last_log = header.last_log.as_ref().map(log_id_from_wire);
    let last_log = last_log.ok_or_else(|| damaged("it says not how far its state is applied"))?;
    let membership = members_of(&header).map_err(|reason| damaged(&reason))?;
    let format = match format {
        None => COMMAND_FORMAT,
        Some(json) => serde_json::from_slice(&json).map_err(|error| damaged(&error.to_string()))?,
    };
    let nodes = membership.membership().nodes();
    let info = BackupInfo {
        cluster_id: header.cluster_id,
        index: last_log.index,
        taken_ms: header.taken_ms,
        voters: membership.voter_ids().collect(),
        members: nodes.map(|(id, node)| (*id, node.addr.clone())).collect(),
        format,
        pairs,
        bytes: input.bytes,
        sha256: HEXLOWER.encode(&input.digest.finalize()),
    };
    Ok(Whole { info, last_log })
}

/// Freezes the state, and gives it as a stream.
pub(crate) async fn take(
    generation: Arc<Generation>,
    snapshots: Arc<Snapshots>,
    slots: Arc<Semaphore>,
    taken_ms: i64,
) -> Result<impl Stream<Item = Part> + Send + Unpin + 'static, BackupError> {
    let slot = slots.try_acquire_owned().map_err(|_| BackupError::Busy)?;
    let taking =
        tokio::task::spawn_blocking(move || snapshots.take_apart(&generation.db, taken_ms));
    let freeze = |source| BackupError::Freeze { source };
    let taken = taking
        .await
        .map_err(|error| freeze(io::Error::other(error)))?;
    let taken = taken.map_err(freeze)?;
    if taken.meta().last_log_id.is_none() {
        return Err(BackupError::Empty);
    }
    Ok(sending::parts(taken, slot))
}

fn members_of(header: &wire::SnapshotHeader) -> Result<StoredMembership, String> {
    let membership = header.membership.as_ref();
    let membership = membership.ok_or_else(|| "it has no membership".to_owned())?;
    stored_membership_from_wire(membership).map_err(|error| error.to_string())
}

fn refused(path: &Path, error: FrameError) -> Error {
    let path = path.to_owned();
    match error {
        FrameError::Io(source) => Error::ReadFile { path, source },
        FrameError::Damaged(reason) => Error::DamagedBackup { path, reason },
        FrameError::Newer(found) => Error::NewerBackup {
            path,
            what: "format",
            found,
            known: frames::FORMAT,
        },
    }
}

/// Counts and sums up what is read through it.
struct Summed<R> {
    input: R,
    bytes: u64,
    digest: Sha256,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes += read as u64;
        self.digest.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}
