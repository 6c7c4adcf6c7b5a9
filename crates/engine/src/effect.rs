//! What an engine asks for.

use crate::event::ProposalId;
use regraft_model::InvariantId;
use regraft_model::apply::{ApplyRequest, KindVersion};
use regraft_model::git::CommitRequest;
use regraft_model::id::{
    ApplicationName, ClusterName, Fence, IncidentId, RepositoryName, TargetKey,
};
use regraft_model::source::Revision;
use regraft_state::command::Command;
use std::collections::BTreeSet;

/// Everything an engine can ask for. Each effect but the last three is answered by one event, or by none when
/// the member dies; asking twice is harmless.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Propose a command under this engine's session.
    Propose {
        /// Names the answer.
        id: ProposalId,
        /// The command.
        command: Box<Command>,
    },
    /// Ask the remote for the tracked branch's tip, and fetch it when it moved.
    Fetch {
        /// Repository.
        repository: RepositoryName,
        /// The recorded head, to tell the relation.
        known: Option<Revision>,
    },
    /// Read a revision's configuration and tree ids; fetch it first when it is not here.
    Load {
        /// Repository.
        repository: RepositoryName,
        /// Revision.
        revision: Revision,
    },
    /// Read an application's files.
    Read {
        /// Application.
        application: ApplicationName,
        /// Repository.
        repository: RepositoryName,
        /// Revision.
        revision: Revision,
        /// Directory.
        path: String,
    },
    /// Read what changed below a directory between two revisions.
    History {
        /// Incident it is for.
        incident: IncidentId,
        /// Repository.
        repository: RepositoryName,
        /// Exclusive start.
        from: Revision,
        /// Inclusive end.
        to: Revision,
        /// Directory.
        path: String,
    },
    /// Keep exactly these kinds of ours watched in a cluster; connects it when it is new.
    Watch {
        /// Cluster.
        cluster: ClusterName,
        /// Name of its credentials in the member's configuration.
        credentials: String,
        /// Kinds, besides those always watched.
        kinds: BTreeSet<KindVersion>,
    },
    /// Disconnect a cluster.
    Unwatch {
        /// Cluster.
        cluster: ClusterName,
    },
    /// Carry out staged writes in a cluster.
    Apply(Box<ApplyRequest>),
    /// Stop the writes of an apply under way, when there is one: they may not go on.
    Stop {
        /// Target.
        target: TargetKey,
    },
    /// Commit and push. With a lock, the runner first makes sure by a linearizable read that the fence still
    /// holds, and answers `Failed` when it does not (I2).
    Commit {
        /// Incident.
        incident: IncidentId,
        /// Fence of the lock; absent for a proposal's branch.
        lock: Option<Fence>,
        /// The commit.
        request: Box<CommitRequest>,
    },
    /// Tell people.
    Say {
        /// How loud.
        level: Level,
        /// What it is about.
        subject: String,
        /// For people.
        message: String,
    },
    /// An invariant stopped something, or was found broken: counts in `/metrics`.
    Count {
        /// Which.
        invariant: InvariantId,
        /// Whether it held.
        kind: CountKind,
    },
}

/// How loud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For the record.
    Info,
    /// A person may want to look.
    Warning,
    /// A person has to look.
    Page,
}

/// What is counted of an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CountKind {
    /// The guard stopped something that would have broken it.
    Prevented,
    /// It was found broken.
    Violated,
}
