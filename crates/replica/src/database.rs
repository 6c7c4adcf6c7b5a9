//! Opens RocksDB so that a member stays small, and checks the format on disk.

use crate::error::Error;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRecoveryMode, ErrorKind, LogLevel, Options,
    WriteBatch, WriteOptions,
};
use std::io;
use std::path::Path;
use tokio::sync::watch;

/// Newest disk format this version writes and reads.
pub(crate) const FORMAT: u32 = 1;

/// One of two write buffers; commands are small, so some ten thousand fit. Memory is taken as it is written.
const WRITE_BUFFER_BYTES: usize = 8 << 20;
const WRITE_BUFFERS_MAX: i32 = 2;
/// Index, filter and data blocks together.
const BLOCK_CACHE_BYTES: usize = 8 << 20;
/// One in a hundred keys that are not there is looked for in vain.
const FILTER_BITS_PER_KEY: f64 = 10.0;
const OPEN_FILES_MAX: i32 = 64;
/// Write-ahead logs beyond this make RocksDB flush.
const WAL_BYTES_MAX: u64 = 32 << 20;
const BACKGROUND_JOBS_MAX: i32 = 2;
/// RocksDB's own text logs.
const INFO_LOG_FILES_MAX: usize = 2;
const INFO_LOG_BYTES_MAX: usize = 256 << 10;
const MANIFEST_BYTES_MAX: usize = 4 << 20;

const FORMAT_KEY: &[u8] = b"mformat";

/// How RocksDB says that a disk is full (`Status::SubCode::kNoSpace` in its `util/status.cc`), also of what a failed flush
/// keeps it from later.
const NO_ROOM: &str = "No space left on device";
/// How it says that a lock is taken (`PosixFileSystem::LockFile`; the last is the C library's text of `EAGAIN`).
const LOCKED_HERE: &str = "lock hold by current process";
const NOT_LOCKED: &str = "While lock file";
const LOCKED_BY_ANOTHER: &str = "Resource temporarily unavailable";

/// Kept beside a database, and dropped after it.
#[derive(Clone)]
pub(crate) struct Open {
    _sender: watch::Sender<()>,
}

/// Tells when every [`Open`] of a pair is dropped.
#[derive(Clone)]
pub(crate) struct Closed(watch::Receiver<()>);

/// The two ends: of who keeps databases open, and of who waits until they are closed.
pub(crate) fn open_and_closed() -> (Open, Closed) {
    let (sender, receiver) = watch::channel(());
    (Open { _sender: sender }, Closed(receiver))
}

impl Closed {
    /// Waits until the databases may be opened again.
    pub(crate) async fn wait(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// What may be missing after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// A last record that was not written whole: others were promised all that was synced, so that damage before it is
    /// told and nothing is left out.
    AllSynced,
    /// Everything from some record on: who owns the database has it elsewhere.
    AllUpToSomePoint,
}

/// Opens the database in `path`, makes it when there is none, and refuses a newer format.
pub(crate) fn open(path: &Path, keeps: Keeps) -> Result<DB, Error> {
    let failed = |source: rocksdb::Error| match source.kind() {
        ErrorKind::Corruption => Error::DamagedDatabase {
            path: path.to_owned(),
            reason: source.to_string(),
        },
        _ if is_locked(&source) => Error::DatabaseInUse {
            path: path.to_owned(),
            source: source.into(),
        },
        _ => Error::OpenDatabase {
            path: path.to_owned(),
            source: failure(source).into(),
        },
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|source| Error::WriteFile {
            path: parent.to_owned(),
            source,
        })?;
    }
    let db = DB::open(&options(keeps), path).map_err(failed)?;
    match db.get(FORMAT_KEY).map_err(failed)? {
        None => {
            // Past its own log: one that is not empty is replaced with the first memory table, and where that finds no
            // room RocksDB goes on no more.
            let mut format = WriteBatch::default();
            format.put(FORMAT_KEY, FORMAT.to_be_bytes());
            db.write_without_wal(format)
                .and_then(|()| db.flush())
                .map_err(failed)?;
        }
        Some(bytes) => {
            let found = bytes
                .as_slice()
                .try_into()
                .map(u32::from_be_bytes)
                .map_err(|_| Error::DamagedDatabase {
                    path: path.to_owned(),
                    reason: "its format number is not 4 bytes long".to_owned(),
                })?;
            if found > FORMAT {
                return Err(Error::NewerDisk {
                    path: path.to_owned(),
                    found,
                    known: FORMAT,
                });
            }
        }
    }
    Ok(db)
}

/// Opens a database that nobody writes any more.
pub(crate) fn open_to_read(path: &Path) -> io::Result<DB> {
    DB::open_for_read_only(&options(Keeps::AllUpToSomePoint), path, false).map_err(failure)
}

/// What RocksDB says, in the terms of the operating system: its own kinds of errors tell not that a disk is full.
pub(crate) fn failure(error: rocksdb::Error) -> io::Error {
    match error.as_ref().contains(NO_ROOM) {
        true => io::Error::new(io::ErrorKind::StorageFull, error),
        false => io::Error::other(error),
    }
}

/// Makes everything that was written durable.
///
/// A database that failed to write goes on by itself once the disk has room, and for that waits until nothing is flushed:
/// asked for again and again, a flush would keep it from that for ever. So it is looked first whether it takes writes.
///
/// # Errors
/// What RocksDB says; `StorageFull` where the disk has no room, and may be tried again.
pub(crate) fn flush(db: &DB) -> io::Result<()> {
    check_goes_on(db)?;
    db.flush().map_err(failure)
}

/// Freezes what there is in a folder that is not there yet; as careful as [`flush`].
///
/// # Errors
/// As [`flush`].
pub(crate) fn freeze(db: &DB, path: &Path) -> io::Result<()> {
    check_goes_on(db)?;
    let frozen = Checkpoint::new(db).and_then(|it| it.create_checkpoint(path));
    frozen.map_err(failure)
}

fn check_goes_on(db: &DB) -> io::Result<()> {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options.set_no_slowdown(true);
    // Refused as any other write, and otherwise nothing.
    match db.write_opt(WriteBatch::default(), &options) {
        // It is only slow.
        Err(error) if error.kind() == ErrorKind::Incomplete => Ok(()),
        other => other.map_err(failure),
    }
}

/// Whether another process, or this one, has the database open.
fn is_locked(error: &rocksdb::Error) -> bool {
    let said = error.as_ref();
    said.contains(LOCKED_HERE) || (said.contains(NOT_LOCKED) && said.contains(LOCKED_BY_ANOTHER))
}

/// Makes the entries of a directory durable (a file's own sync does not cover its name).
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

fn options(keeps: Keeps) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    table.set_cache_index_and_filter_blocks(true);
    table.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_wal_recovery_mode(match keeps {
        Keeps::AllSynced => DBRecoveryMode::TolerateCorruptedTailRecords,
        Keeps::AllUpToSomePoint => DBRecoveryMode::PointInTime,
    });
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(WRITE_BUFFERS_MAX);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS_MAX);
    options.set_max_manifest_file_size(MANIFEST_BYTES_MAX);
    options.set_keep_log_file_num(INFO_LOG_FILES_MAX);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options.set_log_level(LogLevel::Warn);
    // Nothing wakes up in an idle member.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_database_is_not_one_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let db = open(&path, Keeps::AllSynced).unwrap();
        assert!(matches!(
            open(&path, Keeps::AllSynced),
            Err(Error::DatabaseInUse { .. })
        ));
        drop(db);
        std::fs::write(path.join("CURRENT"), "no manifest").unwrap();
        assert!(matches!(
            open(&path, Keeps::AllSynced),
            Err(Error::DamagedDatabase { .. })
        ));
    }

    #[test]
    fn a_newer_disk_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let db = open(&path, Keeps::AllSynced).unwrap();
        db.put(FORMAT_KEY, (FORMAT + 1).to_be_bytes()).unwrap();
        drop(db);
        let text = open(&path, Keeps::AllSynced)
            .map(|_| ())
            .unwrap_err()
            .to_string()
            .replace(&*dir.path().to_string_lossy(), "DIR");
        insta::assert_snapshot!(text, @"DIR/log has disk format 2, this version reads up to 1: start the newer version again");
    }

    /// A database with ten synced records that are not in a table yet, closed, and its write-ahead log.
    fn ten_records(path: &Path) -> (std::path::PathBuf, Vec<u8>) {
        // Closed by whom it was made, it leaves nothing in its log.
        drop(open(path, Keeps::AllSynced).unwrap());
        let db = open(path, Keeps::AllSynced).unwrap();
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        for number in 0..10_u8 {
            db.put_opt([number], [number; 100], &synced).unwrap();
        }
        drop(db);
        let logs = std::fs::read_dir(path).unwrap();
        let log = logs
            .map(|entry| entry.unwrap().path())
            .find(|file| file.extension().is_some_and(|it| it == "log"))
            .unwrap();
        let bytes = std::fs::read(&log).unwrap();
        (log, bytes)
    }

    fn records(db: &DB) -> usize {
        (0..10_u8)
            .filter(|number| db.get([*number]).unwrap().is_some())
            .count()
    }

    #[test]
    fn a_synced_record_that_is_damaged_is_told_and_none_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (log, mut bytes) = ten_records(&path);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&log, bytes).unwrap();
        let opened = open(&path, Keeps::AllSynced);
        assert!(
            matches!(opened, Err(Error::DamagedDatabase { .. })),
            "{opened:?}"
        );
        let rest = open(&path, Keeps::AllUpToSomePoint).unwrap();
        assert!(records(&rest) < 10);
    }

    #[test]
    fn a_last_record_that_was_not_written_whole_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (log, mut bytes) = ten_records(&path);
        bytes.truncate(bytes.len() - 50);
        std::fs::write(&log, bytes).unwrap();
        let db = open(&path, Keeps::AllSynced).unwrap();
        assert_eq!(records(&db), 9);
    }
}
