//! Which kinds the server has, kept until something changes.
//!
//! Expected flow: one read at connect; another when a kind is unknown or a CRD changed. Guarantees: at most one read at
//! a time, and unknown kinds cause no more than one per [`MIN_REFRESH`].

use crate::connection::Connection;
use crate::error::Error;
use crate::request;
use crate::traffic::Verb;
use kube::core::Version;
use kube::core::discovery::ApiResource;
use kube::core::discovery::v2::{APIGroupDiscoveryList, APIResourceDiscovery};
use regraft_model::apply::{KindScope, KindVersion};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// Least time between two reads that only an unknown kind asks for.
const MIN_REFRESH: Duration = Duration::from_secs(1);

/// A kind as the server serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) api: ApiResource,
    pub(crate) scope: KindScope,
}

type Kinds = HashMap<KindVersion, Arc<Resource>>;

/// The kinds of one server.
pub(crate) struct Discovery {
    kinds: RwLock<Arc<Kinds>>,
    refreshed: Mutex<Option<Instant>>,
    changes: watch::Sender<u64>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            kinds: RwLock::default(),
            refreshed: Mutex::default(),
            changes: watch::channel(0).0,
        }
    }
}

impl Discovery {
    /// The kind, if it is known without asking.
    pub(crate) fn known(&self, kind: &KindVersion) -> Option<Arc<Resource>> {
        self.snapshot().get(kind).cloned()
    }

    /// The kind in whichever version is served, in the most stable one of several.
    pub(crate) fn in_any_version(&self, group: &str, kind: &str) -> Option<Arc<Resource>> {
        let kinds = self.snapshot();
        kinds
            .values()
            .filter(|resource| resource.api.group == group && resource.api.kind == kind)
            .max_by_key(|resource| Version::parse(&resource.api.version).priority())
            .cloned()
    }

    /// The kind; asks the server when it is unknown and the last answer is old enough.
    pub(crate) async fn find(
        &self,
        connection: &Connection,
        kind: &KindVersion,
    ) -> Result<Arc<Resource>, Error> {
        if let Some(resource) = self.known(kind) {
            return Ok(resource);
        }
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.is_none_or(|at| at.elapsed() >= MIN_REFRESH) {
            self.read(connection, &mut refreshed).await?;
        }
        drop(refreshed);
        self.known(kind).ok_or_else(|| Error::NoSuchKind {
            api_version: kind.api_version.clone(),
            kind: kind.kind.clone(),
        })
    }

    /// Asks the server.
    pub(crate) async fn refresh(&self, connection: &Connection) -> Result<(), Error> {
        let mut refreshed = self.refreshed.lock().await;
        self.read(connection, &mut refreshed).await
    }

    /// Told whenever the kinds changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn read(
        &self,
        connection: &Connection,
        refreshed: &mut Option<Instant>,
    ) -> Result<(), Error> {
        let (core, groups) =
            futures::try_join!(listed(connection, "/api"), listed(connection, "/apis"))?;
        let mut kinds = Kinds::new();
        collect(&core, &mut kinds);
        collect(&groups, &mut kinds);
        *refreshed = Some(Instant::now());
        if kinds.is_empty() {
            return Err(Error::NoDiscovery);
        }
        if *self.snapshot() != kinds {
            *self.kinds.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(kinds);
            self.changes.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    fn snapshot(&self) -> Arc<Kinds> {
        Arc::clone(&self.kinds.read().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn listed(connection: &Connection, path: &str) -> Result<APIGroupDiscoveryList, Error> {
    let subject = "the kinds of the server";
    let answer = connection
        .call(Verb::Get, subject, request::get_aggregated(path, subject)?)
        .await?;
    serde_json::from_value(answer).map_err(|source| Error::Malformed {
        verb: Verb::Get.word(),
        subject: subject.to_owned(),
        source,
    })
}

fn collect(list: &APIGroupDiscoveryList, kinds: &mut Kinds) {
    for group in &list.items {
        let name = group
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.name.as_deref())
            .unwrap_or_default();
        for version in &group.versions {
            let version_name = version.version.as_deref().unwrap_or_default();
            for resource in &version.resources {
                if let Some((kind, resource)) = served(name, version_name, resource) {
                    kinds.entry(kind).or_insert_with(|| Arc::new(resource));
                }
            }
        }
    }
}

/// A resource that can be read and patched; reviews and the like cannot.
fn served(
    group: &str,
    version: &str,
    resource: &APIResourceDiscovery,
) -> Option<(KindVersion, Resource)> {
    let kind = resource.response_kind.as_ref()?.kind.as_ref()?;
    let usable = ["get", "patch"]
        .iter()
        .all(|verb| resource.verbs.iter().any(|served| served == verb));
    if !usable {
        return None;
    }
    let api_version = match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    let scope = match resource.scope.as_deref() {
        Some("Namespaced") => KindScope::Namespaced,
        _ => KindScope::Cluster,
    };
    let api = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.clone(),
        kind: kind.clone(),
        plural: resource.resource.clone()?,
    };
    let kind = KindVersion {
        api_version,
        kind: kind.clone(),
    };
    Some((kind, Resource { api, scope }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kinds_are_read_with_scope_and_plural_and_reviews_are_left_out() {
        let list: APIGroupDiscoveryList = serde_json::from_value(json!({"items": [{
            "metadata": {"name": "networking.k8s.io"},
            "versions": [{"version": "v1", "resources": [
                {"resource": "ingresses", "scope": "Namespaced", "verbs": ["get", "patch", "list"],
                 "responseKind": {"group": "", "version": "", "kind": "Ingress"}},
                {"resource": "reviews", "scope": "Cluster", "verbs": ["create"],
                 "responseKind": {"group": "", "version": "", "kind": "Review"}},
            ]}],
        }]}))
        .unwrap();
        let mut kinds = Kinds::new();
        collect(&list, &mut kinds);
        let kind = KindVersion::new("networking.k8s.io/v1", "Ingress");
        assert_eq!(kinds.len(), 1);
        assert_eq!(kinds[&kind].scope, KindScope::Namespaced);
        assert_eq!(kinds[&kind].api.plural, "ingresses");
    }
}
