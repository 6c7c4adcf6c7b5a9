//! One log for the trio: a leader that changes, proposals that get lost before or after they are appended, replicas
//! that apply at their own pace.

use crate::world::{Occurrence, World};
use prost::Message;
use regraft_engine::{Event, ProposeOutcome, Role};
use regraft_model::id::MemberId;
use regraft_model::{InvariantId, Timestamp};
use regraft_state::command::{Command, Envelope, Fault, Response, Stamped};
use regraft_state::store::Memory;
use regraft_state::view::View;
use regraft_state::{Applied, apply};
use std::collections::{BTreeMap, BTreeSet};

/// The runner asks again after this, with the same sequence.
const RETRY_MS: i64 = 1_000;
/// Times the runner sends one proposal.
const MAX_TRIES: u32 = 3;
/// How long a member that hears nothing still believes in its leader.
const LEASE_MS: i64 = 1_200;
/// Interval of what members tell their engines about the trio.
const PULSE_MS: i64 = 1_000;

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

    /// Sends a proposal of a member's engine, or sends it again.
    pub(crate) fn send_proposal(&mut self, member: usize, sequence: u64, tries: u32) {
        let Some(waiting) = self.members[member].waiting.get(&sequence) else {
            return;
        };
        let bytes = waiting.bytes.clone();
        let life = self.members[member].life;
        let delay = match self.mishap(6) {
            true => self.rng.range(200, 2_500),
            false => self.rng.range(1, 20),
        };
        let arrives = Occurrence::ProposalArrives {
            member,
            life,
            sequence,
            bytes,
        };
        if !self.mishap(3) {
            self.after(delay, arrives);
        }
        let timer = Occurrence::ProposalTimer {
            member,
            life,
            sequence,
            tries,
        };
        self.after(RETRY_MS, timer);
    }

    pub(crate) fn proposal_arrives(
        &mut self,
        member: usize,
        life: u64,
        sequence: u64,
        bytes: Vec<u8>,
    ) {
        let Some(leader) = self.members[member].leader_seen else {
            return;
        };
        if leader != member && !self.are_joined(leader, member) {
            return;
        }
        let alive = self.members[leader].is_running(self.now);
        if !alive || (Some(leader) != self.raft.leader && leader != member) {
            return;
        }
        if self.raft.leader != Some(leader) || !self.has_majority(leader) {
            // It still thinks that it leads.
            let stamped_ms = self.clock(leader).0;
            self.raft.limbo.push(Limbo { stamped_ms, bytes });
            return;
        }
        let stamped_ms = self.clock(leader).0;
        let Some((index, response)) = self.append(stamped_ms, &bytes) else {
            return;
        };
        if self.mishap(4) {
            return;
        }
        let outcome = Box::new(ProposeOutcome::Answered { index, response });
        let delay = self.rng.range(1, 40);
        let answer = Occurrence::AnswerArrives {
            member,
            life,
            sequence,
            outcome,
        };
        self.after(delay, answer);
    }

    pub(crate) fn proposal_timer(&mut self, member: usize, life: u64, sequence: u64, tries: u32) {
        if self.members[member].life != life
            || !self.members[member].waiting.contains_key(&sequence)
        {
            return;
        }
        if tries < MAX_TRIES {
            self.send_proposal(member, sequence, tries + 1);
            return;
        }
        if let Some(waiting) = self.members[member].waiting.remove(&sequence) {
            let outcome = ProposeOutcome::Unknown("no answer from the leader".to_owned());
            self.feed(
                member,
                Event::Proposed {
                    id: waiting.id,
                    outcome,
                },
            );
        }
    }

    pub(crate) fn answer_arrives(
        &mut self,
        member: usize,
        life: u64,
        sequence: u64,
        outcome: ProposeOutcome,
    ) {
        let leader = self.raft.leader.unwrap_or(member);
        let cut = leader != member && !self.are_joined(leader, member);
        if self.members[member].life != life || cut {
            return;
        }
        let Some(waiting) = self.members[member].waiting.remove(&sequence) else {
            return;
        };
        if let ProposeOutcome::Answered { .. } = &outcome {
            let client = self.members[member].session.clone();
            self.checks.acknowledged(client, sequence);
        }
        let event = Event::Proposed {
            id: waiting.id,
            outcome,
        };
        if self.mishap(4) {
            let again = Occurrence::Deliver {
                member,
                life,
                event: Box::new(event.clone()),
            };
            let delay = self.rng.range(1, 3_000);
            self.after(delay, again);
        }
        self.feed(member, event);
    }

    /// A person's command, sent to whoever leads until somebody does.
    pub(crate) fn say_word(&mut self, bytes: Vec<u8>, tries: u32) {
        let leader = self.raft.leader.filter(|leader| self.has_majority(*leader));
        match leader {
            Some(leader) => {
                let stamped_ms = self.clock(leader).0;
                self.append(stamped_ms, &bytes);
            }
            None if tries < 60 => self.after(
                500,
                Occurrence::Word {
                    bytes,
                    tries: tries + 1,
                },
            ),
            None => {}
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
        self.note(describe(index, &parsed, &command, &response, is_repeat));
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

    /// Tells a member what it knows about the trio, and lets it catch up.
    pub(crate) fn pulse(&mut self, member: usize, life: u64) {
        if self.members[member].life != life || self.members[member].engine.is_none() {
            return;
        }
        let jitter = self.rng.range(-100, 100);
        self.after(PULSE_MS + jitter, Occurrence::Pulse { member, life });
        let connected = self.is_connected(member);
        if connected {
            self.members[member].heard_at = self.now;
            self.members[member].leader_seen = self.raft.leader;
            let upto = self.raft.last();
            if self.members[member].applied < upto {
                let delay = self.rng.range(5, 200);
                self.after(delay, Occurrence::Replicate { member, life, upto });
            }
        } else if self.now - self.members[member].heard_at > LEASE_MS {
            self.members[member].leader_seen = None;
        }
        self.prove_currency(member, connected);
        let role = self.role_of(member);
        self.feed(member, Event::Role(role));
    }

    /// A linearizable read: what the member knew of the log's end at the time it asked, once it has applied that far.
    fn prove_currency(&mut self, member: usize, connected: bool) {
        let clock = self.clock(member);
        let last = self.raft.last();
        let known = &mut self.members[member];
        if let Some((asked, index)) = known.proof_asked
            && known.applied >= index
        {
            known.confirmed_at = Some(asked);
            known.proof_asked = None;
        }
        if connected && known.applied >= last {
            known.confirmed_at = Some(clock);
        } else if connected && known.proof_asked.is_none() {
            known.proof_asked = Some((clock, last));
        }
    }

    fn role_of(&self, member: usize) -> Role {
        let id = |number: usize| MemberId(u64::try_from(number).unwrap_or(0) + 1);
        let leader = self.members[member].leader_seen;
        let mut silent_ms = BTreeMap::new();
        if leader == Some(member) {
            for other in (0..self.members.len()).filter(|other| *other != member) {
                let hears =
                    self.members[other].is_running(self.now) && self.are_joined(member, other);
                let silent = match hears {
                    true => 50,
                    false => {
                        self.now
                            - self.members[other]
                                .seen_at
                                .max(self.members[member].led_since)
                    }
                };
                silent_ms.insert(id(other), u64::try_from(silent.max(0)).unwrap_or(0));
            }
        }
        Role {
            leader: leader.map(id),
            members: (0..self.members.len()).map(id).collect(),
            silent_ms,
            confirmed_at: self.members[member].confirmed_at,
        }
    }

    /// Notes when each member was last in touch, and sees to a leader when there is none.
    pub(crate) fn watch_leader(&mut self) {
        for member in 0..self.members.len() {
            if self.members[member].is_running(self.now) && !self.raft.isolated.contains(&member) {
                self.members[member].seen_at = self.now;
            }
        }
        let led = self
            .raft
            .leader
            .is_some_and(|leader| self.has_majority(leader));
        if !led && !self.raft.electing {
            self.raft.electing = true;
            let delay = self.rng.range(300, 1_800);
            self.after(delay, Occurrence::Elect);
        }
    }

    pub(crate) fn elect(&mut self) {
        self.raft.electing = false;
        let candidates: Vec<usize> = (0..self.members.len())
            .filter(|member| self.has_majority(*member))
            .collect();
        let Some(leader) = self.rng.pick(&candidates).copied() else {
            self.raft.leader = None;
            self.raft.electing = true;
            self.after(500, Occurrence::Elect);
            return;
        };
        if self.raft.leader == Some(leader) {
            return;
        }
        self.raft.leader = Some(leader);
        self.members[leader].led_since = self.now;
        self.note(format!("member {} leads", leader + 1));
        let limbo = std::mem::take(&mut self.raft.limbo);
        for entry in limbo {
            // What the old leader had sent to the new one is committed with its first entry; the rest never was.
            if !self.rng.chance(40) {
                break;
            }
            self.append(entry.stamped_ms, &entry.bytes);
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

fn describe(
    index: u64,
    envelope: &Envelope,
    command: &Command,
    response: &Response,
    is_repeat: bool,
) -> String {
    let what = match command {
        Command::Report { status } => {
            let findings: Vec<_> = status
                .findings
                .iter()
                .map(|finding| {
                    let symptom = &finding.symptom;
                    format!(
                        "{} {} {}",
                        symptom.workload.name, symptom.class, finding.change
                    )
                })
                .collect();
            format!(
                "Report {} {}/{} {} verified={} [{}]",
                status.key,
                status.sync.state,
                status.sync.reason,
                status.health,
                status
                    .verified
                    .as_ref()
                    .map_or("-", |verified| verified.revision.short()),
                findings.join(", ")
            )
        }
        Command::OpenIncident(Fault {
            application,
            cluster,
            class,
            seen_at,
            ..
        }) => {
            format!(
                "OpenIncident {application}@{cluster} {class} at {}",
                seen_at.short()
            )
        }
        Command::Advance {
            incident,
            transition,
            ..
        } => {
            let text = format!("{transition:?}");
            let text: String = text.chars().take(160).collect();
            format!("Advance {incident} {text}")
        }
        other => {
            let text = format!("{other:?}");
            text.chars().take(200).collect()
        }
    };
    let repeat = if is_repeat { " (repeat)" } else { "" };
    let answer = format!("{response:?}");
    let answer: String = answer.chars().take(120).collect();
    format!(
        "log {index} by {}: {what} -> {answer}{repeat}",
        envelope.actor
    )
}
