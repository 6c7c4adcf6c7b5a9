//! The state as the engine drives it: apply, take a snapshot, install one.

use super::generation::Generation;
use super::snapshot::{SnapshotFile, Snapshots};
use super::{AppliedEntries, Patience, StateStore, View, read_position};
use crate::types::{Entry, LogId, Snapshot, SnapshotMeta, StoredMembership, Types};
use futures::stream::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use std::io;
use std::sync::{Arc, mpsc};
use tokio::sync::oneshot;

/// Entries that are applied together at most: the first of them is not answered before the last is applied.
const CHUNK_ENTRIES_MAX: usize = 64;
const THREAD: &str = "raft-snapshot";

/// The engine's state machine.
pub(crate) struct Applier {
    pub(crate) state: Arc<StateStore>,
    pub(crate) snapshots: Arc<Snapshots>,
}

/// A view of the state, held by a thread of its own until it is written or dropped.
pub(crate) struct SnapshotBuilder {
    /// Dropping it without sending ends the thread.
    go: Option<mpsc::Sender<()>>,
    built: Option<oneshot::Receiver<io::Result<Built>>>,
    failed: Option<io::Error>,
}

type Built = (SnapshotMeta, SnapshotFile);

impl RaftStateMachine<Types> for Applier {
    type SnapshotData = SnapshotFile;
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
                Some(applied) => applied,
                // The engine's own thread must not wait for the disk: no heartbeat would be sent meanwhile.
                None => self.apply_patiently(entries).await?,
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
        SnapshotBuilder::of(&self.state, &self.snapshots).await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let state = Arc::clone(&self.state);
        let snapshots = Arc::clone(&self.snapshots);
        let meta = meta.clone();
        tokio::task::spawn_blocking(move || {
            let prepared = state.prepare(&meta, &snapshot)?;
            // The file first: a state newer than its snapshot is restored from it at the next start,
            // but a log purged beyond its snapshot could not serve a follower.
            snapshots.adopt(&meta, &snapshot)?;
            state.replace(prepared)
        })
        .await
        .map_err(io::Error::other)?
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<SnapshotFile>>, io::Error> {
        let current = self.snapshots.current();
        Ok(current.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

impl Applier {
    async fn apply_patiently(&self, entries: Vec<Entry>) -> io::Result<AppliedEntries> {
        let state = Arc::clone(&self.state);
        let applying = tokio::task::spawn_blocking(move || state.apply(&entries, Patience::Waits));
        let applied = applying.await.map_err(io::Error::other)?;
        applied.ok_or_else(|| io::Error::other("a write that may wait was not done"))
    }
}

impl SnapshotBuilder {
    /// Freezes the view before it returns: entries applied later are not in it.
    async fn of(state: &Arc<StateStore>, snapshots: &Arc<Snapshots>) -> Self {
        let (frozen, wait) = oneshot::channel();
        let (go, start) = mpsc::channel();
        let (done, built) = oneshot::channel();
        let generation = state.generation();
        let state = Arc::clone(state);
        let snapshots = Arc::clone(snapshots);
        let thread = std::thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || {
                let built = freeze(&generation, &state, &snapshots, frozen, &start);
                // Whoever hears of the snapshot may close the databases.
                drop((generation, state, snapshots));
                if let Some(built) = built {
                    // Fails when the engine is gone.
                    let _ = done.send(built);
                }
            });
        match thread {
            Ok(_) => {
                let failed = wait.await.err().map(io::Error::other);
                Self {
                    go: Some(go),
                    built: Some(built),
                    failed,
                }
            }
            Err(error) => Self {
                go: None,
                built: None,
                failed: Some(error),
            },
        }
    }
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot<SnapshotFile>, io::Error> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let (Some(go), Some(built)) = (self.go.take(), self.built.take()) else {
            return Err(io::Error::other("a snapshot is built once"));
        };
        go.send(()).map_err(io::Error::other)?;
        let (meta, snapshot) = built.await.map_err(io::Error::other)??;
        Ok(Snapshot { meta, snapshot })
    }
}

/// Holds a view until it is to be written, or nobody can say so any more.
fn freeze(
    generation: &Generation,
    state: &StateStore,
    snapshots: &Snapshots,
    frozen: oneshot::Sender<()>,
    start: &mpsc::Receiver<()>,
) -> Option<io::Result<Built>> {
    let snapshot = generation.db.snapshot();
    let view = View::frozen(&generation.db, &snapshot);
    frozen.send(()).ok()?;
    start.recv().ok()?;
    Some(build(state, snapshots, &view))
}

fn build(state: &StateStore, snapshots: &Snapshots, view: &View<'_>) -> io::Result<Built> {
    let position = read_position(view)?;
    let meta = SnapshotMeta {
        last_log_id: position.applied,
        last_membership: position.membership,
    };
    let file = snapshots.write(view, &meta)?;
    // The log is purged up to here soon.
    state.make_durable()?;
    let adopted = snapshots.adopt(&meta, &file)?;
    tracing::info!(
        index = position.applied.map_or(0, |id| id.index),
        size_bytes = file.size_bytes()?,
        "a snapshot was taken"
    );
    Ok(adopted)
}
