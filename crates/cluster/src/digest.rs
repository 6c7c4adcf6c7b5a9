//! A short fingerprint of every object we own, as the watch saw it, to tell what a dry run would change.
//!
//! Expected flow: watches put, dry runs ask. Guarantees: equal fingerprints at an equal resource version mean equal
//! objects but for the server's bookkeeping and the status. Assumptions: a dry run answers with the resource
//! version of the object it was tried on.

use crate::task::locked;
use regraft_model::ObjectKey;
use serde_json::Value;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

/// Most fingerprints kept (about 200 bytes each); objects beyond it are compared by reading them.
const MAX_DIGESTS: usize = 100_000;

/// Fingerprint of an object without nulls and without what no apply of ours writes: `managedFields`, the resource
/// version and the status.
pub(crate) fn digest(object: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash_root(object, &mut hasher);
    hasher.finish()
}

/// Fingerprints by object.
#[derive(Default)]
pub(crate) struct Digests {
    known: Mutex<HashMap<ObjectKey, (Box<str>, u64)>>,
}

impl Digests {
    /// Takes note of an object as the server has it.
    pub(crate) fn put(&self, key: ObjectKey, resource_version: &str, digest: u64) {
        let mut known = locked(&self.known);
        if known.len() < MAX_DIGESTS || known.contains_key(&key) {
            known.insert(key, (resource_version.into(), digest));
        }
    }

    /// Forgets an object that is gone.
    pub(crate) fn remove(&self, key: &ObjectKey) {
        locked(&self.known).remove(key);
    }

    /// The fingerprint at exactly this resource version.
    pub(crate) fn at(&self, key: &ObjectKey, resource_version: &str) -> Option<u64> {
        locked(&self.known)
            .get(key)
            .filter(|(version, _)| version.as_ref() == resource_version)
            .map(|(_, digest)| *digest)
    }
}

fn hash_root(object: &Value, hasher: &mut DefaultHasher) {
    let Value::Object(fields) = object else {
        return hash_value(object, hasher);
    };
    for (name, value) in sorted(fields) {
        if name == "status" {
            continue;
        }
        name.hash(hasher);
        match value {
            Value::Object(metadata) if name == "metadata" => {
                for (name, value) in sorted(metadata) {
                    if !["managedFields", "resourceVersion"].contains(&name.as_str()) {
                        name.hash(hasher);
                        hash_value(value, hasher);
                    }
                }
            }
            value => hash_value(value, hasher),
        }
    }
}

fn hash_value(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Null => 0_u8.hash(hasher),
        Value::Bool(value) => (1_u8, value).hash(hasher),
        Value::Number(value) => (2_u8, value.to_string()).hash(hasher),
        Value::String(value) => (3_u8, value).hash(hasher),
        Value::Array(items) => {
            (4_u8, items.len()).hash(hasher);
            items.iter().for_each(|item| hash_value(item, hasher));
        }
        Value::Object(fields) => {
            5_u8.hash(hasher);
            for (name, value) in sorted(fields) {
                name.hash(hasher);
                hash_value(value, hasher);
            }
            6_u8.hash(hasher);
        }
    }
}

/// Fields in order and without nulls: the server may write either way.
fn sorted(fields: &serde_json::Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = fields
        .iter()
        .filter(|(_, value)| !value.is_null())
        .collect();
    fields.sort_by_key(|(name, _)| *name);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_an_apply_does_not_write_and_order_and_nulls_do_not_count() {
        let one = json!({"a": 1, "metadata": {"name": "x", "managedFields": [{"time": "1"}]}, "status": {"b": 1}});
        let two = json!({"metadata": {"creationTimestamp": null, "name": "x"}, "a": 1});
        assert_eq!(digest(&one), digest(&two));
    }

    #[test]
    fn every_other_difference_counts() {
        let base = json!({"spec": {"list": [1, 2], "selector": {}}, "metadata": {"name": "x"}});
        for other in [
            json!({"spec": {"list": [2, 1], "selector": {}}, "metadata": {"name": "x"}}),
            json!({"spec": {"list": [1, 2]}, "metadata": {"name": "x"}}),
            json!({"spec": {"list": [1, "2"], "selector": {}}, "metadata": {"name": "x"}}),
            json!({"spec": {"list": [1, 2], "selector": {}}, "metadata": {"name": "x", "labels": {}}}),
            json!({"spec": {"list": [1, 2], "selector": {"managedFields": 1}}, "metadata": {"name": "x"}}),
        ] {
            assert_ne!(digest(&base), digest(&other), "{other}");
        }
    }

    #[test]
    fn a_fingerprint_is_only_given_for_the_version_asked() {
        let digests = Digests::default();
        let key = ObjectKey::default();
        digests.put(key.clone(), "7", 42);
        assert_eq!(digests.at(&key, "7"), Some(42));
        assert_eq!(digests.at(&key, "8"), None);
        digests.remove(&key);
        assert_eq!(digests.at(&key, "7"), None);
    }
}
