//! What engines and people propose on its way to the leader, and the answer on its way back.

use super::Limbo;
use crate::world::{Occurrence, World};
use regraft_engine::{Event, ProposeOutcome};

/// The runner asks again after this, with the same sequence.
const RETRY_MS: i64 = 1_000;
/// Times the runner sends one proposal.
const MAX_TRIES: u32 = 3;

impl World {
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
            let delay = self.rng.range(1, 3_000);
            self.deliver_after(delay, member, life, event.clone());
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
}
