//! The Raft log and the vote on disk.
//!
//! ```text
//! append, vote, truncate, purge --queue--> one writer thread --one synced batch--> write-ahead log
//!        |                                        |
//!        +--> tail (in memory, bounded) <---------+ answers in order
//!                    |
//! readers: tail first, the write-ahead log for what is older
//! ```
//!
//! - Expected flow: the engine appends; entries are readable at once and durable when their callback runs.
//! - Guarantees: writes reach the disk in the order they were asked for; one sync takes everything
//!   that waits; nothing is purged before the state that covers it is durable.
//! - Assumptions: one process owns the folder.
//! - Errors: while the disk is full writes wait for space, and [`Room`] says so; a purge is put off where the state finds no
//!   room to be made durable. After any other failed write the disk's content is unknown, so the writer stops for good and
//!   every later call fails.

pub(crate) mod conversion;
pub(crate) mod fresh;
pub(crate) mod size;
mod tail;
mod writer;

use crate::config::LogDisk;
use crate::database::{self, Closed};
use crate::error::{Error, with_causes};
use crate::room::Room;
use crate::types::{
    Entry, LogId, Types, Vote, entry_from_wire, entry_to_wire, log_id_from_wire, log_id_to_wire,
    vote_from_wire, vote_to_wire,
};
use bytes::Bytes;
use futures::stream::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use prost::Message as _;
use regraft_wal::{Disk, Durability, Folder, Options, Reader};
use regraft_wire::raft::v1 as wire;
use size::LogSize;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tail::Tail;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use writer::Job;
pub(crate) use writer::Writing;

/// Name of its folder in a data folder.
pub(crate) const FOLDER: &str = "wal";
/// Writes that wait for the disk; the engine waits when the queue is full.
const QUEUE_JOBS_MAX: usize = 1024;
/// Entries that one read for replication returns at most, by bytes (at least one entry).
const READ_BYTES_MAX: usize = 1 << 20;
/// Entries read at once while applying.
const APPLY_CHUNK_ENTRIES: u64 = 64;

const VOTE_KEY: &[u8] = b"vote";
const COMMITTED_KEY: &[u8] = b"committed";
const PURGED_KEY: &[u8] = b"purged";
const DISK_PREFIX: &[u8] = b"disk/";

/// Makes the applied state durable; runs before entries are purged.
pub(crate) type MakeDurable = Box<dyn Fn() -> io::Result<()> + Send>;

/// The engine's log storage.
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Job>,
    /// Rises with every append; tells which cached entries are on disk.
    sequence: u64,
}

/// Reads the log beside the writer.
#[derive(Clone)]
pub(crate) struct LogReader {
    shared: Arc<Shared>,
}

/// Remembers which disk each member had, in the log.
#[derive(Clone)]
pub(crate) struct KnownDisks {
    known: Arc<Mutex<BTreeMap<u64, Vec<u8>>>>,
    queue: mpsc::WeakSender<Job>,
}

/// What [`open`] gives.
pub(crate) struct Opened {
    pub(crate) store: LogStore,
    pub(crate) disks: KnownDisks,
    pub(crate) room: Room,
    pub(crate) size: LogSize,
    pub(crate) failure: Failure,
    pub(crate) closed: Closed,
}

/// Why nothing more is written, ever; empty while all is well. The engine finds out when it writes next, which may be never.
pub(crate) type Failure = Arc<OnceLock<String>>;

struct Shared {
    reader: Reader,
    path: PathBuf,
    memory: Mutex<Memory>,
}

/// What readers see at once, whether it is on disk yet or not.
struct Memory {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    tail: Tail,
}

/// Opens the log in `path` and starts its writer.
pub(crate) fn open(
    path: &Path,
    above: Option<&LogDisk>,
    make_durable: MakeDurable,
    stop: CancellationToken,
) -> Result<Opened, Error> {
    let (open, closed) = database::open_and_closed();
    let folder = Folder::open(path).map_err(|error| refused(path, error))?;
    let mut disk: Arc<dyn Disk> = Arc::new(folder.keeping(open));
    if let Some(above) = above {
        disk = above(disk);
    }
    let under = Under {
        disk,
        closed,
        options: Options::default(),
        stop,
    };
    open_on(under, path, make_durable, writer::run_on_a_thread)
}

/// What the log is kept on.
pub(crate) struct Under {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) closed: Closed,
    pub(crate) options: Options,
    /// What finds no room is not waited for after it.
    pub(crate) stop: CancellationToken,
}

/// Opens the log; `drive` runs its writer.
pub(crate) fn open_on(
    under: Under,
    path: &Path,
    make_durable: MakeDurable,
    drive: impl FnOnce(Writing) -> Result<(), Error>,
) -> Result<Opened, Error> {
    let Under {
        disk,
        closed,
        options,
        stop,
    } = under;
    let (mut wal, reader, recovered) =
        regraft_wal::open(disk, options).map_err(|error| refused(path, error))?;
    if let Some(torn) = &recovered.torn {
        tracing::info!(path = %path.display(), file = torn.file, offset = torn.offset, bytes = torn.bytes, "a write that was cut off is left out of the log");
    }
    // A new log prepares its first segment now, not under the first vote.
    wal.write(&[], Durability::Synced)
        .map_err(|error| refused(path, error))?;
    let damaged = |error: io::Error| Error::DamagedDatabase {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let memory = read_memory(&reader).map_err(damaged)?;
    let disks = read_disks(&reader).map_err(damaged)?;
    let shared = Arc::new(Shared {
        reader,
        path: path.to_owned(),
        memory: Mutex::new(memory),
    });
    let (queue, jobs) = mpsc::channel(QUEUE_JOBS_MAX);
    let writing = Writing::new(Arc::clone(&shared), wal, &queue, jobs, make_durable, stop);
    let (room, failure) = (writing.room(), writing.failure());
    drive(writing)?;
    let disks = KnownDisks {
        known: Arc::new(Mutex::new(disks)),
        queue: queue.downgrade(),
    };
    let size = LogSize(Arc::downgrade(&shared));
    let store = LogStore {
        shared,
        queue,
        sequence: 0,
    };
    Ok(Opened {
        store,
        disks,
        room,
        size,
        failure,
        closed,
    })
}

impl LogStore {
    /// Whether this member ever voted or followed a vote, as it did before anything was applied.
    pub(crate) fn has_vote(&self) -> bool {
        self.shared.memory().vote.is_some()
    }

    /// Up to where entries are in the state only.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.shared.memory().purged
    }

    /// Whether all entries behind `from` up to `to` are in it.
    pub(crate) fn holds(&self, from: Option<LogId>, to: Option<LogId>) -> bool {
        let memory = self.shared.memory();
        memory.purged <= from && to <= memory.last
    }

    async fn send(&self, job: Job) -> io::Result<()> {
        self.queue.send(job).await.map_err(|_| stopped())
    }

    /// Sends a job and waits until it is durable.
    async fn send_and_wait(
        &self,
        job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job,
    ) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        self.send(job(done)).await?;
        wait.await.map_err(|_| stopped())?
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let memory = self.shared.memory();
        Ok(LogState {
            last_purged_log_id: memory.purged,
            last_log_id: memory.last.or(memory.purged),
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader {
            shared: Arc::clone(&self.shared),
        }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = *vote;
        self.send_and_wait(|done| Job::Vote { vote, done }).await?;
        self.shared.memory().vote = Some(vote);
        Ok(())
    }

    /// Goes to the disk with the next entries: a lost one only makes a restart apply less until the leader says it again.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.shared.memory().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.memory().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.sequence += 1;
        let sequence = self.sequence;
        let mut encoded = Vec::new();
        {
            let mut memory = self.shared.memory();
            for entry in entries {
                let bytes = entry_to_wire(&entry).encode_to_vec();
                let size = bytes.len();
                memory.last = Some(entry.log_id);
                encoded.push((entry.log_id.index, bytes));
                memory.tail.push(sequence, entry, size);
            }
        }
        self.send(Job::Append {
            sequence,
            encoded,
            callback,
        })
        .await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |id| id.index + 1);
        {
            let mut memory = self.shared.memory();
            memory.tail.truncate(from);
            if memory.last.is_some_and(|had| had.index >= from) {
                memory.last = last;
            }
        }
        self.send_and_wait(|done| Job::Truncate { from, done })
            .await
    }

    /// Waits for the disk only where the log goes on behind a hole: what is purged late is only more than anybody needs, and
    /// meanwhile the engine would send no heartbeat.
    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let leaves_hole = {
            let mut memory = self.shared.memory();
            let leaves_hole = memory.last < Some(upto);
            memory.purged = memory.purged.max(Some(upto));
            memory.last = memory.last.max(Some(upto));
            memory.tail.purge(upto.index);
            leaves_hole
        };
        match leaves_hole {
            true => self.send_and_wait(|done| Job::Purge { upto, done }).await,
            false => {
                // A failure stops the writer, which whoever asks next is told.
                let (done, _) = oneshot::channel();
                self.send(Job::Purge { upto, done }).await
            }
        }
    }
}

impl RaftLogReader<Types> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        self.shared.read(start, end, usize::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.memory().vote)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.shared.read(start, end, READ_BYTES_MAX)
    }

    /// In chunks: a member that was away for long must not hold its whole log in memory.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let shared = Arc::clone(&self.shared);
        let chunks = futures::stream::unfold(Some(start), move |next| {
            let chunk = next.filter(|start| *start < end).map(|start| {
                let entries = shared.read(start, end.min(start + APPLY_CHUNK_ENTRIES), usize::MAX);
                let next = match &entries {
                    Ok(entries) => entries.last().map(|entry| entry.log_id.index + 1),
                    Err(_) => None,
                };
                (entries, next)
            });
            std::future::ready(chunk)
        });
        futures::StreamExt::flat_map(chunks, |chunk| {
            futures::stream::iter(match chunk {
                Ok(entries) => entries.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        })
    }
}

impl KnownDisks {
    /// Whether `member` is known with another disk.
    pub(crate) fn is_of_other(&self, member: u64, disk: &[u8]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&member).is_some_and(|known| known != disk)
    }

    /// Whether no other member was ever heard of.
    pub(crate) fn is_empty(&self) -> bool {
        let known = self.known.lock();
        known.unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether `disk` is the one `member` always had; a member never seen before is remembered.
    pub(crate) async fn is_of(&self, member: u64, disk: &[u8]) -> io::Result<bool> {
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = known.get(&member) {
                return Ok(known == disk);
            }
        }
        let queue = self.queue.upgrade().ok_or_else(stopped)?;
        let (done, wait) = oneshot::channel();
        let job = Job::Disk {
            member,
            disk: disk.to_vec(),
            done,
        };
        queue.send(job).await.map_err(|_| stopped())?;
        wait.await.map_err(|_| stopped())??;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(member).or_insert_with(|| disk.to_vec()) == disk)
    }
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries with `start <= index < end`, at least one if there is one, until `bytes_max`.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (mut recent, older_end) = {
            let memory = self.memory();
            let recent = memory.tail.read(start, end);
            let older_end = recent.first().map_or(end, |(entry, _)| entry.log_id.index);
            (recent, older_end)
        };
        let mut found = Vec::new();
        let mut left = bytes_max;
        let mut full = false;
        if start < older_end {
            full = self.read_disk(start, older_end, &mut found, &mut left)?;
        }
        for (entry, bytes) in recent.drain(..) {
            if full || (left < bytes && !found.is_empty()) {
                break;
            }
            left = left.saturating_sub(bytes);
            found.push(entry);
        }
        check_consecutive(&found)?;
        Ok(found)
    }

    /// Appends to `found` what the disk holds; true when the budget is used up.
    fn read_disk(
        &self,
        start: u64,
        end: u64,
        found: &mut Vec<Entry>,
        left: &mut usize,
    ) -> io::Result<bool> {
        let mut next = start;
        while next < end {
            let read = self.reader.read(next..end, *left);
            let entries = read.map_err(|error| io::Error::other(with_causes(&error)))?;
            let Some((last, _)) = entries.last() else {
                return Ok(false);
            };
            next = last + 1;
            for (_, bytes) in entries {
                if *left < bytes.len() && !found.is_empty() {
                    return Ok(true);
                }
                *left = left.saturating_sub(bytes.len());
                found.push(decode_entry(bytes)?);
            }
        }
        Ok(false)
    }
}

fn read_memory(reader: &Reader) -> io::Result<Memory> {
    let log_id = |key: &[u8]| -> io::Result<Option<LogId>> {
        reader
            .value(key)
            .map(|bytes| {
                let id = wire::LogId::decode(bytes.as_slice()).map_err(io::Error::other)?;
                Ok(log_id_from_wire(&id))
            })
            .transpose()
    };
    let vote = reader
        .value(VOTE_KEY)
        .map(|bytes| wire::Ballot::decode(bytes.as_slice()).map_err(io::Error::other))
        .transpose()?;
    let purged = log_id(PURGED_KEY)?;
    let last = match reader.bounds().last() {
        None => None,
        Some(last) => {
            let read = reader.read(last..last + 1, usize::MAX);
            let entries = read.map_err(|error| io::Error::other(with_causes(&error)))?;
            let entry = entries.into_iter().next().map(|(_, bytes)| bytes);
            entry.map(decode_entry).transpose()?
        }
    };
    Ok(Memory {
        vote: vote.as_ref().map(vote_from_wire),
        committed: log_id(COMMITTED_KEY)?,
        purged,
        last: last.map(|entry| entry.log_id).or(purged),
        tail: Tail::default(),
    })
}

fn read_disks(reader: &Reader) -> io::Result<BTreeMap<u64, Vec<u8>>> {
    let disks = reader.values(DISK_PREFIX).into_iter().map(|(key, disk)| {
        let member = key.strip_prefix(DISK_PREFIX).unwrap_or_default();
        let member = member
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| io::Error::other("a member's disk is kept under a broken key"))?;
        Ok((member, disk))
    });
    disks.collect()
}

fn refused(path: &Path, error: regraft_wal::Error) -> Error {
    match error {
        regraft_wal::Error::NewerFormat { found, known, .. } => Error::NewerDisk {
            path: path.to_owned(),
            found,
            known,
        },
        regraft_wal::Error::Damaged { .. }
        | regraft_wal::Error::DamagedEntry { .. }
        | regraft_wal::Error::MissingSegment { .. }
        | regraft_wal::Error::MissingEntries { .. }
        | regraft_wal::Error::SegmentTwice { .. } => Error::DamagedDatabase {
            path: path.to_owned(),
            reason: with_causes(&error),
        },
        regraft_wal::Error::InUse { .. } => Error::DatabaseInUse {
            path: path.to_owned(),
            source: error.into(),
        },
        // Nothing is wrong with what is there, or nobody knows.
        other => Error::OpenDatabase {
            path: path.to_owned(),
            source: other.into(),
        },
    }
}

fn disk_key(member: u64) -> Vec<u8> {
    [DISK_PREFIX, &member.to_be_bytes()].concat()
}

pub(crate) fn decode_entry(bytes: Vec<u8>) -> io::Result<Entry> {
    let entry = wire::Entry::decode(Bytes::from(bytes)).map_err(io::Error::other)?;
    entry_from_wire(entry).map_err(io::Error::other)
}

fn encode_log_id(id: &LogId) -> Vec<u8> {
    log_id_to_wire(id).encode_to_vec()
}

fn encode_vote(vote: &Vote) -> Vec<u8> {
    vote_to_wire(vote).encode_to_vec()
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

fn check_consecutive(entries: &[Entry]) -> io::Result<()> {
    for pair in entries.windows(2) {
        if let [one, next] = pair
            && one.log_id.index + 1 != next.log_id.index
        {
            return Err(io::Error::other(format!(
                "the log has a hole between {} and {}",
                one.log_id.index, next.log_id.index
            )));
        }
    }
    Ok(())
}

fn stopped() -> io::Error {
    io::Error::other("the log writer has stopped")
}

#[cfg(test)]
mod tests;
