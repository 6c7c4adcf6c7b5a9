//! Whether many things are wrong at once: then nothing is touched (I10).

use regraft_model::finding::{Change, TargetStatus};
use regraft_model::{
    ApplicationName, ClusterName, Finding, ObjectKey, Policy, TargetKey, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// Fewest clusters with failures that no single suspect explains.
const STORM_CLUSTERS: usize = 2;

/// Failures that no single suspect explains, in too many places at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storm {
    /// Why it counts as one, with the figures.
    pub reason: String,
    /// Clusters with unexplained failures.
    pub clusters: BTreeSet<ClusterName>,
    /// Workloads with unexplained failures.
    pub failing: u32,
    /// All workloads of the fleet.
    pub total: u32,
}

/// Looks for a storm in where the whole fleet stands.
///
/// Explained are the failures that commits to one application explain, the one with the most of them; all other
/// failures that began within the window are not. (By application, not by revision: while a later commit rolls out,
/// clusters run the same suspect with different inputs.) They make a storm in two clusters or more, or above the
/// policy's share and number of workloads.
pub fn storm(
    statuses: &BTreeMap<TargetKey, TargetStatus>,
    policy: &Policy,
    now: Timestamp,
) -> Option<Storm> {
    let recent: Vec<(&TargetStatus, &Finding)> = statuses
        .values()
        .flat_map(|status| status.findings.iter().map(move |finding| (status, finding)))
        .filter(|(_, finding)| now.millis_since(finding.since) <= policy.storm_window.as_millis())
        .collect();
    let explained = largest_suspect(&recent);
    let unexplained: BTreeSet<(&TargetKey, &ObjectKey)> = recent
        .iter()
        .filter(|(status, finding)| suspect(status, finding).is_none_or(|s| Some(s) != explained))
        .map(|(status, finding)| (&status.key, &finding.symptom.workload))
        .collect();
    let clusters: BTreeSet<ClusterName> = unexplained
        .iter()
        .map(|(target, _)| target.cluster.clone())
        .collect();
    let failing = u32::try_from(unexplained.len()).unwrap_or(u32::MAX);
    let total = statuses
        .values()
        .fold(0u32, |sum, status| sum.saturating_add(status.workloads));
    let above_share = u64::from(failing) * 100 > u64::from(total) * u64::from(policy.storm_percent);
    let reason = if clusters.len() >= STORM_CLUSTERS {
        format!(
            "{failing} workloads in {} clusters began to fail within {} and no single commit explains them",
            clusters.len(),
            policy.storm_window
        )
    } else if above_share && failing >= policy.storm_workloads {
        format!(
            "{failing} of {total} workloads (more than {} %) began to fail within {} and no single commit explains \
             them",
            policy.storm_percent, policy.storm_window
        )
    } else {
        return None;
    };
    Some(Storm {
        reason,
        clusters,
        failing,
        total,
    })
}

/// The application whose commits a failure is put down to, if any.
fn suspect<'a>(status: &'a TargetStatus, finding: &Finding) -> Option<&'a ApplicationName> {
    (finding.change == Change::Changed).then_some(&status.key.application)
}

fn largest_suspect<'a>(recent: &[(&'a TargetStatus, &'a Finding)]) -> Option<&'a ApplicationName> {
    let mut sizes: BTreeMap<&ApplicationName, usize> = BTreeMap::new();
    for (status, finding) in recent {
        if let Some(suspect) = suspect(status, finding) {
            *sizes.entry(suspect).or_default() += 1;
        }
    }
    sizes
        .into_iter()
        .max_by_key(|(suspect, size)| (*size, std::cmp::Reverse(*suspect)))
        .map(|(suspect, _)| suspect)
}
