//! What is live of one workload, and which of its pods have its newest template.

use regraft_model::{Object, ObjectKey};
use serde_json::Value;

/// Annotation by which the Deployment controller numbers its ReplicaSets.
const REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";
/// Annotation with the generation of a DaemonSet's template.
const TEMPLATE_GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";
/// Label with the generation of the DaemonSet template a pod was made from.
const TEMPLATE_GENERATION_LABEL: &str = "pod-template-generation";
/// Label with the revision a pod of a StatefulSet or DaemonSet was made from.
const REVISION_LABEL: &str = "controller-revision-hash";

/// The live objects that belong to one workload.
#[derive(Clone, Debug)]
pub struct WorkloadView<'a> {
    /// The Deployment, StatefulSet, DaemonSet or Job.
    pub workload: &'a Object,
    /// Its ReplicaSets, for a Deployment.
    pub replica_sets: Vec<&'a Object>,
    /// Its pods.
    pub pods: Vec<&'a Object>,
    /// Events about the workload, its ReplicaSets and pods.
    pub events: Vec<&'a Object>,
}

/// How a pod's template relates to the one the workload asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Age {
    Newest,
    Older,
}

impl<'a> WorkloadView<'a> {
    /// Whether the workload's controller has seen its latest specification, and we what it made of it. Before that
    /// its status and its newest ReplicaSet speak of an older one.
    pub(crate) fn is_observed(&self) -> bool {
        let status_is_current = match (
            self.workload.number("/metadata/generation"),
            self.workload.number("/status/observedGeneration"),
        ) {
            (Some(generation), Some(observed)) => observed >= generation,
            _ => true,
        };
        // Kinds are watched apart: the Deployment may name a revision whose ReplicaSet was not told yet.
        let sets_are_current = self.workload.kind() != "Deployment"
            || self
                .newest_replica_set()
                .is_none_or(|set| revision(set) >= revision(self.workload));
        status_is_current && sets_are_current
    }

    /// Whether pods of older templates go by themselves. Until the controller has seen the latest specification it
    /// cannot be told which those are.
    pub(crate) fn replaces_older_pods(&self) -> bool {
        self.is_observed() && self.workload.text("/spec/updateStrategy/type") != "OnDelete"
    }

    /// The ReplicaSet with the highest revision.
    pub(crate) fn newest_replica_set(&self) -> Option<&'a Object> {
        self.replica_sets
            .iter()
            .copied()
            .max_by_key(|set| (revision(set), set.name()))
    }

    /// The other ReplicaSets that still have or want pods, else the one before the newest; highest revision first.
    pub(crate) fn older_replica_sets(&self) -> Vec<&'a Object> {
        let newest = self.newest_replica_set().map(Object::name);
        let mut older: Vec<_> = self
            .replica_sets
            .iter()
            .copied()
            .filter(|set| Some(set.name()) != newest)
            .collect();
        older.sort_by_key(|set| std::cmp::Reverse((revision(set), set.name())));
        if older.iter().any(|set| is_populated(set)) {
            older.retain(|set| is_populated(set));
        } else {
            older.truncate(1);
        }
        older
    }

    /// Pods that are neither finished nor on their way out.
    pub(crate) fn live_pods(&self) -> impl Iterator<Item = &'a Object> + '_ {
        self.pods.iter().copied().filter(|pod| {
            pod.text("/metadata/deletionTimestamp").is_empty()
                && !matches!(pod.text("/status/phase"), "Succeeded" | "Failed")
        })
    }

    /// Whether a pod has the newest template. A pod whose template cannot be told counts as older: it is no evidence
    /// against the newest one.
    pub(crate) fn age(&self, pod: &Object) -> Age {
        let newest = self.is_observed()
            && match self.workload.kind() {
                "Deployment" => self.newest_replica_set().is_some_and(|set| {
                    pod.controller()
                        .is_some_and(|(_, name, uid)| owns(set, name, uid))
                }),
                "StatefulSet" => {
                    let update = self.workload.text("/status/updateRevision");
                    !update.is_empty() && pod.label(REVISION_LABEL) == Some(update)
                }
                "DaemonSet" => {
                    let generation = pod.label(TEMPLATE_GENERATION_LABEL);
                    generation.is_some()
                        && generation.and_then(|text| text.parse().ok()) == self.daemon_generation()
                }
                // The template of a Job, a ReplicaSet or a bare pod never changes.
                _ => true,
            };
        if newest { Age::Newest } else { Age::Older }
    }

    /// Names the newest template: the ReplicaSet or ControllerRevision that holds it, else the workload itself.
    pub(crate) fn newest_template(&self) -> ObjectKey {
        match self.workload.kind() {
            "Deployment" => {
                if let Some(set) = self.newest_replica_set().filter(|_| self.is_observed()) {
                    return ObjectKey {
                        group: "apps".to_owned(),
                        kind: "ReplicaSet".to_owned(),
                        ..set.key()
                    };
                }
            }
            "StatefulSet" => {
                let update = self.workload.text("/status/updateRevision");
                if !update.is_empty() && self.is_observed() {
                    return self.controller_revision(update.to_owned());
                }
            }
            "DaemonSet" => {
                let hash = self
                    .live_pods()
                    .filter(|pod| self.age(pod) == Age::Newest)
                    .find_map(|pod| pod.label(REVISION_LABEL));
                if let Some(hash) = hash {
                    return self.controller_revision(format!("{}-{hash}", self.workload.name()));
                }
            }
            _ => {}
        }
        self.workload.key()
    }

    fn controller_revision(&self, name: String) -> ObjectKey {
        ObjectKey {
            group: "apps".to_owned(),
            kind: "ControllerRevision".to_owned(),
            namespace: self.workload.namespace().to_owned(),
            name,
        }
    }

    fn daemon_generation(&self) -> Option<i64> {
        self.workload
            .annotation(TEMPLATE_GENERATION_ANNOTATION)
            .and_then(|text| text.parse().ok())
            .or_else(|| {
                self.pods
                    .iter()
                    .filter_map(|pod| pod.label(TEMPLATE_GENERATION_LABEL)?.parse().ok())
                    .max()
            })
    }
}

/// Whether the pod's Ready condition is true.
pub(crate) fn is_ready(pod: &Object) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// A condition of an object's status by its type.
pub(crate) fn condition<'o>(object: &'o Object, kind: &str) -> Option<&'o Value> {
    object
        .list("/status/conditions")
        .iter()
        .find(|condition| condition["type"] == kind)
}

fn owns(set: &Object, name: &str, uid: &str) -> bool {
    set.name() == name && (set.uid().is_empty() || set.uid() == uid)
}

fn revision(object: &Object) -> i64 {
    object
        .annotation(REVISION_ANNOTATION)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn is_populated(set: &Object) -> bool {
    set.number("/spec/replicas").unwrap_or(0) > 0 || set.number("/status/replicas").unwrap_or(0) > 0
}
