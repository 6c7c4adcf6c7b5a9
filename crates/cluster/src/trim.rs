//! What is kept of an object. Pods and ReplicaSets are many, and most of what they say is never read.

use crate::managed;
use regraft_model::object::{APPLICATION_LABEL, INSTALLATION_ANNOTATION};
use serde::Deserialize as _;
use serde_json::{Map, Value};

/// Most characters of an Event's message; longer ones carry stack traces.
const MAX_EVENT_MESSAGE_CHARS: usize = 1024;

/// What kubectl writes into every object it applies: a copy of the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

const METADATA: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "labels",
    "annotations",
    "ownerReferences",
    "creationTimestamp",
    "deletionTimestamp",
    "resourceVersion",
    "generation",
];
/// Annotations of Pods and ReplicaSets that tell which rollout they belong to.
const ANNOTATIONS: &[&str] = &[
    "deployment.kubernetes.io/revision",
    "kubectl.kubernetes.io/restartedAt",
    INSTALLATION_ANNOTATION,
];
const CONTAINER: &[&str] = &["name", "image"];
const POD_SPEC: &[&str] = &["nodeName", "containers", "initContainers", "restartPolicy"];
/// Addresses and runtime ids: noise for health.
const POD_STATUS_NOISE: &[&str] = &[
    "podIP",
    "podIPs",
    "hostIP",
    "hostIPs",
    "resourceClaimStatuses",
];
const CONTAINER_STATUS_NOISE: &[&str] = &[
    "containerID",
    "imageID",
    "volumeMounts",
    "allocatedResources",
    "allocatedResourcesStatus",
    "resources",
    "user",
];
const REPLICA_SET_SPEC: &[&str] = &["replicas", "template"];
const EVENT: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "involvedObject",
    "reason",
    "message",
    "type",
    "count",
    "series",
    "firstTimestamp",
    "lastTimestamp",
    "eventTime",
    "source",
    "reportingComponent",
];

/// Trims an object of a kind. What an application owns keeps all it has but copies of itself.
pub(crate) fn trim(kind: &str, object: &mut Value) {
    if is_ours(object) {
        return owned(object);
    }
    match kind {
        "Pod" => pod(object),
        "ReplicaSet" => replica_set(object),
        "Event" => event(object),
        _ => owned(object),
    }
}

/// Whether an object carries our marks.
pub(crate) fn is_ours(object: &Value) -> bool {
    let metadata = &object["metadata"];
    metadata["labels"][APPLICATION_LABEL].is_string()
        && metadata["annotations"][INSTALLATION_ANNOTATION].is_string()
}

/// Drops kubectl's copy, and of `managedFields` all but who owns `replicas`: it decides who scales a workload.
pub(crate) fn owned(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(managed) = metadata.remove("managedFields")
        && let Ok(entries) = Vec::<managed::Entry>::deserialize(managed)
        && let Some(owners) = managed::owners_of_replicas(&entries)
    {
        metadata.insert("managedFields".to_owned(), owners);
    }
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
}

fn pod(object: &mut Value) {
    metadata(object);
    if let Some(spec) = fields(object, "/spec") {
        keep(spec, POD_SPEC);
    }
    containers(object, "/spec");
    if let Some(status) = fields(object, "/status") {
        drop_all(status, POD_STATUS_NOISE);
    }
    for list in [
        "/status/containerStatuses",
        "/status/initContainerStatuses",
        "/status/ephemeralContainerStatuses",
    ] {
        for status in items(object, list) {
            if let Some(status) = status.as_object_mut() {
                drop_all(status, CONTAINER_STATUS_NOISE);
            }
        }
    }
}

fn replica_set(object: &mut Value) {
    metadata(object);
    if let Some(spec) = fields(object, "/spec") {
        keep(spec, REPLICA_SET_SPEC);
    }
    if let Some(template) = fields(object, "/spec/template") {
        keep(template, &["spec"]);
    }
    if let Some(spec) = fields(object, "/spec/template/spec") {
        keep(spec, &["containers", "initContainers"]);
    }
    containers(object, "/spec/template/spec");
}

fn event(object: &mut Value) {
    metadata(object);
    let Some(event) = object.as_object_mut() else {
        return;
    };
    keep(event, EVENT);
    if let Some(Value::String(message)) = event.get_mut("message")
        && let Some((end, _)) = message.char_indices().nth(MAX_EVENT_MESSAGE_CHARS)
    {
        message.truncate(end);
    }
}

fn metadata(object: &mut Value) {
    if let Some(metadata) = fields(object, "/metadata") {
        keep(metadata, METADATA);
    }
    if let Some(annotations) = fields(object, "/metadata/annotations") {
        keep(annotations, ANNOTATIONS);
    }
}

fn containers(object: &mut Value, spec: &str) {
    for list in ["containers", "initContainers"] {
        for container in items(object, &format!("{spec}/{list}")) {
            if let Some(container) = container.as_object_mut() {
                keep(container, CONTAINER);
            }
        }
    }
}

fn fields<'a>(object: &'a mut Value, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    object.pointer_mut(pointer).and_then(Value::as_object_mut)
}

fn items<'a>(object: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    object
        .pointer_mut(pointer)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

fn keep(fields: &mut Map<String, Value>, names: &[&str]) {
    fields.retain(|name, _| names.contains(&name.as_str()));
}

fn drop_all(fields: &mut Map<String, Value>, names: &[&str]) {
    fields.retain(|name, _| !names.contains(&name.as_str()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(kind: &str, mut object: Value, expected: &Value) {
        trim(kind, &mut object);
        assert_eq!(&object, expected);
    }

    #[test]
    fn a_pod_keeps_who_it_belongs_to_its_images_and_its_state() {
        check(
            "Pod",
            json!({
                "metadata": {"name": "a", "labels": {"app": "x"}, "generateName": "a-",
                    "annotations": {"big": "1", "kubectl.kubernetes.io/restartedAt": "t"},
                    "ownerReferences": [{"kind": "ReplicaSet"}]},
                "spec": {"nodeName": "n", "volumes": [1], "restartPolicy": "Always",
                    "containers": [{"name": "c", "image": "i", "env": [1]}],
                    "initContainers": [{"name": "d", "image": "j", "args": [1]}]},
                "status": {"phase": "Running", "podIP": "1.2.3.4",
                    "containerStatuses": [{"name": "c", "restartCount": 3, "imageID": "x",
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
            }),
            &json!({
                "metadata": {"name": "a", "labels": {"app": "x"},
                    "annotations": {"kubectl.kubernetes.io/restartedAt": "t"},
                    "ownerReferences": [{"kind": "ReplicaSet"}]},
                "spec": {"nodeName": "n", "restartPolicy": "Always",
                    "containers": [{"name": "c", "image": "i"}],
                    "initContainers": [{"name": "d", "image": "j"}]},
                "status": {"phase": "Running",
                    "containerStatuses": [{"name": "c", "restartCount": 3,
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
            }),
        );
    }

    #[test]
    fn a_replica_set_keeps_its_revision_and_its_images() {
        check(
            "ReplicaSet",
            json!({
                "metadata": {"name": "a", "annotations": {"deployment.kubernetes.io/revision": "2", "x": "y"}},
                "spec": {"replicas": 2, "selector": {}, "template": {"metadata": {"labels": {}},
                    "spec": {"volumes": [], "containers": [{"name": "c", "image": "i", "env": []}]}}},
                "status": {"replicas": 2},
            }),
            &json!({
                "metadata": {"name": "a", "annotations": {"deployment.kubernetes.io/revision": "2"}},
                "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
                "status": {"replicas": 2},
            }),
        );
    }

    #[test]
    fn what_an_application_owns_keeps_all_but_copies_of_itself() {
        let mut object = json!({
            "metadata": {"name": "a", "labels": {(APPLICATION_LABEL): "shop"},
                "annotations": {(INSTALLATION_ANNOTATION): "i", (LAST_APPLIED): "{}", "own": "1"},
                "managedFields": [
                    {"manager": "regraft", "time": "t", "fieldsV1": {"f:spec": {"f:volumes": {}}}},
                    {"manager": "kube-controller-manager", "subresource": "scale",
                        "fieldsV1": {"f:spec": {"f:replicas": {}, "f:paused": {}}}}]},
            "spec": {"volumes": [1]},
        });
        trim("Pod", &mut object);
        assert_eq!(object["spec"], json!({"volumes": [1]}));
        assert_eq!(object["metadata"]["annotations"]["own"], "1");
        assert!(
            object["metadata"]["annotations"]
                .get(LAST_APPLIED)
                .is_none()
        );
        assert_eq!(
            object["metadata"]["managedFields"],
            json!([{"manager": "kube-controller-manager", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]),
            "who scales"
        );
    }

    #[test]
    fn an_event_keeps_its_words_up_to_a_bound() {
        let mut object = json!({"metadata": {"name": "e"}, "reason": "Failed", "action": "x",
            "message": "é".repeat(MAX_EVENT_MESSAGE_CHARS + 1)});
        trim("Event", &mut object);
        assert_eq!(object["reason"], "Failed");
        assert!(object.get("action").is_none());
        let message = object["message"].as_str().unwrap();
        assert_eq!(message.chars().count(), MAX_EVENT_MESSAGE_CHARS);
    }

    #[test]
    fn objects_that_lack_everything_are_left_as_they_are() {
        for kind in ["Pod", "ReplicaSet", "Event", "Deployment"] {
            check(kind, json!({}), &json!({}));
        }
    }
}
