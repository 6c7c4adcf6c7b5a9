//! The world of one seed: three members, their log, a remote, clusters, people and faults, moved by one queue of
//! occurrences in virtual time.

use crate::apply::ApplyRun;
use crate::check::Checks;
use crate::git::{Push, Remote};
use crate::kube::Cluster;
use crate::link::Link;
use crate::member::Member;
use crate::people::Deed;
use crate::plant::PlantedBug;
use crate::raft::Raft;
use crate::rng::Rng;
use crate::trace::Trace;
use crate::{faults::Fault, scenario::Scenario};
use regraft_engine::{Effect, Event, ProposeOutcome};
use regraft_model::InvariantId;
use regraft_model::Timestamp;
use std::collections::BTreeMap;

/// When the world begins, in milliseconds since the epoch.
pub(crate) const EPOCH_MS: i64 = 1_700_000_000_000;
/// Most occurrences of one seed: a world that goes on longer is itself broken.
pub(crate) const MAX_STEPS: u64 = 2_000_000;

/// What is promised beside the invariants.
const LIVENESS: &str = "liveness: the world comes to rest when its faults end";

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant; absent for what is checked beside them.
    pub invariant: Option<InvariantId>,
    /// What was promised, in words.
    pub promise: &'static str,
    /// What was seen.
    pub message: String,
}

/// Something that will happen.
#[derive(Clone, Debug)]
pub(crate) enum Occurrence {
    Tick {
        member: usize,
        life: u64,
    },
    Pulse {
        member: usize,
        life: u64,
    },
    Deliver {
        member: usize,
        life: u64,
        event: Box<Event>,
    },
    Perform {
        member: usize,
        life: u64,
        effect: Box<Effect>,
    },
    ProposalArrives {
        member: usize,
        life: u64,
        sequence: u64,
        bytes: Vec<u8>,
    },
    ProposalTimer {
        member: usize,
        life: u64,
        sequence: u64,
        tries: u32,
    },
    AnswerArrives {
        member: usize,
        life: u64,
        sequence: u64,
        outcome: Box<ProposeOutcome>,
    },
    Replicate {
        member: usize,
        life: u64,
        upto: u64,
    },
    Elect,
    Word {
        bytes: Vec<u8>,
        tries: u32,
    },
    PushLeaves {
        push: Box<Push>,
    },
    PushLands {
        push: Box<Push>,
    },
    Controllers {
        cluster: usize,
    },
    ApplyStep {
        run: u64,
    },
    Connect {
        member: usize,
        cluster: usize,
        generation: u64,
    },
    Probe {
        member: usize,
        cluster: usize,
        generation: u64,
    },
    Restart {
        member: usize,
    },
    Begin(Fault),
    End(Fault),
    Do(Deed),
    Calm,
    Rest,
}

pub(crate) struct World {
    pub(crate) now: i64,
    queue: BTreeMap<(i64, u64), Occurrence>,
    queued: u64,
    pub(crate) steps: u64,
    pub(crate) rng: Rng,
    pub(crate) trace: Trace,
    pub(crate) plant: Option<PlantedBug>,
    pub(crate) scenario: Scenario,
    pub(crate) members: Vec<Member>,
    pub(crate) raft: Raft,
    pub(crate) remote: Remote,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) links: BTreeMap<(usize, usize), Link>,
    pub(crate) runs: BTreeMap<u64, ApplyRun>,
    pub(crate) next_run: u64,
    pub(crate) checks: Checks,
    /// Faults are over.
    pub(crate) is_calm: bool,
    pub(crate) calm_since: i64,
    /// Nothing may be written any more.
    pub(crate) is_at_rest: bool,
    /// Ends the run.
    pub(crate) is_over: bool,
    pub(crate) broken: Option<Violation>,
}

impl World {
    pub(crate) fn new(seed: u64, plant: Option<PlantedBug>, keep_lines: usize) -> Self {
        let mut rng = Rng::new(seed);
        let scenario = Scenario::drawn(&mut rng);
        let clusters = (0..scenario.clusters.len())
            .map(|number| Cluster::new(&scenario.clusters[number], number))
            .collect();
        let mut world = Self {
            now: EPOCH_MS,
            queue: BTreeMap::new(),
            queued: 0,
            steps: 0,
            rng,
            trace: Trace::new(keep_lines),
            plant,
            scenario,
            members: (0..MEMBERS).map(Member::new).collect(),
            raft: Raft::default(),
            remote: Remote::default(),
            clusters,
            links: BTreeMap::new(),
            runs: BTreeMap::new(),
            next_run: 0,
            checks: Checks::default(),
            is_calm: false,
            calm_since: 0,
            is_at_rest: false,
            is_over: false,
            broken: None,
        };
        world.found_repository();
        world.found_session();
        for member in 0..MEMBERS {
            world.boot(member);
        }
        world.after(300, Occurrence::Elect);
        world.schedule_faults();
        world
    }

    /// Lets one occurrence happen; false when there is nothing left, or something is broken.
    pub(crate) fn step(&mut self) -> bool {
        if self.broken.is_some() || self.is_over {
            return false;
        }
        let Some(((at, number), occurrence)) = self.queue.pop_first() else {
            self.fail(None, "the queue of the world ran dry".to_owned());
            return false;
        };
        self.now = self.now.max(at);
        if let Some(member) = occurrence.member()
            && self.members[member].stalled_until > self.now
        {
            // A stopped process takes everything in later, in order.
            let until = self.members[member].stalled_until;
            self.queue.insert((until, number), occurrence);
            return true;
        }
        self.steps += 1;
        if self.steps > MAX_STEPS {
            self.fail(None, format!("still busy after {MAX_STEPS} occurrences"));
            return false;
        }
        self.happen(occurrence);
        true
    }

    /// Puts an occurrence `delay_ms` ahead.
    pub(crate) fn after(&mut self, delay_ms: i64, occurrence: Occurrence) {
        self.at(self.now + delay_ms.max(0), occurrence);
    }

    /// A member's engine is told something, unless the member dies before.
    pub(crate) fn deliver_after(&mut self, delay_ms: i64, member: usize, life: u64, event: Event) {
        let event = Box::new(event);
        let delivery = Occurrence::Deliver {
            member,
            life,
            event,
        };
        self.after(delay_ms, delivery);
    }

    pub(crate) fn at(&mut self, at: i64, occurrence: Occurrence) {
        self.queued += 1;
        self.queue
            .insert((at.max(self.now), self.queued), occurrence);
    }

    pub(crate) fn note(&mut self, line: String) {
        self.trace.add(self.now - EPOCH_MS, line);
    }

    pub(crate) fn fail(&mut self, invariant: Option<InvariantId>, message: String) {
        let promise = invariant.map_or(LIVENESS, InvariantId::promise);
        self.fail_promise(invariant, promise, message);
    }

    /// Notes a broken promise that may be none of the invariants.
    pub(crate) fn fail_promise(
        &mut self,
        invariant: Option<InvariantId>,
        promise: &'static str,
        message: String,
    ) {
        let name = invariant.map_or_else(|| promise.to_owned(), |id| id.to_string());
        self.note(format!("BROKEN {name}: {message}"));
        if self.broken.is_none() {
            self.broken = Some(Violation {
                invariant,
                promise,
                message,
            });
        }
    }

    /// A fault that happens by itself in `percent` of the cases, never once the world is calm.
    pub(crate) fn mishap(&mut self, percent: u32) -> bool {
        self.rng.chance(percent) && !self.is_calm
    }

    fn happen(&mut self, occurrence: Occurrence) {
        match occurrence {
            Occurrence::Tick { member, life } => self.tick(member, life),
            Occurrence::Pulse { member, life } => self.pulse(member, life),
            Occurrence::Deliver {
                member,
                life,
                event,
            } => self.deliver(member, life, *event),
            Occurrence::Perform {
                member,
                life,
                effect,
            } => self.perform(member, life, *effect),
            Occurrence::ProposalArrives {
                member,
                life,
                sequence,
                bytes,
            } => {
                self.proposal_arrives(member, life, sequence, bytes);
            }
            Occurrence::ProposalTimer {
                member,
                life,
                sequence,
                tries,
            } => {
                self.proposal_timer(member, life, sequence, tries);
            }
            Occurrence::AnswerArrives {
                member,
                life,
                sequence,
                outcome,
            } => {
                self.answer_arrives(member, life, sequence, *outcome);
            }
            Occurrence::Replicate { member, life, upto } => self.replicate(member, life, upto),
            Occurrence::Elect => self.elect(),
            Occurrence::Word { bytes, tries } => self.say_word(bytes, tries),
            Occurrence::PushLeaves { push } => self.push_leaves(*push),
            Occurrence::PushLands { push } => self.push_lands(*push),
            Occurrence::Controllers { cluster } => self.run_controllers(cluster),
            Occurrence::ApplyStep { run } => self.apply_step(run),
            Occurrence::Connect {
                member,
                cluster,
                generation,
            } => {
                self.connect(member, cluster, generation);
            }
            Occurrence::Probe {
                member,
                cluster,
                generation,
            } => {
                self.probe(member, cluster, generation);
            }
            Occurrence::Restart { member } => self.restart(member),
            Occurrence::Begin(fault) => self.begin(fault),
            Occurrence::End(fault) => self.end(fault),
            Occurrence::Do(deed) => self.carry_out(deed),
            Occurrence::Calm => self.calm_down(),
            Occurrence::Rest => self.rest(),
        }
    }

    /// The clock of a member.
    pub(crate) fn clock(&self, member: usize) -> Timestamp {
        Timestamp(self.now + self.members[member].skew_ms)
    }
}

/// Members of the trio.
pub(crate) const MEMBERS: usize = 3;

impl Occurrence {
    /// The member whose process takes it in.
    fn member(&self) -> Option<usize> {
        match self {
            Occurrence::Tick { member, .. }
            | Occurrence::Pulse { member, .. }
            | Occurrence::Deliver { member, .. }
            | Occurrence::Perform { member, .. }
            | Occurrence::ProposalTimer { member, .. }
            | Occurrence::AnswerArrives { member, .. }
            | Occurrence::Replicate { member, .. }
            | Occurrence::Connect { member, .. }
            | Occurrence::Probe { member, .. } => Some(*member),
            Occurrence::PushLeaves { push } => usize::try_from(push.member.0).ok()?.checked_sub(1),
            _ => None,
        }
    }
}
