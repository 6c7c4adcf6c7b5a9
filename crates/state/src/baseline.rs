//! What each cluster knows to be normal for the metrics of its services, so that another one can start from it.
//!
//! A join-semilattice: for each (service, cluster, metric) one [`Baseline`], of which the greater one stays, and of each
//! service in each cluster the newest [`BASELINES_MAX`]. So it does not matter in which order they come, how often, or
//! whether one of them gets lost. What they say is no business of this crate: it keeps their bytes.
//!
//! They are too many for the audit chain, and nothing is decided by them that a person would have to look up.

use crate::command::{RejectionReason, Response, SharedBaselines};
use crate::machine::{Halt, rejected};
use crate::record::Baseline;
use crate::table::{self, prefix};
use crate::target;
use crate::transaction::Transaction;
use regraft_model::id::{ClusterName, TargetKey};
use regraft_model::time::{Seconds, Timestamp};

/// Most baselines in one command: with the most bytes each, in base64, it stays below 1 MiB.
pub const SHARED_MAX: usize = 128;
/// Most bytes of one baseline.
pub const BASELINE_BYTES_MAX: usize = 4096;
/// Most bytes of a metric's name.
pub const METRIC_BYTES_MAX: usize = 256;
/// Most bytes of a workload's name, as Kubernetes has it.
pub const WORKLOAD_BYTES_MAX: usize = 253;
/// How far a version may be ahead of the leader's time: clocks that are kept are closer together, and no wrong one can stop
/// what its own cluster shares for longer. Without it a version far ahead would stay until the cluster is forgotten.
pub const AHEAD_MAX: Seconds = Seconds(300);
/// Most baselines kept of one service in one cluster: a watch has at most 256 metrics, and some were named differently
/// before.
pub const BASELINES_MAX: usize = 512;

pub(crate) fn share(
    transaction: &mut Transaction<'_>,
    shared: SharedBaselines,
) -> Result<Response, Halt> {
    if let Some(refusal) = target::stale(transaction, &shared.target, shared.member, shared.fence)?
    {
        return Ok(refusal);
    }
    if let Some(problem) = problem(&shared, transaction.now) {
        return Ok(rejected(RejectionReason::OutOfBounds, problem));
    }
    let mut is_news = false;
    for (metric, baseline) in shared.entries {
        let key = table::baseline(&shared.target, &shared.workload, &metric);
        let known: Option<Baseline> = transaction.get(&key)?;
        let joined = match known.clone() {
            Some(known) => known.join(baseline),
            None => baseline,
        };
        if known.as_ref() != Some(&joined) {
            is_news = true;
            transaction.put(key, &joined)?;
        }
    }
    if !is_news {
        return Ok(rejected(
            RejectionReason::AlreadyDone,
            "as new ones of these baselines are known",
        ));
    }
    drop_oldest(
        transaction,
        &table::baselines_of(&shared.target, &shared.workload),
    )?;
    Ok(Response::Done)
}

/// The first bound that is not kept. A version too far ahead is refused, not cut: cut at two times it would be two versions.
fn problem(shared: &SharedBaselines, now: Timestamp) -> Option<String> {
    let (count, workload) = (shared.entries.len(), &shared.workload);
    if count > SHARED_MAX {
        return Some(format!("{count} baselines at once, at most {SHARED_MAX}"));
    }
    if workload.is_empty() || workload.len() > WORKLOAD_BYTES_MAX || workload.contains('/') {
        return Some(format!(
            "a workload's name has 1 to {WORKLOAD_BYTES_MAX} bytes and no slash"
        ));
    }
    shared.entries.iter().find_map(|(metric, baseline)| {
        if metric.is_empty() || metric.len() > METRIC_BYTES_MAX {
            return Some(format!("a metric's name has 1 to {METRIC_BYTES_MAX} bytes"));
        }
        let bytes = baseline.summary.len();
        if bytes > BASELINE_BYTES_MAX {
            return Some(format!(
                "the baseline of {metric} has {bytes} bytes, at most {BASELINE_BYTES_MAX}"
            ));
        }
        let (version, newest) = (baseline.version, now.plus(AHEAD_MAX));
        let is_too_new = i64::try_from(version).map_or(true, |it| it > newest.0);
        is_too_new.then(|| {
            format!(
                "the baseline of {metric} is of {version} ms, more than {AHEAD_MAX} after the leader's time {now}"
            )
        })
    })
}

/// Keeps the newest; which those are does not depend on what was dropped before.
fn drop_oldest(transaction: &mut Transaction<'_>, prefix: &str) -> Result<(), Halt> {
    let mut all = transaction.all::<Baseline>(prefix)?;
    if all.len() > BASELINES_MAX {
        all.sort_by(|(one_key, one), (other_key, other)| {
            (one.version, one_key).cmp(&(other.version, other_key))
        });
        let surplus = all.len() - BASELINES_MAX;
        for (key, _) in all.into_iter().take(surplus) {
            transaction.delete(key);
        }
    }
    Ok(())
}

/// Drops what a cluster knew.
pub(crate) fn forget_cluster(
    transaction: &mut Transaction<'_>,
    cluster: &ClusterName,
) -> Result<(), Halt> {
    forget(transaction, prefix::BASELINES, cluster)
}

/// Drops what was known of a target that is no longer worked on.
pub(crate) fn forget_target(
    transaction: &mut Transaction<'_>,
    target: &TargetKey,
) -> Result<(), Halt> {
    let prefix = format!("{}{}/", prefix::BASELINES, target.application);
    forget(transaction, &prefix, &target.cluster)
}

fn forget(
    transaction: &mut Transaction<'_>,
    prefix: &str,
    cluster: &ClusterName,
) -> Result<(), Halt> {
    for (key, _) in transaction.all::<Baseline>(prefix)? {
        let rest = key.strip_prefix(prefix::BASELINES).unwrap_or(&key);
        if table::baseline_of(rest).is_some_and(|it| it.cluster == *cluster) {
            transaction.delete(key);
        }
    }
    Ok(())
}
