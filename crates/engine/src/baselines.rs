//! What a cluster has learned of a service, to the replicated state and back.
//!
//! ```text
//! Watch of this cluster ─ share ─> ShareBaselines, a few commands ─> state ─ view::baselines ─ peers ─> Watch::start_from
//!                                                                                             in another cluster
//! ```
//!
//! Expected flow: the member that a target is assigned to proposes what [`share`] makes of each watch, now and then. While
//! [`Watch::wants_peers`], it reads `state::view::baselines`, and gives [`peers`] of it to [`Watch::start_from`].
//!
//! Guarantees: what [`share`] makes keeps every bound of `state::baseline`, but that of time. Sharing again what did not
//! change is refused as already done and costs no write. What cannot be used is left out and named, and hinders nothing else.
//!
//! Assumptions: nothing here runs by itself. No event brings samples of metrics to the engine yet, so it has no watches,
//! and whoever feeds some calls this.
//!
//! Errors: the state refuses a share as `OutOfBounds` whose newest sample is further ahead of the leader's time than
//! `state::baseline::AHEAD_MAX`; the next one after the clock was set right is taken.

use regraft_detect::metrics::{
    ENTRY_BYTES_MAX, METRICS_MAX, NAME_BYTES_MAX, SERVICE_ENTRY, Summary, Watch,
};
use regraft_model::id::ClusterName;
use regraft_state::baseline::{BASELINE_BYTES_MAX, BASELINES_MAX, METRIC_BYTES_MAX, SHARED_MAX};
use regraft_state::command::{Command, SharedBaselines};
use regraft_state::record::{Assignment, Baseline};
use std::collections::BTreeMap;

const _: () = {
    assert!(ENTRY_BYTES_MAX <= BASELINE_BYTES_MAX);
    assert!(NAME_BYTES_MAX <= METRIC_BYTES_MAX && SERVICE_ENTRY.len() <= METRIC_BYTES_MAX);
    // And the service as a whole.
    assert!(METRICS_MAX < BASELINES_MAX);
};

/// What a cluster told of a metric, and this version cannot use: damaged, or of a newer version.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the baseline of {metric} that cluster {cluster} shares cannot be used")]
pub struct Unusable {
    /// Who told it.
    pub cluster: ClusterName,
    /// Of what; [`SERVICE_ENTRY`] for the service as a whole.
    pub metric: String,
    /// Why.
    #[source]
    pub error: regraft_detect::Error,
}

/// The commands that tell others what a watch has learned of a workload, at most `SHARED_MAX` baselines in each; in any
/// order, and any of them twice. None while too little is known. A metric without a name is not told: the state has no
/// place for it.
#[must_use]
pub fn share(assignment: &Assignment, workload: &str, watch: &Watch) -> Vec<Command> {
    let Some(until) = watch.learned_until() else {
        return Vec::new();
    };
    // Before 1970 is as old as can be.
    let version = u64::try_from(until.0).unwrap_or_default();
    let summary = watch.summary();
    let named = summary.entries().into_iter();
    let mut entries = named
        .filter(|(metric, _)| !metric.is_empty())
        .map(|(metric, summary)| (metric.to_owned(), Baseline { version, summary }));
    let commands = std::iter::from_fn(|| {
        let entries: BTreeMap<_, _> = entries.by_ref().take(SHARED_MAX).collect();
        let shared = SharedBaselines {
            target: assignment.target.clone(),
            member: assignment.member,
            fence: assignment.fence,
            workload: workload.to_owned(),
            entries,
        };
        (!shared.entries.is_empty()).then_some(Command::ShareBaselines(shared))
    });
    commands.collect()
}

/// What other clusters know of a service, in the order of their names, from what the state knows of it
/// (`state::view::baselines`). The own cluster is no peer of itself. Beside them, what cannot be used.
#[must_use]
pub fn peers(
    known: &BTreeMap<ClusterName, BTreeMap<String, Baseline>>,
    own: &ClusterName,
) -> (Vec<Summary>, Vec<Unusable>) {
    let (mut summaries, mut unusable) = (Vec::new(), Vec::new());
    for (cluster, baselines) in known.iter().filter(|(cluster, _)| *cluster != own) {
        let entries = baselines.iter();
        let (summary, problems) =
            Summary::read(entries.map(|(metric, it)| (metric.as_str(), it.summary.as_slice())));
        if summary != Summary::default() {
            summaries.push(summary);
        }
        unusable.extend(problems.into_iter().map(|(metric, error)| Unusable {
            cluster: cluster.clone(),
            metric,
            error,
        }));
    }
    (summaries, unusable)
}
