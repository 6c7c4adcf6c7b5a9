//! What is kept of `managedFields`: who owns `spec.replicas`, for it decides who scales a workload. The rest is most of
//! what an object says, and nobody reads it.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

/// One entry of `metadata.managedFields`, as far as it is read.
#[derive(Deserialize)]
pub(crate) struct Entry {
    #[serde(default)]
    manager: String,
    #[serde(default, rename = "fieldsV1")]
    fields: Option<Fields>,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(default, rename = "f:spec")]
    spec: Option<Spec>,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default, rename = "f:replicas")]
    replicas: Option<IgnoredAny>,
}

/// The entries that own `spec.replicas`, in their own form; `None` when nobody does.
pub(crate) fn owners_of_replicas(entries: &[Entry]) -> Option<Value> {
    let owners: Vec<Value> = entries
        .iter()
        .filter(|entry| {
            let spec = entry
                .fields
                .as_ref()
                .and_then(|fields| fields.spec.as_ref());
            spec.is_some_and(|spec| spec.replicas.is_some())
        })
        .map(|entry| json!({"manager": entry.manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}}))
        .collect();
    (!owners.is_empty()).then_some(Value::Array(owners))
}
