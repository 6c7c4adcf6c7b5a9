//! Which scopes of locks overlap, and what lies below what.
//!
//! ```text
//! Fleet ⊃ Cluster ⊃ Namespace ⊃ Service        Application: in every cluster it runs in        Named: for itself
//! ```
//!
//! - A scope overlaps itself, what is above it and what is below it; two siblings do not overlap.
//! - An application overlaps the fleet, and each cluster that it runs in with all namespaces and services of it: nothing says
//!   which of them are its own. Two applications do not overlap, though they run side by side: their repairs change
//!   different files.
//! - An application runs in the clusters it is assigned in at the moment of asking; one that is assigned nowhere may run in
//!   any. What an assignment changes later takes no lock away, and lets nobody in who waits before the next lock is given
//!   back.
//! - A name overlaps nothing but itself.
//!
//! "Below" is for budgets: all but names lie below the fleet, applications also below the clusters they run in.

use crate::Halt;
use crate::table::{self, prefix};
use crate::transaction::Transaction;
use regraft_model::id::{ApplicationName, ClusterName, LockScope, TargetKey};

/// Whether two scopes overlap now.
pub(crate) fn overlap(
    transaction: &Transaction<'_>,
    one: &LockScope,
    other: &LockScope,
) -> Result<bool, Halt> {
    overlap_where(one, other, &|name, cluster| {
        runs_in(transaction, name, cluster)
    })
}

/// Whether two scopes overlap, or would if applications ran elsewhere.
pub(crate) fn may_overlap(one: &LockScope, other: &LockScope) -> bool {
    overlap_where(one, other, &|_, _| Ok(true)).unwrap_or(true)
}

/// Whether `scope` lies below `level` now, or is it.
pub(crate) fn lies_below(
    transaction: &Transaction<'_>,
    scope: &LockScope,
    level: &LockScope,
) -> Result<bool, Halt> {
    lies_below_where(scope, level, &|name, cluster| {
        runs_in(transaction, name, cluster)
    })
}

/// Whether `scope` lies below `level`, or would if applications ran elsewhere.
pub(crate) fn may_lie_below(scope: &LockScope, level: &LockScope) -> bool {
    lies_below_where(scope, level, &|_, _| Ok(true)).unwrap_or(true)
}

/// Whether an application is assigned in a cluster, or nowhere at all.
pub(crate) fn runs_in(
    transaction: &Transaction<'_>,
    name: &ApplicationName,
    cluster: &ClusterName,
) -> Result<bool, Halt> {
    let target = table::target(prefix::ASSIGNMENTS, &TargetKey::new(name, cluster));
    if transaction.has(target.as_bytes())? {
        return Ok(true);
    }
    Ok(clusters_of(transaction, name)?.is_empty())
}

/// The clusters that an application is assigned in.
pub(crate) fn clusters_of(
    transaction: &Transaction<'_>,
    name: &ApplicationName,
) -> Result<Vec<ClusterName>, Halt> {
    let assignments = format!("{}{name}/", prefix::ASSIGNMENTS);
    let keys = transaction.keys(assignments.as_bytes())?.into_iter();
    let clusters = keys.filter_map(|key| {
        let cluster = key.strip_prefix(assignments.as_bytes())?;
        std::str::from_utf8(cluster).ok().map(ClusterName::from)
    });
    Ok(clusters.collect())
}

/// The levels above a scope, lowest first.
pub(crate) fn above(scope: &LockScope) -> Vec<LockScope> {
    match scope {
        LockScope::Fleet | LockScope::Named(_) => vec![],
        LockScope::Cluster(_) | LockScope::Application(_) => vec![LockScope::Fleet],
        LockScope::Namespace { cluster, .. } => {
            vec![LockScope::Cluster(cluster.clone()), LockScope::Fleet]
        }
        LockScope::Service {
            cluster, namespace, ..
        } => vec![
            LockScope::Namespace {
                cluster: cluster.clone(),
                namespace: namespace.clone(),
            },
            LockScope::Cluster(cluster.clone()),
            LockScope::Fleet,
        ],
    }
}

/// Whether a scope is one that namespaces, services or clusters lie below.
pub(crate) fn has_levels_below(scope: &LockScope) -> bool {
    matches!(
        scope,
        LockScope::Fleet | LockScope::Cluster(_) | LockScope::Namespace { .. }
    )
}

type RunsIn<'a> = &'a dyn Fn(&ApplicationName, &ClusterName) -> Result<bool, Halt>;

fn overlap_where(one: &LockScope, other: &LockScope, runs_in: RunsIn<'_>) -> Result<bool, Halt> {
    if lies_below_where(one, other, runs_in)? || lies_below_where(other, one, runs_in)? {
        return Ok(true);
    }
    match (one, other) {
        (LockScope::Application(name), tree) | (tree, LockScope::Application(name)) => {
            match cluster_of(tree) {
                Some(cluster) => runs_in(name, cluster),
                None => Ok(false),
            }
        }
        _ => Ok(false),
    }
}

fn lies_below_where(
    scope: &LockScope,
    level: &LockScope,
    runs_in: RunsIn<'_>,
) -> Result<bool, Halt> {
    if scope == level {
        return Ok(true);
    }
    Ok(match (level, scope) {
        (LockScope::Fleet, scope) => !matches!(scope, LockScope::Named(_)),
        (LockScope::Cluster(cluster), LockScope::Application(name)) => runs_in(name, cluster)?,
        (LockScope::Cluster(cluster), scope) => cluster_of(scope) == Some(cluster),
        (
            LockScope::Namespace { cluster, namespace },
            LockScope::Service {
                cluster: of,
                namespace: within,
                ..
            },
        ) => cluster == of && namespace == within,
        _ => false,
    })
}

fn cluster_of(scope: &LockScope) -> Option<&ClusterName> {
    match scope {
        LockScope::Cluster(cluster)
        | LockScope::Namespace { cluster, .. }
        | LockScope::Service { cluster, .. } => Some(cluster),
        LockScope::Fleet | LockScope::Application(_) | LockScope::Named(_) => None,
    }
}
