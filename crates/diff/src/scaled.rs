//! `replicas` belongs to whoever scales: it is taken out of what we want where an autoscaler targets the workload.

use crate::stamp::refresh_digest;
use regraft_model::object::FIELD_MANAGER;
use regraft_model::{Object, ObjectKey};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Workloads that the HorizontalPodAutoscalers and KEDA ScaledObjects among `objects` scale.
pub fn scale_targets<'a>(objects: impl IntoIterator<Item = &'a Object>) -> BTreeSet<ObjectKey> {
    objects.into_iter().filter_map(target_of).collect()
}

fn target_of(object: &Object) -> Option<ObjectKey> {
    let default_api_version = match (object.group(), object.kind()) {
        ("autoscaling", "HorizontalPodAutoscaler") => "",
        // KEDA's documented defaults: apps/v1 Deployment.
        ("keda.sh", "ScaledObject") => "apps/v1",
        _ => return None,
    };
    let or = |text: &str, default: &str| if text.is_empty() { default } else { text }.to_owned();
    let name = object.text("/spec/scaleTargetRef/name");
    let api_version = or(
        object.text("/spec/scaleTargetRef/apiVersion"),
        default_api_version,
    );
    (!name.is_empty()).then(|| ObjectKey {
        group: api_version
            .split_once('/')
            .map_or(String::new(), |(group, _)| group.to_owned()),
        kind: or(object.text("/spec/scaleTargetRef/kind"), "Deployment"),
        namespace: object.namespace().to_owned(),
        name: name.to_owned(),
    })
}

/// What we want of an object: without `replicas` where it is among the scaled ones. Every way from Git to a cluster
/// goes through here, so that what is compared, shown and applied is the same.
pub fn wanted<'a>(
    object: &'a Object,
    live: Option<&Object>,
    scaled: &BTreeSet<ObjectKey>,
) -> Cow<'a, Object> {
    scaled
        .contains(&object.key())
        .then(|| without_replicas(object, live))
        .flatten()
        .map_or(Cow::Borrowed(object), Cow::Owned)
}

/// What we want of a scaled workload: everything but `replicas`; `None` when it does not say any.
///
/// One exception keeps it from falling to one replica: while the server's managed fields say that nobody but us owns
/// `replicas`, giving it up would reset it, so what is live is repeated until the autoscaler has taken over.
fn without_replicas(desired: &Object, live: Option<&Object>) -> Option<Object> {
    desired.0.pointer("/spec/replicas")?;
    let mut object = desired.clone();
    let spec = object.0.get_mut("spec")?.as_object_mut()?;
    spec.remove("replicas");
    refresh_digest(&mut object);
    if let Some(live) = live.filter(|live| only_ours(live)) {
        let replicas = live.0.pointer("/spec/replicas")?.clone();
        object
            .0
            .get_mut("spec")?
            .as_object_mut()?
            .insert("replicas".to_owned(), replicas);
    }
    Some(object)
}

fn only_ours(live: &Object) -> bool {
    let mut owners = live
        .list("/metadata/managedFields")
        .iter()
        .filter(|entry| entry.pointer("/fieldsV1/f:spec/f:replicas").is_some())
        .peekable();
    owners.peek().is_some()
        && owners.all(|entry| entry.get("manager").and_then(Value::as_str) == Some(FIELD_MANAGER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn targets_of_both_kinds_of_autoscaler_are_found() {
        let hpa = Object(
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "namespace": "shop"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"}}}),
        );
        let scaled = Object(
            json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "s", "namespace": "shop"}, "spec": {"scaleTargetRef": {"name": "web"}}}),
        );
        let targets: Vec<_> = scale_targets([&hpa, &scaled])
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            targets,
            ["Deployment.apps shop/web", "StatefulSet.apps shop/db"]
        );
    }

    #[test]
    fn replicas_are_given_up_only_when_somebody_else_holds_them() {
        let desired =
            Object(json!({"kind": "Deployment", "metadata": {}, "spec": {"replicas": 2}}));
        let owned_by = |manager: &str| {
            Object(json!({"metadata": {"managedFields": [
                {"manager": manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}}]},
                "spec": {"replicas": 7}}))
        };
        let replicas = |live: Option<&Object>| {
            without_replicas(&desired, live).and_then(|object| object.number("/spec/replicas"))
        };
        assert_eq!(replicas(None), None);
        assert_eq!(replicas(Some(&owned_by("kube-controller-manager"))), None);
        assert_eq!(replicas(Some(&owned_by(FIELD_MANAGER))), Some(7));
    }

    #[test]
    fn only_what_is_scaled_is_wanted_without_replicas() {
        let deployment = |name: &str| {
            Object(json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": name, "namespace": "shop"}, "spec": {"replicas": 2}}))
        };
        let (web, worker) = (deployment("web"), deployment("worker"));
        let scaled = BTreeSet::from([web.key()]);
        let replicas = |object: &Object| wanted(object, None, &scaled).number("/spec/replicas");
        assert_eq!(replicas(&web), None);
        assert_eq!(replicas(&worker), Some(2));
    }
}
