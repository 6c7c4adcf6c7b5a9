//! DaemonSets.

use super::Profile;
use super::facts::{count, healthy, short_of, stale_generation, waits};
use regraft_model::{Object, Verdict};

/// One pod on every node that should have one: there, updated, available, ready.
pub(super) fn judge(object: &Object, profile: Profile) -> Verdict {
    if profile == Profile::Argo
        && let Some(stale) = stale_generation(object)
    {
        return stale;
    }
    let Some(wanted) = object.number("/status/desiredNumberScheduled") else {
        return waits(
            "NoDesiredNumber",
            "the controller has not counted its nodes yet",
            ".status.desiredNumberScheduled",
        );
    };
    let on_delete = object.text("/spec/updateStrategy/type") == "OnDelete";
    let fields = [
        ("LessCurrent", "nodes have a pod", "currentNumberScheduled"),
        ("LessUpdated", "pods are updated", "updatedNumberScheduled"),
        ("LessAvailable", "pods are available", "numberAvailable"),
        ("LessReady", "pods are ready", "numberReady"),
    ];
    for (reason, what, field) in fields {
        let skipped = match (profile, reason) {
            (Profile::Argo, "LessUpdated" | "LessAvailable") => on_delete,
            (Profile::Argo, _) => true,
            (Profile::Regraft, "LessUpdated") => on_delete,
            _ => false,
        };
        let has = count(object, field);
        if !skipped && has < wanted {
            return short_of(reason, what, has, wanted, field);
        }
    }
    healthy("Ready", format!("{wanted} pods are ready"))
}
