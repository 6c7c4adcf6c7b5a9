//! From a plan to a commit: what phases Planned and Locked do.
//!
//! Guarantees: a commit is asked for only under a live lock (I2) and on the plan's parent (I3).

use super::{COMMIT_FORGOTTEN_MS, REVIEW, Step, TRY_AGAIN_MS, intent, wait};
use crate::effect::{Effect, Level, prevented, say};
use crate::intent::Intent;
use crate::planted::Bug;
use crate::{CONFIRMED_MS, Engine};
use regraft_model::InvariantId;
use regraft_model::git::{CommitOutcome, CommitRequest};
use regraft_model::id::{BranchName, Fence, IncidentId, LockScope};
use regraft_model::incident::{Incident, Phase};
use regraft_model::plan::{Delivery, Plan};
use regraft_model::time::Timestamp;
use regraft_remedy::PLAN_TRAILER;
use regraft_state::command::{Command, LockRequest, Transition};
use regraft_state::record::Lock;

impl Engine {
    pub(super) fn step_planned(&mut self, step: &mut Step<'_>) -> Option<Transition> {
        let (incident, application) = (step.incident, step.application);
        let plan = incident.plan.as_ref()?;
        if self.head_of(incident).as_ref() != Some(&plan.parent) {
            return Some(replan("the head moved before the lock was granted"));
        }
        if let Some(refusal) = self.take_refusal(incident) {
            let message = format!("the lock is not free: {}", refusal.message);
            return Some(replan(message));
        }
        if let Some(reason) = self.hands_off(step) {
            return Some(replan(reason));
        }
        let policy = &application.policy;
        let command = Command::Acquire(LockRequest {
            incident: incident.id.clone(),
            fence: incident.executor_fence,
            plan: plan.id.clone(),
            scope: LockScope::Application(incident.application.clone()),
            lease: policy.lock_lease,
            budget: policy.max_concurrent_repairs,
        });
        self.propose(step.now, intent(incident), command, step.effects);
        None
    }

    pub(super) fn step_locked(&mut self, step: &mut Step<'_>) -> Option<Transition> {
        let incident = step.incident;
        let (Some(plan), Some(lock)) = (&incident.plan, self.view.locks.get(&incident.id).cloned())
        else {
            return Some(replan("the lock is gone"));
        };
        let keeping = self.keep_lock(step, &lock);
        if let Some(refusal) = self.take_refusal(incident) {
            let message = format!("the lock was lost: {}", refusal.message);
            return Some(replan(message));
        }
        match keeping {
            Keeping::Held => {}
            Keeping::Renewing => return None,
            Keeping::ClocksDiffer => {
                let message = format!(
                    "by the clock of member {} the lock is over though it was renewed just now: its clock and the leader's \
                     are too far apart; set both by NTP",
                    incident.executor
                );
                return wait(step, message, vec![]);
            }
        }
        // What is on its way to the remote cannot be called back; what is not yet must not leave.
        if !self.is_committing(step.now, &incident.id)
            && let Some(reason) = self.hands_off(step)
        {
            return Some(replan(reason));
        }
        let push_to = plan.branch.clone();
        self.commit(step, plan, push_to, Some(lock.fence));
        None
    }

    pub(super) fn commit(
        &mut self,
        step: &mut Step<'_>,
        plan: &Plan,
        push_to: BranchName,
        lock: Option<Fence>,
    ) {
        let (now, incident) = (step.now, step.incident);
        let (confirmed, under_way) = (
            self.is_confirmed(now),
            self.is_committing(now, &incident.id),
        );
        let Some(memory) = self.cases.get_mut(&incident.id) else {
            return;
        };
        if under_way || now < memory.commit_again || !confirmed {
            return;
        }
        memory.committing = Some(now);
        let (key, message) = self.key_and_message(plan);
        step.effects.push(Effect::Commit {
            incident: incident.id.clone(),
            lock,
            request: Box::new(CommitRequest {
                repository: plan.repository.clone(),
                branch: plan.branch.clone(),
                push_to,
                parent: plan.parent.clone(),
                edits: plan.edits.clone(),
                message,
                key,
                installation: plan.installation.clone(),
                search_from: plan.restores.clone(),
            }),
        });
    }

    pub(crate) fn commit_answered(
        &mut self,
        now: Timestamp,
        id: &IncidentId,
        key: &str,
        outcome: CommitOutcome,
        effects: &mut Vec<Effect>,
    ) {
        let Some(memory) = self.cases.get_mut(id) else {
            return;
        };
        memory.committing = None;
        memory.commit_again = Timestamp(now.0 + TRY_AGAIN_MS);
        let Some(incident) = self.view.incidents.get(id).cloned() else {
            return;
        };
        let Some(plan) = incident
            .plan
            .clone()
            .filter(|plan| self.key_and_message(plan).0 == key)
        else {
            return;
        };
        if matches!(outcome, CommitOutcome::AlreadyThere(_)) {
            effects.push(prevented(InvariantId::I11));
        }
        if let Some(transition) = self.after_commit(now, &incident, plan, outcome, effects) {
            self.advance(now, &incident, transition, effects);
        }
        self.dirty.everything = true;
    }

    fn after_commit(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        plan: Plan,
        outcome: CommitOutcome,
        effects: &mut Vec<Effect>,
    ) -> Option<Transition> {
        match (incident.phase, outcome) {
            (
                Phase::Locked,
                CommitOutcome::Committed(revision) | CommitOutcome::AlreadyThere(revision),
            ) => {
                // Everybody learns of the new head at the next poll; do not wait for it.
                if let Some(tracked) = self.tracked.get_mut(&incident.repository) {
                    tracked.asked_at = None;
                }
                Some(Transition::Commit {
                    revision,
                    lock: incident.lock.unwrap_or_default(),
                    deadline: self.verify_deadline(now, &incident.application),
                })
            }
            (
                Phase::Open,
                CommitOutcome::Committed(revision) | CommitOutcome::AlreadyThere(revision),
            ) if plan.delivery == Delivery::Propose => Some(Transition::Propose {
                pushed_to: proposal_branch(&plan),
                plan: Box::new(plan),
                revision,
                deadline: now.plus(REVIEW),
            }),
            (Phase::Locked, CommitOutcome::Lost { tip }) => {
                effects.push(prevented(InvariantId::I3));
                let message = format!("the tip moved to {}: planning again", tip.short());
                Some(replan(message))
            }
            (Phase::Open, CommitOutcome::Lost { .. }) => {
                if let Some(memory) = self.cases.get_mut(&incident.id) {
                    memory.decide_at = now;
                    memory.decided_for = None;
                }
                None
            }
            (_, CommitOutcome::Failed { reason }) => {
                let told = format!("commit: {reason}");
                say(effects, Level::Warning, incident.id.as_str(), told);
                None
            }
            _ => None,
        }
    }

    /// Whether a commit was asked for and is not answered yet.
    fn is_committing(&self, now: Timestamp, id: &IncidentId) -> bool {
        let since = self.cases.get(id).and_then(|memory| memory.committing);
        since.is_some_and(|since| now.millis_since(since) < COMMIT_FORGOTTEN_MS)
    }

    /// Why a plan that passed every guard must not be carried out any more: guards are about a moment, and a storm or a
    /// person may come between the plan and its commit (I10).
    fn hands_off(&self, step: &mut Step<'_>) -> Option<String> {
        let application = step.application;
        if application.suspend {
            return Some("suspended in its configuration".to_owned());
        }
        let held = self.suspension_of(&application.name);
        if let Some(reason) = held.or_else(|| self.frozen(application)) {
            return Some(reason);
        }
        let storm = self.storm(step.now, application)?;
        step.effects.push(prevented(InvariantId::I10));
        Some(storm.reason)
    }

    /// What the branch is searched for before committing, and the message that carries it as a trailer.
    fn key_and_message(&self, plan: &Plan) -> (String, String) {
        let (key, message) = (plan.id.0.clone(), plan.message.clone());
        if !self.is_planted(Bug::DoubleRevertAfterCrash) {
            return (key, message);
        }
        let another = format!("{key}.{}", self.settings.member);
        let trailer = |key: &str| format!("{PLAN_TRAILER}: {key}\n");
        let message = message.replace(&trailer(&key), &trailer(&another));
        (another, message)
    }

    /// Renews the lock in good time.
    pub(super) fn keep_lock(&mut self, step: &mut Step<'_>, lock: &Lock) -> Keeping {
        let (now, incident) = (step.now, step.incident);
        let lease = step.application.policy.lock_lease;
        let left = lock.expires_at.0.saturating_sub(now.0);
        if left > lease.as_millis() / 2 {
            return Keeping::Held;
        }
        let Some(memory) = self.cases.get_mut(&incident.id) else {
            return Keeping::Renewing;
        };
        let holds = left > CONFIRMED_MS;
        // The lease goes by the leader's clock: where this one is ahead, what was just renewed looks half over.
        let just_asked = |at: Timestamp| now.millis_since(at) < lease.as_millis() / 3;
        match memory.renewed {
            Some((at, _)) if just_asked(at) && holds => return Keeping::Held,
            Some((at, until)) if just_asked(at) && until < lock.expires_at => {
                return Keeping::ClocksDiffer;
            }
            Some((at, _)) if just_asked(at) => return Keeping::Renewing,
            _ => memory.renewed = Some((now, lock.expires_at)),
        }
        let command = Command::Renew {
            incident: incident.id.clone(),
            fence: incident.executor_fence,
            lease,
        };
        let intent = Intent::Renew(incident.id.clone());
        self.propose(now, intent, command, step.effects);
        match holds {
            true => Keeping::Held,
            false => Keeping::Renewing,
        }
    }
}

/// Whether a lock can be relied on right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    Held,
    Renewing,
    /// It was renewed just now, and by this member's clock it is over all the same.
    ClocksDiffer,
}

fn replan(message: impl Into<String>) -> Transition {
    let message = message.into();
    Transition::Replan { message }
}

pub(super) fn proposal_branch(plan: &Plan) -> BranchName {
    BranchName(format!("regraft/{}", plan.id))
}
