//! The documents that members answer and `-o json` prints. Stable: fields are added, never renamed.
//! Moments are milliseconds since the epoch between members, `null` or 0 when they never were; `-o json` and `-o yaml`
//! print them as RFC 3339 ([`for_people`]).

use regraft_engine::Report;
use regraft_model::config::{CONFIG_FOLDER, Mode};
use regraft_model::finding::{PendingDeletion, SyncState};
use regraft_model::health::Health;
use regraft_model::id::{
    ApplicationName, BranchName, ClusterName, Fence, IncidentId, MemberId, RepositoryName,
};
use regraft_model::incident::Incident;
use regraft_model::problem::{Problem, Severity};
use regraft_model::source::Revision;
use regraft_model::time::Timestamp;
use regraft_model::words;
use regraft_state::record::{Head, Lock, Suspension};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Every field of a document that is a moment.
const MOMENTS: [&str; 16] = [
    "appliedAt",
    "at",
    "confirmedAt",
    "deadline",
    "endedAt",
    "expiresAt",
    "grantedAt",
    "knownSince",
    "openedAt",
    "phaseSince",
    "recordedAt",
    "since",
    "startedAt",
    "takenAt",
    "verifiedAt",
    "wait",
];

/// The document with its moments as people and their programs read them: RFC 3339, `null` when they never were.
pub(crate) fn for_people(mut document: Value) -> Value {
    moments(&mut document);
    document
}

fn moments(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(moments),
        Value::Object(map) => {
            for (name, value) in map {
                match value.as_i64().filter(|_| MOMENTS.contains(&name.as_str())) {
                    Some(0) => *value = Value::Null,
                    Some(ms) => *value = Value::String(Timestamp(ms).to_rfc3339()),
                    None => moments(value),
                }
            }
        }
        _ => {}
    }
}

/// What a backup is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackupDocument {
    pub(crate) file: PathBuf,
    pub(crate) cluster: String,
    /// Log index of the last entry in it.
    pub(crate) index: u64,
    pub(crate) taken_at: Timestamp,
    /// Of the replicated state; none of the figures counts entries of the log.
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Of the file.
    pub(crate) sha256: String,
    /// Newest format of commands in its state.
    pub(crate) format: u32,
    pub(crate) members: Vec<BackupMemberDocument>,
}

/// Who was a member when a backup was taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackupMemberDocument {
    pub(crate) id: MemberId,
    pub(crate) address: String,
    pub(crate) votes: bool,
}

/// A data folder that was made of a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RestoreDocument {
    pub(crate) member: MemberId,
    pub(crate) cluster: String,
    pub(crate) data_dir: PathBuf,
    /// The same for all members that belong together.
    pub(crate) line: String,
    /// Log index where the new log begins.
    pub(crate) index: u64,
    pub(crate) backup: BackupDocument,
}

/// What became of looking through the audit chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditVerdictDocument {
    pub(crate) whole: bool,
    /// How many were looked at.
    pub(crate) entries: usize,
    /// Numbers of the oldest and the newest entry, 0 when there is none.
    pub(crate) oldest: u64,
    pub(crate) newest: u64,
    /// Hash of the newest.
    pub(crate) hash: String,
    /// Why it is not whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

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
    /// Fence of the newest requested sync it has answered.
    #[serde(default)]
    pub(crate) answered_sync: Fence,
    /// Why the newest configuration of its repository was refused, while the one before goes on.
    #[serde(default)]
    pub(crate) configuration: Option<String>,
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

words! {
    /// Whether a member has a cluster's ear.
    #[derive(Default)]
    pub(crate) enum ConnectionState {
        /// Nothing was heard yet, or it is not needed here.
        #[default]
        Unknown => "Unknown",
        Ready => "Ready",
        Lost => "Lost",
    }
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
    /// Entries of the leader's log that it lacks, when the answering member can tell.
    #[serde(default)]
    pub(crate) behind: Option<u64>,
    /// Log index it is known to have, when the answering member can tell.
    pub(crate) applied: Option<u64>,
    /// Whether it is heard of, as far as the answering member can tell.
    #[serde(default)]
    pub(crate) contact: Contact,
    /// Since when the leader has not heard of it; only the leader can tell.
    pub(crate) last_contact_ms: Option<u64>,
    /// What stood against the answering member's last try to reach it, until it answers again.
    #[serde(default)]
    pub(crate) trouble: Option<String>,
    /// Whether it is the answering member.
    pub(crate) answering: bool,
    /// What its disk has no room for, so that it accepts nothing; only it knows.
    #[serde(default)]
    pub(crate) full_disk: Option<String>,
}

words! {
    /// What a member is in the trio.
    pub(crate) enum MemberRole {
        Leader => "leader",
        Follower => "follower",
        /// It gets the log, and has no vote.
        Learner => "learner",
        /// Nothing is heard of it.
        Unknown => "unknown",
        /// The answering member's configuration names it, and it is no member: not any more, or not yet.
        None => "none",
    }
}

words! {
    /// Whether a member is heard of.
    #[derive(Default)]
    pub(crate) enum Contact {
        /// The answering member does not lead: it hears nothing of those that follow beside it.
        #[default]
        Unknown => "Unknown",
        Reachable => "Reachable",
        /// The leader has had no answer of it for longer than a member goes on without proof.
        Unreachable => "Unreachable",
    }
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
    /// Whether all of this may be old: it was asked for without proof, and there was none lately.
    #[serde(default)]
    pub(crate) stale: bool,
    pub(crate) heads: Vec<Head>,
    pub(crate) members: Vec<MemberDocument>,
    pub(crate) clusters: Vec<ClusterDocument>,
    pub(crate) applications: Vec<ApplicationDocument>,
    /// Newest first.
    pub(crate) incidents: Vec<Incident>,
    pub(crate) suspensions: Vec<Suspension>,
    #[serde(default)]
    pub(crate) repositories: Vec<RepositoryDocument>,
    /// What this member's engine waits for, and its problems; absent when it does not answer.
    pub(crate) report: Option<ReportDocument>,
}

/// One repository, as the answering member sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RepositoryDocument {
    pub(crate) name: RepositoryName,
    /// Where it is; it never holds a secret.
    #[serde(default)]
    pub(crate) url: String,
    pub(crate) branch: BranchName,
    /// The revision that all members apply.
    pub(crate) head: Option<Revision>,
    pub(crate) recorded_at: Option<Timestamp>,
    pub(crate) applications: usize,
    /// Whether a configuration was ever read from it.
    pub(crate) configured: bool,
    /// Why healing is frozen.
    pub(crate) frozen: Option<String>,
    /// Why it cannot be read just now. The leader asks remotes, so only it can tell that one is away.
    #[serde(default)]
    pub(crate) problem: Option<ProblemDocument>,
    /// What is in the way of reading it, or its newest configuration; empty when nothing is.
    pub(crate) message: String,
}

/// What one member knows that the replicated state does not say.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ReportDocument {
    /// Why a repository cannot be read.
    pub(crate) unreadable: BTreeMap<RepositoryName, String>,
    /// Problems of configuration and manifests.
    pub(crate) problems: BTreeMap<RepositoryName, Vec<Problem>>,
    /// Clusters this member works on, and why one cannot be seen.
    pub(crate) clusters: BTreeMap<ClusterName, Option<String>>,
    /// Number of targets this member works on.
    pub(crate) targets: usize,
    /// The log index this member has applied.
    pub(crate) applied: u64,
}

impl From<Report> for ReportDocument {
    fn from(report: Report) -> Self {
        Self {
            unreadable: report.unreadable,
            problems: report.problems,
            clusters: report.clusters,
            targets: report.targets,
            applied: report.applied,
        }
    }
}

impl ReportDocument {
    /// Why the newest configuration of a repository does not hold; `None` when it does.
    pub(crate) fn refused(&self, repository: &RepositoryName) -> Option<String> {
        let problems = self.problems.get(repository)?;
        let mut errors = problems.iter().filter(|problem| {
            problem.severity == Severity::Error && problem.location.file.starts_with(CONFIG_FOLDER)
        });
        let first = errors.next()?;
        let more = match errors.count() {
            0 => String::new(),
            count => format!(", and {count} more"),
        };
        Some(format!(
            "{}: {}: {}{more}",
            first.location, first.reason, first.message
        ))
    }
}

/// The one order of incidents wherever they are listed.
pub(crate) fn newest_first(incidents: &mut [Incident]) {
    incidents.sort_by(|one, other| {
        let by_age = other.opened_at.cmp(&one.opened_at);
        by_age.then_with(|| one.id.cmp(&other.id))
    });
}

/// What differs between Git and one cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DiffDocument {
    pub(crate) application: ApplicationName,
    pub(crate) cluster: ClusterName,
    /// For people.
    pub(crate) summary: String,
    pub(crate) outcome: DiffOutcome,
    pub(crate) objects: Vec<ObjectDiffDocument>,
}

/// Shortest start of a diff's hash that is taken for the whole.
pub(crate) const HASH_CHARS_MIN: usize = 8;

/// Characters of a diff's hash in a command that is shown to be copied.
pub(crate) const HASH_CHARS_SHOWN: usize = 12;

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum DiffOutcome {
    Same,
    Differs,
    /// The server refuses an object, or it cannot be told what it would make of it.
    Refused,
    /// What Git says cannot be made out.
    Invalid,
    /// The cluster, or the member that works with it, cannot be asked.
    Unreachable,
}

/// One object that is not what Git says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObjectDiffDocument {
    pub(crate) object: String,
    pub(crate) change: ObjectChange,
    /// A unified diff; for what is deleted or cannot be told, why.
    pub(crate) diff: String,
}

/// What a sync would do to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ObjectChange {
    Creates,
    Changes,
    /// It left Git.
    Deletes,
    /// The server refuses it, or does not answer.
    Unknown,
}

/// One application and all that is known of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApplicationStory {
    pub(crate) name: ApplicationName,
    pub(crate) targets: Vec<ApplicationDocument>,
    /// Newest first.
    pub(crate) incidents: Vec<Incident>,
    pub(crate) problems: Vec<Problem>,
}

/// One cluster and what is in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterStory {
    pub(crate) cluster: ClusterDocument,
    pub(crate) targets: Vec<ApplicationDocument>,
    /// Newest first.
    pub(crate) incidents: Vec<Incident>,
}

/// An incident and everything that explains it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IncidentDocument {
    pub(crate) incident: Incident,
    /// The application's mode; of an incident that ended, the one it was decided in, when that was recorded.
    pub(crate) mode: Option<Mode>,
    pub(crate) lock: Option<Lock>,
    pub(crate) suspended: Option<String>,
    pub(crate) targets: Vec<ApplicationDocument>,
    /// The plan's edits as a unified diff; empty when the answering member cannot read the files.
    pub(crate) diff: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn moments_are_printed_as_rfc_3339_at_any_depth() {
        let document = json!([{"name": "shop", "appliedAt": 1_800_000_000_000_i64, "since": 0, "verifiedAt": null,
            "applied": 1_800_000_000_000_i64, "targets": {"since": [{"at": 1_800_000_000_250_i64}]}}]);
        assert_eq!(
            for_people(document),
            json!([{"name": "shop", "appliedAt": "2027-01-15T08:00:00.000Z", "since": null, "verifiedAt": null,
                "applied": 1_800_000_000_000_i64, "targets": {"since": [{"at": "2027-01-15T08:00:00.250Z"}]}}])
        );
    }

    #[test]
    fn only_errors_of_the_configuration_refuse_it() {
        let problem = |file: &str, severity: &str| {
            json!({"location": {"file": file, "line": 16, "column": 10}, "severity": severity,
            "reason": "WrongType", "message": "a number stands where text belongs", "action": "quote it"})
        };
        let report = |problems: Value| -> ReportDocument {
            serde_json::from_value(json!({"problems": {"fleet": problems}})).unwrap()
        };
        let refused = |problems| report(problems).refused(&"fleet".into());
        assert_eq!(refused(json!([problem("apps/shop/a.yaml", "error")])), None);
        assert_eq!(
            refused(json!([problem(".regraft/a.yaml", "warning")])),
            None
        );
        assert_eq!(
            refused(json!([
                problem(".regraft/a.yaml", "error"),
                problem(".regraft/b.yaml", "error")
            ]))
            .unwrap(),
            ".regraft/a.yaml:16:10: WrongType: a number stands where text belongs, and 1 more"
        );
    }
}
