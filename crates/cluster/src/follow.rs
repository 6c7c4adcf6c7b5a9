//! One kind, told as it changes.
//!
//! Expected flow: list, tell all, `Listed`; then every change; after a break that lost changes list again and tell what
//! vanished meanwhile. Guarantees: in order per object; what was told as seen is told as gone when it is gone; a kind
//! that the server lacks is told once and looked for again when the kinds change. Assumptions: the reader keeps up; a
//! slow one slows the watch, and the server then closes it. Errors: logged, retried with back-off; failing connections
//! are the breaker's business.

use crate::Events;
use crate::connection::Connection;
use crate::digest::digest;
use crate::discovery::Resource;
use crate::error::{Error, chain};
use crate::task::{Backoff, pause};
use crate::trim;
use crate::watched::Watched;
use futures::{Stream, StreamExt};
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use regraft_model::apply::{ClusterEvent, KindScope, KindVersion};
use regraft_model::id::ClusterName;
use regraft_model::object::APPLICATION_LABEL;
use regraft_model::{Object, ObjectKey};
use serde_json::Value;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// Objects in one answer of a list: bounds the memory of the first list.
const PAGE_SIZE: u32 = 250;
/// Waits between tries of one watch.
const RETRY_LEAST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(5);
/// How often a kind that the server lacks is looked for, should a change be missed.
const RECHECK_KIND_EVERY: Duration = Duration::from_secs(30);

/// Which objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of them.
    All,
    /// Those with our label.
    Ours,
    /// Events of type Warning.
    Warnings,
}

/// Watches one kind until it is dropped or nobody listens.
pub(crate) struct KindWatch {
    pub(crate) cluster: ClusterName,
    pub(crate) connection: Arc<Connection>,
    pub(crate) kind: KindVersion,
    pub(crate) selection: Selection,
    pub(crate) events: Events,
}

/// Nobody listens any more.
struct Closed;

impl KindWatch {
    pub(crate) async fn run(self) {
        let mut listing = Listing::default();
        let mut changes = self.connection.discovery.changes();
        let mut told_absent = None;
        let mut backoff = Backoff::new(RETRY_LEAST, RETRY_MOST);
        loop {
            changes.mark_unchanged();
            let followed = match self
                .connection
                .discovery
                .find(&self.connection, &self.kind)
                .await
            {
                Ok(resource) => {
                    told_absent = None;
                    self.follow(&resource, &mut listing).await
                }
                Err(Error::NoSuchKind { .. }) => Ok(()),
                Err(error) => {
                    tracing::debug!(cluster = %self.cluster, kind = %self.kind.kind, %error, "kind not looked up");
                    pause(backoff.next()).await;
                    continue;
                }
            };
            backoff.reset();
            let told = async {
                followed?;
                for key in listing.clear() {
                    self.tell_gone(key).await?;
                }
                let discovery = &self.connection.discovery;
                let other = discovery.in_any_version(self.kind.group(), &self.kind.kind);
                let served_otherwise = other.is_some();
                if told_absent.replace(served_otherwise) != Some(served_otherwise) {
                    let kind = self.kind.clone();
                    self.tell(ClusterEvent::NoSuchKind {
                        kind,
                        served_otherwise,
                    })
                    .await?;
                }
                Ok::<(), Closed>(())
            };
            if told.await.is_err() {
                return;
            }
            // Whichever comes first; the bound is only a net below missed changes.
            let _ = tokio::time::timeout(RECHECK_KIND_EVERY, changes.changed()).await;
        }
    }

    /// Follows a kind while the server has it.
    async fn follow(&self, resource: &Resource, listing: &mut Listing) -> Result<(), Closed> {
        let mut stream = pin!(self.stream(resource));
        let mut backoff = Backoff::new(RETRY_LEAST, RETRY_MOST);
        let mut told_broken = false;
        while let Some(event) = stream.next().await {
            match event {
                // Says nothing about the server.
                Ok(Event::Init) => listing.begin(),
                Ok(event) => {
                    backoff.reset();
                    told_broken = false;
                    self.take(event, resource.scope, listing).await?;
                }
                Err(error) if is_absent(&error) => {
                    self.forget_kind().await;
                    return Ok(());
                }
                // The server keeps its history for minutes only: everything is listed again.
                Err(error) if is_expired(&error) => pause(backoff.next()).await,
                Err(error) => {
                    if !is_answer(&error) {
                        self.connection.doubt();
                    }
                    if !std::mem::replace(&mut told_broken, true) {
                        tracing::warn!(
                            cluster = %self.cluster,
                            kind = %self.kind.kind,
                            error = chain(&error),
                            "watch interrupted"
                        );
                    }
                    pause(backoff.next()).await;
                }
            }
        }
        Ok(())
    }

    fn stream(
        &self,
        resource: &Resource,
    ) -> impl Stream<Item = watcher::Result<Event<Watched>>> + Send + use<> {
        let config = watcher::Config::default().page_size(PAGE_SIZE);
        let config = match self.selection {
            Selection::All => config,
            Selection::Ours => config.labels(APPLICATION_LABEL),
            Selection::Warnings => config.fields("type=Warning"),
        };
        let api = Api::<Watched>::all_with(self.connection.client.clone(), &resource.api);
        watcher(api, config)
    }

    async fn take(
        &self,
        event: Event<Watched>,
        scope: KindScope,
        listing: &mut Listing,
    ) -> Result<(), Closed> {
        match event {
            Event::Init => listing.begin(),
            Event::InitApply(object) | Event::Apply(object) => {
                let object = self.told(object.value);
                listing.saw(object.key());
                self.tell(ClusterEvent::Seen(object)).await?;
            }
            Event::Delete(object) => {
                let key = typed(&self.kind, object.value).key();
                listing.lost(&key);
                self.tell_gone(key).await?;
            }
            Event::InitDone => {
                for key in listing.end() {
                    self.tell_gone(key).await?;
                }
                if listing.is_first() {
                    let kind = self.kind.clone();
                    self.tell(ClusterEvent::Listed { kind, scope }).await?;
                }
            }
        }
        Ok(())
    }

    /// The object as it is told; its fingerprint is taken before anything is left out.
    fn told(&self, value: Value) -> Object {
        let mut object = typed(&self.kind, value);
        if self.selection == Selection::Ours || trim::is_ours(&object.0) {
            let digest = digest(&object.0);
            self.connection
                .digests
                .put(object.key(), object.resource_version(), digest);
        }
        trim::trim(&self.kind.kind, &mut object.0);
        object
    }

    async fn tell_gone(&self, key: ObjectKey) -> Result<(), Closed> {
        self.connection.digests.remove(&key);
        self.tell(ClusterEvent::Gone {
            kind: self.kind.clone(),
            key,
        })
        .await
    }

    async fn tell(&self, event: ClusterEvent) -> Result<(), Closed> {
        self.events
            .send((self.cluster.clone(), event))
            .await
            .map_err(|_| Closed)
    }

    /// The server lacks a kind that was known: look at all kinds again.
    async fn forget_kind(&self) {
        if let Err(error) = self.connection.discovery.refresh(&self.connection).await {
            tracing::debug!(cluster = %self.cluster, %error, "kinds not read");
        }
    }
}

/// Lists leave out what a kind's items have in common.
fn typed(kind: &KindVersion, mut value: Value) -> Object {
    if let Some(fields) = value.as_object_mut() {
        fields.insert("apiVersion".to_owned(), kind.api_version.clone().into());
        fields.insert("kind".to_owned(), kind.kind.clone().into());
    }
    Object(value)
}

/// Whether the server says that it has no such kind.
fn is_absent(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}

/// Whether the server itself said it: the connection was not interrupted.
fn is_answer(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::InitialListFailed(kube::Error::Api(_))
            | watcher::Error::WatchStartFailed(kube::Error::Api(_))
            | watcher::Error::WatchError(_)
    )
}

/// Whether the server has forgotten what came after the last event.
fn is_expired(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

/// What was told as seen, to tell what vanished between two lists.
#[derive(Default)]
struct Listing {
    known: BTreeSet<ObjectKey>,
    /// Seen since a list began.
    fresh: Option<BTreeSet<ObjectKey>>,
    lists: u64,
}

impl Listing {
    fn begin(&mut self) {
        self.fresh = Some(BTreeSet::new());
    }

    fn saw(&mut self, key: ObjectKey) {
        if let Some(fresh) = &mut self.fresh {
            fresh.insert(key.clone());
        }
        self.known.insert(key);
    }

    fn lost(&mut self, key: &ObjectKey) {
        self.known.remove(key);
        if let Some(fresh) = &mut self.fresh {
            fresh.remove(key);
        }
    }

    /// The list is complete: what it did not hold is gone.
    fn end(&mut self) -> Vec<ObjectKey> {
        self.lists += 1;
        let fresh = self.fresh.take().unwrap_or_default();
        let gone = self.known.difference(&fresh).cloned().collect();
        self.known = fresh;
        gone
    }

    fn is_first(&self) -> bool {
        self.lists == 1
    }

    /// The kind is gone, and everything with it.
    fn clear(&mut self) -> Vec<ObjectKey> {
        let gone = std::mem::take(self).known;
        gone.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            name: name.to_owned(),
            ..ObjectKey::default()
        }
    }

    #[test]
    fn a_second_list_tells_what_vanished_meanwhile() {
        let mut listing = Listing::default();
        listing.begin();
        for name in ["a", "b", "c"] {
            listing.saw(key(name));
        }
        assert!(listing.end().is_empty());
        assert!(listing.is_first());
        listing.saw(key("d"));
        listing.lost(&key("a"));
        listing.begin();
        listing.saw(key("b"));
        listing.saw(key("e"));
        assert_eq!(listing.end(), [key("c"), key("d")]);
        assert!(!listing.is_first());
        assert_eq!(listing.clear(), [key("b"), key("e")]);
    }

    #[test]
    fn a_list_that_broke_off_loses_nothing() {
        let mut listing = Listing::default();
        listing.begin();
        listing.saw(key("a"));
        listing.saw(key("b"));
        listing.end();
        listing.begin();
        listing.saw(key("b"));
        listing.begin();
        listing.saw(key("b"));
        assert_eq!(listing.end(), [key("a")]);
    }
}
