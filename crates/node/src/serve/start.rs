//! Starts a member's parts in order, waits for its end, and stops them in reverse.

use super::admin::{Listener, Place};
use super::clusters::Clusters;
use super::gate::Gate;
use super::member::Member;
use super::metrics::Metrics;
use super::propose::{People, Proposer};
use super::runner::Runner;
use super::{admin, announce, engine, follow, git, http};
use crate::clock;
use crate::config::MemberConfig;
use crate::failure::{Exit, Failure};
use crate::log::PAGE;
use data_encoding::HEXLOWER;
use regraft_engine::TrackedRepository;
use regraft_replica::{
    PeerAddress, Replica, StateMachine, StoreLimits, Timings, TlsPaths, serve_store,
};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A second signal to stop that comes within this is the first one, sent twice.
const TOLD_ONCE_WITHIN: Duration = Duration::from_millis(500);
/// How long open questions may take after the member is told to stop.
const STOP_BOUND: Duration = Duration::from_secs(3);
/// Random bytes of a boot and of an installation.
const RANDOM_BYTES: usize = 8;
/// What a person does about a member that halted.
const AFTER_HALT: &str = "do not delete anything: read the log, and see docs/operations.md";
const TERMINATE: &str = "SIGTERM";
const INTERRUPT: &str = "SIGINT";

/// Runs a member until a signal, or until it must not go on.
///
/// What can be refused without the databases is refused before they are opened; whatever happens later, they are
/// closed before this returns.
pub(super) async fn serve(config: MemberConfig) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let boot = random()?;
    let installation = random()?;
    let http_listener = bind(config.http, "listen.http").await?;
    let store_listener = match config.store {
        Some(address) => Some(bind(address, "listen.store").await?),
        None => None,
    };
    let place = Place::reserve(&config.admin).await?;
    let replica = start_replica(&config).await?;
    let stop = CancellationToken::new();
    let ended = CancellationToken::new();
    let begun = place.open(replica.tls()).and_then(|admin_listener| {
        let member = build(config, &replica, &boot, installation, &stop, &ended)?;
        Ok((member, admin_listener))
    });
    let (member, admin_listener) = match begun {
        Ok(begun) => begun,
        Err(failure) => {
            stop.cancel();
            replica.shutdown().await;
            return Err(failure);
        }
    };
    drop(replica);
    let listeners = Listeners {
        http: http_listener,
        admin: admin_listener,
        store: store_listener,
    };
    let tasks = begin(&member, listeners, &stop);
    let outcome = wait(&member.replica, &mut signals, &ended).await;
    let told = clock::instant();
    // Some tools send it to the process and to its group: that is once.
    let told_twice = async {
        loop {
            let name = signals.next().await;
            if told.elapsed() >= TOLD_ONCE_WITHIN {
                return name;
            }
        }
    };
    tokio::select! {
        () = shut_down(member, &stop, &ended, &tasks) => outcome,
        name = told_twice => {
            tracing::warn!(signal = name, "told twice to stop: this member ends at once, without closing its databases; they are recovered at the next start");
            signals.end_at_once(name)
        }
    }
}

/// Where others come in, besides other members.
struct Listeners {
    http: TcpListener,
    admin: Listener,
    store: Option<TcpListener>,
}

async fn bind(address: SocketAddr, field: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            Exit::Failed,
            "CannotListen",
            format!("cannot listen on {address}: {error}"),
            format!("does another process listen there? change `{field}`"),
        )
    })
}

/// Starts everything that listens and follows.
fn begin(member: &Arc<Member>, listeners: Listeners, stop: &CancellationToken) -> TaskTracker {
    let tasks = TaskTracker::new();
    tracing::info!(
        member = %member.config.member,
        cluster = %member.config.cluster,
        http = %member.config.http,
        data_dir = %member.config.data_dir.display(),
        version = env!("CARGO_PKG_VERSION"),
        "member started"
    );
    follow_until(&tasks, stop, follow::changes(Arc::clone(member)));
    follow_until(&tasks, stop, follow::confirmations(Arc::clone(member)));
    follow_until(&tasks, stop, follow::role(Arc::clone(member)));
    follow_until(&tasks, stop, follow::ticks(Arc::clone(member)));
    follow_until(&tasks, stop, follow::hangups(Arc::clone(member)));
    follow_until(&tasks, stop, announce::announce(Arc::clone(member)));
    let serving = http::serve(Arc::clone(member), listeners.http, stop.clone());
    tasks.spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "http ended");
        }
    });
    let serving = admin::serve(Arc::clone(member), listeners.admin, stop.clone());
    tasks.spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "admin ended");
        }
    });
    // The configuration has certificates wherever it has this listener.
    if let (Some(listener), Some(tls)) = (listeners.store, member.replica.tls()) {
        let serving = serve_store(
            member.replica.clone(),
            tls,
            listener,
            StoreLimits::default(),
            stop.clone(),
        );
        tasks.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "store ended");
            }
        });
    }
    tasks
}

fn build(
    config: MemberConfig,
    replica: &Replica,
    boot: &str,
    installation: String,
    stop: &CancellationToken,
    ended: &CancellationToken,
) -> Result<Arc<Member>, Failure> {
    let (engine, inputs) = engine::channel();
    let metrics = Metrics::new();
    let mut repositories = std::collections::BTreeMap::new();
    for repository in &config.repositories {
        let git = git::start(
            repository,
            &config.data_dir,
            Arc::new(Gate::new(replica)),
            engine.clone(),
            metrics.clone(),
        )?;
        repositories.insert(repository.name.clone(), git);
    }
    let clusters = Arc::new(Clusters::new(&config.clusters, engine.clone()));
    let proposer = Proposer::start(replica, config.member, boot, &engine, &metrics, stop);
    let runner = Runner {
        proposer: Arc::new(proposer),
        git: repositories.clone(),
        clusters: Arc::clone(&clusters),
        metrics: metrics.clone(),
    };
    engine::start(
        regraft_engine::Engine::new(settings(&config, installation)),
        inputs,
        ended.clone(),
        move |effect| runner.perform(effect),
    )?;
    let people = People::new(replica.clone(), config.member, boot);
    Ok(Arc::new(Member {
        people,
        replica: replica.clone(),
        metrics,
        engine,
        git: repositories,
        clusters,
        confirmed: watch::Sender::new(None),
        started_at: clock::now(),
        config,
    }))
}

fn settings(config: &MemberConfig, installation: String) -> regraft_engine::Settings {
    let repositories = config.repositories.iter();
    regraft_engine::Settings {
        member: config.member,
        installation,
        repositories: repositories
            .map(|it| TrackedRepository {
                name: it.name.clone(),
                branch: it.branch.clone(),
                poll: it.poll,
            })
            .collect(),
    }
}

/// A member's part of the replicated state, as its configuration says.
pub(crate) fn replica_config(config: &MemberConfig) -> regraft_replica::Config {
    let peers = config.members.iter().map(|peer| {
        let address = PeerAddress {
            address: peer.raft.clone(),
            name: format!("member-{}", peer.id),
        };
        (peer.id.0, address)
    });
    regraft_replica::Config {
        node_id: config.member.0,
        cluster_id: config.cluster.clone(),
        data_dir: config.data_dir.clone(),
        raft_listen: config.raft,
        peers: peers.collect(),
        tls: config.tls.as_ref().map(|tls| TlsPaths {
            ca: tls.ca.clone(),
            cert: tls.cert.clone(),
            key: tls.key.clone(),
        }),
        timings: Timings::default(),
        clock: Arc::new(|| clock::now().0),
        machine: Arc::new(StateMachine),
        log_disk: None,
    }
}

async fn start_replica(config: &MemberConfig) -> Result<Replica, Failure> {
    let started = Replica::start(replica_config(config));
    started.await.map_err(|error| {
        use regraft_replica::Error;
        let (exit, reason, action) = match &error {
            Error::ForeignDisk { .. } => (
                Exit::Usage,
                "ForeignData",
                "name this member's own `dataDir`, or correct `member.id` and `cluster`",
            ),
            Error::HalfRestored { .. } => (
                Exit::Usage,
                "HalfRestored",
                "give the same `regraft restore` again: it begins anew",
            ),
            Error::WrongCertificate { .. } => (
                Exit::Usage,
                "BadCertificate",
                "correct `member.id` and `cluster`, or make this member's certificate with `regraft certs member ID`",
            ),
            Error::ReadCertificate { .. } | Error::Tls { .. } => (
                Exit::Usage,
                "BadCertificate",
                "make this member's certificate with `regraft certs member ID`",
            ),
            Error::DatabaseInUse { .. } => (
                Exit::Failed,
                "DataInUse",
                "does another member run on this `dataDir`?",
            ),
            Error::DiskFull { .. } => (
                Exit::Failed,
                "DiskFull",
                "make room on the disk of `dataDir`, and start this member again",
            ),
            Error::OpenDatabase { .. } => (
                Exit::Failed,
                "CannotOpen",
                "see to the disk of `dataDir`, and that this member may write there; then start it again",
            ),
            Error::Listen { .. } => (
                Exit::Failed,
                "CannotListen",
                "does another process listen there? change `listen.raft`",
            ),
            Error::NewerDisk { .. } => (
                Exit::Halted,
                "NewerData",
                "start the version that ran on this folder before, or a newer one",
            ),
            Error::Halted { .. } | Error::DamagedDatabase { .. } => {
                (Exit::Halted, "Halted", AFTER_HALT)
            }
            _ => (Exit::Failed, "CannotStart", "the log says more"),
        };
        Failure::of(exit, reason, &error, action)
    })
}

async fn wait(
    replica: &Replica,
    signals: &mut Signals,
    ended: &CancellationToken,
) -> Result<(), Failure> {
    tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping");
            Ok(())
        }
        reason = follow::fatal(replica) => {
            tracing::error!(target: PAGE, %reason, next = AFTER_HALT, "the replicated state is halted");
            Err(Failure::new(Exit::Halted, "Halted", reason, AFTER_HALT))
        }
        () = ended.cancelled() => {
            let next = "please report this with the log; the member may be started again";
            tracing::error!(target: PAGE, next, "the engine ended");
            Err(Failure::new(Exit::Halted, "EngineEnded", "the engine ended by a fault of its own", next))
        }
    }
}

/// No new questions, no new effects, leadership handed over, databases closed.
async fn shut_down(
    member: Arc<Member>,
    stop: &CancellationToken,
    ended: &CancellationToken,
    tasks: &TaskTracker,
) {
    stop.cancel();
    tasks.close();
    // The loop holds what effects go to, and they hold it: only an end from outside ends both.
    let decided = async {
        member.engine.end().await;
        ended.cancelled().await;
    };
    let answered = futures::future::join(tasks.wait(), decided);
    if tokio::time::timeout(STOP_BOUND, answered).await.is_err() {
        tracing::warn!(
            waited_s = STOP_BOUND.as_secs(),
            "open questions are cut off"
        );
    }
    let _ = tokio::time::timeout(STOP_BOUND, member.clusters.stop()).await;
    let replica = member.replica.clone();
    drop(member);
    replica.shutdown().await;
    tracing::info!("member stopped");
}

fn follow_until(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = task => {}
        }
    });
}

/// What tells a member to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::of(Exit::Failed, "NoSignals", &error, "the log says more")
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => TERMINATE,
            _ = self.interrupt.recv() => INTERRUPT,
        }
    }

    /// Ends the process as the signal does by itself: nothing is waited for, and nothing is torn down under threads
    /// that still run.
    fn end_at_once(&self, name: &str) -> Result<(), Failure> {
        let number = match name {
            TERMINATE => SignalKind::terminate(),
            _ => SignalKind::interrupt(),
        };
        signal_hook::low_level::emulate_default_handler(number.as_raw_value()).map_err(|error| {
            Failure::of(
                Exit::Failed,
                "CannotEnd",
                &error,
                "end the process with SIGKILL",
            )
        })
    }
}

/// Hex of random bytes of the operating system.
fn random() -> Result<String, Failure> {
    let mut bytes = [0u8; RANDOM_BYTES];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|error| {
            Failure::new(
                Exit::Failed,
                "NoRandomness",
                format!("{error:?}"),
                "the operating system gives no random bytes",
            )
        })?;
    Ok(HEXLOWER.encode(&bytes))
}
