//! Where each record lives: one key prefix a table, text parts joined by `/`, values as JSON.

use crate::record::Subject;
use regraft_model::id::{ApplicationName, ClusterName, IncidentId, RepositoryName, TargetKey};
use regraft_model::source::TreeId;

/// Prefixes of the tables.
pub mod prefix {
    /// Single values of the machine.
    pub const META: &str = "meta/";
    /// [`crate::record::Head`] by repository.
    pub const HEADS: &str = "heads/";
    /// [`crate::record::Configuration`] by repository.
    pub const CONFIGURATIONS: &str = "configurations/";
    /// [`crate::record::ClusterIdentity`] by cluster.
    pub const CLUSTERS: &str = "clusters/";
    /// [`crate::record::Assignment`] by target.
    pub const ASSIGNMENTS: &str = "assignments/";
    /// `TargetStatus` by target.
    pub const STATUSES: &str = "statuses/";
    /// `Incident` by id.
    pub const INCIDENTS: &str = "incidents/";
    /// [`crate::record::Lock`] by incident.
    pub const LOCKS: &str = "locks/";
    /// [`crate::record::Veto`] by fingerprint.
    pub const VETOES: &str = "vetoes/";
    /// [`crate::record::Closed`] by application and tree.
    pub const CLOSED: &str = "closed/";
    /// [`crate::record::Suspension`] by subject.
    pub const SUSPENSIONS: &str = "suspensions/";
    /// [`crate::record::Confirmation`] by target.
    pub const CONFIRMATIONS: &str = "confirmations/";
    /// [`crate::record::Retiring`] by application.
    pub const RETIRING: &str = "retiring/";
    /// [`crate::record::SyncRequest`] by application.
    pub const SYNCS: &str = "syncs/";
    /// [`crate::record::Baseline`] by application, workload, cluster and metric.
    pub const BASELINES: &str = "baselines/";
    /// Sessions for dedupe by client.
    pub const SESSIONS: &str = "sessions/";
    /// [`crate::record::AuditEntry`] by number.
    pub const AUDIT: &str = "audit/";
}

/// The installation's id.
pub const INSTALLATION: &str = "meta/installation";
/// The machine's time.
pub const TIME: &str = "meta/time";
/// Fence of the newest spreading of targets over members.
pub const SPREAD: &str = "meta/spread";
/// The head of the audit chain.
pub const AUDIT_HEAD: &str = "meta/audit";

pub(crate) fn head(repository: &RepositoryName) -> String {
    format!("{}{repository}", prefix::HEADS)
}

pub(crate) fn configuration(repository: &RepositoryName) -> String {
    format!("{}{repository}", prefix::CONFIGURATIONS)
}

pub(crate) fn cluster(cluster: &ClusterName) -> String {
    format!("{}{cluster}", prefix::CLUSTERS)
}

pub(crate) fn target(prefix: &str, target: &TargetKey) -> String {
    format!("{prefix}{}/{}", target.application, target.cluster)
}

/// The target that a key of a table of targets names, without the table's prefix.
pub fn target_of(rest: &str) -> TargetKey {
    let (application, cluster) = rest.split_once('/').unwrap_or((rest, ""));
    TargetKey {
        application: application.into(),
        cluster: cluster.into(),
    }
}

/// Where the baselines of a service in one cluster lie.
pub(crate) fn baselines_of(target: &TargetKey, workload: &str) -> String {
    let TargetKey {
        application,
        cluster,
    } = target;
    format!("{}{application}/{workload}/{cluster}/", prefix::BASELINES)
}

pub(crate) fn baseline(target: &TargetKey, workload: &str, metric: &str) -> String {
    format!("{}{metric}", baselines_of(target, workload))
}

/// Whose baseline a key names.
pub(crate) struct BaselineKey<'a> {
    pub(crate) cluster: ClusterName,
    /// The last part: it may have slashes.
    pub(crate) metric: &'a str,
}

/// Takes a key of the table of baselines apart, without the table's prefix.
pub(crate) fn baseline_of(rest: &str) -> Option<BaselineKey<'_>> {
    let mut parts = rest.splitn(4, '/').skip(2);
    let (cluster, metric) = (parts.next()?, parts.next()?);
    Some(BaselineKey {
        cluster: cluster.into(),
        metric,
    })
}

pub(crate) fn incident(prefix: &str, id: &IncidentId) -> String {
    format!("{prefix}{id}")
}

pub(crate) fn veto(fingerprint: &str) -> String {
    format!("{}{fingerprint}", prefix::VETOES)
}

pub(crate) fn closed(application: &ApplicationName, tree: &TreeId) -> String {
    format!("{}{application}/{}", prefix::CLOSED, tree.0)
}

pub(crate) fn suspension(subject: &Subject) -> String {
    format!("{}{subject}", prefix::SUSPENSIONS)
}

pub(crate) fn application(prefix: &str, name: &ApplicationName) -> String {
    format!("{prefix}{name}")
}

pub(crate) fn session(client: &str) -> String {
    format!("{}{client}", prefix::SESSIONS)
}

pub(crate) fn audit(number: u64) -> String {
    format!("{}{number:016x}", prefix::AUDIT)
}
