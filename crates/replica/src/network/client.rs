//! Calls other members for the engine, and for proposals and reads.

use super::{Lane, Peers, text_of};
use crate::error::{BarrierError, ProposeError};
use crate::local::Proposed;
use crate::members::{MemberChange, MembersError};
use crate::state::sending;
use crate::state::snapshot::{SnapshotData, Taken};
use crate::types::{
    Snapshot, Types, Vote, entry_to_wire, log_id_from_wire, log_id_to_wire, vote_from_wire,
    vote_to_wire,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, Stream, StreamExt as _};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use regraft_wire::raft::v1 as wire;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Status};

/// How long a follower may take to write entries: its disk may be slow, its election timer is fed by
/// heartbeats on another connection.
const LOG_APPEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a new member may take to say who it is.
const INTRODUCE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the leader may take to change the members: longer than it does itself.
const CHANGE_MEMBERS_TIMEOUT: Duration = Duration::from_secs(15);
pub(super) type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>;

/// Makes the engine's clients.
pub(crate) struct PeerClients(pub(crate) Arc<Peers>);

/// Calls one member over one lane.
pub(crate) struct PeerClient {
    peers: Arc<Peers>,
    target: u64,
    address: String,
    lane: Lane,
}

impl RaftNetworkFactory<Types> for PeerClients {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, node: &openraft::BasicNode) -> PeerClient {
        self.client(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(
        &mut self,
        target: u64,
        node: &openraft::BasicNode,
    ) -> PeerClient {
        self.client(target, node, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &openraft::BasicNode) -> PeerClient {
        self.client(target, node, Lane::Snapshot)
    }
}

impl PeerClients {
    fn client(&self, target: u64, node: &openraft::BasicNode, lane: Lane) -> PeerClient {
        PeerClient {
            peers: Arc::clone(&self.0),
            target,
            address: node.addr.clone(),
            lane,
        }
    }
}

impl RaftNetworkV2<Types> for PeerClient {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let timeout = if rpc.entries.is_empty() {
            option.hard_ttl()
        } else {
            LOG_APPEND_TIMEOUT
        };
        let request = wire::AppendRequest {
            caller: Some(self.peers.caller(self.target)),
            ballot: Some(vote_to_wire(&rpc.vote)),
            previous: rpc.prev_log_id.as_ref().map(log_id_to_wire),
            entries: rpc.entries.iter().map(entry_to_wire).collect(),
            leader_commit: rpc.leader_commit.as_ref().map(log_id_to_wire),
        };
        let response = self
            .call(RPCTypes::AppendEntries, timeout, |mut client| async move {
                client.append(request).await
            })
            .await?;
        super::stream::response(response.outcome)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<Answers<'s>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        async move {
            let client = self
                .peers
                .client(self.target, Some(&self.address), self.lane)
                .map_err(|status| failed(self.target, &status))?;
            let peers = Arc::clone(&self.peers);
            super::stream::append(peers, self.target, client, input, LOG_APPEND_TIMEOUT).await
        }
        .boxed()
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = self.vote_request(&rpc);
        let response = self
            .call(RPCTypes::Vote, option.hard_ttl(), |mut client| async move {
                client.vote(request).await
            })
            .await?;
        vote_response(&response)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = self.vote_request(&rpc);
        let response = self
            .call(RPCTypes::Vote, option.hard_ttl(), |mut client| async move {
                client.pre_vote(request).await
            })
            .await?;
        vote_response(&response)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let SnapshotData::Taken(taken) = snapshot.snapshot else {
            let error = NetworkError::from_string("only a snapshot of this member is sent");
            return Err(error.into());
        };
        let start = wire::SnapshotStart {
            caller: Some(self.peers.caller(self.target)),
            ballot: Some(vote_to_wire(&vote)),
            // Not known: it is read while it is sent.
            size_bytes: 0,
        };
        let parts = parts_of(start, taken);
        let sending = self.call(
            RPCTypes::InstallSnapshot,
            option.hard_ttl(),
            |mut client| async move { client.install_snapshot(parts).await },
        );
        let response = tokio::select! {
            biased;
            closed = cancel => return Err(closed.into()),
            response = sending => response?,
        };
        let ballot = response.ballot.ok_or_else(|| lacks("ballot"))?;
        Ok(SnapshotResponse::new(vote_from_wire(&ballot)))
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let request = wire::TransferLeaderRequest {
            caller: Some(self.peers.caller(self.target)),
            ballot: Some(vote_to_wire(req.from_leader())),
            last_log: req.last_log_id().map(log_id_to_wire),
            next_leader: *req.to_node_id(),
        };
        let response = self
            .call(
                RPCTypes::TransferLeader,
                option.hard_ttl(),
                |mut client| async move { client.transfer_leader(request).await },
            )
            .await?;
        if response.refused.is_empty() {
            return Ok(Ok(()));
        }
        Err(NetworkError::from_string(response.refused).into())
    }
}

impl PeerClient {
    /// One call, bounded in time, with its answer checked.
    async fn call<T, F>(
        &self,
        action: RPCTypes,
        timeout: Duration,
        send: impl FnOnce(Client) -> F,
    ) -> Result<T, RPCError<Types>>
    where
        T: super::Answer,
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let client = self
            .peers
            .client(self.target, Some(&self.address), self.lane)
            .map_err(|status| failed(self.target, &status))?;
        let answer = match tokio::time::timeout(timeout, send(client)).await {
            Ok(answer) => answer,
            Err(_) => {
                return Err(timed_out(action, &self.peers, self.target, timeout));
            }
        };
        self.peers
            .settle(self.target, answer)
            .await
            .map_err(|status| failed(self.target, &status))
    }

    fn vote_request(&self, rpc: &VoteRequest<Types>) -> wire::VoteRequest {
        wire::VoteRequest {
            caller: Some(self.peers.caller(self.target)),
            ballot: Some(vote_to_wire(&rpc.vote)),
            last_log: rpc.last_log_id.as_ref().map(log_id_to_wire),
            leadership_transfer: rpc.leadership_transfer,
        }
    }
}

pub(super) type Client = wire::raft_client::RaftClient<tonic::transport::Channel>;

impl Peers {
    /// Proposes through the leader. One hop: the leader does not forward.
    pub(crate) async fn forward(
        &self,
        leader: u64,
        command: Vec<u8>,
        timeout: Duration,
    ) -> Result<Proposed, ProposeError> {
        let unavailable = |status: &Status| ProposeError::Unavailable {
            reason: format!("the leader, member {leader}: {}", text_of(status)),
        };
        let mut client = self
            .client(leader, None, Lane::Log)
            .map_err(|status| unavailable(&status))?;
        let request = wire::ForwardRequest {
            caller: Some(self.caller(leader)),
            command,
        };
        let Ok(answer) = tokio::time::timeout(timeout, client.forward(request)).await else {
            return Err(ProposeError::Unknown);
        };
        // A refusal was certainly not proposed; anything else may have got through, also where its answer is not believed.
        let is_refused = matches!(&answer, Err(status) if status.code() == Code::PermissionDenied);
        let response = self.settle(leader, answer).await;
        let response = response.map_err(|status| match is_refused {
            true => unavailable(&status),
            false => ProposeError::Unknown,
        })?;
        use wire::forward_response::Outcome;
        match response.outcome {
            Some(Outcome::Proposed(proposed)) => Ok(Proposed {
                index: proposed.index,
                response: proposed.response,
            }),
            Some(Outcome::NotLeader(other)) => Err(ProposeError::NotLeader {
                leader: (other.leader > 0).then_some(other.leader),
            }),
            Some(Outcome::Unavailable(unavailable)) => Err(ProposeError::Unavailable {
                reason: unavailable.reason,
            }),
            Some(Outcome::Halted(halted)) => Err(ProposeError::Halted {
                reason: halted.reason,
            }),
            Some(Outcome::Unknown(_)) | None => Err(ProposeError::Unknown),
        }
    }

    /// Asks the leader for a read point.
    pub(crate) async fn read_index(
        &self,
        leader: u64,
        timeout: Duration,
    ) -> Result<u64, BarrierError> {
        let unavailable = |reason: String| BarrierError::Unavailable {
            reason: format!("the leader, member {leader}: {reason}"),
        };
        let mut client = self
            .client(leader, None, Lane::Heartbeat)
            .map_err(|status| unavailable(text_of(&status)))?;
        let request = wire::ReadIndexRequest {
            caller: Some(self.caller(leader)),
        };
        let Ok(answer) = tokio::time::timeout(timeout, client.read_index(request)).await else {
            return Err(unavailable("it does not answer".to_owned()));
        };
        let response = self
            .settle(leader, answer)
            .await
            .map_err(|status| unavailable(text_of(&status)))?;
        use wire::read_index_response::Outcome;
        match response.outcome {
            Some(Outcome::Index(index)) => Ok(index),
            Some(Outcome::NotLeader(_)) => Err(unavailable("it leads no more".to_owned())),
            Some(Outcome::Unavailable(other)) => Err(unavailable(other.reason)),
            Some(Outcome::Halted(halted)) => Err(unavailable(halted.reason)),
            None => Err(unavailable("its answer lacks an outcome".to_owned())),
        }
    }
}

/// What somebody says who may become a member.
pub(crate) struct Introduced {
    /// Who votes in the log that it brings.
    pub(crate) voters: Vec<u64>,
    /// Whether a member of this id was here before, with another disk.
    pub(crate) known_otherwise: bool,
}

impl Peers {
    /// Asks somebody at `address` whether it is member `id` of this cluster.
    pub(crate) async fn introduce(&self, id: u64, address: &str) -> Result<Introduced, String> {
        let transport = self
            .transport
            .as_ref()
            .ok_or("this member has no certificates to speak to others: set `tls`")?;
        let channel = self.channel(id, address, transport);
        let mut client = Client::new(channel.map_err(|status| text_of(&status))?);
        let request = wire::IntroduceRequest {
            caller: Some(self.caller(id)),
        };
        let asked = tokio::time::timeout(INTRODUCE_TIMEOUT, client.introduce(request));
        match asked.await {
            Ok(Ok(response)) => {
                let response = response.into_inner();
                Ok(Introduced {
                    known_otherwise: self.disks.is_of_other(id, &response.disk_id),
                    voters: response.voters,
                })
            }
            Ok(Err(status)) if status.code() == Code::Unimplemented => {
                Err(format!("member {id} runs an older version"))
            }
            Ok(Err(status)) => Err(format!("member {id} at {address}: {}", text_of(&status))),
            Err(_) => Err(format!("member {id} does not answer at {address}")),
        }
    }

    /// Has the leader change the members.
    pub(crate) async fn change_members(
        &self,
        leader: u64,
        actor: &str,
        change: MemberChange,
    ) -> Result<(), MembersError> {
        use wire::change_members_response::Outcome;
        let unavailable = |status: &Status| MembersError::Unavailable {
            reason: format!("the leader, member {leader}: {}", text_of(status)),
        };
        let mut client = self
            .client(leader, None, Lane::Heartbeat)
            .map_err(|status| unavailable(&status))?;
        let request = wire::ChangeMembersRequest {
            caller: Some(self.caller(leader)),
            change: Some(change_to_wire(change)),
            actor: actor.to_owned(),
        };
        let asked = tokio::time::timeout(CHANGE_MEMBERS_TIMEOUT, client.change_members(request));
        let Ok(answer) = asked.await else {
            return Err(MembersError::Unknown);
        };
        // As in `forward`: only a refusal that is the leader's own says that nothing was done, and that nobody was reached.
        let is_refused = answer.as_ref().is_err_and(|status| {
            matches!(status.code(), Code::PermissionDenied | Code::Unimplemented)
                || was_not_sent(status)
        });
        let response = self.settle(leader, answer).await;
        let response = response.map_err(|status| match is_refused {
            true => unavailable(&status),
            false => MembersError::Unknown,
        })?;
        match response.outcome {
            Some(Outcome::Done(_)) => Ok(()),
            Some(Outcome::NotLeader(other)) => Err(MembersError::NotLeader {
                leader: (other.leader > 0).then_some(other.leader),
            }),
            Some(Outcome::Unavailable(unavailable)) => Err(MembersError::Unavailable {
                reason: unavailable.reason,
            }),
            Some(Outcome::Refused(refused)) => Err(MembersError::Refused {
                reason: refused.reason,
                action: refused.action,
            }),
            Some(Outcome::Unknown(_)) | None => Err(MembersError::Unknown),
        }
    }
}

/// Whether there was no connection to send it by.
fn was_not_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

pub(crate) fn change_to_wire(change: MemberChange) -> wire::change_members_request::Change {
    use wire::change_members_request::Change;
    match change {
        MemberChange::Add { id, address } => Change::Add(wire::Node { id, address }),
        MemberChange::Promote { id, replaces } => Change::Promote(wire::Promote {
            id,
            replaces: replaces.unwrap_or_default(),
        }),
        MemberChange::Remove { id } => Change::Remove(id),
        MemberChange::Lead { id } => Change::Lead(id),
    }
}

pub(crate) fn vote_response(
    response: &wire::VoteResponse,
) -> Result<VoteResponse<Types>, RPCError<Types>> {
    let ballot = response.ballot.as_ref().ok_or_else(|| lacks("ballot"))?;
    Ok(VoteResponse::new(
        vote_from_wire(ballot),
        response.last_log.as_ref().map(log_id_from_wire),
        response.granted,
    ))
}

/// The snapshot in parts. Ends early when it cannot be read: the receiver misses the rest and refuses it.
fn parts_of(
    start: wire::SnapshotStart,
    taken: Arc<Taken>,
) -> impl Stream<Item = wire::SnapshotPart> {
    use wire::snapshot_part::Part;
    let part = |part| wire::SnapshotPart { part: Some(part) };
    let start = part(Part::Start(start));
    let rest = sending::parts(taken, ()).scan((), move |(), bytes| {
        let bytes =
            bytes.inspect_err(|error| tracing::warn!(%error, "a snapshot was not sent to its end"));
        std::future::ready(bytes.ok().map(|bytes| part(Part::Data(bytes))))
    });
    futures::stream::once(std::future::ready(start)).chain(rest)
}

/// Why a call came to nothing, as the engine wants to know it: whom it cannot reach it asks less often.
pub(super) fn failed(target: u64, status: &Status) -> RPCError<Types> {
    let text = format!("member {target}: {}", text_of(status));
    match status.code() {
        Code::Unavailable | Code::PermissionDenied => Unreachable::from_string(text).into(),
        _ => NetworkError::from_string(text).into(),
    }
}

pub(super) fn timed_out(
    action: RPCTypes,
    peers: &Peers,
    target: u64,
    timeout: Duration,
) -> RPCError<Types> {
    RPCError::Timeout(Timeout {
        action,
        id: peers.me,
        target,
        timeout,
    })
}

fn lacks(what: &str) -> RPCError<Types> {
    NetworkError::from_string(format!("the answer lacks its {what}")).into()
}
