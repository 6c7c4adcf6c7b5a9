//! A log that begins behind a state that came from elsewhere.

use super::{COMMITTED_KEY, PURGED_KEY, VOTE_KEY, encode_log_id, encode_vote, refused};
use crate::error::Error;
use crate::types::{LogId, Vote};
use regraft_wal::{Durability, Folder, Operation, Options};
use std::path::Path;
use std::sync::Arc;

/// Makes a log in `path` without entries: everything up to `at` is in the state, and the member voted `vote`.
pub(crate) fn begin(path: &Path, at: &LogId, vote: &Vote) -> Result<(), Error> {
    let failed = |error| refused(path, error);
    let folder = Folder::open(path).map_err(failed)?;
    let (mut writer, _, _) =
        regraft_wal::open(Arc::new(folder), Options::default()).map_err(failed)?;
    let (position, vote) = (encode_log_id(at), encode_vote(vote));
    let set = |key, bytes| Operation::Set { key, bytes };
    let batch = [
        Operation::PurgeTo { index: at.index },
        set(PURGED_KEY, &position),
        set(COMMITTED_KEY, &position),
        set(VOTE_KEY, &vote),
    ];
    writer.write(&batch, Durability::Synced).map_err(failed)
}

/// Refuses a log that somebody has open.
pub(crate) fn lock(path: &Path) -> Result<(), Error> {
    let opened = Folder::open(path);
    opened.map(drop).map_err(|error| refused(path, error))
}
