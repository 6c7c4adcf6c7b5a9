//! The way from a case to a decision.

use crate::blame::failing_workloads;
use crate::case::{Case, Decision, Stop};
use crate::check::check;
use crate::draft::{Draft, draft};
use crate::edit::diff_hash;
use crate::guards;
use crate::line::Line;
use crate::message;
use regraft_model::plan::{Action, Answer, Delivery, Rejected};
use regraft_model::{Commit, GuardResult, Mode, Plan, Timestamp};

/// Decides what to do about an incident now. The same case gives the same decision.
pub fn decide(case: &Case<'_>) -> Decision {
    if let Some(commit) = already_committed(case) {
        return Decision::AlreadyCommitted {
            revision: commit.revision.clone(),
        };
    }
    let mut asked = guards::before_blame(case);
    if !guards::let_on(&asked) {
        return held_back(asked);
    }
    let failing = match failing_workloads(case) {
        Ok(failing) => failing,
        Err(stop) => return stopped(stop, asked),
    };
    let line = Line::of(case, &failing);
    let draft = draft(case, &line, failing);
    // What a person did needs no more evidence: nothing is done about it.
    if let Err(stop @ Stop::Superseded { .. }) = draft {
        return stopped(stop, asked);
    }
    asked.extend(guards::before_plan(case));
    if !guards::let_on(&asked) {
        return held_back(asked);
    }
    let draft = match draft {
        Ok(draft) => draft,
        Err(stop) => return stopped(stop, asked),
    };
    asked.extend(guards::of_draft(case, &line, &draft));
    if !guards::let_on(&asked) {
        return held_back(asked);
    }
    let plan = plan(case, &draft, asked);
    let violations = check(&plan, case);
    if violations.is_empty() {
        return Decision::Act(Box::new(plan));
    }
    let listed: Vec<_> = violations.iter().map(ToString::to_string).collect();
    Decision::Escalate {
        reason: "BrokenPlan".to_owned(),
        message: format!("the plan breaks its own rules: {}", listed.join("; ")),
        guards: plan.guards,
        rejected: plan.rejected,
    }
}

/// Our commit, by its trailers (I11).
fn already_committed<'a>(case: &Case<'a>) -> Option<&'a Commit> {
    let id = case.plan_id();
    case.history.commits.iter().find(|commit| {
        commit.trailer(message::PLAN_TRAILER) == Some(id.as_str())
            && commit.trailer(message::INCIDENT_TRAILER) == Some(case.incident.id.as_str())
            && commit.trailer(message::INSTALLATION_TRAILER) == Some(case.installation)
    })
}

fn stopped(stop: Stop, guards: Vec<GuardResult>) -> Decision {
    match stop {
        Stop::Superseded { by, message } => Decision::Superseded { by, message },
        Stop::Escalate { reason, message } => Decision::Escalate {
            reason: reason.to_owned(),
            message,
            guards,
            rejected: vec![restart_rejected()],
        },
    }
}

/// What to do when a guard said wait or no: no wins.
fn held_back(guards: Vec<GuardResult>) -> Decision {
    if let Some(refusal) = guards.iter().find(|one| one.answer == Answer::Refused) {
        return Decision::Escalate {
            reason: refusal.guard.to_string(),
            message: refusal.message.clone(),
            rejected: vec![Rejected {
                alternative: "commit the rollback".to_owned(),
                message: refusal.message.clone(),
            }],
            guards,
        };
    }
    let waits: Vec<(Timestamp, &str)> = guards
        .iter()
        .filter_map(|one| match one.answer {
            Answer::Wait(until) => Some((until, one.message.as_str())),
            _ => None,
        })
        .collect();
    let messages: Vec<_> = waits.iter().map(|(_, message)| *message).collect();
    Decision::Wait {
        // Asking too early costs nothing; what another guard waits for may be over by then.
        until: waits
            .iter()
            .map(|(until, _)| *until)
            .min()
            .unwrap_or_default(),
        message: messages.join("; "),
        guards,
    }
}

fn plan(case: &Case<'_>, draft: &Draft<'_>, mut asked: Vec<GuardResult>) -> Plan {
    asked.sort_by_key(|one| one.guard);
    let diff_hash = diff_hash(&draft.edits);
    let mut plan = Plan {
        id: case.plan_id(),
        installation: case.installation.to_owned(),
        incident: case.incident.id.clone(),
        application: case.application.name.clone(),
        repository: case.incident.repository.clone(),
        branch: case.incident.branch.clone(),
        action: Action::Rollback,
        parent: case.history.to.clone(),
        restores: case.history.from.clone(),
        suspects: draft
            .suspects
            .iter()
            .map(|commit| commit.revision.clone())
            .collect(),
        suspect_inputs: draft.suspect_digests(),
        edits: draft.edits.clone(),
        message: String::new(),
        mode: case.application.mode,
        delivery: delivery(case, &asked, &diff_hash),
        diff_hash,
        guards: asked,
        rejected: rejected(case, draft),
    };
    plan.message = message::write(case, draft, &plan);
    plan
}

fn delivery(case: &Case<'_>, asked: &[GuardResult], diff_hash: &str) -> Delivery {
    let for_a_person = asked.iter().any(|one| one.answer == Answer::Propose);
    match case.application.mode {
        Mode::Observe => Delivery::Observe,
        _ if for_a_person && !guards::is_approved(case, diff_hash) => Delivery::Propose,
        _ => Delivery::Push,
    }
}

fn rejected(case: &Case<'_>, draft: &Draft<'_>) -> Vec<Rejected> {
    let mut rejected = vec![restart_rejected()];
    rejected.push(Rejected {
        alternative: format!(
            "revert {} as a whole",
            draft
                .suspects
                .iter()
                .map(|commit| commit.revision.short())
                .collect::<Vec<_>>()
                .join(", ")
        ),
        message: format!(
            "it could touch files outside {} that have nothing to do with the failure",
            path_in_words(&case.application.path)
        ),
    });
    if !draft.kept.is_empty() {
        rejected.push(Rejected {
            alternative: format!(
                "restore all of {} to {}",
                path_in_words(&case.application.path),
                case.history.from.short()
            ),
            message: format!(
                "it would lose {} later commits that are no suspects",
                draft.kept.len()
            ),
        });
    }
    rejected
}

fn path_in_words(path: &str) -> &str {
    if path.is_empty() {
        "the repository"
    } else {
        path
    }
}

fn restart_rejected() -> Rejected {
    Rejected {
        alternative: "restart the pods".to_owned(),
        message: "they would start from the same template again".to_owned(),
    }
}
