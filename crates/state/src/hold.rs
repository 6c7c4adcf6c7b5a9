//! Locks of sessions: who gets one, and what stands in the way.
//!
//! Expected flow: a session acquires, acts under the fence, releases; it waits in the queue when it asked to.
//! Guarantees: of two overlapping scopes at most one is held, by a session or by a repair, but for the permits of a counted
//! scope; at the moment of a grant no budget named by it is exceeded; nobody is let in before those who wait for what
//! overlaps ([`crate::queue`]). A fence is the index of the granting command: later holders of what overlaps have greater
//! ones, and only holders of one counted scope that one command let in have the same.
//! Assumptions: whoever acts late shows its fence to what it acts on; a lock ends with its session, not by a clock.
//! Errors: a refusal names who holds what, until when.

use crate::Halt;
use crate::operation::{
    Acquire, BUDGETS_MAX, Budget, Done, Granted, LOCKS_PER_SESSION_MAX, Outcome, PERMITS_MAX,
    RefusalReason, Release, Wait,
};
use crate::queue::{self, Claim};
use crate::record::Lock;
use crate::scope;
use crate::session::{self, refused};
use crate::stored::{Held, Holder, Session};
use crate::table::{self, prefix};
use crate::transaction::Transaction;
use regraft_model::id::{ClusterName, IncidentId, LockScope};
use regraft_model::time::Timestamp;
use std::fmt;

/// What somebody wants to lock.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) scope: LockScope,
    pub(crate) permits: u32,
    /// Levels, and the most live locks below each.
    pub(crate) budgets: Vec<(LockScope, u32)>,
}

/// Why a lock is not free.
pub(crate) enum Obstacle {
    /// A repair holds what overlaps.
    Repair(Lock),
    /// Sessions hold what overlaps.
    Held(Held),
    /// Sessions hold the scope with another number of permits.
    Permits(Held),
    /// As many locks as a budget allows are held.
    Budget {
        /// Below what.
        level: LockScope,
        /// The budget.
        most: u32,
    },
}

pub(crate) fn acquire(
    transaction: &mut Transaction<'_>,
    id: u64,
    request: &Acquire,
    wait: Wait,
) -> Result<Outcome, Halt> {
    let wanted = match Wanted::read(transaction, request)? {
        Ok(wanted) => wanted,
        Err(problem) => return Ok(refused(RefusalReason::OutOfBounds, problem)),
    };
    let mut session = match session::known(transaction, id)? {
        Ok(session) => session,
        Err(refusal) => return Ok(refusal),
    };
    if let Some(refusal) = own(transaction, &session, &wanted)? {
        return Ok(refusal);
    }
    let obstacle = obstacle(transaction, &wanted, None)?;
    if let Some(differs @ Obstacle::Permits(_)) = &obstacle {
        return Ok(refused(RefusalReason::PermitsDiffer, differs.to_string()));
    }
    let in_front = queue::in_front(transaction, &wanted.scope)?;
    let told = match (&obstacle, &in_front.first) {
        (None, None) => {
            grant(transaction, id, &mut session, &wanted)?;
            transaction.put_message(table::open_session(id), &session);
            let fence = transaction.index;
            return Ok(Outcome::Granted(Granted { fence }));
        }
        (Some(obstacle), _) => obstacle.to_string(),
        (None, Some(waiter)) => queue::describe(waiter),
    };
    match wait {
        Wait::Try => Ok(refused(RefusalReason::Busy, told)),
        Wait::Queue => queue::join(transaction, id, session, &wanted, in_front.count),
    }
}

pub(crate) fn release(
    transaction: &mut Transaction<'_>,
    id: u64,
    request: &Release,
) -> Result<Outcome, Halt> {
    let scope: LockScope = match request.scope.parse() {
        Ok(scope) => scope,
        Err(problem) => return Ok(refused(RefusalReason::OutOfBounds, format!("{problem}"))),
    };
    let mut session = match session::known(transaction, id)? {
        Ok(session) => session,
        Err(refusal) => return Ok(refusal),
    };
    let freed = if let Some(at) = session.held.iter().position(|it| *it == request.scope) {
        session.held.remove(at);
        give_back(transaction, id, &scope)?
    } else if let Some(at) = session
        .places
        .iter()
        .position(|place| place.scope == request.scope)
    {
        let place = session.places.remove(at);
        queue::leave(transaction, place.ticket)?
    } else {
        let message = format!("session {id} neither holds {scope} nor waits for it");
        return Ok(refused(RefusalReason::NotHeld, message));
    };
    transaction.put_message(table::open_session(id), &session);
    queue::grant(transaction, vec![freed])?;
    Ok(Outcome::Done(Done {}))
}

/// Makes a session a holder. The caller writes the session's record.
pub(crate) fn grant(
    transaction: &mut Transaction<'_>,
    id: u64,
    session: &mut Session,
    wanted: &Wanted,
) -> Result<(), Halt> {
    let (key, scope) = (table::held(&wanted.scope), wanted.scope.to_string());
    let mut held = transaction
        .message::<Held>(key.as_bytes())?
        .unwrap_or_else(|| Held {
            scope: scope.clone(),
            permits: wanted.permits,
            holders: Vec::with_capacity(1),
        });
    held.holders.push(Holder {
        session: id,
        actor: session.actor.clone(),
        fence: transaction.index,
        granted_ms: transaction.now.0,
    });
    transaction.put_message(key, &held);
    session.held.push(scope);
    Ok(())
}

/// Takes a session from the holders. The caller writes the session's record, and grants what is free now.
pub(crate) fn give_back(
    transaction: &mut Transaction<'_>,
    id: u64,
    scope: &LockScope,
) -> Result<Claim, Halt> {
    let key = table::held(scope);
    if let Some(mut held) = transaction.message::<Held>(key.as_bytes())? {
        held.holders.retain(|holder| holder.session != id);
        match held.holders.is_empty() {
            true => transaction.delete(key),
            false => transaction.put_message(key, &held),
        }
    }
    Ok(Claim::of_lock(scope.clone()))
}

/// The first thing that stands in the way, but for those who wait. The repair of `except` does not.
pub(crate) fn obstacle(
    transaction: &Transaction<'_>,
    wanted: &Wanted,
    except: Option<&IncidentId>,
) -> Result<Option<Obstacle>, Halt> {
    let repairs = repairs_beside(transaction, &wanted.scope, except)?;
    for lock in &repairs {
        if scope::overlap(transaction, &lock.scope, &wanted.scope)? {
            return Ok(Some(Obstacle::Repair(lock.clone())));
        }
    }
    if let Some(held) = transaction.message::<Held>(table::held(&wanted.scope).as_bytes())? {
        if held.permits != wanted.permits {
            return Ok(Some(Obstacle::Permits(held)));
        }
        if held.holders.len() >= usize::try_from(held.permits).unwrap_or(usize::MAX) {
            return Ok(Some(Obstacle::Held(held)));
        }
    }
    if let Some(held) = held_elsewhere(transaction, &wanted.scope)? {
        return Ok(Some(Obstacle::Held(held)));
    }
    for (level, most) in &wanted.budgets {
        if live_below(transaction, level, &repairs, *most)? >= *most {
            return Ok(Some(Obstacle::Budget {
                level: level.clone(),
                most: *most,
            }));
        }
    }
    Ok(None)
}

/// Repairs whose leases run. A name is no business of a repair: asking for one reads none.
fn repairs_beside(
    transaction: &Transaction<'_>,
    scope: &LockScope,
    except: Option<&IncidentId>,
) -> Result<Vec<Lock>, Halt> {
    if matches!(scope, LockScope::Named(_)) {
        return Ok(vec![]);
    }
    let locks = transaction.all::<Lock>(prefix::LOCKS)?.into_iter();
    let live = locks.filter_map(|(_, lock)| {
        let counts = lock.expires_at > transaction.now && Some(&lock.incident) != except;
        counts.then_some(lock)
    });
    Ok(live.collect())
}

/// What sessions hold of another scope that overlaps this one.
fn held_elsewhere(transaction: &Transaction<'_>, scope: &LockScope) -> Result<Option<Held>, Halt> {
    for level in scope::above(scope) {
        if let Some(held) = transaction.message(table::held(&level).as_bytes())? {
            return Ok(Some(held));
        }
    }
    match scope {
        LockScope::Fleet => match held_below(transaction, scope)? {
            Some(held) => Ok(Some(held)),
            None => first_held(transaction, prefix::HELD_APPLICATIONS),
        },
        LockScope::Cluster(cluster) | LockScope::Namespace { cluster, .. } => {
            match held_below(transaction, scope)? {
                Some(held) => Ok(Some(held)),
                None => application_held_in(transaction, cluster),
            }
        }
        LockScope::Service { cluster, .. } => application_held_in(transaction, cluster),
        LockScope::Application(name) => {
            let clusters = scope::clusters_of(transaction, name)?;
            if clusters.is_empty() {
                return held_below(transaction, &LockScope::Fleet);
            }
            for cluster in clusters {
                let cluster = LockScope::Cluster(cluster);
                if let Some(held) = transaction.message(table::held(&cluster).as_bytes())? {
                    return Ok(Some(held));
                }
                if let Some(held) = held_below(transaction, &cluster)? {
                    return Ok(Some(held));
                }
            }
            Ok(None)
        }
        LockScope::Named(_) => Ok(None),
    }
}

fn held_below(transaction: &Transaction<'_>, scope: &LockScope) -> Result<Option<Held>, Halt> {
    first_held(transaction, &format!("{}/", table::held(scope)))
}

fn first_held(transaction: &Transaction<'_>, prefix: &str) -> Result<Option<Held>, Halt> {
    let first = transaction.messages::<Held>(prefix.as_bytes(), 1)?;
    Ok(first.into_iter().next().map(|(_, held)| held))
}

fn application_held_in(
    transaction: &Transaction<'_>,
    cluster: &ClusterName,
) -> Result<Option<Held>, Halt> {
    let prefix = prefix::HELD_APPLICATIONS.as_bytes();
    for (key, held) in transaction.messages::<Held>(prefix, usize::MAX)? {
        let name = String::from_utf8_lossy(key.strip_prefix(prefix).unwrap_or_default());
        if scope::runs_in(transaction, &name.as_ref().into(), cluster)? {
            return Ok(Some(held));
        }
    }
    Ok(None)
}

/// Live locks below a level or on it, repairs included; counts no further than `most` scopes of sessions.
fn live_below(
    transaction: &Transaction<'_>,
    level: &LockScope,
    repairs: &[Lock],
    most: u32,
) -> Result<u32, Halt> {
    let mut holders = 0;
    let on_it: Option<Held> = transaction.message(table::held(level).as_bytes())?;
    holders += on_it.map_or(0, |held| held.holders.len());
    // Each scope has a holder at least: so many of them decide.
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    if scope::has_levels_below(level) {
        let below = format!("{}/", table::held(level));
        let below = transaction.messages::<Held>(below.as_bytes(), limit)?;
        holders += below
            .iter()
            .map(|(_, held)| held.holders.len())
            .sum::<usize>();
    }
    if matches!(level, LockScope::Fleet | LockScope::Cluster(_)) {
        let prefix = prefix::HELD_APPLICATIONS.as_bytes();
        for (key, held) in transaction.messages::<Held>(prefix, usize::MAX)? {
            let name = String::from_utf8_lossy(key.strip_prefix(prefix).unwrap_or_default());
            let scope = LockScope::Application(name.as_ref().into());
            if scope::lies_below(transaction, &scope, level)? {
                holders += held.holders.len();
            }
        }
    }
    for lock in repairs {
        holders += usize::from(scope::lies_below(transaction, &lock.scope, level)?);
    }
    Ok(u32::try_from(holders).unwrap_or(u32::MAX))
}

/// The refusal of what the session itself is in the way of: waiting for it would have no end.
fn own(
    transaction: &Transaction<'_>,
    session: &Session,
    wanted: &Wanted,
) -> Result<Option<Outcome>, Halt> {
    let places = session
        .places
        .iter()
        .map(|place| (&place.scope, "waits for"));
    let held = session.held.iter().map(|scope| (scope, "holds"));
    for (other, does) in held.chain(places) {
        let overlaps = match other.parse() {
            Ok(other) => scope::overlap(transaction, &other, &wanted.scope)?,
            Err(_) => false,
        };
        if overlaps {
            let message = format!("the session itself {does} {other}");
            return Ok(Some(refused(RefusalReason::AlreadyHeld, message)));
        }
    }
    let count = session.held.len() + session.places.len();
    Ok((count >= LOCKS_PER_SESSION_MAX).then(|| {
        let message =
            format!("the session holds and waits for {count}, at most {LOCKS_PER_SESSION_MAX}");
        refused(RefusalReason::TooManyLocks, message)
    }))
}

impl Wanted {
    /// What a request wants, or what is wrong with it.
    fn read(
        transaction: &Transaction<'_>,
        request: &Acquire,
    ) -> Result<Result<Self, String>, Halt> {
        let wanted = match Self::parse(&request.scope, request.permits, &request.budgets) {
            Ok(wanted) => wanted,
            Err(problem) => return Ok(Err(problem)),
        };
        for (level, _) in &wanted.budgets {
            if !scope::lies_below(transaction, &wanted.scope, level)? {
                let scope = &wanted.scope;
                return Ok(Err(format!("{scope} does not lie below {level}")));
            }
        }
        Ok(Ok(wanted))
    }

    pub(crate) fn parse(scope: &str, permits: u32, budgets: &[Budget]) -> Result<Self, String> {
        if budgets.len() > BUDGETS_MAX {
            let count = budgets.len();
            return Err(format!("{count} budgets, at most {BUDGETS_MAX}"));
        }
        if permits > PERMITS_MAX {
            return Err(format!("{permits} permits, at most {PERMITS_MAX}"));
        }
        let budgets = budgets.iter().map(|budget| match budget.most {
            0 => Err(format!(
                "a budget of 0 below {} lets nobody in",
                budget.level
            )),
            most => match budget.level.parse() {
                Ok(level) => Ok((level, most)),
                Err(problem) => Err(format!("{problem}")),
            },
        });
        Ok(Self {
            scope: scope.parse().map_err(|problem| format!("{problem}"))?,
            permits: permits.max(1),
            budgets: budgets.collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Repair(lock) => write!(
                f,
                "{} holds {} until {}",
                lock.incident, lock.scope, lock.expires_at
            ),
            Obstacle::Held(held) => {
                let Some(first) = held.holders.first() else {
                    return write!(f, "{} is held", held.scope);
                };
                let others = match held.holders.len() {
                    1 => String::new(),
                    count => format!(" and {} more", count - 1),
                };
                write!(
                    f,
                    "{} holds {} since {} with fence {}, until session {} ends{others}",
                    first.actor,
                    held.scope,
                    Timestamp(first.granted_ms),
                    first.fence,
                    first.session
                )
            }
            Obstacle::Permits(held) => write!(
                f,
                "{} is held with {} permits by {}",
                held.scope,
                held.permits,
                held.holders.first().map_or("", |it| it.actor.as_str())
            ),
            Obstacle::Budget { level, most } => {
                write!(
                    f,
                    "{most} locks, as many as there may be, are held below {level}"
                )
            }
        }
    }
}
