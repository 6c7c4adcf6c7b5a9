//! What members send each other and keep: any bytes in the place of a message.

use crate::commands::stable;
use prost::Message;
use regraft_replica::fuzzing;
use regraft_wire::admin::v1 as admin;
use regraft_wire::raft::v1 as raft;
use regraft_wire::store::v1 as store;
use std::collections::{BTreeMap, BTreeSet};

/// Reads one message, of the kind that the first byte names.
///
/// Promises: a message that was read is the same when it was written; what a member understands of it has all that was said,
/// and is understood the same again.
pub fn wire(input: &[u8]) {
    let Some((kind, message)) = input.split_first() else {
        return;
    };
    match kind {
        b'a' => check_append(message),
        b'A' => check_append_response(message),
        b'v' => check_vote(message),
        b'V' => check_vote_response(message),
        b'e' => check_log_entry(message),
        b'm' => check_membership(message),
        b'c' => check_change(message),
        _ => check_others(usize::from(*kind), message),
    }
}

fn check_append(message: &[u8]) {
    let Some(request) = stable::<raft::AppendRequest>(message) else {
        return;
    };
    let Ok(read) = fuzzing::append_request(request.clone()) else {
        let lacks = |entry: &raft::Entry| understood_entry(entry).is_none();
        assert!(request.ballot.is_none() || request.entries.iter().any(lacks));
        return;
    };
    assert_eq!(read.caller, None);
    assert_eq!(read.ballot, request.ballot);
    assert_eq!(read.previous, request.previous);
    assert_eq!(read.leader_commit, request.leader_commit);
    let expected: Option<Vec<_>> = request.entries.iter().map(understood_entry).collect();
    assert_eq!(Some(&read.entries), expected.as_ref());
    assert_eq!(fuzzing::append_request(read.clone()), Ok(read));
}

fn check_append_response(message: &[u8]) {
    let Some(response) = stable::<raft::AppendResponse>(message) else {
        return;
    };
    let read = fuzzing::append_outcome(response.outcome);
    assert_eq!(read.ok(), response.outcome);
}

fn check_vote(message: &[u8]) {
    let Some(mut request) = stable::<raft::VoteRequest>(message) else {
        return;
    };
    request.caller = None;
    match fuzzing::vote_request(&request) {
        Ok(read) => assert_eq!(read, request),
        Err(_) => assert_eq!(request.ballot, None),
    }
}

fn check_vote_response(message: &[u8]) {
    let Some(mut response) = stable::<raft::VoteResponse>(message) else {
        return;
    };
    response.disk_id.clear();
    match fuzzing::vote_response(&response) {
        Ok(read) => assert_eq!(read, response),
        Err(_) => assert_eq!(response.ballot, None),
    }
}

fn check_log_entry(message: &[u8]) {
    let entry = stable::<raft::Entry>(message);
    let expected = entry.as_ref().and_then(understood_entry);
    let read = fuzzing::log_entry(message.to_vec()).ok();
    assert_eq!(read, expected);
}

fn check_membership(message: &[u8]) {
    let Some(stored) = stable::<raft::StoredMembership>(message) else {
        return;
    };
    let membership = stored.membership.as_ref().and_then(understood_membership);
    let expected = membership.map(|membership| raft::StoredMembership {
        log_id: stored.log_id,
        membership: Some(membership),
    });
    assert_eq!(fuzzing::stored_membership(&stored).ok(), expected);
}

fn check_change(message: &[u8]) {
    use raft::change_members_request::Change;
    let Some(request) = stable::<raft::ChangeMembersRequest>(message) else {
        return;
    };
    if let Some(change) = request.change {
        let read: Change = fuzzing::member_change(change.clone());
        assert_eq!(read, change);
    }
}

/// An entry as a member must understand it; none when it lacks something.
fn understood_entry(entry: &raft::Entry) -> Option<raft::Entry> {
    use raft::entry::Payload;
    let payload = match entry.payload.as_ref()? {
        Payload::Membership(membership) => Payload::Membership(understood_membership(membership)?),
        other => other.clone(),
    };
    Some(raft::Entry {
        log_id: Some(entry.log_id?),
        payload: Some(payload),
    })
}

/// Sets of voters, and one address for each node, in order; none when a set is empty, or a voter has no address.
pub(crate) fn understood_membership(membership: &raft::Membership) -> Option<raft::Membership> {
    let nodes: BTreeMap<u64, &String> = membership
        .nodes
        .iter()
        .map(|node| (node.id, &node.address))
        .collect();
    let configs: Vec<BTreeSet<u64>> = membership
        .configs
        .iter()
        .map(|voters| voters.ids.iter().copied().collect())
        .collect();
    let is_good = |ids: &BTreeSet<u64>| {
        let all_known = ids.iter().all(|id| nodes.contains_key(id));
        !ids.is_empty() && all_known
    };
    configs.iter().all(is_good).then(|| raft::Membership {
        configs: configs
            .into_iter()
            .map(|ids| raft::Voters {
                ids: ids.into_iter().collect(),
            })
            .collect(),
        nodes: nodes
            .into_iter()
            .map(|(id, address)| raft::Node {
                id,
                address: address.clone(),
            })
            .collect(),
    })
}

/// Reads a message of a kind.
type Read = fn(&[u8]);

fn check<M: Message + Default + PartialEq>(message: &[u8]) {
    stable::<M>(message);
}

/// Messages that are used as they are.
const OTHERS: [Read; 28] = [
    check::<raft::Caller>,
    check::<raft::SnapshotPart>,
    check::<raft::SnapshotResponse>,
    check::<raft::TransferLeaderRequest>,
    check::<raft::TransferLeaderResponse>,
    check::<raft::ForwardRequest>,
    check::<raft::ForwardResponse>,
    check::<raft::ReadIndexRequest>,
    check::<raft::ReadIndexResponse>,
    check::<raft::IntroduceRequest>,
    check::<raft::IntroduceResponse>,
    check::<raft::ChangeMembersResponse>,
    check::<raft::SnapshotHeader>,
    check::<raft::SnapshotChunk>,
    check::<store::GetResponse>,
    check::<store::ListResponse>,
    check::<store::WatchRequest>,
    check::<store::WatchResponse>,
    check::<admin::ListRequest>,
    check::<admin::DescribeRequest>,
    check::<admin::SuspendRequest>,
    check::<admin::ApproveRequest>,
    check::<admin::VetoRequest>,
    check::<admin::ConfirmDeleteRequest>,
    check::<admin::DiffRequest>,
    check::<admin::AuditChainRequest>,
    check::<admin::ChangeMembersRequest>,
    check::<admin::Document>,
];

fn check_others(kind: usize, message: &[u8]) {
    OTHERS[kind % OTHERS.len()](message);
}
