//! The applied state on disk.
//!
//! ```text
//! committed entries --Machine::apply--> writes + last_applied --one WriteBatch--> RocksDB generation n
//!                                        |                                             ^
//!                                        +--> Changes (after the write, in order)      | swap
//! snapshot file --verify--> fresh generation n+1 --------------------------------------+
//! ```
//!
//! - Expected flow: the engine applies entries chunk by chunk; readers take a frozen view.
//! - Guarantees: data and `last_applied` change together; a view never changes; a snapshot is
//!   installed beside the state and takes its place as a whole.
//! - Assumptions: the log replays what a crash of the machine took from here, because entries are
//!   purged only after [`StateStore::make_durable`].
//! - Errors: [`Halt`] of the machine and failed writes stop applying for good; but what only finds no room on the disk is
//!   not done, and can be done again.

pub(crate) mod engine;
pub(crate) mod frames;
pub(crate) mod generation;
mod pending;
pub(crate) mod sending;
pub(crate) mod snapshot;

use crate::changes::Changes;
use crate::database::{self, Closed, Open};
use crate::error::Error;
use crate::machine::Machine;
use crate::room;
use crate::types::{
    Entry, LogId, Payload, SnapshotMeta, StoredMembership, log_id_from_wire, log_id_to_wire,
    stored_membership_from_wire, stored_membership_to_wire,
};
use generation::{Generation, Generations};
use pending::Pending;
use prost::Message as _;
use regraft_state::store::{Read, ReadError, Walk, Write};
use regraft_state::{Applied, Halt};
use regraft_wire::raft::v1 as wire;
use rocksdb::{DB, ReadOptions, Snapshot, WriteBatch, WriteOptions};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::watch;

const DATA_PREFIX: u8 = b'd';
const APPLIED_KEY: &[u8] = b"mapplied";
const MEMBERSHIP_KEY: &[u8] = b"mmembership";

/// The applied state and who waits for it.
pub(crate) struct StateStore {
    generations: Generations,
    machine: Arc<dyn Machine>,
    position: Mutex<Position>,
    changes: Changes,
    halted: OnceLock<String>,
}

/// How far the state has come, and who voted there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

/// Whether a write may wait until the database has made room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// No.
    None,
    /// Yes.
    Waits,
}

/// What became of entries.
pub(crate) struct AppliedEntries {
    /// In their order; fewer than entries when one of them halts.
    pub(crate) answers: Vec<Vec<u8>>,
    /// Why applying stopped.
    pub(crate) outcome: io::Result<()>,
}

impl Default for AppliedEntries {
    fn default() -> Self {
        Self {
            answers: Vec::new(),
            outcome: Ok(()),
        }
    }
}

/// Nothing was applied, and it may be tried again.
#[derive(Debug)]
pub(crate) enum NotApplied {
    /// The database would have to be waited for.
    Busy,
    /// There is no room on the disk.
    NoRoom(io::Error),
}

/// A snapshot's state, ready to become the current one.
pub(crate) struct Prepared {
    fresh: Generation,
    position: Position,
}

/// Reads one database: as it is now, or frozen.
pub(crate) struct View<'a> {
    db: &'a DB,
    frozen: Option<&'a Snapshot<'a>>,
}

impl StateStore {
    /// Name of its folder in a data folder.
    pub(crate) const FOLDER: &str = "state";

    /// Opens the state in `dir`.
    pub(crate) fn open(dir: &Path, machine: Arc<dyn Machine>) -> Result<Self, Error> {
        let generations = Generations::open(dir)?;
        let current = generations.current();
        let position =
            read_position(&View::live(&current.db)).map_err(|error| Error::DamagedDatabase {
                path: current.path().to_owned(),
                reason: error.to_string(),
            })?;
        let index = index_of(&position);
        Ok(Self {
            generations,
            machine,
            position: Mutex::new(position),
            changes: Changes::new(index),
            halted: OnceLock::new(),
        })
    }

    /// The index up to which entries are applied; 0 when there is none.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.changes.newest()
    }

    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Why applying stopped for good.
    pub(crate) fn halted(&self) -> Option<&str> {
        self.halted.get().map(String::as_str)
    }

    pub(crate) fn position(&self) -> Position {
        self.lock().clone()
    }

    /// Reads a frozen view, with the index it is of.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&dyn Read, u64) -> R) -> Result<R, ReadError> {
        let generation = self.generations.current();
        let snapshot = generation.db.snapshot();
        let view = View::frozen(&generation.db, &snapshot);
        let position = read_position(&view).map_err(|error| ReadError(error.to_string()))?;
        Ok(read(&view, index_of(&position)))
    }

    /// Makes everything applied so far durable.
    pub(crate) fn make_durable(&self) -> io::Result<()> {
        let generation = self.generations.current();
        database::flush(&generation.db)
    }

    /// Applies committed entries in order.
    ///
    /// # Errors
    /// None was applied: without patience also where the database would have to be waited for.
    pub(crate) fn apply(
        &self,
        entries: &[Entry],
        patience: Patience,
    ) -> Result<AppliedEntries, NotApplied> {
        let mut applied = AppliedEntries::default();
        if let Some(reason) = self.halted() {
            applied.outcome = Err(io::Error::other(reason.to_owned()));
            return Ok(applied);
        }
        let generation = self.generations.current();
        let mut position = self.position();
        let mut pending = Pending::over(View::live(&generation.db));
        let mut changes = Vec::new();
        let mut halt = None;
        for entry in entries {
            match self.apply_one(&pending, entry, &mut position) {
                Ok(one) => {
                    pending.add(&one.batch);
                    changes.push((entry.log_id.index, one.batch.writes));
                    applied.answers.push(one.response);
                }
                Err(reason) => {
                    halt = Some(reason.to_string());
                    break;
                }
            }
        }
        if !changes.is_empty() {
            match self.write(&generation.db, &changes, &position, patience)? {
                Ok(()) => self.publish(position, changes),
                Err(reason) => {
                    applied.answers.clear();
                    halt = Some(reason);
                }
            }
        }
        applied.outcome = halt.map_or(Ok(()), |reason| Err(self.halt(reason)));
        Ok(applied)
    }

    /// Writes what entries changed, up to `position`. The inner error is why nothing can be applied any more.
    fn write(
        &self,
        db: &DB,
        changes: &[(u64, Vec<Write>)],
        position: &Position,
        patience: Patience,
    ) -> Result<Result<(), String>, NotApplied> {
        let Err(error) = write(db, batch_of(changes, position), patience) else {
            return Ok(Ok(()));
        };
        let incomplete = error.kind() == rocksdb::ErrorKind::Incomplete;
        let error = database::failure(error);
        let cannot = |reason: &dyn std::fmt::Display| {
            Ok(Err(format!("the state cannot be written: {reason}")))
        };
        match room::is_full(&error) {
            // Data and position are one batch, so the position tells whether it is there.
            true => match read_position(&View::live(db)) {
                Ok(found) if found == self.position() => Err(NotApplied::NoRoom(error)),
                Ok(found) if found == *position => Ok(Ok(())),
                Ok(found) => cannot(&format!("{error}; and it is at {found:?}")),
                Err(unreadable) => cannot(&format!("{error}; and it cannot be read: {unreadable}")),
            },
            false if incomplete => Err(NotApplied::Busy),
            false => cannot(&error),
        }
    }

    /// Entries without writes are told as well: who follows knows by the index how far it has come.
    fn publish(&self, position: Position, changes: Vec<(u64, Vec<Write>)>) {
        *self.lock() = position;
        self.changes.publish(changes);
    }

    fn apply_one(
        &self,
        view: &dyn Read,
        entry: &Entry,
        position: &mut Position,
    ) -> Result<Applied, Halt> {
        let applied = match &entry.payload {
            Payload::Blank => Applied::default(),
            Payload::Membership(membership) => {
                position.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Applied::default()
            }
            Payload::Normal(command) => self.machine.apply(view, entry.log_id.index, &command.0)?,
        };
        position.applied = Some(entry.log_id);
        Ok(applied)
    }

    /// Writes a verified snapshot into a fresh generation, beside the current one.
    pub(crate) fn prepare(
        &self,
        meta: &SnapshotMeta,
        file: &snapshot::SnapshotFile,
    ) -> io::Result<Prepared> {
        let applied = meta
            .last_log_id
            .ok_or_else(|| io::Error::other("the snapshot says not how far it is applied"))?;
        let fresh = self.generations.fresh().map_err(Error::into_io)?;
        file.read_pairs(|pairs| {
            let mut batch = WriteBatch::default();
            for pair in pairs {
                batch.put(data_key(&pair.key), &pair.value);
            }
            fresh.db.write_without_wal(batch).map_err(database::failure)
        })?;
        let (view, known) = (View::live(&fresh.db), self.machine.format());
        let format = regraft_state::format::of(&view).map_err(io::Error::other)?;
        if format > known {
            return Err(io::Error::other(format!(
                "the snapshot is of a state in format {format}, this version reads up to {known}: start the newer version"
            )));
        }
        let position = Position {
            applied: Some(applied),
            membership: meta.last_membership.clone(),
        };
        let mut last = WriteBatch::default();
        put_position(&mut last, &position);
        fresh
            .db
            .write_without_wal(last)
            .and_then(|()| fresh.db.flush())
            .map_err(database::failure)?;
        Ok(Prepared { fresh, position })
    }

    /// Makes a prepared generation the state.
    pub(crate) fn replace(&self, prepared: Prepared) -> io::Result<()> {
        self.generations.replace(prepared.fresh)?;
        let index = index_of(&prepared.position);
        *self.lock() = prepared.position;
        self.changes.reset(index);
        Ok(())
    }

    /// Writes what no entry wrote, and makes it durable: only before the state is in use.
    pub(crate) fn amend(&self, writes: Vec<Write>) -> io::Result<()> {
        let generation = self.generations.current();
        let batch = batch_of(&[(0, writes)], &self.position());
        let written = write(&generation.db, batch, Patience::Waits);
        written.map_err(database::failure)?;
        self.make_durable()
    }

    /// Tells when every database of the state is closed.
    pub(crate) fn closed(&self) -> Closed {
        self.generations.closed()
    }

    /// Kept by who opens databases made of this state.
    pub(crate) fn open_guard(&self) -> Open {
        self.generations.open_guard()
    }

    /// The generation of the moment, for a snapshot to be taken of.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.generations.current()
    }

    fn halt(&self, reason: String) -> io::Error {
        tracing::error!(
            reason,
            "the replicated state is halted: this member applies no more"
        );
        let reason = self.halted.get_or_init(|| reason);
        io::Error::other(reason.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> View<'a> {
    /// As the database is at every single read.
    pub(crate) fn live(db: &'a DB) -> Self {
        Self { db, frozen: None }
    }

    /// As it was when the snapshot was taken.
    pub(crate) fn frozen(db: &'a DB, snapshot: &'a Snapshot<'a>) -> Self {
        Self {
            db,
            frozen: Some(snapshot),
        }
    }

    /// Visits all data in key order.
    pub(crate) fn scan_all(
        &self,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Walk,
    ) -> Result<(), ReadError> {
        self.scan(&[], visit)
    }

    fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.db.get_opt(key, &self.options()).map_err(unreadable)
    }

    fn scan_range(
        &self,
        lower: Vec<u8>,
        upper: Vec<u8>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Walk,
    ) -> Result<(), ReadError> {
        let mut options = self.options();
        options.set_iterate_range(lower..upper);
        let mut cursor = self.db.raw_iterator_opt(options);
        cursor.seek_to_first();
        while let Some((key, value)) = cursor.item() {
            let key = key.get(1..).unwrap_or_default();
            if visit(key, value) == Walk::Stop {
                return Ok(());
            }
            cursor.next();
        }
        cursor.status().map_err(unreadable)
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        if let Some(snapshot) = self.frozen {
            options.set_snapshot(snapshot);
        }
        options
    }
}

impl Read for View<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.meta(&data_key(key))
    }

    fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Walk,
    ) -> Result<(), ReadError> {
        let lower = data_key(prefix);
        let upper = successor(&lower);
        self.scan_range(lower, upper, visit)
    }

    fn scan_after(
        &self,
        prefix: &[u8],
        after: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Walk,
    ) -> Result<(), ReadError> {
        let lower = data_key(prefix);
        let upper = successor(&lower);
        // The smallest key that is greater.
        let mut next = data_key(after);
        next.push(0);
        if next >= upper {
            return Ok(());
        }
        self.scan_range(lower.max(next), upper, visit)
    }
}

/// Position of a view: how far it is applied and who voted there.
pub(crate) fn read_position(view: &View<'_>) -> io::Result<Position> {
    let applied = view
        .meta(APPLIED_KEY)
        .map_err(io::Error::other)?
        .map(|bytes| wire::LogId::decode(bytes.as_slice()).map_err(io::Error::other))
        .transpose()?;
    let membership = match view.meta(MEMBERSHIP_KEY).map_err(io::Error::other)? {
        None => StoredMembership::default(),
        Some(bytes) => {
            let stored =
                wire::StoredMembership::decode(bytes.as_slice()).map_err(io::Error::other)?;
            stored_membership_from_wire(&stored).map_err(io::Error::other)?
        }
    };
    Ok(Position {
        applied: applied.as_ref().map(log_id_from_wire),
        membership,
    })
}

/// Writes to memory; the log replays what is not in a table yet when the machine crashes.
fn write(db: &DB, batch: WriteBatch, patience: Patience) -> Result<(), rocksdb::Error> {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options.set_no_slowdown(patience == Patience::None);
    db.write_opt(batch, &options)
}

fn batch_of(changes: &[(u64, Vec<Write>)], position: &Position) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for write in changes.iter().flat_map(|(_, writes)| writes) {
        match write {
            Write::Put { key, value } => batch.put(data_key(key), value),
            Write::Delete { key } => batch.delete(data_key(key)),
        }
    }
    put_position(&mut batch, position);
    batch
}

fn put_position(batch: &mut WriteBatch, position: &Position) {
    if let Some(applied) = &position.applied {
        batch.put(APPLIED_KEY, log_id_to_wire(applied).encode_to_vec());
    }
    batch.put(
        MEMBERSHIP_KEY,
        stored_membership_to_wire(&position.membership).encode_to_vec(),
    );
}

fn index_of(position: &Position) -> u64 {
    position.applied.map_or(0, |id| id.index)
}

fn data_key(key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(key.len() + 1);
    full.push(DATA_PREFIX);
    full.extend_from_slice(key);
    full
}

/// The first key after all that start with `prefix` (which starts with [`DATA_PREFIX`], so there is one).
fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

fn unreadable(error: rocksdb::Error) -> ReadError {
    ReadError(error.to_string())
}

#[cfg(test)]
mod tests;
