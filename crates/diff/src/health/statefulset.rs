//! StatefulSets.

use super::Profile;
use super::facts::{count, healthy, observed_generation, short_of, stale_generation, waits};
use regraft_model::{Object, Verdict};

/// Replicas, partition, revisions. With `OnDelete` a person decides when pods are replaced.
pub(super) fn judge(object: &Object, profile: Profile) -> Verdict {
    let on_delete = object.text("/spec/updateStrategy/type") == "OnDelete";
    match profile {
        Profile::Argo => argo(object, on_delete),
        Profile::Kstatus if on_delete => healthy("OnDelete", "pods are replaced by hand"),
        Profile::Kstatus | Profile::Regraft => kstatus(object, on_delete),
    }
}

fn kstatus(object: &Object, on_delete: bool) -> Verdict {
    let wanted = object.number("/spec/replicas").unwrap_or(1);
    let (exist, ready) = (count(object, "replicas"), count(object, "readyReplicas"));
    if exist < wanted {
        return short_of("LessReplicas", "replicas exist", exist, wanted, "replicas");
    }
    if ready < wanted {
        return short_of(
            "LessReady",
            "replicas are ready",
            ready,
            wanted,
            "readyReplicas",
        );
    }
    if exist > wanted {
        return waits(
            "ExtraPods",
            format!("{} replicas still to go away", exist - wanted),
            ".status.replicas",
        );
    }
    if on_delete {
        return healthy(
            "OnDelete",
            format!("{wanted} replicas are ready; pods are replaced by hand"),
        );
    }
    if let Some(partition) = object.number("/spec/updateStrategy/rollingUpdate/partition") {
        let (updated, due) = (count(object, "updatedReplicas"), wanted - partition);
        return match updated < due {
            true => short_of(
                "PartitionRollout",
                "replicas above the partition are updated",
                updated,
                due,
                "updatedReplicas",
            ),
            false => healthy(
                "PartitionRolloutComplete",
                format!("{updated} replicas are updated"),
            ),
        };
    }
    let current = count(object, "currentReplicas");
    if current < wanted {
        return short_of(
            "LessCurrent",
            "replicas are current",
            current,
            wanted,
            "currentReplicas",
        );
    }
    revisions(object).unwrap_or_else(|| healthy("Ready", format!("{wanted} replicas are ready")))
}

/// `pkg/health/health_statefulset.go` of gitops-engine.
fn argo(object: &Object, on_delete: bool) -> Verdict {
    if observed_generation(object).unwrap_or(0) == 0 {
        return waits(
            "NotObserved",
            "the controller has not seen it yet",
            ".status.observedGeneration",
        );
    }
    if let Some(stale) = stale_generation(object) {
        return stale;
    }
    let ready = count(object, "readyReplicas");
    if let Some(wanted) = object
        .number("/spec/replicas")
        .filter(|wanted| ready < *wanted)
    {
        return short_of(
            "LessReady",
            "replicas are ready",
            ready,
            wanted,
            "readyReplicas",
        );
    }
    let rolling = object
        .0
        .pointer("/spec/updateStrategy/rollingUpdate")
        .is_some();
    if rolling && object.text("/spec/updateStrategy/type") == "RollingUpdate" {
        let partition = object.number("/spec/updateStrategy/rollingUpdate/partition");
        let (updated, wanted) = (
            count(object, "updatedReplicas"),
            object.number("/spec/replicas"),
        );
        if let (Some(partition), Some(wanted)) = (partition, wanted)
            && updated < wanted - partition
        {
            return short_of(
                "PartitionRollout",
                "replicas above the partition are updated",
                updated,
                wanted - partition,
                "updatedReplicas",
            );
        }
        return healthy(
            "PartitionRolloutComplete",
            format!("{updated} replicas are updated"),
        );
    }
    if on_delete {
        return healthy("OnDelete", format!("{ready} replicas are ready"));
    }
    revisions(object).unwrap_or_else(|| healthy("Ready", format!("{ready} replicas are ready")))
}

fn revisions(object: &Object) -> Option<Verdict> {
    let (current, update) = (
        object.text("/status/currentRevision"),
        object.text("/status/updateRevision"),
    );
    (current != update).then(|| {
        waits(
            "RevisionMismatch",
            format!("rolling from {current} to {update}"),
            ".status.currentRevision",
        )
    })
}
