//! Identifiers. Each is a newtype over text, so that a cluster's name never stands where an application's should.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

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

/// What a lock covers. The fleet is above its clusters, a cluster above its namespaces, a namespace above its services.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum LockScope {
    /// One application (a service) in every cluster it runs in.
    Application(ApplicationName),
    /// Every cluster and every application.
    Fleet,
    /// One cluster.
    Cluster(ClusterName),
    /// One namespace of a cluster.
    Namespace {
        /// The cluster.
        cluster: ClusterName,
        /// The namespace.
        namespace: String,
    },
    /// One service of a namespace.
    Service {
        /// The cluster.
        cluster: ClusterName,
        /// The namespace.
        namespace: String,
        /// The service.
        name: String,
    },
    /// Whatever people and programs agreed to mean by this name: nothing of the fleet.
    Named(String),
}

impl LockScope {
    /// Most bytes of each name in a scope, as Kubernetes has it.
    pub const NAME_BYTES_MAX: usize = 253;

    /// What makes this scope no scope: a name that is empty, too long, or has a slash or a control character. Only the
    /// name of [`LockScope::Named`] may have slashes.
    pub fn problem(&self) -> Option<ScopeProblem> {
        let (names, may_have_slashes): (&[&str], _) = match self {
            LockScope::Fleet => (&[], false),
            LockScope::Application(name) => (&[name.as_str()], false),
            LockScope::Cluster(cluster) => (&[cluster.as_str()], false),
            LockScope::Namespace { cluster, namespace } => (&[cluster.as_str(), namespace], false),
            LockScope::Service {
                cluster,
                namespace,
                name,
            } => (&[cluster.as_str(), namespace, name], false),
            LockScope::Named(name) => (&[name.as_str()], true),
        };
        let is_bad = |name: &&str| {
            name.is_empty()
                || name.len() > Self::NAME_BYTES_MAX
                || name.contains(char::is_control)
                || (!may_have_slashes && name.contains('/'))
        };
        names.iter().any(is_bad).then_some(ScopeProblem)
    }
}

impl fmt::Display for LockScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockScope::Application(name) => write!(f, "application/{name}"),
            LockScope::Fleet => f.write_str("fleet"),
            LockScope::Cluster(cluster) => write!(f, "cluster/{cluster}"),
            LockScope::Namespace { cluster, namespace } => {
                write!(f, "namespace/{cluster}/{namespace}")
            }
            LockScope::Service {
                cluster,
                namespace,
                name,
            } => write!(f, "service/{cluster}/{namespace}/{name}"),
            LockScope::Named(name) => write!(f, "named/{name}"),
        }
    }
}

impl FromStr for LockScope {
    type Err = ScopeProblem;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, ScopeProblem> {
        let (kind, rest) = text.split_once('/').unwrap_or((text, ""));
        let mut parts = rest.split('/');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let scope = match kind {
            "fleet" if text == kind => LockScope::Fleet,
            "named" => return checked(LockScope::Named(rest.to_owned())),
            "application" => LockScope::Application(part().into()),
            "cluster" => LockScope::Cluster(part().into()),
            "namespace" => LockScope::Namespace {
                cluster: part().into(),
                namespace: part(),
            },
            "service" => LockScope::Service {
                cluster: part().into(),
                namespace: part(),
                name: part(),
            },
            _ => return Err(ScopeProblem),
        };
        match kind != "fleet" && parts.next().is_some() {
            true => Err(ScopeProblem),
            false => checked(scope),
        }
    }
}

fn checked(scope: LockScope) -> Result<LockScope, ScopeProblem> {
    match scope.problem() {
        Some(problem) => Err(problem),
        None => Ok(scope),
    }
}

/// A text that is no scope of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeProblem;

impl fmt::Display for ScopeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a scope is fleet, cluster/C, namespace/C/N, service/C/N/S, application/A or named/X, each name of 1 to {} \
             bytes without control characters, and without slashes but after named/",
            LockScope::NAME_BYTES_MAX
        )
    }
}

impl std::error::Error for ScopeProblem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<LockScope>) {
        assert_eq!(text.parse().ok(), expected, "{text}");
        if let Some(scope) = expected {
            assert_eq!(scope.to_string(), text);
            let stored = serde_json::to_string(&scope).unwrap();
            assert_eq!(serde_json::from_str::<LockScope>(&stored).unwrap(), scope);
        }
    }

    #[test]
    fn a_scope_is_read_as_it_is_written() {
        let (cluster, namespace) = (ClusterName::from("eu-1"), "shop".to_owned());
        check("fleet", Some(LockScope::Fleet));
        check("cluster/eu-1", Some(LockScope::Cluster(cluster.clone())));
        check(
            "namespace/eu-1/shop",
            Some(LockScope::Namespace {
                cluster: cluster.clone(),
                namespace: namespace.clone(),
            }),
        );
        check(
            "service/eu-1/shop/cart",
            Some(LockScope::Service {
                cluster,
                namespace,
                name: "cart".to_owned(),
            }),
        );
        check(
            "application/cart",
            Some(LockScope::Application("cart".into())),
        );
        check("named/a/b", Some(LockScope::Named("a/b".to_owned())));
    }

    #[test]
    fn a_text_that_names_too_little_or_too_much_is_no_scope() {
        for text in [
            "",
            "/",
            "fleet/",
            "fleet/x",
            "cluster",
            "cluster/",
            "cluster/a/b",
            "namespace/a",
            "namespace//b",
            "service/a/b",
            "service/a/b/",
            "service/a/b/c/d",
            "application/a\n",
            "named/",
            "planet/a",
        ] {
            check(text, None);
        }
        check(&format!("cluster/{}", "c".repeat(254)), None);
    }

    #[test]
    fn a_lock_of_an_application_is_stored_as_before() {
        let scope = LockScope::Application("cart".into());
        let stored = serde_json::to_string(&scope).unwrap();
        assert_eq!(stored, r#"{"application":"cart"}"#);
    }
}
