//! Git work of one repository, on a thread of its own: libgit2 blocks, and a slow remote must delay no other.

use super::engine::Engine;
use super::gate::Gate;
use super::metrics::{GitOperation, GitResult, Metrics};
use super::secret;
use crate::clock;
use crate::config;
use crate::document::ProblemDocument;
use crate::failure::{self, Exit, Failure};
use regraft_engine::Event;
use regraft_model::git::{CommitOutcome, CommitRequest, History, HistoryError, Relation, Snapshot};
use regraft_model::id::{ApplicationName, BranchName, Fence, IncidentId, RepositoryName};
use regraft_model::plan::Edit;
use regraft_model::source::{Revision, SourceTree, TreeId};
use regraft_repo::{Credentials, Error, Fetched, Identity, Permit, Repository};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tokio::sync::oneshot;

/// Work that waits for one repository: a read of each of a thousand applications.
const QUEUE_WORK: usize = 1024;
/// Longest history looked at for an incident: more commits since the last verified revision are no small step back.
const HISTORY_COMMITS_MAX: usize = 200;

/// A repository's queue.
#[derive(Clone)]
pub(super) struct Git {
    queue: mpsc::SyncSender<Work>,
    obstacles: Obstacles,
}

/// Why each operation failed when it was last tried.
type Obstacles = Arc<Mutex<BTreeMap<GitOperation, ProblemDocument>>>;

/// Whether a member is the one that asks remotes for their tips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    Remotes,
    Nobody,
}

/// What can be asked of a repository.
pub(super) enum Work {
    Fetch {
        known: Option<Revision>,
    },
    Load {
        revision: Revision,
    },
    Read {
        application: ApplicationName,
        revision: Revision,
        path: String,
    },
    History {
        incident: IncidentId,
        from: Revision,
        to: Revision,
        path: String,
    },
    Commit {
        incident: IncidentId,
        /// Fence of the lock; absent for a proposal's branch.
        lock: Option<Fence>,
        request: Box<CommitRequest>,
    },
    /// For people: the unified diff of a plan.
    DiffText {
        parent: Revision,
        edits: Vec<Edit>,
        reply: oneshot::Sender<Result<String, String>>,
    },
    /// For people: an application's files.
    Files {
        revision: Revision,
        path: String,
        reply: oneshot::Sender<Result<SourceTree, String>>,
    },
}

/// Opens the local clone and starts its thread.
pub(super) fn start(
    config: &config::Repository,
    data_dir: &Path,
    gate: Arc<Gate>,
    engine: Engine,
    metrics: Metrics,
) -> Result<Git, Failure> {
    let repository = open(config, data_dir)
        .map_err(|error| Failure::of(Exit::Usage, error.reason(), &error, error.next_action()))?;
    let (sender, queue) = mpsc::sync_channel(QUEUE_WORK);
    let obstacles = Obstacles::default();
    let mut worker = Worker {
        name: config.name.clone(),
        url: config.url.clone(),
        branch: config.branch.clone(),
        obstacles: Arc::clone(&obstacles),
        source: config.credentials.clone(),
        repository,
        gate,
        engine,
        metrics,
    };
    clock::start_thread(format!("git-{}", config.name), move || {
        while let Ok(work) = queue.recv() {
            worker.perform(work);
        }
    })
    .map_err(|error| {
        Failure::of(
            Exit::Failed,
            "NoThread",
            &error,
            "are there too many threads?",
        )
    })?;
    Ok(Git {
        queue: sender,
        obstacles,
    })
}

impl Git {
    /// Queues work; gives it back when there is no room.
    pub(super) fn ask(&self, work: Work) -> Result<(), Work> {
        self.queue.try_send(work).map_err(|error| match error {
            mpsc::TrySendError::Full(work) | mpsc::TrySendError::Disconnected(work) => work,
        })
    }

    /// Why the repository cannot be read. That a remote is away is known only while its tip is asked for.
    pub(super) fn problem(&self, asks: Asks) -> Option<ProblemDocument> {
        let obstacles = self
            .obstacles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut known = obstacles
            .iter()
            .filter(|(operation, _)| asks == Asks::Remotes || **operation != GitOperation::Fetch);
        known.next().map(|(_, problem)| problem.clone())
    }

    /// Whether the log has a line of ours about what this message says.
    pub(super) fn has_told(&self, message: &str) -> bool {
        self.obstacles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .any(|problem| message.starts_with(&problem.message))
    }

    /// The unified diff of a plan's edits.
    pub(super) async fn diff_text(
        &self,
        parent: Revision,
        edits: Vec<Edit>,
    ) -> Result<String, String> {
        let (reply, answer) = oneshot::channel();
        self.ask(Work::DiffText {
            parent,
            edits,
            reply,
        })
        .map_err(|_| BUSY.to_owned())?;
        answer.await.map_err(|_| BUSY.to_owned())?
    }

    /// The files below a folder.
    pub(super) async fn files(
        &self,
        revision: Revision,
        path: String,
    ) -> Result<SourceTree, String> {
        let (reply, answer) = oneshot::channel();
        self.ask(Work::Files {
            revision,
            path,
            reply,
        })
        .map_err(|_| BUSY.to_owned())?;
        answer.await.map_err(|_| BUSY.to_owned())?
    }
}

/// Told when a queue is full.
pub(super) const BUSY: &str =
    "the repository's queue is full: its remote is slow, or nothing goes on";

impl Work {
    /// The answer to work that is not done: it failed, and is asked for again.
    pub(super) fn refused(self, repository: &RepositoryName, reason: &str) -> Option<Event> {
        let reason = reason.to_owned();
        let repository = repository.clone();
        Some(match self {
            Work::Fetch { .. } => Event::Fetched {
                repository,
                outcome: Err(reason),
            },
            Work::Load { revision } => Event::Loaded {
                repository,
                revision,
                outcome: Err(reason),
            },
            Work::Read {
                application,
                revision,
                ..
            } => Event::SourceRead {
                application,
                revision,
                outcome: Err(reason),
            },
            Work::History {
                incident, from, to, ..
            } => Event::HistoryRead {
                incident,
                from,
                to,
                outcome: Err(HistoryError::Unreadable(reason)),
            },
            Work::Commit {
                incident, request, ..
            } => Event::Committed {
                incident,
                key: request.key,
                outcome: CommitOutcome::Failed { reason },
            },
            Work::DiffText { .. } | Work::Files { .. } => return None,
        })
    }
}

struct Worker {
    name: RepositoryName,
    url: String,
    branch: BranchName,
    obstacles: Obstacles,
    source: regraft_repo::CredentialsSource,
    repository: Repository,
    gate: Arc<Gate>,
    engine: Engine,
    metrics: Metrics,
}

impl Worker {
    fn perform(&mut self, work: Work) {
        let repository = self.name.clone();
        match work {
            Work::Fetch { known } => {
                let outcome =
                    self.counted(GitOperation::Fetch, |worker| worker.fetch(known.as_ref()));
                self.engine.tell_blocking(Event::Fetched {
                    repository,
                    outcome,
                });
            }
            Work::Load { revision } => {
                let outcome = self.counted(GitOperation::Load, |worker| worker.load(&revision));
                self.engine.tell_blocking(Event::Loaded {
                    repository,
                    revision,
                    outcome,
                });
            }
            Work::Read {
                application,
                revision,
                path,
            } => {
                let outcome =
                    self.counted(GitOperation::Read, |worker| worker.read(&revision, &path));
                self.engine.tell_blocking(Event::SourceRead {
                    application,
                    revision,
                    outcome,
                });
            }
            Work::History {
                incident,
                from,
                to,
                path,
            } => {
                let outcome = self.history(&from, &to, &path);
                self.metrics
                    .git(&self.name, GitOperation::History, GitResult::from(&outcome));
                self.engine.tell_blocking(Event::HistoryRead {
                    incident,
                    from,
                    to,
                    outcome,
                });
            }
            Work::Commit {
                incident,
                lock,
                request,
            } => {
                let outcome = self.commit(&request, &self.permit(&incident, lock));
                let result = match outcome {
                    CommitOutcome::Committed(_) | CommitOutcome::AlreadyThere(_) => GitResult::Done,
                    _ => GitResult::Failed,
                };
                self.metrics.git(&self.name, GitOperation::Commit, result);
                self.engine.tell_blocking(Event::Committed {
                    incident,
                    key: request.key,
                    outcome,
                });
            }
            Work::DiffText {
                parent,
                edits,
                reply,
            } => {
                let _ = reply.send(
                    self.diff_text(&parent, &edits)
                        .map_err(|error| failure::chain(&error)),
                );
            }
            Work::Files {
                revision,
                path,
                reply,
            } => {
                let files = self.read(&revision, &path).map(|(_, tree)| tree);
                let _ = reply.send(files.map_err(|error| failure::chain(&error)));
            }
        }
    }

    fn counted<T>(
        &mut self,
        operation: GitOperation,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, String> {
        let outcome = work(self);
        self.metrics
            .git(&self.name, operation, GitResult::from(&outcome));
        // A folder that is missing is an application's problem, and told there.
        if operation != GitOperation::Read {
            self.note(operation, outcome.as_ref().err());
        }
        outcome.map_err(|error| format!("{} {}", sentence(&error), error.next_action()))
    }

    /// Tells once what stands in the way, and once that it is gone.
    fn note(&self, operation: GitOperation, error: Option<&Error>) {
        let mut obstacles = self
            .obstacles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(error) = error else {
            if obstacles.remove(&operation).is_some() {
                tracing::info!(
                    repository = %self.name,
                    url = self.url,
                    branch = %self.branch,
                    "repository can be read again"
                );
            }
            return;
        };
        let problem = ProblemDocument {
            reason: error.reason().to_owned(),
            message: failure::chain(error),
            action: error.next_action().to_owned(),
        };
        if obstacles.get(&operation) != Some(&problem) {
            tracing::warn!(
                repository = %self.name,
                url = self.url,
                branch = %self.branch,
                reason = problem.reason,
                error = problem.message,
                next = problem.action,
                "repository cannot be read"
            );
            obstacles.insert(operation, problem);
        }
    }

    fn fetch(&mut self, known: Option<&Revision>) -> Result<(Revision, Option<Relation>), Error> {
        self.renew_credentials()?;
        match (self.repository.fetch(known)?, known) {
            (Fetched::Unchanged, Some(known)) => Ok((known.clone(), Some(Relation::Same))),
            (Fetched::Head { revision }, Some(known)) => {
                let relation = self.repository.relation(known, &revision)?;
                Ok((revision, Some(relation)))
            }
            (Fetched::Head { revision }, None) => Ok((revision, None)),
            // Only a known head can be unchanged.
            (Fetched::Unchanged, None) => Err(Error::Request {
                problem: "no head was known".to_owned(),
            }),
        }
    }

    fn load(&mut self, revision: &Revision) -> Result<Snapshot, Error> {
        self.ensure(revision)?;
        self.repository.snapshot(revision)
    }

    fn read(&mut self, revision: &Revision, path: &str) -> Result<(TreeId, SourceTree), Error> {
        self.ensure(revision)?;
        self.repository.read(revision, path)
    }

    fn history(
        &mut self,
        from: &Revision,
        to: &Revision,
        path: &str,
    ) -> Result<History, HistoryError> {
        self.ensure(to)
            .map_err(|error| HistoryError::Unreadable(failure::chain(&error)))?;
        self.repository.history(from, to, path, HISTORY_COMMITS_MAX)
    }

    /// Asks whether a push is still wanted; a proposal holds no lock, and waits for a person anyway.
    fn permit(&self, incident: &IncidentId, lock: Option<Fence>) -> Permit {
        let (gate, incident) = (Arc::clone(&self.gate), incident.clone());
        Arc::new(move || lock.map_or(Ok(()), |fence| gate.check(&incident, fence)))
    }

    fn commit(&mut self, request: &CommitRequest, permit: &Permit) -> CommitOutcome {
        if let Err(error) = self.renew_credentials() {
            return CommitOutcome::Failed {
                reason: failure::chain(&error),
            };
        }
        self.repository.commit(request, clock::now(), permit)
    }

    fn diff_text(&mut self, parent: &Revision, edits: &[Edit]) -> Result<String, Error> {
        self.ensure(parent)?;
        self.repository.diff_text(parent, edits, secret::may_be_in)
    }

    fn ensure(&mut self, revision: &Revision) -> Result<(), Error> {
        if self.repository.has(revision)? {
            return Ok(());
        }
        self.renew_credentials()?;
        self.repository.ensure(revision)
    }

    /// Tokens are rotated under a running member, so they are read again for every talk with the remote.
    fn renew_credentials(&mut self) -> Result<(), Error> {
        if self.source == regraft_repo::CredentialsSource::None {
            return Ok(());
        }
        self.repository
            .replace_credentials(Credentials::load(&self.source)?)
    }
}

/// The chain of causes as one sentence, before another one.
fn sentence(error: &Error) -> String {
    let chain = failure::chain(error);
    format!("{}.", chain.trim_end_matches('.'))
}

fn open(config: &config::Repository, data_dir: &Path) -> Result<Repository, Error> {
    let folder = data_dir.join("git").join(config.name.as_str());
    let mut opened = regraft_repo::Config::new(
        config.name.clone(),
        config.url.clone(),
        config.branch.clone(),
        folder,
    );
    opened.credentials = Credentials::load(&config.credentials)?;
    opened.certificate_authority = config.ca.clone();
    if let Some((name, mail)) = &config.author {
        opened.author = Identity {
            name: name.clone(),
            mail: mail.clone(),
        };
    }
    Repository::open(opened)
}
