//! What programs send: any bytes in the place of a request.

use crate::commands::stable;
use crate::input::{Bytes, split};
use crate::model::{Machine, opened};
use prost::Message as _;
use regraft_replica::COMMAND_BYTES_MAX;
use regraft_replica::fuzzing::{self, Change};
use regraft_state::store::{Batch, Memory, Write};
use regraft_state::table;
use regraft_state::view::sessions;
use regraft_wire::store::v1 as store;
use regraft_wire::store::v1::change_response::Outcome;
use std::collections::BTreeMap;

/// Milliseconds between two requests.
const STEP_MS: i64 = 10;

/// Records as programs know them, kept apart from the machine.
type Records = BTreeMap<Vec<u8>, (u64, Vec<u8>)>;

/// Has programs ask two small states for changes, and reads.
///
/// A part is one request: the first letter of its name (`o`pen, `c`lose, `p`ut, `d`elete, `a`cquire, `r`elease, `l`ist), who
/// asks, and the message. A request of session 0 is of the newest one, and of sequence 0 the next of its slot.
///
/// Promises: no request halts the machine, and each that is proposed is answered; what is asked for is within its bounds or
/// refused; records are what their writes made them, and the pages of a list are all of them, once.
pub fn requests(input: &[u8]) {
    let mut world = World::default();
    for part in split(input) {
        let Some((method, rest)) = part.split_first() else {
            continue;
        };
        let mut bytes = Bytes(rest);
        let actor = format!("user/{}", bytes.u8());
        if *method == b'l' {
            world.list(bytes.0);
        } else if let Some(change) = world.change(*method, bytes.0) {
            world.ask(&actor, change);
        }
    }
    world.machine.check();
    world.check_records();
}

#[derive(Default)]
struct World {
    machine: Machine,
    /// The newest sequence of each slot.
    sequences: BTreeMap<(u64, u32), u64>,
    records: Records,
}

impl World {
    fn change(&self, method: u8, message: &[u8]) -> Option<Change> {
        Some(match method {
            b'o' => Change::OpenSession(stable(message)?),
            b'c' => {
                let mut close: store::CloseSessionRequest = stable(message)?;
                if close.session == 0 {
                    close.session = self.machine.session;
                }
                Change::CloseSession(close)
            }
            b'p' => {
                let mut put: store::PutRequest = stable(message)?;
                self.place(&mut put.id);
                Change::Put(put)
            }
            b'd' => {
                let mut delete: store::DeleteRequest = stable(message)?;
                self.place(&mut delete.id);
                Change::Delete(delete)
            }
            b'a' => {
                let mut acquire: store::AcquireRequest = stable(message)?;
                self.place(&mut acquire.id);
                Change::Acquire(acquire)
            }
            b'r' => {
                let mut release: store::ReleaseRequest = stable(message)?;
                self.place(&mut release.id);
                Change::Release(release)
            }
            _ => return None,
        })
    }

    fn place(&self, id: &mut Option<store::RequestId>) {
        let Some(id) = id else { return };
        if id.session == 0 {
            id.session = self.machine.session;
        }
        if id.sequence == 0 {
            let newest = self.sequences.get(&(id.session, id.slot));
            id.sequence = newest.map_or(1, |newest| newest.saturating_add(1));
        }
    }

    fn ask(&mut self, actor: &str, change: Change) {
        let Ok(command) = fuzzing::command(actor, change.clone()) else {
            assert!(id_of(&change).is_none_or(|id| id.is_none()) || is_large(&change));
            return;
        };
        assert!(command.len() <= COMMAND_BYTES_MAX);
        let entry = self.machine.stamped(STEP_MS, command);
        let before = self.machine.store.clone();
        let applied = self.machine.apply(&entry);
        let applied = applied.expect("no request of a program halts the machine");
        let index = self.machine.index;
        let answer = fuzzing::answer(index, applied.response.clone());
        let answer = answer.expect("what was applied is answered");
        assert_eq!(answer.revision, index);
        assert!(stable::<store::ChangeResponse>(&answer.encode_to_vec()) == Some(answer.clone()));
        if let Some(Some(id)) = id_of(&change) {
            assert_eq!(self.machine.repeat(&entry), applied.response);
            let keeps = |write: &Write| write.key().starts_with(table::prefix::SLOTS.as_bytes());
            if applied.batch.writes.iter().any(keeps) {
                self.sequences.insert((id.session, id.slot), id.sequence);
            }
        }
        check_answer(&change, &answer);
        self.follow(&change, &answer, opened(&applied.response));
        self.check_watch(&before, &applied.batch);
    }

    /// Keeps records as the answers tell them.
    fn follow(&mut self, change: &Change, answer: &store::ChangeResponse, opened: Option<u64>) {
        if let Change::OpenSession(_) = change {
            assert!(opened.is_none_or(|session| session == self.machine.index));
        }
        let Some(Outcome::Written(written)) = &answer.outcome else {
            return;
        };
        let key = match change {
            Change::Put(put) => put.key.to_vec(),
            Change::Delete(delete) => delete.key.clone(),
            _ => panic!("a record was written by {change:?}"),
        };
        if written.revision < self.machine.index {
            // The answer of the first time.
            return;
        }
        let known = self.records.get(&key).map_or(0, |(revision, _)| *revision);
        assert_eq!(written.previous, known, "the revision before");
        match change {
            Change::Put(put) => {
                let value = (written.revision, put.value.to_vec());
                self.records.insert(key, value);
            }
            _ => drop(self.records.remove(&key)),
        }
    }

    /// What who watches all records is told makes the new records of the old ones.
    fn check_watch(&self, before: &Memory, batch: &Batch) {
        let mut told = records_of(before);
        for write in &batch.writes {
            let Some(change) = fuzzing::watched(write, b"") else {
                continue;
            };
            let change = change.expect("what was written can be told");
            match change.change.expect("a change says what") {
                store::change::Change::Put(record) => {
                    told.insert(record.key, (record.revision, record.value.to_vec()));
                }
                store::change::Change::Deleted(key) => drop(told.remove(&key)),
            }
        }
        assert!(
            told == records_of(&self.machine.store),
            "a watch is told all"
        );
    }

    fn check_records(&self) {
        let found = records_of(&self.machine.store);
        assert!(found == self.records, "records are what was written");
    }

    /// All pages of a list, one after another.
    fn list(&self, message: &[u8]) {
        let Some(list) = stable::<store::ListRequest>(message) else {
            return;
        };
        let mut found = Vec::new();
        let mut after = (!list.after.is_empty()).then(|| list.after.clone());
        loop {
            let limit = list.limit as usize;
            let page =
                sessions::records(&self.machine.store, &list.prefix, after.as_deref(), limit)
                    .expect("records can be read");
            assert!(page.records.len() <= limit.clamp(1, sessions::PAGE_RECORDS_MAX));
            found.extend(page.records.into_iter().map(|(key, _)| key));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let is_listed = |key: &&Vec<u8>| {
            key.starts_with(&list.prefix) && (list.after.is_empty() || **key > list.after)
        };
        let expected: Vec<&Vec<u8>> = self.records.keys().filter(is_listed).collect();
        assert!(found.iter().eq(expected), "a list has every record once");
    }
}

/// An answer is one that the request allows.
fn check_answer(change: &Change, answer: &store::ChangeResponse) {
    let expected = match change {
        Change::Put(put) => put.expected,
        Change::Delete(delete) => delete.expected,
        _ => None,
    };
    match (&answer.outcome, change) {
        (Some(Outcome::Written(written)), _) => {
            assert!(expected.is_none_or(|expected| expected == written.previous));
        }
        (Some(Outcome::Queued(_)), Change::Acquire(acquire)) => assert!(acquire.queue),
        (Some(Outcome::Queued(_) | Outcome::Granted(_)), other) => {
            assert!(matches!(other, Change::Acquire(_)), "{other:?} is no lock");
        }
        _ => {}
    }
}

/// The records of a state, read one by one.
fn records_of(store: &Memory) -> Records {
    let keys = store.0.keys().filter_map(|key| sessions::record_key(key));
    let read = keys.map(|key| {
        assert!(store.0.contains_key(&table::record(key)));
        let record = sessions::record(store, key).expect("a record can be read");
        let record = record.expect("it is there");
        (key.to_vec(), (record.revision, record.value.to_vec()))
    });
    read.collect()
}

/// The id of a request that has one.
fn id_of(change: &Change) -> Option<Option<store::RequestId>> {
    match change {
        Change::Put(request) => Some(request.id),
        Change::Delete(request) => Some(request.id),
        Change::Acquire(request) => Some(request.id),
        Change::Release(request) => Some(request.id),
        Change::OpenSession(_) | Change::CloseSession(_) => None,
    }
}

/// Whether a request may be too large for a command.
fn is_large(change: &Change) -> bool {
    let bytes = match change {
        Change::Put(request) => request.encoded_len(),
        Change::Delete(request) => request.encoded_len(),
        Change::Acquire(request) => request.encoded_len(),
        Change::Release(request) => request.encoded_len(),
        Change::OpenSession(_) | Change::CloseSession(_) => 0,
    };
    bytes > COMMAND_BYTES_MAX / 2
}
