//! The state as typed maps: what an engine or a person reads. Built from the store's pairs, kept by its writes. What
//! sessions keep is not among them: see [`sessions`].

pub mod sessions;

use crate::record::{
    Assignment, AuditEntry, Baseline, Closed, ClusterIdentity, Configuration, Confirmation, Head,
    Lock, Retiring, Subject, Suspension, SyncRequest, Veto,
};
use crate::store::{Read, ReadError, Walk, Write};
use crate::table::{self, prefix, target_of};
use regraft_model::config::Application;
use regraft_model::finding::TargetStatus;
use regraft_model::id::{
    ApplicationName, ClusterName, Fence, IncidentId, RepositoryName, TargetKey,
};
use regraft_model::incident::Incident;
use regraft_model::source::TreeId;
use regraft_model::time::Timestamp;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// The tables of a view. Baselines, the audit chain and what sessions keep are long and not among them.
pub const TABLES: [&str; 13] = [
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

/// A typed mirror of the state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Id of the installation.
    pub installation: Option<String>,
    /// Fence of the newest spreading of targets over members.
    pub spread: Fence,
    /// Heads.
    pub heads: BTreeMap<RepositoryName, Head>,
    /// Last valid configurations.
    pub configurations: BTreeMap<RepositoryName, Configuration>,
    /// Cluster identities.
    pub clusters: BTreeMap<ClusterName, ClusterIdentity>,
    /// Who works on what.
    pub assignments: BTreeMap<TargetKey, Assignment>,
    /// Where targets stand.
    pub statuses: BTreeMap<TargetKey, TargetStatus>,
    /// Incidents, open and ended.
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// Locks by the incident that holds them.
    pub locks: BTreeMap<IncidentId, Lock>,
    /// Vetoes by fingerprint.
    pub vetoes: BTreeMap<String, Veto>,
    /// Inputs closed for healing.
    pub closed: BTreeMap<(ApplicationName, TreeId), Closed>,
    /// What people suspended.
    pub suspensions: BTreeMap<Subject, Suspension>,
    /// What people confirmed.
    pub confirmations: BTreeMap<TargetKey, Confirmation>,
    /// Applications that left Git.
    pub retiring: BTreeMap<ApplicationName, Retiring>,
    /// Syncs people asked for.
    pub syncs: BTreeMap<ApplicationName, SyncRequest>,
}

/// What clusters know of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Baselines {
    /// By cluster and metric.
    pub known: BTreeMap<ClusterName, BTreeMap<String, Baseline>>,
    /// Records that are left out.
    pub unreadable: Vec<UnreadableRecord>,
}

/// A pair that is no record this version knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("state record {key} cannot be read: {reason}")]
pub struct UnreadableRecord {
    /// Its key.
    pub key: String,
    /// Why.
    pub reason: String,
}

impl From<UnreadableRecord> for ReadError {
    fn from(unreadable: UnreadableRecord) -> Self {
        Self(unreadable.to_string())
    }
}

impl View {
    /// Reads everything but sessions and audit. Errors: the store, or a record in it, cannot be read.
    pub fn read(read: &dyn Read) -> Result<Self, ReadError> {
        let mut view = Self::default();
        for key in [table::INSTALLATION, table::SPREAD] {
            if let Some(value) = read.get(key.as_bytes())? {
                view.put(key.as_bytes(), &value)?;
            }
        }
        for table in TABLES {
            let mut taken = Ok(());
            read.scan(table.as_bytes(), &mut |key, value| {
                taken = view.put(key, value);
                match taken {
                    Ok(()) => Walk::Continue,
                    Err(_) => Walk::Stop,
                }
            })?;
            taken?;
        }
        Ok(view)
    }

    /// Builds the view from every pair of the store. Errors: the first pair of a version that this one does not know.
    pub fn restore<'a>(
        pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, UnreadableRecord> {
        let mut view = Self::default();
        for (key, value) in pairs {
            view.put(key, value)?;
        }
        Ok(view)
    }

    /// Follows one command's writes. Errors: the first write of a version that this one does not know; those before it
    /// were followed.
    pub fn apply(&mut self, writes: &[Write]) -> Result<(), UnreadableRecord> {
        for write in writes {
            match write {
                Write::Put { key, value } => self.put(key, value)?,
                Write::Delete { key } => self.delete(key),
            }
        }
        Ok(())
    }

    /// An application as it was last configured without errors; of one that several repositories name, the first.
    pub fn application(&self, name: &ApplicationName) -> Option<&Application> {
        let mut configurations = self.configurations.values();
        configurations.find_map(|it| it.fleet.applications.get(name))
    }

    /// Why an application is suspended by a person: everything is, or it is.
    pub fn suspension_of(&self, application: &ApplicationName) -> Option<&Suspension> {
        let own = Subject::Application(application.clone());
        let all = self.suspensions.get(&Subject::All);
        all.or_else(|| self.suspensions.get(&own))
    }

    /// The open incident of an application.
    pub fn open_incident(&self, application: &ApplicationName) -> Option<&Incident> {
        self.incidents
            .values()
            .find(|incident| incident.is_open() && incident.application == *application)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), UnreadableRecord> {
        if key.starts_with(prefix::RECORDS.as_bytes()) {
            // Of these there are many, and their keys need be no texts.
            return Ok(());
        }
        let key = String::from_utf8_lossy(key);
        let key = key.as_ref();
        if key == table::INSTALLATION {
            self.installation = Some(decode(key, value)?);
            return Ok(());
        }
        if key == table::SPREAD {
            self.spread = decode(key, value)?;
            return Ok(());
        }
        let (table, rest) = split(key);
        match table {
            prefix::HEADS => {
                self.heads.insert(rest.into(), decode(key, value)?);
            }
            prefix::CONFIGURATIONS => {
                self.configurations.insert(rest.into(), decode(key, value)?);
            }
            prefix::CLUSTERS => {
                self.clusters.insert(rest.into(), decode(key, value)?);
            }
            prefix::ASSIGNMENTS => {
                self.assignments
                    .insert(target_of(rest), decode(key, value)?);
            }
            prefix::STATUSES => {
                self.statuses.insert(target_of(rest), decode(key, value)?);
            }
            prefix::INCIDENTS => {
                self.incidents.insert(rest.into(), decode(key, value)?);
            }
            prefix::LOCKS => {
                self.locks.insert(rest.into(), decode(key, value)?);
            }
            prefix::VETOES => {
                self.vetoes.insert(rest.to_owned(), decode(key, value)?);
            }
            prefix::CLOSED => {
                let closed: Closed = decode(key, value)?;
                self.closed
                    .insert((closed.application.clone(), closed.tree.clone()), closed);
            }
            prefix::SUSPENSIONS => {
                let suspension: Suspension = decode(key, value)?;
                self.suspensions
                    .insert(suspension.subject.clone(), suspension);
            }
            prefix::CONFIRMATIONS => {
                self.confirmations
                    .insert(target_of(rest), decode(key, value)?);
            }
            prefix::RETIRING => {
                self.retiring.insert(rest.into(), decode(key, value)?);
            }
            prefix::SYNCS => {
                self.syncs.insert(rest.into(), decode(key, value)?);
            }
            // Baselines, the audit chain and what sessions keep are read from the store by those who need them.
            _ => {}
        }
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) {
        let key = String::from_utf8_lossy(key);
        let (table, rest) = split(key.as_ref());
        match table {
            prefix::HEADS => drop(self.heads.remove(&RepositoryName::from(rest))),
            prefix::CONFIGURATIONS => drop(self.configurations.remove(&RepositoryName::from(rest))),
            prefix::CLUSTERS => drop(self.clusters.remove(&ClusterName::from(rest))),
            prefix::ASSIGNMENTS => drop(self.assignments.remove(&target_of(rest))),
            prefix::STATUSES => drop(self.statuses.remove(&target_of(rest))),
            prefix::INCIDENTS => drop(self.incidents.remove(&IncidentId::from(rest))),
            prefix::LOCKS => drop(self.locks.remove(&IncidentId::from(rest))),
            prefix::VETOES => drop(self.vetoes.remove(rest)),
            prefix::CLOSED => {
                let (application, tree) = rest.split_once('/').unwrap_or((rest, ""));
                self.closed
                    .remove(&(application.into(), TreeId(tree.to_owned())));
            }
            prefix::SUSPENSIONS => {
                self.suspensions
                    .retain(|subject, _| subject.to_string() != rest);
            }
            prefix::CONFIRMATIONS => drop(self.confirmations.remove(&target_of(rest))),
            prefix::RETIRING => drop(self.retiring.remove(&ApplicationName::from(rest))),
            prefix::SYNCS => drop(self.syncs.remove(&ApplicationName::from(rest))),
            _ => {}
        }
    }
}

/// The lock of an incident.
pub fn lock(read: &dyn Read, incident: &IncidentId) -> Result<Option<Lock>, ReadError> {
    record(read, &table::incident(prefix::LOCKS, incident))
}

/// An incident.
pub fn incident(read: &dyn Read, id: &IncidentId) -> Result<Option<Incident>, ReadError> {
    record(read, &table::incident(prefix::INCIDENTS, id))
}

/// The suspension of exactly this subject.
pub fn suspension(read: &dyn Read, subject: &Subject) -> Result<Option<Suspension>, ReadError> {
    record(read, &table::suspension(subject))
}

/// What every cluster knows of a service. A record that cannot be read hides no other: each is of use alone. Errors: the
/// store cannot be read.
pub fn baselines(
    read: &dyn Read,
    application: &ApplicationName,
    workload: &str,
) -> Result<Baselines, ReadError> {
    let mut baselines = Baselines::default();
    let service = format!("{}{application}/{workload}/", prefix::BASELINES);
    read.scan(service.as_bytes(), &mut |key, value| {
        let key = String::from_utf8_lossy(key);
        let rest = key.strip_prefix(prefix::BASELINES).unwrap_or(&key);
        if let Some(of) = table::baseline_of(rest) {
            match decode(&key, value) {
                Ok(baseline) => {
                    let cluster = baselines.known.entry(of.cluster).or_default();
                    cluster.insert(of.metric.to_owned(), baseline);
                }
                Err(unreadable) => baselines.unreadable.push(unreadable),
            }
        }
        Walk::Continue
    })?;
    Ok(baselines)
}

/// The newest stamp of a leader, of a command that was applied.
pub fn time(read: &dyn Read) -> Result<Timestamp, ReadError> {
    Ok(record(read, table::TIME)?.unwrap_or_default())
}

/// The whole audit chain, oldest first.
pub fn audit(read: &dyn Read) -> Result<Vec<AuditEntry>, ReadError> {
    let mut entries = Vec::new();
    read.scan(prefix::AUDIT.as_bytes(), &mut |key, value| {
        entries.push(decode(&String::from_utf8_lossy(key), value));
        Walk::Continue
    })?;
    entries
        .into_iter()
        .collect::<Result<_, UnreadableRecord>>()
        .map_err(ReadError::from)
}

fn record<T: DeserializeOwned>(read: &dyn Read, key: &str) -> Result<Option<T>, ReadError> {
    read.get(key.as_bytes())?
        .map(|value| decode(key, &value).map_err(ReadError::from))
        .transpose()
}

fn split(key: &str) -> (&str, &str) {
    let end = key.find('/').map_or(key.len(), |slash| slash + 1);
    key.split_at(end)
}

fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, UnreadableRecord> {
    serde_json::from_slice(value).map_err(|error| UnreadableRecord {
        key: key.to_owned(),
        reason: error.to_string(),
    })
}
