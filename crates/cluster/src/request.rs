//! Requests as bytes and paths: where an object lives and what is asked of it.

use crate::discovery::Resource;
use crate::error::Error;
use bytes::Bytes;
use kube::client::Body;
use kube::core::discovery::v2::ACCEPT_AGGREGATED_DISCOVERY_V2;
use regraft_model::ObjectKey;
use regraft_model::apply::KindScope;
use serde_json::json;
use std::fmt::Write as _;

/// Content type of server-side apply; JSON is YAML.
const APPLY_TYPE: &str = "application/apply-patch+yaml";
/// Content type of a JSON merge patch.
const MERGE_TYPE: &str = "application/merge-patch+json";
/// Content type of everything else.
const JSON_TYPE: &str = "application/json";

/// Whether a request changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The server only says what it would do.
    DryRun,
    /// For good.
    Write,
}

/// Whether fields of other managers are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// They are a conflict.
    Respect,
    /// They become ours.
    Take,
}

/// The path of one object.
pub(crate) fn object_path(resource: &Resource, key: &ObjectKey) -> Result<String, Error> {
    let mut path = match resource.api.group.as_str() {
        "" => format!("/api/{}", resource.api.version),
        group => format!("/apis/{group}/{}", resource.api.version),
    };
    if resource.scope == KindScope::Namespaced {
        if key.namespace.is_empty() {
            return Err(Error::BadName {
                subject: key.to_string(),
                what: "it needs a namespace".to_owned(),
            });
        }
        path.push_str("/namespaces/");
        push_segment(&mut path, &key.namespace, key)?;
    }
    path.push('/');
    path.push_str(&resource.api.plural);
    path.push('/');
    push_segment(&mut path, &key.name, key)?;
    Ok(path)
}

/// Reads a path.
pub(crate) fn get(path: &str, subject: &str) -> Result<http::Request<Body>, Error> {
    built(http::Request::get(path), Body::empty(), subject)
}

/// Reads the kinds below `/api` or `/apis`, all in one answer.
pub(crate) fn get_aggregated(path: &str, subject: &str) -> Result<http::Request<Body>, Error> {
    let builder =
        http::Request::get(path).header(http::header::ACCEPT, ACCEPT_AGGREGATED_DISCOVERY_V2);
    built(builder, Body::empty(), subject)
}

/// Server-side apply of an object.
pub(crate) fn apply(
    path: &str,
    manager: &str,
    body: Bytes,
    effect: Effect,
    ownership: Ownership,
) -> Result<http::Request<Body>, Error> {
    let mut uri = managed(path, manager);
    uri.push_str("&fieldValidation=Strict");
    if effect == Effect::DryRun {
        uri.push_str("&dryRun=All");
    }
    if ownership == Ownership::Take {
        uri.push_str("&force=true");
    }
    let builder = http::Request::patch(uri).header(http::header::CONTENT_TYPE, APPLY_TYPE);
    built(builder, Body::from(body), path)
}

/// A JSON merge patch of an object.
pub(crate) fn merge(
    path: &str,
    manager: &str,
    patch: &serde_json::Value,
) -> Result<http::Request<Body>, Error> {
    let builder = http::Request::patch(managed(path, manager));
    written(builder, MERGE_TYPE, patch, path)
}

/// Creates an object in a collection.
pub(crate) fn create(
    path: &str,
    manager: &str,
    object: &serde_json::Value,
) -> Result<http::Request<Body>, Error> {
    let builder = http::Request::post(managed(path, manager));
    written(builder, JSON_TYPE, object, path)
}

/// Replaces the object whose resource version the new one names.
pub(crate) fn replace(
    path: &str,
    manager: &str,
    object: &serde_json::Value,
) -> Result<http::Request<Body>, Error> {
    let builder = http::Request::put(managed(path, manager));
    written(builder, JSON_TYPE, object, path)
}

/// Deletes the object while the preconditions hold, such as its UID; its dependents follow in the background.
pub(crate) fn delete(
    path: &str,
    preconditions: &serde_json::Value,
) -> Result<http::Request<Body>, Error> {
    let options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": preconditions,
    });
    written(http::Request::delete(path), JSON_TYPE, &options, path)
}

fn managed(path: &str, manager: &str) -> String {
    format!("{path}?fieldManager={manager}")
}

fn written(
    builder: http::request::Builder,
    content_type: &str,
    body: &serde_json::Value,
    subject: &str,
) -> Result<http::Request<Body>, Error> {
    let builder = builder.header(http::header::CONTENT_TYPE, content_type);
    built(builder, Body::from(body.to_string().into_bytes()), subject)
}

fn built(
    builder: http::request::Builder,
    body: Body,
    subject: &str,
) -> Result<http::Request<Body>, Error> {
    builder.body(body).map_err(|error| Error::BadName {
        subject: subject.to_owned(),
        what: error.to_string(),
    })
}

/// Appends a name; what a path cannot hold is escaped, what would leave the path is refused (as the API server does).
fn push_segment(path: &mut String, segment: &str, key: &ObjectKey) -> Result<(), Error> {
    let refused = |what: &str| Error::BadName {
        subject: key.to_string(),
        what: what.to_owned(),
    };
    match segment {
        "" => return Err(refused("its name is empty")),
        "." | ".." => return Err(refused("its name may not be . or ..")),
        _ if segment.contains(['/', '%']) => {
            return Err(refused("its name may not contain / or %"));
        }
        _ => {}
    }
    path.push_str(&escaped(segment));
    Ok(())
}

/// Text as it may stand in a path or a query.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                escaped.push(char::from(byte));
            }
            // Writing into a String cannot fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::discovery::ApiResource;

    fn resource(group: &str, plural: &str, scope: KindScope) -> Resource {
        Resource {
            api: ApiResource {
                group: group.to_owned(),
                version: "v1".to_owned(),
                api_version: String::new(),
                kind: String::new(),
                plural: plural.to_owned(),
            },
            scope,
        }
    }

    fn key(namespace: &str, name: &str) -> ObjectKey {
        ObjectKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..ObjectKey::default()
        }
    }

    #[test]
    fn paths_follow_group_and_scope() {
        let deployments = resource("apps", "deployments", KindScope::Namespaced);
        assert_eq!(
            object_path(&deployments, &key("shop", "a")).unwrap(),
            "/apis/apps/v1/namespaces/shop/deployments/a"
        );
        let namespaces = resource("", "namespaces", KindScope::Cluster);
        assert_eq!(
            object_path(&namespaces, &key("ignored", "shop")).unwrap(),
            "/api/v1/namespaces/shop"
        );
        let roles = resource(
            "rbac.authorization.k8s.io",
            "clusterroles",
            KindScope::Cluster,
        );
        assert_eq!(
            object_path(&roles, &key("", "system:a b?")).unwrap(),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%20b%3F"
        );
    }

    #[test]
    fn names_that_would_leave_their_path_are_refused() {
        let deployments = resource("apps", "deployments", KindScope::Namespaced);
        for (namespace, name) in [
            ("", "a"),
            ("shop", ""),
            ("shop", ".."),
            ("..", "a"),
            ("shop", "a/b"),
            ("shop", "a%2fb"),
        ] {
            assert!(
                object_path(&deployments, &key(namespace, name)).is_err(),
                "{namespace} {name}"
            );
        }
    }
}
