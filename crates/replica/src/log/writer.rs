//! The one thread that writes the log: takes everything that waits, writes it in one synced batch,
//! answers in order.

use super::{
    COMMITTED_KEY, MakeDurable, PURGED_KEY, Shared, VOTE_KEY, disk_key, encode_log_id, encode_vote,
    entry_key,
};
use crate::error::Error;
use crate::types::{LogId, Types, Vote};
use openraft::storage::IOFlushed;
use rocksdb::{WriteBatch, WriteOptions};
use std::io;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Jobs that one flush takes at most.
const GROUP_JOBS_MAX: usize = 512;
/// Bytes after which one flush takes no further job, so that the first does not wait for the last.
const GROUP_BYTES_MAX: usize = 4 << 20;

const THREAD: &str = "raft-log";

pub(super) enum Job {
    Append {
        sequence: u64,
        encoded: Vec<(u64, Vec<u8>)>,
        callback: IOFlushed<Types>,
    },
    Vote {
        vote: Vote,
        done: oneshot::Sender<io::Result<()>>,
    },
    Committed {
        committed: LogId,
    },
    Truncate {
        from: u64,
        done: oneshot::Sender<io::Result<()>>,
    },
    Purge {
        upto: LogId,
        done: oneshot::Sender<io::Result<()>>,
    },
    Disk {
        member: u64,
        disk: Vec<u8>,
        done: oneshot::Sender<io::Result<()>>,
    },
}

/// Starts the thread; it ends when the last sender is gone or a write failed.
pub(super) fn start(
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    make_durable: MakeDurable,
) -> Result<(), Error> {
    std::thread::Builder::new()
        .name(THREAD.to_owned())
        .spawn(move || run(&shared, jobs, &make_durable))
        .map(|_| ())
        .map_err(|source| Error::Thread {
            name: THREAD,
            source,
        })
}

fn run(shared: &Shared, mut jobs: mpsc::Receiver<Job>, make_durable: &MakeDurable) {
    while let Some(first) = jobs.blocking_recv() {
        let group = gather(first, &mut jobs);
        let written = write(shared, &group, make_durable);
        let failed = written.err().map(|error| error.to_string());
        match &failed {
            None => mark_written(shared, &group),
            // Before anybody is answered: who asks from now on is told that the writer has stopped.
            Some(_) => jobs.close(),
        }
        for job in group {
            answer(job, failed.as_deref());
        }
        if let Some(reason) = failed {
            while let Some(job) = jobs.blocking_recv() {
                answer(job, Some(&reason));
            }
            tracing::error!(
                path = %shared.path.display(),
                reason,
                "the log cannot be written: this member stops"
            );
            return;
        }
    }
}

fn gather(first: Job, jobs: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.size_bytes();
    let mut group = vec![first];
    while group.len() < GROUP_JOBS_MAX && bytes < GROUP_BYTES_MAX {
        let Ok(job) = jobs.try_recv() else { break };
        bytes += job.size_bytes();
        group.push(job);
    }
    group
}

fn write(shared: &Shared, group: &[Job], make_durable: &MakeDurable) -> io::Result<()> {
    // Purged entries can only be had again from the state that they made.
    if group.iter().any(|job| matches!(job, Job::Purge { .. })) {
        make_durable()?;
    }
    let mut batch = WriteBatch::default();
    let mut options = WriteOptions::default();
    for job in group {
        job.add_to(&mut batch);
        if !matches!(job, Job::Committed { .. }) {
            options.set_sync(true);
        }
    }
    shared
        .db
        .write_opt(batch, &options)
        .map_err(io::Error::other)
}

fn mark_written(shared: &Shared, group: &[Job]) {
    let newest = group.iter().rev().find_map(|job| match job {
        Job::Append { sequence, .. } => Some(*sequence),
        _ => None,
    });
    if let Some(sequence) = newest {
        shared.memory().tail.mark_written(sequence);
    }
}

fn answer(job: Job, failed: Option<&str>) {
    let result = match failed {
        None => Ok(()),
        Some(reason) => Err(io::Error::other(reason.to_owned())),
    };
    match job {
        Job::Append { callback, .. } => callback.io_completed(result),
        Job::Vote { done, .. }
        | Job::Truncate { done, .. }
        | Job::Purge { done, .. }
        | Job::Disk { done, .. } => {
            // Whoever asked may be gone by now; what was written stays written.
            let _ = done.send(result);
        }
        Job::Committed { .. } => {}
    }
}

impl Job {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Append { encoded, .. } => encoded.iter().map(|(_, bytes)| bytes.len()).sum(),
            _ => 0,
        }
    }

    fn add_to(&self, batch: &mut WriteBatch) {
        match self {
            Self::Append { encoded, .. } => {
                for (index, bytes) in encoded {
                    batch.put(entry_key(*index), bytes);
                }
            }
            Self::Vote { vote, .. } => batch.put(VOTE_KEY, encode_vote(vote)),
            Self::Committed { committed } => batch.put(COMMITTED_KEY, encode_log_id(committed)),
            Self::Truncate { from, .. } => {
                batch.delete_range(entry_key(*from), entry_key(u64::MAX));
            }
            Self::Purge { upto, .. } => {
                batch.put(PURGED_KEY, encode_log_id(upto));
                batch.delete_range(entry_key(0), entry_key(upto.index + 1));
            }
            Self::Disk { member, disk, .. } => batch.put(disk_key(*member), disk),
        }
    }
}
