//! What sessions keep, read from the store: sessions, records, locks and who waits for them.

use crate::store::{Read, ReadError, Walk};
use crate::stored::{Held, Record, Session, Waiter};
use crate::table::{self, prefix};
use bytes::Bytes;
use prost::Message;
use regraft_model::id::LockScope;

/// Most records of one page.
pub const PAGE_RECORDS_MAX: usize = 1_000;
/// Bytes of values after which a page ends: with the largest value on top it still is one message.
pub const PAGE_BYTES_MAX: usize = 512 * 1024;

/// Some records, in order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys as clients know them, and their records.
    pub records: Vec<(Vec<u8>, Record)>,
    /// Where the next page begins: give it as `after`. None: this is the last one.
    pub next: Option<Vec<u8>>,
}

/// The record that a client keeps under `key`. Errors: the store, or the record, cannot be read.
pub fn record(read: &dyn Read, key: &[u8]) -> Result<Option<Record>, ReadError> {
    one(read, &table::record(key))
}

/// The client's key of a stored record; none when the stored key is of something else.
pub fn record_key(stored: &[u8]) -> Option<&[u8]> {
    stored.strip_prefix(prefix::RECORDS.as_bytes())
}

/// Reads a stored record. Errors: it cannot be read.
pub fn decode_record(stored: &[u8], value: &[u8]) -> Result<Record, ReadError> {
    decode(stored, value)
}

/// Reads a stored session. Errors: it cannot be read.
pub fn decode_session(stored: &[u8], value: &[u8]) -> Result<Session, ReadError> {
    decode(stored, value)
}

/// The records whose keys begin with `beginning`, those after `after` if it is given, at most `limit` and at most
/// [`PAGE_RECORDS_MAX`]. Errors: the store, or a record, cannot be read.
pub fn records(
    read: &dyn Read,
    beginning: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Page, ReadError> {
    let limit = limit.clamp(1, PAGE_RECORDS_MAX);
    let (mut page, mut size, mut failed) = (Page::default(), 0, Ok(()));
    let mut visit = |stored: &[u8], value: &[u8]| {
        if page.records.len() >= limit || size >= PAGE_BYTES_MAX {
            page.next = page.records.last().map(|(key, _)| key.clone());
            return Walk::Stop;
        }
        let key = stored.strip_prefix(prefix::RECORDS.as_bytes());
        match decode(stored, value) {
            Ok(record) => {
                size += value.len();
                page.records
                    .push((key.unwrap_or_default().to_vec(), record));
                Walk::Continue
            }
            Err(error) => {
                failed = Err(error);
                Walk::Stop
            }
        }
    };
    let beginning = table::record(beginning);
    match after {
        Some(after) => read.scan_after(&beginning, &table::record(after), &mut visit)?,
        None => read.scan(&beginning, &mut visit)?,
    }
    failed.map(|()| page)
}

/// An open session. Errors: the store, or the record, cannot be read.
pub fn session(read: &dyn Read, id: u64) -> Result<Option<Session>, ReadError> {
    one(read, table::open_session(id).as_bytes())
}

/// Every open session by id: what a new leader gives a whole time to live. Errors: the store, or a record, cannot be read.
pub fn all(read: &dyn Read) -> Result<Vec<(u64, Session)>, ReadError> {
    numbered(read, prefix::OPEN_SESSIONS)
}

/// Who holds exactly this scope by sessions. Errors: the store, or the record, cannot be read.
pub fn held(read: &dyn Read, scope: &LockScope) -> Result<Option<Held>, ReadError> {
    one(read, table::held(scope).as_bytes())
}

/// Everything that is held by sessions. Errors: the store, or a record, cannot be read.
pub fn all_held(read: &dyn Read) -> Result<Vec<Held>, ReadError> {
    let held = below(read, prefix::HELD)?.into_iter();
    Ok(held.map(|(_, held)| held).collect())
}

/// Who waits, by ticket, first come first. Errors: the store, or a record, cannot be read.
pub fn waiting(read: &dyn Read) -> Result<Vec<(u64, Waiter)>, ReadError> {
    numbered(read, prefix::WAITING)
}

/// The request that waits with this ticket; none once it was granted or given up. Errors: the store, or the record, cannot
/// be read.
pub fn waiter(read: &dyn Read, ticket: u64) -> Result<Option<Waiter>, ReadError> {
    one(read, table::waiting(ticket).as_bytes())
}

fn numbered<M: Message + Default>(
    read: &dyn Read,
    table: &str,
) -> Result<Vec<(u64, M)>, ReadError> {
    let records = below(read, table)?.into_iter();
    let by_number = records.filter_map(|(key, record)| {
        let rest = key.strip_prefix(table.as_bytes())?;
        Some((table::number_of(rest)?, record))
    });
    Ok(by_number.collect())
}

fn below<M: Message + Default>(
    read: &dyn Read,
    table: &str,
) -> Result<Vec<(Vec<u8>, M)>, ReadError> {
    let mut records = Vec::new();
    read.scan(table.as_bytes(), &mut |key, value| {
        records.push(decode(key, value).map(|record| (key.to_vec(), record)));
        Walk::Continue
    })?;
    records.into_iter().collect()
}

fn one<M: Message + Default>(read: &dyn Read, key: &[u8]) -> Result<Option<M>, ReadError> {
    let value = read.get(key)?;
    value
        .map(|value| M::decode(Bytes::from(value)).map_err(|error| unreadable(key, &error)))
        .transpose()
}

fn decode<M: Message + Default>(key: &[u8], value: &[u8]) -> Result<M, ReadError> {
    M::decode(value).map_err(|error| unreadable(key, &error))
}

fn unreadable(key: &[u8], error: &prost::DecodeError) -> ReadError {
    let key = String::from_utf8_lossy(key);
    ReadError(format!("state record {key} cannot be read: {error}"))
}
