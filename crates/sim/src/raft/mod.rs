//! One log for the trio: a leader that changes, proposals that get lost before or after they are appended, replicas
//! that apply at their own pace.

mod leader;
mod line;
mod proposal;

use crate::world::{Occurrence, World};
use prost::Message;
use regraft_engine::Event;
use regraft_model::{InvariantId, Timestamp};
use regraft_state::command::{Command, Envelope, Response, Stamped};
use regraft_state::operation::{OpenSession, Operation, Request, TTL_MAX_MS};
use regraft_state::store::Memory;
use regraft_state::view::View;
use regraft_state::{Applied, apply};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(crate) struct Raft {
    pub(crate) log: Vec<Entry>,
    /// The state at the end of the log.
    pub(crate) store: Memory,
    pub(crate) view: View,
    pub(crate) leader: Option<usize>,
    /// Cut off from the other members.
    pub(crate) isolated: BTreeSet<usize>,
    /// Taken by a leader without a majority; the next leader may or may not have them.
    limbo: Vec<Limbo>,
    /// First index of each (client, sequence).
    first: BTreeMap<(String, u64), u64>,
    electing: bool,
}

pub(crate) struct Entry {
    pub(crate) bytes: Vec<u8>,
    pub(crate) applied: Applied,
}

struct Limbo {
    stamped_ms: i64,
    bytes: Vec<u8>,
}

impl Raft {
    pub(crate) fn last(&self) -> u64 {
        u64::try_from(self.log.len()).unwrap_or(u64::MAX)
    }

    pub(crate) fn entry(&self, index: u64) -> Option<&Entry> {
        self.log.get(usize::try_from(index).ok()?.checked_sub(1)?)
    }
}

impl World {
    /// Whether a member can talk to the leader and the leader to a majority: it can have a linearizable read.
    pub(crate) fn is_connected(&self, member: usize) -> bool {
        self.raft.leader.is_some_and(|leader| {
            self.has_majority(leader) && (member == leader || !self.raft.isolated.contains(&member))
        })
    }

    fn has_majority(&self, leader: usize) -> bool {
        let up = |other: &usize| self.members[*other].is_running(self.now);
        let reachable = (0..self.members.len())
            .filter(up)
            .filter(|other| *other == leader || self.are_joined(leader, *other))
            .count();
        up(&leader) && reachable * 2 > self.members.len()
    }

    fn are_joined(&self, one: usize, other: usize) -> bool {
        !self.raft.isolated.contains(&one) && !self.raft.isolated.contains(&other)
    }

    /// A client's session is the first entry: from then on the state is kept in format 2, as in a trio whose members all
    /// know it.
    pub(crate) fn found_session(&mut self) {
        let ttl_ms = TTL_MAX_MS;
        let request = Some(Request::OpenSession(OpenSession { ttl_ms }));
        let operation = Operation {
            request,
            ..Operation::default()
        };
        let bytes = Stamped {
            stamped_ms: self.now,
            command: Envelope::of_operation("user/ada", operation).encode_to_vec(),
        }
        .encode_to_vec();
        match apply(&self.raft.store, 1, &bytes) {
            Ok(applied) => {
                self.raft.store.write(applied.batch.clone());
                self.raft.log.push(Entry { bytes, applied });
            }
            Err(halt) => self.fail(None, format!("no session can be opened: {halt}")),
        }
    }

    /// Appends an entry that a majority has, and works out what it does.
    fn append(&mut self, stamped_ms: i64, envelope: &[u8]) -> Option<(u64, Response)> {
        let index = self.raft.last() + 1;
        let bytes = Stamped {
            stamped_ms,
            command: envelope.to_vec(),
        }
        .encode_to_vec();
        let applied = match apply(&self.raft.store, index, &bytes) {
            Ok(applied) => applied,
            Err(halt) => {
                self.fail(
                    Some(InvariantId::I4),
                    format!("the machine halts at {index}: {halt}"),
                );
                return None;
            }
        };
        let parsed = Envelope::decode(envelope).ok()?;
        let command: Command = serde_json::from_slice(&parsed.command).ok()?;
        let response: Response = serde_json::from_slice(&applied.response).ok()?;
        let key = (parsed.client.clone(), parsed.sequence);
        let first = *self.raft.first.entry(key).or_insert(index);
        let is_repeat = first != index;
        self.note(line::describe(
            index, &parsed, &command, &response, is_repeat,
        ));
        self.before_entry(index, &parsed, &command, &response, is_repeat);
        self.raft.store.write(applied.batch.clone());
        if let Err(error) = self.raft.view.apply(&applied.batch.writes) {
            self.fail(
                Some(InvariantId::I4),
                format!("the state cannot be read at {index}: {error}"),
            );
        }
        self.raft.log.push(Entry { bytes, applied });
        self.after_entry(index, &command, &response, is_repeat);
        for member in 0..self.members.len() {
            let slow = self.mishap(5);
            let delay = match (self.raft.leader == Some(member), slow) {
                (true, _) => self.rng.range(0, 5),
                (false, false) => self.rng.range(2, 60),
                (false, true) => self.rng.range(200, 2_000),
            };
            let life = self.members[member].life;
            self.after(
                delay,
                Occurrence::Replicate {
                    member,
                    life,
                    upto: index,
                },
            );
        }
        Some((first, response))
    }

    /// A member applies what of the log has reached it.
    pub(crate) fn replicate(&mut self, member: usize, life: u64, upto: u64) {
        if self.members[member].life != life || self.members[member].engine.is_none() {
            return;
        }
        if self.raft.isolated.contains(&member) {
            return;
        }
        while self.members[member].applied < upto {
            let index = self.members[member].applied + 1;
            let Some(entry) = self.raft.entry(index) else {
                return;
            };
            let result = apply(&self.members[member].store, index, &entry.bytes);
            let same = result.as_ref() == Ok(&entry.applied);
            let Ok(applied) = result else {
                let message = format!("member {} halts at {index}", member + 1);
                self.fail(Some(InvariantId::I4), message);
                return;
            };
            if !same {
                let message = format!("member {} does something else at {index}", member + 1);
                self.fail(Some(InvariantId::I4), message);
                return;
            }
            self.members[member].applied = index;
            self.members[member].store.write(applied.batch.clone());
            self.feed(
                member,
                Event::Replicated {
                    index,
                    writes: applied.batch.writes,
                },
            );
            if self.members[member].life != life {
                return;
            }
        }
    }

    /// The leader's clock, as a linearizable read tells it.
    pub(crate) fn agreed_time(&self) -> Timestamp {
        let state: Option<Timestamp> = self
            .raft
            .store
            .0
            .get(regraft_state::table::TIME.as_bytes())
            .and_then(|bytes| serde_json::from_slice(bytes).ok());
        let leader = self
            .raft
            .leader
            .map_or(Timestamp(0), |leader| self.clock(leader));
        state.unwrap_or_default().max(leader)
    }
}
