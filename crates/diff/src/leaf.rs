//! Compares only what we own: every leaf of the desired object must have the same value live.

use serde_json::Value;

/// Most paths reported for one object; people read the first few, and a rewritten ConfigMap has thousands.
pub const MAX_PATHS: usize = 20;

/// Lists whose elements have an identity, with the fields that make it: the patch merge keys of the Kubernetes API
/// (`x-kubernetes-list-map-keys` in its OpenAPI schema). The first entry whose fields all elements have is used.
const MERGE_KEYS: &[(&str, &[&str])] = &[
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("volumeDevices", &["devicePath"]),
    ("ports", &["containerPort", "protocol"]),
    ("ports", &["containerPort"]),
    ("ports", &["port", "protocol"]),
    ("ports", &["port"]),
    ("imagePullSecrets", &["name"]),
    ("secrets", &["name"]),
    ("hostAliases", &["ip"]),
    ("resourceClaims", &["name"]),
    ("schedulingGates", &["name"]),
    (
        "topologySpreadConstraints",
        &["topologyKey", "whenUnsatisfiable"],
    ),
    ("ownerReferences", &["uid"]),
    ("conditions", &["type"]),
    ("webhooks", &["name"]),
];

/// Lists of scalars that are sets: others may add their own elements.
const SETS: &[&str] = &["finalizers"];

/// Paths (`.spec.template.spec.containers[name=web].image`) whose desired value is not live, at most [`MAX_PATHS`].
/// `null` and empty collections want nothing: the server does not keep them.
pub fn differences(desired: &Value, live: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    walk(desired, Some(live), "", "", &mut paths);
    paths
}

fn walk(desired: &Value, live: Option<&Value>, field: &str, path: &str, paths: &mut Vec<String>) {
    if paths.len() >= MAX_PATHS {
        return;
    }
    match (desired, live) {
        (desired, None | Some(Value::Null)) => missing(desired, path, paths),
        (Value::Null, Some(_)) => {}
        (Value::Object(wanted), Some(Value::Object(found))) => {
            for (key, value) in wanted {
                walk(value, found.get(key), key, &join(path, key), paths);
            }
        }
        (Value::Array(wanted), Some(Value::Array(found))) => {
            walk_list(wanted, found, field, path, paths);
        }
        (Value::Number(wanted), Some(Value::Number(found))) => {
            if wanted != found && wanted.as_f64() != found.as_f64() {
                paths.push(path.to_owned());
            }
        }
        (wanted, Some(found)) if wanted == found => {}
        _ => paths.push(path.to_owned()),
    }
}

/// Reports the leaves of something that is not there at all.
fn missing(desired: &Value, path: &str, paths: &mut Vec<String>) {
    match desired {
        Value::Null => {}
        Value::Object(wanted) => {
            for (key, value) in wanted {
                walk(value, None, key, &join(path, key), paths);
            }
        }
        Value::Array(wanted) if wanted.is_empty() => {}
        _ => paths.push(path.to_owned()),
    }
}

fn walk_list(wanted: &[Value], found: &[Value], field: &str, path: &str, paths: &mut Vec<String>) {
    if SETS.contains(&field) {
        if wanted.iter().any(|item| !found.contains(item)) {
            paths.push(path.to_owned());
        }
        return;
    }
    if let Some(keys) = merge_keys(field, wanted, found) {
        for item in wanted {
            let same = found
                .iter()
                .find(|other| keys.iter().all(|key| item.get(key) == other.get(key)));
            match same {
                Some(_) => walk(item, same, "", &element(path, item, keys), paths),
                None => paths.push(element(path, item, keys)),
            }
        }
        return;
    }
    if wanted.len() != found.len() {
        paths.push(path.to_owned());
        return;
    }
    for (index, (item, other)) in wanted.iter().zip(found).enumerate() {
        walk(item, Some(other), "", &format!("{path}[{index}]"), paths);
    }
}

fn merge_keys(field: &str, wanted: &[Value], found: &[Value]) -> Option<&'static [&'static str]> {
    let identified = |keys: &[&str], items: &[Value]| {
        items
            .iter()
            .all(|item| keys.iter().all(|key| item.get(key).is_some()))
    };
    MERGE_KEYS
        .iter()
        .find(|(name, keys)| {
            *name == field
                && identified(keys, wanted)
                && identified(keys, found)
                && distinct(keys, wanted)
        })
        .map(|(_, keys)| *keys)
}

/// Two elements with the same identity cannot be matched (the server keeps duplicates of `env`, for one).
fn distinct(keys: &[&str], items: &[Value]) -> bool {
    items.iter().enumerate().all(|(index, item)| {
        !items[..index]
            .iter()
            .any(|before| keys.iter().all(|key| before.get(key) == item.get(key)))
    })
}

fn join(path: &str, key: &str) -> String {
    let plain = key
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    match plain {
        true => format!("{path}.{key}"),
        false => format!("{path}[{key:?}]"),
    }
}

fn element(path: &str, item: &Value, keys: &[&str]) -> String {
    let identity: Vec<_> = keys
        .iter()
        .map(|key| match &item[*key] {
            Value::String(text) => format!("{key}={text}"),
            other => format!("{key}={other}"),
        })
        .collect();
    format!("{path}[{}]", identity.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(desired: Value, live: Value, expected: &[&str]) {
        assert_eq!(differences(&desired, &live), expected);
    }

    #[test]
    fn what_the_server_added_is_no_difference() {
        check(
            json!({"spec": {"replicas": 2}}),
            json!({"spec": {"replicas": 2, "paused": false}, "status": {}}),
            &[],
        );
        check(
            json!({"spec": {"rules": [{"host": "a"}]}}),
            json!({"spec": {"rules": [{"host": "a", "extra": 1}]}}),
            &[],
        );
    }

    #[test]
    fn a_changed_or_missing_leaf_is_named_by_its_path() {
        check(
            json!({"spec": {"replicas": 2}}),
            json!({"spec": {"replicas": 3}}),
            &[".spec.replicas"],
        );
        check(
            json!({"metadata": {"annotations": {"a.b/c": "x"}}}),
            json!({"metadata": {}}),
            &[".metadata.annotations[\"a.b/c\"]"],
        );
        check(json!({"v": "8080"}), json!({"v": 8080}), &[".v"]);
    }

    #[test]
    fn containers_and_ports_are_matched_by_their_merge_keys_in_any_order() {
        let live = json!({"containers": [{"name": "sidecar", "image": "s"},
            {"name": "web", "image": "old", "ports": [{"containerPort": 1, "protocol": "TCP"}]}]});
        check(
            json!({"containers": [{"name": "web", "image": "old", "ports": [{"containerPort": 1}]}]}),
            live.clone(),
            &[],
        );
        check(
            json!({"containers": [{"name": "web", "image": "new"}]}),
            live.clone(),
            &[".containers[name=web].image"],
        );
        check(
            json!({"containers": [{"name": "gone", "image": "x"}]}),
            live,
            &[".containers[name=gone]"],
        );
    }

    #[test]
    fn other_lists_are_compared_whole_and_in_order() {
        check(
            json!({"args": ["a", "b"]}),
            json!({"args": ["b", "a"]}),
            &[".args[0]", ".args[1]"],
        );
        check(
            json!({"args": ["a"]}),
            json!({"args": ["a", "b"]}),
            &[".args"],
        );
    }

    #[test]
    fn null_and_empty_want_nothing() {
        check(
            json!({"a": null, "b": {}, "c": [], "d": {"e": null}}),
            json!({}),
            &[],
        );
        check(json!({"a": {}}), json!({"a": {"b": 1}}), &[]);
        check(json!({"a": 1.0}), json!({"a": 1}), &[]);
        check(
            json!({"finalizers": ["a"]}),
            json!({"finalizers": ["b", "a"]}),
            &[],
        );
    }

    #[test]
    fn the_number_of_paths_is_bounded() {
        let desired: serde_json::Map<_, _> =
            (0..100).map(|i| (format!("k{i}"), json!(i))).collect();
        assert_eq!(
            differences(&Value::Object(desired), &json!({})).len(),
            MAX_PATHS
        );
    }
}
