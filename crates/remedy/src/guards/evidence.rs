//! Is the evidence fresh and complete (I7)?

use super::{passed, propose, refused, wait};
use crate::blame::{began_together, findings};
use crate::case::Case;
use regraft_model::finding::{Change, SyncState, TargetStatus, Template};
use regraft_model::{ClusterName, Guard, GuardResult, TargetKey, Timestamp};

/// Waits for clusters that cannot be seen, then refuses: unknown is not healthy and not sick. Where the evidence speaks
/// for another cause as well, a person decides.
pub(super) fn evidence(case: &Case<'_>) -> GuardResult {
    let unseen: Vec<&ClusterName> = clusters(case)
        .filter(|cluster| !is_seen(status(case, cluster)))
        .collect();
    if !unseen.is_empty() {
        let names: Vec<_> = unseen.iter().map(|cluster| cluster.as_str()).collect();
        let reason = format!(
            "what runs in {} is not known: unknown is not healthy and not sick",
            names.join(", ")
        );
        let deadline = unseen
            .into_iter()
            .map(|cluster| patience(case, cluster))
            .fold(case.rollout_deadline(), Timestamp::max);
        return match case.now < deadline {
            true => wait(Guard::Evidence, case.now, deadline, reason),
            false => refused(Guard::Evidence, reason),
        };
    }
    if let Some((cluster, finding)) = findings(case).find(|(_, finding)| {
        finding.change == Change::Changed && finding.symptom.template == Template::AlsoOlder
    }) {
        return propose(
            Guard::Evidence,
            format!(
                "pods of an older template of {} fail as well in {cluster}: the newest commit may not be the cause",
                finding.symptom.workload
            ),
        );
    }
    if let Some(companion) = companion(case) {
        return propose(Guard::Evidence, companion);
    }
    passed(
        Guard::Evidence,
        format!(
            "all clusters ({}) are seen, and only pods of the newest template fail",
            clusters(case).count()
        ),
    )
}

/// How long a cluster that cannot be seen is waited for: as long as a rollout, counted from when it was last seen. However
/// old the incident is, a cluster that files are read for again or that is connected anew is back in a moment.
fn patience(case: &Case<'_>, cluster: &ClusterName) -> Timestamp {
    match status(case, cluster) {
        Some(status) => status
            .health_since
            .plus(case.application.policy.rollout_wait),
        // Just configured, or just given to a member: it is reported soon.
        None => case.incident.deadline,
    }
}

/// The application's clusters, without those a person paused.
pub(super) fn clusters<'a>(case: &Case<'a>) -> impl Iterator<Item = &'a ClusterName> + use<'a> {
    let fleet = case.fleet;
    case.application
        .clusters
        .iter()
        .filter(|cluster| !fleet.clusters.get(cluster).is_some_and(|spec| spec.suspend))
}

/// Where the application stands in a cluster.
pub(super) fn status<'a>(case: &Case<'a>, cluster: &ClusterName) -> Option<&'a TargetStatus> {
    case.statuses
        .get(&TargetKey::new(&case.application.name, cluster))
}

fn is_seen(status: Option<&TargetStatus>) -> bool {
    status.is_some_and(|status| {
        !matches!(
            status.sync.state,
            SyncState::Unknown | SyncState::Unreachable
        )
    })
}

/// A workload of another application in one of the incident's clusters that nobody changed and that began to fail in
/// the same way at the same time.
fn companion(case: &Case<'_>) -> Option<String> {
    case.statuses
        .values()
        .filter(|status| {
            status.key.application != case.application.name
                && case.incident.targets.contains_key(&status.key.cluster)
        })
        .flat_map(|status| status.findings.iter().map(move |finding| (status, finding)))
        .find(|(_, finding)| {
            finding.change == Change::Unchanged
                && finding.symptom.class == case.incident.class
                && began_together(case, finding)
        })
        .map(|(status, finding)| {
            format!(
                "{} of {} fails the same way since about the same time in {} and no commit changed it",
                finding.symptom.workload, status.key.application, status.key.cluster
            )
        })
}
