//! This member's engine: what it proposes and confirms when it leads.

use crate::config::Clock;
use crate::error::ProposeError;
use crate::log::Failure;
use crate::planted::{self, Bug};
use crate::room::Room;
use crate::state::StateStore;
use crate::state::engine::Applier;
use crate::types::{Command, LeaderId, Types};
use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::raft::ReadPolicy;
use prost::Message as _;
use regraft_state::command::Stamped;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Proposals under way at the same time on one member; more wait for a slot.
pub(crate) const IN_FLIGHT_MAX: usize = 1024;
/// Largest command: a few hundred incidents' worth of evidence fit.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;

pub(crate) type Raft = openraft::Raft<Types, Applier>;

/// A command that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The log index at which it was applied.
    pub index: u64,
    /// What the machine answered.
    pub response: Vec<u8>,
}

/// The engine and what it needs to propose.
pub(crate) struct Local {
    pub(crate) raft: Raft,
    pub(crate) state: Arc<StateStore>,
    pub(crate) room: Room,
    log_failure: Failure,
    clock: Clock,
    slots: Semaphore,
    timeout: Duration,
}

/// No read point, because...
pub(crate) enum ReadIndexError {
    NotLeader(Option<u64>),
    Unavailable(String),
    Halted(String),
}

/// Told before it is sent anywhere: no member takes more.
pub(crate) fn check_size(command: &[u8]) -> Result<(), ProposeError> {
    match command.len() > COMMAND_BYTES_MAX {
        true => Err(ProposeError::TooLarge {
            size_bytes: command.len(),
            limit_bytes: COMMAND_BYTES_MAX,
        }),
        false => Ok(()),
    }
}

impl Local {
    pub(crate) fn new(
        raft: Raft,
        state: Arc<StateStore>,
        room: Room,
        log_failure: Failure,
        clock: Clock,
        timeout: Duration,
    ) -> Self {
        Self {
            raft,
            state,
            room,
            log_failure,
            clock,
            slots: Semaphore::new(IN_FLIGHT_MAX),
            timeout,
        }
    }

    /// Why the state stopped for good, or the log under it.
    pub(crate) fn halted(&self) -> Option<&str> {
        let log = self.log_failure.get().map(String::as_str);
        self.state.halted().or(log)
    }

    /// Stamps a command and has it applied, if this member leads.
    pub(crate) async fn propose(&self, command: Vec<u8>) -> Result<Proposed, ProposeError> {
        let leader = self.raft.as_leader().map_err(|other| not_leader(&other));
        let leader = leader.map(|leader| leader.to_committed_leader_id());
        check_size(&command)?;
        self.check_halted()?;
        self.propose_as(leader?, command).await
    }

    /// As whom this member leads, if it does.
    pub(crate) fn leads(&self) -> Option<LeaderId> {
        let leader = self.raft.as_leader().ok()?;
        Some(leader.to_committed_leader_id())
    }

    /// Stamps a command and has it applied, if this member still leads as `leader`.
    pub(crate) async fn propose_as(
        &self,
        leader: LeaderId,
        command: Vec<u8>,
    ) -> Result<Proposed, ProposeError> {
        if let Some(reason) = self.room.lacking_still() {
            return Err(ProposeError::Unavailable {
                reason: format!("the disk of the leader is full: {reason}"),
            });
        }
        let busy = || ProposeError::Unavailable {
            reason: format!("{IN_FLIGHT_MAX} proposals are under way already"),
        };
        let slot = tokio::time::timeout(self.timeout, self.slots.acquire()).await;
        let _slot = slot.map_err(|_| busy())?.map_err(|_| busy())?;
        let stamped = Stamped {
            stamped_ms: (self.clock)(),
            command,
        };
        let (responder, response) = ProgressResponder::complete_only();
        // Only in the term whose leader stamped it.
        self.raft
            .write(Command(Bytes::from(stamped.encode_to_vec())))
            .responder(responder)
            .with_leader(leader)
            .await
            .map_err(|fatal| self.stopped(&fatal))?;
        match tokio::time::timeout(self.timeout, response).await {
            Ok(Ok(Ok(written))) => Ok(Proposed {
                index: written.log_id.index,
                response: written.data,
            }),
            Ok(Ok(Err(error))) => Err(refused(error)),
            // The engine stopped while the command was under way, also where the state halted: others may apply it.
            Ok(Err(_)) | Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// The index that a linearizable read must have applied, confirmed by a quorum.
    pub(crate) async fn read_index(&self) -> Result<u64, ReadIndexError> {
        if planted::has(Bug::ReadWithoutQuorum) && self.leads().is_some() {
            return Ok(self.state.position().applied.map_or(0, |id| id.index));
        }
        let confirming = self.raft.get_read_log_id(ReadPolicy::ReadIndex);
        match tokio::time::timeout(self.timeout, confirming).await {
            Ok(Ok((read, _))) => Ok(read.index()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(other)))) => {
                Err(ReadIndexError::NotLeader(other.leader_id))
            }
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(error)))) => {
                let metrics = self.raft.metrics().borrow_watched().clone();
                let voters = metrics.membership_config.voter_ids().collect();
                Err(ReadIndexError::Unavailable(no_majority(
                    &voters, &error.got,
                )))
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(match self.halted() {
                Some(reason) => ReadIndexError::Halted(reason.to_owned()),
                None => ReadIndexError::Unavailable(fatal.to_string()),
            }),
            Err(_) => Err(ReadIndexError::Unavailable(
                "no quorum confirmed in time who leads".to_owned(),
            )),
        }
    }

    fn check_halted(&self) -> Result<(), ProposeError> {
        match self.halted() {
            Some(reason) => Err(ProposeError::Halted {
                reason: reason.to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn stopped(&self, fatal: &impl std::fmt::Display) -> ProposeError {
        match self.check_halted() {
            Err(halted) => halted,
            Ok(()) => ProposeError::Unavailable {
                reason: format!("the member has stopped: {fatal}"),
            },
        }
    }
}

/// Who of the voters answered, and who did not.
fn no_majority(voters: &BTreeSet<u64>, answered: &BTreeSet<u64>) -> String {
    let silent: Vec<String> = voters.difference(answered).map(u64::to_string).collect();
    format!(
        "only {} of {} voters answered, which is no majority; nothing was heard of member {}",
        voters.intersection(answered).count(),
        voters.len(),
        silent.join(", ")
    )
}

fn refused(error: ClientWriteError<Types>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(other) => not_leader(&other),
        // It was in a log that another leader replaced, or not.
        ClientWriteError::LogEntryDiscarded(_) => ProposeError::Unknown,
        other => ProposeError::Unavailable {
            reason: other.to_string(),
        },
    }
}

fn not_leader(other: &ForwardToLeader<Types>) -> ProposeError {
    ProposeError::NotLeader {
        leader: other.leader_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_majority_is_told_in_words() {
        let told = no_majority(&BTreeSet::from([1, 2, 3]), &BTreeSet::from([2]));
        assert_eq!(
            told,
            "only 1 of 3 voters answered, which is no majority; nothing was heard of member 1, 3"
        );
    }
}
