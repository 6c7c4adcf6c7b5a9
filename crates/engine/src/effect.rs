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

/// Everything an engine can ask for. Where an event answers an effect, it comes once, or never when the member dies;
/// asking twice is harmless.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Propose a command under this engine's session. Answered by `Proposed`.
    Propose {
        /// Names the answer.
        id: ProposalId,
        /// The command.
        command: Box<Command>,
    },
    /// Ask the remote for the tracked branch's tip, and fetch it when it moved. Answered by `Fetched`.
    Fetch {
        /// Repository.
        repository: RepositoryName,
        /// The recorded head, to tell the relation.
        known: Option<Revision>,
    },
    /// Read a revision's configuration and tree ids; fetch it first when it is not here. Answered by `Loaded`.
    Load {
        /// Repository.
        repository: RepositoryName,
        /// Revision.
        revision: Revision,
    },
    /// Read an application's files. Answered by `SourceRead`.
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
    /// Read what changed below a directory between two revisions. Answered by `HistoryRead`.
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
    /// Keep exactly these kinds of ours watched in a cluster; connects it when it is new. What it shows comes as
    /// `Cluster` events for as long as it is watched.
    Watch {
        /// Cluster.
        cluster: ClusterName,
        /// Name of its credentials in the member's configuration.
        credentials: String,
        /// Kinds, besides those always watched.
        kinds: BTreeSet<KindVersion>,
    },
    /// Disconnect a cluster. Not answered.
    Unwatch {
        /// Cluster.
        cluster: ClusterName,
    },
    /// Carry out staged writes in a cluster. Answered by `Applied`.
    Apply(Box<ApplyRequest>),
    /// Stop the writes of an apply under way, when there is one: they may not go on. Not answered: the
    /// apply is.
    Stop {
        /// Target.
        target: TargetKey,
    },
    /// Commit and push. With a lock, the runner first makes sure by a linearizable read that the fence still
    /// holds, and answers `Failed` when it does not (I2). Answered by `Committed`.
    Commit {
        /// Incident.
        incident: IncidentId,
        /// Fence of the lock; absent for a proposal's branch.
        lock: Option<Fence>,
        /// The commit.
        request: Box<CommitRequest>,
    },
    /// Tell people. Not answered.
    Say {
        /// How loud.
        level: Level,
        /// What it is about.
        subject: String,
        /// For people.
        message: String,
    },
    /// What keeps an invariant stopped something that would have broken it: counts in `/metrics`. Not answered.
    Prevented {
        /// Which.
        invariant: InvariantId,
    },
}

pub(crate) fn prevented(invariant: InvariantId) -> Effect {
    Effect::Prevented { invariant }
}

pub(crate) fn say(effects: &mut Vec<Effect>, level: Level, subject: &str, message: String) {
    effects.push(Effect::Say {
        level,
        subject: subject.to_owned(),
        message,
    });
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
