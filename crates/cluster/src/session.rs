//! Keeps one cluster connected: connect, tell all, watch, notice the loss, tell it, connect again.
//!
//! Expected flow: `Ready`, `Inventories`, then the watches' events, then `Lost`; for ever.
//! Guarantees: `Lost` comes after the last event of its connection, and once until the next `Ready`; the connection
//! is taken away from writers before it is told as lost. Assumptions: the reader takes events. Errors: told in `Lost`.

use crate::connection::{Config, Connection, Identity};
use crate::error::{Error, chain};
use crate::follow::{KindWatch, Selection};
use crate::inventory;
use crate::task::{Backoff, pause};
use crate::traffic::Traffic;
use crate::{Events, Link};
use futures::{FutureExt, StreamExt};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use regraft_model::apply::{ClusterEvent, Inventory, KindVersion};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};

/// Waits between tries to connect.
const RECONNECT_LEAST: Duration = Duration::from_millis(200);
const RECONNECT_MOST: Duration = Duration::from_secs(5);
/// Time to connect and read who the server is, its kinds and the inventories.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// How often the server is asked whether it is there, and how often while it does not answer.
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBE_FAILING_EVERY: Duration = Duration::from_millis(500);
/// Waits after a change of a CRD before the kinds are read: the server publishes them with some delay.
const CRD_SETTLE: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// Waits between tries of the watch on CRDs.
const CRD_RETRY_LEAST: Duration = Duration::from_millis(200);
const CRD_RETRY_MOST: Duration = Duration::from_secs(10);

/// The life of one cluster.
pub(crate) struct Session {
    pub(crate) config: Config,
    pub(crate) link: Arc<Link>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) events: Events,
    pub(crate) kinds: watch::Receiver<BTreeSet<KindVersion>>,
}

/// Nobody listens, or the cluster's handle is gone.
struct Closed;

impl Session {
    /// Runs until nobody listens. A panic is a fault of ours; it costs the connection like any other loss, so that
    /// nobody decides by what is not told any more.
    pub(crate) async fn run(mut self) {
        let mut told_lost = false;
        loop {
            let keeping = AssertUnwindSafe(self.keep(&mut told_lost));
            if keeping.catch_unwind().await.is_ok() {
                return;
            }
            let reason =
                "watching it ended by a fault of regraft; see the member's log for the panic";
            if let Ok(connection) = self.link.connection() {
                connection.breaker.trip();
            }
            if self.lose(reason.to_owned(), &mut told_lost).await.is_err() {
                return;
            }
            pause(RECONNECT_MOST).await;
        }
    }

    async fn keep(&mut self, told_lost: &mut bool) {
        let mut backoff = Backoff::new(RECONNECT_LEAST, RECONNECT_MOST);
        loop {
            let ended = match self.open().await {
                Ok((connection, identity, inventories)) => {
                    backoff.reset();
                    *told_lost = false;
                    self.serve(Arc::new(connection), identity, inventories)
                        .await
                }
                Err(error) => Ok(chain(&error)),
            };
            let Ok(reason) = ended else {
                self.link.cut("stopped");
                return;
            };
            if self.lose(reason, told_lost).await.is_err() {
                return;
            }
            pause(backoff.next()).await;
        }
    }

    /// Takes the connection away from writers and tells the loss, once until the next `Ready`.
    async fn lose(&self, reason: String, told_lost: &mut bool) -> Result<(), Closed> {
        self.link.cut(&reason);
        if std::mem::replace(told_lost, true) {
            return Ok(());
        }
        self.traffic.count_lost();
        self.tell(ClusterEvent::Lost { reason }).await
    }

    async fn open(&self) -> Result<(Connection, Identity, BTreeMap<String, Inventory>), Error> {
        let opening = async {
            let (connection, identity) = Connection::open(&self.config, &self.traffic).await?;
            let inventories = inventory::read_all(&connection).await?;
            Ok((connection, identity, inventories))
        };
        tokio::time::timeout(OPEN_WITHIN, opening)
            .await
            .unwrap_or_else(|_elapsed| {
                Err(Error::TimedOut {
                    verb: "connect to",
                    subject: "the API server".to_owned(),
                    after_s: OPEN_WITHIN.as_secs(),
                })
            })
    }

    /// Serves one connection; returns why it was lost.
    async fn serve(
        &mut self,
        connection: Arc<Connection>,
        identity: Identity,
        inventories: BTreeMap<String, Inventory>,
    ) -> Result<String, Closed> {
        self.link.join(&connection);
        let Identity { uid, version } = identity;
        self.tell(ClusterEvent::Ready { uid, version }).await?;
        self.tell(ClusterEvent::Inventories(inventories)).await?;
        let mut tasks = JoinSet::new();
        for (api_version, kind) in KindVersion::ALWAYS_WATCHED {
            let kind = KindVersion::new(api_version, kind);
            let selection = selection(&kind);
            tasks.spawn(self.watch(&connection, kind, selection).run());
        }
        let dirty = Arc::new(Notify::new());
        tasks.spawn(watch_crds(Arc::clone(&connection), Arc::clone(&dirty)));
        tasks.spawn(refresh_kinds(Arc::clone(&connection), dirty));
        tasks.spawn(probe(Arc::clone(&connection)));
        if let Some(plugin) = connection.plugin.clone() {
            let breaker = Arc::clone(&connection.breaker);
            tasks.spawn(async move { plugin.keep_fresh(&breaker).await });
        }
        let ended = self.follow_kinds(&connection, &mut tasks).await;
        // Writers first, so that nothing is written after the loss is told; then the watches, so that it comes last.
        self.link.cut(&connection.breaker.reason());
        connection.breaker.trip();
        tasks.shutdown().await;
        ended
    }

    /// Keeps exactly the wanted kinds watched until the connection is lost.
    async fn follow_kinds(
        &mut self,
        connection: &Arc<Connection>,
        tasks: &mut JoinSet<()>,
    ) -> Result<String, Closed> {
        let mut watched: BTreeMap<KindVersion, AbortHandle> = BTreeMap::new();
        loop {
            let wanted = self.kinds.borrow_and_update().clone();
            watched.retain(|kind, task| {
                let keep = wanted.contains(kind);
                if !keep {
                    task.abort();
                }
                keep
            });
            for kind in wanted {
                if !kind.is_always_watched() && !watched.contains_key(&kind) {
                    let task =
                        tasks.spawn(self.watch(connection, kind.clone(), Selection::Ours).run());
                    watched.insert(kind, task);
                }
            }
            loop {
                tokio::select! {
                    () = connection.breaker.opened().cancelled() => {
                        return Ok(connection.breaker.reason());
                    }
                    changed = self.kinds.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return Err(Closed),
                    },
                    () = self.events.closed() => return Err(Closed),
                    Some(ended) = tasks.join_next() => match ended {
                        Err(error) if error.is_cancelled() => {}
                        // Complete deltas are promised: without this watch only starting over keeps the promise.
                        _ => return Ok("a watch ended unexpectedly".to_owned()),
                    },
                }
            }
        }
    }

    fn watch(
        &self,
        connection: &Arc<Connection>,
        kind: KindVersion,
        selection: Selection,
    ) -> KindWatch {
        KindWatch {
            cluster: self.config.name.clone(),
            connection: Arc::clone(connection),
            kind,
            selection,
            events: self.events.clone(),
        }
    }

    async fn tell(&self, event: ClusterEvent) -> Result<(), Closed> {
        self.events
            .send((self.config.name.clone(), event))
            .await
            .map_err(|_| Closed)
    }
}

/// Watches the metadata of CRDs, to know when the kinds change.
async fn watch_crds(connection: Arc<Connection>, dirty: Arc<Notify>) {
    let api = Api::<PartialObjectMeta<CustomResourceDefinition>>::all(connection.client.clone());
    let mut stream = pin!(watcher(api, watcher::Config::default()));
    let mut backoff = Backoff::new(CRD_RETRY_LEAST, CRD_RETRY_MOST);
    let mut listed = false;
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init | Event::InitApply(_)) => {}
            // The kinds were read a moment before the first list.
            Ok(Event::InitDone) if !std::mem::replace(&mut listed, true) => backoff.reset(),
            Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => {
                backoff.reset();
                dirty.notify_one();
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "watch on CRDs interrupted");
                pause(backoff.next()).await;
            }
        }
    }
}

/// Reads the kinds again after CRDs changed.
async fn refresh_kinds(connection: Arc<Connection>, dirty: Arc<Notify>) {
    loop {
        dirty.notified().await;
        for settle in CRD_SETTLE {
            pause(settle).await;
            if let Err(error) = connection.discovery.refresh(&connection).await {
                tracing::debug!(%error, "kinds not read");
            }
        }
    }
}

/// Asks the server for a sign of life, at once where there is a doubt; the breaker draws the conclusion.
async fn probe(connection: Arc<Connection>) {
    loop {
        let every = match connection.breaker.is_failing() {
            true => PROBE_FAILING_EVERY,
            false => PROBE_EVERY,
        };
        tokio::select! {
            () = pause(every) => {}
            () = connection.doubts.notified() => {}
        }
        if let Err(error) = connection.probe().await {
            tracing::debug!(%error, "no sign of life");
        }
    }
}

/// What is looked at of a kind that is watched whoever owns its objects.
fn selection(kind: &KindVersion) -> Selection {
    match kind.kind.as_str() {
        "Event" => Selection::Warnings,
        _ => Selection::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Server};
    use tokio::sync::mpsc;

    #[test]
    fn a_session_that_panics_is_told_as_lost() {
        let server = Server::start(|asked| fake::basics(asked, "one", 1));
        let (events, mut told) = mpsc::channel(4);
        let (_kinds, wanted) = watch::channel(BTreeSet::new());
        let session = Session {
            config: server.config(),
            link: Arc::default(),
            traffic: Arc::default(),
            events,
            kinds: wanted,
        };
        // Without a timer the first bound panics.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        let told = runtime.block_on(async {
            let running = AssertUnwindSafe(session.run()).catch_unwind();
            tokio::join!(running, told.recv()).1
        });
        let Some((_, ClusterEvent::Lost { reason })) = told else {
            panic!("{told:?} instead of the loss");
        };
        assert!(reason.contains("fault of regraft"), "{reason}");
    }
}
