//! ReplicaSets.

use super::Profile;
use super::facts::{Conditions, count, healthy, short_of, stale_generation, waits};
use regraft_model::{Health, Object, Verdict};

/// All replicas labelled, available and ready; a failure to create pods counts.
pub(super) fn judge(object: &Object, profile: Profile) -> Verdict {
    if profile == Profile::Argo
        && let Some(stale) = stale_generation(object)
    {
        return stale;
    }
    let conditions = Conditions::of(object);
    if let Some(failure) = conditions
        .get("ReplicaFailure")
        .filter(|found| found.is_true())
    {
        let health = match profile {
            Profile::Kstatus => Health::Progressing,
            Profile::Regraft | Profile::Argo => Health::Degraded,
        };
        return failure.verdict(health, "ReplicaFailure");
    }
    let wanted = object.number("/spec/replicas").unwrap_or(1);
    let fields: &[(&str, &str, &str)] = &[
        (
            "LessLabelled",
            "replicas are labelled",
            "fullyLabeledReplicas",
        ),
        (
            "LessAvailable",
            "replicas are available",
            "availableReplicas",
        ),
        ("LessReady", "replicas are ready", "readyReplicas"),
    ];
    let looked_at = match profile {
        Profile::Argo => &fields[1..2],
        Profile::Kstatus | Profile::Regraft => fields,
    };
    for (reason, what, field) in looked_at {
        let has = count(object, field);
        if has < wanted {
            return short_of(reason, what, has, wanted, field);
        }
    }
    let exist = count(object, "replicas");
    if profile != Profile::Argo && exist > wanted {
        return waits(
            "ExtraPods",
            format!("{} replicas still to go away", exist - wanted),
            ".status.replicas",
        );
    }
    healthy("Available", format!("{wanted} replicas are available"))
}
