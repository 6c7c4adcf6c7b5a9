//! Exactly once: the same (client, sequence) is applied once and answered alike afterwards.

use crate::Halt;
use crate::command::{Rejection, RejectionReason, Response};
use crate::table::{self, prefix};
use crate::transaction::Transaction;
use regraft_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Answers kept per client: more than a client may have in flight.
pub(crate) const SESSION_WINDOW: usize = 64;
/// Clients kept; the one silent for longest goes first.
pub(crate) const MAX_SESSIONS: usize = 512;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Session {
    at: Timestamp,
    answers: BTreeMap<u64, Response>,
    /// Highest sequence whose answer was dropped.
    forgotten: u64,
}

/// The earlier answer, when this command was seen before.
pub(crate) fn seen(
    transaction: &Transaction<'_>,
    client: &str,
    sequence: u64,
) -> Result<Option<Response>, Halt> {
    let Some(session) = transaction.get::<Session>(&table::session(client))? else {
        return Ok(None);
    };
    if let Some(answer) = session.answers.get(&sequence) {
        return Ok(Some(answer.clone()));
    }
    Ok((sequence <= session.forgotten).then(|| {
        Response::Rejected(Rejection {
            reason: RejectionReason::StaleSequence,
            message: format!("sequence {sequence} of {client} is older than the answers kept"),
        })
    }))
}

/// Keeps the answer.
pub(crate) fn remember(
    transaction: &mut Transaction<'_>,
    client: &str,
    sequence: u64,
    answer: &Response,
) -> Result<(), Halt> {
    let key = table::session(client);
    let mut session = match transaction.get::<Session>(&key)? {
        Some(session) => session,
        None => {
            drop_oldest(transaction)?;
            Session::default()
        }
    };
    session.at = transaction.now;
    session.answers.insert(sequence, answer.clone());
    while session.answers.len() > SESSION_WINDOW {
        if let Some((dropped, _)) = session.answers.pop_first() {
            session.forgotten = session.forgotten.max(dropped);
        }
    }
    transaction.put(key, &session)
}

fn drop_oldest(transaction: &mut Transaction<'_>) -> Result<(), Halt> {
    let sessions = transaction.all::<Session>(prefix::SESSIONS)?;
    if sessions.len() >= MAX_SESSIONS
        && let Some((key, _)) = sessions.into_iter().min_by_key(|(_, session)| session.at)
    {
        transaction.delete(key);
    }
    Ok(())
}
