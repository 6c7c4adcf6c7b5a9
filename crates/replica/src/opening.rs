//! What a member opens and checks before it runs: certificate, data folder, listener, engine.

use crate::certs::Identity;
use crate::config::{Config, Timings};
use crate::database::Closed;
use crate::disk::Disk;
use crate::error::Error;
use crate::line::{OwnDisk, Promises};
use crate::local::Raft;
use crate::log::size::LogSize;
use crate::log::{self, KnownDisks, LogStore, MakeDurable, Opened};
use crate::network::Peers;
use crate::network::client::PeerClients;
use crate::room::Room;
use crate::state::StateStore;
use crate::state::engine::Applier;
use crate::state::snapshot::Snapshots;
use crate::tls::Tls;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use openraft::SnapshotPolicy;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long a snapshot may take to be sent and installed.
const SNAPSHOT_TIMEOUT_MS: u64 = 120_000;
/// Entries in one message to a follower; its bytes are bounded too.
const MESSAGE_ENTRIES_MAX: u64 = 300;
/// Waits after a member could not be reached: soon at first, so that a restart is noticed.
const BACKOFF: &str = "50ms 100ms 200ms ...800ms";
/// Messages that wait inside the engine.
const ENGINE_QUEUE_MAX: u64 = 4096;

/// What is open on the disk.
pub(crate) struct Storage {
    pub(crate) disk: Disk,
    pub(crate) log: LogStore,
    pub(crate) disks: KnownDisks,
    pub(crate) room: Room,
    pub(crate) log_failure: log::Failure,
    pub(crate) size: LogSize,
    pub(crate) state: Arc<StateStore>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) closed: [Closed; 2],
}

pub(crate) fn check_certificate(config: &Config, tls: &Tls) -> Result<(), Error> {
    let me = Identity::Member {
        node_id: config.node_id,
        cluster_id: config.cluster_id.clone(),
    };
    if *tls.identity() == me {
        return Ok(());
    }
    Err(Error::WrongCertificate {
        path: tls.certificate_file().to_owned(),
        expected: me.to_string(),
        found: tls.identity().to_string(),
    })
}

pub(crate) async fn listen(config: &Config) -> Result<TcpListener, Error> {
    TcpListener::bind(config.raft_listen)
        .await
        .map_err(|source| Error::Listen {
            address: config.raft_listen,
            source,
        })
}

pub(crate) fn open_storage(config: &Config, stop: CancellationToken) -> Result<Storage, Error> {
    let dir = &config.data_dir;
    let wal = dir.join(log::FOLDER);
    open_storage_with(config, |make_durable| {
        log::conversion::convert(dir, &wal)?;
        log::open(&wal, config.log_disk.as_ref(), make_durable, stop)
    })
}

/// Opens everything, and last the log as it is told.
pub(crate) fn open_storage_with(
    config: &Config,
    open_log: impl FnOnce(MakeDurable) -> Result<Opened, Error>,
) -> Result<Storage, Error> {
    let dir = &config.data_dir;
    let disk = Disk::claim(dir, &config.cluster_id, config.node_id)?;
    let state = Arc::new(StateStore::open(
        &dir.join(StateStore::FOLDER),
        Arc::clone(&config.machine),
    )?);
    let durable = Arc::clone(&state);
    let opened = open_log(Box::new(move || durable.make_durable()))?;
    let snapshots = Arc::new(open_snapshots(config, &state, &opened.store)?);
    let closed = [opened.closed, state.closed()];
    Ok(Storage {
        closed,
        disk,
        log: opened.store,
        disks: opened.disks,
        room: opened.room,
        log_failure: opened.failure,
        size: opened.size,
        state,
        snapshots,
    })
}

/// Who is brought up to date gets a snapshot and the log behind it. Where these do not reach the state, as after a crash
/// between installing a snapshot and taking the next, a snapshot is taken of it; so it is where there is none (an earlier
/// version kept them otherwise).
fn open_snapshots(config: &Config, state: &StateStore, log: &LogStore) -> Result<Snapshots, Error> {
    let dir = config.data_dir.join("snapshots");
    let snapshots = Snapshots::open(&dir, &config.cluster_id, state.open_guard())?;
    let applied = state.position().applied;
    let current = snapshots.current();
    let reached = current.is_some_and(|taken| {
        let from = taken.meta().last_log_id;
        applied <= from || log.holds(from, applied)
    });
    if applied.is_some() && !reached {
        let taken = snapshots.take(&state.generation().db);
        taken.map_err(|source| Error::WriteFile { path: dir, source })?;
    }
    Ok(snapshots)
}

/// Every vote is durable before anything of its term is applied, snapshots included. A state without one stands beside a
/// log that was lost, and a member that forgot its votes could help to elect two leaders. Nor is there a state to be made
/// again where the log begins behind it.
pub(crate) fn check_promises(config: &Config, storage: &Storage) -> Result<(), Error> {
    let applied = storage.state.position().applied;
    if let (None, Some(purged)) = (applied, storage.log.purged()) {
        return Err(Error::DamagedDatabase {
            path: config.data_dir.join(StateStore::FOLDER),
            reason: format!(
                "it is empty, but the log beside it begins behind entry {}: the state was lost",
                purged.index
            ),
        });
    }
    match applied {
        Some(applied) if !storage.log.has_vote() => Err(Error::DamagedDatabase {
            path: config.data_dir.join(log::FOLDER),
            reason: format!(
                "it holds no vote, but the state beside it is applied up to entry {}: the log was lost",
                applied.index
            ),
        }),
        _ => Ok(()),
    }
}

/// The disk as others know it. Who forms the cluster by itself belongs to nobody else's line.
pub(crate) fn own_disk(config: &Config, storage: &Storage) -> OwnDisk {
    let promised = storage.log.has_vote() || !storage.disks.is_empty() || config.forms_cluster();
    let promises = match promised {
        true => Promises::Some,
        false => Promises::None,
    };
    OwnDisk::new(config.data_dir.clone(), storage.disk.clone(), promises)
}

/// Others may propose what this version does not read: it would halt, so it does not begin.
pub(crate) fn check_format(config: &Config, storage: &Storage) -> Result<(), Error> {
    let path = config.data_dir.join(StateStore::FOLDER);
    let read = storage
        .state
        .read(|read, _| regraft_state::format::of(read));
    let found = read.flatten().map_err(|error| Error::DamagedDatabase {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    let known = config.machine.format();
    match found > known {
        true => Err(Error::NewerDisk { path, found, known }),
        false => Ok(()),
    }
}

/// Boxed, and no `async fn`: so openraft is compiled into this crate, not again into every binary that starts a member.
#[inline(never)]
pub(crate) fn start_engine<'a>(
    config: &'a Config,
    peers: &'a Arc<Peers>,
    log: LogStore,
    applier: Applier,
) -> BoxFuture<'a, Result<Raft, Error>> {
    async move {
        let state = Arc::clone(&applier.state);
        let engine = engine_config(&config.cluster_id, &config.timings)?;
        let clients = PeerClients(Arc::clone(peers));
        Raft::new(config.node_id, Arc::new(engine), clients, log, applier)
            .await
            .map_err(|error| match state.halted() {
                Some(reason) => Error::Halted {
                    reason: reason.to_owned(),
                },
                None => Error::Raft {
                    operation: "starting the engine",
                    reason: error.to_string(),
                },
            })
    }
    .boxed()
}

fn engine_config(cluster_id: &str, timings: &Timings) -> Result<openraft::Config, Error> {
    let config = openraft::Config {
        cluster_name: cluster_id.to_owned(),
        heartbeat_interval: timings.heartbeat_ms,
        election_timeout_min: timings.election_min_ms,
        election_timeout_max: timings.election_max_ms,
        enable_pre_vote: Some(true),
        // A leader that lost its quorum lets others be heard: its lease and one election.
        quorum_loss_probe_interval: Some(2 * timings.election_max_ms),
        // The applied state is not synced: a restarted leader learns from an election what was committed.
        enable_leader_restore: Some(false),
        install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(timings.snapshot_every_entries),
        max_in_snapshot_log_to_keep: timings.keep_entries,
        replication_lag_threshold: timings.snapshot_every_entries.saturating_mul(2),
        max_payload_entries: MESSAGE_ENTRIES_MAX,
        api_channel_size: Some(ENGINE_QUEUE_MAX),
        notification_channel_size: Some(ENGINE_QUEUE_MAX),
        backoff: BACKOFF.to_owned(),
        ..openraft::Config::default()
    };
    config.validate().map_err(|error| Error::InvalidConfig {
        reason: format!("its timings do not fit each other: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PeerAddress;
    use crate::state::Patience;
    use crate::types::{Entry, LeaderId, LogId, Payload};
    use openraft::storage::RaftLogStorageExt as _;
    use openraft::vote::RaftLeaderId as _;
    use std::path::Path;

    fn config(dir: &Path) -> Config {
        let peer = PeerAddress {
            address: "127.0.0.1:1".to_owned(),
            name: "member-1".to_owned(),
        };
        Config {
            node_id: 1,
            cluster_id: "shop".to_owned(),
            data_dir: dir.to_owned(),
            raft_listen: "127.0.0.1:0".parse().unwrap(),
            peers: [(1, peer)].into(),
            tls: None,
            timings: Timings::default(),
            clock: Arc::new(|| 0),
            machine: Arc::new(crate::StateMachine),
            log_disk: None,
        }
    }

    fn blank(index: u64) -> Entry {
        let leader_id = LeaderId::new(1, 1);
        Entry {
            log_id: LogId { leader_id, index },
            payload: Payload::Blank,
        }
    }

    /// The snapshot after a start of which the state is applied up to 5 and the one before is of 2, with so much in the log.
    async fn check(logged: u64, expected: u64) {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let mut storage = open_storage(&config, CancellationToken::new()).unwrap();
        let entries: Vec<Entry> = (0..=5).map(blank).collect();
        let logged = entries.iter().take_while(|it| it.log_id.index <= logged);
        let appended = storage.log.blocking_append(logged.cloned());
        appended.await.unwrap();
        let apply = |entries: &[Entry]| {
            let applied = storage.state.apply(entries, Patience::Waits);
            assert!(applied.is_ok_and(|applied| applied.outcome.is_ok()));
        };
        apply(&entries[..=2]);
        let generation = storage.state.generation();
        storage.snapshots.take(&generation.db).unwrap();
        apply(&entries[3..]);
        storage.state.make_durable().unwrap();
        let closed = storage.closed.clone();
        drop((storage, generation));
        for closed in closed {
            closed.wait().await;
        }
        let storage = open_storage(&config, CancellationToken::new()).unwrap();
        let current = storage.snapshots.current().unwrap();
        let index = current.meta().last_log_id.map(|id| id.index);
        assert_eq!(index, Some(expected));
    }

    #[tokio::test]
    async fn a_state_that_its_snapshot_and_the_log_do_not_reach_gets_another() {
        check(5, 2).await;
        check(3, 5).await;
    }
}
