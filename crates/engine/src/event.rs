//! What can happen to an engine.

use regraft_model::apply::{ApplyOutcome, ClusterEvent};
use regraft_model::git::{CommitOutcome, History, HistoryError, Relation, Snapshot};
use regraft_model::id::{ApplicationName, ClusterName, IncidentId, MemberId, RepositoryName};
use regraft_model::source::{Revision, SourceTree, TreeId};
use regraft_model::time::Timestamp;
use regraft_state::command::Response;
use regraft_state::store::Write;
use std::collections::BTreeMap;

/// Everything an engine reacts to. Late, doubled and lost events are part of life: no event is a promise.
#[derive(Clone, Debug)]
pub enum Event {
    /// The state as a whole: at start, and after falling behind.
    Restored {
        /// Log index it stands for.
        index: u64,
        /// Every pair of the store.
        pairs: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// The clock of this member was set, or its machine slept: spans that began before mean nothing.
    ClockSet,
    /// One command was applied on this member.
    Replicated {
        /// Log index.
        index: u64,
        /// Its writes.
        writes: Vec<Write>,
    },
    /// What this member knows about the trio.
    Role(Role),
    /// The answer to [`crate::Effect::Propose`].
    Proposed {
        /// The proposal.
        id: ProposalId,
        /// What came of it.
        outcome: ProposeOutcome,
    },
    /// The answer to [`crate::Effect::Fetch`].
    Fetched {
        /// Repository.
        repository: RepositoryName,
        /// The remote tip and how it relates to the revision given in the effect, or the error chain.
        outcome: Result<(Revision, Option<Relation>), String>,
    },
    /// The answer to [`crate::Effect::Load`].
    Loaded {
        /// Repository.
        repository: RepositoryName,
        /// Revision asked for.
        revision: Revision,
        /// Its snapshot, or the error chain.
        outcome: Result<Snapshot, String>,
    },
    /// The answer to [`crate::Effect::Read`].
    SourceRead {
        /// Application.
        application: ApplicationName,
        /// Revision asked for.
        revision: Revision,
        /// Its files, or the error chain.
        outcome: Result<(TreeId, SourceTree), String>,
    },
    /// The answer to [`crate::Effect::History`].
    HistoryRead {
        /// Incident.
        incident: IncidentId,
        /// Exclusive start asked for.
        from: Revision,
        /// Inclusive end asked for.
        to: Revision,
        /// The history.
        outcome: Result<History, HistoryError>,
    },
    /// A cluster tells.
    Cluster {
        /// Which.
        cluster: ClusterName,
        /// What.
        event: ClusterEvent,
    },
    /// The answer to [`crate::Effect::Apply`].
    Applied(ApplyOutcome),
    /// The answer to [`crate::Effect::Commit`].
    Committed {
        /// Incident.
        incident: IncidentId,
        /// The key asked for (`Regraft-Plan`).
        key: String,
        /// What came of it.
        outcome: CommitOutcome,
    },
    /// Nothing happened; time went on. At least once a second.
    Tick,
}

/// What this member knows about the trio.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The leader, when one is known.
    pub leader: Option<MemberId>,
    /// The members.
    pub members: Vec<MemberId>,
    /// By the leader only: milliseconds since each other member answered.
    pub silent_ms: BTreeMap<MemberId, u64>,
    /// The last proof that this member's state is that of the majority (a linearizable read).
    pub confirmed: Option<Proof>,
}

/// A proof that what is applied up to an index is what the majority has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The moment before the majority was asked, in this member's own clock.
    pub at: Timestamp,
    /// The log index that was applied when the majority answered.
    pub index: u64,
}

/// A proposal of this engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// What came of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProposeOutcome {
    /// It was applied.
    Answered {
        /// Log index at which it was applied (first, when it was a repeat).
        index: u64,
        /// The machine's answer.
        response: Response,
    },
    /// It is not known whether it was or will be applied. The runner has already tried again with the same
    /// sequence within its bound.
    Unknown(String),
    /// It was not applied and as it is never will be: for people, why.
    Invalid(String),
}
