//! Where each record lives: one key prefix a table, text parts joined by `/`, values as JSON, those of [`crate::stored`] as
//! prost.

use crate::record::Subject;
use regraft_model::id::{
    ApplicationName, ClusterName, IncidentId, LockScope, RepositoryName, TargetKey,
};
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
    /// [`crate::record::Lock`] of repairs, by incident.
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
    /// Answers of a client of format 1 in one record, by client: as it was before format 2.
    pub const SESSIONS: &str = "sessions/";
    /// [`crate::stored::Client`] by client of format 1.
    pub const CLIENTS: &str = "clients/";
    /// [`crate::stored::Slot`] by client of format 1 and slot.
    pub const CLIENT_SLOTS: &str = "clientslots/";
    /// [`crate::stored::Session`] by id.
    pub const OPEN_SESSIONS: &str = "opensessions/";
    /// [`crate::stored::Slot`] by session and slot.
    pub const SLOTS: &str = "slots/";
    /// [`crate::stored::Record`] by the client's key.
    pub const RECORDS: &str = "records/";
    /// [`crate::stored::Held`] by scope: `fleet`, `fleet/C`, `fleet/C/N`, `fleet/C/N/S`, `application/A`, `named/X`.
    pub const HELD: &str = "held/";
    /// [`crate::stored::Held`] of applications.
    pub const HELD_APPLICATIONS: &str = "held/application/";
    /// [`crate::stored::Waiter`] by ticket.
    pub const WAITING: &str = "waiting/";
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
/// Newest format that every member is known to read ([`crate::format`]); none stands for the first.
pub const FORMAT: &str = "meta/format";
/// How many sessions are open.
pub const SESSION_COUNT: &str = "meta/sessions";
/// [`crate::stored::Queue`].
pub const QUEUE: &str = "meta/queue";

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

pub(crate) fn client_together(client: &str) -> String {
    format!("{}{client}", prefix::SESSIONS)
}

pub(crate) fn client(client: &str) -> String {
    format!("{}{client}", prefix::CLIENTS)
}

pub(crate) fn client_slot(client: &str, slot: u64) -> String {
    format!("{}{client}/{slot:02x}", prefix::CLIENT_SLOTS)
}

/// Key of an open session.
pub fn open_session(session: u64) -> String {
    format!("{}{session:016x}", prefix::OPEN_SESSIONS)
}

pub(crate) fn slots(session: u64) -> String {
    format!("{}{session:016x}/", prefix::SLOTS)
}

pub(crate) fn slot(session: u64, slot: u32) -> String {
    format!("{}{session:016x}/{slot:02x}", prefix::SLOTS)
}

/// Key of a record that a client keeps under `key`.
pub fn record(key: &[u8]) -> Vec<u8> {
    [prefix::RECORDS.as_bytes(), key].concat()
}

/// Key of who holds a scope by sessions: what a waiter watches.
pub fn held(scope: &LockScope) -> String {
    let table = prefix::HELD;
    match scope {
        LockScope::Fleet => format!("{table}fleet"),
        LockScope::Cluster(cluster) => format!("{table}fleet/{cluster}"),
        LockScope::Namespace { cluster, namespace } => {
            format!("{table}fleet/{cluster}/{namespace}")
        }
        LockScope::Service {
            cluster,
            namespace,
            name,
        } => format!("{table}fleet/{cluster}/{namespace}/{name}"),
        LockScope::Application(name) => format!("{table}application/{name}"),
        LockScope::Named(name) => format!("{table}named/{name}"),
    }
}

/// Key of a request that waits, by its ticket.
pub fn waiting(ticket: u64) -> String {
    format!("{}{ticket:016x}", prefix::WAITING)
}

/// The number that a key of the tables of open sessions and waiting requests ends with, without the table's prefix.
pub(crate) fn number_of(hex: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

/// The session that a key is about: that it is open, or that it asked for something.
pub fn session_of(key: &[u8]) -> Option<u64> {
    let open = key.strip_prefix(prefix::OPEN_SESSIONS.as_bytes());
    let rest = open.or_else(|| key.strip_prefix(prefix::SLOTS.as_bytes()))?;
    number_of(rest.get(..16)?)
}

pub(crate) fn audit(number: u64) -> String {
    format!("{}{number:016x}", prefix::AUDIT)
}
