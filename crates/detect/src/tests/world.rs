//! Live objects of one workload, as the API server gives them.

use crate::WorkloadView;
use regraft_model::{Object, Timestamp};
use serde_json::{Value, json};

/// 2026-01-31T12:00:00Z.
pub(super) const NOON: Timestamp = Timestamp(1_769_860_800_000);

/// A moment so many seconds after noon.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp(NOON.0 + seconds * 1000)
}

/// Objects that a view borrows.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) workload: Object,
    pub(super) replica_sets: Vec<Object>,
    pub(super) pods: Vec<Object>,
    pub(super) events: Vec<Object>,
}

impl World {
    /// A Deployment with an old and a new ReplicaSet, one ready pod of the old one.
    pub(super) fn rollout() -> Self {
        Self {
            workload: Object(json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "web", "namespace": "shop", "uid": "d", "generation": 2},
                "spec": {"replicas": 1}, "status": {"observedGeneration": 2},
            })),
            replica_sets: vec![
                replica_set("web-1", 1, "shop/web:1"),
                replica_set("web-2", 2, "shop/web:2"),
            ],
            pods: vec![pod(
                "web-1-a",
                "web-1",
                json!({"running": {"startedAt": at(-900).to_rfc3339()}}),
                true,
            )],
            events: vec![],
        }
    }

    /// The rollout with one pod of the new template in the given container state.
    pub(super) fn with_new_pod(state: Value) -> Self {
        let mut world = Self::rollout();
        world.pods.push(pod("web-2-a", "web-2", state, false));
        world
    }

    pub(super) fn view(&self) -> WorkloadView<'_> {
        WorkloadView {
            workload: &self.workload,
            replica_sets: self.replica_sets.iter().collect(),
            pods: self.pods.iter().collect(),
            events: self.events.iter().collect(),
        }
    }

    /// The status of the first container of the last pod.
    pub(super) fn container(&mut self) -> &mut Value {
        let pod = self.pods.last_mut().expect("a pod");
        &mut pod.0["status"]["containerStatuses"][0]
    }
}

pub(super) fn replica_set(name: &str, revision: u32, image: &str) -> Object {
    Object(json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"),
            "creationTimestamp": at(-600 + i64::from(revision)).to_rfc3339(),
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
            "ownerReferences": [{"kind": "Deployment", "name": "web", "uid": "d", "controller": true}]},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "web", "image": image}]}}},
        "status": {"replicas": 1, "readyReplicas": if revision == 1 { 1 } else { 0 }},
    }))
}

pub(super) fn pod(name: &str, owner: &str, state: Value, ready: bool) -> Object {
    Object(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": at(-60).to_rfc3339(),
            "ownerReferences": [{"kind": "ReplicaSet", "name": owner, "uid": format!("uid-{owner}"), "controller": true}]},
        "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" },
                "lastTransitionTime": at(-50).to_rfc3339()}],
            "containerStatuses": [{"name": "web", "restartCount": 0, "state": state, "ready": ready}]},
    }))
}

pub(super) fn waiting(reason: &str, message: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": message}})
}

pub(super) fn terminated(exit_code: i64, from: i64, to: i64) -> Value {
    json!({"terminated": {"exitCode": exit_code, "reason": "Error",
        "startedAt": at(from).to_rfc3339(), "finishedAt": at(to).to_rfc3339()}})
}

pub(super) fn event(name: &str, kind: &str, reason: &str, message: &str, seconds: i64) -> Object {
    Object(json!({
        "apiVersion": "v1", "kind": "Event", "type": kind, "reason": reason, "message": message,
        "metadata": {"name": name, "namespace": "shop"}, "lastTimestamp": at(seconds).to_rfc3339(),
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-2-a"},
    }))
}
