//! One Kubernetes cluster behind its own bulkhead: discovery, watches in, staged applies out.
//!
//! ```text
//! kubeconfig -> Session -> Connection (client, kinds, digests)
//!                  |           |
//!     ClusterEvent <- watches  +- apply: inventory -> dry run -> write -> wait -> prune -> inventory
//!   Ready Seen Gone Listed Lost +- preview: dry run only
//! ```
//!
//! It never decides: what to write, what to delete and when comes as an
//! [`ApplyRequest`](regraft_model::apply::ApplyRequest). It never deletes what another owner marks (I5), never blocks
//! its caller while a cluster is away, and never puts a credential or a Secret's value into an error.

mod apply;
mod classify;
mod connection;
mod digest;
mod discovery;
mod error;
#[cfg(test)]
mod fake;
mod follow;
mod inventory;
mod kubeconfig;
mod managed;
mod plugin;
mod preview;
mod release;
mod request;
mod session;
mod task;
mod traffic;
mod trim;
mod wait;

mod watched;

pub use connection::{Config, KubeconfigSource};
pub use error::Error;
pub use preview::Preview;
pub use traffic::Stats;

use crate::connection::Connection;
use crate::session::Session;
use crate::task::{Tasks, locked};
use crate::traffic::Traffic;
use regraft_model::apply::{ApplyFailure, ApplyOutcome, ApplyRequest, ClusterEvent, KindVersion};
use regraft_model::apply::{Retry, StagedObject};
use regraft_model::id::ClusterName;
use regraft_model::text::truncate;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};

/// Where a cluster's events go. Bounded: a slow reader slows the watches, never the caller.
pub type Events = mpsc::Sender<(ClusterName, ClusterEvent)>;

/// A cluster that is being watched and can be written to. Clones share it; it stops when the last one is dropped.
#[derive(Clone)]
pub struct Cluster {
    name: ClusterName,
    link: Arc<Link>,
    kinds: Arc<watch::Sender<BTreeSet<KindVersion>>>,
    traffic: Arc<Traffic>,
    tasks: Arc<Tasks>,
}

impl Cluster {
    /// Starts connecting in the background, for ever. Must be called inside a tokio runtime.
    pub fn start(config: Config, events: Events) -> Cluster {
        let link = Arc::new(Link::default());
        let traffic = Arc::new(Traffic::default());
        let tasks = Arc::new(Tasks::default());
        let (kinds, wanted) = watch::channel(BTreeSet::new());
        let name = config.name.clone();
        let session = Session {
            config,
            link: Arc::clone(&link),
            traffic: Arc::clone(&traffic),
            events,
            kinds: wanted,
        };
        tasks.start(session.run());
        Cluster {
            name,
            link,
            kinds: Arc::new(kinds),
            traffic,
            tasks,
        }
    }

    /// Which kinds to watch for objects with our label, besides the ones always watched.
    pub fn set_kinds(&self, kinds: BTreeSet<KindVersion>) {
        self.kinds.send_if_modified(|known| {
            let changed = *known != kinds;
            *known = kinds;
            changed
        });
    }

    /// Carries out one request. One at a time per target is the caller's duty. Safe to drop at any point: the
    /// inventory was widened before the first write, so a later request finds everything.
    pub async fn apply(&self, request: ApplyRequest) -> ApplyOutcome {
        match self.link.connection() {
            Ok(connection) => apply::run(&connection, request).await,
            Err(error) => ApplyOutcome {
                number: request.number,
                failures: vec![classify::failure(None, &error)],
                target: request.target,
                revision: request.revision,
                ..ApplyOutcome::default()
            },
        }
    }

    /// What the server would make of these objects, next to what it has; nothing is written.
    pub async fn preview(&self, objects: Vec<StagedObject>) -> Vec<Preview> {
        match self.link.connection() {
            Ok(connection) => preview::run(&connection, objects).await,
            Err(error) => preview::unreachable(objects, &error),
        }
    }

    /// Requests and writes since the start.
    pub fn stats(&self) -> Stats {
        self.traffic.stats()
    }

    /// The cluster's name.
    pub fn name(&self) -> &ClusterName {
        &self.name
    }

    /// Stops all work, requests under way included, and waits until its tasks have ended.
    pub async fn stop(&self) {
        self.tasks.stop().await;
        if let Ok(connection) = self.link.connection() {
            connection.breaker.trip();
        }
        self.link.cut("stopped");
    }
}

/// The connection while there is one, and why there is none otherwise.
#[derive(Default)]
struct Link {
    slot: Mutex<(Option<Arc<Connection>>, String)>,
}

impl Link {
    fn connection(&self) -> Result<Arc<Connection>, Error> {
        let slot = locked(&self.slot);
        match (&slot.0, slot.1.as_str()) {
            (Some(connection), _) => Ok(Arc::clone(connection)),
            (None, "") => Err(Error::NotConnected {
                reason: "connecting".to_owned(),
            }),
            (None, reason) => Err(Error::NotConnected {
                reason: reason.to_owned(),
            }),
        }
    }

    fn join(&self, connection: &Arc<Connection>) {
        *locked(&self.slot) = (Some(Arc::clone(connection)), String::new());
    }

    fn cut(&self, reason: &str) {
        *locked(&self.slot) = (None, reason.to_owned());
    }
}

/// Most bytes of the message of one failure: a refusal can name every field of a large object.
const MAX_MESSAGE_BYTES: usize = 2 * 1024;

/// A failure in the words of the model.
fn failed(
    key: Option<regraft_model::ObjectKey>,
    retry: Retry,
    reason: &str,
    message: impl AsRef<str>,
) -> ApplyFailure {
    ApplyFailure {
        key,
        retry,
        reason: reason.to_owned(),
        message: truncate(message.as_ref(), MAX_MESSAGE_BYTES),
    }
}
