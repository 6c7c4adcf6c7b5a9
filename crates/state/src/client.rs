//! Exactly once for commands (format 1): the same (client, sequence) is applied once and answered alike afterwards.
//!
//! ```text
//! clients/C        floor, about when it was used           slot = sequence % SLOTS
//! clientslots/C/S  newest sequence of the slot, its answer
//! ```
//!
//! Guarantees: a slot keeps its newest answer; an older sequence of the slot is refused as stale, also when it never came
//! before. So a client has at most [`SLOTS`] commands under way. A command costs one small record read and written.
//!
//! Before format 2 a client had one record with its newest answers (`sessions/C`), rewritten by every command. It stays so,
//! byte for byte, until the first session is opened: a member of an older version applies the same log. From then on a
//! client's record is taken apart when it is used next.

use crate::Halt;
use crate::command::{Rejection, RejectionReason, Response};
use crate::stored::{Client, Slot};
use crate::table::{self, prefix};
use crate::transaction::Transaction;
use bytes::Bytes;
use regraft_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Slots of a client: more commands than it may have in flight.
const SLOTS: u64 = 64;
/// Answers of a client in one record.
const ANSWERS_TOGETHER: usize = 64;
/// Clients kept; the one silent for longest goes first.
const MAX_CLIENTS: usize = 512;

/// A client as it was kept before format 2.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Together {
    at: Timestamp,
    answers: BTreeMap<u64, Response>,
    /// Highest sequence whose answer was dropped.
    forgotten: u64,
}

/// What is known of a command before it is applied.
pub(crate) enum Seen {
    /// It was applied, or never will be: the answer, as JSON.
    Answered(Bytes),
    /// It is new.
    New(Kept),
}

/// How the answers of the client of a new command are kept.
pub(crate) enum Kept {
    /// In one record; none yet when this is its first command.
    Together(Option<Together>),
    /// In slots.
    Slots,
    /// In slots, from this command on.
    NewSlots,
}

pub(crate) fn seen(
    transaction: &mut Transaction<'_>,
    client: &str,
    sequence: u64,
) -> Result<Seen, Halt> {
    let key = table::client_slot(client, sequence % SLOTS);
    if let Some(slot) = transaction.message::<Slot>(key.as_bytes())? {
        return match slot.sequence.cmp(&sequence) {
            Ordering::Equal => Ok(Seen::Answered(slot.answer)),
            Ordering::Greater => stale(client, sequence),
            Ordering::Less => Ok(Seen::New(Kept::Slots)),
        };
    }
    if transaction.get::<u32>(table::FORMAT)?.is_none() {
        return seen_together(transaction, client, sequence);
    }
    let known: Option<Client> = transaction.message(table::client(client).as_bytes())?;
    match known {
        Some(known) if sequence <= known.floor => stale(client, sequence),
        Some(_) => Ok(Seen::New(Kept::Slots)),
        None => match transaction.get(&table::client_together(client))? {
            Some(session) => {
                take_apart(transaction, client, session)?;
                seen(transaction, client, sequence)
            }
            None => Ok(Seen::New(Kept::NewSlots)),
        },
    }
}

/// Keeps the answer, a [`Response`] and the same as JSON.
pub(crate) fn remember(
    transaction: &mut Transaction<'_>,
    (client, sequence): (&str, u64),
    kept: Kept,
    answer: Response,
    json: &[u8],
) -> Result<(), Halt> {
    let number = sequence % SLOTS;
    match kept {
        Kept::Together(session) => {
            return remember_together(transaction, client, sequence, session, answer);
        }
        Kept::NewSlots => make_room(transaction)?,
        Kept::Slots => {}
    }
    // Not with every command: whoever has to know exactly asks the slots.
    if matches!(kept, Kept::NewSlots) || number == 0 {
        let key = table::client(client);
        let mut known: Client = transaction.message(key.as_bytes())?.unwrap_or_default();
        known.used = transaction.index;
        transaction.put_message(key, &known);
    }
    let slot = Slot {
        sequence,
        index: transaction.index,
        actor: String::new(),
        answer: Bytes::copy_from_slice(json),
    };
    transaction.put_message(table::client_slot(client, number), &slot);
    Ok(())
}

/// Makes slots of a record of before format 2.
fn take_apart(
    transaction: &mut Transaction<'_>,
    client: &str,
    session: Together,
) -> Result<(), Halt> {
    // Sequences may have gaps: of two in one slot the later one stays.
    for (sequence, answer) in session.answers {
        let slot = Slot {
            sequence,
            index: transaction.index,
            actor: String::new(),
            answer: json(&answer)?.into(),
        };
        transaction.put_message(table::client_slot(client, sequence % SLOTS), &slot);
    }
    let known = Client {
        floor: session.forgotten,
        used: transaction.index,
    };
    transaction.put_message(table::client(client), &known);
    transaction.delete(table::client_together(client));
    transaction.keep();
    Ok(())
}

/// Forgets the client that is silent for longest when there are as many as may be.
fn make_room(transaction: &mut Transaction<'_>) -> Result<(), Halt> {
    let mut clients: Vec<(Vec<u8>, Client)> =
        transaction.messages(prefix::CLIENTS.as_bytes(), usize::MAX)?;
    let old = transaction.all::<Together>(prefix::SESSIONS)?;
    if clients.len() + old.len() < MAX_CLIENTS {
        return Ok(());
    }
    // What was never taken apart was not used since the first session was opened.
    if let Some((key, _)) = old.into_iter().min_by_key(|(_, session)| session.at) {
        transaction.delete(key);
        return Ok(());
    }
    clients.sort_by_key(|(_, known)| known.used);
    let mut oldest: Option<(u64, String)> = None;
    for (key, known) in clients {
        // What a record says is never later than what the slots say.
        if oldest.as_ref().is_some_and(|(used, _)| *used <= known.used) {
            break;
        }
        let key = String::from_utf8_lossy(&key);
        let client = key.strip_prefix(prefix::CLIENTS).unwrap_or_default();
        let mut used = known.used;
        for number in 0..SLOTS {
            let key = table::client_slot(client, number);
            let slot: Option<Slot> = transaction.message(key.as_bytes())?;
            used = slot.map_or(used, |slot| used.max(slot.index));
        }
        if oldest.as_ref().is_none_or(|(oldest, _)| used < *oldest) {
            oldest = Some((used, client.to_owned()));
        }
    }
    let Some((_, client)) = oldest else {
        return Ok(());
    };
    for number in 0..SLOTS {
        transaction.delete(table::client_slot(&client, number));
    }
    transaction.delete(table::client(&client));
    Ok(())
}

fn seen_together(transaction: &Transaction<'_>, client: &str, sequence: u64) -> Result<Seen, Halt> {
    let Some(session) = transaction.get::<Together>(&table::client_together(client))? else {
        return Ok(Seen::New(Kept::Together(None)));
    };
    if let Some(answer) = session.answers.get(&sequence) {
        return Ok(Seen::Answered(json(answer)?.into()));
    }
    match sequence <= session.forgotten {
        true => stale(client, sequence),
        false => Ok(Seen::New(Kept::Together(Some(session)))),
    }
}

fn remember_together(
    transaction: &mut Transaction<'_>,
    client: &str,
    sequence: u64,
    session: Option<Together>,
    answer: Response,
) -> Result<(), Halt> {
    let mut session = match session {
        Some(session) => session,
        None => {
            drop_oldest_together(transaction)?;
            Together::default()
        }
    };
    session.at = transaction.now;
    session.answers.insert(sequence, answer);
    while session.answers.len() > ANSWERS_TOGETHER {
        if let Some((dropped, _)) = session.answers.pop_first() {
            session.forgotten = session.forgotten.max(dropped);
        }
    }
    transaction.put(table::client_together(client), &session)
}

fn drop_oldest_together(transaction: &mut Transaction<'_>) -> Result<(), Halt> {
    let sessions = transaction.all::<Together>(prefix::SESSIONS)?;
    if sessions.len() >= MAX_CLIENTS
        && let Some((key, _)) = sessions.into_iter().min_by_key(|(_, session)| session.at)
    {
        transaction.delete(key);
    }
    Ok(())
}

fn stale(client: &str, sequence: u64) -> Result<Seen, Halt> {
    let stale = Response::Rejected(Rejection {
        reason: RejectionReason::StaleSequence,
        message: format!("sequence {sequence} of {client} is older than the answers kept"),
    });
    Ok(Seen::Answered(json(&stale)?.into()))
}

fn json(answer: &Response) -> Result<Vec<u8>, Halt> {
    serde_json::to_vec(answer).map_err(|error| Halt::Unwritable {
        what: "an answer".to_owned(),
        reason: error.to_string(),
    })
}
