//! The queue of those who wait for locks.
//!
//! Expected flow: a request joins it, and leaves it by its grant, by its release, or with its session.
//! Guarantees: requests that stand in each other's way are granted in the order in which they came; those that do not pass
//! each other freely. A request stands in the way of what overlaps its scope, and of what lies below a level it has a budget
//! for: so a lock of the fleet, or the last place in a budget, is not taken away by ever new small ones. A lock that is given
//! back is granted by the command that gives it back.
//! The lease of a repair runs out by itself: the next command, of format 1 or on a lock, at or after that moment grants.
//! Assumptions: nobody waits for one lock while holding another that is wanted the other way round; nothing here finds
//! such circles, they last until one of the sessions releases or ends.

use crate::Halt;
use crate::hold::{self, Wanted};
use crate::operation::{Budget, Outcome, Queued, RefusalReason, WAITING_MAX};
use crate::record::Lock;
use crate::scope;
use crate::session::refused;
use crate::store::ReadError;
use crate::stored::{Place, Queue, Session, Waiter};
use crate::table::{self, prefix};
use crate::transaction::Transaction;
use regraft_model::id::LockScope;
use regraft_model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What a lock or a request kept from others as long as it was there.
pub(crate) struct Claim {
    scope: LockScope,
    levels: Vec<LockScope>,
}

impl Claim {
    pub(crate) fn of_lock(scope: LockScope) -> Self {
        let levels = Vec::new();
        Self { scope, levels }
    }

    fn of_request(wanted: Wanted) -> Self {
        let levels = wanted.budgets.into_iter().map(|(level, _)| level);
        Self {
            scope: wanted.scope,
            levels: levels.collect(),
        }
    }

    /// Whether `wanted` may have been kept out by this.
    fn concerned(&self, wanted: &Wanted) -> bool {
        let mut own = self.levels.iter();
        let mut theirs = wanted.budgets.iter();
        scope::may_overlap(&self.scope, &wanted.scope)
            || own.any(|level| scope::may_lie_below(&wanted.scope, level))
            || theirs.any(|(level, _)| scope::may_lie_below(&self.scope, level))
    }
}

/// What waits already while the queue is walked.
#[derive(Default)]
struct Ahead {
    /// Scopes, by their texts: many wait for the same.
    scopes: BTreeMap<String, LockScope>,
    levels: BTreeSet<LockScope>,
}

impl Ahead {
    fn add(&mut self, waiter: Waiter, wanted: Wanted) {
        self.scopes.insert(waiter.scope, wanted.scope);
        self.levels
            .extend(wanted.budgets.into_iter().map(|(level, _)| level));
    }

    fn bars(&self, transaction: &Transaction<'_>, wanted: &Wanted) -> Result<bool, Halt> {
        for other in self.scopes.values() {
            if scope::overlap(transaction, other, &wanted.scope)? {
                return Ok(true);
            }
        }
        for level in &self.levels {
            if scope::lies_below(transaction, &wanted.scope, level)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a request adds nothing to what waits, and cannot be granted.
    fn knows(&self, waiter: &Waiter) -> bool {
        waiter.budgets.is_empty() && self.scopes.contains_key(&waiter.scope)
    }
}

/// Those who wait and would be overtaken by a grant of `scope`.
#[derive(Default)]
pub(crate) struct InFront {
    /// The first.
    pub(crate) first: Option<Waiter>,
    pub(crate) count: u64,
}

pub(crate) fn in_front(transaction: &Transaction<'_>, scope: &LockScope) -> Result<InFront, Halt> {
    let mut in_front = InFront::default();
    if queue(transaction)?.count == 0 {
        return Ok(in_front);
    }
    let text = scope.to_string();
    for (_, waiter) in waiters(transaction)? {
        if waiter.scope != text && !stands_before(transaction, &waiter, scope)? {
            continue;
        }
        in_front.count += 1;
        in_front.first.get_or_insert(waiter);
    }
    Ok(in_front)
}

fn stands_before(
    transaction: &Transaction<'_>,
    waiter: &Waiter,
    scope: &LockScope,
) -> Result<bool, Halt> {
    let wanted = wanted(waiter)?;
    if scope::overlap(transaction, &wanted.scope, scope)? {
        return Ok(true);
    }
    for (level, _) in &wanted.budgets {
        if scope::lies_below(transaction, scope, level)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes the last place; `ahead` wait before it for what overlaps.
pub(crate) fn join(
    transaction: &mut Transaction<'_>,
    id: u64,
    mut session: Session,
    wanted: &Wanted,
    ahead: u64,
) -> Result<Outcome, Halt> {
    let mut queue = queue(transaction)?;
    if queue.count >= WAITING_MAX {
        let message = format!("{WAITING_MAX} requests wait, as many as may");
        return Ok(refused(RefusalReason::QueueFull, message));
    }
    let (ticket, scope) = (transaction.index, wanted.scope.to_string());
    let budgets = wanted.budgets.iter().map(|(level, most)| Budget {
        level: level.to_string(),
        most: *most,
    });
    let waiter = Waiter {
        session: id,
        actor: session.actor.clone(),
        scope: scope.clone(),
        permits: wanted.permits,
        budgets: budgets.collect(),
        since_ms: transaction.now.0,
    };
    transaction.put_message(table::waiting(ticket), &waiter);
    session.places.push(Place { scope, ticket });
    transaction.put_message(table::open_session(id), &session);
    queue.count += 1;
    queue.lapses_ms = next_lapse(transaction)?;
    put(transaction, queue);
    Ok(Outcome::Queued(Queued { ticket, ahead }))
}

/// Gives a place up. The caller writes the session's record, and grants what is free now.
pub(crate) fn leave(transaction: &mut Transaction<'_>, ticket: u64) -> Result<Claim, Halt> {
    let key = table::waiting(ticket);
    let waiter: Option<Waiter> = transaction.message(key.as_bytes())?;
    let Some(waiter) = waiter else {
        return Err(ReadError(format!("no request waits with ticket {ticket}")).into());
    };
    transaction.delete(key);
    let mut queue = queue(transaction)?;
    queue.count = queue.count.saturating_sub(1);
    put(transaction, queue);
    Ok(Claim::of_request(wanted(&waiter)?))
}

/// Grants what is free after `freed` were given back, in order.
pub(crate) fn grant(transaction: &mut Transaction<'_>, mut freed: Vec<Claim>) -> Result<(), Halt> {
    let before = queue(transaction)?;
    if before.count == 0 {
        return Ok(());
    }
    let (mut after, mut ahead) = (before, Ahead::default());
    for (key, waiter) in waiters(transaction)? {
        if ahead.knows(&waiter) {
            continue;
        }
        let wanted = wanted(&waiter)?;
        let is_granted = freed.iter().any(|claim| claim.concerned(&wanted))
            && !ahead.bars(transaction, &wanted)?
            && hold::obstacle(transaction, &wanted, None)?.is_none();
        if !is_granted {
            ahead.add(waiter, wanted);
            continue;
        }
        transaction.delete(key);
        after.count = after.count.saturating_sub(1);
        let session = table::open_session(waiter.session);
        let Some(mut owner) = transaction.message::<Session>(session.as_bytes())? else {
            let id = waiter.session;
            return Err(ReadError(format!("session {id} waits and is not open")).into());
        };
        owner.places.retain(|place| place.scope != waiter.scope);
        hold::grant(transaction, waiter.session, &mut owner, &wanted)?;
        transaction.put_message(session, &owner);
        if !wanted.budgets.is_empty() {
            // It no longer keeps anybody from what lies below its levels.
            freed.push(Claim::of_request(wanted));
        }
    }
    after.lapses_ms = next_lapse(transaction)?;
    if after != before {
        put(transaction, after);
    }
    Ok(())
}

/// Grants what leases of repairs kept that have run out since. A refusal of the command leaves it done.
pub(crate) fn lapse(transaction: &mut Transaction<'_>) -> Result<(), Halt> {
    let queue = queue(transaction)?;
    let is_over = |at: i64| Timestamp(at) <= transaction.now;
    if queue.count == 0 || !queue.lapses_ms.is_some_and(is_over) {
        return Ok(());
    }
    let locks = transaction.all::<Lock>(prefix::LOCKS)?.into_iter();
    let lapsed = locks.filter(|(_, lock)| lock.expires_at <= transaction.now);
    let freed = lapsed.map(|(_, lock)| Claim::of_lock(lock.scope)).collect();
    grant(transaction, freed)?;
    transaction.keep();
    Ok(())
}

/// Who waits for what, for people.
pub(crate) fn describe(waiter: &Waiter) -> String {
    format!(
        "{} waits for {} since {} and comes first",
        waiter.actor,
        waiter.scope,
        Timestamp(waiter.since_ms)
    )
}

/// When to look again. A repair that gets its lease later is in the way of nobody who waits now, or it would not get it; one
/// that is renewed is looked at too early, and again.
fn next_lapse(transaction: &Transaction<'_>) -> Result<Option<i64>, Halt> {
    let locks = transaction.all::<Lock>(prefix::LOCKS)?.into_iter();
    let live = locks.map(|(_, lock)| lock.expires_at);
    Ok(live
        .filter(|expires_at| *expires_at > transaction.now)
        .min()
        .map(|expires_at| expires_at.0))
}

fn queue(transaction: &Transaction<'_>) -> Result<Queue, Halt> {
    let queue = transaction.message(table::QUEUE.as_bytes())?;
    Ok(queue.unwrap_or_default())
}

fn put(transaction: &mut Transaction<'_>, queue: Queue) {
    match queue.count {
        0 => transaction.delete(table::QUEUE),
        _ => transaction.put_message(table::QUEUE, &queue),
    }
}

fn waiters(transaction: &Transaction<'_>) -> Result<Vec<(Vec<u8>, Waiter)>, Halt> {
    transaction.messages(prefix::WAITING.as_bytes(), usize::MAX)
}

fn wanted(waiter: &Waiter) -> Result<Wanted, Halt> {
    Wanted::parse(&waiter.scope, waiter.permits, &waiter.budgets)
        .map_err(|problem| ReadError(format!("a request that waits: {problem}")).into())
}
