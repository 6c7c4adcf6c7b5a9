//! Performs what the engine asks for. Nothing here waits: work goes to queues, and what finds no room is answered
//! as failed at once.

use super::clusters::Clusters;
use super::git::{BUSY, Git, Work};
use super::metrics::Metrics;
use super::propose::Proposer;
use crate::log::PAGE;
use regraft_engine::{Effect, Event, Level};
use regraft_model::id::RepositoryName;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything effects go to.
pub(super) struct Runner {
    pub(super) proposer: Arc<Proposer>,
    pub(super) git: BTreeMap<RepositoryName, Git>,
    pub(super) clusters: Arc<Clusters>,
    pub(super) metrics: Metrics,
}

impl Runner {
    /// Performs one effect; an answer that is there at once is returned.
    pub(super) fn perform(&self, effect: Effect) -> Option<Event> {
        self.metrics.effect(&effect);
        match effect {
            Effect::Propose { id, command } => self.proposer.propose(id, command),
            Effect::Fetch { repository, known } => self.ask(&repository, Work::Fetch { known }),
            Effect::Load {
                repository,
                revision,
            } => self.ask(&repository, Work::Load { revision }),
            Effect::Read {
                application,
                repository,
                revision,
                path,
            } => self.ask(
                &repository,
                Work::Read {
                    application,
                    revision,
                    path,
                },
            ),
            Effect::History {
                incident,
                repository,
                from,
                to,
                path,
            } => self.ask(
                &repository,
                Work::History {
                    incident,
                    from,
                    to,
                    path,
                },
            ),
            Effect::Watch {
                cluster,
                credentials,
                kinds,
            } => self.clusters.watch(cluster, credentials, kinds),
            Effect::Unwatch { cluster } => {
                self.clusters.unwatch(&cluster);
                None
            }
            Effect::Stop { target } => {
                self.clusters.stop_apply(&target);
                None
            }
            Effect::Apply(request) => {
                let metrics = self.metrics.clone();
                self.clusters.apply(*request, move |outcome| {
                    metrics.applied(outcome);
                    if !outcome.pruned.is_empty() {
                        tracing::info!(
                            application = %outcome.target.application,
                            cluster = %outcome.target.cluster,
                            revision = outcome.revision.short(),
                            objects = outcome.pruned.len(),
                            "objects that left Git were deleted"
                        );
                    }
                })
            }
            Effect::Commit {
                incident,
                lock,
                request,
            } => {
                let repository = request.repository.clone();
                let work = Work::Commit {
                    incident,
                    lock,
                    request,
                };
                self.ask(&repository, work)
            }
            Effect::Say {
                level,
                subject,
                message,
            } => {
                let told = self
                    .git
                    .get(&RepositoryName::from(subject.as_str()))
                    .is_some_and(|git| git.has_told(&message));
                // With the URL and the next action; once is enough.
                if told {
                    tracing::debug!(subject, "{message}");
                } else {
                    say(level, &subject, &message);
                }
                None
            }
            Effect::Prevented { invariant } => {
                self.metrics.prevented(invariant);
                None
            }
        }
    }

    fn ask(&self, repository: &RepositoryName, work: Work) -> Option<Event> {
        match self.git.get(repository) {
            Some(git) => git
                .ask(work)
                .err()
                .and_then(|work| work.refused(repository, BUSY)),
            None => unconfigured(repository, work),
        }
    }
}

fn unconfigured(repository: &RepositoryName, work: Work) -> Option<Event> {
    work.refused(
        repository,
        &format!("this member's configuration has no repository `{repository}`"),
    )
}

fn say(level: Level, subject: &str, message: &str) {
    match level {
        Level::Info => tracing::info!(target: "regraft", subject, "{message}"),
        Level::Warning => tracing::warn!(target: "regraft", subject, "{message}"),
        // What to do depends on the words; the page of the manual tells it for each.
        Level::Page => tracing::error!(
            target: PAGE,
            subject,
            next = "see \"What pages a person\" in docs/operations.md",
            "{message}"
        ),
    }
}
