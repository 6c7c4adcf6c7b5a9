//! Who leads, who hears of it, and who can prove that its state is current.

use crate::world::{Occurrence, World};
use regraft_engine::{Event, Proof, Role};
use regraft_model::id::MemberId;
use std::collections::BTreeMap;

/// How long a member that hears nothing still believes in its leader.
const LEASE_MS: i64 = 1_200;
/// Interval of what members tell their engines about the trio.
const PULSE_MS: i64 = 1_000;

impl World {
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
            known.confirmed = Some(Proof { at: asked, index });
            known.proof_asked = None;
        }
        if connected && known.applied >= last {
            known.confirmed = Some(Proof {
                at: clock,
                index: last,
            });
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
            confirmed: self.members[member].confirmed,
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
}
