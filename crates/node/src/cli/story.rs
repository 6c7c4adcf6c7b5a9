//! The story of one incident, as a person reads it.

use super::table::{age, or_dash};
use crate::document::{HASH_CHARS_SHOWN, IncidentDocument};
use regraft_model::finding::Finding;
use regraft_model::incident::{Incident, OutcomeKind, Phase};
use regraft_model::plan::{Answer, Delivery, GuardResult, Plan, Rejected};
use regraft_model::time::Timestamp;
use std::fmt::Write as _;

/// One incident, from what was seen to what comes next.
pub(super) fn incident(document: &IncidentDocument, now: Timestamp) -> String {
    let incident = &document.incident;
    let mut out = String::new();
    line(&mut out, &format!("Incident {}", incident.id));
    let clusters: Vec<&str> = incident.targets.keys().map(|name| name.as_str()).collect();
    line(
        &mut out,
        &format!(
            "  {} of {} in {}",
            incident.class,
            incident.application,
            or_dash(&clusters.join(", "))
        ),
    );
    let mode = match document.mode {
        Some(mode) if incident.is_open() => format!("mode {mode}, "),
        Some(mode) => format!("decided in mode {mode}, "),
        None => String::new(),
    };
    line(
        &mut out,
        &format!(
            "  {mode}executed by member {}, branch {} of {}",
            incident.executor, incident.branch, incident.repository
        ),
    );
    line(&mut out, &format!("  {}", standing(incident, now)));
    timeline(&mut out, incident);
    evidence(&mut out, incident);
    match &incident.plan {
        Some(plan) => self::plan(&mut out, plan, document),
        None => {
            let what = match incident.is_open() {
                true => "No plan yet",
                false => "No plan was made",
            };
            heading(&mut out, what);
            guards(&mut out, &incident.guards, &incident.rejected);
        }
    }
    if let Some(lock) = &document.lock {
        heading(&mut out, "Lock");
        line(
            &mut out,
            &format!(
                "  {} with fence {}, expires {}",
                lock.scope, lock.fence, lock.expires_at
            ),
        );
    }
    heading(&mut out, "What comes next");
    line(&mut out, &format!("  {}", next(document)));
    out
}

fn standing(incident: &Incident, now: Timestamp) -> String {
    match (&incident.outcome, incident.ended_at) {
        (Some(outcome), Some(ended)) => format!(
            "ended {} after {}, {} ago{}",
            outcome.kind,
            age(incident.opened_at, ended),
            age(ended, now),
            after_colon(&outcome.message)
        ),
        _ => format!(
            "{} for {}, opened {} ago{}",
            incident.phase,
            age(incident.phase_since, now),
            age(incident.opened_at, now),
            if incident.waits_for.is_empty() {
                String::new()
            } else {
                format!(", waits for {}", incident.waits_for)
            }
        ),
    }
}

/// What follows a colon, with it; nothing where nothing follows.
pub(super) fn after_colon(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

fn timeline(out: &mut String, incident: &Incident) {
    heading(out, "Timeline");
    for step in &incident.steps {
        let seconds = incident_seconds(incident.opened_at, step.at);
        line(
            out,
            &format!(
                "  {} {seconds:>9}  {:<18} {} ({})",
                step.at, step.reason, step.message, step.actor
            ),
        );
    }
}

fn incident_seconds(opened: Timestamp, at: Timestamp) -> String {
    let ms = at.0.saturating_sub(opened.0);
    format!(
        "{}{}.{:03}s",
        if ms < 0 { "-" } else { "+" },
        ms.abs() / 1000,
        ms.abs() % 1000
    )
}

fn evidence(out: &mut String, incident: &Incident) {
    heading(out, "Evidence");
    line(out, &format!("  seen at {}", incident.seen_at.short()));
    for (cluster, findings) in &incident.targets {
        for finding in findings {
            let Finding {
                symptom,
                since,
                change,
            } = finding;
            line(
                out,
                &format!(
                    "  {cluster}: {} fails with {} since {since}",
                    symptom.workload, symptom.class
                ),
            );
            line(
                out,
                &format!("    inputs since the last verified revision: {change}"),
            );
            for evidence in &symptom.evidence {
                line(
                    out,
                    &format!(
                        "    {} {}{}",
                        evidence.object,
                        evidence.field,
                        after_colon(&evidence.text)
                    ),
                );
            }
        }
    }
}

fn plan(out: &mut String, plan: &Plan, document: &IncidentDocument) {
    let whereto = match plan.delivery {
        Delivery::Observe => "would be done in mode auto (shadow)",
        Delivery::Propose => "for review, on a branch of its own",
        Delivery::Push => "to the tracked branch",
    };
    heading(out, &format!("Plan {}: {} {whereto}", plan.id, plan.action));
    line(
        out,
        &format!(
            "  restores the files of {} on top of {}",
            plan.restores.short(),
            plan.parent.short()
        ),
    );
    for suspect in &plan.suspects {
        line(out, &format!("  undoes {}", suspect.0));
    }
    if let Some(commit) = &document.incident.committed {
        line(out, &format!("  committed as {}", commit.0));
    }
    line(out, &format!("  hash of the diff: {}", plan.diff_hash));
    if document.diff.is_empty() {
        for edit in &plan.edits {
            let what = if edit.after.is_some() {
                "restores"
            } else {
                "deletes"
            };
            line(out, &format!("  {what} {}", edit.path));
        }
    }
    for diff_line in document.diff.lines() {
        line(out, &format!("    {diff_line}"));
    }
    guards(out, &plan.guards, &plan.rejected);
}

/// What was asked and what was thought of; nothing where nothing was.
fn guards(out: &mut String, guards: &[GuardResult], rejected: &[Rejected]) {
    if guards.is_empty() && rejected.is_empty() {
        return;
    }
    heading(out, "Guards");
    for guard in guards {
        let answer = match guard.answer {
            Answer::Passed => "passed".to_owned(),
            Answer::Wait(until) => format!("wait until {until}"),
            Answer::Propose => "propose".to_owned(),
            Answer::Refused => "refused".to_owned(),
        };
        line(
            out,
            &format!(
                "  {:<18} {answer:<9} {}",
                guard.guard.to_string(),
                guard.message
            ),
        );
    }
    if !rejected.is_empty() {
        heading(out, "Rejected alternatives");
    }
    for rejected in rejected {
        line(
            out,
            &format!("  {}: {}", rejected.alternative, rejected.message),
        );
    }
}

fn next(document: &IncidentDocument) -> String {
    let incident = &document.incident;
    let id = &incident.id;
    let hash = incident
        .plan
        .as_ref()
        .map(|plan| {
            plan.diff_hash
                .get(..HASH_CHARS_SHOWN)
                .unwrap_or(&plan.diff_hash)
        })
        .unwrap_or_default();
    if document.suspended.is_some() && incident.is_open() {
        return format!(
            "nothing while it is suspended: `regraft resume {}` or `regraft resume --all`",
            incident.application
        );
    }
    match (incident.phase, incident.outcome.as_ref().map(|outcome| outcome.kind)) {
        (Phase::Ended, Some(OutcomeKind::Verified)) => "nothing. The fault is still in the history: fix it in a new commit when you want it back.".to_owned(),
        (Phase::Ended, Some(OutcomeKind::Vetoed)) => "nothing: the same repair is never committed again. Fix it by a commit.".to_owned(),
        (Phase::Ended, Some(OutcomeKind::Escalated | OutcomeKind::Expired)) => "a person: look at the evidence, and commit a fix.".to_owned(),
        (Phase::Ended, _) => "nothing.".to_owned(),
        (Phase::Proposed, _) => format!("a person: `regraft approve {id} --diff {hash}` or `regraft veto {id} --reason ...`, before {}", incident.deadline),
        (Phase::Open, _) => format!("regraft plans again when the world changes, and gives up at {}", incident.deadline),
        (Phase::Planned | Phase::Locked, _) => format!("regraft commits the plan; forbid it with `regraft veto {id} --reason ...`"),
        (Phase::Committed, _) => format!("regraft verifies until every cluster stayed healthy, and gives up at {}", incident.deadline),
    }
}

pub(super) fn heading(out: &mut String, text: &str) {
    line(out, "");
    line(out, text);
}

pub(super) fn section(out: &mut String, title: &str, body: &str) {
    heading(out, title);
    indented(out, body);
}

pub(super) fn indented(out: &mut String, body: &str) {
    for body_line in body.lines() {
        line(out, &format!("  {body_line}"));
    }
}

pub(super) fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}", text.trim_end());
}
