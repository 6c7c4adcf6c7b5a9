//! Incidents: opened where a failure is confirmed, carried through by their executor.
//!
//! Expected flow: OpenIncident -> History -> remedy decides -> Plan -> Acquire -> Commit -> verification -> End.
//! Guarantees: every step is taken from the replicated incident, so another member can take over at any point
//! (I11); a commit is asked for only in phase Locked, under a live lock (I2), on the plan's parent (I3); every
//! phase has a deadline (I8). A commit is asked for again until the branch has answered for certain: it was made
//! (the key is found) or it was lost (the tip moved). Only then is there another plan.
//! Assumptions: the runner checks the fence and the edge checks key and tip.

use crate::effect::{CountKind, Effect, Level};
use crate::lead::say;
use crate::{CONFIRMED_MS, Engine};
use regraft_model::InvariantId;
use regraft_model::config::Application;
use regraft_model::finding::{SyncState, TargetStatus};
use regraft_model::git::{CommitOutcome, CommitRequest, History, HistoryError};
use regraft_model::health::Health;
use regraft_model::id::{ApplicationName, BranchName, Fence, IncidentId, Scope, TargetKey};
use regraft_model::incident::{Incident, OutcomeKind, Phase};
use regraft_model::plan::{Delivery, Plan};
use regraft_model::source::{Revision, TreeId};
use regraft_model::time::{Seconds, Timestamp};
use regraft_remedy::{Case, Decision, decide, fingerprint, storm, undone};
use regraft_render::Scopes;
use regraft_state::command::{Command, Rejection, RejectionReason, Transition};
use regraft_state::record::Lock;

/// Pause before a commit whose outcome is not certain is asked for again.
const COMMIT_AGAIN_MS: i64 = 1000;
/// Pause before a decision that waits is taken again although nothing changed.
const DECIDE_AGAIN_MS: i64 = 5000;
/// How long a proposal waits for a person.
const REVIEW: Seconds = Seconds(24 * 3600);
/// An incident without a plan gives up after this many times the policy's rollout wait.
const OPEN_DEADLINE_FACTOR: u64 = 6;

/// What the executor remembers of an incident. All of it can be lost.
#[derive(Debug, Default)]
pub(crate) struct Work {
    history: Option<History>,
    asked: Option<(Revision, Revision)>,
    ask_again: Timestamp,
    decide_at: Timestamp,
    decided_for: Option<(Revision, u64)>,
    committing: Option<Timestamp>,
    commit_again: Timestamp,
    refused: Option<Rejection>,
}

impl Engine {
    /// Opens an incident, or joins one, for what a target's report confirms.
    pub(crate) fn open_incident(
        &mut self,
        now: Timestamp,
        status: &TargetStatus,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(first), Some(applied)) = (status.findings.first(), status.applied.clone()) else {
            return;
        };
        let Some(application) = self.application(&status.key.application).cloned() else {
            return;
        };
        let name = &status.key.application;
        if self
            .view
            .closed
            .contains_key(&(name.clone(), applied.tree.clone()))
        {
            return;
        }
        if let Some(open) = self.view.open_incident(name) {
            let known = open.targets.contains_key(&status.key.cluster);
            let ours = open.phase == Phase::Committed || open.suspect_tree != applied.tree;
            if known || ours {
                return;
            }
        }
        let Some(head) = self.view.heads.get(&application.repository) else {
            return;
        };
        let patience = application
            .policy
            .rollout_wait
            .0
            .saturating_mul(OPEN_DEADLINE_FACTOR);
        let command = Command::OpenIncident {
            application: name.clone(),
            repository: application.repository.clone(),
            branch: head.branch.clone(),
            class: first.symptom.class,
            seen_at: head.revision.clone(),
            suspect_tree: applied.tree,
            cluster: status.key.cluster.clone(),
            findings: status.findings.clone(),
            member: status.member,
            fence: status.fence,
            deadline: now.plus(Seconds(patience)),
        };
        self.propose(now, format!("open/{}", status.key), command, effects);
    }

    /// Carries on every incident this member executes.
    pub(crate) fn heal(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let me = self.settings.member;
        let mine: Vec<Incident> = self
            .view
            .incidents
            .values()
            .filter(|incident| incident.is_open() && incident.executor == me)
            .cloned()
            .collect();
        self.cases
            .retain(|id, _| mine.iter().any(|incident| incident.id == *id));
        for incident in &mine {
            self.step_incident(now, incident, effects);
        }
        self.look_for_vetoes(now, effects);
    }

    pub(crate) fn history_read(
        &mut self,
        now: Timestamp,
        id: &IncidentId,
        from: &Revision,
        to: &Revision,
        outcome: Result<History, HistoryError>,
    ) {
        let Some(work) = self.cases.get_mut(id) else {
            return;
        };
        if work.asked.as_ref() != Some(&(from.clone(), to.clone())) {
            return;
        }
        match outcome {
            Ok(history) => {
                work.history = Some(history);
                work.decide_at = now;
            }
            Err(HistoryError::Unreadable(_)) => work.ask_again = Timestamp(now.0 + COMMIT_AGAIN_MS),
            Err(HistoryError::Rewritten) => {
                work.refused = Some(Rejection {
                    reason: RejectionReason::HeadMoved,
                    message: format!("{} does not descend from {}", to.short(), from.short()),
                });
            }
            Err(HistoryError::TooLong { limit }) => {
                work.refused = Some(Rejection {
                    reason: RejectionReason::NotFound,
                    message: format!(
                        "more than {limit} commits changed it since {}",
                        from.short()
                    ),
                });
            }
        }
        self.dirty.everything = true;
    }

    pub(crate) fn commit_answered(
        &mut self,
        now: Timestamp,
        id: &IncidentId,
        key: &str,
        outcome: CommitOutcome,
        effects: &mut Vec<Effect>,
    ) {
        let Some(work) = self.cases.get_mut(id) else {
            return;
        };
        work.committing = None;
        work.commit_again = Timestamp(now.0 + COMMIT_AGAIN_MS);
        let Some(incident) = self.view.incidents.get(id).cloned() else {
            return;
        };
        let Some(plan) = incident.plan.clone().filter(|plan| plan.id.as_str() == key) else {
            return;
        };
        match (incident.phase, outcome) {
            (
                Phase::Locked,
                CommitOutcome::Committed(revision) | CommitOutcome::AlreadyThere(revision),
            ) => {
                let deadline = self.verify_deadline(now, &incident.application);
                let lock = incident.lock.unwrap_or_default();
                let transition = Transition::Commit {
                    revision,
                    lock,
                    deadline,
                };
                self.advance(now, &incident, transition, effects);
                // Everybody learns of the new head at the next poll; do not wait for it.
                if let Some(tracked) = self.tracked.get_mut(&incident.repository) {
                    tracked.asked_at = None;
                }
            }
            (
                Phase::Open,
                CommitOutcome::Committed(revision) | CommitOutcome::AlreadyThere(revision),
            ) => {
                let pushed_to = proposal_branch(&plan);
                let plan = Box::new(plan);
                let deadline = now.plus(REVIEW);
                let transition = Transition::Propose {
                    plan,
                    pushed_to,
                    revision,
                    deadline,
                };
                self.advance(now, &incident, transition, effects);
            }
            (Phase::Locked, CommitOutcome::Lost { tip }) => {
                effects.push(Effect::Count {
                    invariant: InvariantId::I3,
                    kind: CountKind::Prevented,
                });
                let message = format!("the tip moved to {}: planning again", tip.short());
                self.advance(now, &incident, Transition::Replan { message }, effects);
            }
            (Phase::Open, CommitOutcome::Lost { .. }) => work_again(self, id, now),
            (_, CommitOutcome::Failed { reason }) => {
                say(
                    effects,
                    Level::Warning,
                    id.as_str(),
                    format!("commit: {reason}"),
                );
            }
            _ => {}
        }
        self.dirty.everything = true;
    }

    /// Remembers a refusal that a step has to react to.
    pub(crate) fn note_refusal(&mut self, now: Timestamp, intent: &str, rejection: &Rejection) {
        let Some(id) = intent.strip_prefix("incident/") else {
            return;
        };
        if let Some(work) = self.cases.get_mut(&IncidentId::from(id)) {
            work.decide_at = Timestamp(now.0 + COMMIT_AGAIN_MS);
            if rejection.reason == RejectionReason::Busy {
                work.refused = Some(rejection.clone());
            }
        }
    }

    fn step_incident(&mut self, now: Timestamp, incident: &Incident, effects: &mut Vec<Effect>) {
        self.cases.entry(incident.id.clone()).or_default();
        if self.proposals.is_pending(now, &intent(incident)) {
            return;
        }
        let Some(application) = self.application(&incident.application).cloned() else {
            let message = "the application is not configured any more".to_owned();
            return self.end(
                now,
                incident,
                OutcomeKind::Superseded,
                message,
                vec![],
                effects,
            );
        };
        if now > incident.deadline {
            return self.give_up(now, incident, effects);
        }
        match incident.phase {
            Phase::Open => self.step_open(now, incident, &application, effects),
            Phase::Planned => self.step_planned(now, incident, &application, effects),
            Phase::Locked => self.step_locked(now, incident, &application, effects),
            Phase::Committed => self.step_committed(now, incident, &application, effects),
            Phase::Proposed => self.step_proposed(now, incident, &application, effects),
            Phase::Ended => {}
        }
    }

    fn step_open(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        application: &Application,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(message) = self.recovered(now, incident, application) {
            return self.end(
                now,
                incident,
                OutcomeKind::Recovered,
                message,
                vec![],
                effects,
            );
        }
        if let Some(refusal) = self.take_refusal(incident) {
            return self.escalate(now, incident, refusal.message, effects);
        }
        let Some(history) = self.history(now, incident, application, effects) else {
            return;
        };
        let due = self.cases.get(&incident.id).is_none_or(|work| {
            now >= work.decide_at || work.decided_for != Some((history.to.clone(), self.applied))
        });
        if due {
            self.decide_incident(now, incident, application, &history, effects);
        }
    }

    fn decide_incident(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        application: &Application,
        history: &History,
        effects: &mut Vec<Effect>,
    ) {
        let decision = self.decide_case(now, incident, application, history);
        let next = match &decision {
            Decision::Wait { until, .. } => (*until).min(Timestamp(now.0 + DECIDE_AGAIN_MS)),
            _ => Timestamp(now.0 + DECIDE_AGAIN_MS),
        };
        let applied = self.applied;
        if let Some(work) = self.cases.get_mut(&incident.id) {
            work.decide_at = next;
            work.decided_for = Some((history.to.clone(), applied));
        }
        self.follow(now, incident, decision, application, effects);
    }

    fn follow(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        decision: Decision,
        application: &Application,
        effects: &mut Vec<Effect>,
    ) {
        match decision {
            Decision::Act(plan) => self.act(now, incident, plan, application, effects),
            Decision::Wait { reason, .. } => self.wait(now, incident, "Waiting", reason, effects),
            Decision::AlreadyCommitted { revision } => {
                let deadline = self.verify_deadline(now, &incident.application);
                let transition = Transition::Adopt { revision, deadline };
                self.advance(now, incident, transition, effects);
            }
            Decision::Superseded { by, reason } => {
                let message = format!("{}: {reason}", by.short());
                self.end(
                    now,
                    incident,
                    OutcomeKind::Superseded,
                    message,
                    vec![],
                    effects,
                );
            }
            Decision::Escalate {
                reason_word,
                reason,
                ..
            } => {
                self.escalate(now, incident, format!("{reason_word}: {reason}"), effects);
            }
        }
    }

    fn act(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        plan: Box<Plan>,
        application: &Application,
        effects: &mut Vec<Effect>,
    ) {
        match plan.delivery {
            Delivery::Push => {
                let deadline = now.plus(application.policy.verify_deadline);
                self.advance(now, incident, Transition::Plan { plan, deadline }, effects);
            }
            Delivery::Observe => {
                let message = format!(
                    "would commit {} of {} files on {}",
                    plan.action,
                    plan.edits.len(),
                    plan.parent.short()
                );
                if incident.waits_for != message {
                    let reason = "WouldAct".to_owned();
                    let transition = Transition::Wait {
                        reason,
                        message,
                        plan: Some(plan),
                    };
                    self.advance(now, incident, transition, effects);
                }
            }
            Delivery::Propose => {
                // The commit's answer is taken by the plan the incident carries: record it first.
                if incident.plan.as_ref() == Some(&*plan) {
                    let push_to = proposal_branch(&plan);
                    self.commit(now, incident, &plan, push_to, None, effects);
                } else {
                    let message = format!("pushing {} for review", proposal_branch(&plan));
                    let reason = "Proposing".to_owned();
                    let transition = Transition::Wait {
                        reason,
                        message,
                        plan: Some(plan),
                    };
                    self.advance(now, incident, transition, effects);
                }
            }
        }
    }

    fn step_planned(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        application: &Application,
        effects: &mut Vec<Effect>,
    ) {
        let Some(plan) = &incident.plan else {
            return;
        };
        if let Some(message) = self.recovered(now, incident, application) {
            return self.end(
                now,
                incident,
                OutcomeKind::Recovered,
                message,
                vec![],
                effects,
            );
        }
        if self.head_of(incident).as_ref() != Some(&plan.parent) {
            let message = "the head moved before the lock was granted".to_owned();
            return self.advance(now, incident, Transition::Replan { message }, effects);
        }
        if let Some(refusal) = self.take_refusal(incident) {
            let message = format!("the lock is not free: {}", refusal.message);
            return self.advance(now, incident, Transition::Replan { message }, effects);
        }
        let policy = &application.policy;
        let command = Command::Acquire {
            incident: incident.id.clone(),
            fence: incident.executor_fence,
            plan: plan.id.clone(),
            scope: Scope::Application(incident.application.clone()),
            lease: policy.lock_lease,
            budget: policy.max_concurrent_repairs,
        };
        self.propose(now, intent(incident), command, effects);
    }

    fn step_locked(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        application: &Application,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(plan), Some(lock)) = (&incident.plan, self.view.locks.get(&incident.id).cloned())
        else {
            let message = "the lock is gone".to_owned();
            return self.advance(now, incident, Transition::Replan { message }, effects);
        };
        if self.keep_lock(now, incident, application, &lock, effects) == Keeping::Renewing {
            return;
        }
        if let Some(refusal) = self.take_refusal(incident) {
            let message = format!("the lock was lost: {}", refusal.message);
            return self.advance(now, incident, Transition::Replan { message }, effects);
        }
        let plan = plan.clone();
        let push_to = plan.branch.clone();
        self.commit(now, incident, &plan, push_to, Some(lock.fence), effects);
    }

    /// Waits until the repair is applied and healthy everywhere for the window.
    fn step_committed(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        application: &Application,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(plan), Some(committed)) = (&incident.plan, &incident.committed) else {
            return;
        };
        if let Some(lock) = self.view.locks.get(&incident.id).cloned() {
            self.keep_lock(now, incident, application, &lock, effects);
        }
        let head = self.head_of(incident);
        if head.as_ref() == Some(&plan.parent) || head.is_none() {
            return;
        }
        let Some(tree) = self.head_tree(application) else {
            return;
        };
        if tree == incident.suspect_tree {
            // Told apart from a late reading by the history: see `look_for_vetoes`.
            return;
        }
        let mut healthy_since = incident.phase_since;
        for cluster in &application.clusters {
            let key = TargetKey {
                application: application.name.clone(),
                cluster: cluster.clone(),
            };
            let Some(status) = self.view.statuses.get(&key) else {
                return;
            };
            let applied = status
                .applied
                .as_ref()
                .filter(|applied| applied.tree == tree);
            let Some(applied) = applied else {
                return;
            };
            if !status.findings.is_empty() {
                let message = format!(
                    "{} is applied in {cluster} and it still fails; it stays, for it is the last state that \
                     was verified",
                    committed.short()
                );
                let closed = vec![incident.suspect_tree.clone(), tree];
                return self.end(
                    now,
                    incident,
                    OutcomeKind::Escalated,
                    message,
                    closed,
                    effects,
                );
            }
            if status.sync.state != SyncState::Synced || status.health != Health::Healthy {
                return;
            }
            healthy_since = healthy_since.max(status.health_since).max(applied.at);
        }
        if now >= healthy_since.plus(application.policy.verify_for) {
            let message = format!(
                "{} is applied and healthy in {} clusters for {}",
                committed.short(),
                application.clusters.len(),
                application.policy.verify_for
            );
            self.end(
                now,
                incident,
                OutcomeKind::Verified,
                message,
                vec![],
                effects,
            );
        }
    }

    fn step_proposed(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        application: &Application,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(message) = self.recovered(now, incident, application) {
            return self.end(
                now,
                incident,
                OutcomeKind::Recovered,
                message,
                vec![],
                effects,
            );
        }
        let tree = self.head_tree(application);
        if tree.is_some_and(|tree| tree != incident.suspect_tree) {
            let message = "a commit changed the application's files".to_owned();
            return self.end(
                now,
                incident,
                OutcomeKind::Superseded,
                message,
                vec![],
                effects,
            );
        }
        if incident.approval.is_none() {
            return;
        }
        let Some(history) = self.history(now, incident, application, effects) else {
            return;
        };
        match self.decide_case(now, incident, application, &history) {
            Decision::Act(plan) if plan.delivery != Delivery::Push => {
                let message = format!("approved, but the plan now is {:?}", plan.delivery);
                self.wait(now, incident, "Waiting", message, effects);
            }
            decision => self.follow(now, incident, decision, application, effects),
        }
    }

    fn decide_case(
        &self,
        now: Timestamp,
        incident: &Incident,
        application: &Application,
        history: &History,
    ) -> Decision {
        let frozen = self.frozen(application);
        let suspended = self.suspension_of(&application.name);
        let incidents: Vec<&Incident> = self.view.incidents.values().collect();
        let vetoes = self.view.vetoes.keys().cloned().collect();
        let closed = self.view.closed.keys().cloned().collect();
        let storm = storm(&self.view.statuses, &application.policy, now);
        let fleet = self.effective.get(&application.repository);
        let fleet = fleet
            .map(|effective| effective.fleet.clone())
            .unwrap_or_default();
        decide(&Case {
            now,
            incident,
            application,
            fleet: &fleet,
            history,
            scopes: &Scopes::default(),
            statuses: &self.view.statuses,
            incidents: &incidents,
            vetoes: &vetoes,
            closed: &closed,
            suspended: suspended.as_deref(),
            frozen: frozen.as_deref(),
            storm: storm.as_ref(),
        })
    }

    /// The history from the last inputs that were good in every target of the incident up to the head.
    fn history(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        application: &Application,
        effects: &mut Vec<Effect>,
    ) -> Option<History> {
        let to = self.head_of(incident)?;
        if self.tracked.get(&incident.repository)?.revision() != Some(&to) {
            return None;
        }
        // Never verified here: the history is empty, and remedy says that nothing can be told (I7).
        let verified = incident.targets.keys().filter_map(|cluster| {
            let key = TargetKey {
                application: application.name.clone(),
                cluster: cluster.clone(),
            };
            self.view.statuses.get(&key)?.verified.clone()
        });
        let verified = verified.min_by_key(|verified| verified.at);
        let from = verified.map_or_else(|| to.clone(), |verified| verified.revision);
        let work = self.cases.entry(incident.id.clone()).or_default();
        if let Some(history) = &work.history
            && history.from == from
            && history.to == to
        {
            return Some(history.clone());
        }
        let question = Some((from.clone(), to.clone()));
        if work.asked != question || now >= work.ask_again {
            work.asked = question;
            work.ask_again = Timestamp(now.0 + crate::ASK_AGAIN_MS);
            effects.push(Effect::History {
                incident: incident.id.clone(),
                repository: incident.repository.clone(),
                from,
                to,
                path: application.path.clone(),
            });
        }
        None
    }

    fn commit(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        plan: &Plan,
        push_to: BranchName,
        lock: Option<Fence>,
        effects: &mut Vec<Effect>,
    ) {
        let confirmed = self.is_confirmed(now);
        let Some(work) = self.cases.get_mut(&incident.id) else {
            return;
        };
        let under_way = work
            .committing
            .is_some_and(|since| now.millis_since(since) < crate::ASK_AGAIN_MS * 4);
        if under_way || now < work.commit_again || !confirmed {
            return;
        }
        work.committing = Some(now);
        effects.push(Effect::Commit {
            incident: incident.id.clone(),
            lock,
            request: Box::new(CommitRequest {
                repository: plan.repository.clone(),
                branch: plan.branch.clone(),
                push_to,
                parent: plan.parent.clone(),
                edits: plan.edits.clone(),
                message: plan.message.clone(),
                key: plan.id.0.clone(),
                search_from: plan.restores.clone(),
            }),
        });
    }

    /// Renews the lock in good time.
    fn keep_lock(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        application: &Application,
        lock: &Lock,
        effects: &mut Vec<Effect>,
    ) -> Keeping {
        let lease = application.policy.lock_lease;
        let left = lock.expires_at.0.saturating_sub(now.0);
        if left > lease.as_millis() / 2 {
            return Keeping::Held;
        }
        let command = Command::Renew {
            incident: incident.id.clone(),
            fence: incident.executor_fence,
            lease,
        };
        self.propose(now, format!("renew/{}", incident.id), command, effects);
        if left > CONFIRMED_MS {
            Keeping::Held
        } else {
            Keeping::Renewing
        }
    }

    /// Whether what failed works again without us.
    fn recovered(
        &self,
        now: Timestamp,
        incident: &Incident,
        application: &Application,
    ) -> Option<String> {
        if incident.targets.is_empty() {
            return None;
        }
        for cluster in incident.targets.keys() {
            let key = TargetKey {
                application: application.name.clone(),
                cluster: cluster.clone(),
            };
            let status = self.view.statuses.get(&key)?;
            let same = status
                .applied
                .as_ref()
                .is_some_and(|applied| applied.tree == incident.suspect_tree);
            let well = same
                && status.health == Health::Healthy
                && status.sync.state == SyncState::Synced
                && status.findings.is_empty()
                && now >= status.health_since.plus(application.policy.confirm_for);
            if !well {
                return None;
            }
        }
        Some("every cluster that showed it is healthy again with the same inputs".to_owned())
    }

    /// Why healing of an application's repository stands still.
    fn frozen(&self, application: &Application) -> Option<String> {
        let head = self.view.heads.get(&application.repository)?;
        if let Some(reason) = &head.frozen {
            return Some(reason.clone());
        }
        let effective = self.effective.get(&application.repository)?;
        let why = effective.kept.get(&application.name)?;
        Some(format!(
            "its configuration is broken, the last valid one holds: {why}"
        ))
    }

    /// Finds repairs of ours that somebody put back (I9).
    fn look_for_vetoes(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut found = Vec::new();
        for incident in self.view.incidents.values() {
            let (Some(plan), Some(committed)) = (&incident.plan, &incident.committed) else {
                continue;
            };
            let Some(rendered) = self.rendered.get(&incident.application) else {
                continue;
            };
            // Heads only move on: one that is neither the plan's parent nor our commit came after both.
            let head = self.view.heads.get(&incident.repository);
            let later = head.is_some_and(|head| {
                head.revision != plan.parent && head.revision != *committed && head.frozen.is_none()
            });
            let current = self
                .application(&incident.application)
                .and_then(|application| self.head_tree(application))
                .is_some_and(|tree| tree == rendered.tree);
            if !later || !current || !undone(plan, &rendered.files) {
                continue;
            }
            let print = fingerprint(&plan.edits);
            if let (Some(head), false) = (head, self.view.vetoes.contains_key(&print)) {
                found.push((incident.id.clone(), print, head.revision.clone()));
            }
        }
        for (incident, fingerprint, revision) in found {
            effects.push(Effect::Count {
                invariant: InvariantId::I9,
                kind: CountKind::Prevented,
            });
            let intent = format!("veto/{incident}");
            let command = Command::RecordVeto {
                incident,
                fingerprint,
                revision,
            };
            self.propose(now, intent, command, effects);
        }
    }

    fn give_up(&mut self, now: Timestamp, incident: &Incident, effects: &mut Vec<Effect>) {
        let message = match incident.waits_for.as_str() {
            "" => format!("its deadline in phase {} passed", incident.phase),
            waits_for => format!("its deadline passed; it waited: {waits_for}"),
        };
        let shadow = incident
            .plan
            .as_ref()
            .is_some_and(|plan| plan.delivery == Delivery::Observe);
        if incident.phase == Phase::Open && shadow {
            let closed = vec![incident.suspect_tree.clone()];
            return self.end(
                now,
                incident,
                OutcomeKind::Expired,
                message,
                closed,
                effects,
            );
        }
        self.escalate(now, incident, message, effects);
    }

    fn escalate(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        message: String,
        effects: &mut Vec<Effect>,
    ) {
        let closed = vec![incident.suspect_tree.clone()];
        self.end(
            now,
            incident,
            OutcomeKind::Escalated,
            message,
            closed,
            effects,
        );
    }

    fn end(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        outcome: OutcomeKind,
        message: String,
        closed: Vec<TreeId>,
        effects: &mut Vec<Effect>,
    ) {
        if self.proposals.is_pending(now, &intent(incident)) {
            return;
        }
        let level = if outcome == OutcomeKind::Escalated {
            Level::Page
        } else {
            Level::Info
        };
        say(
            effects,
            level,
            incident.id.as_str(),
            format!("{outcome}: {message}"),
        );
        let transition = Transition::End {
            outcome,
            message,
            closed,
        };
        self.advance(now, incident, transition, effects);
    }

    fn wait(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        reason: &str,
        message: String,
        effects: &mut Vec<Effect>,
    ) {
        if incident.waits_for != message {
            let reason = reason.to_owned();
            let transition = Transition::Wait {
                reason,
                message,
                plan: None,
            };
            self.advance(now, incident, transition, effects);
        }
    }

    fn advance(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        transition: Transition,
        effects: &mut Vec<Effect>,
    ) {
        let command = Command::Advance {
            incident: incident.id.clone(),
            fence: incident.executor_fence,
            transition: Box::new(transition),
        };
        self.propose(now, intent(incident), command, effects);
    }

    fn take_refusal(&mut self, incident: &Incident) -> Option<Rejection> {
        self.cases.get_mut(&incident.id)?.refused.take()
    }

    fn head_of(&self, incident: &Incident) -> Option<Revision> {
        self.view
            .heads
            .get(&incident.repository)
            .map(|head| head.revision.clone())
    }

    /// The application's tree at the recorded head, when that is read.
    fn head_tree(&self, application: &Application) -> Option<TreeId> {
        let head = self.view.heads.get(&application.repository)?;
        let tracked = self.tracked.get(&application.repository)?;
        (tracked.revision() == Some(&head.revision)).then(|| tracked.tree(application).cloned())?
    }

    fn verify_deadline(&self, now: Timestamp, application: &ApplicationName) -> Timestamp {
        let policy = self
            .application(application)
            .map(|it| it.policy.clone())
            .unwrap_or_default();
        now.plus(policy.verify_for).plus(policy.verify_deadline)
    }
}

/// Whether a lock can be relied on right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    Held,
    Renewing,
}

fn work_again(engine: &mut Engine, id: &IncidentId, now: Timestamp) {
    if let Some(work) = engine.cases.get_mut(id) {
        work.decide_at = now;
        work.decided_for = None;
    }
}

fn proposal_branch(plan: &Plan) -> BranchName {
    BranchName(format!("regraft/{}", plan.id))
}

fn intent(incident: &Incident) -> String {
    format!("incident/{}", incident.id)
}
