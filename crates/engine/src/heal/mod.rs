//! Incidents: opened where a failure is confirmed, carried through by their executor.
//!
//! Expected flow: OpenIncident -> History -> remedy decides -> Plan -> Acquire -> Commit -> verification -> End.
//! Guarantees: every step is taken from the replicated incident, so another member can take over at any point
//! (I11); a commit is asked for only in phase Locked, under a live lock (I2), on the plan's parent (I3); every
//! phase has a deadline (I8). A commit is asked for again until the branch has answered for certain: it was made
//! (the key is found) or it was lost (the tip moved). Only then is there another plan.
//! Assumptions: the runner checks the fence and the edge checks key and tip.

mod commit;
mod decide;
mod verify;

use crate::Engine;
use crate::effect::{Effect, Level, prevented, say};
use crate::intent::Intent;
use regraft_model::InvariantId;
use regraft_model::config::{Application, Mode};
use regraft_model::finding::TargetStatus;
use regraft_model::git::{History, HistoryError};
use regraft_model::id::{ApplicationName, IncidentId};
use regraft_model::incident::{Incident, OutcomeKind, Phase};
use regraft_model::plan::{Answer, Delivery, Guard, GuardResult};
use regraft_model::source::{Revision, TreeId};
use regraft_model::text::counted;
use regraft_model::time::{Seconds, Timestamp};
use regraft_state::command::{Command, Fault, Rejection, RejectionReason, Transition};

/// Pause before something is tried again that was refused, or of whose outcome nothing certain is known.
const TRY_AGAIN_MS: i64 = 1000;
/// A commit that was asked for and is not answered is forgotten after this.
const COMMIT_FORGOTTEN_MS: i64 = crate::ASK_AGAIN_MS * 4;
/// Pause before a decision that waits is taken again although nothing changed.
const DECIDE_AGAIN_MS: i64 = 5000;
/// How long a plan may take to get its lock and its commit onto the branch. What it waits for there is a lock that is
/// free within seconds, or a remote that is down: one that stays down for this long needs a person.
const PUSH_DEADLINE: Seconds = Seconds(900);
/// How long a proposal waits for a person.
const REVIEW: Seconds = Seconds(24 * 3600);
/// An incident without a plan gives up after this many times the policy's rollout wait.
const OPEN_DEADLINE_FACTOR: u64 = 6;

/// What the executor remembers of an incident. All of it can be lost.
#[derive(Debug, Default)]
pub(crate) struct CaseMemory {
    history: Option<History>,
    asked: Option<(Revision, Revision)>,
    ask_again: Timestamp,
    decide_at: Timestamp,
    decided_for: Option<(Revision, u64)>,
    committing: Option<Timestamp>,
    commit_again: Timestamp,
    /// When a renewal of the lock was last asked for, by this member's clock, and until when the lock was held then.
    renewed: Option<(Timestamp, Timestamp)>,
    /// The lock was refused.
    refused: Option<Rejection>,
    /// Why the history can never be read: a person has to look.
    no_history: Option<String>,
    /// The tree that our commit made of the application.
    repaired: Option<TreeId>,
}

/// An incident that is to be carried one step further.
struct Step<'a> {
    now: Timestamp,
    incident: &'a Incident,
    application: &'a Application,
    effects: &'a mut Vec<Effect>,
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
        let command = Command::OpenIncident(Fault {
            application: name.clone(),
            repository: application.repository.clone(),
            branch: head.branch.clone(),
            class: first.symptom.class,
            seen_at: applied.revision,
            suspect_tree: applied.tree,
            cluster: status.key.cluster.clone(),
            findings: status.findings.clone(),
            member: status.member,
            fence: status.fence,
            deadline: now.plus(Seconds(patience)),
        });
        self.propose(now, Intent::Open(status.key.clone()), command, effects);
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
        let Some(memory) = self.cases.get_mut(id) else {
            return;
        };
        if memory.asked.as_ref() != Some(&(from.clone(), to.clone())) {
            return;
        }
        match outcome {
            Ok(history) => {
                memory.history = Some(history);
                memory.decide_at = now;
            }
            Err(HistoryError::Unreadable(_)) => memory.ask_again = Timestamp(now.0 + TRY_AGAIN_MS),
            Err(HistoryError::Rewritten) => {
                let message = format!("{} does not descend from {}", to.short(), from.short());
                memory.no_history = Some(message);
            }
            Err(HistoryError::TooLong { limit }) => {
                let message = format!(
                    "more than {limit} commits changed it since {}",
                    from.short()
                );
                memory.no_history = Some(message);
            }
        }
        self.dirty.everything = true;
    }

    /// Remembers a refusal that a step has to react to.
    pub(crate) fn note_refusal(&mut self, now: Timestamp, intent: &Intent, rejection: &Rejection) {
        let (Intent::Incident(id) | Intent::Renew(id)) = intent else {
            return;
        };
        if let Some(memory) = self.cases.get_mut(id) {
            memory.decide_at = Timestamp(now.0 + TRY_AGAIN_MS);
            if rejection.reason == RejectionReason::Busy {
                memory.refused = Some(rejection.clone());
            }
        }
    }

    fn step_incident(&mut self, now: Timestamp, incident: &Incident, effects: &mut Vec<Effect>) {
        self.cases.entry(incident.id.clone()).or_default();
        if self.proposals.is_pending(now, &intent(incident)) {
            return;
        }
        if let Some(transition) = self.step(now, incident, effects) {
            self.advance(now, incident, transition, effects);
        }
    }

    /// What its phase asks for; none while it waits for what is under way.
    fn step(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        effects: &mut Vec<Effect>,
    ) -> Option<Transition> {
        let Some(application) = self.application(&incident.application).cloned() else {
            let message = "the application is not configured any more".to_owned();
            return Some(end(OutcomeKind::Superseded, message, vec![]));
        };
        if application.repository != incident.repository {
            let message = format!(
                "the repository {} configures it now",
                application.repository
            );
            return Some(end(OutcomeKind::Superseded, message, vec![]));
        }
        if now > incident.deadline {
            return Some(give_up(incident));
        }
        let step = &mut Step {
            now,
            incident,
            application: &application,
            effects,
        };
        if matches!(
            incident.phase,
            Phase::Open | Phase::Planned | Phase::Proposed
        ) && let Some(over) = self.recovered(step)
        {
            return Some(over);
        }
        match incident.phase {
            Phase::Open => self.step_open(step),
            Phase::Planned => self.step_planned(step),
            Phase::Locked => self.step_locked(step),
            Phase::Committed => self.step_committed(step),
            Phase::Proposed => self.step_proposed(step),
            Phase::Ended => None,
        }
    }

    /// Proposes a transition, and tells people when it is the end or when it waits for their word.
    pub(super) fn advance(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        transition: Transition,
        effects: &mut Vec<Effect>,
    ) {
        if let Transition::End {
            outcome, message, ..
        } = &transition
        {
            let application = self.application(&incident.application);
            let observes = application.is_some_and(|it| it.mode == Mode::Observe);
            let level = match (outcome, observes) {
                // Who only watches does not wake anybody.
                (OutcomeKind::Escalated, true) => Level::Warning,
                (OutcomeKind::Escalated, false) => Level::Page,
                _ => Level::Info,
            };
            let told = format!("{outcome}: {message}");
            say(effects, level, incident.id.as_str(), told);
        }
        if let Transition::Propose {
            plan,
            pushed_to,
            deadline,
            ..
        } = &transition
        {
            let told = format!(
                "Proposed: {} of {}, pushed to {pushed_to} for review; `regraft approve {} --diff {}` or `regraft veto \
                 {} --reason ...`, before {deadline}",
                plan.action,
                counted(plan.edits.len(), "file"),
                incident.id,
                plan.diff_hash,
                incident.id
            );
            say(effects, Level::Page, incident.id.as_str(), told);
        }
        let command = Command::Advance {
            incident: incident.id.clone(),
            fence: incident.executor_fence,
            transition: Box::new(transition),
        };
        self.propose(now, intent(incident), command, effects);
    }

    pub(super) fn take_refusal(&mut self, incident: &Incident) -> Option<Rejection> {
        self.cases.get_mut(&incident.id)?.refused.take()
    }

    pub(super) fn head_of(&self, incident: &Incident) -> Option<Revision> {
        self.view
            .heads
            .get(&incident.repository)
            .map(|head| head.revision.clone())
    }

    /// The application's tree at the recorded head, when that is read.
    pub(super) fn head_tree(&self, application: &Application) -> Option<TreeId> {
        self.read_head(&application.repository)?
            .tree(application)
            .cloned()
    }

    pub(super) fn verify_deadline(
        &self,
        now: Timestamp,
        application: &ApplicationName,
    ) -> Timestamp {
        let policy = self
            .application(application)
            .map(|it| it.policy.clone())
            .unwrap_or_default();
        now.plus(policy.verify_for).plus(policy.verify_deadline)
    }
}

/// The end of an incident whose deadline passed.
fn give_up(incident: &Incident) -> Transition {
    let message = match incident.waits_for.as_str() {
        "" => format!("its deadline in phase {} passed", incident.phase),
        waits_for => format!("its deadline passed; it waited: {waits_for}"),
    };
    let shadow = incident
        .plan
        .as_ref()
        .is_some_and(|plan| plan.delivery == Delivery::Observe);
    let outcome = match incident.phase == Phase::Open && shadow {
        true => OutcomeKind::Expired,
        false => OutcomeKind::Escalated,
    };
    end(outcome, message, vec![incident.suspect_tree.clone()])
}

/// An end that no decision came before.
pub(super) fn end(outcome: OutcomeKind, message: String, closed: Vec<TreeId>) -> Transition {
    Transition::End {
        outcome,
        message,
        closed,
        guards: vec![],
        rejected: vec![],
    }
}

/// Says what an incident waits for, once.
fn wait(step: &mut Step<'_>, message: String, guards: Vec<GuardResult>) -> Option<Transition> {
    if step.incident.waits_for == message {
        return None;
    }
    count_guards(&guards, step.effects);
    Some(Transition::Wait {
        reason: "Waiting".to_owned(),
        message,
        plan: None,
        guards,
        rejected: vec![],
    })
}

/// Counts the invariants whose guards hold a repair back.
pub(super) fn count_guards(guards: &[GuardResult], effects: &mut Vec<Effect>) {
    let held_back = |said: &&GuardResult| matches!(said.answer, Answer::Wait(_) | Answer::Refused);
    for said in guards.iter().filter(held_back) {
        let invariant = match said.guard {
            Guard::Evidence => InvariantId::I7,
            Guard::ConcurrentRepairs
            | Guard::ActionRate
            | Guard::SameAction
            | Guard::Cooldown
            | Guard::Ineffective => InvariantId::I8,
            Guard::Veto => InvariantId::I9,
            Guard::Storm => InvariantId::I10,
            Guard::Mode
            | Guard::Suspended
            | Guard::Frozen
            | Guard::PartialFailure
            | Guard::DangerousObjects
            | Guard::SharedFiles
            | Guard::OtherInstallation => continue,
        };
        effects.push(prevented(invariant));
    }
}

fn intent(incident: &Incident) -> Intent {
    Intent::Incident(incident.id.clone())
}
