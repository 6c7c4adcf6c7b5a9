//! Which formats may be proposed: a member that does not read what was committed halts, so nobody proposes a newer format
//! before every member reads it.
//!
//! The leader hears from every member what it reads and says so once, by [`RaiseFormat`]; that is never taken back. Who
//! joins later, or starts an older version, finds it in the state and does not run.

use crate::Halt;
use crate::audit;
use crate::command::COMMAND_FORMAT;
use crate::operation::{Done, NoteMembers, Outcome, RaiseFormat};
use crate::store::{Read, ReadError};
use crate::table;
use crate::transaction::Transaction;

pub(crate) fn raise(
    transaction: &mut Transaction<'_>,
    request: RaiseFormat,
) -> Result<Outcome, Halt> {
    let known: Option<u32> = transaction.get(table::FORMAT)?;
    if known.is_none_or(|known| known < request.format) {
        transaction.put(table::FORMAT.to_owned(), &request.format)?;
        audit::append(
            transaction,
            "FormatRaised",
            &format!("format/{}", request.format),
            "every member reads it".to_owned(),
        )?;
    }
    Ok(Outcome::Done(Done {}))
}

pub(crate) fn note_members(
    transaction: &mut Transaction<'_>,
    request: NoteMembers,
) -> Result<Outcome, Halt> {
    let subject = format!("member/{}", request.member);
    audit::append(transaction, &request.reason, &subject, request.message)?;
    Ok(Outcome::Done(Done {}))
}

/// The newest format that every member is known to read. Errors: the store cannot be read.
pub fn of(read: &dyn Read) -> Result<u32, ReadError> {
    let Some(value) = read.get(table::FORMAT.as_bytes())? else {
        return Ok(COMMAND_FORMAT);
    };
    serde_json::from_slice(&value).map_err(|error| {
        let key = table::FORMAT;
        ReadError(format!("state record {key} cannot be read: {error}"))
    })
}
