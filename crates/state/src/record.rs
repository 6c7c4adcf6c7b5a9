//! What the state keeps, as records. Each table has a key prefix; values are JSON.

use regraft_model::config::{Application, Fleet};
use regraft_model::id::{
    ApplicationName, BranchName, ClusterName, Fence, IncidentId, LockScope, MemberId, PlanId,
    RepositoryName, TargetKey,
};
use regraft_model::source::{Revision, TreeId};
use regraft_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The one head of a repository's branch that every member applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Repository.
    pub repository: RepositoryName,
    /// Branch.
    pub branch: BranchName,
    /// Tip.
    pub revision: Revision,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Index of the recording command.
    pub fence: Fence,
    /// Why healing is frozen (history was rewritten), until a person resumes it.
    pub frozen: Option<String>,
}

/// The last valid configuration of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Repository.
    pub repository: RepositoryName,
    /// Branch it was read from.
    pub branch: BranchName,
    /// Revision it was read from.
    pub revision: Revision,
    /// What it says.
    pub fleet: Fleet,
}

/// A cluster's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIdentity {
    /// Name.
    pub cluster: ClusterName,
    /// UID of `kube-system`.
    pub uid: String,
    /// Since when it is known.
    pub since: Timestamp,
}

/// Which member works on a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Target.
    pub target: TargetKey,
    /// Member.
    pub member: MemberId,
    /// Index of the command that granted it; a report under an older one is refused.
    pub fence: Fence,
}

/// A lock held by a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    /// What it covers.
    pub scope: LockScope,
    /// The incident.
    pub incident: IncidentId,
    /// The plan that owns it.
    pub plan: PlanId,
    /// Most repairs under way in the whole fleet when it was granted.
    pub budget: u32,
    /// Its fence.
    pub fence: Fence,
    /// When the grant was made.
    pub granted_at: Timestamp,
    /// When it runs out unless renewed.
    pub expires_at: Timestamp,
}

/// A repair that a person undid or forbade. Never committed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Veto {
    /// Application.
    pub application: ApplicationName,
    /// Fingerprint of the edits, SHA-256 in hex.
    pub fingerprint: String,
    /// The incident it came from.
    pub incident: IncidentId,
    /// The actor who forbade it, or the revision that undid it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Inputs for which healing is closed until a person commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// Application.
    pub application: ApplicationName,
    /// Its inputs.
    pub tree: TreeId,
    /// The incident that closed them.
    pub incident: IncidentId,
    /// When.
    pub at: Timestamp,
}

/// What a person can suspend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// Everything: the kill switch.
    All,
    /// One application.
    Application(ApplicationName),
    /// Healing of a repository whose history was rewritten (only to resume it).
    Repository(RepositoryName),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::All => f.write_str("all"),
            Subject::Application(name) => write!(f, "application/{name}"),
            Subject::Repository(name) => write!(f, "repository/{name}"),
        }
    }
}

/// A suspension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suspension {
    /// What.
    pub subject: Subject,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

impl Suspension {
    /// What a person does to end it.
    pub fn lifted_by(&self) -> String {
        match &self.subject {
            Subject::All => "`regraft resume --all`".to_owned(),
            Subject::Application(name) => format!("`regraft resume {name}`"),
            Subject::Repository(name) => format!("`regraft resume --repository {name}`"),
        }
    }
}

impl fmt::Display for Suspension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} suspended {} at {}",
            self.actor, self.subject, self.at
        )?;
        match self.reason.as_str() {
            "" => Ok(()),
            reason => write!(f, ": {reason}"),
        }
    }
}

/// A person's confirmation of deletions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confirmation {
    /// Where.
    pub target: TargetKey,
    /// Token of exactly the list that was shown.
    pub token: String,
}

/// An application that left Git and whose objects are being orphaned or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retiring {
    /// Its last valid configuration.
    pub application: Application,
    /// Clusters that still have to be cleared.
    pub clusters: Vec<ClusterName>,
    /// Since when.
    pub since: Timestamp,
}

/// One entry of the audit chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Number in the chain, from 1.
    pub number: u64,
    /// Log index of the command.
    pub index: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Stable word of what happened.
    pub reason: String,
    /// What it was about: incident, application, repository, cluster.
    pub subject: String,
    /// For people.
    pub message: String,
    /// Hash of the entry before, in hex; 64 zeros for the first.
    pub previous: String,
    /// SHA-256 over all of the above, in hex.
    pub hash: String,
}

/// What one cluster knows to be normal for one metric of a service. Only that cluster writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Baseline {
    /// Rises within the cluster, also after it began anew: the time of the newest sample learned, milliseconds since 1970.
    pub version: u64,
    /// The summary, in whatever format its writer has.
    #[serde(with = "base64")]
    pub summary: Vec<u8>,
}

impl Baseline {
    /// The newer one; of two of one version, the one with the greater bytes, so that everybody keeps the same.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        self.max(other)
    }
}

/// Bytes in a JSON text.
mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        BASE64.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

/// A request for a sync now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncRequest {
    /// Application.
    pub application: ApplicationName,
    /// Index of the request; a target's status says up to which one it has answered.
    pub fence: Fence,
    /// When.
    pub at: Timestamp,
    /// Whether the remote was asked after the request, and the tip it told is the recorded head.
    pub asked: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspension_says_who_why_and_what_ends_it() {
        let told = |subject: Subject, reason: &str| {
            let suspension = Suspension {
                subject,
                reason: reason.to_owned(),
                actor: "ada".to_owned(),
                at: Timestamp(1_700_000_000_000),
            };
            format!("{suspension}; {}", suspension.lifted_by())
        };
        let since = "at 2023-11-14T22:13:20.000Z";
        assert_eq!(
            told(Subject::All, "storm"),
            format!("ada suspended all {since}: storm; `regraft resume --all`")
        );
        assert_eq!(
            told(Subject::Application("web".into()), ""),
            format!("ada suspended application/web {since}; `regraft resume web`")
        );
        assert_eq!(
            told(Subject::Repository("fleet".into()), ""),
            format!("ada suspended repository/fleet {since}; `regraft resume --repository fleet`")
        );
    }
}
