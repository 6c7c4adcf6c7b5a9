//! The last look before a push: a linearizable read, on the thread that is about to push (I2). Git remains the lock of
//! last resort for the moment between this look and the push.

use super::state;
use crate::clock;
use regraft_model::id::{Fence, IncidentId};
use regraft_model::incident::Phase;
use regraft_replica::{Replica, WeakReplica};

/// Asks the replicated state from a thread outside the runtime. A thread that hangs in Git does not keep the databases
/// open.
pub(super) struct Gate {
    replica: WeakReplica,
    runtime: tokio::runtime::Handle,
}

impl Gate {
    /// Must be called inside the runtime.
    pub(super) fn new(replica: &Replica) -> Self {
        let runtime = tokio::runtime::Handle::current();
        Self {
            replica: replica.downgrade(),
            runtime,
        }
    }

    /// Whether the lock of an incident still has this fence and has not run out, nobody suspended its application, and
    /// the incident still wants its commit. Blocks until the majority has answered.
    pub(super) fn check(&self, id: &IncidentId, fence: Fence) -> Result<(), String> {
        let replica = self
            .replica
            .upgrade()
            .ok_or_else(|| "this member stops".to_owned())?;
        self.runtime
            .block_on(replica.barrier())
            .map_err(|error| format!("whether the lock holds cannot be read: {error}"))?;
        let standing = state::standing(&replica, id).map_err(|error| error.to_string())?;
        let lock = standing
            .lock
            .ok_or_else(|| format!("{id} holds no lock any more"))?;
        if lock.fence != fence {
            return Err(format!(
                "the lock of {id} has fence {}, not {fence}",
                lock.fence
            ));
        }
        // Our clock may be behind: the lock has run out when any member that led says so.
        if lock.expires_at <= clock::now().max(standing.stamped_at) {
            return Err(format!("the lock of {id} ran out at {}", lock.expires_at));
        }
        if let Some(suspension) = standing.suspension {
            return Err(suspension.to_string());
        }
        match standing.incident {
            Some(incident) if incident.phase == Phase::Locked => Ok(()),
            Some(incident) => Err(format!("{id} is {} and wants no commit", incident.phase)),
            None => Err(format!("there is no incident {id}")),
        }
    }
}
