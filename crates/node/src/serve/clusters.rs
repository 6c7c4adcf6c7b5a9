//! The clusters this member works on: each has its own connection, its own queue of events and its own applies, so
//! that a dead one delays nobody.

use super::engine::Engine;
use super::hand::{Busy, Hand};
use crate::clock;
use crate::config::Kubeconfig;
use crate::document::ConnectionState;
use regraft_cluster::{Cluster, Preview, Stats};
use regraft_engine::Event;
use regraft_model::apply::{
    ApplyFailure, ApplyOutcome, ApplyRequest, ClusterEvent, KindVersion, Retry, StagedObject,
};
use regraft_model::id::{ClusterName, TargetKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Events of one cluster that wait; then its watches wait.
const QUEUE_EVENTS: usize = 256;
/// Told where there is nothing to talk to.
const NO_CONNECTION: &str = "this member has no connection to the cluster";
/// Applies of one cluster at the same time; the cluster bounds its requests itself.
const APPLIES_MAX: usize = 32;
/// No apply takes longer: waiting for CRDs and namespaces is bounded in itself, and much shorter.
const APPLY_BOUND: Duration = Duration::from_secs(300);

/// All clusters of this member.
pub(super) struct Clusters {
    kubeconfigs: BTreeMap<ClusterName, Kubeconfig>,
    engine: Engine,
    runtime: tokio::runtime::Handle,
    links: Arc<Mutex<BTreeMap<ClusterName, Link>>>,
}

/// What is known of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) state: ConnectionState,
    /// Why it is lost.
    pub(super) message: String,
    pub(super) version: String,
}

struct Link {
    credentials: String,
    /// For people: the server and where its credentials are.
    place: Place,
    /// Absent without credentials.
    connection: Option<Connection>,
    standing: Standing,
    permits: Arc<Semaphore>,
    running: BTreeMap<TargetKey, Running>,
}

/// Where a cluster is looked for.
#[derive(Clone, Debug, Default)]
struct Place {
    server: String,
    kubeconfig: String,
}

struct Connection {
    cluster: Cluster,
    hand: Hand,
    /// What still waits to be told of it is not told once it is cut.
    _current: DropGuard,
}

/// An apply under way.
struct Running {
    /// The request's.
    number: u64,
    cancel: CancellationToken,
    /// Ends when the apply no longer touches the cluster.
    ended: CancellationToken,
}

impl Clusters {
    /// Must be called inside the runtime.
    pub(super) fn new(kubeconfigs: &[Kubeconfig], engine: Engine) -> Self {
        Self {
            kubeconfigs: kubeconfigs
                .iter()
                .map(|it| (it.name.clone(), it.clone()))
                .collect(),
            engine,
            runtime: tokio::runtime::Handle::current(),
            links: Arc::default(),
        }
    }

    /// Connects a cluster if need be, and watches exactly these kinds.
    pub(super) fn watch(
        &self,
        name: ClusterName,
        credentials: String,
        kinds: BTreeSet<KindVersion>,
    ) -> Option<Event> {
        let _runtime = self.runtime.enter();
        let mut links = locked(&self.links);
        if links
            .get(&name)
            .is_some_and(|link| link.credentials != credentials)
        {
            cut(links.remove(&name));
        }
        if let Some(link) = links.get(&name) {
            if let Some(connection) = &link.connection {
                connection.cluster.set_kinds(kinds);
            }
            return None;
        }
        let kubeconfig = self
            .kubeconfigs
            .get(&ClusterName::from(credentials.as_str()));
        let mut link = Link {
            credentials: credentials.clone(),
            place: kubeconfig.map(place_of).unwrap_or_default(),
            connection: None,
            standing: Standing::default(),
            permits: Arc::new(Semaphore::new(APPLIES_MAX)),
            running: BTreeMap::new(),
        };
        let connection = kubeconfig
            .ok_or_else(|| {
                format!(
                    "this member's configuration has no cluster credentials named `{credentials}`"
                )
            })
            .and_then(|kubeconfig| self.connect(&name, kubeconfig, kinds));
        let lost = match connection {
            Ok(connection) => {
                link.connection = Some(connection);
                None
            }
            Err(reason) => {
                tracing::warn!(
                    cluster = %name,
                    %reason,
                    next = format!("add `{credentials}` to `clusters` in this member's configuration and restart it, or correct the Cluster in Git"),
                    "cluster cannot be worked on by this member"
                );
                link.standing.state = ConnectionState::Lost;
                link.standing.message.clone_from(&reason);
                let event = ClusterEvent::Lost { reason };
                Some(Event::Cluster {
                    cluster: name.clone(),
                    event,
                })
            }
        };
        links.insert(name, link);
        lost
    }

    /// Disconnects a cluster.
    pub(super) fn unwatch(&self, name: &ClusterName) {
        cut(locked(&self.links).remove(name));
    }

    /// Starts an apply. It takes the place of the one under way for the same target, so that a new revision never waits
    /// for an old one.
    pub(super) fn apply(
        &self,
        request: ApplyRequest,
        done: impl FnOnce(&ApplyOutcome) + Send + 'static,
    ) -> Option<Event> {
        let mut links = locked(&self.links);
        let Some(link) = links.get_mut(&request.target.cluster) else {
            return Some(not_connected(&request));
        };
        let Some(connection) = &link.connection else {
            return Some(not_connected(&request));
        };
        let before = link.running.get(&request.target).map(|running| {
            running.cancel.cancel();
            running.ended.clone()
        });
        let running = Running {
            number: request.number,
            cancel: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        let (number, cancel, ended) = (
            running.number,
            running.cancel.clone(),
            running.ended.clone(),
        );
        let (cluster, permits) = (connection.cluster.clone(), Arc::clone(&link.permits));
        let (shared, engine) = (Arc::clone(&self.links), self.engine.clone());
        let target = request.target.clone();
        let refused = failed(&request, "Busy", &Busy.to_string());
        let begun = connection.hand.begin(move || async move {
            let _ended = ended.drop_guard();
            if let Some(before) = before {
                before.cancelled().await;
            }
            let target = request.target.clone();
            let outcome = tokio::select! {
                () = cancel.cancelled() => None,
                outcome = carry_out(&cluster, &permits, request) => Some(outcome),
            };
            forget(&shared, &target, number);
            if let Some(outcome) = outcome {
                done(&outcome);
                engine.tell(Event::Applied(outcome)).await;
            }
        });
        match begun {
            Ok(()) => {
                link.running.insert(target, running);
                None
            }
            Err(Busy) => Some(Event::Applied(refused)),
        }
    }

    /// Stops an apply under way. What it has written stays; nothing more is written.
    pub(super) fn stop_apply(&self, target: &TargetKey) {
        let links = locked(&self.links);
        let running = links
            .get(&target.cluster)
            .and_then(|link| link.running.get(target));
        if let Some(running) = running {
            running.cancel.cancel();
        }
    }

    /// What the server would make of these objects; nothing is written.
    pub(super) async fn preview(
        &self,
        name: &ClusterName,
        objects: Vec<StagedObject>,
    ) -> Result<Vec<Preview>, String> {
        let (reply, answer) = oneshot::channel();
        let begun = match locked(&self.links)
            .get(name)
            .and_then(|link| link.connection.as_ref())
        {
            Some(Connection { cluster, hand, .. }) => {
                let cluster = cluster.clone();
                hand.begin(move || async move {
                    // Who asked may have gone.
                    let _ = reply.send(cluster.preview(objects).await);
                })
            }
            None => return Err(NO_CONNECTION.to_owned()),
        };
        begun.map_err(|busy| busy.to_string())?;
        answer.await.map_err(|_| NO_CONNECTION.to_owned())
    }

    /// Whether this member works with a cluster.
    pub(super) fn has(&self, name: &ClusterName) -> bool {
        locked(&self.links)
            .get(name)
            .is_some_and(|link| link.connection.is_some())
    }

    /// What is known of every connection.
    pub(super) fn standings(&self) -> BTreeMap<ClusterName, Standing> {
        locked(&self.links)
            .iter()
            .map(|(name, link)| (name.clone(), link.standing.clone()))
            .collect()
    }

    /// Requests of every cluster.
    pub(super) fn stats(&self) -> Vec<(ClusterName, Stats)> {
        let clusters: Vec<Cluster> = locked(&self.links)
            .values()
            .filter_map(|link| link.connection.as_ref().map(|it| it.cluster.clone()))
            .collect();
        clusters
            .iter()
            .map(|cluster| (cluster.name().clone(), cluster.stats()))
            .collect()
    }

    /// Stops all clusters and waits for their tasks.
    pub(super) async fn stop(&self) {
        let links = std::mem::take(&mut *locked(&self.links));
        let stops = links
            .values()
            .filter_map(|link| link.connection.as_ref())
            .map(|connection| connection.cluster.stop());
        futures::future::join_all(stops).await;
    }

    fn connect(
        &self,
        name: &ClusterName,
        kubeconfig: &Kubeconfig,
        kinds: BTreeSet<KindVersion>,
    ) -> Result<Connection, String> {
        let hand = Hand::start(name, self.runtime.clone())
            .map_err(|error| format!("no thread for the cluster: {error}"))?;
        let (sender, mut events) = mpsc::channel(QUEUE_EVENTS);
        let config = regraft_cluster::Config {
            name: name.clone(),
            kubeconfig: kubeconfig.source(),
        };
        let cluster = Cluster::start(config, sender);
        cluster.set_kinds(kinds);
        let (links, engine) = (Arc::clone(&self.links), self.engine.clone());
        let current = CancellationToken::new();
        let is_cut = current.clone();
        clock::start(async move {
            while let Some((cluster, event)) = events.recv().await {
                if is_cut.is_cancelled() {
                    return;
                }
                note(&links, &cluster, &event);
                engine.tell(Event::Cluster { cluster, event }).await;
            }
        });
        Ok(Connection {
            cluster,
            hand,
            _current: current.drop_guard(),
        })
    }
}

fn place_of(kubeconfig: &Kubeconfig) -> Place {
    Place {
        // Why it cannot be told is told when it is connected.
        server: kubeconfig.source().server().unwrap_or_default(),
        kubeconfig: kubeconfig.file.display().to_string(),
    }
}

/// Ends the applies of a link; the connection ends with its last handle.
fn cut(link: Option<Link>) {
    for running in link.iter().flat_map(|link| link.running.values()) {
        running.cancel.cancel();
    }
}

async fn carry_out(cluster: &Cluster, permits: &Semaphore, request: ApplyRequest) -> ApplyOutcome {
    // The semaphore is never closed.
    let _permit = permits.acquire().await;
    let late = failed(
        &request,
        "TimedOut",
        &format!("not done after {} s", APPLY_BOUND.as_secs()),
    );
    tokio::time::timeout(APPLY_BOUND, cluster.apply(request))
        .await
        .unwrap_or(late)
}

fn not_connected(request: &ApplyRequest) -> Event {
    Event::Applied(failed(request, "Unreachable", NO_CONNECTION))
}

/// Nothing was tried, or it was given up: it may be tried again.
fn failed(request: &ApplyRequest, reason: &str, message: &str) -> ApplyOutcome {
    ApplyOutcome {
        number: request.number,
        target: request.target.clone(),
        revision: request.revision.clone(),
        failures: vec![ApplyFailure {
            key: None,
            retry: Retry::Transient,
            reason: reason.to_owned(),
            message: message.to_owned(),
        }],
        ..ApplyOutcome::default()
    }
}

fn forget(links: &Mutex<BTreeMap<ClusterName, Link>>, target: &TargetKey, number: u64) {
    if let Some(link) = locked(links).get_mut(&target.cluster)
        && link
            .running
            .get(target)
            .is_some_and(|running| running.number == number)
    {
        link.running.remove(target);
    }
}

fn note(links: &Mutex<BTreeMap<ClusterName, Link>>, cluster: &ClusterName, event: &ClusterEvent) {
    let mut links = locked(links);
    let Some(link) = links.get_mut(cluster) else {
        return;
    };
    match event {
        ClusterEvent::Ready { version, .. } => {
            tracing::info!(%cluster, server = link.place.server, %version, "cluster is connected");
            link.standing = Standing {
                state: ConnectionState::Ready,
                message: String::new(),
                version: version.clone(),
            };
        }
        ClusterEvent::Lost { reason } => {
            let told = link.standing.state == ConnectionState::Lost;
            if !told || link.standing.message != *reason {
                tracing::warn!(
                    %cluster,
                    server = link.place.server,
                    kubeconfig = link.place.kubeconfig,
                    %reason,
                    next = "see whether the API server is up, and whether the kubeconfig's address and credentials are right; it is tried again by itself",
                    "cluster is lost"
                );
            }
            link.standing.state = ConnectionState::Lost;
            link.standing.message.clone_from(reason);
        }
        _ => {}
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock; and if it did, the maps are whole between two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
