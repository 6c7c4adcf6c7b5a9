//! The decoders of what comes from outside, for `regraft-fuzz`: each reads a message as a member does, and writes again
//! what it understood. No part of this crate's interface.
//!
//! Errors: the words of the refusal.

use crate::local::{self, Proposed};
use crate::log;
use crate::network::{client, server, stream};
use crate::service::{convert, watch};
use crate::state::frames::{self, FrameError, FrameWriter};
use crate::state::snapshot;
use crate::types::{
    entry_to_wire, log_id_to_wire, stored_membership_from_wire, stored_membership_to_wire,
    vote_to_wire,
};
use regraft_state::operation as state;
use regraft_state::store::Write;
use regraft_wire::raft::v1 as raft;
use regraft_wire::store::v1 as store;
use std::fmt::Display;
use std::io;

/// What a request, an entry or an answer was understood as, written again.
pub type Understood<T> = Result<T, String>;

/// Replication, as a follower takes it and a leader writes it.
pub fn append_request(request: raft::AppendRequest) -> Understood<raft::AppendRequest> {
    let read = server::append_request(request).map_err(text)?;
    Ok(stream::message(&read))
}

/// What a follower answered to it.
pub fn append_outcome(
    outcome: Option<raft::append_response::Outcome>,
) -> Understood<raft::append_response::Outcome> {
    let read = stream::response(outcome).map_err(text)?;
    server::append_outcome(&read).map_err(text)
}

/// A request for a vote, without its caller.
pub fn vote_request(request: &raft::VoteRequest) -> Understood<raft::VoteRequest> {
    let read = server::vote_request(request).map_err(text)?;
    Ok(raft::VoteRequest {
        caller: None,
        ballot: Some(vote_to_wire(&read.vote)),
        last_log: read.last_log_id.as_ref().map(log_id_to_wire),
        leadership_transfer: read.leadership_transfer,
    })
}

/// The answer to it, without its disk.
pub fn vote_response(response: &raft::VoteResponse) -> Understood<raft::VoteResponse> {
    let read = client::vote_response(response).map_err(text)?;
    Ok(raft::VoteResponse {
        disk_id: Vec::new(),
        ballot: Some(vote_to_wire(&read.vote)),
        granted: read.vote_granted,
        last_log: read.last_log_id.as_ref().map(log_id_to_wire),
    })
}

/// A change of the members.
pub fn member_change(
    change: raft::change_members_request::Change,
) -> raft::change_members_request::Change {
    client::change_to_wire(server::change_from_wire(change))
}

/// An entry as it lies in the log.
pub fn log_entry(bytes: Vec<u8>) -> Understood<raft::Entry> {
    let entry = log::decode_entry(bytes).map_err(text)?;
    Ok(entry_to_wire(&entry))
}

/// A membership as it lies in the state.
pub fn stored_membership(stored: &raft::StoredMembership) -> Understood<raft::StoredMembership> {
    let read = stored_membership_from_wire(stored).map_err(text)?;
    Ok(stored_membership_to_wire(&read))
}

/// A snapshot as a member of this cluster takes it: what it is of, and its pairs.
pub fn receive_snapshot(
    stream: &[u8],
    cluster_id: &str,
) -> Understood<(raft::SnapshotHeader, Vec<raft::Pair>)> {
    let header = frames::read_header(stream).map_err(refusal)?;
    let meta = snapshot::meta_in(&header, cluster_id)?;
    let mut pairs = Vec::new();
    frames::read_all(stream, &mut |chunk| {
        pairs.extend(chunk);
        Ok(())
    })
    .map_err(refusal)?;
    let read = raft::SnapshotHeader {
        last_log: meta.last_log_id.as_ref().map(log_id_to_wire),
        membership: Some(stored_membership_to_wire(&meta.last_membership)),
        ..header
    };
    Ok((read, pairs))
}

/// A snapshot of these chunks as a member writes it.
pub fn write_snapshot(
    header: &raft::SnapshotHeader,
    chunks: Vec<raft::SnapshotChunk>,
) -> io::Result<Vec<u8>> {
    let mut stream = Vec::new();
    let mut writer = FrameWriter::new(&mut stream, header)?;
    for mut chunk in chunks {
        writer.chunk(&mut chunk)?;
    }
    writer.finish()?;
    Ok(stream)
}

/// A change that a program asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A session.
    OpenSession(store::OpenSessionRequest),
    /// The end of a session.
    CloseSession(store::CloseSessionRequest),
    /// A record.
    Put(store::PutRequest),
    /// No record.
    Delete(store::DeleteRequest),
    /// A lock.
    Acquire(store::AcquireRequest),
    /// No lock, or no place in a queue.
    Release(store::ReleaseRequest),
}

/// The bytes that are proposed for it.
pub fn command(actor: &str, change: Change) -> Understood<Vec<u8>> {
    let operation = match change {
        Change::OpenSession(store::OpenSessionRequest { ttl_ms }) => {
            let open = state::OpenSession { ttl_ms };
            Ok(convert::outside(state::Request::OpenSession(open)))
        }
        Change::CloseSession(store::CloseSessionRequest { session }) => {
            let close = state::CloseSession { session };
            Ok(convert::outside(state::Request::CloseSession(close)))
        }
        Change::Put(request) => convert::put(request),
        Change::Delete(request) => convert::delete(request),
        Change::Acquire(request) => convert::acquire(request),
        Change::Release(request) => convert::release(request),
    };
    let command = convert::command(actor, operation.map_err(text)?);
    local::check_size(&command).map_err(text)?;
    Ok(command)
}

/// What the program is answered, where the machine answered so.
pub fn answer(index: u64, response: Vec<u8>) -> Understood<store::ChangeResponse> {
    convert::change(&Proposed { index, response }).map_err(text)
}

/// What a program is told that watches these keys; nothing for a write of something else.
pub fn watched(write: &Write, prefix: &[u8]) -> Option<Understood<store::Change>> {
    watch::change(write, prefix).map(|change| change.map_err(text))
}

fn refusal(error: FrameError) -> String {
    match error {
        FrameError::Io(error) => error.to_string(),
        FrameError::Damaged(what) => what,
        FrameError::Newer(found) => format!("it has format {found}"),
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}
