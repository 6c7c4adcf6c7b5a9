//! One member: its engine, its replica of the state, its runner.

use crate::faults::MAX_SKEW_MS;
use crate::git::{BRANCH, REPOSITORY};
use crate::plant::PlantedBug;
use crate::world::{Occurrence, World};
use prost::Message;
use regraft_engine::{Effect, Engine, Event, Proof, ProposalId, Settings, TrackedRepository};
use regraft_model::id::{Fence, MemberId};
use regraft_model::source::Revision;
use regraft_model::{Seconds, Timestamp};
use regraft_state::command::{COMMAND_FORMAT, Command, Envelope};
use regraft_state::store::Memory;
use std::collections::{BTreeMap, BTreeSet};

/// Interval of ticks.
const TICK_MS: i64 = 1_000;

pub(crate) struct Member {
    pub(crate) id: MemberId,
    /// Absent while the process is down.
    pub(crate) engine: Option<Engine>,
    /// Rises with every start: what was meant for an earlier life is dropped.
    pub(crate) life: u64,
    pub(crate) store: Memory,
    pub(crate) applied: u64,
    pub(crate) skew_ms: i64,
    /// The process is stopped and takes nothing in until then.
    pub(crate) stalled_until: i64,
    /// The remote does not answer this member until then.
    pub(crate) git_down_until: i64,
    /// Events that its loop finds together with the next one, because it was busy when they came.
    pub(crate) inbox: Vec<Event>,
    /// Commits in its clone.
    pub(crate) fetched: BTreeSet<Revision>,
    pub(crate) session: String,
    pub(crate) sequence: u64,
    pub(crate) waiting: BTreeMap<u64, Waiting>,
    pub(crate) leader_seen: Option<usize>,
    pub(crate) heard_at: i64,
    pub(crate) seen_at: i64,
    pub(crate) led_since: i64,
    pub(crate) confirmed: Option<Proof>,
    pub(crate) proof_asked: Option<(Timestamp, u64)>,
}

/// A proposal whose answer is not here yet.
pub(crate) struct Waiting {
    pub(crate) id: ProposalId,
    pub(crate) bytes: Vec<u8>,
}

impl Member {
    pub(crate) fn new(number: usize) -> Self {
        Self {
            id: MemberId(u64::try_from(number).unwrap_or(0) + 1),
            engine: None,
            life: 0,
            store: Memory::default(),
            applied: 0,
            skew_ms: 0,
            stalled_until: 0,
            git_down_until: 0,
            inbox: Vec::new(),
            fetched: BTreeSet::new(),
            session: String::new(),
            sequence: 0,
            waiting: BTreeMap::new(),
            leader_seen: None,
            heard_at: 0,
            seen_at: 0,
            led_since: 0,
            confirmed: None,
            proof_asked: None,
        }
    }

    pub(crate) fn is_running(&self, now: i64) -> bool {
        self.engine.is_some() && self.stalled_until <= now
    }
}

impl World {
    /// Starts a member's process on what its disk holds.
    pub(crate) fn boot(&mut self, member: usize) {
        let known = &mut self.members[member];
        known.life += 1;
        let life = known.life;
        known.session = format!("member-{}-{life}", known.id);
        known.sequence = 0;
        known.waiting.clear();
        known.leader_seen = None;
        known.heard_at = self.now;
        known.confirmed = None;
        known.proof_asked = None;
        let mut engine = Engine::new(Settings {
            member: known.id,
            installation: format!("installation-{}", known.id),
            repositories: vec![TrackedRepository {
                name: REPOSITORY.into(),
                branch: BRANCH.into(),
                poll: Seconds(2),
            }],
        });
        if let Some(bug) = self.plant.and_then(PlantedBug::in_engine) {
            engine.plant(bug);
        }
        known.engine = Some(engine);

        if known.applied > 0 {
            let index = known.applied;
            let pairs = known
                .store
                .0
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            self.feed(member, Event::Restored { index, pairs });
        }
        let (tick, pulse) = (self.rng.range(10, TICK_MS), self.rng.range(10, 500));
        self.after(tick, Occurrence::Tick { member, life });
        self.after(pulse, Occurrence::Pulse { member, life });
    }

    /// Ends a member's process between any two effects: what it had under way may have happened or not.
    pub(crate) fn crash(&mut self, member: usize) {
        if self.members[member].engine.take().is_none() {
            return;
        }
        self.note(format!("member {} dies", member + 1));
        self.members[member].life += 1;
        self.members[member].stalled_until = 0;
        self.members[member].waiting.clear();
        self.members[member].inbox.clear();
        self.unlink(member);
        self.watch_leader();
    }

    pub(crate) fn restart(&mut self, member: usize) {
        if self.members[member].engine.is_some() {
            return;
        }
        self.note(format!("member {} starts", member + 1));
        if self.mishap(15) && !self.raft.isolated.contains(&member) {
            // It was away for long: the leader sends a snapshot instead of the log.
            self.members[member].store = self.raft.store.clone();
            self.members[member].applied = self.raft.last();
        }
        self.boot(member);
    }

    pub(crate) fn tick(&mut self, member: usize, life: u64) {
        if self.members[member].life != life {
            return;
        }
        self.watch_leader();
        let jitter = self.rng.range(-100, 0);
        self.after(TICK_MS + jitter, Occurrence::Tick { member, life });
        self.feed(member, Event::Tick);
    }

    pub(crate) fn deliver(&mut self, member: usize, life: u64, event: Event) {
        if self.members[member].life == life {
            self.feed(member, event);
        }
    }

    /// Lets an engine react, and queues what it wants, each effect with its own delay.
    pub(crate) fn feed(&mut self, member: usize, event: Event) {
        let now = self.clock(member);
        let life = self.members[member].life;
        let is_busy = !matches!(event, Event::Tick) && self.mishap(10);
        let known = &mut self.members[member];
        let Some(engine) = known.engine.as_mut() else {
            return;
        };
        known.inbox.push(event);
        if is_busy {
            return;
        }
        let effects = engine.on(known.inbox.drain(..), now);
        for effect in effects {
            self.note_effect(member, &effect);
            self.check_asked(member, &effect);
            if let Effect::Commit {
                incident,
                lock: Some(_),
                ..
            } = &effect
            {
                self.spite_wish(member, incident);
            }
            match &effect {
                // The edges keep the order of these themselves.
                Effect::Watch { .. } | Effect::Unwatch { .. } | Effect::Stop { .. } => {
                    self.perform(member, life, effect)
                }
                Effect::Say { .. } | Effect::Prevented { .. } => {}
                _ => {
                    let delay = match self.mishap(5) {
                        true => self.rng.range(100, 3_000),
                        false => self.rng.range(0, 25),
                    };
                    let effect = Box::new(effect);
                    self.after(
                        delay,
                        Occurrence::Perform {
                            member,
                            life,
                            effect,
                        },
                    );
                }
            }
        }
    }

    fn note_effect(&mut self, member: usize, effect: &Effect) {
        let number = member + 1;
        match effect {
            Effect::Say {
                subject, message, ..
            } => {
                let message: String = message.chars().take(160).collect();
                self.note(format!("member {number} says {subject}: {message}"));
            }
            Effect::Apply(request) => {
                let objects: Vec<_> = request
                    .stages
                    .iter()
                    .flat_map(|stage| &stage.objects)
                    .map(|staged| staged.object.key().to_string())
                    .collect();
                let prune: Vec<_> = request
                    .prune
                    .iter()
                    .map(|(key, _)| key.to_string())
                    .collect();
                self.note(format!(
                    "member {number} applies {} at {}: {} prune [{}] orphan {}",
                    request.target,
                    request.revision.short(),
                    objects.join(", "),
                    prune.join(", "),
                    request.orphan.len()
                ));
                self.fail_if_restless(member, request);
            }
            Effect::Commit {
                incident,
                lock,
                request,
            } => self.note(format!(
                "member {number} commits for {incident} lock {lock:?} on {} to {}",
                request.parent.short(),
                request.push_to
            )),
            Effect::History {
                incident, from, to, ..
            } => self.note(format!(
                "member {number} reads history for {incident} {}..{}",
                from.short(),
                to.short()
            )),
            _ => {}
        }
    }

    /// The runner takes an effect up.
    pub(crate) fn perform(&mut self, member: usize, life: u64, effect: Effect) {
        if self.members[member].life != life || self.members[member].engine.is_none() {
            return;
        }
        match effect {
            Effect::Propose { id, command } => self.propose(member, id, &command),
            Effect::Fetch { .. }
            | Effect::Load { .. }
            | Effect::Read { .. }
            | Effect::History { .. } => {
                self.read_git(member, life, effect);
            }
            Effect::Commit {
                incident,
                lock,
                request,
            } => {
                self.start_commit(member, life, incident, lock, *request);
            }
            Effect::Watch { cluster, kinds, .. } => self.watch_cluster(member, &cluster, kinds),
            Effect::Unwatch { cluster } => self.unwatch_cluster(member, &cluster),
            Effect::Stop { target } => self.give_way(member, &target),
            Effect::Apply(request) => self.start_apply(member, life, *request),
            Effect::Say { .. } | Effect::Prevented { .. } => {}
        }
    }

    fn propose(&mut self, member: usize, id: ProposalId, command: &Command) {
        let Ok(command) = serde_json::to_vec(command) else {
            return;
        };
        let known = &mut self.members[member];
        known.sequence += 1;
        let sequence = known.sequence;
        let bytes = Envelope {
            client: known.session.clone(),
            sequence,
            actor: format!("member/{}", known.id),
            format: COMMAND_FORMAT,
            command,
            operation: None,
        }
        .encode_to_vec();
        known.waiting.insert(sequence, Waiting { id, bytes });
        self.send_proposal(member, sequence, 1);
    }

    /// Whether the lock still is what the trio agreed on: what the runner finds out by a linearizable read.
    pub(crate) fn lock_holds(&self, incident: &regraft_model::IncidentId, fence: Fence) -> bool {
        self.raft
            .view
            .locks
            .get(incident)
            .is_some_and(|lock| lock.fence == fence && lock.expires_at > self.agreed_time())
    }

    /// Whether the lock is live in truth, give or take what clocks may differ: what the checker asks.
    pub(crate) fn is_lock_live(&self, incident: &regraft_model::IncidentId, fence: Fence) -> bool {
        self.raft.view.locks.get(incident).is_some_and(|lock| {
            lock.fence == fence && lock.expires_at.0 + 2 * MAX_SKEW_MS > self.now
        })
    }

    /// Whether a planted bug is in the runner.
    pub(crate) fn is_planted(&self, bug: PlantedBug) -> bool {
        self.plant == Some(bug)
    }
}
