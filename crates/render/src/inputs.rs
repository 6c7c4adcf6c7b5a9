//! What a workload runs on: its own manifest and what its pods read by name.

use data_encoding::HEXLOWER;
use regraft_model::Object;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// SHA-256 in hex of a workload and of the ConfigMaps, Secrets and ServiceAccount among `objects` (of the same
/// application) that its pod template names. Equal digests: no commit between the two changed what the pods run on.
/// `replicas` does not count, nor does the order of keys or objects.
pub fn inputs_of(workload: &Object, objects: &[&Object]) -> String {
    let mut own = workload.clone();
    if let Some(spec) = own.0.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("replicas");
    }
    let mut hasher = Sha256::new();
    feed(&mut hasher, &own.0);
    let wanted = references(workload);
    let mut read: Vec<_> = objects
        .iter()
        .filter(|object| {
            object.group().is_empty()
                && object.namespace() == workload.namespace()
                && wanted.contains(&(object.kind(), object.name()))
        })
        .collect();
    read.sort_by_key(|object| object.key());
    for object in read {
        feed(&mut hasher, &object.0);
    }
    HEXLOWER.encode(&hasher.finalize())
}

/// (kind, name) of what the pods of a workload read.
fn references(workload: &Object) -> BTreeSet<(&'static str, &str)> {
    let mut found = BTreeSet::new();
    let pod = match workload.kind() {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    let Some(pod) = workload.0.pointer(pod) else {
        return found;
    };
    collect(pod, &mut found);
    found
}

fn collect<'a>(pod: &'a Value, found: &mut BTreeSet<(&'static str, &'a str)>) {
    let mut note = |kind: &'static str, holder: &'a Value, pointer: &str| {
        if let Some(name) = holder.pointer(pointer).and_then(Value::as_str) {
            found.insert((kind, name));
        }
    };
    note("ServiceAccount", pod, "/serviceAccountName");
    for secret in list(pod, "imagePullSecrets") {
        note("Secret", secret, "/name");
    }
    for volume in list(pod, "volumes") {
        note("ConfigMap", volume, "/configMap/name");
        note("Secret", volume, "/secret/secretName");
        for source in volume
            .get("projected")
            .into_iter()
            .flat_map(|projected| list(projected, "sources"))
        {
            note("ConfigMap", source, "/configMap/name");
            note("Secret", source, "/secret/name");
        }
    }
    for containers in ["containers", "initContainers"] {
        for container in list(pod, containers) {
            for from in list(container, "envFrom") {
                note("ConfigMap", from, "/configMapRef/name");
                note("Secret", from, "/secretRef/name");
            }
            for variable in list(container, "env") {
                note("ConfigMap", variable, "/valueFrom/configMapKeyRef/name");
                note("Secret", variable, "/valueFrom/secretKeyRef/name");
            }
        }
    }
}

fn list<'a>(holder: &'a Value, field: &str) -> &'a [Value] {
    holder
        .get(field)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Feeds a value in an order of its own, with lengths, so that different values never look the same.
fn feed(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Object(entries) => {
            hasher.update(format!("{{{}:", entries.len()));
            let sorted: BTreeSet<_> = entries.keys().collect();
            for key in sorted {
                hasher.update(format!("{}:{key}", key.len()));
                feed(hasher, &entries[key]);
            }
        }
        Value::Array(items) => {
            hasher.update(format!("[{}:", items.len()));
            for item in items {
                feed(hasher, item);
            }
        }
        Value::String(text) => hasher.update(format!("\"{}:{text}", text.len())),
        scalar => hasher.update(format!("#{scalar};")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": 2, "template": {"spec": {"serviceAccountName": "web", "containers": [
                {"name": "web", "image": "a", "envFrom": [{"configMapRef": {"name": "settings"}}],
                 "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "pass", "key": "p"}}}]}],
                "volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "files"}}]}}]}}}})
    }

    fn data(kind: &str, name: &str, text: &str) -> Object {
        Object(
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"},
            "data": {"k": text}}),
        )
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Value, &mut Vec<Object>), same: bool) {
        let objects = vec![
            data("ConfigMap", "settings", "1"),
            data("ConfigMap", "files", "1"),
            data("Secret", "pass", "1"),
            data("ServiceAccount", "web", "1"),
            data("ConfigMap", "others", "1"),
        ];
        let digest = |workload: &Value, objects: &[Object]| {
            inputs_of(
                &Object(workload.clone()),
                &objects.iter().collect::<Vec<_>>(),
            )
        };
        let before = digest(&deployment(), &objects);
        let (mut workload, mut changed) = (deployment(), objects);
        change(&mut workload, &mut changed);
        assert_eq!(before == digest(&workload, &changed), same);
    }

    #[test]
    fn replicas_order_and_unrelated_objects_do_not_count() {
        check(|workload, _| workload["spec"]["replicas"] = json!(9), true);
        check(|_, objects| objects.reverse(), true);
        check(
            |_, objects| objects[4] = data("ConfigMap", "others", "2"),
            true,
        );
    }

    #[test]
    fn the_template_and_everything_it_names_count() {
        check(
            |workload, _| {
                workload["spec"]["template"]["spec"]["containers"][0]["image"] = json!("b")
            },
            false,
        );
        for (index, kind, name) in [
            (0, "ConfigMap", "settings"),
            (1, "ConfigMap", "files"),
            (2, "Secret", "pass"),
            (3, "ServiceAccount", "web"),
        ] {
            check(|_, objects| objects[index] = data(kind, name, "2"), false);
        }
        check(|_, objects| drop(objects.remove(0)), false);
    }
}
