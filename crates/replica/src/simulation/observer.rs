//! What every member applies, seen where it is applied: the truth that members and clients are held against.

use super::membership::Memberships;
use crate::machine::{Machine, StateMachine};
use crate::planted::{self, Bug};
use prost::Message as _;
use regraft_model::id::LockScope;
use regraft_state::command::{Envelope, Stamped};
use regraft_state::operation::{Answer, Operation, Outcome, Request};
use regraft_state::store::{Batch, Memory, Read, ReadError, Walk, Write};
use regraft_state::stored::{Record, Slot};
use regraft_state::table::prefix;
use regraft_state::view::sessions as view;
use regraft_state::{Applied, Halt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The members' shared truth. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Book>>);

#[derive(Default)]
pub(super) struct Book {
    entries: BTreeMap<u64, Fact>,
    /// The state after the newest entry, as it has to be.
    state: Memory,
    state_hash: u64,
    /// The hash of the state after each entry that changed it.
    hashes: BTreeMap<u64, u64>,
    /// Each record's contents by the index from which on it has them.
    records: BTreeMap<Vec<u8>, Vec<(u64, Option<Record>)>>,
    /// Which entry wrote a value: clients write each only once.
    values: BTreeMap<Vec<u8>, u64>,
    /// The newest fence of each scope.
    fences: BTreeMap<String, u64>,
    /// Until when sessions were told that they live, milliseconds of simulated time.
    alive_until: BTreeMap<u64, u64>,
    pub(super) now_ms: u64,
    pub(super) memberships: Memberships,
    /// What should never be.
    pub(super) violations: Vec<String>,
}

/// One applied entry.
struct Fact {
    command: u64,
    writes: u64,
    response: Vec<u8>,
    first: u64,
}

/// Applies for one member, and tells the ledger.
pub(super) struct Recorder {
    member: u64,
    ledger: Ledger,
}

impl Recorder {
    pub(super) fn new(member: u64, ledger: Ledger) -> Self {
        Self { member, ledger }
    }
}

impl Machine for Recorder {
    fn apply(&self, read: &dyn Read, index: u64, command: &[u8]) -> Result<Applied, Halt> {
        let operation = operation_of(command);
        let applied = match &operation {
            Some(operation) if planted::has(Bug::NoDedupe) => {
                let forgetful = Forgetful { read, operation };
                regraft_state::apply(&forgetful, index, command)
            }
            _ => regraft_state::apply(read, index, command),
        };
        let mut book = self.ledger.book();
        match &applied {
            Ok(applied) => book.applied(self.member, index, command, operation, applied),
            Err(halt) => book.violate(format!("member {} halts at {index}: {halt}", self.member)),
        }
        applied
    }

    fn format(&self) -> u32 {
        StateMachine.format()
    }
}

impl Ledger {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    pub(super) fn violate(&mut self, text: String) {
        let now_ms = self.now_ms;
        self.violations.push(format!("{now_ms} ms: {text}"));
    }

    /// The newest entry that anybody applied.
    pub(super) fn newest(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(index, _)| *index)
    }

    /// The answer that the entry gave.
    pub(super) fn response(&self, index: u64) -> Option<&[u8]> {
        self.entries
            .get(&index)
            .map(|fact| fact.response.as_slice())
    }

    /// The record after the entry at `index`.
    pub(super) fn record(&self, key: &[u8], index: u64) -> Option<&Record> {
        let history = self.records.get(key)?;
        let after = history.partition_point(|(from, _)| *from <= index);
        history.get(after.checked_sub(1)?)?.1.as_ref()
    }

    /// Whether a value was ever written.
    pub(super) fn was_written(&self, value: &[u8]) -> bool {
        self.values.contains_key(value)
    }

    /// Somebody was told that the session lives until then.
    pub(super) fn promise(&mut self, session: u64, until_ms: u64) {
        let until = self.alive_until.entry(session).or_default();
        *until = until_ms.max(*until);
    }

    /// Holds a member's whole state against the truth.
    pub(super) fn check_state(&mut self, member: u64, index: u64, hash: u64) {
        let known = self.hashes.range(..=index).next_back();
        let expected = known.map_or(0, |(_, hash)| *hash);
        if hash != expected {
            self.violate(format!(
                "member {member} has another state at {index} than what was applied up to there"
            ));
        }
    }

    fn applied(
        &mut self,
        member: u64,
        index: u64,
        command: &[u8],
        operation: Option<Operation>,
        applied: &Applied,
    ) {
        let fact = Fact {
            command: hash(command),
            writes: hash_of_writes(&applied.batch),
            response: applied.response.clone(),
            first: member,
        };
        if let Some(known) = self.entries.get(&index) {
            let (one, same) = (known.first, known.command == fact.command);
            if !same {
                self.violate(format!(
                    "entry {index} is another on member {member} than on member {one}"
                ));
            } else if known.writes != fact.writes || known.response != fact.response {
                self.violate(format!(
                    "entry {index} does something else on member {member} than on member {one}"
                ));
            }
            return;
        }
        if index < self.newest() {
            self.violate(format!(
                "entry {index} is a command on member {member}, but others went on without one"
            ));
            return;
        }
        self.entries.insert(index, fact);
        let mut held = false;
        for write in &applied.batch.writes {
            held |= write.key().starts_with(prefix::HELD.as_bytes());
            self.write(index, write);
        }
        self.hashes.insert(index, self.state_hash);
        if held {
            self.check_locks();
        }
        if let Some(operation) = operation {
            self.check_expiry(&operation, &applied.response);
        }
    }

    fn write(&mut self, index: u64, write: &Write) {
        let key = write.key();
        if let Some(old) = self.state.0.get(key) {
            self.state_hash ^= hash_of_pair(key, old);
        }
        let value = match write {
            Write::Put { value, .. } => Some(value.clone()),
            Write::Delete { .. } => None,
        };
        if let Some(value) = &value {
            self.state_hash ^= hash_of_pair(key, value);
        }
        if let Some(record) = key.strip_prefix(prefix::RECORDS.as_bytes()) {
            self.write_record(index, record, value.as_deref());
        }
        self.state.write(Batch {
            writes: vec![write.clone()],
        });
    }

    fn write_record(&mut self, index: u64, key: &[u8], value: Option<&[u8]>) {
        let record = value.and_then(|value| Record::decode(value).ok());
        if let Some(record) = &record {
            let before = self.values.insert(record.value.to_vec(), index);
            if let Some(before) = before {
                let text = String::from_utf8_lossy(&record.value).into_owned();
                self.violate(format!(
                    "{text} was written at {before} and again at {index}"
                ));
            }
            if record.revision != index {
                self.violate(format!(
                    "a record written at {index} has revision {}",
                    record.revision
                ));
            }
        }
        let history = self.records.entry(key.to_vec()).or_default();
        history.push((index, record));
    }

    /// Nobody holds what overlaps what another session holds, and fences rise.
    fn check_locks(&mut self) {
        let all = match view::all_held(&self.state) {
            Ok(all) => all,
            Err(error) => return self.violate(error.to_string()),
        };
        let mut wrong = Vec::new();
        for (number, held) in all.iter().enumerate() {
            if held.holders.len() > held.permits as usize {
                wrong.push(format!("{} has too many holders", held.scope));
            }
            for other in all.iter().skip(number + 1) {
                let apart = |session: u64| other.holders.iter().any(|it| it.session != session);
                if overlap(&held.scope, &other.scope)
                    && held.holders.iter().any(|holder| apart(holder.session))
                {
                    wrong.push(format!("{} and {} are both held", held.scope, other.scope));
                }
            }
            for holder in &held.holders {
                let newest = self.fences.entry(held.scope.clone()).or_default();
                let again = holder.fence == *newest;
                let others = held.holders.iter().any(|it| it.fence > holder.fence);
                if !again && holder.fence < *newest && !others {
                    wrong.push(format!("a fence of {} falls", held.scope));
                }
                *newest = holder.fence.max(*newest);
            }
        }
        for text in wrong {
            self.violate(text);
        }
    }

    /// A session that was told that it lives is not ended for silence before.
    fn check_expiry(&mut self, operation: &Operation, response: &[u8]) {
        let Some(Request::ExpireSession(expire)) = &operation.request else {
            return;
        };
        let answer = Answer::decode(response)
            .ok()
            .and_then(|answer| answer.outcome);
        if !matches!(answer, Some(Outcome::Done(_))) {
            return;
        }
        let until = self.alive_until.get(&expire.session).copied().unwrap_or(0);
        if self.now_ms < until {
            self.violate(format!(
                "session {} was ended though it was told to live until {until} ms",
                expire.session
            ));
        }
    }
}

/// The store, as if the request had not been answered before.
struct Forgetful<'a> {
    read: &'a dyn Read,
    operation: &'a Operation,
}

impl Read for Forgetful<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let found = self.read.get(key)?;
        let Operation {
            session,
            slot,
            sequence,
            ..
        } = self.operation;
        let mine = format!("{}{session:016x}/{slot:02x}", prefix::SLOTS);
        if key != mine.as_bytes() {
            return Ok(found);
        }
        let Some(mut kept) = found.as_deref().and_then(|found| Slot::decode(found).ok()) else {
            return Ok(found);
        };
        if kept.sequence == *sequence {
            kept.sequence -= 1;
        }
        Ok((kept.sequence > 0).then(|| kept.encode_to_vec()))
    }

    fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Walk,
    ) -> Result<(), ReadError> {
        self.read.scan(prefix, visit)
    }
}

fn operation_of(command: &[u8]) -> Option<Operation> {
    let stamped = Stamped::decode(command).ok()?;
    Envelope::decode(stamped.command.as_slice()).ok()?.operation
}

/// Whether two scopes overlap: by their text, as the machine does not.
fn overlap(one: &str, other: &str) -> bool {
    // cluster/C, namespace/C/N and service/C/N/S are paths, the fleet is the root of all.
    fn path(scope: &str) -> Option<&str> {
        let (kind, path) = scope.split_once('/').unwrap_or((scope, ""));
        ["fleet", "cluster", "namespace", "service"]
            .contains(&kind)
            .then_some(path)
    }
    let is_above = |above: &str, below: &str| {
        let rest = below.strip_prefix(above);
        above.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match (path(one), path(other)) {
        (Some(one), Some(other)) => is_above(one, other) || is_above(other, one),
        _ => one == other,
    }
}

/// Scopes that the workload locks.
pub(super) fn scopes() -> Vec<LockScope> {
    let scope = |text: &str| text.parse().unwrap();
    [
        "cluster/a",
        "namespace/a/shop",
        "service/a/shop/cart",
        "cluster/b",
        "named/x",
    ]
    .into_iter()
    .map(scope)
    .collect()
}

/// The hash of a whole state, whatever the order.
pub(super) fn hash_of_state(read: &dyn Read) -> Result<u64, ReadError> {
    let mut all = 0;
    read.scan(b"", &mut |key, value| {
        all ^= hash_of_pair(key, value);
        Walk::Continue
    })?;
    Ok(all)
}

fn hash_of_pair(key: &[u8], value: &[u8]) -> u64 {
    let length = (key.len() as u64).to_be_bytes();
    hash_on(hash_on(hash(&length), key), value)
}

fn hash_of_writes(batch: &Batch) -> u64 {
    batch.writes.iter().fold(hash(b""), |all, write| {
        let (tag, value): (u8, &[u8]) = match write {
            Write::Put { value, .. } => (1, value),
            Write::Delete { .. } => (0, &[]),
        };
        let pair = hash_of_pair(write.key(), value);
        hash_on(hash_on(all, &[tag]), &pair.to_be_bytes())
    })
}

/// FNV-1a (Fowler, Noll, Vo) with a last mix.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    hash_on(0xcbf2_9ce4_8422_2325, bytes)
}

/// The hash of what `before` is the hash of, and more.
pub(super) fn hash_on(before: u64, bytes: &[u8]) -> u64 {
    let mut hash = before;
    for byte in bytes {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^ (hash >> 29)
}
