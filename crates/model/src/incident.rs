//! An incident: one fault, its evidence, its repair, its end.

use crate::finding::{FailureClass, Finding};
use crate::id::{
    ApplicationName, BranchName, ClusterName, Fence, IncidentId, MemberId, RepositoryName,
};
use crate::plan::{GuardResult, Plan, Rejected};
use crate::source::{Revision, TreeId};
use crate::time::Timestamp;
use crate::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One fault in one application, over all clusters that show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// The application.
    pub application: ApplicationName,
    /// Its repository.
    pub repository: RepositoryName,
    /// The tracked branch.
    pub branch: BranchName,
    /// How it fails.
    pub class: FailureClass,
    /// The head at which the failure was seen.
    pub seen_at: Revision,
    /// The application's inputs at that head: a suspect stays the same while these do.
    pub suspect_tree: TreeId,
    /// Evidence by cluster.
    pub targets: BTreeMap<ClusterName, Vec<Finding>>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Who executes it.
    pub executor: MemberId,
    /// Fence of that assignment: an older executor changes nothing any more (I2).
    pub executor_fence: Fence,
    /// Where it stands.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Timestamp,
    /// When this phase gives up.
    pub deadline: Timestamp,
    /// What it waits for, for people; empty when nothing.
    pub waits_for: String,
    /// The newest plan.
    pub plan: Option<Plan>,
    /// What the guards said when it was last decided on, at most [`Incident::MAX_GUARDS`].
    pub guards: Vec<GuardResult>,
    /// What else was thought of then, and why not, at most [`Incident::MAX_REJECTED`].
    pub rejected: Vec<Rejected>,
    /// Fence of the lock its plan holds.
    pub lock: Option<Fence>,
    /// Our commit on the tracked branch.
    pub committed: Option<Revision>,
    /// When it was found there, stamped by the leader: what rates and quiet times count.
    pub committed_at: Option<Timestamp>,
    /// A person's approval of a proposal.
    pub approval: Option<Approval>,
    /// What happened, oldest first, at most [`Incident::MAX_STEPS`].
    pub steps: Vec<Step>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Incident {
    /// Most steps kept; the oldest after the first go.
    pub const MAX_STEPS: usize = 100;
    /// Most answers of guards kept; there are fewer guards than that.
    pub const MAX_GUARDS: usize = 32;
    /// Most rejected alternatives kept; a decision names a few.
    pub const MAX_REJECTED: usize = 16;

    /// Whether a person approved exactly the newest plan.
    pub fn is_approved(&self) -> bool {
        let approved = self.approval.as_ref().map(|approval| &approval.diff_hash);
        approved.is_some() && approved == self.plan.as_ref().map(|plan| &plan.diff_hash)
    }

    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        self.phase != Phase::Ended
    }
}

words! {
    /// Where an incident stands.
    pub enum Phase {
        /// Seen; evidence is gathered and a plan is made when it suffices.
        Open => "Open",
        /// A plan passed every guard; its lock is asked for.
        Planned => "Planned",
        /// The lock is held; the commit is under way.
        Locked => "Locked",
        /// The commit is on the tracked branch; its effect is verified.
        Committed => "Committed",
        /// The commit waits on a branch of its own for a person. Holds no lock.
        Proposed => "Proposed",
        /// Over.
        Ended => "Ended",
    }
}

/// How an incident ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The way.
    pub kind: OutcomeKind,
    /// Why, for people.
    pub message: String,
}

words! {
    /// The ways an incident ends.
    pub enum OutcomeKind {
        /// The repair was applied and stayed healthy for the verification window.
        Verified => "Verified",
        /// It healed by itself.
        Recovered => "Recovered",
        /// A person's commit came first.
        Superseded => "Superseded",
        /// A person undid our commit; it is never committed again.
        Vetoed => "Vetoed",
        /// Handed to a person.
        Escalated => "Escalated",
        /// Its deadline passed without anything to act on.
        Expired => "Expired",
    }
}

/// A person's approval of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Who.
    pub actor: String,
    /// Hash of the diff that was approved; any other diff is not.
    pub diff_hash: String,
    /// When.
    pub at: Timestamp,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// When, stamped by the leader.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Stable word, `LockGranted`.
    pub reason: String,
    /// For people.
    pub message: String,
}
