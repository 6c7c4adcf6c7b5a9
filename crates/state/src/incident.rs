//! Incidents: opened by evidence, moved on by their executor, ended once.
//!
//! Expected flow: Open -> Planned -> Locked -> Committed -> Ended, with Proposed for reviews.
//! Guarantees: one open incident per application; only the executor with the newest fence moves it (I2); ending
//! releases the lock; at most [`MAX_ENDED_INCIDENTS`] ended ones are kept.
//! Errors: refusals name the phase or fence that stands in the way.

use crate::audit;
use crate::command::{Fault, RejectionReason, Response, Transition};
use crate::lock;
use crate::machine::{Halt, rejected};
use crate::record::Closed;
use crate::table::{self, prefix};
use crate::target;
use crate::transaction::Transaction;
use regraft_model::finding::Finding;
use regraft_model::id::{ClusterName, Fence, IncidentId, MemberId, TargetKey};
use regraft_model::incident::{Incident, Outcome, OutcomeKind, Phase, Step};
use regraft_model::plan::{GuardResult, Plan, Rejected};
use regraft_model::source::{Revision, TreeId};
use regraft_model::text::counted;
use regraft_model::time::Timestamp;
use std::collections::BTreeMap;

/// Ended incidents kept; the one that ended first goes first.
pub(crate) const MAX_ENDED_INCIDENTS: usize = 500;
/// Closed inputs kept; the oldest goes first.
pub(crate) const MAX_CLOSED: usize = 1000;

pub(crate) fn open(transaction: &mut Transaction<'_>, fault: Fault) -> Result<Response, Halt> {
    let target = TargetKey::new(&fault.application, &fault.cluster);
    if let Some(refusal) = target::stale(transaction, &target, fault.member, fault.fence)? {
        return Ok(refusal);
    }
    let closed = table::closed(&fault.application, &fault.suspect_tree);
    if let Some(closed) = transaction.get::<Closed>(&closed)? {
        return Ok(rejected(
            RejectionReason::Closed,
            format!(
                "these inputs were closed by {}: commit a change first",
                closed.incident
            ),
        ));
    }
    let running = transaction
        .all::<Incident>(prefix::INCIDENTS)?
        .into_iter()
        .find(|(_, incident)| incident.is_open() && incident.application == fault.application);
    let Some((_, mut incident)) = running else {
        return create(transaction, fault);
    };
    if incident.suspect_tree != fault.suspect_tree {
        return Ok(rejected(
            RejectionReason::OtherIncidentOpen,
            format!(
                "{} is open for other inputs of {}",
                incident.id, fault.application
            ),
        ));
    }
    let message = describe(&fault.cluster, &fault.findings);
    let joined = incident
        .targets
        .insert(fault.cluster, fault.findings)
        .is_none();
    if joined {
        step(transaction, &mut incident, "ClusterJoined", message);
    }
    save(transaction, &incident)?;
    Ok(Response::Opened {
        incident: incident.id,
    })
}

pub(crate) fn assign_executor(
    transaction: &mut Transaction<'_>,
    id: &IncidentId,
    member: MemberId,
) -> Result<Response, Halt> {
    let mut incident = match known(transaction, id)? {
        Ok(incident) => incident,
        Err(refusal) => return Ok(refusal),
    };
    if !incident.is_open() || incident.executor == member {
        return Ok(rejected(
            RejectionReason::AlreadyDone,
            format!("{id} needs no new executor"),
        ));
    }
    let message = format!(
        "member {member} takes over from member {}",
        incident.executor
    );
    incident.executor = member;
    incident.executor_fence = transaction.fence();
    record(transaction, &mut incident, "ExecutorChanged", message)?;
    save(transaction, &incident)?;
    Ok(Response::Done)
}

pub(crate) fn advance(
    transaction: &mut Transaction<'_>,
    id: &IncidentId,
    fence: Fence,
    transition: Transition,
) -> Result<Response, Halt> {
    let mut incident = match held(transaction, id, fence)? {
        Ok(incident) => incident,
        Err(refusal) => return Ok(refusal),
    };
    if let Some(refusal) = misplaced(&incident, &transition) {
        return Ok(refusal);
    }
    follow(transaction, &mut incident, transition)?;
    Ok(Response::Done)
}

/// The refusal of a transition that the incident does not allow where it stands.
fn misplaced(incident: &Incident, transition: &Transition) -> Option<Response> {
    let (id, phase) = (&incident.id, incident.phase);
    let in_place = match transition {
        Transition::End { .. } | Transition::Wait { .. } => true,
        Transition::Plan { .. } => matches!(phase, Phase::Open | Phase::Proposed),
        Transition::Replan { .. } => matches!(phase, Phase::Planned | Phase::Locked),
        Transition::Commit { .. } => phase == Phase::Locked,
        Transition::Propose { .. } => phase == Phase::Open,
        Transition::Adopt { .. } => {
            matches!(phase, Phase::Open | Phase::Planned | Phase::Locked)
        }
    };
    match transition {
        _ if !in_place => Some(rejected(
            RejectionReason::WrongPhase,
            format!("{id} is {phase}"),
        )),
        Transition::Plan { plan, .. } if plan.incident != *id => Some(rejected(
            RejectionReason::WrongPhase,
            format!("{} is not a plan for {id}", plan.id),
        )),
        Transition::Commit { lock, .. } if incident.lock != Some(*lock) => Some(rejected(
            RejectionReason::StaleFence,
            format!("{id} holds the lock under another fence than {lock}"),
        )),
        _ => None,
    }
}

fn follow(
    transaction: &mut Transaction<'_>,
    incident: &mut Incident,
    transition: Transition,
) -> Result<(), Halt> {
    match transition {
        Transition::End {
            outcome,
            message,
            closed,
            guards,
            rejected,
        } => {
            decided(incident, guards, rejected);
            return end(transaction, incident, outcome, message, closed);
        }
        Transition::Wait {
            reason,
            message,
            plan,
            guards,
            rejected,
        } => {
            decided(incident, guards, rejected);
            if let (Phase::Open, Some(plan)) = (incident.phase, plan) {
                incident.plan = Some(*plan);
            }
            incident.waits_for.clone_from(&message);
            step(transaction, incident, &reason, message);
        }
        Transition::Plan { plan, deadline } => {
            planned(transaction, incident, *plan, deadline)?;
        }
        Transition::Replan { message } => replanned(transaction, incident, message)?,
        Transition::Commit {
            revision, deadline, ..
        } => {
            let message = format!("committed {revision}");
            committed(transaction, incident, revision, deadline, message)?;
        }
        Transition::Propose {
            plan,
            pushed_to,
            revision,
            deadline,
        } => {
            let told = format!("proposed as {} on branch {pushed_to}", revision.short());
            proposed(transaction, incident, *plan, deadline, &told)?;
        }
        Transition::Adopt { revision, deadline } => {
            let message = format!("found our commit {revision} on the branch");
            committed(transaction, incident, revision, deadline, message)?;
        }
    }
    save(transaction, incident)
}

fn planned(
    transaction: &mut Transaction<'_>,
    incident: &mut Incident,
    plan: Plan,
    deadline: Timestamp,
) -> Result<(), Halt> {
    let message = format!(
        "{} of {} on {}",
        plan.action,
        counted(plan.edits.len(), "file"),
        plan.parent
    );
    decided(incident, plan.guards.clone(), plan.rejected.clone());
    incident.plan = Some(plan);
    enter(incident, Phase::Planned, transaction.now);
    // Planning again and again must come to an end (I8): no plan has more time than what it comes from.
    incident.deadline = incident.deadline.min(deadline);
    record(transaction, incident, "Planned", message)
}

fn replanned(
    transaction: &mut Transaction<'_>,
    incident: &mut Incident,
    message: String,
) -> Result<(), Halt> {
    lock::release(transaction, &incident.id)?;
    incident.lock = None;
    enter(incident, Phase::Open, transaction.now);
    record(transaction, incident, "Replanned", message)
}

fn committed(
    transaction: &mut Transaction<'_>,
    incident: &mut Incident,
    revision: Revision,
    deadline: Timestamp,
    message: String,
) -> Result<(), Halt> {
    incident.committed = Some(revision);
    incident.committed_at = Some(transaction.now);
    enter(incident, Phase::Committed, transaction.now);
    incident.deadline = deadline;
    record(transaction, incident, "Committed", message)
}

fn proposed(
    transaction: &mut Transaction<'_>,
    incident: &mut Incident,
    plan: Plan,
    deadline: Timestamp,
    told: &str,
) -> Result<(), Halt> {
    let message = format!("{told}; approve with diff {}", plan.diff_hash);
    decided(incident, plan.guards.clone(), plan.rejected.clone());
    incident.plan = Some(plan);
    enter(incident, Phase::Proposed, transaction.now);
    incident.deadline = deadline;
    record(transaction, incident, "Proposed", message)
}

/// The incident, or that there is none.
pub(crate) fn known(
    transaction: &Transaction<'_>,
    id: &IncidentId,
) -> Result<Result<Incident, Response>, Halt> {
    let incident = transaction.get(&table::incident(prefix::INCIDENTS, id))?;
    let none = || rejected(RejectionReason::NotFound, format!("no incident {id}"));
    Ok(incident.ok_or_else(none))
}

/// The open incident, when `fence` is its executor's newest.
pub(crate) fn held(
    transaction: &Transaction<'_>,
    id: &IncidentId,
    fence: Fence,
) -> Result<Result<Incident, Response>, Halt> {
    Ok(match known(transaction, id)? {
        Ok(incident) if incident.executor_fence != fence => Err(rejected(
            RejectionReason::StaleFence,
            format!(
                "{id} is executed under fence {}, not {fence}",
                incident.executor_fence
            ),
        )),
        Ok(incident) if !incident.is_open() => Err(rejected(
            RejectionReason::WrongPhase,
            format!("{id} has ended"),
        )),
        known => known,
    })
}

pub(crate) fn end(
    transaction: &mut Transaction<'_>,
    incident: &mut Incident,
    outcome: OutcomeKind,
    message: String,
    closed: Vec<TreeId>,
) -> Result<(), Halt> {
    lock::release(transaction, &incident.id)?;
    incident.lock = None;
    enter(incident, Phase::Ended, transaction.now);
    incident.ended_at = Some(transaction.now);
    record(transaction, incident, outcome.as_str(), message.clone())?;
    incident.outcome = Some(Outcome {
        kind: outcome,
        message,
    });
    for tree in closed {
        close(transaction, incident, tree)?;
    }
    save(transaction, incident)?;
    drop_oldest_ended(transaction)
}

/// Keeps what the newest decision was made on; what moves an incident without a decision leaves it as it is.
fn decided(incident: &mut Incident, mut guards: Vec<GuardResult>, mut rejected: Vec<Rejected>) {
    if guards.is_empty() && rejected.is_empty() {
        return;
    }
    guards.truncate(Incident::MAX_GUARDS);
    rejected.truncate(Incident::MAX_REJECTED);
    (incident.guards, incident.rejected) = (guards, rejected);
}

pub(crate) fn enter(incident: &mut Incident, phase: Phase, now: Timestamp) {
    incident.phase = phase;
    incident.phase_since = now;
    incident.waits_for.clear();
}

pub(crate) fn step(
    transaction: &Transaction<'_>,
    incident: &mut Incident,
    reason: &str,
    message: String,
) {
    if incident.steps.len() >= Incident::MAX_STEPS {
        // The first step says why the incident exists: it stays.
        incident.steps.remove(1);
    }
    incident.steps.push(Step {
        at: transaction.now,
        actor: transaction.actor.clone(),
        reason: reason.to_owned(),
        message,
    });
}

/// A step that the audit chain keeps too.
pub(crate) fn record(
    transaction: &mut Transaction<'_>,
    incident: &mut Incident,
    reason: &str,
    message: String,
) -> Result<(), Halt> {
    step(transaction, incident, reason, message.clone());
    audit::append(transaction, reason, incident.id.as_str(), message)
}

pub(crate) fn save(transaction: &mut Transaction<'_>, incident: &Incident) -> Result<(), Halt> {
    transaction.put(table::incident(prefix::INCIDENTS, &incident.id), incident)
}

fn create(transaction: &mut Transaction<'_>, fault: Fault) -> Result<Response, Halt> {
    let id = IncidentId(format!("{}-{}", fault.application, transaction.index));
    let message = describe(&fault.cluster, &fault.findings);
    let mut incident = Incident {
        id: id.clone(),
        application: fault.application,
        repository: fault.repository,
        branch: fault.branch,
        class: fault.class,
        seen_at: fault.seen_at,
        suspect_tree: fault.suspect_tree,
        targets: BTreeMap::from([(fault.cluster, fault.findings)]),
        opened_at: transaction.now,
        executor: fault.member,
        executor_fence: transaction.fence(),
        phase: Phase::Open,
        phase_since: transaction.now,
        deadline: fault.deadline,
        waits_for: String::new(),
        plan: None,
        guards: Vec::new(),
        rejected: Vec::new(),
        lock: None,
        committed: None,
        committed_at: None,
        approval: None,
        steps: Vec::new(),
        outcome: None,
        ended_at: None,
    };
    step(transaction, &mut incident, "Opened", message.clone());
    save(transaction, &incident)?;
    audit::append(transaction, "IncidentOpened", id.as_str(), message)?;
    Ok(Response::Opened { incident: id })
}

fn describe(cluster: &ClusterName, findings: &[Finding]) -> String {
    let parts: Vec<_> = findings
        .iter()
        .map(|finding| format!("{} {}", finding.symptom.workload, finding.symptom.class))
        .collect();
    format!("{cluster}: {}", parts.join("; "))
}

fn close(transaction: &mut Transaction<'_>, incident: &Incident, tree: TreeId) -> Result<(), Halt> {
    let closed = Closed {
        application: incident.application.clone(),
        tree,
        incident: incident.id.clone(),
        at: transaction.now,
    };
    transaction.put(table::closed(&closed.application, &closed.tree), &closed)?;
    let all = transaction.all::<Closed>(prefix::CLOSED)?;
    if all.len() > MAX_CLOSED
        && let Some((key, _)) = all.into_iter().min_by_key(|(_, closed)| closed.at)
    {
        transaction.delete(key);
    }
    Ok(())
}

fn drop_oldest_ended(transaction: &mut Transaction<'_>) -> Result<(), Halt> {
    let mut ended = transaction.all::<Incident>(prefix::INCIDENTS)?;
    ended.retain(|(_, incident)| !incident.is_open());
    if ended.len() > MAX_ENDED_INCIDENTS
        && let Some((key, _)) = ended
            .into_iter()
            .min_by_key(|(_, incident)| incident.ended_at)
    {
        transaction.delete(key);
    }
    Ok(())
}
