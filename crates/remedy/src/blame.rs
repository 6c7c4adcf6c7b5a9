//! Which failing workloads a commit can be to blame for.

use crate::case::{Case, Stop};
use regraft_model::finding::Change;
use regraft_model::{ClusterName, Finding, ObjectKey};
use std::collections::BTreeSet;

/// The failing workloads whose inputs commits changed, or why no commit is to blame.
pub(crate) fn failing_workloads(case: &Case<'_>) -> Result<BTreeSet<ObjectKey>, Stop> {
    let with = |change: Change| findings(case).filter(move |(_, finding)| finding.change == change);
    let changed: BTreeSet<ObjectKey> = with(Change::Changed)
        .map(|(_, finding)| finding.symptom.workload.clone())
        .collect();
    if changed.is_empty() {
        return Err(match with(Change::Unknown).next() {
            Some((cluster, finding)) => Stop::escalate(
                "NoVerifiedRevision",
                format!(
                    "no revision of {} was ever verified in {cluster}, so there is none to go back to for {}; \
                     fix it with a commit",
                    case.application.name, finding.symptom.workload
                ),
            ),
            None => Stop::escalate(
                "NoCommitToBlame",
                format!(
                    "no commit since {} changed what the failing workloads run on; look at what they depend on",
                    case.history.from.short()
                ),
            ),
        });
    }
    match unchanged_companion(case) {
        Some((cluster, finding)) => Err(Stop::escalate(
            "NoCommitToBlame",
            format!(
                "{} in {cluster} fails the same way and no commit changed it; look at what both depend on",
                finding.symptom.workload
            ),
        )),
        None => Ok(changed),
    }
}

/// All findings of the incident with their clusters.
pub(crate) fn findings<'a>(
    case: &Case<'a>,
) -> impl Iterator<Item = (&'a ClusterName, &'a Finding)> + use<'a> {
    let incident = case.incident;
    incident
        .targets
        .iter()
        .flat_map(|(cluster, findings)| findings.iter().map(move |finding| (cluster, finding)))
}

/// Whether a failure began together with those that a commit changed: then they may have one cause.
pub(crate) fn began_together(case: &Case<'_>, finding: &Finding) -> bool {
    let window_ms = case.application.policy.storm_window.as_millis();
    findings(case)
        .filter(|(_, other)| other.change == Change::Changed)
        .any(|(_, other)| finding.since.0.abs_diff(other.since.0) <= window_ms.unsigned_abs())
}

/// A workload of the same incident that nobody changed and that began to fail at the same time.
fn unchanged_companion<'a>(case: &Case<'a>) -> Option<(&'a ClusterName, &'a Finding)> {
    findings(case)
        .find(|(_, finding)| finding.change == Change::Unchanged && began_together(case, finding))
}
