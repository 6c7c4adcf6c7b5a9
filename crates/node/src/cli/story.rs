//! What a person reads: the state of everything at a glance, and the story of one incident.

use super::listing::{self, Look};
use super::table::{age, or_dash};
use crate::document::{
    ApplicationDocument, ApplicationStory, ClusterStory, DiffDocument, DiffOutcome,
    IncidentDocument, ObjectChange, ReportDocument, StatusDocument,
};
use regraft_model::finding::{Finding, SyncState};
use regraft_model::health::Health;
use regraft_model::incident::{Incident, OutcomeKind, Phase};
use regraft_model::plan::{Answer, Delivery, GuardResult, Plan, Rejected};
use regraft_model::problem::Problem;
use regraft_model::time::Timestamp;
use std::fmt::Write as _;

/// Open incidents first; of the ended ones only the newest so many.
const ENDED_INCIDENTS_SHOWN: usize = 3;
const HASH_CHARS_SHOWN: usize = 12;

/// The whole at a glance.
pub(super) fn status(status: &StatusDocument, look: Look) -> String {
    let mut out = String::new();
    member(&mut out, status, look);
    repositories(&mut out, status, look);
    let below = look.indented();
    if status.members.len() > 1 {
        let members = listing::members(status.members.clone(), below);
        section(&mut out, "Members", &members);
    }
    if !status.clusters.is_empty() {
        let clusters = listing::clusters(status.clusters.clone(), below);
        section(&mut out, "Clusters", &clusters);
    }
    applications(&mut out, &status.applications, below);
    incidents(&mut out, &status.incidents, below);
    if let Some(report) = &status.report {
        waits(&mut out, report);
    }
    out
}

fn member(out: &mut String, status: &StatusDocument, look: Look) {
    let leader = match status.leader {
        Some(leader) if leader == status.member => "leads".to_owned(),
        Some(leader) => format!("follows member {leader}"),
        None => "knows no leader: nothing can change until one is elected".to_owned(),
    };
    line(
        out,
        &format!("Member {} ({}) {leader}", status.member, status.name),
    );
    line(
        out,
        &format!(
            "  version {}, up {}, term {}, applied {}",
            status.version,
            age(status.started_at, look.now),
            status.term,
            status.applied
        ),
    );
    let installation = status.installation.as_deref();
    line(
        out,
        &format!(
            "  installation {}",
            installation.unwrap_or("not initialised yet")
        ),
    );
    for suspension in &status.suspensions {
        let why = match suspension.reason.as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        line(
            out,
            &format!(
                "! {} is suspended by {} since {}{why}",
                suspension.subject,
                suspension.actor,
                age(suspension.at, look.now)
            ),
        );
    }
}

fn repositories(out: &mut String, status: &StatusDocument, look: Look) {
    heading(out, "Repositories");
    if status.heads.is_empty() {
        line(out, "  none was read yet");
    }
    for head in &status.heads {
        line(
            out,
            &format!(
                "  {} {} at {}, since {}",
                head.repository,
                head.branch,
                head.revision.short(),
                age(head.recorded_at, look.now)
            ),
        );
        if let Some(why) = &head.frozen {
            line(
                out,
                &format!(
                    "  ! healing is frozen: {why}; look at the history, then `regraft resume --repository {}`",
                    head.repository
                ),
            );
        }
    }
    for repository in status.repositories.iter().filter(|it| !it.configured) {
        line(
            out,
            &format!(
                "  ! no configuration was read from {}: {}",
                repository.name, repository.message
            ),
        );
    }
    indented(out, &listing::refused(&status.applications));
}

fn applications(out: &mut String, all: &[ApplicationDocument], below: Look) {
    let is_well =
        |row: &ApplicationDocument| row.sync == SyncState::Synced && row.health == Health::Healthy;
    let rest: Vec<_> = all.iter().filter(|row| !is_well(row)).cloned().collect();
    heading(
        out,
        &format!(
            "Applications: {} of {} are synced and healthy",
            all.len() - rest.len(),
            all.len()
        ),
    );
    if !rest.is_empty() {
        indented(out, &listing::applications(rest, below));
    }
}

fn incidents(out: &mut String, all: &[Incident], below: Look) {
    let (open, mut ended): (Vec<_>, Vec<_>) = all.iter().cloned().partition(Incident::is_open);
    heading(
        out,
        &format!("Incidents: {} open, {} ended", open.len(), ended.len()),
    );
    ended.sort_by_key(|incident| std::cmp::Reverse(incident.ended_at));
    let shown: Vec<_> = open
        .into_iter()
        .chain(ended.into_iter().take(ENDED_INCIDENTS_SHOWN))
        .collect();
    if !shown.is_empty() {
        indented(out, &listing::incidents(shown, below));
    }
}

/// What keeps this member from going on, one line each.
fn waits(out: &mut String, report: &ReportDocument) {
    let unreadable = report
        .unreadable
        .iter()
        .map(|(name, why)| format!("  repository {name} cannot be read: {why}"));
    let unseen = report.clusters.iter().filter_map(|(name, why)| {
        let why = why.as_ref()?;
        Some(format!("  cluster {name} is not seen: {why}"))
    });
    let problems = report.problems.values().flatten().map(problem_line);
    let lines: Vec<String> = unreadable.chain(unseen).chain(problems).collect();
    if !lines.is_empty() {
        heading(out, "What this member waits for");
    }
    for text in lines {
        line(out, &text);
    }
}

/// As compilers print them, so that editors find the place.
fn problem_line(problem: &Problem) -> String {
    let next = match problem.action.as_str() {
        "" => String::new(),
        action => format!("; next: {action}"),
    };
    format!(
        "  {}: {}: {}{next}",
        problem.location, problem.reason, problem.message
    )
}

/// One application: each of its clusters, and what is in the way.
pub(super) fn application(story: &ApplicationStory, look: Look) -> String {
    let mut out = String::new();
    line(&mut out, &format!("Application {}", story.name));
    if let Some(first) = story.targets.first() {
        let mode = format!("{:?}", first.mode).to_lowercase();
        line(
            &mut out,
            &format!(
                "  {} of {}, mode {mode}, head {}",
                first.path,
                first.repository,
                listing::short(first.head.as_ref())
            ),
        );
        if let Some(why) = &first.suspended {
            line(&mut out, &format!("  ! {why}"));
        }
    }
    indented(&mut out, &listing::refused(&story.targets));
    for target in &story.targets {
        heading(&mut out, &format!("In {}", target.cluster));
        one_target(&mut out, target, look);
    }
    if !story.incidents.is_empty() {
        let rows = listing::incidents(story.incidents.clone(), look.indented());
        section(&mut out, "Incidents", &rows);
    }
    if !story.problems.is_empty() {
        heading(&mut out, "Problems");
    }
    for problem in &story.problems {
        line(&mut out, &problem_line(problem));
    }
    out
}

fn one_target(out: &mut String, target: &ApplicationDocument, look: Look) {
    let member = target.member.map_or_else(
        || "no member".to_owned(),
        |member| format!("member {member}"),
    );
    let sync = target.sync.to_string();
    let reason = match target.reason == sync {
        true => String::new(),
        false => format!(" ({})", target.reason),
    };
    line(
        out,
        &format!(
            "  {sync}{reason}, {} for {}, by {member}",
            target.health,
            age(target.since, look.now)
        ),
    );
    if !target.message.is_empty() {
        line(out, &format!("  {}", target.message));
    }
    let when = |at: Option<Timestamp>| match at {
        Some(at) => format!(", {} ago", age(at, look.now)),
        None => String::new(),
    };
    line(
        out,
        &format!(
            "  applied {}{}; verified {}{}",
            listing::short(target.revision.as_ref()),
            when(target.applied_at),
            listing::short(target.verified.as_ref()),
            when(target.verified_at)
        ),
    );
    for failure in &target.failures {
        line(out, &format!("  ! {failure}"));
    }
    if let Some(deletion) = &target.pending_deletion {
        line(
            out,
            &format!(
                "  ! {} objects wait to be deleted: `regraft confirm-delete {} --cluster {}`",
                deletion.objects.len(),
                target.name,
                target.cluster
            ),
        );
    }
    if let Some(incident) = &target.incident {
        line(
            out,
            &format!("  ! open incident: `regraft describe incident {incident}`"),
        );
    }
}

/// One cluster: whether it is reached, and what is in it.
pub(super) fn cluster(story: &ClusterStory, look: Look) -> String {
    let mut out = String::new();
    let cluster = &story.cluster;
    line(&mut out, &format!("Cluster {}", cluster.name));
    let why = match cluster.message.as_str() {
        "" => String::new(),
        message => format!(": {message}"),
    };
    line(
        &mut out,
        &format!(
            "  {:?} to member {}{why}",
            cluster.connection, cluster.member
        ),
    );
    let uid = cluster.uid.as_deref().unwrap_or_default();
    line(
        &mut out,
        &format!(
            "  version {}, uid {}, known since {}",
            or_dash(&cluster.version),
            or_dash(uid),
            age(cluster.known_since.unwrap_or_default(), look.now)
        ),
    );
    if cluster.suspend {
        line(&mut out, "  ! suspended in Git");
    }
    let below = look.indented();
    if !story.targets.is_empty() {
        let rows = listing::applications(story.targets.clone(), below);
        section(&mut out, "Applications", &rows);
    }
    if !story.incidents.is_empty() {
        let rows = listing::incidents(story.incidents.clone(), below);
        section(&mut out, "Incidents", &rows);
    }
    out
}

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
    let mode = document.mode.map_or_else(
        || "unknown".to_owned(),
        |mode| format!("{mode:?}").to_lowercase(),
    );
    line(
        &mut out,
        &format!(
            "  mode {mode}, executed by member {}, branch {} of {}",
            incident.executor, incident.branch, incident.repository
        ),
    );
    line(&mut out, &format!("  {}", standing(incident, now)));
    timeline(&mut out, incident);
    evidence(&mut out, incident);
    match &incident.plan {
        Some(plan) => self::plan(&mut out, plan, document),
        None if incident.is_open() => heading(&mut out, "No plan yet"),
        None => heading(&mut out, "No plan was made"),
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

/// What differs, cluster by cluster. What cannot be compared is no difference: it is told as an error.
pub(super) fn differences(targets: &[DiffDocument]) -> String {
    let mut out = String::new();
    let compared = targets
        .iter()
        .filter(|target| target.outcome <= DiffOutcome::Refused);
    for target in compared {
        line(
            &mut out,
            &format!(
                "{} in {}: {}",
                target.application, target.cluster, target.summary
            ),
        );
        for object in &target.objects {
            let change = match object.change {
                ObjectChange::Creates => "creates",
                ObjectChange::Changes => "changes",
                ObjectChange::Unknown => "cannot compare",
            };
            line(&mut out, &format!("  {change} {}", object.object));
            for diff_line in object.diff.lines() {
                line(&mut out, &format!("    {diff_line}"));
            }
        }
    }
    out
}

fn standing(incident: &Incident, now: Timestamp) -> String {
    match (&incident.outcome, incident.ended_at) {
        (Some(outcome), Some(ended)) => format!(
            "ended {} after {}, {} ago: {}",
            outcome.kind,
            age(incident.opened_at, ended),
            age(ended, now),
            outcome.reason
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
                &format!(
                    "    inputs since the last verified revision: {}",
                    format!("{change:?}").to_lowercase()
                ),
            );
            for evidence in &symptom.evidence {
                line(
                    out,
                    &format!(
                        "    {} {}: {}",
                        evidence.object, evidence.field, evidence.text
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
    for suspect in &document.suspects {
        line(out, &format!("  undoes {suspect}"));
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

/// What every guard said, and what was thought of besides.
fn guards(out: &mut String, guards: &[GuardResult], rejected: &[Rejected]) {
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
                guard.reason
            ),
        );
    }
    heading(out, "Rejected alternatives");
    for rejected in rejected {
        line(
            out,
            &format!("  {}: {}", rejected.alternative, rejected.reason),
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

fn heading(out: &mut String, text: &str) {
    line(out, "");
    line(out, text);
}

fn section(out: &mut String, title: &str, body: &str) {
    heading(out, title);
    indented(out, body);
}

fn indented(out: &mut String, body: &str) {
    for body_line in body.lines() {
        line(out, &format!("  {body_line}"));
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}", text.trim_end());
}
