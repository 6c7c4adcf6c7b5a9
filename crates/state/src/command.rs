//! What can be asked of the machine, and how it is written into the log.
//!
//! On the wire and on disk a command is three layers, each kept as raw bytes by the one outside it:
//! [`Stamped`] (prost, by the leader: time) > [`Envelope`] (prost, by the proposer: who, dedupe) > [`Command`]
//! (JSON: readable in an audit, refused when a field or variant is unknown), or since format 2, for what clients ask for
//! often, an [`Operation`] in its place (prost, answered by an [`crate::operation::Answer`]).

use crate::operation::Operation;
use crate::record::{Baseline, Confirmation, Subject};
use regraft_model::config::Fleet;
use regraft_model::finding::{FailureClass, Finding, TargetStatus};
use regraft_model::id::{
    ApplicationName, BranchName, ClusterName, Fence, IncidentId, LockScope, MemberId, PlanId,
    RepositoryName, TargetKey,
};
use regraft_model::incident::OutcomeKind;
use regraft_model::plan::{GuardResult, Plan, Rejected};
use regraft_model::source::{Revision, TreeId};
use regraft_model::time::{Seconds, Timestamp};
use regraft_model::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Newest format of envelopes this version reads: 2 is that of envelopes with an [`Operation`]. Nobody may propose a format
/// that a member does not know: that member would halt.
pub const FORMAT: u32 = 2;
/// Format of envelopes with a [`Command`].
pub const COMMAND_FORMAT: u32 = 1;

/// A log entry: the leader's time and the proposer's bytes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Stamped {
    /// Leader's clock, milliseconds since the epoch. The machine never lets time go back.
    #[prost(int64, tag = "1")]
    pub stamped_ms: i64,
    /// An encoded [`Envelope`].
    #[prost(bytes = "vec", tag = "2")]
    pub command: Vec<u8>,
}

/// Who proposes what, once: while the client's session is kept, the same (client, sequence) is applied once. It is
/// answered alike while its answer is among the newest of the session, and refused as stale after that.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Envelope {
    /// The client's session: one for each start of a member, so that numbers begin anew with it.
    #[prost(string, tag = "1")]
    pub client: String,
    /// Rising number within the session, from 1.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// Who caused it: `member/1`, `user/alice`, `unix/0`.
    #[prost(string, tag = "3")]
    pub actor: String,
    /// [`COMMAND_FORMAT`] with a command, [`FORMAT`] with an operation.
    #[prost(uint32, tag = "4")]
    pub format: u32,
    /// A [`Command`] as JSON; empty with an operation.
    #[prost(bytes = "vec", tag = "5")]
    pub command: Vec<u8>,
    /// In place of `command`. It says itself what session it belongs to: `client` and `sequence` are empty with it.
    #[prost(message, optional, tag = "6")]
    pub operation: Option<Operation>,
}

impl Envelope {
    /// Wraps an operation that `actor` asks for.
    pub fn of_operation(actor: impl Into<String>, operation: Operation) -> Self {
        Self {
            actor: actor.into(),
            format: FORMAT,
            operation: Some(operation),
            ..Self::default()
        }
    }
}

/// A change of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Command {
    /// Names the installation; the first one wins.
    Initialise {
        /// Random id of this installation.
        installation: String,
    },
    /// The tracked branch has a new tip.
    RecordHead(NewHead),
    /// The configuration of a revision is valid: from now on the last valid one.
    RecordConfiguration {
        /// Repository.
        repository: RepositoryName,
        /// Branch.
        branch: BranchName,
        /// The revision it was read from.
        revision: Revision,
        /// What it says.
        fleet: Fleet,
    },
    /// The members track a repository no more. What its applications have in clusters stays there.
    ForgetRepository {
        /// Name.
        repository: RepositoryName,
    },
    /// A cluster was reached. Its UID is kept; another UID later stops the cluster.
    RegisterCluster {
        /// Name.
        cluster: ClusterName,
        /// UID of `kube-system`.
        uid: String,
    },
    /// A person says that this cluster was replaced on purpose.
    ForgetCluster {
        /// Name.
        cluster: ClusterName,
    },
    /// Spreads targets over members. Every grant has this command's index as its fence.
    Assign {
        /// The spreading this one was made after: another in between makes it void.
        after: Fence,
        /// New or moved assignments.
        grants: Vec<(TargetKey, MemberId)>,
        /// Targets that are no longer worked on.
        revoked: Vec<TargetKey>,
    },
    /// Where a target stands, by the member it is assigned to.
    Report {
        /// The status, with member and fence.
        status: Box<TargetStatus>,
    },
    /// What a cluster knows to be normal for a service.
    ShareBaselines(SharedBaselines),
    /// A confirmed failure: opens an incident, or joins the open one of the same cause.
    OpenIncident(Fault),
    /// Gives an incident to another member.
    AssignExecutor {
        /// Incident.
        incident: IncidentId,
        /// Member.
        member: MemberId,
    },
    /// Moves an incident on, by its executor.
    Advance {
        /// Incident.
        incident: IncidentId,
        /// Fence of the executor's assignment.
        fence: Fence,
        /// What happens.
        transition: Box<Transition>,
    },
    /// Asks for the lock of a planned repair.
    Acquire(LockRequest),
    /// Renews the lock of a live plan.
    Renew {
        /// Incident.
        incident: IncidentId,
        /// Fence of the executor's assignment.
        fence: Fence,
        /// Lease from now.
        lease: Seconds,
    },
    /// Records that a person undid a repair (I9).
    RecordVeto {
        /// Incident whose commit was undone.
        incident: IncidentId,
        /// Fingerprint of its edits.
        fingerprint: String,
        /// Revision that undid it.
        revision: Revision,
    },
    /// A person pauses healing and reconciling of a subject.
    Suspend {
        /// What.
        subject: Subject,
        /// Why.
        reason: String,
    },
    /// A person resumes a subject; also thaws rewritten history.
    Resume {
        /// What.
        subject: Subject,
    },
    /// A person approves a proposal.
    Approve {
        /// Incident.
        incident: IncidentId,
        /// Hash of the diff that was read.
        diff_hash: String,
    },
    /// A person forbids a repair, now and for the same edits later.
    Veto {
        /// Incident.
        incident: IncidentId,
        /// Fingerprint of the plan's edits, when it has a plan.
        fingerprint: Option<String>,
        /// Why.
        reason: String,
    },
    /// A person confirms deletions that are beyond the cap.
    ConfirmDelete(Confirmation),
    /// An application that left Git has no objects left in this cluster.
    Retired {
        /// Which.
        target: TargetKey,
    },
    /// A person asks for a sync now.
    SyncNow {
        /// Application.
        application: ApplicationName,
    },
    /// The remote was asked after a request for a sync, and the tip it told is the recorded head.
    RemoteAsked {
        /// Application.
        application: ApplicationName,
        /// Fence of the request.
        fence: Fence,
    },
}

/// The tip of a tracked branch, as the remote told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewHead {
    /// Repository.
    pub repository: RepositoryName,
    /// The branch that is tracked now: a recorded head of another one counts as none.
    pub branch: BranchName,
    /// The tip.
    pub revision: Revision,
    /// The recorded head it was compared with; another one by now refuses the command.
    pub previous: Option<Revision>,
    /// How it relates to `previous`.
    pub relation: HeadRelation,
}

/// What one cluster knows to be normal for one service, by the member that its application there is assigned to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SharedBaselines {
    /// Application and cluster.
    pub target: TargetKey,
    /// Who tells it.
    pub member: MemberId,
    /// Fence of that member's assignment of the target.
    pub fence: Fence,
    /// The workload of the application that is the service.
    pub workload: String,
    /// By metric. Bounds: see [`crate::baseline`].
    pub entries: BTreeMap<String, Baseline>,
}

/// A confirmed failure in one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Application.
    pub application: ApplicationName,
    /// Repository.
    pub repository: RepositoryName,
    /// Branch.
    pub branch: BranchName,
    /// How it fails.
    pub class: FailureClass,
    /// Head at which it was seen.
    pub seen_at: Revision,
    /// The application's inputs there.
    pub suspect_tree: TreeId,
    /// The cluster that shows it.
    pub cluster: ClusterName,
    /// Evidence.
    pub findings: Vec<Finding>,
    /// Who reports, and so executes when it opens.
    pub member: MemberId,
    /// Fence of that member's assignment of the target.
    pub fence: Fence,
    /// When an incident without a plan gives up.
    pub deadline: Timestamp,
}

/// What lock a planned repair needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockRequest {
    /// Incident, in phase Planned.
    pub incident: IncidentId,
    /// Fence of the executor's assignment.
    pub fence: Fence,
    /// The plan that will own the lock.
    pub plan: PlanId,
    /// What it covers.
    pub scope: LockScope,
    /// Lease.
    pub lease: Seconds,
    /// Most repairs under way in the whole fleet, this one included.
    pub budget: u32,
}

/// How a new head relates to the recorded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HeadRelation {
    /// First head of this branch.
    First,
    /// Descends from the recorded head.
    Descends,
    /// Does not: healing freezes until a person resumes it.
    Rewritten,
}

/// How an incident moves on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Transition {
    /// It waits for something; also how shadow mode says what it would do.
    Wait {
        /// Stable word.
        reason: String,
        /// For people.
        message: String,
        /// The plan it would carry out, in shadow mode.
        plan: Option<Box<Plan>>,
        /// What the guards said, when it was decided to wait.
        guards: Vec<GuardResult>,
        /// What else was thought of, and why not.
        rejected: Vec<Rejected>,
    },
    /// Open -> Planned.
    Plan {
        /// The plan.
        plan: Box<Plan>,
        /// When asking for the lock and committing give up.
        deadline: Timestamp,
    },
    /// Planned or Locked -> Open: the world moved, plan again. Releases the lock.
    Replan {
        /// Why.
        message: String,
    },
    /// Locked -> Committed.
    Commit {
        /// Our commit.
        revision: Revision,
        /// Fence of the lock it was committed under.
        lock: Fence,
        /// When verification gives up.
        deadline: Timestamp,
    },
    /// Open -> Proposed.
    Propose {
        /// The plan.
        plan: Box<Plan>,
        /// The branch it was pushed to.
        pushed_to: BranchName,
        /// Our commit there.
        revision: Revision,
        /// When a person must have decided.
        deadline: Timestamp,
    },
    /// Any phase -> Ended. Releases the lock.
    End {
        /// How.
        outcome: OutcomeKind,
        /// Why.
        message: String,
        /// Inputs for which healing is closed until a person commits others.
        closed: Vec<TreeId>,
        /// What the guards said, when it was decided to end.
        guards: Vec<GuardResult>,
        /// What else was thought of, and why not.
        rejected: Vec<Rejected>,
    },
    /// Open, Planned or Locked -> Committed: our commit was found on the branch, though nobody recorded it.
    Adopt {
        /// Our commit.
        revision: Revision,
        /// When verification gives up.
        deadline: Timestamp,
    },
}

/// The machine's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Response {
    /// Done.
    Done,
    /// An incident was opened or joined.
    Opened {
        /// Which.
        incident: IncidentId,
    },
    /// A lock was granted.
    Granted {
        /// Its fence.
        fence: Fence,
    },
    /// A sync was asked for.
    Requested {
        /// The request's fence: what the targets' statuses answer.
        fence: Fence,
    },
    /// Refused; nothing changed.
    Rejected(Rejection),
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// Stable word.
    pub reason: RejectionReason,
    /// For people.
    pub message: String,
}

words! {
    /// Stable words for refusals.
    pub enum RejectionReason {
        /// The fence is not the newest (I2).
        StaleFence => "StaleFence",
        /// The head is not the one the command was made for.
        HeadMoved => "HeadMoved",
        /// No such incident, application, cluster.
        NotFound => "NotFound",
        /// The incident is in another phase.
        WrongPhase => "WrongPhase",
        /// The lock, or the budget of repairs, is taken.
        Busy => "Busy",
        /// The lock's lease ran out.
        LockExpired => "LockExpired",
        /// The cluster has another UID than before.
        ClusterChanged => "ClusterChanged",
        /// The approval names another diff.
        DiffChanged => "DiffChanged",
        /// It is suspended.
        Suspended => "Suspended",
        /// Already so.
        AlreadyDone => "AlreadyDone",
        /// Another incident of the application is open for other inputs.
        OtherIncidentOpen => "OtherIncidentOpen",
        /// The suspect was closed, or vetoed.
        Closed => "Closed",
        /// It is larger than it may be.
        OutOfBounds => "OutOfBounds",
        /// The session's sequence is older than the last one.
        StaleSequence => "StaleSequence",
    }
}
