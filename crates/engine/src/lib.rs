//! Chains the stages: `on(event, now) -> effects`.
//!
//! ```text
//! Git head ─ Load/Read ─> render ─> diff ─> Apply ─> cluster
//! cluster ─ Seen/Gone ─> health, detect ─> Report, OpenIncident ─> state
//! state ─ incident ─> remedy ─> Plan, Acquire ─> Commit ─> Git head ...
//! ```
//!
//! The engine reads no clock, file or network. It is level-triggered: every decision is taken again from the
//! replicated state and what the clusters last told, so a lost, late or doubled event costs time, never truth.

pub mod effect;
pub mod event;

pub use effect::{CountKind, Effect, Level};
pub use event::{Event, ProposalId, ProposeOutcome, Role};

use regraft_model::id::{BranchName, MemberId, RepositoryName};
use regraft_model::time::{Seconds, Timestamp};

/// What an engine is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This member.
    pub member: MemberId,
    /// Tracked branches.
    pub repositories: Vec<(RepositoryName, BranchName)>,
    /// How often the leader asks a remote for its tip.
    pub poll: Seconds,
}
