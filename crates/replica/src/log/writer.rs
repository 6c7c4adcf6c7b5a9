//! The one that writes the log, on a thread of its own: takes everything that waits, writes it in one synced batch,
//! answers in order.

use super::{
    COMMITTED_KEY, Failure, MakeDurable, PURGED_KEY, Shared, VOTE_KEY, disk_key, encode_log_id,
    encode_vote,
};
use crate::error::{Error, with_causes};
use crate::planted::{self, Bug};
use crate::room::{self, Part, Room};
use crate::types::{LogId, Types, Vote};
use openraft::storage::IOFlushed;
use regraft_wal::{Durability, Operation, Space, Writer};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Jobs that one sync takes at most.
const GROUP_JOBS_MAX: usize = 512;
/// Bytes after which one sync takes no further job, so that the first does not wait for the last.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// How often a full disk is looked at.
const FULL_DISK_REST: Duration = Duration::from_millis(200);

const THREAD: &str = "raft-log";

/// There was no room on the disk.
struct FullDisk;

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
    /// Looks whether there is room again.
    Look,
}

/// The writer's own.
pub(crate) struct Writing {
    shared: Arc<Shared>,
    wal: Writer,
    jobs: mpsc::Receiver<Job>,
    make_durable: MakeDurable,
    room: Room,
    failure: Failure,
    /// Up to where the log is purged as soon as the state finds room to be made durable.
    put_off: Option<LogId>,
}

/// Starts the thread; it ends when the last sender is gone or a write failed.
pub(super) fn run_on_a_thread(mut writing: Writing) -> Result<(), Error> {
    let started = std::thread::Builder::new()
        .name(THREAD.to_owned())
        .spawn(move || writing.run());
    let failed = |source| Error::Thread {
        name: THREAD,
        source,
    };
    started.map(drop).map_err(failed)
}

impl Writing {
    pub(super) fn new(
        shared: Arc<Shared>,
        wal: Writer,
        queue: &mpsc::Sender<Job>,
        jobs: mpsc::Receiver<Job>,
        make_durable: MakeDurable,
        stop: CancellationToken,
    ) -> Self {
        let queue = queue.downgrade();
        let room = Room::new(stop, move || {
            if let Some(queue) = queue.upgrade() {
                // A full queue will look anyway.
                let _ = queue.try_send(Job::Look);
            }
        });
        Self {
            shared,
            wal,
            jobs,
            make_durable,
            room,
            failure: Failure::default(),
            put_off: None,
        }
    }

    pub(super) fn room(&self) -> Room {
        self.room.clone()
    }

    pub(super) fn failure(&self) -> Failure {
        Failure::clone(&self.failure)
    }

    fn run(&mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let mut group = self.gather(first);
            let mut written = self.write(&mut group);
            while let Ok(Some(FullDisk)) = written {
                std::thread::park_timeout(FULL_DISK_REST);
                written = self.write(&mut group);
            }
            if let Err(reason) = self.settle(group, written.err()) {
                while let Some(job) = self.jobs.blocking_recv() {
                    answer(job, Some(&reason));
                }
                return;
            }
        }
        self.leave();
    }

    /// As [`Self::run`], as a task, on a disk that takes its time.
    #[cfg(test)]
    pub(crate) async fn run_simulated(mut self, disk: crate::simulation::DiskPace) {
        while let Some(first) = self.jobs.recv().await {
            // What comes meanwhile is of the same group, as it is while a thread is woken.
            disk.wait().await;
            let mut group = self.gather(first);
            let mut written = self.write(&mut group);
            while let Ok(Some(FullDisk)) = written {
                disk.rest(FULL_DISK_REST).await;
                written = self.write(&mut group);
            }
            disk.wait().await;
            if let Err(reason) = self.settle(group, written.err()) {
                while let Some(job) = self.jobs.recv().await {
                    answer(job, Some(&reason));
                }
                return;
            }
        }
        self.leave();
    }

    /// Answers a group that was written, or was not. The error is why nothing more is.
    fn settle(&mut self, group: Vec<Job>, failed: Option<io::Error>) -> Result<(), String> {
        let failed = failed.map(|error| error.to_string());
        match &failed {
            None => mark_written(&self.shared, &group),
            // Before anybody is answered: who asks from now on is told that the writer has stopped.
            Some(reason) => {
                self.jobs.close();
                self.failure.get_or_init(|| reason.clone());
            }
        }
        for job in group {
            answer(job, failed.as_deref());
        }
        if let Some(reason) = failed {
            tracing::error!(
                path = %self.shared.path.display(),
                reason,
                "the log cannot be written: this member stops"
            );
            return Err(reason);
        }
        self.look();
        Ok(())
    }

    /// What was committed last may be on no disk yet: the next start need not wait for a leader to say it again.
    fn leave(&mut self) {
        let Some(committed) = self.committed(&[]) else {
            return;
        };
        let committed = Operation::Set {
            key: COMMITTED_KEY,
            bytes: &encode_log_id(&committed),
        };
        if let Err(error) = self.wal.write(&[committed], Durability::Synced) {
            tracing::warn!(
                error = with_causes(&error),
                "what was committed last is not on disk"
            );
        }
    }

    /// What is known to be committed, unless it is not in the log before this group is: a quorum may be others, and a
    /// start must not look for entries that a crash took.
    fn committed(&self, group: &[Job]) -> Option<LogId> {
        let last = last_appended(group).or(self.shared.reader.bounds().next.checked_sub(1));
        let committed = self.shared.memory().committed;
        committed.filter(|committed| last.is_some_and(|last| committed.index <= last))
    }

    fn gather(&mut self, first: Job) -> Vec<Job> {
        let mut bytes = first.size_bytes();
        let mut group = vec![first];
        while group.len() < GROUP_JOBS_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(job) = self.jobs.try_recv() else { break };
            bytes += job.size_bytes();
            group.push(job);
        }
        group
    }

    /// Writes a group, unless the disk is full: then it may be tried again.
    fn write(&mut self, group: &mut Vec<Job>) -> io::Result<Option<FullDisk>> {
        if let Some(full) = self.make_purgeable(group)? {
            return Ok(Some(full));
        }
        if self.room.lacks(Part::Log) {
            // Also what failed before is tried again.
            self.wal.space();
        }
        self.write_batch(group)
    }

    /// Purged entries can only be had again from the state that they made, so that is made durable first. Where it finds no
    /// room the purge is put off: until then there is more in the log than anybody needs, and what else the group has is
    /// written. But where the log goes on behind a hole, nothing can follow before the purge.
    fn make_purgeable(&mut self, group: &mut Vec<Job>) -> io::Result<Option<FullDisk>> {
        let asked = group.iter().filter_map(|job| match job {
            Job::Purge { upto, .. } => Some(*upto),
            _ => None,
        });
        let asked = asked.max();
        let looks = group.iter().any(|job| matches!(job, Job::Look));
        if asked.is_none() && !(looks && self.put_off.is_some()) {
            return Ok(None);
        }
        let upto = asked.max(self.put_off);
        match (self.make_durable)() {
            Ok(()) => {
                self.room.tell(Part::Purge, None);
                if let Some(upto) = self.put_off.take() {
                    // Who asked was answered. In front, for what this group asks for may reach further.
                    let (done, _) = oneshot::channel();
                    group.insert(0, Job::Purge { upto, done });
                }
                Ok(None)
            }
            Err(error) if room::is_full(&error) => {
                let said = format!("the state finds no room to be made durable: {error}");
                let said = room::with_free(&said, &self.shared.path);
                self.room.tell(Part::Purge, Some(said));
                let last = last_appended(group).or(self.shared.reader.bounds().next.checked_sub(1));
                match upto.map(|upto| upto.index) > last {
                    true if self.room.may_wait() => Ok(Some(FullDisk)),
                    true => Err(error),
                    false => {
                        self.put_off = upto;
                        Ok(None)
                    }
                }
            }
            Err(error) => Err(error),
        }
    }

    fn write_batch(&mut self, group: &[Job]) -> io::Result<Option<FullDisk>> {
        let values = Values::of(group, self.committed(group));
        let mut batch = Vec::new();
        for (job, value) in group.iter().zip(&values.of_jobs) {
            if self.put_off.is_none() || !matches!(job, Job::Purge { .. }) {
                job.add_to(value, &mut batch);
            }
        }
        if batch.is_empty() {
            return Ok(None);
        }
        if let Some(committed) = &values.committed {
            batch.push(Operation::Set {
                key: COMMITTED_KEY,
                bytes: committed,
            });
        }
        let durability = match planted::has(Bug::UnsyncedAppend) {
            true => Durability::NotYet,
            false => Durability::Synced,
        };
        match self.wal.write(&batch, durability) {
            Ok(()) => Ok(None),
            Err(
                error @ (regraft_wal::Error::DiskFull { .. } | regraft_wal::Error::Prepare { .. }),
            ) if self.room.may_wait() && !self.jobs.is_closed() => {
                // Nobody is answered meanwhile, so nobody takes for written what is not.
                self.lack(&with_causes(&error));
                Ok(Some(FullDisk))
            }
            Err(error) => Err(io::Error::other(with_causes(&error))),
        }
    }

    fn look(&mut self) {
        match self.wal.space() {
            Space::Ample => self.room.tell(Part::Log, None),
            Space::Low { reason, .. } | Space::None { reason } => self.lack(&reason),
        }
    }

    fn lack(&self, reason: &str) {
        let reason = room::with_free(reason, &self.shared.path);
        self.room.tell(Part::Log, Some(reason));
    }
}

fn last_appended(group: &[Job]) -> Option<u64> {
    group.iter().rev().find_map(|job| match job {
        Job::Append { encoded, .. } => encoded.last().map(|(index, _)| *index),
        _ => None,
    })
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
        Job::Look => {}
    }
}

/// What a batch borrows.
struct Values {
    of_jobs: Vec<Value>,
    committed: Option<Vec<u8>>,
}

/// A value that a job sets, with its key.
#[derive(Default)]
struct Value {
    key: Vec<u8>,
    bytes: Vec<u8>,
}

impl Values {
    fn of(group: &[Job], committed: Option<LogId>) -> Self {
        Self {
            of_jobs: group.iter().map(Job::value).collect(),
            committed: committed.as_ref().map(encode_log_id),
        }
    }
}

impl Job {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Append { encoded, .. } => encoded.iter().map(|(_, bytes)| bytes.len()).sum(),
            _ => 0,
        }
    }

    fn value(&self) -> Value {
        let (key, bytes) = match self {
            Self::Append { .. } | Self::Truncate { .. } | Self::Look => return Value::default(),
            Self::Vote { vote, .. } => (VOTE_KEY.to_vec(), encode_vote(vote)),
            Self::Purge { upto, .. } => (PURGED_KEY.to_vec(), encode_log_id(upto)),
            Self::Disk { member, disk, .. } => (disk_key(*member), disk.clone()),
        };
        Value { key, bytes }
    }

    fn add_to<'a>(&'a self, value: &'a Value, batch: &mut Vec<Operation<'a>>) {
        match self {
            Self::Append { encoded, .. } => {
                batch.extend(encoded.iter().map(|(index, bytes)| Operation::Append {
                    index: *index,
                    bytes,
                }));
            }
            Self::Truncate { from, .. } => batch.push(Operation::TruncateFrom { index: *from }),
            Self::Purge { upto, .. } => batch.push(Operation::PurgeTo { index: upto.index }),
            Self::Vote { .. } | Self::Disk { .. } | Self::Look => {}
        }
        if !value.key.is_empty() {
            batch.push(Operation::Set {
                key: &value.key,
                bytes: &value.bytes,
            });
        }
    }
}
