//! The state as the engine drives it: apply, take a snapshot, install one.

use super::generation::Generation;
use super::snapshot::{SnapshotData, Snapshots, Taken};
use super::{AppliedEntries, NotApplied, Patience, StateStore};
use crate::home;
use crate::room::{Part, Persistence, Room};
use crate::types::{Entry, LogId, Snapshot, SnapshotMeta, StoredMembership, Types};
use futures::stream::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use std::io;
use std::sync::Arc;

/// Entries that are applied together at most: the first of them is not answered before the last is applied.
const CHUNK_ENTRIES_MAX: usize = 64;

/// The engine's state machine.
pub(crate) struct Applier {
    pub(crate) state: Arc<StateStore>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) room: Room,
}

/// Takes a snapshot of the generation that was current when it was made.
pub(crate) struct SnapshotBuilder {
    generation: Arc<Generation>,
    snapshots: Arc<Snapshots>,
    room: Room,
}

impl RaftStateMachine<Types> for Applier {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let position = self.state.position();
        Ok((position.applied, position.membership))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(CHUNK_ENTRIES_MAX);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.into_iter().collect::<Result<Vec<_>, io::Error>>()?;
            let (entries, responders): (Vec<_>, Vec<_>) = chunk.into_iter().unzip();
            let applied = match self.state.apply(&entries, Patience::None) {
                Ok(applied) => applied,
                // The engine's own thread must not wait for the disk: no heartbeat would be sent meanwhile.
                Err(_) => self.apply_patiently(entries).await?,
            };
            for (responder, answer) in responders.into_iter().zip(applied.answers) {
                if let Some(responder) = responder {
                    responder.send(answer);
                }
            }
            applied.outcome?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            generation: self.state.generation(),
            snapshots: Arc::clone(&self.snapshots),
            room: self.room.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let meta = meta.clone();
        self.with_room(move |state, snapshots| {
            let file = match &snapshot {
                SnapshotData::Received(file) => file.clone(),
                SnapshotData::Taken(taken) => snapshots.receive(taken)?,
            };
            let prepared = state.prepare(&meta, &file)?;
            state.replace(prepared)
        })
        .await?;
        // Before the log is purged: a follower that is further behind will want it.
        self.with_room(|state, snapshots| snapshots.take(&state.generation().db).map(drop))
            .await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<SnapshotData>>, io::Error> {
        Ok(self.snapshots.current().map(snapshot_of))
    }
}

impl Applier {
    /// Waits for the database, and for room on its disk: entries that found none were not applied.
    async fn apply_patiently(&self, entries: Vec<Entry>) -> io::Result<AppliedEntries> {
        let entries = Arc::new(entries);
        let applying = || {
            let (state, entries) = (Arc::clone(&self.state), Arc::clone(&entries));
            let applied = home::blocking(move || state.apply(&entries, Patience::Waits));
            async {
                applied.await?.map_err(|not| match not {
                    NotApplied::NoRoom(error) => error,
                    NotApplied::Busy => io::Error::other("a write that may wait was not done"),
                })
            }
        };
        let generation = self.state.generation();
        let part = (Part::Tables, Persistence::GivesUp);
        let applied = self.room.until_done(part, generation.path(), applying);
        applied.await.map_err(|error| match self.room.may_wait() {
            false => error,
            true => self
                .state
                .halt(format!("the state cannot be written: {error}")),
        })
    }

    /// Does something to state and snapshots away from the engine's thread, as soon as there is room for it.
    async fn with_room(
        &self,
        work: impl Fn(&StateStore, &Snapshots) -> io::Result<()> + Clone + Send + 'static,
    ) -> io::Result<()> {
        let working = || {
            let (state, snapshots) = (Arc::clone(&self.state), Arc::clone(&self.snapshots));
            let work = work.clone();
            let done = home::blocking(move || work(&state, &snapshots));
            async { done.await? }
        };
        let part = (Part::Install, Persistence::Endless);
        let path = self.snapshots.path();
        self.room.until_done(part, path, working).await
    }
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    /// Entries that are applied meanwhile may be in it or not: it says itself what it is of.
    async fn build_snapshot(&mut self) -> Result<Snapshot<SnapshotData>, io::Error> {
        let taking = || {
            let generation = Arc::clone(&self.generation);
            let snapshots = Arc::clone(&self.snapshots);
            let taken = home::blocking(move || snapshots.take(&generation.db));
            async { taken.await? }
        };
        let part = (Part::Snapshot, Persistence::Endless);
        let path = self.snapshots.path();
        let taken = self.room.until_done(part, path, taking).await?;
        tracing::info!(
            index = taken.meta().last_log_id.map_or(0, |id| id.index),
            "a snapshot was taken"
        );
        Ok(snapshot_of(taken))
    }
}

fn snapshot_of(taken: Arc<Taken>) -> Snapshot<SnapshotData> {
    Snapshot {
        meta: taken.meta().clone(),
        snapshot: SnapshotData::Taken(taken),
    }
}
