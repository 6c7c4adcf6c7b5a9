//! From evidence to a plan: what phases Open and Proposed do.

use super::commit::proposal_branch;
use super::{DECIDE_AGAIN_MS, PUSH_DEADLINE, Step, count_guards, end, wait};
use crate::Engine;
use crate::effect::{Effect, prevented};
use crate::planted::Bug;
use regraft_model::InvariantId;
use regraft_model::config::Application;
use regraft_model::finding::{SyncState, TargetStatus};
use regraft_model::git::History;
use regraft_model::health::Health;
use regraft_model::id::TargetKey;
use regraft_model::incident::{Incident, OutcomeKind};
use regraft_model::plan::{Delivery, Plan};
use regraft_model::source::Revision;
use regraft_model::text::counted;
use regraft_model::time::Timestamp;
use regraft_remedy::{Case, Decision, Storm, decide, storm};
use regraft_state::command::Transition;
use std::borrow::Cow;
use std::collections::BTreeMap;

impl Engine {
    pub(super) fn step_open(&mut self, step: &mut Step<'_>) -> Option<Transition> {
        let (now, incident) = (step.now, step.incident);
        // A lock that was refused to an earlier plan says nothing about the next one.
        self.take_refusal(incident);
        let case = self.cases.get_mut(&incident.id);
        if let Some(message) = case.and_then(|memory| memory.no_history.take()) {
            let closed = vec![incident.suspect_tree.clone()];
            return Some(end(OutcomeKind::Escalated, message, closed));
        }
        let history = self.history(step)?;
        let seen = Some((history.to.clone(), self.applied));
        let case = self.cases.get(&incident.id);
        if case.is_some_and(|memory| now < memory.decide_at && memory.decided_for == seen) {
            return None;
        }
        let decision = self.decide_case(step, &history);
        let again = Timestamp(now.0 + DECIDE_AGAIN_MS);
        if let Some(memory) = self.cases.get_mut(&incident.id) {
            memory.decide_at = match &decision {
                Decision::Wait { until, .. } => again.min(*until),
                _ => again,
            };
            memory.decided_for = seen;
        }
        self.follow(step, decision)
    }

    pub(super) fn step_proposed(&mut self, step: &mut Step<'_>) -> Option<Transition> {
        let incident = step.incident;
        let tree = self.head_tree(step.application);
        if tree.is_some_and(|tree| tree != incident.suspect_tree) {
            let message = "a commit changed the application's files".to_owned();
            return Some(end(OutcomeKind::Superseded, message, vec![]));
        }
        incident.approval.as_ref()?;
        let history = self.history(step)?;
        match self.decide_case(step, &history) {
            Decision::Act(plan) if plan.delivery != Delivery::Push => {
                let message = format!("approved, but the plan now is to {}", plan.delivery);
                wait(step, message, plan.guards)
            }
            decision => self.follow(step, decision),
        }
    }

    fn follow(&mut self, step: &mut Step<'_>, decision: Decision) -> Option<Transition> {
        let incident = step.incident;
        match decision {
            Decision::Act(plan) => self.act(step, plan),
            Decision::Wait {
                message, guards, ..
            } => wait(step, message, guards),
            Decision::AlreadyCommitted { revision } => {
                step.effects.push(prevented(InvariantId::I11));
                let deadline = self.verify_deadline(step.now, &incident.application);
                Some(Transition::Adopt { revision, deadline })
            }
            Decision::Superseded { by, message } => {
                let message = format!("{}: {message}", by.short());
                Some(end(OutcomeKind::Superseded, message, vec![]))
            }
            Decision::Escalate {
                reason,
                message,
                guards,
                rejected,
            } => {
                count_guards(&guards, step.effects);
                Some(Transition::End {
                    outcome: OutcomeKind::Escalated,
                    message: format!("{reason}: {message}"),
                    closed: vec![incident.suspect_tree.clone()],
                    guards,
                    rejected,
                })
            }
        }
    }

    fn act(&mut self, step: &mut Step<'_>, plan: Box<Plan>) -> Option<Transition> {
        let incident = step.incident;
        let delivery = match plan.delivery {
            Delivery::Propose if self.is_planted(Bug::ConsentIgnored) => Delivery::Push,
            delivery => delivery,
        };
        match delivery {
            Delivery::Push => {
                let deadline = step.now.plus(PUSH_DEADLINE);
                Some(Transition::Plan { plan, deadline })
            }
            Delivery::Observe => {
                let message = format!(
                    "would commit {} of {} on {}",
                    plan.action,
                    counted(plan.edits.len(), "file"),
                    plan.parent.short()
                );
                (incident.waits_for != message).then(|| with_plan("WouldAct", message, plan))
            }
            // The commit's answer is taken by the plan the incident carries: record it first.
            Delivery::Propose if incident.plan.as_ref() != Some(&*plan) => {
                let message = format!("pushing {} for review", proposal_branch(&plan));
                Some(with_plan("Proposing", message, plan))
            }
            Delivery::Propose => {
                let push_to = proposal_branch(&plan);
                self.commit(step, &plan, push_to, None);
                None
            }
        }
    }

    fn decide_case(&self, step: &Step<'_>, history: &History) -> Decision {
        let Step {
            now,
            incident,
            application,
            ..
        } = *step;
        let frozen = self.frozen(application);
        let suspended = self.suspension_of(&application.name);
        let incidents = self.told_incidents();
        let incidents: Vec<&Incident> = incidents.values().collect();
        let vetoes = self.view.vetoes.keys().cloned().collect();
        let closed = self.view.closed.keys().cloned().collect();
        let storm = self.storm(now, application);
        let statuses = self.statuses();
        let history = self.told(incident, history);
        let fleet = self.effective.get(&application.repository);
        let fleet = fleet
            .map(|effective| effective.fleet.clone())
            .unwrap_or_default();
        decide(&Case {
            now,
            installation: self.view.installation.as_deref().unwrap_or_default(),
            incident,
            application,
            fleet: &fleet,
            history: &history,
            statuses: &statuses,
            incidents: &incidents,
            vetoes: &vetoes,
            closed: &closed,
            suspended: suspended.as_deref(),
            frozen: frozen.as_deref(),
            storm: storm.as_ref(),
        })
    }

    pub(super) fn storm(&self, now: Timestamp, application: &Application) -> Option<Storm> {
        storm(&self.view.statuses, &application.policy, now)
            .filter(|_| !self.is_planted(Bug::StormIgnored))
    }

    /// Where every target stands.
    fn statuses(&self) -> Cow<'_, BTreeMap<TargetKey, TargetStatus>> {
        if !self.is_planted(Bug::ActOnUnknown) {
            return Cow::Borrowed(&self.view.statuses);
        }
        let mut statuses = self.view.statuses.clone();
        for status in statuses.values_mut() {
            if matches!(
                status.sync.state,
                SyncState::Unknown | SyncState::Unreachable
            ) {
                status.sync.state = SyncState::Synced;
            }
        }
        Cow::Owned(statuses)
    }

    /// The history from the last inputs that were good in every target of the incident up to the head.
    fn history(&mut self, step: &mut Step<'_>) -> Option<History> {
        let (incident, application) = (step.incident, step.application);
        // Never verified here: the history is empty, and remedy says that nothing can be told (I7).
        let verified = incident.targets.keys().filter_map(|cluster| {
            let key = TargetKey::new(&application.name, cluster);
            self.view.statuses.get(&key)?.verified.clone()
        });
        let verified = verified.min_by_key(|verified| verified.at);
        let from = verified.map(|verified| verified.revision);
        let from = from.or_else(|| self.head_of(incident))?;
        self.history_since(step, from)
    }

    /// The history from a revision up to the head, once the head is read.
    pub(super) fn history_since(&mut self, step: &mut Step<'_>, from: Revision) -> Option<History> {
        let (now, incident) = (step.now, step.incident);
        let to = self.head_of(incident)?;
        if self.tracked.get(&incident.repository)?.revision() != Some(&to) {
            return None;
        }
        let memory = self.cases.entry(incident.id.clone()).or_default();
        if let Some(history) = &memory.history
            && history.from == from
            && history.to == to
        {
            return Some(history.clone());
        }
        let question = Some((from.clone(), to.clone()));
        if memory.asked != question || now >= memory.ask_again {
            memory.asked = question;
            memory.ask_again = Timestamp(now.0 + crate::ASK_AGAIN_MS);
            step.effects.push(Effect::History {
                incident: incident.id.clone(),
                repository: incident.repository.clone(),
                from,
                to,
                path: step.application.path.clone(),
            });
        }
        None
    }

    /// Whether what failed works again without us, by itself or with other inputs.
    pub(super) fn recovered(&self, step: &Step<'_>) -> Option<Transition> {
        let Step {
            now,
            incident,
            application,
            ..
        } = *step;
        if incident.targets.is_empty() {
            return None;
        }
        let mut same_inputs = true;
        for cluster in incident.targets.keys() {
            let key = TargetKey::new(&application.name, cluster);
            let status = self.view.statuses.get(&key)?;
            let well = status.health == Health::Healthy
                && status.sync.state == SyncState::Synced
                && status.findings.is_empty()
                && now >= status.health_since.plus(application.policy.confirm_for);
            if !well {
                return None;
            }
            same_inputs &= status.applied.as_ref()?.tree == incident.suspect_tree;
        }
        let (outcome, inputs) = match same_inputs {
            true => (OutcomeKind::Recovered, "the same"),
            false => (OutcomeKind::Superseded, "other"),
        };
        let message = format!("every cluster that showed it is healthy again with {inputs} inputs");
        Some(end(outcome, message, vec![]))
    }

    /// Why healing of an application's repository stands still.
    pub(super) fn frozen(&self, application: &Application) -> Option<String> {
        let head = self.view.heads.get(&application.repository)?;
        if let Some(reason) = &head.frozen {
            return Some(reason.clone());
        }
        if self.configured_in(&application.name).len() > 1 {
            return Some("more than one repository configures it".to_owned());
        }
        let effective = self.effective.get(&application.repository)?;
        let why = effective.kept.get(&application.name)?;
        Some(format!(
            "its configuration is broken, the last valid one holds: {why}"
        ))
    }
}

/// A wait that says what would be, or is about to be, done.
fn with_plan(reason: &str, message: String, plan: Box<Plan>) -> Transition {
    Transition::Wait {
        reason: reason.to_owned(),
        message,
        guards: plan.guards.clone(),
        rejected: plan.rejected.clone(),
        plan: Some(plan),
    }
}
