//! Performs what the engine asks for. Nothing here waits: work goes to queues, and what finds no room is answered
//! as failed at once.

use super::clusters::Clusters;
use super::engine::Engine;
use super::git::{BUSY, Git, Work};
use super::metrics::Metrics;
use super::propose::Proposer;
use super::state;
use crate::clock;
use regraft_engine::{Effect, Event, Level};
use regraft_model::git::{CommitOutcome, CommitRequest};
use regraft_model::id::{Fence, IncidentId, RepositoryName};
use regraft_model::incident::Phase;
use regraft_replica::Replica;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything effects go to.
pub(super) struct Runner {
    pub(super) replica: Replica,
    pub(super) proposer: Arc<Proposer>,
    pub(super) git: BTreeMap<RepositoryName, Git>,
    pub(super) clusters: Arc<Clusters>,
    pub(super) engine: Engine,
    pub(super) metrics: Metrics,
    pub(super) runtime: tokio::runtime::Handle,
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
            Effect::Apply(request) => {
                let metrics = self.metrics.clone();
                self.clusters
                    .apply(*request, move |outcome| metrics.applied(outcome))
            }
            Effect::Commit {
                incident,
                lock,
                request,
            } => self.commit(incident, lock, request),
            Effect::Say {
                level,
                subject,
                message,
            } => {
                say(level, &subject, &message);
                None
            }
            Effect::Count { invariant, kind } => {
                self.metrics.invariant(invariant, kind);
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

    /// I2: a push under a lock happens only after a linearizable read showed that the lock still holds. Git remains
    /// the lock of last resort for the time between this look and the push.
    fn commit(
        &self,
        incident: IncidentId,
        lock: Option<Fence>,
        request: Box<CommitRequest>,
    ) -> Option<Event> {
        let Some(fence) = lock else {
            let repository = request.repository.clone();
            return self.ask(&repository, Work::Commit { incident, request });
        };
        let Some(git) = self.git.get(&request.repository).cloned() else {
            return unconfigured(
                &request.repository.clone(),
                Work::Commit { incident, request },
            );
        };
        let (replica, engine) = (self.replica.clone(), self.engine.clone());
        let _runtime = self.runtime.enter();
        clock::start(async move {
            let refused = match holds(&replica, &incident, fence).await {
                Ok(()) => {
                    let repository = request.repository.clone();
                    git.ask(Work::Commit { incident, request })
                        .err()
                        .and_then(|work| work.refused(&repository, BUSY))
                }
                Err(reason) => Some(Event::Committed {
                    incident,
                    key: request.key,
                    outcome: CommitOutcome::Failed { reason },
                }),
            };
            if let Some(event) = refused {
                engine.tell(event).await;
            }
        });
        None
    }
}

/// Whether the lock of an incident still has this fence, has not run out, and the incident still wants its commit.
async fn holds(replica: &Replica, id: &IncidentId, fence: Fence) -> Result<(), String> {
    replica
        .barrier()
        .await
        .map_err(|error| format!("whether the lock holds cannot be read: {error}"))?;
    let (lock, incident) =
        state::lock_and_incident(replica, id).map_err(|error| error.to_string())?;
    let lock = lock.ok_or_else(|| format!("{id} holds no lock any more"))?;
    if lock.fence != fence {
        return Err(format!(
            "the lock of {id} has fence {}, not {fence}",
            lock.fence
        ));
    }
    if lock.expires_at <= clock::now() {
        return Err(format!("the lock of {id} ran out at {}", lock.expires_at));
    }
    match incident {
        Some(incident) if incident.phase == Phase::Locked => Ok(()),
        Some(incident) => Err(format!("{id} is {} and wants no commit", incident.phase)),
        None => Err(format!("there is no incident {id}")),
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
        Level::Page => tracing::error!(target: "page", subject, "{message}"),
    }
}
