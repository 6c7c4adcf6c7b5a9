//! Does the suspect run healthy elsewhere?

use super::evidence::{clusters, status};
use super::{passed, propose, wait};
use crate::case::Case;
use crate::draft::Draft;
use crate::line::Line;
use regraft_model::config::PartialFailure;
use regraft_model::finding::TargetStatus;
use regraft_model::{ClusterName, Guard, GuardResult, Health, Timestamp};

/// How the suspect does in a cluster outside the incident.
enum Elsewhere {
    /// Not applied in full yet, or its pods are still coming up.
    RollingOut,
    /// Healthy, but not for long enough to believe it.
    HealthySince(Timestamp),
    Healthy,
    /// Neither healthy nor on its way.
    Sick,
}

/// Clusters that still roll the suspect out are waited for. Where it turns out healthy, a revert would take a working
/// release from them: a person decides, unless the policy does.
pub(super) fn partial_failure(case: &Case<'_>, line: &Line<'_>, draft: &Draft<'_>) -> GuardResult {
    let others = elsewhere(case, line, draft);
    let named = |wanted: fn(&Elsewhere) -> bool| {
        let names: Vec<_> = others
            .iter()
            .filter(|(_, how)| wanted(how))
            .map(|(cluster, _)| cluster.as_str())
            .collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let failing = case.incident.targets.len();
    if let Some(healthy) = named(|how| matches!(how, Elsewhere::Healthy)) {
        let reason = format!("it fails in {failing} clusters but is healthy in {healthy}");
        return match case.application.policy.partial_failure {
            PartialFailure::Propose => propose(Guard::PartialFailure, reason),
            PartialFailure::Revert => passed(
                Guard::PartialFailure,
                format!("{reason}; the policy says revert"),
            ),
        };
    }
    let deadline = case.rollout_deadline();
    if case.now < deadline {
        if let Some(rolling) = named(|how| matches!(how, Elsewhere::RollingOut)) {
            return wait(
                Guard::PartialFailure,
                case.now,
                deadline,
                format!("{rolling} still rolls the suspect out"),
            );
        }
        let looks_healthy = others.iter().filter_map(|(_, how)| match how {
            Elsewhere::HealthySince(since) => Some(*since),
            _ => None,
        });
        if let Some(since) = looks_healthy.min() {
            let believed_at = since.plus(case.application.policy.confirm_for);
            return wait(
                Guard::PartialFailure,
                case.now,
                believed_at.min(deadline),
                "where the suspect looks healthy it has not been so for as long as a failure must hold",
            );
        }
    }
    passed(
        Guard::PartialFailure,
        format!(
            "it fails in {failing} of {} clusters and is healthy in none",
            clusters(case).count()
        ),
    )
}

/// How the suspect does in each cluster outside the incident.
fn elsewhere<'a>(
    case: &'a Case<'_>,
    line: &Line<'_>,
    draft: &Draft<'_>,
) -> Vec<(&'a ClusterName, Elsewhere)> {
    let others = clusters(case).filter(|cluster| !case.incident.targets.contains_key(*cluster));
    others
        .map(|cluster| {
            let how = status(case, cluster).map_or(Elsewhere::RollingOut, |status| {
                judge(case, line, draft, status)
            });
            (cluster, how)
        })
        .collect()
}

fn judge(case: &Case<'_>, line: &Line<'_>, draft: &Draft<'_>, status: &TargetStatus) -> Elsewhere {
    let Some(applied) = &status.applied else {
        return Elsewhere::RollingOut;
    };
    let runs_suspect = applied.tree == case.incident.suspect_tree
        || line
            .at(&applied.revision)
            .is_some_and(|point| point.inputs == draft.suspect_inputs);
    if !runs_suspect {
        return Elsewhere::RollingOut;
    }
    match status.health {
        Health::Healthy | Health::Suspended => {
            let since = status.health_since.max(applied.at);
            let believed_at = since.plus(case.application.policy.confirm_for);
            if case.now < believed_at && case.now < case.rollout_deadline() {
                Elsewhere::HealthySince(since)
            } else {
                Elsewhere::Healthy
            }
        }
        Health::Progressing | Health::Missing | Health::Unknown => Elsewhere::RollingOut,
        Health::Degraded => Elsewhere::Sick,
    }
}
