//! Lets go of objects: deletes what left Git, or takes our marks off it.
//!
//! Guarantees (I5): an object is read first and touched only while it carries our label and our installation, and
//! exactly that object (its UID) is touched. What another application of ours took over, and what a person took our
//! marks off or protected, is let go without a word; what another installation holds is a failure that says so.
//! Assumptions: the caller checked the delete cap. Errors: failures by object; they stay in the inventory.

use crate::apply::MAX_STAGE_IN_FLIGHT;
use crate::classify::failure;
use crate::connection::Connection;
use crate::error::Error;
use crate::traffic::Verb;
use crate::{failed, request};
use futures::{StreamExt, stream};
use regraft_model::apply::{ApplyFailure, ApplyRequest, KindScope, KindVersion, Retry};
use regraft_model::object::{
    APPLICATION_LABEL, DIGEST_ANNOTATION, FIELD_MANAGER, INSTALLATION_ANNOTATION,
};
use regraft_model::{Object, ObjectKey};
use serde_json::json;
use std::collections::BTreeSet;

/// What became of the objects to let go.
#[derive(Default)]
pub(crate) struct Released {
    pub(crate) pruned: BTreeSet<ObjectKey>,
    pub(crate) failures: Vec<ApplyFailure>,
}

/// Whose object it must be.
struct Owner<'a> {
    application: &'a str,
    installation: &'a str,
}

/// Prunes and orphans what a request names.
pub(crate) async fn run(connection: &Connection, request: &ApplyRequest) -> Released {
    let owner = Owner {
        application: request.target.application.as_str(),
        installation: &request.inventory.installation,
    };
    let mut released = Released::default();
    // In order; objects of one kind that follow each other go side by side.
    for run in request
        .prune
        .chunk_by(|(a, _), (b, _)| (&a.group, &a.kind) == (&b.group, &b.kind))
    {
        let results: Vec<_> = stream::iter(run)
            .map(|(key, version)| prune(connection, &owner, key, version))
            .buffered(MAX_STAGE_IN_FLIGHT)
            .collect()
            .await;
        for ((key, _), result) in run.iter().zip(results) {
            match result {
                Ok(Prune::Deleted) => {
                    connection.traffic.count_pruned();
                    released.pruned.insert(key.clone());
                }
                Ok(Prune::Kept) => {}
                Err(failure) => released.failures.push(failure),
            }
        }
    }
    let orphaned: Vec<_> = stream::iter(&request.orphan)
        .map(|(key, version)| orphan(connection, &owner, key, version))
        .buffered(MAX_STAGE_IN_FLIGHT)
        .collect()
        .await;
    released
        .failures
        .extend(orphaned.into_iter().filter_map(Result::err));
    released
}

enum Prune {
    /// It is gone or on its way.
    Deleted,
    /// It is not ours to delete.
    Kept,
}

async fn prune(
    connection: &Connection,
    owner: &Owner<'_>,
    key: &ObjectKey,
    version: &str,
) -> Result<Prune, ApplyFailure> {
    let told = |error: Error| failure(Some(key.clone()), &error);
    let Some((path, object)) = find(connection, key, version).await.map_err(told)? else {
        return Ok(Prune::Deleted);
    };
    match holder(owner, &object) {
        Holder::Us => {}
        Holder::NotUs => return Ok(Prune::Kept),
        Holder::Stranger {
            installation,
            application,
        } => return Err(not_ours(key, &installation, &application)),
    }
    if object.is_kept() {
        return Ok(Prune::Kept);
    }
    if !object.text("/metadata/deletionTimestamp").is_empty() {
        return Ok(Prune::Deleted);
    }
    let request = request::delete(&path, &json!({"uid": object.uid()})).map_err(told)?;
    match connection
        .call(Verb::Delete, &key.to_string(), request)
        .await
    {
        Err(error) if !error.is_not_found() => Err(told(error)),
        _ => Ok(Prune::Deleted),
    }
}

async fn orphan(
    connection: &Connection,
    owner: &Owner<'_>,
    key: &ObjectKey,
    version: &str,
) -> Result<(), ApplyFailure> {
    let told = |error: Error| failure(Some(key.clone()), &error);
    let Some((path, object)) = find(connection, key, version).await.map_err(told)? else {
        return Ok(());
    };
    match holder(owner, &object) {
        Holder::Us => {}
        Holder::NotUs => return Ok(()),
        Holder::Stranger {
            installation,
            application,
        } => return Err(not_ours(key, &installation, &application)),
    }
    // The UID makes the server refuse when the object was replaced since.
    let patch = json!({"metadata": {
        "uid": object.uid(),
        "labels": {(APPLICATION_LABEL): null},
        "annotations": {(INSTALLATION_ANNOTATION): null, (DIGEST_ANNOTATION): null},
    }});
    let request = request::merge(&path, FIELD_MANAGER, &patch).map_err(told)?;
    match connection
        .call(Verb::Patch, &key.to_string(), request)
        .await
    {
        Err(error) if !error.is_not_found() => Err(told(error)),
        _ => Ok(()),
    }
}

/// The object and its path, or nothing when it or its kind is gone. An object is there through every version of its
/// kind that is served, also when the one it was applied through is not served any more.
async fn find(
    connection: &Connection,
    key: &ObjectKey,
    version: &str,
) -> Result<Option<(String, Object)>, Error> {
    let kind = KindVersion::new(version, &key.kind);
    let resource = match connection.discovery.find(connection, &kind).await {
        Err(unknown @ Error::NoSuchKind { .. }) => {
            match connection.discovery.in_any_version(&key.group, &key.kind) {
                Some(resource) => resource,
                None if is_gone(connection, &key.group, &kind).await? => return Ok(None),
                None => return Err(unknown),
            }
        }
        other => other?,
    };
    if (resource.scope == KindScope::Namespaced) == key.namespace.is_empty() {
        // Written down while nobody knew where the kind lives: no object has this key, and the one with the other key is
        // not what is to be let go.
        return Ok(None);
    }
    let path = request::object_path(&resource, key)?;
    match connection.get(&path, &key.to_string()).await {
        Err(error) if error.is_not_found() => Ok(None),
        other => Ok(Some((path, Object(other?)))),
    }
}

/// Whether the server surely lacks a kind in every version. An aggregated API that is down leaves discovery too, but
/// its group is still there and it answers 503.
async fn is_gone(connection: &Connection, group: &str, kind: &KindVersion) -> Result<bool, Error> {
    let mut versions = BTreeSet::from([kind.api_version.clone()]);
    if !group.is_empty() {
        versions.extend(versions_of(connection, group).await?);
    }
    for version in versions {
        if !is_absent(connection, &KindVersion::new(&version, &kind.kind)).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The versions of a group, served or not.
async fn versions_of(connection: &Connection, group: &str) -> Result<Vec<String>, Error> {
    let answer = match connection.get(&format!("/apis/{group}"), group).await {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        other => other?,
    };
    let versions = answer["versions"].as_array().into_iter().flatten();
    Ok(versions
        .filter_map(|version| version["groupVersion"].as_str())
        .map(str::to_owned)
        .collect())
}

/// Whether the server surely lacks a kind in one version.
async fn is_absent(connection: &Connection, kind: &KindVersion) -> Result<bool, Error> {
    let path = match kind.api_version.contains('/') {
        true => format!("/apis/{}", kind.api_version),
        false => format!("/api/{}", kind.api_version),
    };
    match connection.get(&path, &kind.api_version).await {
        Err(error) if error.is_not_found() => Ok(true),
        Err(error) => Err(error),
        Ok(list) => Ok(!list["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|resource| resource["kind"] == kind.kind.as_str())),
    }
}

/// Whose marks an object carries.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    /// This application's, of this installation.
    Us,
    /// Another application's of this installation, or nobody's: not ours any more.
    NotUs,
    /// Another installation's.
    Stranger {
        installation: String,
        application: String,
    },
}

fn holder(owner: &Owner<'_>, object: &Object) -> Holder {
    let application = object.label(APPLICATION_LABEL);
    match object.annotation(INSTALLATION_ANNOTATION) {
        Some(installation) if installation != owner.installation => Holder::Stranger {
            installation: installation.to_owned(),
            application: application.unwrap_or("(none)").to_owned(),
        },
        Some(_) if application == Some(owner.application) => Holder::Us,
        _ => Holder::NotUs,
    }
}

fn not_ours(key: &ObjectKey, installation: &str, application: &str) -> ApplyFailure {
    failed(
        Some(key.clone()),
        Retry::Stalled,
        "NotOurs",
        format!("it belongs to application {application} of installation {installation}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Answer, Server};
    use regraft_model::apply::Inventory;
    use regraft_model::id::TargetKey;

    fn held(label: Option<&str>, installation: Option<&str>) -> Holder {
        let object = Object(json!({"metadata": {
            "labels": {(APPLICATION_LABEL): label},
            "annotations": {(INSTALLATION_ANNOTATION): installation},
        }}));
        let owner = Owner {
            application: "shop",
            installation: "one",
        };
        holder(&owner, &object)
    }

    #[test]
    fn only_our_own_marks_make_an_object_ours_to_delete() {
        assert_eq!(held(Some("shop"), Some("one")), Holder::Us);
        assert_eq!(held(Some("till"), Some("one")), Holder::NotUs);
        assert_eq!(held(None, Some("one")), Holder::NotUs);
        assert_eq!(held(Some("shop"), None), Holder::NotUs);
        assert_eq!(held(None, None), Holder::NotUs);
        let stranger = Holder::Stranger {
            installation: "two".to_owned(),
            application: "shop".to_owned(),
        };
        assert_eq!(held(Some("shop"), Some("two")), stranger);
    }

    /// What a server is asked to let go of the widget that was applied through a version it does not serve any more.
    async fn released(request: ApplyRequest) -> (Released, Vec<String>) {
        let widget = json!({"metadata": {
            "uid": "u",
            "labels": {(APPLICATION_LABEL): "shop"},
            "annotations": {(INSTALLATION_ANNOTATION): "one"},
        }});
        let server = Server::start(move |asked| match asked.line.split(' ').nth(1) {
            Some("/apis/example.com/v2/namespaces/shop/widgets/w") => {
                Answer::Json(200, widget.clone())
            }
            Some("/apis/example.com/v1") => fake::refusal(404, "not found"),
            Some("/apis/down.example.com") => Answer::Json(
                200,
                json!({"versions": [{"groupVersion": "down.example.com/v2"}]}),
            ),
            Some("/apis/down.example.com/v2") => fake::refusal(503, "service unavailable"),
            Some(path) if path.contains(".example.com") => fake::refusal(404, "not found"),
            _ => fake::basics(asked, "one", 1),
        });
        let connection = server.connect().await;
        let released = run(&connection, &request).await;
        let asked = server.asked("").into_iter();
        let writes = asked.filter(|line| !line.starts_with("GET"));
        (released, writes.collect())
    }

    fn widget(group: &str) -> (ObjectKey, String) {
        let key = ObjectKey {
            group: group.to_owned(),
            kind: "Widget".to_owned(),
            namespace: "shop".to_owned(),
            name: "w".to_owned(),
        };
        (key, format!("{group}/v1"))
    }

    fn request() -> ApplyRequest {
        let mut request = ApplyRequest {
            number: 0,
            target: TargetKey {
                application: "shop".into(),
                cluster: "east".into(),
            },
            revision: "0123456789".into(),
            stages: Vec::new(),
            prune: Vec::new(),
            orphan: Vec::new(),
            inventory: Inventory::default(),
            inventory_before: Inventory::default(),
        };
        request.inventory.installation = "one".to_owned();
        request
    }

    #[tokio::test]
    async fn an_object_is_let_go_through_another_version_when_its_own_is_not_served_any_more() {
        let mut delete = request();
        delete.prune.push(widget("example.com"));
        let (deleted, writes) = released(delete).await;
        assert_eq!(deleted.failures, []);
        assert_eq!(deleted.pruned.len(), 1);
        let path = "/apis/example.com/v2/namespaces/shop/widgets/w";
        assert_eq!(writes, [format!("DELETE {path} HTTP/1.1")]);

        let mut disown = request();
        disown.orphan.push(widget("example.com"));
        let (disowned, writes) = released(disown).await;
        assert_eq!(disowned.failures, []);
        assert_eq!(
            writes,
            [format!(
                "PATCH {path}?fieldManager={FIELD_MANAGER} HTTP/1.1"
            )]
        );
    }

    #[tokio::test]
    async fn an_object_with_a_namespace_is_not_the_one_of_its_name_outside_namespaces() {
        let namespace = ObjectKey {
            group: String::new(),
            kind: "Namespace".to_owned(),
            namespace: "shop".to_owned(),
            name: "one".to_owned(),
        };
        let mut delete = request();
        delete.prune.push((namespace, "v1".to_owned()));
        let (deleted, writes) = released(delete).await;
        assert_eq!(deleted.failures, []);
        assert_eq!(writes, Vec::<String>::new());
    }

    #[tokio::test]
    async fn an_object_is_gone_only_when_no_version_of_its_kind_is_there() {
        let mut delete = request();
        delete.prune.push(widget("gone.example.com"));
        let (deleted, _) = released(delete).await;
        assert_eq!(deleted.failures, []);
        assert_eq!(deleted.pruned.len(), 1);

        let mut delete = request();
        delete.prune.push(widget("down.example.com"));
        let (kept, _) = released(delete).await;
        assert_eq!(kept.failures[0].message, "service unavailable");
        assert!(kept.pruned.is_empty());
    }
}
