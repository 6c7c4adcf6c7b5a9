//! The Deployment and ReplicaSet controllers, reduced to what a rollout shows: surge of one, nothing unavailable.

use super::pod::{Behaviour, PodLife};
use super::{Cluster, rfc3339};
use crate::content::{DEADLINE_S, Flavour};
use crate::rng::Rng;
use data_encoding::HEXLOWER;
use regraft_model::object::{Object, ObjectKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const REVISION: &str = "deployment.kubernetes.io/revision";
const SURGE: i64 = 1;
/// ReplicaSets without pods that are kept per Deployment.
const MAX_EMPTY_SETS: usize = 2;

/// What the Deployment controller remembers of a rollout.
#[derive(Clone, Debug)]
pub(crate) struct Rollout {
    hash: String,
    is_complete: bool,
    progress_at: i64,
    best: (i64, i64),
}

/// Counts of one ReplicaSet.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    wanted: i64,
    exist: i64,
    ready: i64,
}

impl Cluster {
    /// Runs every controller once; says when to run again though nothing is written meanwhile.
    pub(crate) fn step(&mut self, now: i64, rng: &mut Rng) -> Option<i64> {
        self.step_pods(now, rng);
        self.collect_garbage();
        let late = self.rollouts.iter().filter(|(_, rollout)| {
            !rollout.is_complete && now >= rollout.progress_at + DEADLINE_S * 1000
        });
        let late: Vec<_> = late.map(|(key, _)| key.clone()).collect();
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.extend(late);
        for key in &dirty {
            self.step_deployment(key, now);
            let uid = self.objects.get(key).map(|object| object.uid().to_owned());
            for set in self.owned_by("ReplicaSet", &uid.unwrap_or_default()) {
                self.step_replica_set(&set, now, rng);
            }
            self.judge_truth(key, now);
        }
        let ends = self
            .troubles
            .iter()
            .flat_map(|trouble| [trouble.from, trouble.until]);
        let deadlines = self
            .rollouts
            .values()
            .filter(|rollout| !rollout.is_complete)
            .map(|rollout| rollout.progress_at + DEADLINE_S * 1000);
        self.lives
            .values()
            .map(|life| life.until)
            .chain(ends)
            .chain(deadlines)
            .filter(|at| *at > now && *at < i64::MAX)
            .min()
    }

    fn step_pods(&mut self, now: i64, rng: &mut Rng) {
        let pods: Vec<_> = self.lives.keys().cloned().collect();
        for key in pods {
            let Some(object) = self.objects.get(&key) else {
                continue;
            };
            let due = self.lives.get(&key).is_some_and(|life| {
                now >= life.until || (life.is_steady() && self.is_troubled(app_of(object), now))
            });
            if !due {
                continue;
            }
            let mut object = object.clone();
            let behaviour = self.behaviour(&object, now);
            let Some(life) = self.lives.get_mut(&key) else {
                continue;
            };
            life.step(now, behaviour, rng);
            object.0["status"] = life.status(object.text("/spec/containers/0/image"));
            self.put(object, now);
        }
    }

    /// What lost its owner goes.
    fn collect_garbage(&mut self) {
        while let Some(uid) = self.gone.pop() {
            let children = self.children.remove(&uid).unwrap_or_default();
            for key in children {
                self.remove(&key);
            }
        }
    }

    fn behaviour(&self, pod: &Object, now: i64) -> Behaviour {
        if self.is_troubled(app_of(pod), now) {
            return Behaviour::Crash;
        }
        let set_age = pod
            .controller()
            .and_then(|(_, name, _)| {
                let key = ObjectKey {
                    group: "apps".to_owned(),
                    kind: "ReplicaSet".to_owned(),
                    namespace: pod.namespace().to_owned(),
                    name: name.to_owned(),
                };
                let made = self.objects.get(&key)?.text("/metadata/creationTimestamp");
                regraft_model::Timestamp::parse_rfc3339(made)
            })
            .map_or(0, |made| now - made.0);
        let flavour = Flavour::of_tag(pod.text("/spec/containers/0/image"));
        Behaviour::of(flavour, self.number == 0, set_age)
    }

    fn step_deployment(&mut self, key: &ObjectKey, now: i64) {
        let Some(deployment) = self.objects.get(key).cloned() else {
            return;
        };
        let template = deployment.0["spec"]["template"].clone();
        let hash = template_hash(&template);
        let (newest, revision) = self.newest_set(&deployment, &hash, &template, now);
        let wanted = deployment.number("/spec/replicas").unwrap_or(1);
        let sets = self.owned_by("ReplicaSet", deployment.uid());
        let older: Vec<_> = sets.into_iter().filter(|set| *set != newest).collect();
        let mut new = self.counts(&newest);
        let old_wanted: i64 = older.iter().map(|set| self.counts(set).wanted).sum();
        let room = (wanted + SURGE - old_wanted).max(new.wanted.min(wanted));
        if new.wanted != wanted.min(room) {
            self.scale(&newest, wanted.min(room), now);
            new = self.counts(&newest);
        }
        let all_ready: i64 =
            new.ready + older.iter().map(|set| self.counts(set).ready).sum::<i64>();
        // As the real controller: sick old pods may go while enough stay; then ready ones beyond what is wanted.
        let mut sick = new.wanted + old_wanted - wanted - (new.wanted - new.ready);
        let mut spare = all_ready - wanted;
        for set in &older {
            let counts = self.counts(set);
            let gone_sick = (counts.wanted - counts.ready).min(sick).max(0);
            let gone_ready = if counts.ready > 0 {
                (counts.wanted - gone_sick).min(spare).max(0)
            } else {
                0
            };
            sick -= gone_sick;
            spare -= gone_ready;
            if gone_sick + gone_ready > 0 {
                self.scale(set, counts.wanted - gone_sick - gone_ready, now);
            }
        }
        self.drop_old_sets(&older);
        self.write_status(deployment, &hash, revision, (&newest, &older), wanted, now);
    }

    /// The ReplicaSet of the current template, made when it is not there, with the highest revision.
    fn newest_set(
        &mut self,
        deployment: &Object,
        hash: &str,
        template: &Value,
        now: i64,
    ) -> (ObjectKey, i64) {
        let revision_of = |set: &Object| {
            set.annotation(REVISION)
                .and_then(|text| text.parse::<i64>().ok())
                .unwrap_or(0)
        };
        let key = ObjectKey {
            group: "apps".to_owned(),
            kind: "ReplicaSet".to_owned(),
            namespace: deployment.namespace().to_owned(),
            name: format!("{}-{hash}", deployment.name()),
        };
        let others = self
            .owned_by("ReplicaSet", deployment.uid())
            .into_iter()
            .filter(|other| *other != key)
            .filter_map(|other| self.objects.get(&other).map(revision_of))
            .max()
            .unwrap_or(0);
        if let Some(set) = self.objects.get(&key) {
            let revision = revision_of(set);
            if revision > others {
                return (key, revision);
            }
            let mut set = set.clone();
            set.0["metadata"]["annotations"][REVISION] = json!((others + 1).to_string());
            self.put(set, now);
            return (key, others + 1);
        }
        let mut template = template.clone();
        template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
        let mut labels = template["metadata"]["labels"].clone();
        labels["pod-template-hash"] = json!(hash);
        self.put(
            Object(json!({
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": key.name,
                    "namespace": key.namespace,
                    "labels": labels,
                    "annotations": {REVISION: (others + 1).to_string()},
                    "ownerReferences": [owner(deployment)],
                },
                "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
                "status": {"replicas": 0},
            })),
            now,
        );
        (key, others + 1)
    }

    /// Keeps few ReplicaSets without pods.
    fn drop_old_sets(&mut self, older: &[ObjectKey]) {
        let empty: Vec<_> = older
            .iter()
            .filter(|set| {
                let counts = self.counts(set);
                counts.wanted == 0 && counts.exist == 0
            })
            .cloned()
            .collect();
        if empty.len() > MAX_EMPTY_SETS {
            for set in empty.iter().take(empty.len() - MAX_EMPTY_SETS) {
                self.remove(set);
            }
        }
    }

    fn scale(&mut self, key: &ObjectKey, replicas: i64, now: i64) {
        if let Some(mut set) = self.objects.get(key).cloned() {
            set.0["spec"]["replicas"] = json!(replicas);
            self.put(set, now);
        }
    }

    fn counts(&self, key: &ObjectKey) -> Counts {
        let Some(set) = self.objects.get(key) else {
            return Counts::default();
        };
        let pods = self.owned_by("Pod", set.uid());
        let ready = pods
            .iter()
            .filter(|pod| self.lives.get(pod).is_some_and(PodLife::is_ready))
            .count();
        Counts {
            wanted: set.number("/spec/replicas").unwrap_or(0),
            exist: count(pods.len()),
            ready: count(ready),
        }
    }

    fn write_status(
        &mut self,
        mut deployment: Object,
        hash: &str,
        revision: i64,
        (newest, older): (&ObjectKey, &[ObjectKey]),
        wanted: i64,
        now: i64,
    ) {
        let new = self.counts(newest);
        let (mut exist, mut ready) = (new.exist, new.ready);
        for set in older {
            let counts = self.counts(set);
            exist += counts.exist;
            ready += counts.ready;
        }
        let key = deployment.key();
        let rollout = self.rollouts.entry(key).or_insert_with(|| Rollout {
            hash: String::new(),
            is_complete: false,
            progress_at: now,
            best: (0, 0),
        });
        if rollout.hash != hash {
            hash.clone_into(&mut rollout.hash);
            rollout.is_complete = false;
            rollout.progress_at = now;
            rollout.best = (0, 0);
        }
        let reached = (new.exist, new.ready);
        if reached.0 > rollout.best.0 || reached.1 > rollout.best.1 {
            rollout.best = (reached.0.max(rollout.best.0), reached.1.max(rollout.best.1));
            rollout.progress_at = now;
        }
        rollout.is_complete |= exist == wanted && new.exist == wanted && new.ready >= wanted;
        let late = now >= rollout.progress_at + DEADLINE_S * 1000;
        let (status, reason) = match (rollout.is_complete, late) {
            (true, _) => ("True", "NewReplicaSetAvailable"),
            (false, true) => ("False", "ProgressDeadlineExceeded"),
            (false, false) => ("True", "ReplicaSetUpdated"),
        };
        let available = if ready >= wanted { "True" } else { "False" };
        deployment.0["metadata"]["annotations"][REVISION] = json!(revision.to_string());
        let generation = deployment.number("/metadata/generation").unwrap_or(1);
        deployment.0["status"] = json!({
            "observedGeneration": generation,
            "replicas": exist,
            "updatedReplicas": new.exist,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": (wanted - ready).max(0),
            "conditions": [
                {"type": "Available", "status": available, "reason": "MinimumReplicas"},
                {"type": "Progressing", "status": status, "reason": reason,
                 "message": format!("ReplicaSet {} {reason}", newest.name),
                 "lastUpdateTime": rfc3339(rollout.progress_at)},
            ],
        });
        self.put(deployment, now);
    }

    fn step_replica_set(&mut self, key: &ObjectKey, now: i64, rng: &mut Rng) {
        let Some(set) = self.objects.get(key).cloned() else {
            return;
        };
        let pods = self.owned_by("Pod", set.uid());
        let wanted = set.number("/spec/replicas").unwrap_or(0);
        let surplus = count(pods.len()) - wanted;
        if surplus > 0 {
            let mut pods = pods;
            pods.sort_by_key(|pod| self.lives.get(pod).is_some_and(PodLife::is_ready));
            for pod in pods.iter().take(usize::try_from(surplus).unwrap_or(0)) {
                self.remove(pod);
            }
        }
        for _ in 0..(-surplus).max(0) {
            self.make_pod(&set, now, rng);
        }
        let counts = self.counts(key);
        let mut set = set;
        set.0["status"] = json!({
            "observedGeneration": set.number("/metadata/generation").unwrap_or(1),
            "replicas": counts.exist,
            "readyReplicas": counts.ready,
            "availableReplicas": counts.ready,
        });
        self.put(set, now);
    }

    fn make_pod(&mut self, set: &Object, now: i64, rng: &mut Rng) {
        let name = format!("{}-{:05x}", set.name(), rng.next() & 0xf_ffff);
        let mut pod = Object(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": set.namespace(),
                "labels": set.0["spec"]["template"]["metadata"]["labels"],
                "ownerReferences": [owner(set)],
            },
            "spec": set.0["spec"]["template"]["spec"],
        }));
        pod.0["spec"]["nodeName"] = json!("node-1");
        let behaviour = self.behaviour(&pod, now);
        let life = PodLife::new(now, behaviour, rng);
        pod.0["status"] = life.status(pod.text("/spec/containers/0/image"));
        self.lives.insert(pod.key(), life);
        self.put(pod, now);
    }

    /// Keeps the ground truth of who fails.
    fn judge_truth(&mut self, key: &ObjectKey, now: i64) {
        let Some(deployment) = self.objects.get(key) else {
            return;
        };
        let failing = self
            .owned_by("ReplicaSet", deployment.uid())
            .iter()
            .filter_map(|set| self.objects.get(set))
            .flat_map(|set| self.owned_by("Pod", set.uid()))
            .any(|pod| self.lives.get(&pod).is_some_and(PodLife::is_failing));
        let stuck = self.objects.get(key).is_some_and(|deployment| {
            deployment
                .list("/status/conditions")
                .iter()
                .any(|condition| condition["reason"] == "ProgressDeadlineExceeded")
        });
        if failing || stuck {
            self.failing_since.entry(key.clone()).or_insert(now);
            self.failed_at.insert(key.clone(), now);
        } else if self.failing_since.remove(key).is_some() {
            self.failed_at.insert(key.clone(), now);
        }
    }
}

fn app_of(object: &Object) -> &str {
    object.label("app").unwrap_or_default()
}

fn owner(object: &Object) -> Value {
    json!({
        "apiVersion": object.api_version(),
        "kind": object.kind(),
        "name": object.name(),
        "uid": object.uid(),
        "controller": true,
    })
}

fn template_hash(template: &Value) -> String {
    let digest = Sha256::digest(template.to_string().as_bytes());
    HEXLOWER.encode(&digest[..5])
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
