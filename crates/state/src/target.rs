//! Clusters, assignments and what members report of their targets.

use crate::audit;
use crate::baseline;
use crate::command::{RejectionReason, Response};
use crate::machine::{Halt, rejected};
use crate::record::{Assignment, ClusterIdentity, Confirmation};
use crate::table::{self, prefix};
use crate::transaction::Transaction;
use regraft_model::finding::{SyncState, TargetStatus};
use regraft_model::id::{ClusterName, Fence, MemberId, TargetKey};

pub(crate) fn register(
    transaction: &mut Transaction<'_>,
    cluster: ClusterName,
    uid: String,
) -> Result<Response, Halt> {
    let key = table::cluster(&cluster);
    if let Some(known) = transaction.get::<ClusterIdentity>(&key)? {
        return Ok(if known.uid == uid {
            rejected(RejectionReason::AlreadyDone, "that cluster is known")
        } else {
            rejected(
                RejectionReason::ClusterChanged,
                format!(
                    "{cluster} had kube-system UID {}, now it has {uid}",
                    known.uid
                ),
            )
        });
    }
    audit::append(
        transaction,
        "ClusterRegistered",
        cluster.as_str(),
        format!("UID {uid}"),
    )?;
    let since = transaction.now;
    transaction.put(
        key,
        &ClusterIdentity {
            cluster,
            uid,
            since,
        },
    )?;
    Ok(Response::Done)
}

pub(crate) fn forget(
    transaction: &mut Transaction<'_>,
    cluster: &ClusterName,
) -> Result<Response, Halt> {
    let key = table::cluster(cluster);
    if transaction.get::<ClusterIdentity>(&key)?.is_none() {
        return Ok(rejected(
            RejectionReason::NotFound,
            format!("no cluster {cluster} is known"),
        ));
    }
    transaction.delete(key);
    for (key, mut status) in transaction.all::<TargetStatus>(prefix::STATUSES)? {
        if status.key.cluster == *cluster {
            // What ran in the old cluster says nothing of what the new one was ever well with.
            (status.applied, status.verified) = (None, None);
            status.verified_inputs.clear();
            transaction.put(key, &status)?;
        }
    }
    baseline::forget_cluster(transaction, cluster)?;
    let message = "its next UID is accepted".to_owned();
    audit::append(transaction, "ClusterForgotten", cluster.as_str(), message)?;
    Ok(Response::Done)
}

pub(crate) fn assign(
    transaction: &mut Transaction<'_>,
    after: Fence,
    grants: Vec<(TargetKey, MemberId)>,
    revoked: Vec<TargetKey>,
) -> Result<Response, Halt> {
    let newest: Option<Fence> = transaction.get(table::SPREAD)?;
    if newest.unwrap_or_default() != after {
        return Ok(rejected(
            RejectionReason::AlreadyDone,
            "the targets were spread again since",
        ));
    }
    transaction.put(table::SPREAD.to_owned(), &transaction.fence())?;
    for target in revoked {
        transaction.delete(table::target(prefix::ASSIGNMENTS, &target));
        transaction.delete(table::target(prefix::STATUSES, &target));
        transaction.delete(table::target(prefix::CONFIRMATIONS, &target));
        baseline::forget_target(transaction, &target)?;
    }
    let fence = transaction.fence();
    for (target, member) in grants {
        let key = table::target(prefix::ASSIGNMENTS, &target);
        let unchanged = transaction
            .get::<Assignment>(&key)?
            .is_some_and(|assignment| assignment.member == member);
        if !unchanged {
            transaction.put(
                key,
                &Assignment {
                    target,
                    member,
                    fence,
                },
            )?;
        }
    }
    Ok(Response::Done)
}

pub(crate) fn report(
    transaction: &mut Transaction<'_>,
    status: &TargetStatus,
) -> Result<Response, Halt> {
    if let Some(refusal) = stale(transaction, &status.key, status.member, status.fence)? {
        return Ok(refusal);
    }
    transaction.put(table::target(prefix::STATUSES, &status.key), status)?;
    let key = table::target(prefix::CONFIRMATIONS, &status.key);
    if let Some(confirmed) = transaction.get::<Confirmation>(&key)? {
        // What was confirmed is done, or is not what waits now: the same list another time is another question (I5).
        let is_over = match &status.pending_deletion {
            Some(pending) => pending.token != confirmed.token,
            None => status.sync.state == SyncState::Synced,
        };
        if is_over {
            transaction.delete(key);
        }
    }
    Ok(Response::Done)
}

/// A refusal unless `member` holds the target under `fence` (I2).
pub(crate) fn stale(
    transaction: &Transaction<'_>,
    target: &TargetKey,
    member: MemberId,
    fence: Fence,
) -> Result<Option<Response>, Halt> {
    let assignment: Option<Assignment> =
        transaction.get(&table::target(prefix::ASSIGNMENTS, target))?;
    let holds = assignment
        .is_some_and(|assignment| assignment.member == member && assignment.fence == fence);
    Ok((!holds).then(|| {
        rejected(
            RejectionReason::StaleFence,
            format!("{target} is not assigned to member {member} under fence {fence}"),
        )
    }))
}
