//! How well one object is, from what it says itself.
//!
//! A verdict names the field that is waited for. Three profiles: ours, and those of the two tools people compare with
//! (kstatus as Flux uses it, and Argo CD), which judge some objects differently on purpose.

mod api;
mod autoscaler;
mod daemonset;
mod deployment;
mod facts;
mod generic;
mod job;
mod network;
mod pod;
mod replicaset;
mod statefulset;
mod storage;
mod words;

use facts::{Conditions, verdict};
use regraft_model::{Health, Object, Timestamp, Verdict};

/// By whose rules an object is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Ours: kstatus made stricter where it calls something current that does not work yet.
    #[default]
    Regraft,
    /// `kstatus` of fluxcd/cli-utils.
    Kstatus,
    /// The built-in assessments of Argo CD, and conventions for custom kinds.
    Argo,
}

/// Judges one object. `now` decides only how long something waits already.
pub fn judge(object: &Object, profile: Profile, now: Timestamp) -> Verdict {
    if !object.0.is_object() || object.kind().is_empty() {
        return verdict(Health::Unknown, "NotAnObject", "has no kind", "");
    }
    if let Some(early) = before_the_kind(object, profile) {
        return early;
    }
    match (object.group(), object.kind()) {
        ("", "Pod") => pod::judge(object, profile, now),
        ("apps" | "extensions", "Deployment") => deployment::judge(object, profile),
        ("apps" | "extensions", "ReplicaSet") => replicaset::judge(object, profile),
        ("apps" | "extensions", "DaemonSet") => daemonset::judge(object, profile),
        ("apps", "StatefulSet") => statefulset::judge(object, profile),
        ("batch", "Job") => job::judge(object, profile),
        ("batch", "CronJob") => job::judge_cron(object, profile),
        ("", "PersistentVolumeClaim") => storage::judge_claim(object, profile),
        ("", "Service") => network::judge_service(object, profile),
        ("networking.k8s.io" | "extensions", "Ingress") => network::judge_ingress(object, profile),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::judge(object, profile),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => api::judge_crd(object, profile),
        ("apiregistration.k8s.io", "APIService") => api::judge_service(object, profile),
        (group, _) if facts::is_built_in(group) => verdict(
            Health::Healthy,
            "Current",
            "needs nothing to be current",
            "",
        ),
        _ => generic::judge(object, profile),
    }
}

/// A verdict's health in the words of a profile.
pub fn status_word(profile: Profile, verdict: &Verdict) -> String {
    let word = match (profile, verdict.health) {
        (Profile::Kstatus, _) if verdict.reason == facts::TERMINATING => "Terminating",
        (Profile::Kstatus, Health::Healthy | Health::Suspended) => "Current",
        (Profile::Kstatus, Health::Progressing) => "InProgress",
        (Profile::Kstatus, Health::Degraded) => "Failed",
        (Profile::Kstatus, Health::Missing) => "NotFound",
        (_, health) => return health.to_string(),
    };
    word.to_owned()
}

/// What holds for every kind: deletion, a generation nobody looked at yet, `Reconciling` and `Stalled`.
fn before_the_kind(object: &Object, profile: Profile) -> Option<Verdict> {
    if !object.text("/metadata/deletionTimestamp").is_empty() {
        return Some(verdict(
            Health::Progressing,
            facts::TERMINATING,
            "is being deleted",
            ".metadata.deletionTimestamp",
        ));
    }
    if profile == Profile::Argo {
        return None;
    }
    if let Some(stale) = facts::stale_generation(object) {
        return Some(stale);
    }
    let conditions = Conditions::of(object);
    if let Some(condition) = conditions
        .get("Reconciling")
        .filter(|found| found.is_true())
    {
        return Some(condition.verdict(Health::Progressing, "Reconciling"));
    }
    conditions
        .get("Stalled")
        .filter(|found| found.is_true())
        .map(|condition| condition.verdict(Health::Degraded, "Stalled"))
}
