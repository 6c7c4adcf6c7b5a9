//! Is the evidence fresh and complete (I7)?

use super::{passed, propose, refused, wait};
use crate::blame::{began_together, findings};
use crate::case::Case;
use regraft_model::finding::{Change, SyncState, TargetStatus, Template};
use regraft_model::{ClusterName, Guard, GuardResult, Health, TargetKey, Timestamp};

/// Waits for clusters that cannot be seen and for a failure that is not there just now, then refuses: unknown is not
/// healthy and not sick, and what was is not what is. It refuses as well when what
/// nobody changed fails the same way. Where only the evidence of one workload speaks for another cause too, a person
/// decides.
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
        return wait_for(case, unseen.into_iter(), reason);
    }
    if !still_fails(case) {
        let reason = "nothing of it fails just now: what failed before is no evidence any more";
        return wait_for(case, case.incident.targets.keys(), reason.to_owned());
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
        return refused(Guard::Evidence, companion);
    }
    passed(
        Guard::Evidence,
        format!(
            "all clusters ({}) are seen, and only pods of the newest template fail",
            clusters(case).count()
        ),
    )
}

/// Whether the failure is there now, in any cluster it was seen in. Something newer may run by now, or it recovers.
fn still_fails(case: &Case<'_>) -> bool {
    let mut seen_in = case.incident.targets.keys();
    seen_in.any(|cluster| {
        status(case, cluster)
            .is_some_and(|status| !status.findings.is_empty() || status.health == Health::Degraded)
    })
}

/// Waits for clusters to tell more, as long as the most patient of them allows.
fn wait_for<'a>(
    case: &Case<'_>,
    clusters: impl Iterator<Item = &'a ClusterName>,
    reason: String,
) -> GuardResult {
    let deadline = clusters
        .map(|cluster| patience(case, cluster))
        .fold(case.rollout_deadline(), Timestamp::max);
    match case.now < deadline {
        true => wait(Guard::Evidence, case.now, deadline, reason),
        false => refused(Guard::Evidence, reason),
    }
}

/// How long a cluster that cannot be seen is waited for: as long as a rollout, counted from when it was last seen.
/// However old the incident is, a cluster that files are read for again or that is connected anew is back in a moment.
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
    case.fleet.active_clusters(case.application)
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
                "{} of {} fails the same way since about the same time in {} and no commit changed it; look at what both \
                 depend on",
                finding.symptom.workload, status.key.application, status.key.cluster
            )
        })
}
