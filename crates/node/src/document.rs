//! The documents that members answer and `-o json` prints. Stable: fields are added, never renamed.
//! Moments are milliseconds since the epoch, `null` or 0 when they never were.

use regraft_model::config::Mode;
use regraft_model::finding::{PendingDeletion, SyncState};
use regraft_model::health::Health;
use regraft_model::id::{
    ApplicationName, BranchName, ClusterName, IncidentId, MemberId, RepositoryName,
};
use regraft_model::incident::Incident;
use regraft_model::source::Revision;
use regraft_model::time::Timestamp;
use regraft_state::record::{Head, Lock, Suspension};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One application in one cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApplicationDocument {
    pub(crate) name: ApplicationName,
    pub(crate) cluster: ClusterName,
    pub(crate) repository: RepositoryName,
    pub(crate) path: String,
    pub(crate) mode: Mode,
    /// Who works on it.
    pub(crate) member: Option<MemberId>,
    /// The tracked branch's tip.
    pub(crate) head: Option<Revision>,
    /// A revision with the inputs applied last.
    pub(crate) revision: Option<Revision>,
    pub(crate) sync: SyncState,
    /// Stable word for `sync`.
    pub(crate) reason: String,
    /// What `sync` waits for, or what decides `health`.
    pub(crate) message: String,
    pub(crate) health: Health,
    /// Since when `health` holds.
    pub(crate) since: Timestamp,
    pub(crate) applied_at: Option<Timestamp>,
    /// The last revision that was healthy for the verification window.
    pub(crate) verified: Option<Revision>,
    pub(crate) verified_at: Option<Timestamp>,
    pub(crate) workloads: u32,
    /// Confirmed failures.
    pub(crate) failures: Vec<String>,
    /// The open incident.
    pub(crate) incident: Option<IncidentId>,
    /// Why a person paused it.
    pub(crate) suspended: Option<String>,
    pub(crate) pending_deletion: Option<PendingDeletion>,
}

/// One repository, as the answering member sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RepositoryDocument {
    pub(crate) name: RepositoryName,
    /// Where it is; it never holds a secret.
    pub(crate) url: String,
    pub(crate) branch: BranchName,
    /// Why it cannot be read just now. The leader asks remotes, so only it can tell that one is away.
    pub(crate) problem: Option<ProblemDocument>,
}

/// What is wrong, and the one next action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProblemDocument {
    /// Stable word.
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) action: String,
}

/// One cluster, as the answering member sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterDocument {
    pub(crate) name: ClusterName,
    pub(crate) uid: Option<String>,
    pub(crate) known_since: Option<Timestamp>,
    pub(crate) connection: ConnectionState,
    /// Why it is lost.
    pub(crate) message: String,
    pub(crate) version: String,
    pub(crate) suspend: bool,
    pub(crate) applications: usize,
    /// The answering member.
    pub(crate) member: MemberId,
}

/// Whether a member has a cluster's ear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ConnectionState {
    /// Nothing was heard yet, or it is not needed here.
    #[default]
    Unknown,
    Ready,
    Lost,
}

/// One member.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberDocument {
    pub(crate) id: MemberId,
    pub(crate) role: MemberRole,
    /// Where the other members reach it.
    pub(crate) address: String,
    /// Where people reach it.
    pub(crate) admin: Option<String>,
    /// Log index it is known to have, when the answering member can tell.
    pub(crate) applied: Option<u64>,
    /// Since when the leader has not heard of it; only the leader can tell.
    pub(crate) last_contact_ms: Option<u64>,
    /// Whether it is the answering member.
    pub(crate) answering: bool,
}

/// What a member is in the trio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MemberRole {
    Leader,
    Follower,
}

/// The member and everything at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusDocument {
    pub(crate) installation: Option<String>,
    pub(crate) member: MemberId,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) started_at: Timestamp,
    pub(crate) leader: Option<MemberId>,
    pub(crate) term: u64,
    pub(crate) applied: u64,
    /// When this member last had proof that its state is the majority's.
    pub(crate) confirmed_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) repositories: Vec<RepositoryDocument>,
    pub(crate) heads: Vec<Head>,
    pub(crate) members: Vec<MemberDocument>,
    pub(crate) clusters: Vec<ClusterDocument>,
    pub(crate) applications: Vec<ApplicationDocument>,
    pub(crate) incidents: Vec<Incident>,
    pub(crate) suspensions: Vec<Suspension>,
    /// What this member's engine waits for, and its problems.
    pub(crate) report: Value,
}

/// An incident and everything that explains it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IncidentDocument {
    pub(crate) incident: Incident,
    pub(crate) mode: Option<Mode>,
    pub(crate) lock: Option<Lock>,
    pub(crate) suspended: Option<String>,
    pub(crate) targets: Vec<ApplicationDocument>,
    /// The plan's edits as a unified diff; empty when the answering member cannot read the files.
    pub(crate) diff: String,
    /// Commits that are undone, as people quote them.
    pub(crate) suspects: Vec<String>,
}
