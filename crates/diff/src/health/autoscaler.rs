//! HorizontalPodAutoscalers.

use super::Profile;
use super::facts::{Condition, Conditions, healthy, waits};
use regraft_model::{Health, Object, Verdict};

/// Able to scale, and with metrics to decide on.
pub(super) fn judge(object: &Object, profile: Profile) -> Verdict {
    if profile == Profile::Kstatus {
        return healthy("Current", "needs nothing to be current");
    }
    let conditions = Conditions::of(object);
    if let Some(failed) = conditions.iter().find(failed) {
        return failed.verdict(Health::Degraded, "ScalingFailed");
    }
    let works = |kind| {
        conditions
            .get(kind)
            .is_some_and(|condition| condition.is_true())
    };
    if works("AbleToScale") || works("ScalingLimited") {
        return healthy("AbleToScale", "scales its target");
    }
    // The old v1 API keeps its conditions in an annotation; a count of replicas says that it works.
    if conditions.is_empty()
        && object.number("/status/currentReplicas").is_some()
        && object.api_version() == "autoscaling/v1"
    {
        return healthy("Scaling", "scales its target");
    }
    waits(
        "WaitingToScale",
        "has not scaled yet",
        ".status.conditions[type=AbleToScale].status",
    )
}

fn failed(condition: &Condition<'_>) -> bool {
    condition.is_false()
        && match condition.kind {
            "AbleToScale" => matches!(condition.reason, "FailedGetScale" | "FailedUpdateScale"),
            "ScalingActive" => {
                condition.reason.starts_with("Failed") || condition.reason.starts_with("Invalid")
            }
            _ => false,
        }
}
