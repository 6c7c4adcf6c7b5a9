//! Server-side apply on JSON: what the applier said before and says no more goes, what it says now is set, the rest
//! stays. Lists whose items have names are merged by name, other lists are replaced.

use serde_json::{Map, Value, json};

/// The object after an apply.
pub(crate) fn server_side_apply(
    live: Option<&Value>,
    before: Option<&Value>,
    said: &Value,
) -> Value {
    let mut result = live.cloned().unwrap_or(Value::Null);
    if let Some(before) = before {
        retract(&mut result, before, Some(said));
    }
    overlay(&mut result, said);
    add_defaults(&mut result);
    result
}

fn overlay(live: &mut Value, said: &Value) {
    match (live, said) {
        (Value::Object(live), Value::Object(said)) => {
            for (key, value) in said {
                overlay(live.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(live), Value::Array(said)) if named(live) && named(said) => {
            for item in said {
                match live.iter_mut().find(|other| other["name"] == item["name"]) {
                    Some(other) => overlay(other, item),
                    None => live.push(item.clone()),
                }
            }
        }
        (live, said) => *live = said.clone(),
    }
}

fn retract(live: &mut Value, before: &Value, said: Option<&Value>) {
    match (live, before) {
        (Value::Object(live), Value::Object(before)) => {
            for (key, value) in before {
                let now = said.and_then(|said| said.get(key));
                let Some(child) = live.get_mut(key) else {
                    continue;
                };
                if value.is_object() || value.as_array().is_some_and(|items| named(items)) {
                    retract(child, value, now);
                    if now.is_none() && child.as_object().is_some_and(Map::is_empty) {
                        live.remove(key);
                    }
                } else if now.is_none() {
                    live.remove(key);
                }
            }
        }
        (Value::Array(live), Value::Array(before)) => {
            let still = |item: &Value| {
                said.and_then(Value::as_array)
                    .is_some_and(|said| said.iter().any(|other| other["name"] == item["name"]))
            };
            live.retain(|item| {
                still(item) || !before.iter().any(|other| other["name"] == item["name"])
            });
        }
        _ => {}
    }
}

fn named(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| item["name"].is_string())
}

fn add_defaults(object: &mut Value) {
    if object["kind"] != "Deployment" {
        return;
    }
    let spec = &mut object["spec"];
    set_absent(spec, "revisionHistoryLimit", json!(10));
    set_absent(
        spec,
        "strategy",
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}),
    );
    let template = &mut spec["template"]["spec"];
    set_absent(template, "restartPolicy", json!("Always"));
    if let Some(containers) = template["containers"].as_array_mut() {
        for container in containers {
            set_absent(container, "imagePullPolicy", json!("IfNotPresent"));
        }
    }
}

fn set_absent(value: &mut Value, key: &str, default: Value) {
    if let Some(map) = value.as_object_mut() {
        map.entry(key.to_owned()).or_insert(default);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_apply_takes_back_what_it_said_before_and_leaves_what_others_said() {
        let live = json!({"data": {"ours": 1, "theirs": 2}, "list": [{"name": "a", "x": 1}, {"name": "b"}]});
        let before = json!({"data": {"ours": 1}, "list": [{"name": "a"}]});
        let said = json!({"data": {"new": 3}, "list": [{"name": "c"}]});
        let after = server_side_apply(Some(&live), Some(&before), &said);
        assert_eq!(
            after,
            json!({"data": {"theirs": 2, "new": 3}, "list": [{"name": "b"}, {"name": "c"}]})
        );
    }

    #[test]
    fn applying_the_same_twice_changes_nothing() {
        let said = json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [{"name": "main"}]}}}});
        let once = server_side_apply(None, None, &said);
        let twice = server_side_apply(Some(&once), Some(&said), &said);
        assert_eq!(once, twice);
    }
}
