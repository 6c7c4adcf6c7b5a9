//! An object on its way through a watch: JSON with no more of `managedFields` than is read, so that the rest is never
//! even built in memory.

use crate::managed;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicResourceScope;
use kube::core::discovery::ApiResource;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// An object as the server sent it, less most of `metadata.managedFields`.
#[derive(Clone)]
pub(crate) struct Watched {
    /// Name, namespace and resource version only, for the watcher's own use.
    meta: ObjectMeta,
    /// The object.
    pub(crate) value: Value,
}

impl fmt::Debug for Watched {
    /// Without content: it may be a Secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = self.meta.namespace.as_deref().unwrap_or_default();
        let name = self.meta.name.as_deref().unwrap_or_default();
        write!(f, "Watched({namespace}/{name})")
    }
}

impl kube::Resource for Watched {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(api: &ApiResource) -> Cow<'_, str> {
        api.kind.as_str().into()
    }

    fn group(api: &ApiResource) -> Cow<'_, str> {
        api.group.as_str().into()
    }

    fn version(api: &ApiResource) -> Cow<'_, str> {
        api.version.as_str().into()
    }

    fn api_version(api: &ApiResource) -> Cow<'_, str> {
        api.api_version.as_str().into()
    }

    fn plural(api: &ApiResource) -> Cow<'_, str> {
        api.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::Object(deserializer.deserialize_map(Fields::Root)?);
        let text = |pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let meta = ObjectMeta {
            name: text("/metadata/name"),
            namespace: text("/metadata/namespace"),
            resource_version: text("/metadata/resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Self { meta, value })
    }
}

/// Reads a map of fields, leaving out what nobody reads.
#[derive(Clone, Copy)]
enum Fields {
    Root,
    Metadata,
}

impl<'de> Visitor<'de> for Fields {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            match (self, name.as_str()) {
                (Fields::Root, "metadata") => {
                    let metadata = access.next_value_seed(Fields::Metadata)?;
                    fields.insert(name, Value::Object(metadata));
                }
                (Fields::Metadata, "managedFields") => {
                    let entries: Vec<managed::Entry> = access.next_value()?;
                    if let Some(owners) = managed::owners_of_replicas(&entries) {
                        fields.insert(name, owners);
                    }
                }
                _ => {
                    fields.insert(name, access.next_value()?);
                }
            }
        }
        Ok(fields)
    }
}

impl<'de> DeserializeSeed<'de> for Fields {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::watch::WatchEvent;
    use serde_json::json;

    #[test]
    fn managed_fields_are_left_out_but_for_who_scales() {
        let text = r#"{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"a","namespace":"b",
            "resourceVersion":"7","managedFields":[{"manager":"x"},
            {"manager":"y","time":"t","fieldsV1":{"f:spec":{"f:replicas":{},"f:paused":{}}}}]},"spec":{"managedFields":[1]}}}"#;
        let Ok(WatchEvent::Added(object)) = serde_json::from_str::<WatchEvent<Watched>>(text)
        else {
            panic!("not read");
        };
        assert_eq!(
            object.value,
            json!({"kind": "Pod", "metadata": {"name": "a", "namespace": "b", "resourceVersion": "7",
                "managedFields": [{"manager": "y", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]},
                "spec": {"managedFields": [1]}})
        );
        assert_eq!(object.meta.resource_version.as_deref(), Some("7"));
        assert_eq!(format!("{object:?}"), "Watched(b/a)");
    }
}
