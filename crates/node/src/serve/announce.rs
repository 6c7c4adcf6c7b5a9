//! Tells the log what happens: each change of the replicated state that an operator would ask for, once, on every
//! member that sees it applied; and what stands wrong in Git, once for as long as it does.
//!
//! ```text
//!  replica changes ─> records they wrote ─┐
//!  engine report (every few seconds) ─────┴─> News (what differs from what was told) ─> log lines
//! ```
//!
//! What is known when the member starts is not told again. What pods and API servers said in records was
//! redacted before it was replicated; nothing else is told.

use super::member::Member;
use super::state;
use crate::clock;
use regraft_engine::Report;
use regraft_model::finding::{SyncState, TargetStatus};
use regraft_model::health::Health;
use regraft_model::id::{Fence, IncidentId, MemberId, RepositoryName, TargetKey};
use regraft_model::incident::{Incident, OutcomeKind, Phase};
use regraft_model::problem::{Problem, Severity};
use regraft_model::source::Revision;
use regraft_replica::Change;
use regraft_state::store::Write;
use regraft_state::table::prefix;
use regraft_state::view::View;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Period of looking for problems: people read them, and a person who pushed waits for no less.
const REPORT_PERIOD: Duration = Duration::from_secs(2);
/// Pause before the state is read again after it could not be.
const AGAIN_PERIOD: Duration = Duration::from_millis(500);
/// Problems of one repository that are told at once; `regraft status` has them all.
const PROBLEMS_TOLD_MAX: usize = 20;

/// Follows the state for as long as the member runs.
pub(super) async fn announce(member: Arc<Member>) {
    let mut told = Told::default();
    let mut first = true;
    let mut period = clock::ticker(REPORT_PERIOD);
    loop {
        // Subscribed first: what is applied in between is looked at twice, never missed.
        let mut changes = member.replica.changes();
        match state::view(&member.replica) {
            Ok(view) => {
                let news = told.state(&view);
                told.keep_only(&view);
                if !std::mem::take(&mut first) {
                    news.iter().for_each(tell);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the state cannot be read");
                clock::pause(AGAIN_PERIOD).await;
                continue;
            }
        }
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Ok(Change::Applied { writes, .. }) => {
                        if writes.iter().any(is_end)
                            && let Ok(view) = state::view(&member.replica)
                        {
                            told.keep_only(&view);
                        }
                        let mut written = View::default();
                        match written.apply(&writes) {
                            Ok(()) => told.state(&written).iter().for_each(tell),
                            Err(error) => tracing::debug!(%error, "a change cannot be told"),
                        }
                    }
                    Err(regraft_replica::ChangesError::Stopped) => return,
                    Ok(Change::Reset { .. }) | Err(_) => break,
                },
                _ = period.tick() => {
                    if let Some(report) = member.engine.report().await {
                        told.problems(&report).iter().for_each(tell);
                    }
                }
            }
        }
    }
}

/// Whether a record that something is told of is gone.
fn is_end(write: &Write) -> bool {
    let told = [prefix::STATUSES, prefix::INCIDENTS, prefix::HEADS];
    match write {
        Write::Delete { key } => told.iter().any(|it| key.starts_with(it.as_bytes())),
        Write::Put { .. } => false,
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    Target(Box<TargetStatus>),
    Incident(Box<Incident>),
    /// The history of a repository was rewritten.
    Frozen(RepositoryName, String),
    Problem(RepositoryName, Problem),
    MoreProblems(RepositoryName, usize),
    NoProblems(RepositoryName),
}

/// What was told last.
#[derive(Debug, Default)]
struct Told {
    targets: BTreeMap<TargetKey, Standing>,
    incidents: BTreeMap<IncidentId, Stage>,
    frozen: BTreeMap<RepositoryName, Option<String>>,
    problems: BTreeMap<RepositoryName, BTreeSet<Problem>>,
}

/// What of a target is worth a line when it changes.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    sync: SyncState,
    reason: String,
    health: Health,
    revision: Option<Revision>,
}

/// What of an incident is worth a line when it changes.
#[derive(Debug, PartialEq, Eq)]
struct Stage {
    phase: Phase,
    executor: MemberId,
    waits_for: String,
    lock: Option<Fence>,
}

impl Told {
    /// News among records of the state; what they do not hold is as it was.
    fn state(&mut self, view: &View) -> Vec<News> {
        let mut news = Vec::new();
        for (key, status) in &view.statuses {
            // Says nothing of the application: who cannot be asked is told by the cluster's own line.
            if matches!(
                status.sync.state,
                SyncState::Unknown | SyncState::Unreachable
            ) {
                continue;
            }
            let standing = Standing {
                sync: status.sync.state,
                reason: status.sync.reason.clone(),
                health: status.health,
                revision: status.applied.as_ref().map(|it| it.revision.clone()),
            };
            if self.targets.get(key) != Some(&standing) {
                self.targets.insert(key.clone(), standing);
                news.push(News::Target(Box::new(status.clone())));
            }
        }
        for (id, incident) in &view.incidents {
            let stage = Stage {
                phase: incident.phase,
                executor: incident.executor,
                waits_for: incident.waits_for.clone(),
                lock: incident.lock,
            };
            if self.incidents.get(id) != Some(&stage) {
                self.incidents.insert(id.clone(), stage);
                news.push(News::Incident(Box::new(incident.clone())));
            }
        }
        for (name, head) in &view.heads {
            if self.frozen.insert(name.clone(), head.frozen.clone()) != Some(head.frozen.clone())
                && let Some(why) = &head.frozen
            {
                news.push(News::Frozen(name.clone(), why.clone()));
            }
        }
        news
    }

    /// Forgets what is not in the state any more.
    fn keep_only(&mut self, view: &View) {
        self.targets
            .retain(|key, _| view.statuses.contains_key(key));
        self.incidents
            .retain(|id, _| view.incidents.contains_key(id));
        self.frozen.retain(|name, _| view.heads.contains_key(name));
    }

    /// News among the problems of configuration and manifests.
    fn problems(&mut self, report: &Report) -> Vec<News> {
        let mut news = Vec::new();
        for (repository, problems) in &report.problems {
            let told = self.problems.entry(repository.clone()).or_default();
            let now: BTreeSet<Problem> = problems.iter().cloned().collect();
            let fresh: Vec<&Problem> = now.difference(told).collect();
            let more = fresh.len().saturating_sub(PROBLEMS_TOLD_MAX);
            let shown = fresh.into_iter().take(PROBLEMS_TOLD_MAX);
            news.extend(shown.map(|it| News::Problem(repository.clone(), it.clone())));
            if more > 0 {
                news.push(News::MoreProblems(repository.clone(), more));
            }
            *told = now;
        }
        self.problems.retain(|repository, _| {
            let stands = report.problems.contains_key(repository);
            if !stands {
                news.push(News::NoProblems(repository.clone()));
            }
            stands
        });
        news
    }
}

fn tell(news: &News) {
    match news {
        News::Target(status) => tell_target(status),
        News::Incident(incident) => tell_incident(incident),
        News::Frozen(repository, why) => tracing::warn!(
            %repository,
            %why,
            next = format!("look at the branch's history, then `regraft resume --repository {repository}`"),
            "healing is frozen"
        ),
        News::Problem(repository, problem) => {
            let (at, reason, next) = (&problem.location, &problem.reason, &problem.action);
            match problem.severity {
                Severity::Error => {
                    tracing::warn!(%repository, %at, reason, next, "wrong in Git: {}", problem.message);
                }
                Severity::Warning => {
                    tracing::warn!(%repository, %at, reason, next, "doubtful in Git: {}", problem.message);
                }
            }
        }
        News::MoreProblems(repository, count) => {
            tracing::warn!(%repository, count, next = "see them all with `regraft status`", "more problems stand in Git");
        }
        News::NoProblems(repository) => {
            tracing::info!(%repository, "no problems stand in Git any more");
        }
    }
}

fn tell_target(status: &TargetStatus) {
    let applied = status.applied.as_ref();
    let revision = applied.map(|it| it.revision.short()).unwrap_or_default();
    let (sync, health) = (status.sync.state, status.health);
    let why = match sync {
        SyncState::Synced => &status.health_message,
        _ => &status.sync.message,
    };
    let bad =
        matches!(sync, SyncState::Blocked | SyncState::Unreachable) || health == Health::Degraded;
    let next = bad.then(|| format!("see `regraft get applications {}`", status.key.application));
    // The macros take their level as a constant.
    macro_rules! say {
        ($level:expr) => {
            tracing::event!(
                $level,
                application = %status.key.application,
                cluster = %status.key.cluster,
                by = %status.member,
                revision,
                reason = status.sync.reason,
                why,
                next,
                "application is {sync}, {health}"
            )
        };
    }
    match bad {
        true => say!(tracing::Level::WARN),
        false => say!(tracing::Level::INFO),
    }
}

fn tell_incident(incident: &Incident) {
    let (id, application, by) = (&incident.id, &incident.application, incident.executor);
    let waits_for = &incident.waits_for;
    let fence = incident.lock.map(|fence| fence.to_string());
    let next = format!("see `regraft describe incident {id}`");
    match incident.phase {
        Phase::Open if waits_for.is_empty() => {
            let clusters: Vec<&str> = incident.targets.keys().map(|it| it.as_str()).collect();
            tracing::warn!(incident = %id, %application, %by, class = %incident.class, clusters = clusters.join(","), head = incident.seen_at.short(), next, "incident opened");
        }
        Phase::Open => {
            tracing::info!(incident = %id, %application, %by, %waits_for, "incident waits");
        }
        Phase::Planned => {
            let plan = incident.plan.as_ref();
            let restores = plan.map(|it| it.restores.short()).unwrap_or_default();
            let files = plan.map_or(0, |it| it.edits.len());
            tracing::info!(incident = %id, %application, %by, restores, files, %waits_for, "repair is planned");
        }
        Phase::Locked => {
            tracing::info!(incident = %id, %application, %by, fence, %waits_for, "repair holds its lock");
        }
        Phase::Committed => {
            let revision = incident.committed.as_ref().map(Revision::short);
            tracing::info!(incident = %id, %application, %by, revision, branch = %incident.branch, fence, %waits_for, "repair is committed");
        }
        Phase::Proposed => {
            tracing::warn!(incident = %id, %application, %by, %waits_for, next, "repair is proposed and waits for a person");
        }
        Phase::Ended => tell_end(incident, &next),
    }
}

fn tell_end(incident: &Incident, next: &str) {
    let (id, application, by) = (&incident.id, &incident.application, incident.executor);
    let Some(outcome) = &incident.outcome else {
        return;
    };
    match outcome.kind {
        OutcomeKind::Verified | OutcomeKind::Recovered | OutcomeKind::Superseded => {
            tracing::info!(incident = %id, %application, %by, outcome = %outcome.kind, why = outcome.message, "incident ended");
        }
        OutcomeKind::Vetoed | OutcomeKind::Escalated | OutcomeKind::Expired => {
            tracing::warn!(incident = %id, %application, %by, outcome = %outcome.kind, why = outcome.message, next, "incident ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_model::problem::Location;

    fn target(sync: SyncState, health: Health) -> View {
        let mut status = TargetStatus {
            health,
            ..TargetStatus::default()
        };
        status.key.application = "shop".into();
        status.sync.state = sync;
        let mut view = View::default();
        view.statuses.insert(status.key.clone(), status);
        view
    }

    #[test]
    fn a_target_is_told_when_it_changes_and_only_then() {
        let mut told = Told::default();
        let synced = target(SyncState::Synced, Health::Healthy);
        assert_eq!(told.state(&synced).len(), 1);
        assert_eq!(told.state(&synced), []);
        assert_eq!(
            told.state(&View::default()),
            [],
            "what is not written is as it was"
        );
        assert_eq!(told.state(&synced), [], "and is not told again");
        assert_eq!(
            told.state(&target(SyncState::Synced, Health::Degraded))
                .len(),
            1
        );
        assert_eq!(told.state(&synced).len(), 1);
        let lost = target(SyncState::Unreachable, Health::Unknown);
        assert_eq!(told.state(&lost), [], "its cluster is told once");
        assert_eq!(told.state(&synced), [], "it is as it was before");
    }

    fn report(messages: &[&str]) -> Report {
        let problems: Vec<Problem> = messages
            .iter()
            .map(|message| Problem {
                location: Location {
                    file: ".regraft/shop.yaml".to_owned(),
                    line: 3,
                    column: 1,
                },
                severity: Severity::Error,
                reason: "UnknownField".to_owned(),
                message: (*message).to_owned(),
                action: String::new(),
            })
            .collect();
        let mut report = Report::default();
        if !problems.is_empty() {
            report.problems.insert("fleet".into(), problems);
        }
        report
    }

    #[test]
    fn problems_are_told_once_while_they_stand_and_when_they_are_gone() {
        let mut told = Told::default();
        assert_eq!(told.problems(&report(&[])), []);
        assert_eq!(told.problems(&report(&["one", "two"])).len(), 2);
        assert_eq!(told.problems(&report(&["one", "two"])), []);
        let news = told.problems(&report(&["two", "three"]));
        assert!(
            matches!(&news[..], [News::Problem(_, problem)] if problem.message == "three"),
            "{news:?}"
        );
        assert_eq!(
            told.problems(&report(&[])),
            [News::NoProblems("fleet".into())]
        );
        assert_eq!(told.problems(&report(&["two"])).len(), 1, "it came back");
    }

    #[test]
    fn a_flood_of_problems_is_cut() {
        let messages: Vec<String> = (0..50).map(|number| format!("number {number}")).collect();
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
        let news = Told::default().problems(&report(&messages));
        assert_eq!(news.len(), PROBLEMS_TOLD_MAX + 1);
        assert_eq!(
            news.last(),
            Some(&News::MoreProblems("fleet".into(), 50 - PROBLEMS_TOLD_MAX))
        );
    }
}
