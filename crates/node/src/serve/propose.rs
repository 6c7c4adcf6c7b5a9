//! Commands into the replicated log, exactly once.
//!
//! - Expected flow: a lane takes the next command of its queue, numbers it, and proposes the same bytes until an
//!   answer is there.
//! - Guarantees: commands about one subject keep their order (one lane each); the same (client, sequence) is applied
//!   once, however often it is proposed; within [`ANSWER_BOUND`] there is an answer, possibly "unknown".
//! - Assumptions: the boot id is new at every start.
//! - Errors: they end as [`ProposeOutcome::Unknown`], [`ProposeOutcome::Invalid`] or as [`Undecided`], with the reason
//!   for people.

use super::engine::Engine;
use super::metrics::Metrics;
use crate::clock;
use prost::Message as _;
use regraft_engine::{Event, ProposalId, ProposeOutcome};
use regraft_model::id::MemberId;
use regraft_replica::{ProposeError, Replica};
use regraft_state::command::{
    COMMAND_FORMAT, Command, Envelope, Fault, LockRequest, NewHead, Response, SharedBaselines,
};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

/// How long one command is proposed again before its outcome is called unknown.
const ANSWER_BOUND: Duration = Duration::from_secs(10);
/// Pauses between proposing the same command again: soon at first, because elections take half a second.
const AGAIN_PAUSES_MS: [u64; 4] = [25, 50, 100, 200];
/// Commands under way at the same time: enough to share the log's fsyncs.
const LANES: usize = 8;
/// Commands that wait in each lane.
const LANE_QUEUE: usize = 256;

/// The engine's commands.
pub(super) struct Proposer {
    lanes: Vec<mpsc::Sender<(ProposalId, Box<Command>)>>,
}

/// The commands of people, one after the other.
pub(super) struct People {
    replica: Replica,
    session: Mutex<Session>,
}

/// It is not known whether the command was or will be applied, or it was never proposed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Undecided {
    pub(super) kind: UndecidedKind,
    pub(super) reason: String,
}

/// What is known of a command without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UndecidedKind {
    /// It never got into the log.
    NotProposed,
    /// It never gets into the log as it is.
    Invalid,
    /// It may be applied, now or later.
    Unknown,
    /// The state cannot go on; a person has to look.
    Halted,
}

struct Session {
    client: String,
    sequence: u64,
}

impl Proposer {
    /// Starts the lanes; they end at `stop`, also while a command waits for its answer.
    pub(super) fn start(
        replica: &Replica,
        member: MemberId,
        boot: &str,
        engine: &Engine,
        metrics: &Metrics,
        stop: &CancellationToken,
    ) -> Self {
        let lanes = (0..LANES).map(|lane| {
            let (sender, mut queue) = mpsc::channel::<(ProposalId, Box<Command>)>(LANE_QUEUE);
            let (replica, engine, metrics) = (replica.clone(), engine.clone(), metrics.clone());
            let mut session = Session {
                client: format!("member-{member}-{boot}-{lane}"),
                sequence: 0,
            };
            let actor = format!("member/{member}");
            let stop = stop.clone();
            let working = async move {
                while let Some((id, command)) = queue.recv().await {
                    let outcome = match session.propose(&replica, &actor, &command).await {
                        Ok((index, response)) => ProposeOutcome::Answered { index, response },
                        Err(undecided) if undecided.kind == UndecidedKind::Invalid => {
                            ProposeOutcome::Invalid(undecided.reason)
                        }
                        Err(undecided) => ProposeOutcome::Unknown(undecided.reason),
                    };
                    metrics.proposal(&outcome);
                    engine.tell(Event::Proposed { id, outcome }).await;
                }
            };
            clock::start(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = working => {}
                }
            });
            sender
        });
        Self {
            lanes: lanes.collect(),
        }
    }

    /// Queues a command; answers at once when there is no room.
    pub(super) fn propose(&self, id: ProposalId, command: Box<Command>) -> Option<Event> {
        let lane = &self.lanes[lane_of(&command)];
        lane.try_send((id, command)).err().map(|_| Event::Proposed {
            id,
            outcome: ProposeOutcome::Unknown(format!("{LANE_QUEUE} commands wait already")),
        })
    }
}

impl People {
    pub(super) fn new(replica: Replica, member: MemberId, boot: &str) -> Self {
        let session = Session {
            client: format!("people-{member}-{boot}"),
            sequence: 0,
        };
        Self {
            replica,
            session: Mutex::new(session),
        }
    }

    /// Has a person's command applied.
    pub(super) async fn propose(
        &self,
        actor: &str,
        command: &Command,
    ) -> Result<(u64, Response), Undecided> {
        self.session
            .lock()
            .await
            .propose(&self.replica, actor, command)
            .await
    }
}

impl Session {
    async fn propose(
        &mut self,
        replica: &Replica,
        actor: &str,
        command: &Command,
    ) -> Result<(u64, Response), Undecided> {
        self.sequence += 1;
        let invalid = |reason: String| Undecided {
            kind: UndecidedKind::Invalid,
            reason,
        };
        let envelope = Envelope {
            client: self.client.clone(),
            sequence: self.sequence,
            actor: actor.to_owned(),
            format: COMMAND_FORMAT,
            command: serde_json::to_vec(command).map_err(|error| invalid(error.to_string()))?,
            operation: None,
        };
        let bytes = envelope.encode_to_vec();
        let started = clock::instant();
        let mut pauses = AGAIN_PAUSES_MS.iter();
        let mut kind = UndecidedKind::NotProposed;
        loop {
            let error = match replica.propose(bytes.clone()).await {
                Ok(proposed) => {
                    let response =
                        serde_json::from_slice(&proposed.response).map_err(|error| Undecided {
                            kind: UndecidedKind::Unknown,
                            reason: format!("applied, and the answer cannot be read: {error}"),
                        })?;
                    return Ok((proposed.index, response));
                }
                Err(error) => error,
            };
            match &error {
                ProposeError::Halted { .. } => {
                    return Err(Undecided {
                        kind: UndecidedKind::Halted,
                        reason: error.to_string(),
                    });
                }
                ProposeError::TooLarge { .. } => return Err(invalid(error.to_string())),
                ProposeError::Unknown => kind = UndecidedKind::Unknown,
                ProposeError::NotLeader { .. } | ProposeError::Unavailable { .. } => {}
            }
            if started.elapsed() >= ANSWER_BOUND {
                return Err(Undecided {
                    kind,
                    reason: error.to_string(),
                });
            }
            let pause_ms = pauses
                .next()
                .or(AGAIN_PAUSES_MS.last())
                .copied()
                .unwrap_or(1);
            clock::pause(Duration::from_millis(pause_ms)).await;
        }
    }
}

/// Commands about the same subject share a lane, so that they are applied in the order they were decided.
fn lane_of(command: &Command) -> usize {
    let mut hasher = DefaultHasher::new();
    match command {
        Command::Report { status } => status.key.hash(&mut hasher),
        Command::Retired { target } | Command::ShareBaselines(SharedBaselines { target, .. }) => {
            target.hash(&mut hasher)
        }
        Command::OpenIncident(Fault { application, .. })
        | Command::SyncNow { application }
        | Command::RemoteAsked { application, .. } => application.hash(&mut hasher),
        Command::AssignExecutor { incident, .. }
        | Command::Advance { incident, .. }
        | Command::Acquire(LockRequest { incident, .. })
        | Command::Renew { incident, .. }
        | Command::RecordVeto { incident, .. }
        | Command::Approve { incident, .. }
        | Command::Veto { incident, .. } => incident.hash(&mut hasher),
        Command::RegisterCluster { cluster, .. } | Command::ForgetCluster { cluster } => {
            cluster.hash(&mut hasher)
        }
        Command::RecordHead(NewHead { repository, .. })
        | Command::RecordConfiguration { repository, .. }
        | Command::ForgetRepository { repository } => repository.hash(&mut hasher),
        _ => {}
    }
    usize::try_from(hasher.finish() % LANES as u64).unwrap_or(0)
}
