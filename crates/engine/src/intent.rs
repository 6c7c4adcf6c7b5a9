//! What a proposal is for: at most one proposal is under way for each intent.

use regraft_model::id::{ApplicationName, ClusterName, IncidentId, RepositoryName, TargetKey};
use std::fmt;

/// What a proposal is for. Shown to people where it comes to nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Intent {
    /// Name the installation.
    Initialise,
    /// Record a head.
    Head(RepositoryName),
    /// Record a configuration.
    Configuration(RepositoryName),
    /// Say that the remote was asked after a request for a sync.
    RemoteAsked(ApplicationName),
    /// Spread targets over members.
    Assign,
    /// Give an incident to another member.
    Executor(IncidentId),
    /// Register a cluster.
    Cluster(ClusterName),
    /// Report where a target stands.
    Report(TargetKey),
    /// Say that a target is cleared.
    Retired(TargetKey),
    /// Open or join an incident.
    Open(TargetKey),
    /// Move an incident on.
    Incident(IncidentId),
    /// Renew an incident's lock.
    Renew(IncidentId),
    /// Record a veto.
    Veto(IncidentId),
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Intent::Initialise => f.write_str("initialise"),
            Intent::Head(repository) => write!(f, "head/{repository}"),
            Intent::Configuration(repository) => write!(f, "configuration/{repository}"),
            Intent::RemoteAsked(application) => write!(f, "asked/{application}"),
            Intent::Assign => f.write_str("assign"),
            Intent::Executor(incident) => write!(f, "executor/{incident}"),
            Intent::Cluster(cluster) => write!(f, "cluster/{cluster}"),
            Intent::Report(target) => write!(f, "report/{target}"),
            Intent::Retired(target) => write!(f, "retired/{target}"),
            Intent::Open(target) => write!(f, "open/{target}"),
            Intent::Incident(incident) => write!(f, "incident/{incident}"),
            Intent::Renew(incident) => write!(f, "renew/{incident}"),
            Intent::Veto(incident) => write!(f, "veto/{incident}"),
        }
    }
}
