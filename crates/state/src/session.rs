//! Sessions (format 2): who a client is, what it was answered, and how long its locks last.
//!
//! ```text
//! opensessions/ID  actor, time to live, scopes held, places in queues      ID = log index that opened it
//! slots/ID/S       newest sequence of the slot, its answer, when           (S. Ongaro, "Consensus: Bridging Theory and
//! meta/sessions    how many are open                                       Practice", 6.3; slots as in RFC 8881, 2.10.6.1)
//! ```
//!
//! Expected flow: a client opens a session, sends each request in a free slot with the slot's next sequence, sends it again
//! unchanged while the outcome is unknown, and closes the session.
//! Guarantees: a request is applied at most once, however often and late it arrives: the slot's newest sequence is answered
//! as before, an older one and one that leaves a gap are refused, and of a session that ended nothing is ever applied, for its
//! id is not used again. A request costs one small record read and written besides its own.
//! Ending a session gives back its locks and its places in queues in one command.
//!
//! Expiry. Keeping a session alive writes nothing to the log: the leader alone keeps in memory when it last heard of each
//! session, by its monotonic clock, and proposes [`ExpireSession`] for one that was silent for its time to live. A new leader
//! knows nothing of that and gives every session a whole time to live from when it began to lead. So only the rate of the
//! leader's clock counts, no clock's setting and no difference between members: a session is never ended earlier than
//! ttl / (1 + r) of true time after the leader last heard of it, where its clock runs r too fast, and later by as much as a
//! change of leaders takes. A client stops relying on its locks ttl × (1 - 2r) after it sent the last request or sign of life
//! that was answered, by its own monotonic clock; r = 0.001 covers quartz (0.0002) and the slewing of NTP (0.0005). Whoever
//! acts later than that, for it was paused, is told by its fence: the next holder of an overlapping scope has a greater one.
//!
//! Assumptions: [`ExpireSession`] is proposed by the leader that decided it, in the term it decided it in, and never handed on
//! to another leader; from the decision on it answers no sign of life of that session. Then what a session heard from a
//! later leader cannot be undone by an earlier one. What the deciding leader did not know is in the log: an operation of
//! the session above `last_heard` makes the request void.

use crate::Halt;
use crate::hold;
use crate::operation::{
    Answer, CloseSession, Done, ExpireSession, OpenSession, Opened, Operation, Outcome,
    RefusalReason, Refused, SESSIONS_MAX, SLOTS, TTL_MAX_MS, TTL_MIN_MS,
};
use crate::queue;
use crate::stored::{Session, Slot};
use crate::table;
use crate::transaction::Transaction;
use bytes::Bytes;
use prost::Message as _;
use regraft_model::id::LockScope;

/// Most bytes of a message of a refusal: slots keep it.
const MESSAGE_BYTES_MAX: usize = 1024;
/// The format that whoever has a session opened says every member knows. From then on clients of commands have slots.
const FORMAT_OF_SESSIONS: u32 = 2;

/// What is known of a request before it is applied.
pub(crate) enum Seen {
    /// It was applied: the answer, encoded.
    Answered(Bytes),
    /// It never will be.
    Refused(Outcome),
    /// It is the slot's next.
    Next,
}

/// Looks a request up in its slot. A repeated one is a sign of life, too.
pub(crate) fn seen(transaction: &mut Transaction<'_>, operation: &Operation) -> Result<Seen, Halt> {
    let Operation {
        session,
        slot,
        sequence,
        ..
    } = *operation;
    let refuse = |reason, message| Ok(Seen::Refused(refused(reason, message)));
    if slot >= SLOTS || sequence == 0 {
        let message = format!("slots are 0 to {}, sequences begin at 1", SLOTS - 1);
        return refuse(RefusalReason::OutOfBounds, message);
    }
    let key = table::slot(session, slot);
    let (actor, newest, kept) = match transaction.message::<Slot>(key.as_bytes())? {
        Some(kept) => (kept.actor.clone(), kept.sequence, Some(kept)),
        // As long as a session has slots it is open; one that was never used has none.
        None => match known(transaction, session)? {
            Ok(session) => (session.actor, 0, None),
            Err(refusal) => return Ok(Seen::Refused(refusal)),
        },
    };
    if actor != transaction.actor {
        let message = format!("session {session} is {actor}'s");
        return refuse(RefusalReason::NotYours, message);
    }
    match kept {
        Some(mut kept) if sequence == newest => {
            let answer = kept.answer.clone();
            kept.index = transaction.index;
            transaction.put_message(key, &kept);
            Ok(Seen::Answered(answer))
        }
        _ if sequence <= newest => {
            let message = format!("slot {slot} has answered {newest}, this is {sequence}");
            refuse(RefusalReason::StaleSequence, message)
        }
        _ if sequence - newest > 1 => {
            let message = format!("slot {slot} has answered {newest}, this is {sequence}");
            refuse(RefusalReason::OutOfOrder, message)
        }
        _ => Ok(Seen::Next),
    }
}

/// Keeps the answer of an operation in its slot.
pub(crate) fn remember(transaction: &mut Transaction<'_>, operation: &Operation, answer: &[u8]) {
    let slot = Slot {
        sequence: operation.sequence,
        index: transaction.index,
        actor: transaction.actor.clone(),
        answer: Bytes::copy_from_slice(answer),
    };
    transaction.put_message(table::slot(operation.session, operation.slot), &slot);
}

pub(crate) fn open(
    transaction: &mut Transaction<'_>,
    request: OpenSession,
) -> Result<Outcome, Halt> {
    let OpenSession { ttl_ms } = request;
    if !(TTL_MIN_MS..=TTL_MAX_MS).contains(&ttl_ms) {
        let message =
            format!("a session lives {TTL_MIN_MS} to {TTL_MAX_MS} ms unheard of, not {ttl_ms}");
        return Ok(refused(RefusalReason::OutOfBounds, message));
    }
    let count: u64 = transaction.get(table::SESSION_COUNT)?.unwrap_or_default();
    if count >= SESSIONS_MAX {
        let message = format!("{count} sessions are open, as many as may be");
        return Ok(refused(RefusalReason::TooManySessions, message));
    }
    if !transaction.has(table::FORMAT.as_bytes())? {
        transaction.put(table::FORMAT.to_owned(), &FORMAT_OF_SESSIONS)?;
    }
    let id = transaction.index;
    let session = Session {
        actor: transaction.actor.clone(),
        ttl_ms,
        opened_ms: transaction.now.0,
        held: vec![],
        places: vec![],
    };
    transaction.put_message(table::open_session(id), &session);
    transaction.put(table::SESSION_COUNT.to_owned(), &(count + 1))?;
    Ok(Outcome::Opened(Opened {
        session: id,
        ttl_ms,
    }))
}

pub(crate) fn close(
    transaction: &mut Transaction<'_>,
    request: CloseSession,
) -> Result<Outcome, Halt> {
    match known(transaction, request.session)? {
        Ok(session) => end(transaction, request.session, &session),
        Err(refusal) => Ok(refusal),
    }
}

pub(crate) fn expire(
    transaction: &mut Transaction<'_>,
    request: ExpireSession,
) -> Result<Outcome, Halt> {
    let ExpireSession {
        session: id,
        last_heard,
    } = request;
    let session = match known(transaction, id)? {
        Ok(session) => session,
        Err(refusal) => return Ok(refusal),
    };
    let slots = transaction.messages::<Slot>(table::slots(id).as_bytes(), usize::MAX)?;
    let used = slots.iter().map(|(_, slot)| slot.index).max();
    // Opening it is its first use.
    let used = used.unwrap_or(id);
    if used > last_heard {
        let message = format!("session {id} was used at {used}, after {last_heard}");
        return Ok(refused(RefusalReason::SessionInUse, message));
    }
    end(transaction, id, &session)
}

/// The session, or that there is none.
pub(crate) fn known(
    transaction: &Transaction<'_>,
    id: u64,
) -> Result<Result<Session, Outcome>, Halt> {
    let session = transaction.message(table::open_session(id).as_bytes())?;
    let none = || {
        let message = format!("session {id} ended, or never was");
        refused(RefusalReason::SessionExpired, message)
    };
    Ok(session.ok_or_else(none))
}

/// A refusal.
pub(crate) fn refused(reason: RefusalReason, mut message: String) -> Outcome {
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    Outcome::Refused(Refused {
        reason: reason.as_str().to_owned(),
        message,
        found: 0,
    })
}

/// An answer as bytes.
pub(crate) fn encode(outcome: Outcome) -> Vec<u8> {
    let outcome = Some(outcome);
    Answer { outcome }.encode_to_vec()
}

/// Gives back all that a session has.
fn end(transaction: &mut Transaction<'_>, id: u64, session: &Session) -> Result<Outcome, Halt> {
    let mut freed = Vec::new();
    for scope in &session.held {
        if let Ok(scope) = scope.parse::<LockScope>() {
            freed.push(hold::give_back(transaction, id, &scope)?);
        }
    }
    for place in &session.places {
        freed.push(queue::leave(transaction, place.ticket)?);
    }
    for key in transaction.keys(table::slots(id).as_bytes())? {
        transaction.delete(key);
    }
    transaction.delete(table::open_session(id));
    let count: u64 = transaction.get(table::SESSION_COUNT)?.unwrap_or_default();
    transaction.put(table::SESSION_COUNT.to_owned(), &count.saturating_sub(1))?;
    queue::grant(transaction, freed)?;
    Ok(Outcome::Done(Done {}))
}
