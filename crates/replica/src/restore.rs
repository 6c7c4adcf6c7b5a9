//! The data folder of a new member from a backup, made while no member runs on it.
//!
//! ```text
//! FILE --read once: is it whole, whose is it?--> member.json (restoring) --> state, wal --> member.json
//!
//! index   ... last of the backup | what the lost trio did after it | first of the new log ...
//!                    B           |      B + 1 ... at most          |    B + GAP
//! ```
//!
//! Every new member restores the same file by its own configuration and gets the same: the state, one log index and
//! term where the log begins, and who the members are.
//!
//! - Guarantees: nothing that the lost trio granted after the backup is granted again, for the log goes on far above:
//!   fences, revisions, and ids of sessions and tickets are log indexes. The folder's disk is new, and of a line of its
//!   own: whoever ran before the restore, or was restored from something else, and these members refuse each other
//!   ([`crate::line`]). A folder that was not filled to its end is not started.
//! - Assumptions: the members of before are stopped for good, or cannot reach the clusters and repositories. The trio
//!   they were cannot be told that it is over.
//! - Errors: [`Error`]; the folder is as it was before, or can be restored into again.

use crate::backup::{BackupInfo, read_file_whole};
use crate::config::Config;
use crate::disk::{self, Disk};
use crate::error::Error;
use crate::log::{self, fresh};
use crate::state::snapshot::SnapshotFile;
use crate::state::{StateStore, View};
use crate::types::{LeaderId, LogId, Membership, SnapshotMeta, StoredMembership, Vote};
use data_encoding::HEXLOWER;
use openraft::BasicNode;
use openraft::vote::RaftLeaderId as _;
use regraft_model::time::Timestamp;
use regraft_state::audit::note_restore;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How far the new log begins above the last entry of the backup, in entries. More than a trio writes in a year at the
/// most that was ever measured (about 25,000 a second), so that it is above everything that the lost trio did since. The
/// figures of nine thousand restores still are whole numbers for programs that read JSON (2^53). A power of ten, so that
/// people see in an index how often a state was restored, and where it would have been.
pub(crate) const INDEX_GAP: u64 = 1_000_000_000_000;
/// Of the log's first entry, which no member proposed: member ids start at 1.
const NOBODY: u64 = 0;
/// Bytes of a line's name.
const LINE_BYTES: usize = 8;

/// Whether a state may go on under another cluster's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterName {
    /// No.
    Same,
    /// Yes.
    New,
}

/// A data folder that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What it was made of.
    pub backup: BackupInfo,
    /// Log index where the new log begins.
    pub index: u64,
    /// Names the members that belong together: the same for all that were given the same file, cluster and members.
    pub line: String,
}

/// Makes the data folder of the member that `config` is of from the backup in `file`.
///
/// # Errors
/// When the backup cannot be used by this version or for this cluster, when the folder is not empty or in use, or when it
/// cannot be written.
pub fn restore(file: &Path, config: &Config, name: ClusterName) -> Result<Restored, Error> {
    config.check()?;
    check_folder(&config.data_dir)?;
    let whole = read_file_whole(file, &mut |_, _| Ok(()))?;
    let backup = whole.info;
    if backup.cluster_id != config.cluster_id && name == ClusterName::Same {
        return Err(Error::OtherClustersBackup {
            path: file.to_owned(),
            found: backup.cluster_id,
            expected: config.cluster_id.clone(),
        });
    }
    let known = config.machine.format();
    if backup.format > known {
        return Err(Error::NewerBackup {
            path: file.to_owned(),
            what: "a state in format",
            found: backup.format,
            known,
        });
    }
    let line = line_of(&backup, config);
    let begin = LogId {
        leader_id: LeaderId::new(whole.last_log.leader_id.term.saturating_add(1), NOBODY),
        index: whole.last_log.index.saturating_add(INDEX_GAP),
    };
    let disk = Disk::begin_restore(
        &config.data_dir,
        &config.cluster_id,
        config.node_id,
        line.clone(),
    )?;
    fill(file, &backup, config, begin).map_err(|error| error.at_start(&config.data_dir))?;
    disk.end_restore(&config.data_dir)?;
    Ok(Restored {
        backup,
        index: begin.index,
        line,
    })
}

/// Refuses a folder that is in use or holds something; what a restore that was cut off left is taken away.
fn check_folder(dir: &Path) -> Result<(), Error> {
    let failed = |source| Error::ReadFile {
        path: dir.to_owned(),
        source,
    };
    let wal = dir.join(log::FOLDER);
    if wal.exists() {
        // Who runs on it has it locked.
        fresh::lock(&wal)?;
    }
    if disk::is_half_restored(dir)? {
        return clear(dir).map_err(|source| Error::WriteFile {
            path: dir.to_owned(),
            source,
        });
    }
    let found = match std::fs::read_dir(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = found
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed)?;
    // A new file system has it.
    names.retain(|name| name != disk::LOST_AND_FOUND);
    match names.iter().min() {
        None => Ok(()),
        Some(name) => Err(Error::FolderNotEmpty {
            path: dir.to_owned(),
            found: name.to_string_lossy().into_owned(),
        }),
    }
}

/// The marker last: without it the rest would be anybody's.
fn clear(dir: &Path) -> io::Result<()> {
    for part in [StateStore::FOLDER, log::FOLDER] {
        match std::fs::remove_dir_all(dir.join(part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    disk::remove_marker(dir)
}

fn fill(file: &Path, backup: &BackupInfo, config: &Config, begin: LogId) -> Result<(), Error> {
    let dir = &config.data_dir;
    let folder = dir.join(StateStore::FOLDER);
    let failed = |source| Error::WriteFile {
        path: folder.clone(),
        source,
    };
    let source = SnapshotFile::open(file).map_err(|source| Error::ReadFile {
        path: file.to_owned(),
        source,
    })?;
    let state = StateStore::open(&folder, Arc::clone(&config.machine))?;
    let meta = SnapshotMeta {
        last_log_id: Some(begin),
        last_membership: StoredMembership::new(Some(begin), membership(config)?),
    };
    let prepared = state.prepare(&meta, &source).map_err(failed)?;
    state.replace(prepared).map_err(failed)?;
    let note = format!(
        "from a backup up to log index {} of cluster {}; the log begins again at {}",
        backup.index, backup.cluster_id, begin.index
    );
    let generation = state.generation();
    let view = View::live(&generation.db);
    let note = note_restore(&view, begin.index, Timestamp(backup.taken_ms), note);
    let note = note.map_err(|halt| failed(io::Error::other(halt.to_string())))?;
    state.amend(note.writes).map_err(failed)?;
    // In no term that a member of the backup may have voted in; the first election is in the one after.
    let vote = Vote {
        leader_id: LeaderId::new(begin.leader_id.term.saturating_add(1), NOBODY),
        committed: false,
    };
    fresh::begin(&dir.join(log::FOLDER), &begin, &vote)
}

fn membership(config: &Config) -> Result<Membership, Error> {
    let nodes: BTreeMap<u64, BasicNode> = config
        .peers
        .iter()
        .map(|(id, peer)| (*id, BasicNode::new(&peer.address)))
        .collect();
    let voters = nodes.keys().copied().collect();
    Membership::new(vec![voters], nodes).map_err(|error| Error::InvalidConfig {
        reason: error.to_string(),
    })
}

/// The same for members that were given the same file, cluster and members, and for no others.
fn line_of(backup: &BackupInfo, config: &Config) -> String {
    let mut digest = Sha256::new();
    let mut add = |part: &str| {
        // Length first, so that no two different lists give the same bytes.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    };
    add(&backup.sha256);
    add(&config.cluster_id);
    for (id, peer) in &config.peers {
        add(&id.to_string());
        add(&peer.address);
    }
    let digest = digest.finalize();
    HEXLOWER.encode(digest.get(..LINE_BYTES).unwrap_or_default())
}
