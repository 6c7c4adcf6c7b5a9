//! One target: bring the cluster to what Git says, judge how it is, tell the others.
//!
//! Expected flow: compare -> Apply -> watch tells -> compare finds nothing -> health -> Report.
//! Guarantees: nothing is written while the cluster cannot be seen whole, the head is not read, the member is not
//! confirmed, or a person suspended it; nothing is pruned after problems (I5); no write when nothing differs (I6).
//! Errors: every state that is not Synced says what it waits for.

use crate::effect::{Effect, Level};
use crate::lead::say;
use crate::source::{Rendered, is_workload};
use crate::world::{Sight, World};
use crate::{Engine, verify};
use regraft_detect::Dwell;
use regraft_diff::health::{Profile, judge};
use regraft_diff::{Comparison, Complete, Desired, KnownEqual, World as Compared, compare, retire};
use regraft_model::apply::{ApplyFailure, ApplyOutcome, ApplyRequest, Inventory, Retry, Written};
use regraft_model::config::Application;
use regraft_model::finding::{
    AppliedInputs, Change, Finding, PendingDeletion, SyncState, SyncStatus, TargetStatus,
};
use regraft_model::health::Health;
use regraft_model::id::{ApplicationName, TargetKey};
use regraft_model::object::ObjectKey;
use regraft_model::source::{Revision, TreeId};
use regraft_model::time::Timestamp;
use regraft_state::command::Command;
use regraft_state::record::Subject;
use std::collections::BTreeMap;

/// First pause after a failed apply, doubled up to [`MAX_PAUSE_MS`]; as Argo CD does (5 s x 2, at most 3 min), with a
/// shorter first step.
const FIRST_PAUSE_MS: i64 = 1000;
/// Longest pause between two tries.
const MAX_PAUSE_MS: i64 = 180_000;
/// Corrections of drift within this time of each other count as a fight with somebody else.
const FIGHT_WINDOW_MS: i64 = 600_000;
/// An apply without an answer is forgotten after this; the edge's own bounds are shorter.
const APPLY_FORGOTTEN_MS: i64 = 120_000;
/// A target is looked at again after this even if nobody told anything.
const LOOK_AGAIN_MS: i64 = 10_000;

/// What a member remembers of a target it works on. All of it can be lost.
#[derive(Debug, Default)]
pub(crate) struct Work {
    in_flight: Option<Timestamp>,
    /// The inventory that holds once the apply under way succeeds.
    inventory: Option<Inventory>,
    known_equal: BTreeMap<ObjectKey, KnownEqual>,
    dwell: Dwell,
    failures: Vec<ApplyFailure>,
    /// Tree for which `failures` stand: a new commit is tried at once.
    failed_tree: Option<TreeId>,
    pause_until: Timestamp,
    tries: u32,
    corrected_at: Option<Timestamp>,
    fights: u32,
    health: Option<(Health, Timestamp)>,
    answered_sync: u64,
    wake: Timestamp,
}

impl Work {
    /// The cluster went away or came back: what held does not hold any more (I7).
    pub(crate) fn interrupt(&mut self, now: Timestamp) {
        self.dwell.interrupt();
        self.in_flight = None;
        self.known_equal.clear();
        self.health = None;
        self.wake = now;
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
            || self.work.get(target).is_none_or(|work| work.wake <= now)
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
            self.work.remove(target);
            return;
        }
        let mut work = self.work.remove(target).unwrap_or_default();
        work.wake = Timestamp(now.0 + LOOK_AGAIN_MS);
        if self.is_retiring(target) {
            self.step_retiring(now, target, &mut work, effects);
        } else {
            let look = self.look(now, target, &mut work, effects);
            self.tell(now, target, &mut work, look, effects);
        }
        self.work.insert(target.clone(), work);
    }

    /// Tells the edges which kinds to watch where this member works.
    pub(crate) fn watch(&mut self, effects: &mut Vec<Effect>) {
        let mut wanted: BTreeMap<_, (String, std::collections::BTreeSet<_>)> = BTreeMap::new();
        for target in self.my_targets() {
            let credentials = self
                .fleets()
                .find(|fleet| fleet.clusters.contains_key(&target.cluster))
                .map_or_else(
                    || target.cluster.0.clone(),
                    |fleet| crate::source::credentials_of(fleet, &target.cluster),
                );
            let entry = wanted.entry(target.cluster.clone()).or_default();
            entry.0 = credentials;
            if let Some(rendered) = self.rendered.get(&target.application) {
                entry.1.extend(rendered.kinds.iter().cloned());
            }
            entry.1.extend(self.inventory_kinds(target));
        }
        for (cluster, watched) in &wanted {
            let world = self.worlds.entry(cluster.clone()).or_default();
            if world.watched.as_ref() != Some(watched) {
                world.watched = Some(watched.clone());
                effects.push(Effect::Watch {
                    cluster: cluster.clone(),
                    credentials: watched.0.clone(),
                    kinds: watched.1.clone(),
                });
            }
        }
        let gone: Vec<_> = self
            .worlds
            .keys()
            .filter(|cluster| !wanted.contains_key(*cluster))
            .cloned()
            .collect();
        for cluster in gone {
            self.worlds.remove(&cluster);
            effects.push(Effect::Unwatch { cluster });
        }
    }

    pub(crate) fn applied_to_cluster(
        &mut self,
        now: Timestamp,
        outcome: ApplyOutcome,
        effects: &mut Vec<Effect>,
    ) {
        let target = outcome.target.clone();
        let Some(work) = self.work.get_mut(&target) else {
            return;
        };
        work.in_flight = None;
        let world = self.worlds.entry(target.cluster.clone()).or_default();
        for (object, written) in outcome.objects {
            let key = object.key();
            if written == Written::Written && is_workload(&object) {
                // A new template starts with a clean record.
                work.dwell.forget(&key);
                work.health = None;
            }
            work.known_equal.insert(key, KnownEqual::of(&object));
            world.see(object);
        }
        let inventory = work.inventory.take();
        if outcome.failures.is_empty() {
            work.tries = 0;
            if let (Some(inventory), Some(known)) = (inventory, world.inventories.as_mut()) {
                known.insert(target.application.0.clone(), inventory);
            }
        } else {
            work.tries = work.tries.saturating_add(1);
            let stalled = outcome
                .failures
                .iter()
                .any(|failure| failure.retry == Retry::Stalled);
            let pause = if stalled {
                MAX_PAUSE_MS
            } else {
                pause_ms(work.tries)
            };
            work.pause_until = Timestamp(now.0 + pause);
            for failure in outcome.failures.iter().filter(|_| work.tries == 1) {
                let what = failure
                    .key
                    .as_ref()
                    .map_or_else(String::new, |key| format!("{key}: "));
                let message = format!("{what}{}: {}", failure.reason, failure.message);
                say(effects, Level::Warning, &target.to_string(), message);
            }
        }
        work.failures = outcome.failures;
        work.failed_tree = self
            .rendered
            .get(&target.application)
            .map(|it| it.tree.clone());
        self.dirty.targets.insert(target);
    }

    fn look(
        &mut self,
        now: Timestamp,
        target: &TargetKey,
        work: &mut Work,
        effects: &mut Vec<Effect>,
    ) -> Look {
        if let Some(look) = self.not_to_be_touched(now, target, effects) {
            return look;
        }
        let (Some(application), Some(rendered), Some(world)) = (
            self.application(&target.application),
            self.rendered.get(&target.application),
            self.worlds.get(&target.cluster),
        ) else {
            return Look::of(
                SyncState::Unknown,
                "NotReadYet",
                "its files are not read yet",
            );
        };
        let inventories = world.inventories.as_ref();
        let inventory = inventories.and_then(|all| all.get(target.application.as_str()));
        let inventory = inventory.cloned().unwrap_or_else(|| self.empty_inventory());
        let comparison = compare(
            &Desired {
                target,
                revision: &rendered.revision,
                application,
                installation: &rendered.installation,
                objects: &rendered.objects,
                complete: if rendered.has_errors() {
                    Complete::WithProblems
                } else {
                    Complete::Yes
                },
            },
            &Compared {
                live: &world.live,
                scaled: &world.scaled,
                known_equal: &work.known_equal,
            },
            &inventory,
            self.confirmed_token(target),
        );
        let was_synced = self
            .view
            .statuses
            .get(target)
            .and_then(|status| status.applied.as_ref())
            .is_some_and(|applied| applied.tree == rendered.tree);
        let current = (rendered.revision.clone(), rendered.tree.clone());
        let problems: Vec<_> = rendered.problems.iter().map(ToString::to_string).collect();
        let has_errors = rendered.has_errors();
        let mut look = judge_comparison(&comparison);
        if has_errors {
            let message = problems.join("; ");
            look.sync = sync(SyncState::Blocked, "RenderProblems", message);
        } else if comparison.request.is_none() && comparison.blocked.is_empty() {
            look.in_sync_with = Some(current);
        }
        if let Some(mut request) = comparison.request {
            request.inventory_before = inventory;
            look.in_sync_with = None;
            let told = self.apply(now, work, &target.application, was_synced, request, effects);
            if !has_errors {
                look.sync = told;
            }
        } else if look.in_sync_with.is_some() {
            work.failures.clear();
            self.answer_sync_request(target, work);
        }
        look
    }

    /// Sends a request out when the target may be written to now; says how it stands.
    fn apply(
        &mut self,
        now: Timestamp,
        work: &mut Work,
        application: &ApplicationName,
        was_synced: bool,
        request: ApplyRequest,
        effects: &mut Vec<Effect>,
    ) -> SyncStatus {
        let tree = self
            .rendered
            .get(application)
            .map(|rendered| rendered.tree.clone());
        let asked = self
            .view
            .syncs
            .get(application)
            .map_or(0, |sync| sync.fence.0);
        let differs: Vec<_> = request
            .stages
            .iter()
            .flat_map(|stage| &stage.objects)
            .map(|staged| staged.object.key().to_string())
            .chain(request.prune.iter().map(|(key, _)| format!("delete {key}")))
            .collect();
        let differs = differs.join(", ");
        if work
            .in_flight
            .is_some_and(|since| now.millis_since(since) < APPLY_FORGOTTEN_MS)
        {
            return sync(SyncState::OutOfSync, "Applying", differs);
        }
        if !self.is_confirmed(now) {
            let message = "this member has no proof that its state is current: it does not write";
            work.wake = now;
            return sync(SyncState::OutOfSync, "NotConfirmed", message);
        }
        let same_inputs = work.failed_tree == tree;
        if work.pause_until > now && same_inputs && asked <= work.answered_sync {
            work.wake = work.wake.min(work.pause_until);
            return failed(&work.failures, &differs);
        }
        if was_synced {
            // Nobody committed, yet it differs again: drift. Put back at once, but do not fight for ever.
            let soon = work
                .corrected_at
                .is_some_and(|at| now.millis_since(at) < FIGHT_WINDOW_MS);
            work.fights = if soon {
                work.fights.saturating_add(1)
            } else {
                0
            };
            work.corrected_at = Some(now);
            if work.fights > 0 {
                work.pause_until = Timestamp(now.0 + pause_ms(work.fights));
                work.failed_tree = tree;
            }
        }
        work.answered_sync = asked;
        work.in_flight = Some(now);
        work.inventory = Some(request.inventory.clone());
        let target = request.target.clone();
        if let Some(world) = self.worlds.get_mut(&target.cluster) {
            // The edge tells inventories once. Until the apply succeeds, what may be there is the union.
            let mut union = request.inventory_before.clone();
            union
                .installation
                .clone_from(&request.inventory.installation);
            union.entries.extend(request.inventory.entries.clone());
            let inventories = world.inventories.get_or_insert_default();
            inventories.insert(target.application.0.clone(), union);
        }
        effects.push(Effect::Apply(Box::new(request)));
        sync(SyncState::OutOfSync, "Applying", differs)
    }

    /// Why a target must be left alone now.
    fn not_to_be_touched(
        &mut self,
        now: Timestamp,
        target: &TargetKey,
        effects: &mut Vec<Effect>,
    ) -> Option<Look> {
        let application = self.application(&target.application)?.clone();
        let suspended =
            |reason: &str, message: &str| Some(Look::of(SyncState::Suspended, reason, message));
        if application.suspend {
            return suspended("SuspendedInGit", "spec.suspend is true");
        }
        let cluster_paused = self.fleets().any(|fleet| {
            fleet
                .clusters
                .get(&target.cluster)
                .is_some_and(|spec| spec.suspend)
        });
        if cluster_paused {
            return suspended("ClusterSuspended", "its Cluster has spec.suspend true");
        }
        if let Some(suspension) = self.suspension_of(&target.application) {
            return suspended("Suspended", &suspension);
        }
        let unknown =
            |reason: &str, message: String| Some(Look::of(SyncState::Unknown, reason, message));
        let sight = self
            .worlds
            .get(&target.cluster)
            .map(|world| world.sight.clone());
        let uid = match sight.unwrap_or_default() {
            Sight::Unknown => {
                return unknown("Connecting", format!("connecting {}", target.cluster));
            }
            Sight::Lost { reason } => {
                return Some(Look::of(SyncState::Unreachable, "Unreachable", reason));
            }
            Sight::Clear { uid } => uid,
        };
        match self.view.clusters.get(&target.cluster) {
            None => {
                let cluster = target.cluster.clone();
                let command = Command::RegisterCluster {
                    cluster: cluster.clone(),
                    uid,
                };
                self.propose(now, format!("cluster/{cluster}"), command, effects);
                return unknown(
                    "Registering",
                    format!("{cluster} is seen for the first time"),
                );
            }
            Some(known) if known.uid != uid => {
                let message = format!(
                    "{} had kube-system UID {}, now it has {uid}: another cluster answers",
                    target.cluster, known.uid
                );
                return Some(Look::of(SyncState::Blocked, "ClusterChanged", message));
            }
            Some(_) => {}
        }
        self.not_seen_whole(target, &application)
    }

    /// Why what is known of Git or the cluster is not complete. Missing is never empty.
    fn not_seen_whole(&self, target: &TargetKey, application: &Application) -> Option<Look> {
        let unknown =
            |reason: &str, message: String| Some(Look::of(SyncState::Unknown, reason, message));
        let head = self.view.heads.get(&application.repository)?;
        let tracked = self.tracked.get(&application.repository)?;
        if tracked.revision() != Some(&head.revision) {
            let why = tracked
                .unreadable
                .clone()
                .unwrap_or_else(|| "it is being read".to_owned());
            return unknown(
                "RevisionNotRead",
                format!("{}: {why}", head.revision.short()),
            );
        }
        if let Some((revision, reason)) = self.unreadable.get(&target.application) {
            let message = format!("{} at {}: {reason}", application.path, revision.short());
            return Some(Look::of(SyncState::Blocked, "SourceUnreadable", message));
        }
        let Some(tree) = tracked.tree(application) else {
            let message = format!(
                "{} has no directory {}",
                head.revision.short(),
                application.path
            );
            return Some(Look::of(SyncState::Blocked, "PathMissing", message));
        };
        let rendered = self.rendered.get(&target.application)?;
        if rendered.tree != *tree || rendered.application != *application {
            return unknown("NotReadYet", "its files are being read".to_owned());
        }
        let world = self.worlds.get(&target.cluster)?;
        let mut kinds = rendered.kinds.clone();
        kinds.extend(self.inventory_kinds(target));
        if world.inventories.is_none() || !world.has_listed(&kinds) {
            return unknown(
                "Listing",
                format!("{} is still being listed", target.cluster),
            );
        }
        None
    }

    fn tell(
        &mut self,
        now: Timestamp,
        target: &TargetKey,
        work: &mut Work,
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
        if let Some((revision, tree)) = look.in_sync_with {
            let same = before
                .applied
                .as_ref()
                .is_some_and(|applied| applied.tree == tree);
            if !same {
                status.applied = Some(AppliedInputs {
                    revision,
                    tree,
                    at: now,
                });
                work.health = None;
            }
        }
        self.judge_health(now, work, &mut status);
        if let Some(at) = verify::verify_revision(self, now, &mut status) {
            work.wake = work.wake.min(at);
        }
        if let Some(deadline) = work.dwell.next_deadline() {
            work.wake = work.wake.min(deadline);
        }
        if !says_the_same(&before, &status) {
            let command = Command::Report {
                status: Box::new(status.clone()),
            };
            self.propose(now, format!("report/{target}"), command, effects);
        }
        self.open_incident(now, &status, effects);
    }

    /// Health and findings from what is live; Unknown when it cannot be seen.
    fn judge_health(&self, now: Timestamp, work: &mut Work, status: &mut TargetStatus) {
        let visible = matches!(
            status.sync.state,
            SyncState::Synced | SyncState::OutOfSync | SyncState::Blocked
        );
        let parts = (
            self.rendered.get(&status.key.application),
            self.worlds.get(&status.key.cluster),
            self.application(&status.key.application),
        );
        let (true, (Some(rendered), Some(world), Some(application))) = (visible, parts) else {
            status.health = Health::Unknown;
            status.health_message.clone_from(&status.sync.message);
            work.health = None;
            status.health_since = now;
            return;
        };
        let (health, message) = worst(now, rendered, world);
        status.health = health;
        status.health_message = message;
        let since = match work.health {
            Some((known, since)) if known == health => since,
            _ => now,
        };
        work.health = Some((health, since));
        status.health_since = since;
        status.workloads = u32::try_from(rendered.inputs.len()).unwrap_or(u32::MAX);
        for (key, digest) in &rendered.inputs {
            let Some(workload) = world.live.get(key) else {
                continue;
            };
            let view = world.view_of(workload);
            let confirm_for = application.policy.confirm_for;
            for held in work.dwell.observe_view(&view, now, confirm_for) {
                if held.confirmation == regraft_detect::Confirmation::Confirmed {
                    let change = change_of(status, key, digest);
                    let (symptom, since) = (held.symptom, held.since);
                    status.findings.push(Finding {
                        symptom,
                        since,
                        change,
                    });
                }
            }
        }
    }

    fn step_retiring(
        &mut self,
        now: Timestamp,
        target: &TargetKey,
        work: &mut Work,
        effects: &mut Vec<Effect>,
    ) {
        let Some(retiring) = self.view.retiring.get(&target.application).cloned() else {
            return;
        };
        let suspended = self.suspension_of(&target.application);
        let world = self.worlds.get(&target.cluster);
        let ready = world.is_some_and(|world| {
            matches!(&world.sight, Sight::Clear { uid }
                if self.view.clusters.get(&target.cluster).is_none_or(|known| known.uid == *uid))
                && world.inventories.is_some()
                && world.has_listed(&self.inventory_kinds(target).collect())
        });
        let (Some(world), true, None) = (world, ready, suspended) else {
            return;
        };
        let inventories = world.inventories.as_ref();
        let inventory = inventories
            .and_then(|all| all.get(target.application.as_str()))
            .cloned();
        let inventory = inventory.unwrap_or_else(|| self.empty_inventory());
        let compared = Compared {
            live: &world.live,
            scaled: &world.scaled,
            known_equal: &work.known_equal,
        };
        let revision = self.view.heads.get(&retiring.application.repository);
        let revision = revision
            .map(|head| head.revision.clone())
            .unwrap_or_default();
        let deletion = retiring.application.deletion;
        let token = self.confirmed_token(target);
        let comparison = retire(target, &revision, deletion, &compared, &inventory, token);
        let look = judge_comparison(&comparison);
        match comparison.request {
            Some(mut request) => {
                request.inventory_before = inventory;
                self.apply(now, work, &target.application, false, request, effects);
            }
            None if comparison.blocked.is_empty() => {
                let command = Command::Retired {
                    target: target.clone(),
                };
                self.propose(now, format!("retired/{target}"), command, effects);
            }
            None => self.tell(now, target, work, look, effects),
        }
    }

    fn is_retiring(&self, target: &TargetKey) -> bool {
        let configured = self
            .application(&target.application)
            .is_some_and(|application| application.clusters.contains(&target.cluster));
        let retiring = self.view.retiring.get(&target.application);
        !configured && retiring.is_some_and(|it| it.clusters.contains(&target.cluster))
    }

    /// Why a person stopped work on an application.
    pub(crate) fn suspension_of(&self, application: &ApplicationName) -> Option<String> {
        let subjects = [Subject::All, Subject::Application(application.clone())];
        let suspension = subjects
            .iter()
            .find_map(|it| self.view.suspensions.get(it))?;
        Some(format!(
            "{} suspended {} at {}: {}",
            suspension.actor, suspension.subject, suspension.at, suspension.reason
        ))
    }

    fn confirmed_token(&self, target: &TargetKey) -> Option<&str> {
        self.view
            .confirmations
            .get(target)
            .map(|confirmation| confirmation.token.as_str())
    }

    fn empty_inventory(&self) -> Inventory {
        let installation = self.view.installation.clone().unwrap_or_default();
        Inventory {
            installation,
            entries: BTreeMap::new(),
        }
    }

    fn inventory_kinds(
        &self,
        target: &TargetKey,
    ) -> impl Iterator<Item = regraft_model::apply::KindVersion> {
        let inventories = self
            .worlds
            .get(&target.cluster)
            .and_then(|world| world.inventories.as_ref());
        let inventory = inventories.and_then(|all| all.get(target.application.as_str()));
        inventory
            .into_iter()
            .flat_map(|inventory| &inventory.entries)
            .map(|(key, api_version)| regraft_model::apply::KindVersion {
                api_version: api_version.clone(),
                kind: key.kind.clone(),
            })
    }

    fn answer_sync_request(&self, target: &TargetKey, work: &mut Work) {
        if let Some(request) = self.view.syncs.get(&target.application) {
            work.answered_sync = request.fence.0;
        }
    }
}

fn judge_comparison(comparison: &Comparison) -> Look {
    let Some(blocked) = comparison.blocked.first() else {
        return Look::of(SyncState::Synced, "Synced", "");
    };
    let messages: Vec<_> = comparison
        .blocked
        .iter()
        .map(|it| it.message.as_str())
        .collect();
    let mut look = Look::of(SyncState::Blocked, &blocked.reason, messages.join("; "));
    look.pending_deletion = comparison.blocked.iter().find_map(|it| {
        let token = it.token.clone()?;
        Some(PendingDeletion {
            token,
            objects: it.objects.clone(),
        })
    });
    look
}

/// The worst health among an application's objects, and who has it.
fn worst(now: Timestamp, rendered: &Rendered, world: &World) -> (Health, String) {
    let mut worst = (Health::Healthy, String::new());
    for desired in &rendered.objects {
        let key = desired.key();
        let (health, message) = match world.live.get(&key) {
            None => (Health::Missing, format!("{key} is not there")),
            Some(live) => {
                let verdict = judge(live, Profile::Regraft, now);
                (
                    verdict.health,
                    format!("{key}: {}: {}", verdict.reason, verdict.message),
                )
            }
        };
        if health > worst.0 {
            worst = (health, message);
        }
    }
    worst
}

fn change_of(status: &TargetStatus, workload: &ObjectKey, digest: &str) -> Change {
    match (
        &status.verified,
        status.verified_inputs.get(&workload.to_string()),
    ) {
        (None, _) => Change::Unknown,
        (Some(_), Some(verified)) if verified == digest => Change::Unchanged,
        (Some(_), _) => Change::Changed,
    }
}

fn failed(failures: &[ApplyFailure], differs: &str) -> SyncStatus {
    let Some(worst) = failures.iter().max_by_key(|failure| failure.retry) else {
        let message = format!("somebody else keeps changing it; backing off: {differs}");
        return sync(SyncState::OutOfSync, "Fighting", message);
    };
    let state = match worst.retry {
        Retry::Stalled => SyncState::Blocked,
        Retry::Transient | Retry::Waiting => SyncState::OutOfSync,
    };
    let told: Vec<_> = failures
        .iter()
        .map(|failure| match &failure.key {
            Some(key) => format!("{key}: {}: {}", failure.reason, failure.message),
            None => format!("{}: {}", failure.reason, failure.message),
        })
        .collect();
    sync(state, &worst.reason, told.join("; "))
}

fn sync(state: SyncState, reason: &str, message: impl Into<String>) -> SyncStatus {
    SyncStatus {
        state,
        reason: reason.to_owned(),
        message: message.into(),
    }
}

fn pause_ms(tries: u32) -> i64 {
    FIRST_PAUSE_MS
        .saturating_mul(1 << tries.saturating_sub(1).min(20))
        .min(MAX_PAUSE_MS)
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
