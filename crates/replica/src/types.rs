//! The engine's types, filled in, and how they are written as messages.
//!
//! The messages are the format on the wire and on disk: an upgrade of the engine changes this file,
//! never the format.

use crate::planted::{self, Bug};
use bytes::Bytes;
use openraft::BasicNode;
use openraft::vote::RaftLeaderId as _;
use regraft_wire::raft::v1 as wire;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The raw bytes of a command, as they are in the log.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Bytes);

openraft::declare_raft_types!(
    /// What the engine is made of here.
    pub(crate) Types:
        D = Command,
        R = Vec<u8>,
        NodeId = u64,
        Node = BasicNode,
        AsyncRuntime = Runtime,
);

#[cfg(not(test))]
type Runtime = openraft_rt_tokio::TokioRuntime;
/// Draws election timeouts from a seed where one is simulated.
#[cfg(test)]
type Runtime = crate::simulation::Runtime;

pub(crate) type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
pub(crate) type LogId = openraft::LogId<LeaderId>;
pub(crate) type Vote = openraft::impls::Vote<LeaderId>;
pub(crate) type Payload = openraft::EntryPayload<Command, u64, BasicNode>;
pub(crate) type Entry = openraft::Entry<LeaderId, Payload>;
pub(crate) type Membership = openraft::Membership<u64, BasicNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderId, u64, BasicNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, BasicNode>;
pub(crate) type Snapshot<D> = openraft::Snapshot<LeaderId, u64, BasicNode, D>;

/// A message that lacks what it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message lacks its {0}")]
pub(crate) struct Lacks(pub(crate) &'static str);

pub(crate) fn log_id_to_wire(id: &LogId) -> wire::LogId {
    wire::LogId {
        term: id.leader_id.term,
        node_id: id.leader_id.node_id,
        index: id.index,
    }
}

pub(crate) fn log_id_from_wire(id: &wire::LogId) -> LogId {
    LogId {
        leader_id: LeaderId::new(id.term, id.node_id),
        index: id.index,
    }
}

pub(crate) fn vote_to_wire(vote: &Vote) -> wire::Ballot {
    wire::Ballot {
        term: vote.leader_id.term,
        node_id: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(crate) fn vote_from_wire(ballot: &wire::Ballot) -> Vote {
    Vote {
        leader_id: LeaderId::new(ballot.term, ballot.node_id),
        committed: ballot.committed,
    }
}

pub(crate) fn entry_to_wire(entry: &Entry) -> wire::Entry {
    let payload = match &entry.payload {
        Payload::Blank => wire::entry::Payload::Blank(wire::Blank {}),
        Payload::Normal(command) => wire::entry::Payload::Command(command.0.clone()),
        Payload::Membership(membership) => {
            wire::entry::Payload::Membership(membership_to_wire(membership))
        }
    };
    wire::Entry {
        log_id: Some(log_id_to_wire(&entry.log_id)),
        payload: Some(payload),
    }
}

pub(crate) fn entry_from_wire(entry: wire::Entry) -> Result<Entry, Lacks> {
    let log_id = entry.log_id.as_ref().ok_or(Lacks("log id"))?;
    let payload = match entry.payload.ok_or(Lacks("payload"))? {
        wire::entry::Payload::Blank(_) => Payload::Blank,
        wire::entry::Payload::Command(bytes) => Payload::Normal(Command(bytes)),
        wire::entry::Payload::Membership(membership) => {
            Payload::Membership(membership_from_wire(&membership)?)
        }
    };
    Ok(Entry {
        log_id: log_id_from_wire(log_id),
        payload,
    })
}

pub(crate) fn stored_membership_to_wire(stored: &StoredMembership) -> wire::StoredMembership {
    wire::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_to_wire),
        membership: Some(membership_to_wire(stored.membership())),
    }
}

pub(crate) fn stored_membership_from_wire(
    stored: &wire::StoredMembership,
) -> Result<StoredMembership, Lacks> {
    let membership = stored.membership.as_ref().ok_or(Lacks("membership"))?;
    Ok(StoredMembership::new(
        stored.log_id.as_ref().map(log_id_from_wire),
        membership_from_wire(membership)?,
    ))
}

fn membership_to_wire(membership: &Membership) -> wire::Membership {
    let configs = membership.get_joint_config();
    let left_out = match planted::has(Bug::NoJointStep) {
        true => configs.len().saturating_sub(1),
        false => 0,
    };
    wire::Membership {
        configs: configs
            .iter()
            .skip(left_out)
            .map(|ids| wire::Voters {
                ids: ids.iter().copied().collect(),
            })
            .collect(),
        nodes: membership
            .nodes()
            .map(|(id, node)| wire::Node {
                id: *id,
                address: node.addr.clone(),
            })
            .collect(),
    }
}

fn membership_from_wire(membership: &wire::Membership) -> Result<Membership, Lacks> {
    let configs: Vec<BTreeSet<u64>> = membership
        .configs
        .iter()
        .map(|voters| voters.ids.iter().copied().collect())
        .collect();
    let nodes: BTreeMap<u64, BasicNode> = membership
        .nodes
        .iter()
        .map(|node| (node.id, BasicNode::new(&node.address)))
        .collect();
    Membership::new(configs, nodes).map_err(|_| Lacks("voters or their addresses"))
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_from_their_messages_unchanged() {
        let log_id = LogId {
            leader_id: LeaderId::new(3, 2),
            index: 17,
        };
        let nodes: BTreeMap<u64, BasicNode> =
            [(1, BasicNode::new("a:1")), (2, BasicNode::new("b:2"))]
                .into_iter()
                .collect();
        let joint = Membership::new(vec![[1].into(), [1, 2].into()], nodes).unwrap();
        for payload in [
            Payload::Blank,
            Payload::Normal(Command(Bytes::from_static(b"\x00\xff raw"))),
            Payload::Membership(joint),
            Payload::Membership(Membership::default()),
        ] {
            let entry = Entry { log_id, payload };
            assert_eq!(entry_from_wire(entry_to_wire(&entry)), Ok(entry));
        }
    }
}
