//! A fake cluster: stored objects, tiny controllers, and what a person with kubectl does to it.

mod merge;
mod pod;
mod workload;

pub(crate) use merge::server_side_apply;

use pod::PodLife;
use regraft_model::apply::{Inventory, KindVersion};
use regraft_model::object::{Object, ObjectKey};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use workload::Rollout;

/// Kinds the fake API server has, as (version, kind).
pub(crate) const SERVED: &[(&str, &str)] = &[
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("v1", "Pod"),
    ("v1", "Event"),
    ("v1", "ConfigMap"),
    ("v1", "Namespace"),
];

/// Something that makes unchanged workloads crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) from: i64,
    pub(crate) until: i64,
    /// Names of Deployments.
    pub(crate) workloads: Vec<String>,
}

/// A change to be told to watchers.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Seen(Object),
    Gone(KindVersion, ObjectKey),
}

#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    /// First cluster: where picky images crash.
    pub(crate) number: usize,
    pub(crate) uid: String,
    /// Whether the API server answers at all.
    pub(crate) up: bool,
    pub(crate) objects: BTreeMap<ObjectKey, Object>,
    /// What regraft applied last: the fields it owns.
    pub(crate) owned: BTreeMap<ObjectKey, Value>,
    pub(crate) inventories: BTreeMap<String, Inventory>,
    /// How often each inventory was written.
    pub(crate) inventory_versions: BTreeMap<String, u64>,
    pub(crate) troubles: Vec<Trouble>,
    /// Since when a workload has a failing pod, without a break: ground truth.
    pub(crate) failing_since: BTreeMap<ObjectKey, i64>,
    /// When a workload last had a failing pod.
    pub(crate) failed_at: BTreeMap<ObjectKey, i64>,
    /// Changes not yet told.
    pub(crate) changes: Vec<Change>,
    /// When the controllers run next.
    pub(crate) wake: Option<i64>,
    lives: BTreeMap<ObjectKey, PodLife>,
    /// Objects by the UID of their controlling owner.
    children: BTreeMap<String, BTreeSet<ObjectKey>>,
    /// Deployments with something to look at.
    dirty: BTreeSet<ObjectKey>,
    /// UIDs of owners that are gone, for the garbage collector.
    gone: Vec<String>,
    rollouts: BTreeMap<ObjectKey, Rollout>,
    version: u64,
    made: u64,
}

impl Cluster {
    pub(crate) fn new(name: &str, number: usize) -> Self {
        Self {
            name: name.to_owned(),
            number,
            uid: format!("{name}-uid-1"),
            up: true,
            objects: BTreeMap::new(),
            owned: BTreeMap::new(),
            inventories: BTreeMap::new(),
            inventory_versions: BTreeMap::new(),
            troubles: Vec::new(),
            failing_since: BTreeMap::new(),
            failed_at: BTreeMap::new(),
            changes: Vec::new(),
            wake: None,
            lives: BTreeMap::new(),
            children: BTreeMap::new(),
            dirty: BTreeSet::new(),
            gone: Vec::new(),
            rollouts: BTreeMap::new(),
            version: 0,
            made: 0,
        }
    }

    /// Another, empty cluster under the same name.
    pub(crate) fn replace(&mut self) {
        let mut fresh = Cluster::new(&self.name, self.number);
        self.made += 1;
        fresh.uid = format!("{}-uid-{}", self.name, self.made + 1);
        fresh.made = self.made;
        fresh.up = self.up;
        // What failed in the old one has failed: nobody can know at once that it is gone.
        fresh.failed_at = std::mem::take(&mut self.failed_at);
        *self = fresh;
    }

    /// Stores an object as its writer sent it; the server adds what is the server's. Tells nothing when it is equal.
    pub(crate) fn put(&mut self, mut object: Object, now: i64) {
        let key = object.key();
        let old = self.objects.get(&key);
        let field = |old: Option<&Object>, pointer: &str| {
            old.and_then(|old| old.0.pointer(pointer).cloned())
        };
        let (uid, created, generation) = (
            field(old, "/metadata/uid"),
            field(old, "/metadata/creationTimestamp"),
            old.and_then(|old| old.number("/metadata/generation")),
        );
        let spec_changed = old.is_none_or(|old| old.0.get("spec") != object.0.get("spec"));
        let has_spec = object.0.get("spec").is_some();
        let metadata = &mut object.0["metadata"];
        metadata["uid"] = uid.unwrap_or_else(|| {
            self.made += 1;
            json!(format!("{}-{}", self.name, self.made))
        });
        metadata["creationTimestamp"] = created.unwrap_or_else(|| json!(rfc3339(now)));
        if has_spec {
            metadata["generation"] = json!(generation.unwrap_or(0) + i64::from(spec_changed));
        }
        if let Some(old) = old {
            metadata["resourceVersion"] = json!(old.resource_version());
        }
        if old == Some(&object) {
            return;
        }
        self.version += 1;
        self.touch(&object);
        if let Some((_, _, owner)) = object.controller() {
            self.children
                .entry(owner.to_owned())
                .or_default()
                .insert(key.clone());
        }
        object.0["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.changes.push(Change::Seen(object.clone()));
        self.objects.insert(key, object);
    }

    pub(crate) fn remove(&mut self, key: &ObjectKey) {
        let Some(object) = self.objects.remove(key) else {
            return;
        };
        self.version += 1;
        self.touch(&object);
        if let Some((_, _, owner)) = object.controller()
            && let Some(siblings) = self.children.get_mut(owner)
        {
            siblings.remove(key);
        }
        self.gone.push(object.uid().to_owned());
        self.lives.remove(key);
        self.rollouts.remove(key);
        self.owned.remove(key);
        self.failing_since.remove(key);
        self.changes
            .push(Change::Gone(KindVersion::of(&object), key.clone()));
    }

    /// Notes which Deployment has to be looked at: workloads carry its name as a label.
    fn touch(&mut self, object: &Object) {
        let name = match object.kind() {
            "Deployment" => object.name(),
            "ReplicaSet" | "Pod" => object.label("app").unwrap_or_default(),
            _ => return,
        };
        self.dirty.insert(ObjectKey {
            group: "apps".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: object.namespace().to_owned(),
            name: name.to_owned(),
        });
    }

    /// Objects with a controlling owner of this UID.
    pub(crate) fn owned_by(&self, kind: &str, uid: &str) -> Vec<ObjectKey> {
        let children = self.children.get(uid).into_iter().flatten();
        children.filter(|key| key.kind == kind).cloned().collect()
    }

    /// Whether an environment fault makes this workload crash now.
    pub(crate) fn is_troubled(&self, workload: &str, now: i64) -> bool {
        self.troubles.iter().any(|trouble| {
            (trouble.from..trouble.until).contains(&now)
                && trouble.workloads.iter().any(|name| name == workload)
        })
    }

    pub(crate) fn serves(kind: &KindVersion) -> bool {
        SERVED
            .iter()
            .any(|(version, name)| *version == kind.api_version && *name == kind.kind)
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }
}

/// Whole seconds, as the API writes times.
pub(crate) fn rfc3339(now: i64) -> String {
    let text = regraft_model::Timestamp(now / 1000 * 1000).to_rfc3339();
    text.replace(".000Z", "Z")
}
