//! One target: bring the cluster to what Git says, judge how it is, tell the others.
//!
//! Expected flow: compare -> Apply -> watch tells -> compare finds nothing -> health -> Report.
//! Guarantees: nothing is written while the cluster cannot be seen whole, the head is not read, the member is not
//! confirmed, or a person suspended it; nothing is pruned after problems (I5); no write when nothing differs (I6).
//! Errors: every state that is not Synced says what it waits for.

mod apply;
mod health;
mod look;
mod retire;

use crate::Engine;
use crate::effect::{Effect, prevented};
use crate::intent::Intent;
use regraft_detect::Dwell;
use regraft_diff::KnownEqual;
use regraft_model::InvariantId;
use regraft_model::apply::{ApplyFailure, Inventory, KindVersion};
use regraft_model::finding::{AppliedInputs, PendingDeletion, SyncState, SyncStatus, TargetStatus};
use regraft_model::health::Health;
use regraft_model::id::{ApplicationName, Fence, TargetKey};
use regraft_model::object::ObjectKey;
use regraft_model::source::{Revision, TreeId};
use regraft_model::time::Timestamp;
use regraft_state::command::Command;
use std::collections::{BTreeMap, BTreeSet};

/// First pause after a failed apply, doubled up to [`MAX_PAUSE_MS`]; as Argo CD does (5 s x 2, at most 3 min), with a
/// shorter first step.
const FIRST_PAUSE_MS: i64 = 1000;
/// Longest pause between two tries.
const MAX_PAUSE_MS: i64 = 180_000;
/// Corrections of drift within this time of each other count as a fight with somebody else.
const FIGHT_WINDOW_MS: i64 = 600_000;
/// An apply without an answer is forgotten after this; the edge gives one up after 300 s.
const APPLY_FORGOTTEN_MS: i64 = 330_000;
/// A target is looked at again after this even if nobody told anything.
const LOOK_AGAIN_MS: i64 = 10_000;

/// What a member remembers of a target it works on. All of it can be lost.
#[derive(Debug, Default)]
pub(crate) struct TargetMemory {
    in_flight: Option<InFlight>,
    known_equal: BTreeMap<ObjectKey, KnownEqual>,
    dwell: Dwell,
    /// The edge has confirmed that the inventory is empty.
    released: bool,
    failures: Vec<ApplyFailure>,
    /// Tree for which `failures` stand: a new commit is tried at once.
    failed_tree: Option<TreeId>,
    pause_until: Timestamp,
    tries: u32,
    corrected_at: Option<Timestamp>,
    fights: u32,
    health: Option<(Health, Timestamp)>,
    /// Fence of the newest requested sync for which a failed apply was tried again.
    tried_for: u64,
    /// Something is to be written, and there is no proof yet that this member may.
    unproven: bool,
    /// The tree for which deletions are held back because not all of it could be read.
    kept_for: Option<TreeId>,
    wake: Timestamp,
}

/// An apply that was sent to the edge.
#[derive(Debug)]
struct InFlight {
    since: Timestamp,
    number: u64,
    tree: Option<TreeId>,
    /// What holds once it has succeeded.
    inventory: Inventory,
    /// What it writes, for people; as it was sent, so that not every object on its way is news.
    writes: String,
    /// Objects that went away since: what the apply answers of them is older than that.
    gone: BTreeSet<ObjectKey>,
}

impl TargetMemory {
    /// The cluster went away or came back: what held does not hold any more (I7).
    pub(crate) fn interrupt(&mut self, now: Timestamp) {
        self.dwell.interrupt();
        self.in_flight = None;
        self.known_equal.clear();
        self.health = None;
        self.wake = now;
    }

    /// The clock was set: spans that began before mean nothing.
    pub(crate) fn begin_anew(&mut self, now: Timestamp) {
        self.interrupt(now);
        self.pause_until = self.pause_until.min(now);
    }

    /// An object of it went away.
    pub(crate) fn lose(&mut self, key: &ObjectKey) {
        self.known_equal.remove(key);
        if let Some(sent) = &mut self.in_flight {
            sent.gone.insert(key.clone());
        }
    }
}

/// What one look at a target found.
struct Look {
    sync: SyncStatus,
    pending_deletion: Option<PendingDeletion>,
    /// The tree that is applied in full right now.
    in_sync_with: Option<(Revision, TreeId)>,
}

impl Look {
    fn of(state: SyncState, reason: &str, message: impl Into<String>) -> Self {
        let sync = SyncStatus {
            state,
            reason: reason.to_owned(),
            message: message.into(),
        };
        Self {
            sync,
            pending_deletion: None,
            in_sync_with: None,
        }
    }
}

impl Engine {
    pub(crate) fn is_due(&self, now: Timestamp, target: &TargetKey) -> bool {
        self.dirty.targets.contains(target)
            || self
                .targets
                .get(target)
                .is_none_or(|memory| memory.wake <= now)
    }

    /// Looks at a target again and does what is next.
    pub(crate) fn step_target(
        &mut self,
        now: Timestamp,
        target: &TargetKey,
        effects: &mut Vec<Effect>,
    ) {
        let Some(assignment) = self.view.assignments.get(target) else {
            return;
        };
        if assignment.member != self.settings.member {
            return self.forget_target(target);
        }
        let mut memory = self.targets.remove(target).unwrap_or_default();
        memory.wake = Timestamp(now.0 + LOOK_AGAIN_MS);
        if self.is_retiring(target) {
            self.step_retiring(now, target, &mut memory, effects);
        } else {
            let look = self.look(now, target, &mut memory, effects);
            self.tell(now, target, &mut memory, look, effects);
        }
        self.targets.insert(target.clone(), memory);
    }

    /// Stops applies that were allowed when they began and are not any more: this member lost the target or the proof
    /// that its state is current, or a person suspended it (I2).
    pub(crate) fn stop_applies(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let confirmed = self.is_confirmed(now);
        let mut stopped: Vec<TargetKey> =
            std::mem::take(&mut self.dirty.lost).into_iter().collect();
        let under_way = self
            .targets
            .iter()
            .filter(|(_, memory)| memory.in_flight.is_some());
        let forbidden = under_way
            .filter(|(target, _)| !confirmed || self.suspension_of(&target.application).is_some());
        stopped.extend(forbidden.map(|(target, _)| target.clone()));
        for target in stopped {
            if let Some(memory) = self.targets.get_mut(&target) {
                memory.in_flight = None;
            }
            effects.push(prevented(InvariantId::I2));
            effects.push(Effect::Stop { target });
        }
    }

    /// Has the applies under way stopped that are about to be forgotten: nobody could stop them later (I2).
    pub(crate) fn lose_applies(&mut self, is_forgotten: impl Fn(&TargetKey) -> bool) {
        let under_way = self
            .targets
            .iter()
            .filter(|(target, memory)| memory.in_flight.is_some() && is_forgotten(target));
        let lost = under_way.map(|(target, _)| target.clone());
        self.dirty.lost.extend(lost);
    }

    /// Forgets what was remembered of a target that another member has now; it would be old if it ever came back.
    pub(crate) fn forget_target(&mut self, target: &TargetKey) {
        let memory = self.targets.remove(target);
        if memory.is_some_and(|memory| memory.in_flight.is_some()) {
            self.dirty.lost.insert(target.clone());
        }
    }

    /// Tells the edges which kinds to watch where this member works.
    pub(crate) fn watch(&mut self, effects: &mut Vec<Effect>) {
        let mut wanted: BTreeMap<_, (String, BTreeSet<_>)> = BTreeMap::new();
        for target in self.my_targets() {
            let named = self.credentials_of(&target.cluster);
            if named.len() > 1 {
                // Nobody knows which cluster is meant: none is seen, let alone written to.
                continue;
            }
            let credentials = named.into_keys().next();
            let credentials = credentials.unwrap_or(target.cluster.as_str()).to_owned();
            let entry = wanted.entry(target.cluster.clone()).or_default();
            entry.0 = credentials;
            if let Some(rendered) = self.rendered.get(&target.application) {
                entry.1.extend(rendered.kinds.iter().cloned());
            }
            entry.1.extend(self.inventory_kinds(target));
        }
        for (cluster, watched) in &wanted {
            let observed = self.observed.entry(cluster.clone()).or_default();
            if observed.watched.as_ref() != Some(watched) {
                observed.watch_only(&watched.1);
                observed.watched = Some(watched.clone());
                effects.push(Effect::Watch {
                    cluster: cluster.clone(),
                    credentials: watched.0.clone(),
                    kinds: watched.1.clone(),
                });
            }
        }
        let gone: Vec<_> = self
            .observed
            .keys()
            .filter(|cluster| !wanted.contains_key(*cluster))
            .cloned()
            .collect();
        for cluster in gone {
            self.observed.remove(&cluster);
            effects.push(Effect::Unwatch { cluster });
        }
    }

    fn tell(
        &mut self,
        now: Timestamp,
        target: &TargetKey,
        memory: &mut TargetMemory,
        look: Look,
        effects: &mut Vec<Effect>,
    ) {
        let Some(assignment) = self.view.assignments.get(target).cloned() else {
            return;
        };
        let before = self.view.statuses.get(target).cloned().unwrap_or_default();
        let mut status = TargetStatus {
            key: target.clone(),
            member: assignment.member,
            fence: assignment.fence,
            sync: look.sync,
            pending_deletion: look.pending_deletion,
            applied: before.applied.clone(),
            verified: before.verified.clone(),
            verified_inputs: before.verified_inputs.clone(),
            workloads: before.workloads,
            ..TargetStatus::default()
        };
        if let Some((revision, tree)) = look.in_sync_with
            && !self.has_applied(target, &tree)
        {
            status.applied = Some(AppliedInputs {
                revision,
                tree,
                at: now,
            });
            memory.health = None;
        }
        status.answered_sync = self.answered_sync(target, &status.sync, before.answered_sync);
        let asks =
            |status: &TargetStatus| status.pending_deletion.as_ref().map(|it| it.token.clone());
        if status.pending_deletion.is_some() && asks(&before) != asks(&status) {
            effects.push(prevented(InvariantId::I5));
        }
        self.judge_health(now, memory, &mut status);
        if let Some(at) = health::verify_revision(self, now, &mut status) {
            memory.wake = memory.wake.min(at);
        }
        // What was due already and was not looked at now cannot be: it does not hasten anything.
        let deadline = memory.dwell.next_deadline();
        if let Some(deadline) = deadline.filter(|deadline| *deadline > now) {
            memory.wake = memory.wake.min(deadline);
        }
        if !says_the_same(&before, &status) {
            let command = Command::Report {
                status: Box::new(status.clone()),
            };
            self.propose(now, Intent::Report(target.clone()), command, effects);
        }
        self.open_incident(now, &status, effects);
    }

    /// Why a person stopped work on an application, and what ends that.
    pub(crate) fn suspension_of(&self, application: &ApplicationName) -> Option<String> {
        let suspension = self.view.suspension_of(application)?;
        let lifted_by = suspension.lifted_by();
        Some(format!("{suspension}; {lifted_by} lets it go on"))
    }

    /// The list of deletions that a person confirmed for what Git says now.
    pub(super) fn confirmed_token(&self, target: &TargetKey, occasion: &str) -> Option<&str> {
        let confirmation = self.view.confirmations.get(target)?;
        let token = confirmation.token.strip_suffix(occasion)?;
        token.strip_suffix('-')
    }

    pub(crate) fn told_inventory(&self, target: &TargetKey) -> Option<&Inventory> {
        let observed = self.observed.get(&target.cluster)?;
        observed.inventory(&target.application)
    }

    /// The inventory of a target; where it has none, an empty one of this installation.
    pub(super) fn inventory_of(&self, target: &TargetKey) -> Inventory {
        let empty = || Inventory {
            installation: self.view.installation.clone().unwrap_or_default(),
            entries: BTreeMap::new(),
        };
        self.told_inventory(target).cloned().unwrap_or_else(empty)
    }

    pub(super) fn inventory_kinds(&self, target: &TargetKey) -> impl Iterator<Item = KindVersion> {
        self.told_inventory(target)
            .into_iter()
            .flat_map(|inventory| &inventory.entries)
            .map(|(key, api_version)| KindVersion::new(api_version, &key.kind))
    }

    /// The newest requested sync that a target in this state has answered.
    fn answered_sync(&self, target: &TargetKey, sync: &SyncStatus, before: Fence) -> Fence {
        // Written and still failing, or not seen: whoever asked has to wait.
        let settled = matches!(sync.state, SyncState::Synced | SyncState::Blocked);
        let request = self.view.syncs.get(&target.application);
        let answered = request.filter(|request| settled && request.asked);
        answered.map_or(before, |request| before.max(request.fence))
    }
}

pub(super) fn sync(state: SyncState, reason: &str, message: impl Into<String>) -> SyncStatus {
    SyncStatus {
        state,
        reason: reason.to_owned(),
        message: message.into(),
    }
}

/// Whether a report would tell nothing new. Evidence changes with every restart of a pod: it is told once.
fn says_the_same(before: &TargetStatus, now: &TargetStatus) -> bool {
    let bare = |status: &TargetStatus| {
        let mut bare = status.clone();
        for finding in &mut bare.findings {
            finding.symptom.evidence.clear();
            finding.since = Timestamp(0);
        }
        // How long it has been healthy matters to the trio; how long unknown or on its way does not.
        if bare.health != Health::Healthy {
            bare.health_since = Timestamp(0);
        }
        bare.health_message.clear();
        bare
    };
    bare(before) == bare(now)
}
