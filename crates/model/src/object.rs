//! A Kubernetes object as JSON, and the key that names it in a cluster.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Names an object in one cluster. Without the version: the same object can be read through several.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace, empty for objects of the cluster.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    /// `Deployment.apps shop/storefront`, `Namespace shop`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match self.namespace.as_str() {
            "" => write!(f, " {}", self.name),
            namespace => write!(f, " {namespace}/{}", self.name),
        }
    }
}

/// A Kubernetes object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(pub Value);

impl Object {
    /// Text at a JSON pointer, empty when it is absent or no text.
    pub fn text(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whole number at a JSON pointer; none when it is absent or something else.
    pub fn number(&self, pointer: &str) -> Option<i64> {
        self.at(pointer).and_then(Value::as_i64)
    }

    /// Elements of the list at a JSON pointer, none when it is absent.
    pub fn list(&self, pointer: &str) -> &[Value] {
        self.at(pointer)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// As [`Value::pointer`], which allocates for every part of the path: this is asked a thousand times a second.
    fn at(&self, pointer: &str) -> Option<&Value> {
        if pointer.contains('~') {
            return self.0.pointer(pointer);
        }
        pointer
            .split('/')
            .skip(1)
            .try_fold(&self.0, |value, part| match value {
                Value::Object(fields) => fields.get(part),
                Value::Array(items) => items.get(part.parse::<usize>().ok()?),
                _ => None,
            })
    }

    /// `apps/v1`.
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    /// The group of `apiVersion`, empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version()
            .split_once('/')
            .map_or("", |(group, _)| group)
    }

    /// The kind.
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// `metadata.namespace`, empty when absent.
    pub fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    /// `metadata.resourceVersion`.
    pub fn resource_version(&self) -> &str {
        self.text("/metadata/resourceVersion")
    }

    /// `metadata.labels[key]`.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.0.get("metadata")?.get("labels")?.get(key)?.as_str()
    }

    /// `metadata.annotations[key]`.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.0
            .get("metadata")?
            .get("annotations")?
            .get(key)?
            .as_str()
    }

    /// Whether a person keeps it from being pruned.
    pub fn is_kept(&self) -> bool {
        self.annotation(PRUNE_ANNOTATION) == Some(PRUNE_DISABLED)
    }

    /// The owner whose `controller` is true, as (kind, name, uid).
    pub fn controller(&self) -> Option<(&str, &str, &str)> {
        self.list("/metadata/ownerReferences")
            .iter()
            .find(|owner| owner["controller"] == Value::Bool(true))
            .and_then(|owner| {
                Some((
                    owner["kind"].as_str()?,
                    owner["name"].as_str()?,
                    owner["uid"].as_str()?,
                ))
            })
    }

    /// Its key.
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            group: self.group().to_owned(),
            kind: self.kind().to_owned(),
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }
}

/// Label on every object regraft applied: the application's name.
pub const APPLICATION_LABEL: &str = "regraft.dev/application";
/// Annotation on every object regraft applied: the installation that owns it.
pub const INSTALLATION_ANNOTATION: &str = "regraft.dev/installation";
/// Annotation on every object regraft applied: digest of what was applied.
pub const DIGEST_ANNOTATION: &str = "regraft.dev/applied-digest";
/// Annotation with which a person keeps an object from being pruned, by [`PRUNE_DISABLED`].
pub const PRUNE_ANNOTATION: &str = "regraft.dev/prune";
/// The word that keeps it.
pub const PRUNE_DISABLED: &str = "disabled";
/// Our server-side apply field manager.
pub const FIELD_MANAGER: &str = "regraft";
