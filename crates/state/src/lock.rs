//! Locks of repairs: which plan may act, and for how long.
//!
//! Expected flow: an incident in phase Planned acquires, its executor renews until the incident ends.
//! Guarantees: at most `budget` live locks of repairs in the fleet, none that overlaps another or a lock of a session; nobody
//! who waits for what overlaps is overtaken. A repair itself never waits: the engine asks again. A grant's fence is the index
//! of the granting entry, so fences only rise (I2). Expiry compares the stamped time of entries, never a clock.
//! Assumptions: whoever acts checks fence and lease by a linearizable read first.
//! Errors: a refusal names who holds what.

use crate::command::{LockRequest, RejectionReason, Response};
use crate::hold::{self, Wanted};
use crate::incident;
use crate::machine::{Halt, rejected};
use crate::queue::{self, Claim};
use crate::record::Lock;
use crate::table::{self, prefix};
use crate::transaction::Transaction;
use regraft_model::id::{Fence, IncidentId, LockScope};
use regraft_model::incident::Phase;
use regraft_model::time::Seconds;

pub(crate) fn acquire(
    transaction: &mut Transaction<'_>,
    request: LockRequest,
) -> Result<Response, Halt> {
    let mut incident = match incident::held(transaction, &request.incident, request.fence)? {
        Ok(incident) => incident,
        Err(refusal) => return Ok(refusal),
    };
    let id = &request.incident;
    let planned = incident
        .plan
        .as_ref()
        .is_some_and(|plan| plan.id == request.plan);
    if incident.phase != Phase::Planned || !planned {
        return Ok(rejected(
            RejectionReason::WrongPhase,
            format!(
                "{id} is {} and does not wait for a lock of {}",
                incident.phase, request.plan
            ),
        ));
    }
    if let Some(refusal) = misfit(&request.scope) {
        return Ok(refusal);
    }
    if let Some(refusal) = taken(transaction, id, &request.scope, request.budget)? {
        return Ok(refusal);
    }
    let granted = transaction.fence();
    let lock = Lock {
        scope: request.scope,
        incident: id.clone(),
        plan: request.plan,
        budget: request.budget,
        fence: granted,
        granted_at: transaction.now,
        expires_at: transaction.now.plus(request.lease),
    };
    let message = format!(
        "lock on {} with fence {granted}, until {}",
        lock.scope, lock.expires_at
    );
    transaction.put(table::incident(prefix::LOCKS, id), &lock)?;
    incident.lock = Some(granted);
    incident::enter(&mut incident, Phase::Locked, transaction.now);
    incident::record(transaction, &mut incident, "LockGranted", message)?;
    incident::save(transaction, &incident)?;
    Ok(Response::Granted { fence: granted })
}

pub(crate) fn renew(
    transaction: &mut Transaction<'_>,
    id: &IncidentId,
    fence: Fence,
    lease: Seconds,
) -> Result<Response, Halt> {
    if let Err(refusal) = incident::held(transaction, id, fence)? {
        return Ok(refusal);
    }
    let key = table::incident(prefix::LOCKS, id);
    let Some(mut lock) = transaction.get::<Lock>(&key)? else {
        return Ok(rejected(
            RejectionReason::LockExpired,
            format!("{id} holds no lock"),
        ));
    };
    // A lease that ran out may go on only while nobody else was let in.
    if lock.expires_at <= transaction.now
        && let Some(refusal) = taken(transaction, id, &lock.scope, lock.budget)?
    {
        return Ok(refusal);
    }
    lock.expires_at = lock.expires_at.max(transaction.now.plus(lease));
    transaction.put(key, &lock)?;
    Ok(Response::Done)
}

/// The refusal of a scope that no repair can be locked by.
fn misfit(scope: &LockScope) -> Option<Response> {
    let problem = match scope {
        // Names of applications come from configurations, which were read by stricter rules.
        LockScope::Application(_) => None,
        LockScope::Named(_) => Some(format!("{scope} is nothing that is repaired")),
        scope => scope.problem().map(|problem| problem.to_string()),
    };
    problem.map(|problem| rejected(RejectionReason::OutOfBounds, problem))
}

/// Gives the lock of an incident back, if it holds one, to whoever waits for it.
pub(crate) fn release(transaction: &mut Transaction<'_>, id: &IncidentId) -> Result<(), Halt> {
    let key = table::incident(prefix::LOCKS, id);
    let held: Option<Lock> = transaction.get(&key)?;
    transaction.delete(key);
    match held {
        Some(lock) => queue::grant(transaction, vec![Claim::of_lock(lock.scope)]),
        None => Ok(()),
    }
}

/// A refusal when something covers `scope` or waits for it, or live locks of repairs use up the budget.
fn taken(
    transaction: &Transaction<'_>,
    id: &IncidentId,
    scope: &LockScope,
    budget: u32,
) -> Result<Option<Response>, Halt> {
    let wanted = Wanted {
        scope: scope.clone(),
        permits: 1,
        budgets: vec![],
    };
    if let Some(obstacle) = hold::obstacle(transaction, &wanted, Some(id))? {
        let told = obstacle.to_string();
        return Ok(Some(rejected(RejectionReason::Busy, told)));
    }
    if let Some(waiter) = queue::in_front(transaction, scope)?.first {
        let told = queue::describe(&waiter);
        return Ok(Some(rejected(RejectionReason::Busy, told)));
    }
    let mut live = Vec::new();
    for (_, lock) in transaction.all::<Lock>(prefix::LOCKS)? {
        if lock.incident != *id && lock.expires_at > transaction.now {
            live.push(lock);
        }
    }
    let used = u32::try_from(live.len()).unwrap_or(u32::MAX);
    Ok((used >= budget).then(|| {
        let holders: Vec<_> = live.iter().map(|lock| lock.incident.to_string()).collect();
        rejected(
            RejectionReason::Busy,
            format!(
                "{used} of {budget} repairs are under way: {}",
                holders.join(", ")
            ),
        )
    }))
}
