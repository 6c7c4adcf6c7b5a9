//! Deployments.

use super::Profile;
use super::facts::{Conditions, count, healthy, short_of, stale_generation, verdict, waits};
use regraft_model::{Health, Object, Verdict};

/// kstatus; ours adds paused and failing creation; Argo CD looks at fewer fields.
pub(super) fn judge(object: &Object, profile: Profile) -> Verdict {
    if profile != Profile::Kstatus && object.0.pointer("/spec/paused") == Some(&true.into()) {
        return verdict(Health::Suspended, "Paused", "is paused", "");
    }
    if profile == Profile::Argo
        && let Some(stale) = stale_generation(object)
    {
        return stale;
    }
    let conditions = Conditions::of(object);
    let progressing = conditions.get("Progressing");
    if let Some(condition) = progressing.filter(|found| found.reason == "ProgressDeadlineExceeded")
    {
        return condition.verdict(Health::Degraded, "ProgressDeadlineExceeded");
    }
    if profile == Profile::Argo {
        return argo(object);
    }
    let failing = conditions
        .get("ReplicaFailure")
        .filter(|found| found.is_true());
    if let (Some(condition), Profile::Regraft) = (failing, profile) {
        return condition.verdict(Health::Degraded, "ReplicaFailure");
    }
    if let Some(short) = counts(object) {
        return short;
    }
    let rolled_out = object.number("/spec/progressDeadlineSeconds").is_none()
        || progressing
            .is_some_and(|found| found.is_true() && found.reason == "NewReplicaSetAvailable");
    if !rolled_out {
        return waits(
            "ReplicaSetNotAvailable",
            "the new ReplicaSet is not available",
            ".status.conditions[type=Progressing].reason",
        );
    }
    if !conditions
        .get("Available")
        .is_some_and(|found| found.is_true())
    {
        return waits(
            "DeploymentNotAvailable",
            "is not available",
            ".status.conditions[type=Available].status",
        );
    }
    healthy(
        "Available",
        format!(
            "{} replicas are available",
            count(object, "availableReplicas")
        ),
    )
}

fn counts(object: &Object) -> Option<Verdict> {
    let wanted = object.number("/spec/replicas").unwrap_or(1);
    let [exist, updated, available, ready] = [
        "replicas",
        "updatedReplicas",
        "availableReplicas",
        "readyReplicas",
    ]
    .map(|field| count(object, field));
    if exist < wanted {
        return Some(short_of(
            "LessReplicas",
            "replicas exist",
            exist,
            wanted,
            "replicas",
        ));
    }
    if updated < wanted {
        return Some(short_of(
            "LessUpdated",
            "replicas are updated",
            updated,
            wanted,
            "updatedReplicas",
        ));
    }
    if exist > wanted {
        return Some(waits(
            "ExtraPods",
            format!("{} replicas still to go away", exist - wanted),
            ".status.replicas",
        ));
    }
    if available < updated {
        return Some(short_of(
            "LessAvailable",
            "replicas are available",
            available,
            updated,
            "availableReplicas",
        ));
    }
    (ready < wanted).then(|| {
        short_of(
            "LessReady",
            "replicas are ready",
            ready,
            wanted,
            "readyReplicas",
        )
    })
}

/// `pkg/health/health_deployment.go` of gitops-engine compares these three.
fn argo(object: &Object) -> Verdict {
    let [exist, updated, available] =
        ["replicas", "updatedReplicas", "availableReplicas"].map(|field| count(object, field));
    match object.number("/spec/replicas") {
        Some(wanted) if updated < wanted => short_of(
            "LessUpdated",
            "replicas are updated",
            updated,
            wanted,
            "updatedReplicas",
        ),
        _ if exist > updated => waits(
            "ExtraPods",
            format!("{} old replicas still to go away", exist - updated),
            ".status.replicas",
        ),
        _ if available < updated => short_of(
            "LessAvailable",
            "replicas are available",
            available,
            updated,
            "availableReplicas",
        ),
        _ => healthy("Available", format!("{available} replicas are available")),
    }
}
