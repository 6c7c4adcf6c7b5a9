//! Identifiers. Each is a newtype over text, so that a cluster's name never stands where an application's should.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub String);

        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $type {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

name!(
    /// Name of a repository in the members' configuration.
    RepositoryName
);
name!(
    /// A Git branch, without `refs/heads/`.
    BranchName
);
name!(
    /// Name of an `Application` object.
    ApplicationName
);
name!(
    /// Name of a `Cluster` object.
    ClusterName
);
name!(
    /// An incident: `<application>-<log index of the command that opened it>`.
    IncidentId
);
name!(
    /// A plan: `<incident>.1`. It survives planning again on a new head: an incident has one repair, by one key.
    PlanId
);

/// A member of the replicated cluster. A number is never used twice.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A fence: the log index of the entry that granted something. Fences only rise (I2).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Fence(pub u64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What is reconciled: one application in one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TargetKey {
    /// The application.
    pub application: ApplicationName,
    /// The cluster.
    pub cluster: ClusterName,
}

impl TargetKey {
    /// The target of an application in a cluster.
    pub fn new(application: &ApplicationName, cluster: &ClusterName) -> Self {
        Self {
            application: application.clone(),
            cluster: cluster.clone(),
        }
    }
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.application, self.cluster)
    }
}

/// What a lock covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LockScope {
    /// One application (a service) in every cluster it runs in.
    Application(ApplicationName),
}

impl fmt::Display for LockScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockScope::Application(name) => write!(f, "application/{name}"),
        }
    }
}
