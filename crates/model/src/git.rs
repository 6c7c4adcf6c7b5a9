//! What crosses the edge to Git: snapshots in, commits out.

use crate::id::{BranchName, RepositoryName};
use crate::plan::Edit;
use crate::source::{Commit, Revision, SourceTree, TreeId};
use std::collections::BTreeMap;

/// Trailer with the plan's id: the key that is looked for before committing.
pub const PLAN_TRAILER: &str = "Regraft-Plan";
/// Trailer with the incident's id.
pub const INCIDENT_TRAILER: &str = "Regraft-Incident";
/// Trailer with the installation's id.
pub const INSTALLATION_TRAILER: &str = "Regraft-Installation";

/// A revision of a repository: its configuration with bytes, and the id of every directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision.
    pub revision: Revision,
    /// Files of `.regraft/`.
    pub config: SourceTree,
    /// Directory path (no slashes at either end, root is empty) to its tree.
    pub trees: BTreeMap<String, TreeId>,
}

/// How a head relates to one seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same commit.
    Same,
    /// It descends from it.
    Descends,
    /// It does not: history was rewritten, or the branch was reset.
    Rewritten,
}

/// Commits after `from` up to `to`, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Exclusive start.
    pub from: Revision,
    /// Inclusive end.
    pub to: Revision,
    /// The files at `from`.
    pub base: SourceTree,
    /// First-parent line from `from` (exclusive) to `to` (inclusive), oldest first, only commits that changed
    /// the path. `to` is among them only if it changed the path.
    pub commits: Vec<Commit>,
    /// The files at `to`.
    pub tip: SourceTree,
}

/// Why a history cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryError {
    /// `to` does not descend from `from`.
    Rewritten,
    /// More commits than the bound.
    TooLong {
        /// The bound, in commits.
        limit: usize,
    },
    /// It could not be read: the error chain, without secrets.
    Unreadable(String),
}

/// A commit to push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRequest {
    /// The repository.
    pub repository: RepositoryName,
    /// The tracked branch.
    pub branch: BranchName,
    /// Branch to push to: the tracked one, or `regraft/<plan>` for a proposal.
    pub push_to: BranchName,
    /// The parent; the tracked branch's tip must be exactly this.
    pub parent: Revision,
    /// Changes.
    pub edits: Vec<Edit>,
    /// The message with its trailers.
    pub message: String,
    /// Value of [`PLAN_TRAILER`]: looked for in the branch before committing.
    pub key: String,
    /// Value of [`INSTALLATION_TRAILER`]: another installation's commit with the same key is not ours.
    pub installation: String,
    /// Search for `key` back to this revision (exclusive).
    pub search_from: Revision,
}

/// What became of a [`CommitRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Pushed, as this revision.
    Committed(Revision),
    /// A commit with this key already is on the branch.
    AlreadyThere(Revision),
    /// The tip is not the parent: plan again.
    Lost {
        /// The tip that was found.
        tip: Revision,
    },
    /// Outcome unknown or failed; ask again (the key makes that safe).
    Failed {
        /// The error chain, without secrets.
        reason: String,
    },
}
