//! Chains the stages: `on(event, now) -> effects`.
//!
//! ```text
//! Git head ─ Load/Read ─> render ─> diff ─> Apply ─> cluster
//! cluster ─ Seen/Gone ─> health, detect ─> Report, OpenIncident ─> state
//! state ─ incident ─> remedy ─> Plan, Acquire ─> Commit ─> Git head ...
//! ```
//!
//! The engine reads no clock, file or network. It is level-triggered: every decision is taken again from the
//! replicated state and what the clusters last told, so a lost, late or doubled event costs time, never truth.

pub mod baselines;
pub mod effect;
pub mod event;
mod heal;
mod intent;
mod lead;
mod observed;
#[cfg(feature = "planted")]
pub mod planted;
#[cfg(not(feature = "planted"))]
mod planted;
mod proposal;
mod reading;
mod renderings;
mod replicated;
mod report;
mod source;
mod target;
mod told;
mod wanted;

pub use effect::{Effect, Level};
pub use event::{Event, Proof, ProposalId, ProposeOutcome, Role};
pub use lead::SILENT_MS;
pub use report::Report;
pub use wanted::Wanted;

use intent::Intent;
use observed::ObservedCluster;
use proposal::{Proposals, Refused};
use regraft_model::config::{Application, Fleet};
use regraft_model::id::{
    ApplicationName, BranchName, ClusterName, IncidentId, MemberId, RepositoryName, TargetKey,
};
use regraft_model::source::Revision;
use regraft_model::time::{Seconds, Timestamp};
use regraft_state::command::Command;
use regraft_state::view::View;
use renderings::Renderings;
use source::{Effective, Tracked};
use std::collections::{BTreeMap, BTreeSet};
use target::TargetMemory;

/// How long a proof that this member's state is the majority's is good for. Less than [`lead::SILENT_MS`]: a member
/// that is cut off stops before its work is given to another.
pub const CONFIRMED_MS: i64 = 3000;
/// Pause before an effect whose answer never came is asked for again.
const ASK_AGAIN_MS: i64 = 15_000;
/// How often everything is looked at although nothing was told.
const LOOK_OVER_MS: i64 = 1000;
/// Pause before something unreadable is read again.
const READ_AGAIN_MS: i64 = 2000;

/// What an engine is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This member.
    pub member: MemberId,
    /// Id for the installation, random; used by whoever initialises it first.
    pub installation: String,
    /// The repositories it tracks.
    pub repositories: Vec<TrackedRepository>,
}

/// A repository whose branch is followed.
#[derive(Clone, Debug)]
pub struct TrackedRepository {
    /// Its name.
    pub name: RepositoryName,
    /// The branch.
    pub branch: BranchName,
    /// How often the leader asks the remote for its tip; one that cannot be read no more often than every 2 s.
    pub poll: Seconds,
}

/// One member's decisions.
pub struct Engine {
    settings: Settings,
    applied: u64,
    view: View,
    role: Role,
    /// The newest proof that this engine has caught up with; the one in `role` may be ahead of what was told.
    proved: Option<Proof>,
    leading_since: Option<Timestamp>,
    /// When everything was looked at last.
    looked_at: Timestamp,
    tracked: BTreeMap<RepositoryName, Tracked>,
    effective: BTreeMap<RepositoryName, Effective>,
    rendered: Renderings,
    /// Why an application's files cannot be read, and of which revision. A branch that cannot be read says so itself.
    unreadable_files: BTreeMap<ApplicationName, (Revision, String)>,
    observed: BTreeMap<ClusterName, ObservedCluster>,
    targets: BTreeMap<TargetKey, TargetMemory>,
    /// Applies that were sent.
    applies: u64,
    cases: BTreeMap<IncidentId, heal::CaseMemory>,
    proposals: Proposals,
    /// Questions under way, with the moment after which they may be asked again.
    asked: BTreeMap<String, Timestamp>,
    dirty: Dirty,
    #[cfg(feature = "planted")]
    planted: BTreeSet<planted::Bug>,
}

/// What has to be decided again.
#[derive(Debug, Default)]
struct Dirty {
    targets: BTreeSet<TargetKey>,
    /// Applies under way that this member may not, or cannot, look after any more.
    lost: BTreeSet<TargetKey>,
    incidents: bool,
    /// What is due by now.
    time: bool,
    everything: bool,
}

impl Engine {
    /// An engine that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        let tracked = settings
            .repositories
            .iter()
            .map(|it| (it.name.clone(), Tracked::default()));
        Self {
            tracked: tracked.collect(),
            settings,
            applied: 0,
            view: View::default(),
            role: Role::default(),
            proved: None,
            leading_since: None,
            looked_at: Timestamp::default(),
            effective: BTreeMap::new(),
            rendered: Renderings::default(),
            unreadable_files: BTreeMap::new(),
            observed: BTreeMap::new(),
            targets: BTreeMap::new(),
            applies: 0,
            cases: BTreeMap::new(),
            proposals: Proposals::default(),
            asked: BTreeMap::new(),
            dirty: Dirty::default(),
            #[cfg(feature = "planted")]
            planted: BTreeSet::new(),
        }
    }

    /// Takes events in, in their order, and then says what to do. Who has several hands them over together: a look at
    /// what they changed costs the same once as for each. `now` is this member's own clock; when that was set,
    /// [`Event::ClockSet`] has to come with it.
    pub fn on(&mut self, events: impl IntoIterator<Item = Event>, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        for event in events {
            self.take(now, event, &mut effects);
        }
        self.decide(now, &mut effects);
        effects
    }

    fn take(&mut self, now: Timestamp, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Restored { index, pairs } => self.restored(now, index, &pairs, effects),
            Event::ClockSet => self.clock_set(now),
            Event::Replicated { index, writes } => {
                self.replicated(now, index, &writes, effects);
            }
            Event::Role(role) => self.take_role(now, role),
            Event::Proposed { id, outcome } => self.proposed(now, id, outcome, effects),
            Event::Fetched {
                repository,
                outcome,
            } => {
                self.fetched(now, &repository, outcome, effects);
            }
            Event::Loaded {
                repository,
                revision,
                outcome,
            } => {
                self.loaded(now, &repository, &revision, outcome);
            }
            Event::SourceRead {
                application,
                revision,
                outcome,
            } => {
                self.source_read(now, &application, revision, outcome);
            }
            Event::HistoryRead {
                incident,
                from,
                to,
                outcome,
            } => {
                self.history_read(now, &incident, &from, &to, outcome);
            }
            Event::Cluster { cluster, event } => self.cluster_told(now, &cluster, event),
            Event::Applied(outcome) => self.applied_to_cluster(now, outcome, effects),
            Event::Committed {
                incident,
                key,
                outcome,
            } => {
                self.commit_answered(now, &incident, &key, outcome, effects);
            }
            Event::Tick => self.tick(now),
        }
    }

    /// The replicated state as this member knows it.
    pub fn view(&self) -> &View {
        &self.view
    }

    fn decide(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.view.installation.is_none() && !self.is_leader() {
            return;
        }
        for intent in self.proposals.take_outdated() {
            if let Intent::Report(target) = intent {
                self.dirty.targets.insert(target);
            }
        }
        let everything = std::mem::take(&mut self.dirty.everything);
        let time = std::mem::take(&mut self.dirty.time) || everything;
        if everything || !self.dirty.lost.is_empty() || !self.is_confirmed(now) {
            self.stop_applies(now, effects);
        }
        if everything {
            self.refresh(now, effects);
            self.lead(now, effects);
            self.watch(effects);
            self.looked_at = now;
        } else if time && self.is_leader() {
            self.ask_remotes(now, effects);
        }
        let targets: BTreeSet<TargetKey> = if time {
            let due = self.my_targets().filter(|target| self.is_due(now, target));
            due.cloned().collect()
        } else {
            std::mem::take(&mut self.dirty.targets)
        };
        for target in &targets {
            self.dirty.targets.remove(target);
            self.step_target(now, target, effects);
        }
        if std::mem::take(&mut self.dirty.incidents) || time {
            self.heal(now, effects);
        }
    }

    /// Begins all spans anew: nothing is confirmed, due, or paused by a clock that does not go any more (I7).
    fn clock_set(&mut self, now: Timestamp) {
        self.lose_applies(|_| true);
        for memory in self.targets.values_mut() {
            memory.begin_anew(now);
        }
        for tracked in self.tracked.values_mut() {
            tracked.asked_at = None;
        }
        self.cases.clear();
        self.asked.clear();
        self.proposals.forget();
        (self.role.confirmed, self.proved) = (None, None);
        self.leading_since = self.is_leader().then_some(now);
        self.touch_all();
    }

    /// What is due is looked for often, what only a lost event could have changed once in a while.
    fn tick(&mut self, now: Timestamp) {
        self.dirty.time = true;
        self.dirty.everything |= now.millis_since(self.looked_at) >= LOOK_OVER_MS;
    }

    fn take_role(&mut self, now: Timestamp, role: Role) {
        let was_leader = self.is_leader();
        let same = (self.role.leader, &self.role.members) == (role.leader, &role.members);
        // The proof is renewed all the time; who stays silent is looked for with the time.
        self.dirty.everything |= !same || !self.is_confirmed(now);
        self.role = role;
        self.catch_up_with_proof();
        match (was_leader, self.is_leader()) {
            (false, true) => self.leading_since = Some(now),
            (true, false) => self.leading_since = None,
            _ => {}
        }
    }

    fn proposed(
        &mut self,
        now: Timestamp,
        id: ProposalId,
        outcome: ProposeOutcome,
        effects: &mut Vec<Effect>,
    ) {
        match self.proposals.answered(now, self.applied, id, outcome) {
            Some((intent, Refused::Rejected(rejection))) => {
                self.refused(now, &intent, &rejection, effects);
            }
            Some((intent, Refused::Invalid(reason))) => {
                effect::say(effects, effect::Level::Page, &intent.to_string(), reason);
            }
            None => {}
        }
        self.dirty.everything = true;
    }

    /// Whether a question may be asked now; notes that it is.
    fn may_ask(&mut self, now: Timestamp, question: String) -> bool {
        if self.asked.get(&question).is_some_and(|until| *until > now) {
            return false;
        }
        self.asked.insert(question, Timestamp(now.0 + ASK_AGAIN_MS));
        true
    }

    fn propose(
        &mut self,
        now: Timestamp,
        intent: Intent,
        command: Command,
        effects: &mut Vec<Effect>,
    ) {
        self.proposals.propose(now, intent, command, effects);
    }

    fn is_leader(&self) -> bool {
        self.role.leader == Some(self.settings.member)
    }

    /// Takes the newest proof as this engine's own once everything it speaks of was told.
    fn catch_up_with_proof(&mut self) {
        let is_reached = |proof: Proof| self.applied >= proof.index;
        if self.role.confirmed.is_none_or(is_reached) {
            self.proved = self.role.confirmed;
        }
    }

    /// Whether this member may still write to the outside: its state was the majority's a moment ago.
    fn is_confirmed(&self, now: Timestamp) -> bool {
        // A proof from later than now is by a clock that was set back since.
        self.proved
            .is_some_and(|proof| proof.at <= now && now.millis_since(proof.at) < CONFIRMED_MS)
    }

    fn my_targets(&self) -> impl Iterator<Item = &TargetKey> {
        self.view
            .assignments
            .values()
            .filter(|assignment| assignment.member == self.settings.member)
            .map(|assignment| &assignment.target)
    }

    /// The repositories that configure an application: more than one is a mistake that only a person can mend.
    fn configured_in(&self, name: &ApplicationName) -> Vec<&RepositoryName> {
        let known = self.effective.iter();
        known
            .filter(|(_, effective)| effective.fleet.applications.contains_key(name))
            .map(|(repository, _)| repository)
            .collect()
    }

    /// Whether an application with this name may hold objects that carry its label. What was let go as it is, with
    /// its repository, holds nothing any more.
    fn holds(&self, name: &str) -> bool {
        let name = ApplicationName::from(name);
        let recorded = &self.view.configurations;
        let mut tracked = self.tracked.keys();
        let all_read = tracked.all(|repository| recorded.contains_key(repository));
        let is_in = |fleet: &Fleet| fleet.applications.contains_key(&name);
        !all_read
            || recorded.values().any(|it| is_in(&it.fleet))
            || self.fleets().any(is_in)
            || self.view.retiring.contains_key(&name)
    }

    /// The application as it is configured now, in whichever repository.
    fn application(&self, name: &ApplicationName) -> Option<&Application> {
        self.fleets().find_map(|fleet| fleet.applications.get(name))
    }

    fn fleets(&self) -> impl Iterator<Item = &Fleet> {
        self.effective.values().map(|effective| &effective.fleet)
    }

    /// The credentials that repositories name for a cluster, each with the first repository that does.
    fn credentials_of<'a>(
        &'a self,
        cluster: &'a ClusterName,
    ) -> BTreeMap<&'a str, &'a RepositoryName> {
        let mut named = BTreeMap::new();
        for (repository, effective) in &self.effective {
            if let Some(credentials) = source::credentials_of(&effective.fleet, cluster) {
                named.entry(credentials).or_insert(repository);
            }
        }
        named
    }

    fn branch_of(&self, repository: &RepositoryName) -> BranchName {
        let known = self
            .settings
            .repositories
            .iter()
            .find(|it| it.name == *repository);
        known.map(|it| it.branch.clone()).unwrap_or_default()
    }
}
