//! What a person reads at a glance: everything, one application, one cluster.

use super::listing::{self, Look};
use super::story::{after_colon, heading, indented, line, section};
use super::table::{age, or_dash};
use crate::document::{
    ApplicationDocument, ApplicationStory, ClusterStory, ReportDocument, StatusDocument,
};
use regraft_model::finding::SyncState;
use regraft_model::health::Health;
use regraft_model::incident::Incident;
use regraft_model::problem::Problem;
use regraft_model::text::counted;
use regraft_model::time::Timestamp;

/// Open incidents first; of the ended ones only the newest so many.
const ENDED_INCIDENTS_SHOWN: usize = 3;

/// The whole at a glance.
pub(super) fn status(status: &StatusDocument, look: Look) -> String {
    let mut out = String::new();
    if status.stale {
        line(&mut out, &may_be_old(status, look.now));
    }
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

/// The warning before what a member shows without proof.
pub(super) fn may_be_old(status: &StatusDocument, now: Timestamp) -> String {
    let since = match status.confirmed_at {
        Some(at) => format!("for {}", age(at, now)),
        None => "since its start".to_owned(),
    };
    format!(
        "! this may be old: member {} has had no proof {since} that its state is the majority's; ask another, or \
         again without --stale",
        status.member
    )
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
    out.push_str(&listing::full_disks(&status.members));
    for suspension in &status.suspensions {
        line(
            out,
            &format!(
                "! {} is suspended by {} since {}{}",
                suspension.subject,
                suspension.actor,
                age(suspension.at, look.now),
                after_colon(&suspension.reason)
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
                "  ! no configuration was read from {}{}",
                repository.name,
                after_colon(&repository.message)
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
        line(
            &mut out,
            &format!(
                "  {} of {}, mode {}, head {}",
                first.path,
                first.repository,
                first.mode,
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
                "  ! to be deleted after a confirmation: {}; `regraft confirm-delete {} --cluster {}`",
                counted(deletion.objects.len(), "object"),
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
    line(
        &mut out,
        &format!(
            "  {} to member {}{}",
            cluster.connection,
            cluster.member,
            after_colon(&cluster.message)
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
