//! Reads of the replicated state on this member: typed, from one frozen view.

use regraft_model::id::IncidentId;
use regraft_model::incident::Incident;
use regraft_model::time::Timestamp;
use regraft_replica::Replica;
use regraft_state::record::{AuditEntry, Lock, Subject, Suspension};
use regraft_state::store::{Read, ReadError, Walk};
use regraft_state::table::{self, prefix};
use regraft_state::view::View;
use serde::de::DeserializeOwned;

/// The tables people ask for. Sessions and the audit chain are long and not among them.
const TABLES: [&str; 13] = [
    prefix::HEADS,
    prefix::CONFIGURATIONS,
    prefix::CLUSTERS,
    prefix::ASSIGNMENTS,
    prefix::STATUSES,
    prefix::INCIDENTS,
    prefix::LOCKS,
    prefix::VETOES,
    prefix::CLOSED,
    prefix::SUSPENSIONS,
    prefix::CONFIRMATIONS,
    prefix::RETIRING,
    prefix::SYNCS,
];

/// Everything but sessions and audit.
pub(super) fn view(replica: &Replica) -> Result<View, ReadError> {
    replica.read(|read| {
        let mut pairs = Vec::new();
        if let Some(value) = read.get(table::INSTALLATION.as_bytes())? {
            pairs.push((table::INSTALLATION.as_bytes().to_vec(), value));
        }
        for table in TABLES {
            read.scan(table.as_bytes(), &mut |key, value| {
                pairs.push((key.to_vec(), value.to_vec()));
                Walk::Continue
            })?;
        }
        let pairs = pairs
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_slice()));
        View::restore(pairs).map_err(|error| ReadError(error.to_string()))
    })?
}

/// What decides whether an incident's commit may be pushed.
pub(super) struct Standing {
    /// The newest stamp of a leader: time that has passed for all.
    pub(super) stamped_at: Timestamp,
    pub(super) lock: Option<Lock>,
    pub(super) incident: Option<Incident>,
    /// Of everything, or of its application.
    pub(super) suspension: Option<Suspension>,
}

/// An incident, the lock it holds, and who suspended it.
pub(super) fn standing(replica: &Replica, id: &IncidentId) -> Result<Standing, ReadError> {
    replica.read(|read| {
        let incident: Option<Incident> = record(read, prefix::INCIDENTS, id.as_str())?;
        let application = incident
            .as_ref()
            .map(|incident| Subject::Application(incident.application.clone()));
        let mut suspension = None;
        for subject in std::iter::once(Subject::All).chain(application) {
            if suspension.is_none() {
                suspension = record(read, prefix::SUSPENSIONS, &subject.to_string())?;
            }
        }
        Ok(Standing {
            stamped_at: record(read, table::TIME, "")?.unwrap_or_default(),
            lock: record(read, prefix::LOCKS, id.as_str())?,
            incident,
            suspension,
        })
    })?
}

/// All incidents.
pub(super) fn incidents(replica: &Replica) -> Result<Vec<Incident>, ReadError> {
    replica.read(|read| all(read, prefix::INCIDENTS))?
}

/// The newest `limit` entries of the audit chain, oldest first.
pub(super) fn audit(replica: &Replica, limit: usize) -> Result<Vec<AuditEntry>, ReadError> {
    let mut entries: Vec<AuditEntry> = replica.read(|read| all(read, prefix::AUDIT))??;
    let older = entries.len().saturating_sub(limit);
    entries.drain(..older);
    Ok(entries)
}

fn record<T: DeserializeOwned>(
    read: &dyn Read,
    prefix: &str,
    key: &str,
) -> Result<Option<T>, ReadError> {
    let key = format!("{prefix}{key}");
    read.get(key.as_bytes())?
        .map(|value| decode(key.as_bytes(), &value))
        .transpose()
}

fn all<T: DeserializeOwned>(read: &dyn Read, prefix: &str) -> Result<Vec<T>, ReadError> {
    let mut found = Vec::new();
    read.scan(prefix.as_bytes(), &mut |key, value| {
        found.push(decode(key, value));
        Walk::Continue
    })?;
    found.into_iter().collect()
}

fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(value).map_err(|error| {
        ReadError(format!(
            "{} is unreadable: {error}",
            String::from_utf8_lossy(key)
        ))
    })
}
