//! Reads of the replicated state on this member: typed, from one frozen view.

use regraft_model::id::IncidentId;
use regraft_model::incident::Incident;
use regraft_model::time::Timestamp;
use regraft_replica::Replica;
use regraft_state::audit::Chain;
use regraft_state::record::{AuditEntry, Lock, Subject, Suspension};
use regraft_state::store::ReadError;
use regraft_state::view::{self, View};

/// Everything but sessions and audit.
pub(super) fn view(replica: &Replica) -> Result<View, ReadError> {
    replica.read(View::read)?
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
        let incident = view::incident(read, id)?;
        let application = incident
            .as_ref()
            .map(|incident| Subject::Application(incident.application.clone()));
        let mut suspension = None;
        for subject in std::iter::once(Subject::All).chain(application) {
            if suspension.is_none() {
                suspension = view::suspension(read, &subject)?;
            }
        }
        Ok(Standing {
            stamped_at: view::time(read)?,
            lock: view::lock(read, id)?,
            incident,
            suspension,
        })
    })?
}

/// The newest `limit` entries of the audit chain, oldest first.
pub(super) fn audit(replica: &Replica, limit: usize) -> Result<Vec<AuditEntry>, ReadError> {
    let mut entries = replica.read(view::audit)??;
    let older = entries.len().saturating_sub(limit);
    entries.drain(..older);
    Ok(entries)
}

/// At most `limit` entries of the audit chain from number `from` on, with its head.
pub(super) fn audit_chain(replica: &Replica, from: u64, limit: usize) -> Result<Chain, ReadError> {
    replica.read(|read| Chain::read(read, from, limit))?
}
