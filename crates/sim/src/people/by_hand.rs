//! What people change in a cluster past Git.

use crate::world::World;
use regraft_model::object::{APPLICATION_LABEL, ObjectKey};
use serde_json::json;

impl World {
    pub(super) fn edit_by_hand(&mut self, cluster: usize) {
        let ours: Vec<_> = self.ours(cluster, "Deployment");
        let Some(key) = self.rng.pick(&ours).cloned() else {
            return;
        };
        let Some(mut object) = self.clusters[cluster].objects.get(&key).cloned() else {
            return;
        };
        let value = self.rng.next() % 100;
        object.0["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] =
            json!(format!("by hand {value}"));
        self.note(format!(
            "a person edits {key} in {}",
            self.clusters[cluster].name
        ));
        self.clusters[cluster].put(object, self.now);
        self.spread_changes(cluster);
        self.wake_controllers(cluster, self.now + 20);
    }

    pub(super) fn delete_by_hand(&mut self, cluster: usize) {
        let ours = self.ours(cluster, "ConfigMap");
        let Some(key) = self.rng.pick(&ours).cloned() else {
            return;
        };
        self.note(format!(
            "a person deletes {key} in {}",
            self.clusters[cluster].name
        ));
        self.clusters[cluster].remove(&key);
        self.spread_changes(cluster);
    }

    fn ours(&self, cluster: usize, kind: &str) -> Vec<ObjectKey> {
        if !self.clusters[cluster].up {
            return Vec::new();
        }
        self.clusters[cluster]
            .objects
            .values()
            .filter(|object| object.kind() == kind && object.label(APPLICATION_LABEL).is_some())
            .map(|object| object.key())
            .collect()
    }
}
