//! What is wrong with a workload, since when, and how that is known.

use crate::health::Health;
use crate::id::{Fence, MemberId, TargetKey};
use crate::object::ObjectKey;
use crate::source::{Revision, TreeId};
use crate::time::Timestamp;
use crate::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

words! {
    /// How a workload fails.
    pub enum FailureClass {
        /// A container restarts again and again.
        CrashLoopBackOff => "CrashLoopBackOff",
        /// An image cannot be pulled (`ErrImagePull`, `ImagePullBackOff`, `InvalidImageName`).
        ImagePull => "ImagePull",
        /// A container cannot be made (`CreateContainerConfigError`, `CreateContainerError`).
        ContainerConfig => "ContainerConfig",
        /// A rollout made no progress within its deadline.
        ProgressDeadlineExceeded => "ProgressDeadlineExceeded",
    }
}

/// A failure seen now, not yet held long enough to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Symptom {
    /// The workload (Deployment, StatefulSet, DaemonSet, Job) that fails.
    pub workload: ObjectKey,
    /// How.
    pub class: FailureClass,
    /// Whether the failing pods belong to the newest template of the workload.
    pub template: Template,
    /// The object that holds the newest template (a ReplicaSet, or the workload); absent while the controller has not
    /// seen the latest one, so that nobody can tell whose pods fail.
    pub newest_template: Option<ObjectKey>,
    /// What was seen, for people.
    pub evidence: Vec<Evidence>,
}

/// Which template of a workload the failing pods have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Template {
    /// Pods of the newest template fail, those of older ones (if any are left) do not.
    Newest,
    /// Pods of older templates fail too.
    AlsoOlder,
}

/// A failure that held for `confirmFor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was seen last.
    pub symptom: Symptom,
    /// Since when it holds, without a break.
    pub since: Timestamp,
    /// Whether the workload's inputs differ from those of the last verified revision.
    pub change: Change,
}

words! {
    /// Whether a workload's inputs changed since they were last known to be good.
    pub enum Change {
        /// Changed by commits on the tracked branch since the last verified revision.
        Changed => "changed",
        /// Same inputs as when it was healthy: no commit to blame.
        Unchanged => "unchanged",
        /// No revision was ever verified here, so it cannot be told (I7).
        Unknown => "unknown",
    }
}

/// One observation that supports a judgement. Redacted before it is replicated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The object it was seen on.
    pub object: ObjectKey,
    /// When it was observed.
    pub at: Timestamp,
    /// Where in the object, as a path, or `event`.
    pub field: String,
    /// What it said, at most [`Evidence::MAX_TEXT_BYTES`].
    pub text: String,
}

impl Evidence {
    /// Longest text kept, in bytes: a line of a log or a condition's message; evidence is replicated.
    pub const MAX_TEXT_BYTES: usize = 400;
}

/// Where one target stands, as the member that works on it reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// Which target.
    pub key: TargetKey,
    /// Who reports.
    pub member: MemberId,
    /// Under which assignment.
    pub fence: Fence,
    /// The inputs last applied in full, absent before the first time.
    pub applied: Option<AppliedInputs>,
    /// Whether the cluster is what Git says.
    pub sync: SyncStatus,
    /// The worst health among its objects.
    pub health: Health,
    /// Since when `health` holds.
    pub health_since: Timestamp,
    /// Which object and field decides `health`, for people.
    pub health_message: String,
    /// Number of workloads it has.
    pub workloads: u32,
    /// Confirmed failures.
    pub findings: Vec<Finding>,
    /// Last inputs that were healthy for the verification window.
    pub verified: Option<AppliedInputs>,
    /// Digest of each workload's inputs at `verified`, by the workload's key as text.
    pub verified_inputs: BTreeMap<String, String>,
    /// Deletions beyond the cap that wait for a person.
    pub pending_deletion: Option<PendingDeletion>,
    /// Fence of the newest requested sync it has answered: it was Synced or Blocked at a head that the remote told
    /// after that request.
    pub answered_sync: Fence,
}

/// Deletions beyond the cap that wait for `confirm-delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingDeletion {
    /// Names exactly this list: a confirmation of another list confirms nothing.
    pub token: String,
    /// What would be deleted.
    pub objects: Vec<ObjectKey>,
}

/// Inputs of an application as they were applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedInputs {
    /// A revision that has these inputs.
    pub revision: Revision,
    /// The tree at the application's path.
    pub tree: TreeId,
    /// Since when.
    pub at: Timestamp,
}

/// Whether a cluster is what Git says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// The state.
    pub state: SyncState,
    /// Stable word.
    pub reason: String,
    /// For people: the whole story and the next action.
    pub message: String,
}

words! {
    /// State of a target's synchronisation.
    #[derive(Default)]
    pub enum SyncState {
        /// Not looked at yet.
        #[default]
        Unknown => "Unknown",
        /// Live is desired.
        Synced => "Synced",
        /// Differs; being worked on, or waiting to be.
        OutOfSync => "OutOfSync",
        /// Cannot go on without a person or a change: conflicts, problems, a delete to confirm.
        Blocked => "Blocked",
        /// The cluster cannot be reached.
        Unreachable => "Unreachable",
        /// A person paused it.
        Suspended => "Suspended",
    }
}
