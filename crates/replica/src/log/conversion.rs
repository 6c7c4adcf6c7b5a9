//! A log as it was before it had segments of its own, in RocksDB, is taken over once, at the first start of this version.
//!
//! ```text
//! log/  --read--> wal/   then log/ --rename--> log.converted/ --remove
//! ```
//!
//! Guarantees: until the rename the old log is whole and counts; what is in `wal/` beside it is thrown away.

use super::{COMMITTED_KEY, DISK_PREFIX, PURGED_KEY, VOTE_KEY, refused};
use crate::database::{self, Keeps};
use crate::error::Error;
use prost::Message as _;
use regraft_wal::{Durability, Folder, Operation, Options, Writer};
use regraft_wire::raft::v1 as wire;
use rocksdb::{DB, IteratorMode};
use std::io;
use std::path::Path;
use std::sync::Arc;

const BEFORE: &str = "log";
const CONVERTED: &str = "log.converted";
/// Keys of the old database: entries, and what has a name.
const ENTRY_PREFIX: u8 = b'e';
const NAME_PREFIX: u8 = b'm';
/// Bytes of entries that are written at once.
const BATCH_BYTES: usize = 4 << 20;

/// Takes the log over that an earlier version left in `dir`, if there is one, into `wal`.
pub(crate) fn convert(dir: &Path, wal: &Path) -> Result<(), Error> {
    let (before, converted) = (dir.join(BEFORE), dir.join(CONVERTED));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| Error::WriteFile { path, source }
    };
    if converted.exists() {
        std::fs::remove_dir_all(&converted).map_err(failed(&converted))?;
    }
    if !before.exists() {
        return Ok(());
    }
    if wal.exists() {
        std::fs::remove_dir_all(wal).map_err(failed(wal))?;
    }
    let db = database::open(&before, Keeps::AllSynced)?;
    let entries = copy(&db, &before, wal)?;
    drop(db);
    std::fs::rename(&before, &converted)
        .and_then(|()| database::sync_dir(dir))
        .and_then(|()| std::fs::remove_dir_all(&converted))
        .map_err(failed(&before))?;
    tracing::info!(entries, path = %wal.display(), "the log of an earlier version was taken over");
    Ok(())
}

/// What is collected for one write.
#[derive(Default)]
struct Gathered {
    entries: Vec<(u64, Box<[u8]>)>,
    bytes: usize,
}

impl Gathered {
    fn write(&mut self, writer: &mut Writer) -> Result<(), regraft_wal::Error> {
        let batch: Vec<Operation<'_>> = self
            .entries
            .iter()
            .map(|(index, bytes)| Operation::Append {
                index: *index,
                bytes,
            })
            .collect();
        writer.write(&batch, Durability::Synced)?;
        *self = Self::default();
        Ok(())
    }
}

fn copy(db: &DB, before: &Path, wal: &Path) -> Result<u64, Error> {
    let damaged = |reason: String| Error::DamagedDatabase {
        path: before.to_owned(),
        reason,
    };
    let folder = Folder::open(wal).map_err(|error| refused(wal, error))?;
    let (mut writer, _, _) = regraft_wal::open(Arc::new(folder), Options::default())
        .map_err(|error| refused(wal, error))?;
    let mut written = 0;
    let mut gathered = Gathered::default();
    let names = names(db).map_err(damaged)?;
    let mut batch = Vec::new();
    // First, for entries follow it.
    batch.extend(names.purged.map(|index| Operation::PurgeTo { index }));
    let values = names.values.iter();
    batch.extend(values.map(|(key, bytes)| Operation::Set { key, bytes }));
    let wrote = writer.write(&batch, Durability::Synced);
    wrote.map_err(|error| refused(wal, error))?;
    for pair in db.iterator(IteratorMode::From(
        &[ENTRY_PREFIX],
        rocksdb::Direction::Forward,
    )) {
        let (key, bytes) = pair.map_err(|error| damaged(error.to_string()))?;
        let Some((&ENTRY_PREFIX, index)) = key.split_first() else {
            break;
        };
        let index = index
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| damaged("an entry is kept under a broken key".to_owned()))?;
        gathered.bytes += bytes.len();
        gathered.entries.push((index, bytes));
        written += 1;
        if gathered.bytes >= BATCH_BYTES {
            let wrote = gathered.write(&mut writer);
            wrote.map_err(|error| refused(wal, error))?;
        }
    }
    let wrote = gathered.write(&mut writer);
    wrote.map_err(|error| refused(wal, error))?;
    Ok(written)
}

/// What has a name in the old database.
struct Names {
    /// Vote, committed and purged log ids, known disks.
    values: Vec<(Vec<u8>, Box<[u8]>)>,
    /// Index up to which it was purged.
    purged: Option<u64>,
}

fn names(db: &DB) -> Result<Names, String> {
    let mut names = Names {
        values: Vec::new(),
        purged: None,
    };
    for pair in db.prefix_iterator([NAME_PREFIX]) {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        let Some((&NAME_PREFIX, name)) = key.split_first() else {
            break;
        };
        if name == PURGED_KEY {
            let purged = wire::LogId::decode(&*value).map_err(|error| error.to_string())?;
            names.purged = Some(purged.index);
        }
        let known = [VOTE_KEY, COMMITTED_KEY, PURGED_KEY].contains(&name);
        if known || name.starts_with(DISK_PREFIX) {
            names.values.push((name.to_vec(), value));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, log_id, open_at};
    use super::*;
    use crate::types::{entry_to_wire, log_id_to_wire};
    use openraft::RaftLogReader as _;
    use openraft::storage::RaftLogStorage as _;

    /// A log as the version before wrote it: entries 4 to 2000, a vote, two disks.
    fn write_before(dir: &Path) {
        let db = database::open(&dir.join(BEFORE), Keeps::AllSynced).unwrap();
        for index in 4..=2000_u64 {
            let key = [&[ENTRY_PREFIX], index.to_be_bytes().as_slice()].concat();
            let bytes = entry_to_wire(&entry(3, index, 5_000)).encode_to_vec();
            db.put(key, bytes).unwrap();
        }
        let ballot = wire::Ballot {
            term: 3,
            node_id: 1,
            committed: true,
        };
        db.put("mvote", ballot.encode_to_vec()).unwrap();
        for (name, index) in [("mcommitted", 1990), ("mpurged", 3)] {
            let id = log_id_to_wire(&log_id(3, index)).encode_to_vec();
            db.put(name, id).unwrap();
        }
        db.put([b"mdisk/".as_slice(), &2_u64.to_be_bytes()].concat(), "two")
            .unwrap();
    }

    #[tokio::test]
    async fn a_log_of_the_version_before_is_taken_over_whole() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("wal");
        write_before(dir.path());
        // A conversion that was cut off left something behind.
        std::fs::create_dir(&wal).unwrap();
        std::fs::write(wal.join("00000001.log"), "cut").unwrap();
        convert(dir.path(), &wal).unwrap();
        assert!(!dir.path().join(BEFORE).exists() && !dir.path().join(CONVERTED).exists());
        convert(dir.path(), &wal).unwrap();

        let mut opened = open_at(&wal);
        let state = opened.store.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(log_id(3, 3)));
        assert_eq!(state.last_log_id, Some(log_id(3, 2000)));
        let committed = opened.store.read_committed().await.unwrap();
        assert_eq!(committed, Some(log_id(3, 1990)));
        let mut reader = opened.store.get_log_reader().await;
        let vote = reader.read_vote().await.unwrap().unwrap();
        assert_eq!((vote.leader_id.term, vote.committed), (3, true));
        let entries = reader.try_get_log_entries(..).await.unwrap();
        assert_eq!(entries.len(), 1997);
        assert_eq!(entries.first(), Some(&entry(3, 4, 5_000)));
        assert!(opened.disks.is_of(2, b"two").await.unwrap());
        assert!(!opened.disks.is_of(2, b"other").await.unwrap());
    }
}
