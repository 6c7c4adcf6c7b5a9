//! A running member.

use crate::backup::{self, BACKUPS_MAX};
use crate::changes::Subscription;
use crate::config::Config;
use crate::database::Closed;
use crate::error::{BackupError, BarrierError, Error, ProposeError};
use crate::format::{self, Formats};
use crate::home::{self, Home};
use crate::leadership::{self, Leadership};
use crate::listener;
use crate::liveness::{self, Liveness};
use crate::local::{Local, Proposed, Raft, ReadIndexError, check_size};
use crate::log::{self, size::LogSize};
use crate::members::{self, MemberChange, MembersError};
use crate::network::server::{self, RaftService};
use crate::network::{Peers, Transport};
use crate::opening::{
    Storage, check_certificate, check_format, check_promises, listen, open_storage, own_disk,
    start_engine,
};
use crate::room;
use crate::state::StateStore;
use crate::state::engine::Applier;
use crate::state::snapshot::Snapshots;
use crate::status::{Status, status_of};
use crate::tls::{Peer, Tls};
use futures::FutureExt as _;
use futures::stream::Stream;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{InitializeError, RaftError};
use regraft_state::store::{Read, ReadError, Walk};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::Connected;

/// How long stopping waits for tasks, and then for the databases to close.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a watched status is fresh when nothing else changes (times since last contact).
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Where a member runs, and how it and others reach each other.
pub(crate) struct Surroundings<I> {
    pub(crate) home: Home,
    /// None: it is alone.
    pub(crate) transport: Option<Transport>,
    /// The connections of others.
    pub(crate) incoming: Option<I>,
    /// Ends what comes in, and all that the member runs beside its engine.
    pub(crate) stop: CancellationToken,
}

/// A member: proposes, reads and follows the replicated state. Clones are handles of the same member.
#[derive(Clone)]
pub struct Replica(Arc<Inner>);

/// A handle that does not keep the databases open: for threads that may hang in something else.
#[derive(Clone)]
pub struct WeakReplica(Weak<Inner>);

impl WeakReplica {
    /// The member, while it runs.
    #[must_use]
    pub fn upgrade(&self) -> Option<Replica> {
        self.0.upgrade().map(Replica)
    }
}

/// Pairs under a prefix, and the log index they are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The log index.
    pub index: u64,
    /// Keys and values, in key order.
    pub pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

struct Inner {
    config: Config,
    local: Arc<Local>,
    peers: Arc<Peers>,
    status: watch::Sender<Status>,
    recovered: Arc<AtomicBool>,
    liveness: Arc<Liveness>,
    formats: Formats,
    stop: CancellationToken,
    tasks: TaskTracker,
    home: Home,
    snapshots: Arc<Snapshots>,
    /// Backups that may be taken.
    backups: Arc<Semaphore>,
    /// Of the log and the state.
    closed: [Closed; 2],
}

impl Replica {
    /// Opens the data folder, joins or forms the cluster, and starts to answer other members. Does
    /// not wait for a leader. After an error everything that was opened is closed again.
    ///
    /// # Errors
    /// When the configuration, a certificate, the data folder or the listener cannot be used.
    pub async fn start(config: Config) -> Result<Self, Error> {
        config.check()?;
        let home = Home::start()?;
        let starting = home.runtime.spawn(Self::start_at(home.clone(), config));
        let started = starting.await.map_err(|error| Error::Raft {
            operation: "starting",
            reason: error.to_string(),
        });
        started.flatten().inspect_err(|_| home.end())
    }

    async fn start_at(home: Home, config: Config) -> Result<Self, Error> {
        let tls = config.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
        if let Some(tls) = &tls {
            check_certificate(&config, tls)?;
        }
        let stop = CancellationToken::new();
        let incoming = match &tls {
            // A member without TLS is alone: nobody may speak to it.
            None => None,
            Some(tls) => {
                let listener = listen(&config).await?;
                Some(listener::incoming(listener, Arc::clone(tls), stop.clone()))
            }
        };
        let storage = {
            let (config, stop) = (config.clone(), stop.clone());
            let opening = move || {
                open_storage(&config, stop).map_err(|error| error.at_start(&config.data_dir))
            };
            home::blocking(opening)
                .await
                .map_err(|error| Error::Raft {
                    operation: "opening the data folder",
                    reason: error.to_string(),
                })??
        };
        let surroundings = Surroundings {
            home,
            transport: tls.map(Transport::Tls),
            incoming,
            stop,
        };
        let closed = storage.closed.clone();
        let started = Self::start_on(surroundings, config, storage).await;
        match &started {
            Ok(replica) => replica.0.follow_room(),
            // A process that exits while a database is open may crash in its threads.
            Err(_) => wait_closed(closed).await,
        }
        started
    }

    pub(crate) async fn start_on<C>(
        surroundings: Surroundings<impl Stream<Item = io::Result<C>> + Send + 'static>,
        config: Config,
        storage: Storage,
    ) -> Result<Self, Error>
    where
        C: AsyncRead + AsyncWrite + Connected<ConnectInfo = Peer> + Unpin + Send + 'static,
    {
        let Surroundings {
            home,
            transport,
            incoming,
            stop,
        } = surroundings;
        check_promises(&config, &storage)?;
        check_format(&config, &storage)?;
        let peers = Arc::new(Peers::new(
            &config,
            own_disk(&config, &storage),
            transport,
            home.runtime.clone(),
            storage.disks,
        ));
        let applier = Applier {
            state: Arc::clone(&storage.state),
            snapshots: Arc::clone(&storage.snapshots),
            room: storage.room.clone(),
        };
        let raft = start_engine(&config, &peers, storage.log, applier).await?;
        let local = Arc::new(Local::new(
            raft,
            storage.state,
            storage.room,
            storage.log_failure,
            Arc::clone(&config.clock),
            Duration::from_millis(config.timings.request_timeout_ms),
        ));
        let status = watch::Sender::new(status_of(&local, &peers, false));
        let replica = Self(Arc::new(Inner {
            config,
            local,
            peers,
            status,
            recovered: Arc::new(AtomicBool::new(false)),
            liveness: Arc::default(),
            formats: Formats::default(),
            stop,
            tasks: TaskTracker::new(),
            home,
            snapshots: Arc::clone(&storage.snapshots),
            backups: Arc::new(Semaphore::new(BACKUPS_MAX)),
            closed: storage.closed,
        }));
        if let Some(incoming) = incoming {
            replica.0.serve(incoming, storage.snapshots);
        }
        replica.0.follow_status();
        replica.0.follow_recovery();
        replica.0.follow_sessions();
        replica.0.follow_members();
        replica.0.follow_log(storage.size);
        if let Err(error) = replica.0.form_cluster().await {
            replica.shutdown().await;
            return Err(error);
        }
        Ok(replica)
    }

    /// Has a command applied by the cluster; through the leader when this member does not lead.
    ///
    /// # Errors
    /// See [`ProposeError`]: only after [`ProposeError::Unknown`] may the command still be applied.
    pub async fn propose(&self, command: Vec<u8>) -> Result<Proposed, ProposeError> {
        let inner = &self.0;
        // The common case on a follower, without a copy of the command.
        if inner.local.raft.is_leader() {
            return inner.local.propose(command).await;
        }
        let known = inner.local.raft.metrics().borrow_watched().current_leader;
        match known {
            Some(leader) if leader != inner.peers.me => {
                if let Some(reason) = inner.local.halted() {
                    return Err(ProposeError::Halted {
                        reason: reason.to_owned(),
                    });
                }
                check_size(&command)?;
                inner.peers.forward(leader, command, self.timeout()).await
            }
            _ => inner.local.propose(command).await,
        }
    }

    /// Refuses a format of commands that some member may not read yet: it would halt on it.
    ///
    /// # Errors
    /// [`ProposeError::Unavailable`] names the members, where this one knows them.
    pub fn check_format(&self, needed: u32) -> Result<(), ProposeError> {
        let inner = &self.0;
        inner.formats.check(needed, &inner.local, &inner.peers)
    }

    /// Changes the members, as `actor` asks for; through the leader when this member does not lead.
    ///
    /// # Errors
    /// See [`MembersError`]: only after [`MembersError::Unknown`] may it still be done.
    pub async fn change_members(
        &self,
        actor: &str,
        change: MemberChange,
    ) -> Result<(), MembersError> {
        let (local, peers) = (&self.0.local, &self.0.peers);
        match members::change(local, peers, actor, change.clone()).await {
            Err(MembersError::NotLeader {
                leader: Some(leader),
            }) if leader != peers.me => peers.change_members(leader, actor, change).await,
            changed => changed,
        }
    }

    /// A linearizable read point: everything acknowledged before the call is applied here when it
    /// returns. Gives the index that is applied.
    ///
    /// # Errors
    /// When no quorum confirms who leads, or applying takes too long.
    pub async fn barrier(&self) -> Result<u64, BarrierError> {
        let inner = &self.0;
        let index = match inner.local.read_index().await {
            Ok(index) => index,
            Err(ReadIndexError::NotLeader(Some(leader))) if leader != inner.peers.me => {
                inner.peers.read_index(leader, self.timeout()).await?
            }
            Err(ReadIndexError::NotLeader(_)) => {
                return Err(BarrierError::Unavailable {
                    reason: "no member is known to lead".to_owned(),
                });
            }
            Err(ReadIndexError::Unavailable(reason)) => {
                return Err(BarrierError::Unavailable { reason });
            }
            Err(ReadIndexError::Halted(reason)) => return Err(BarrierError::Halted { reason }),
        };
        self.wait_applied(index).await
    }

    /// Waits until `index` is applied here; gives the index that is.
    ///
    /// # Errors
    /// When it takes too long or the member is halted.
    pub async fn wait_applied(&self, index: u64) -> Result<u64, BarrierError> {
        let state = &self.0.local.state;
        let mut applied = state.applied();
        let waiting = applied.wait_for(|applied| *applied >= index);
        if let Ok(Ok(applied)) = tokio::time::timeout(self.timeout(), waiting).await {
            return Ok(*applied);
        }
        match state.halted() {
            Some(reason) => Err(BarrierError::Halted {
                reason: reason.to_owned(),
            }),
            None => Err(BarrierError::Unavailable {
                reason: format!(
                    "index {index} is not applied here in time, only {}",
                    *state.applied().borrow()
                ),
            }),
        }
    }

    /// Reads a frozen view of what is applied here, which may be behind: see [`Replica::barrier`].
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn read<R>(&self, read: impl FnOnce(&dyn Read) -> R) -> Result<R, ReadError> {
        self.0.local.state.read(|view, _| read(view))
    }

    /// As [`Replica::read`], with the log index that the view is of.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn read_at<R>(&self, read: impl FnOnce(&dyn Read, u64) -> R) -> Result<R, ReadError> {
        self.0.local.state.read(read)
    }

    /// Everything under `prefix` in one frozen view.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn list(&self, prefix: &[u8]) -> Result<Listing, ReadError> {
        self.0.local.state.read(|view, index| {
            let mut pairs = Vec::new();
            view.scan(prefix, &mut |key, value| {
                pairs.push((key.to_vec(), value.to_vec()));
                Walk::Continue
            })?;
            Ok(Listing { index, pairs })
        })?
    }

    /// Tells that a session that `actor` opened is alive; only the leader can be told. Gives its time to live from now,
    /// milliseconds, or 0 when it is no more.
    ///
    /// # Errors
    /// When this member does not lead, or cannot be sure of it.
    pub async fn keep_alive(&self, actor: &str, session: u64) -> Result<u64, BarrierError> {
        liveness::keep_alive(&self.0.local, &self.0.liveness, actor, session).await
    }

    /// What is applied from now on, in order.
    #[must_use]
    pub fn changes(&self) -> Subscription {
        self.0.local.state.changes().subscribe()
    }

    /// What was applied after `index`: the first answer says so when that is known no more.
    #[must_use]
    pub fn changes_after(&self, index: u64) -> Subscription {
        self.0.local.state.changes().subscribe_after(index)
    }

    /// The cluster it is of.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.0.config.cluster_id
    }

    /// Runs a task beside the member's own, and tells when it has ended.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.0.home.runtime.spawn(task)
    }

    /// How the member is doing now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// The status whenever role, leader or voters change, and every second.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.0.status.subscribe()
    }

    /// Takes a snapshot now and purges the log behind it, as happens by itself every so many entries.
    ///
    /// # Errors
    /// When the member has stopped.
    pub async fn take_snapshot(&self) -> Result<(), Error> {
        let taken = self.0.local.raft.trigger().snapshot().await;
        taken.map_err(|error| Error::Raft {
            operation: "taking a snapshot",
            reason: error.to_string(),
        })
    }

    /// The state with everything that was acknowledged before, as the bytes of a backup file. Who receives it checks it
    /// with [`backup::read`], for it may end early.
    ///
    /// # Errors
    /// When this member cannot know that its state is the newest, or cannot freeze it, and while another backup is taken.
    pub async fn backup(
        &self,
    ) -> Result<impl Stream<Item = backup::Part> + Send + Unpin + use<>, BackupError> {
        self.barrier().await?;
        let inner = &self.0;
        let generation = inner.local.state.generation();
        let (snapshots, slots) = (Arc::clone(&inner.snapshots), Arc::clone(&inner.backups));
        backup::take(generation, snapshots, slots, (inner.config.clock)()).await
    }

    /// Reads the certificates again; connections made from now on use them.
    ///
    /// # Errors
    /// When they cannot be used: the old ones stay.
    pub fn reload_certificates(&self) -> Result<(), Error> {
        match self.0.peers.tls() {
            Some(tls) => tls.reload(),
            None => Ok(()),
        }
    }

    /// The TLS configuration of this member, for its other listeners.
    #[must_use]
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.0.peers.tls().cloned()
    }

    /// Resolves when the data folder may be opened again: all handles are dropped, and what they
    /// started has ended.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        all_closed(self.0.closed.clone())
    }

    /// A handle that does not keep the databases open.
    #[must_use]
    pub fn downgrade(&self) -> WeakReplica {
        WeakReplica(Arc::downgrade(&self.0))
    }

    /// Hands leadership over, stops, and waits (bounded) until the data folder may be opened again;
    /// that needs all other handles to be dropped.
    pub async fn shutdown(self) {
        self.0.leadership().hand_over().await;
        self.0.stop.cancel();
        if let Err(error) = self.0.local.raft.shutdown().await {
            tracing::warn!(%error, "the engine did not stop cleanly");
        }
        if let Err(error) = self.0.local.state.make_durable() {
            tracing::warn!(%error, "the state could not be made durable");
        }
        self.0.tasks.close();
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.0.tasks.wait()).await;
        let closed = self.0.closed.clone();
        drop(self);
        wait_closed(closed).await;
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.0.config.timings.request_timeout_ms)
    }
}

impl Inner {
    fn serve<C>(
        &self,
        incoming: impl Stream<Item = io::Result<C>> + Send + 'static,
        snapshots: Arc<Snapshots>,
    ) where
        C: AsyncRead + AsyncWrite + Connected<ConnectInfo = Peer> + Unpin + Send + 'static,
    {
        let service = RaftService::new(Arc::clone(&self.peers), Arc::clone(&self.local), snapshots);
        let serving = server::serve(incoming, service, self.stop.clone());
        self.tasks.spawn_on(serving, &self.home.runtime);
    }

    fn status(&self) -> Status {
        let recovered = self.recovered.load(Ordering::Acquire);
        status_of(&self.local, &self.peers, recovered)
    }

    fn follow_sessions(&self) {
        let (local, liveness) = (Arc::clone(&self.local), Arc::clone(&self.liveness));
        let following = liveness::follow(local, liveness, self.stop.clone());
        self.tasks.spawn_on(following, &self.home.runtime);
    }

    fn follow_members(&self) {
        let (local, stop) = (Arc::clone(&self.local), self.stop.clone());
        self.tasks
            .spawn_on(members::follow(local, stop), &self.home.runtime);
        let (local, peers) = (Arc::clone(&self.local), Arc::clone(&self.peers));
        let machine = Arc::clone(&self.config.machine);
        let following = format::follow(local, peers, machine, self.stop.clone());
        self.tasks.spawn_on(following, &self.home.runtime);
    }

    fn follow_log(&self, size: LogSize) {
        let (local, stop) = (Arc::clone(&self.local), self.stop.clone());
        let bytes_max = self.config.timings.log_bytes_max;
        let following = log::size::follow(local, size, bytes_max, stop);
        self.tasks.spawn_on(following, &self.home.runtime);
    }

    fn leadership(&self) -> Leadership {
        Leadership {
            local: Arc::clone(&self.local),
            me: self.peers.me,
            lately: Duration::from_millis(self.config.timings.election_max_ms),
        }
    }

    fn follow_room(&self) {
        let following = leadership::follow(self.leadership(), self.stop.clone());
        self.tasks.spawn_on(following, &self.home.runtime);
        let path = self.config.data_dir.join(StateStore::FOLDER);
        let following = room::follow(self.local.room.clone(), path);
        self.tasks.spawn_on(following, &self.home.runtime);
    }

    fn follow_status(&self) {
        let mut changed = self.local.raft.server_metrics();
        let (local, peers) = (Arc::clone(&self.local), Arc::clone(&self.peers));
        let recovered = Arc::clone(&self.recovered);
        let (status, stop) = (self.status.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let mut every = tokio::time::interval(STATUS_INTERVAL);
            let mut engine_runs = true;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = every.tick() => {}
                    gone = changed.changed(), if engine_runs => engine_runs = gone.is_ok(),
                }
                peers.learn(addresses(&local.raft));
                let now = status_of(&local, &peers, recovered.load(Ordering::Acquire));
                status.send_if_modified(|old| {
                    let differs = *old != now;
                    *old = now;
                    differs
                });
            }
        });
    }

    fn follow_recovery(&self) {
        let raft = self.local.raft.clone();
        let recovered = Arc::clone(&self.recovered);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                done = raft.wait_for_recovery(None) => {
                    recovered.store(done.is_ok(), Ordering::Release);
                }
            }
        });
    }

    /// Forms the cluster where that is this member's part; a cluster that exists is left as it is.
    async fn form_cluster(&self) -> Result<(), Error> {
        let raft = &self.local.raft;
        let failed = |operation, reason: String| Error::Raft { operation, reason };
        let exists = raft
            .is_initialized()
            .await
            .map_err(|error| failed("looking for a cluster", error.to_string()))?;
        if exists {
            let voters: Vec<u64> = raft.voter_ids().collect();
            if voters == [self.peers.me] {
                // Nobody else can lead: no need to wait for an election timeout.
                let elected = raft.trigger().elect(false).await;
                elected.map_err(|error| failed("electing itself", error.to_string()))?;
            }
            return Ok(());
        }
        if !self.config.forms_cluster() {
            return Ok(());
        }
        let members: BTreeMap<u64, openraft::BasicNode> = self
            .config
            .peers
            .iter()
            .map(|(id, peer)| (*id, openraft::BasicNode::new(&peer.address)))
            .collect();
        match raft.initialize(members).await {
            // A leader spoke to us in between.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(failed("forming the cluster", error.to_string())),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
        // Calls that are under way wait for the engine's end, so it must come to one.
        let (raft, tasks, home) = (
            self.local.raft.clone(),
            self.tasks.clone(),
            self.home.clone(),
        );
        let stopping = async move {
            let _ = raft.shutdown().await;
            drop(raft);
            tasks.close();
            let _ = tokio::time::timeout(STOP_TIMEOUT, tasks.wait()).await;
            home.end();
        };
        self.home.runtime.spawn(stopping);
    }
}

/// Who the members are, and where.
fn addresses(raft: &Raft) -> BTreeMap<u64, String> {
    let metrics = raft.metrics().borrow_watched().clone();
    let members = metrics.membership_config.membership().nodes();
    members.map(|(id, node)| (*id, node.addr.clone())).collect()
}

fn all_closed(closed: [Closed; 2]) -> impl Future<Output = ()> + Send + use<> {
    futures::future::join_all(closed.map(Closed::wait)).map(|_| ())
}

async fn wait_closed(closed: [Closed; 2]) {
    if tokio::time::timeout(STOP_TIMEOUT, all_closed(closed))
        .await
        .is_err()
    {
        tracing::warn!(
            waited_s = STOP_TIMEOUT.as_secs(),
            "the databases are still in use by something that does not end"
        );
    }
}
