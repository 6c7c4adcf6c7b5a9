//! Records that clients keep: written and deleted by key, each write with the log index as its revision.

use crate::Halt;
use crate::operation::{
    Delete, KEY_BYTES_MAX, Outcome, Put, RefusalReason, Refused, VALUE_BYTES_MAX, Written,
};
use crate::session::refused;
use crate::stored::Record;
use crate::table;
use crate::transaction::Transaction;

pub(crate) fn put(transaction: &mut Transaction<'_>, request: Put) -> Result<Outcome, Halt> {
    let size = request.value.len();
    if size > VALUE_BYTES_MAX {
        let message = format!("a value of {size} bytes, at most {VALUE_BYTES_MAX}");
        return Ok(refused(RefusalReason::OutOfBounds, message));
    }
    if let Some(refusal) = misfit(&request.key) {
        return Ok(refusal);
    }
    let key = table::record(&request.key);
    let known: Option<Record> = transaction.message(&key)?;
    let previous = known.as_ref().map_or(0, |known| known.revision);
    if let Some(refusal) = changed(request.expected, previous) {
        return Ok(refusal);
    }
    let revision = transaction.index;
    let record = Record {
        revision,
        created: known.as_ref().map_or(revision, |known| known.created),
        version: known.map_or(1, |known| known.version + 1),
        value: request.value,
    };
    transaction.put_message(key, &record);
    Ok(Outcome::Written(Written { revision, previous }))
}

pub(crate) fn delete(transaction: &mut Transaction<'_>, request: &Delete) -> Result<Outcome, Halt> {
    if let Some(refusal) = misfit(&request.key) {
        return Ok(refusal);
    }
    let key = table::record(&request.key);
    let known: Option<Record> = transaction.message(&key)?;
    let previous = known.map_or(0, |known| known.revision);
    if let Some(refusal) = changed(request.expected, previous) {
        return Ok(refusal);
    }
    if previous != 0 {
        transaction.delete(key);
    }
    let revision = transaction.index;
    Ok(Outcome::Written(Written { revision, previous }))
}

fn misfit(key: &[u8]) -> Option<Outcome> {
    (!(1..=KEY_BYTES_MAX).contains(&key.len())).then(|| {
        let message = format!("a key of {} bytes, from 1 to {KEY_BYTES_MAX}", key.len());
        refused(RefusalReason::OutOfBounds, message)
    })
}

/// The refusal of a write that expects another revision than `found`; 0 is none.
fn changed(expected: Option<u64>, found: u64) -> Option<Outcome> {
    let expected = expected.filter(|expected| *expected != found)?;
    Some(Outcome::Refused(Refused {
        reason: RefusalReason::RevisionChanged.as_str().to_owned(),
        message: match found {
            0 => format!("there is no such record, expected was revision {expected}"),
            _ => format!("the record has revision {found}, expected was {expected}"),
        },
        found,
    }))
}
