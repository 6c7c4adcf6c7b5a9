//! Answers other members.

use super::{
    CONNECTION_WINDOW_BYTES, DISK, FORMAT, MESSAGE_BYTES_MAX, PING_INTERVAL, PING_TIMEOUT, Peers,
    STREAM_WINDOW_BYTES,
};
use crate::error::ProposeError;
use crate::home;
use crate::local::{Local, ReadIndexError};
use crate::members::{self, MemberChange, MembersError};
use crate::room;
use crate::state::snapshot::{SnapshotData, Snapshots};
use crate::tls::Peer;
use crate::types::{
    Lacks, Snapshot, entry_from_wire, log_id_from_wire, log_id_to_wire, vote_from_wire,
    vote_to_wire,
};
use futures::stream::{BoxStream, Stream, StreamExt as _};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, VoteRequest, VoteResponse,
};
use regraft_wire::raft::v1 as wire;
use regraft_wire::raft::v1::raft_server::{Raft as RaftRpc, RaftServer};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

/// Snapshots received at the same time: there is one leader.
const RECEIVING_MAX: usize = 1;
/// Larger snapshots are refused: the state is small by design.
const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;
/// Calls at the same time on one connection.
const STREAMS_MAX: u32 = 256;
/// How long open calls may take after the member stops.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// What the Raft listener serves.
pub(crate) struct RaftService {
    peers: Arc<Peers>,
    local: Arc<Local>,
    snapshots: Arc<Snapshots>,
    receiving: Semaphore,
}

/// Serves the connections that come in until `stop`.
pub(crate) fn serve<C>(
    incoming: impl Stream<Item = io::Result<C>>,
    service: RaftService,
    stop: CancellationToken,
) -> impl Future<Output = ()>
where
    C: AsyncRead + AsyncWrite + Connected<ConnectInfo = Peer> + Unpin + Send + 'static,
{
    let service = RaftServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let serving = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    async move {
        let stopped = async {
            stop.cancelled().await;
            // Never resolves before the grace is over: nobody cancels this.
            let _ = tokio::time::timeout(STOP_GRACE, std::future::pending::<()>()).await;
        };
        tokio::select! {
            served = serving => if let Err(error) = served {
                tracing::error!(%error, "the Raft listener failed");
            },
            () = stopped => {}
        }
    }
}

impl RaftService {
    pub(crate) fn new(peers: Arc<Peers>, local: Arc<Local>, snapshots: Arc<Snapshots>) -> Self {
        Self {
            peers,
            local,
            snapshots,
            receiving: Semaphore::new(RECEIVING_MAX),
        }
    }

    async fn admit<T>(
        &self,
        request: &Request<T>,
        caller: Option<&wire::Caller>,
    ) -> Result<(), Status> {
        self.peers
            .admit(request.extensions().get::<Peer>(), caller)
            .await
    }

    /// As [`RaftService::admit`], for what only a leader answers.
    async fn admit_member<T>(
        &self,
        request: &Request<T>,
        caller: Option<&wire::Caller>,
    ) -> Result<(), Status> {
        self.peers
            .admit_member(request.extensions().get::<Peer>(), caller)
            .await
    }

    fn disk_id(&self) -> Vec<u8> {
        self.peers.disk_id()
    }

    fn vote_response(&self, response: &VoteResponse<crate::types::Types>) -> wire::VoteResponse {
        wire::VoteResponse {
            disk_id: self.disk_id(),
            ballot: Some(vote_to_wire(&response.vote)),
            granted: response.vote_granted,
            last_log: response.last_log_id.as_ref().map(log_id_to_wire),
        }
    }

    /// Receives the parts into a temporary file, which is removed when anything is wrong.
    async fn receive(
        &self,
        size_bytes: u64,
        parts: &mut Streaming<wire::SnapshotPart>,
    ) -> Result<crate::state::snapshot::SnapshotFile, Status> {
        // An older leader tells the size before; a newer one reads the snapshot while it is sent.
        let limit = match size_bytes {
            0 => SNAPSHOT_BYTES_MAX,
            told => told,
        };
        if limit > SNAPSHOT_BYTES_MAX {
            return Err(Status::resource_exhausted(format!(
                "a snapshot of {size_bytes} bytes is too large: the limit is {SNAPSHOT_BYTES_MAX} bytes"
            )));
        }
        let file = self.snapshots.temporary().map_err(|error| broken(&error))?;
        let mut received = 0;
        while let Some(part) = parts.message().await? {
            let Some(wire::snapshot_part::Part::Data(bytes)) = part.part else {
                return Err(Status::invalid_argument("a snapshot starts only once"));
            };
            if received + bytes.len() as u64 > limit {
                return Err(Status::invalid_argument(format!(
                    "the snapshot is longer than {limit} bytes"
                )));
            }
            let (into, offset) = (file.clone(), received);
            received += bytes.len() as u64;
            away(move || into.write_at(offset, &bytes)).await?;
        }
        if received < size_bytes {
            return Err(Status::invalid_argument(format!(
                "the snapshot is cut short: {received} of {size_bytes} bytes"
            )));
        }
        Ok(file)
    }
}

#[tonic::async_trait]
impl RaftRpc for RaftService {
    async fn append(
        &self,
        request: Request<wire::AppendRequest>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        self.admit(&request, request.get_ref().caller.as_ref())
            .await?;
        let rpc = append_request(request.into_inner())?;
        let response = self
            .local
            .raft
            .append_entries(rpc)
            .await
            .map_err(|error| stopped(&error))?;
        let outcome = append_outcome(&response)?;
        Ok(Response::new(wire::AppendResponse {
            disk_id: self.disk_id(),
            outcome: Some(outcome),
        }))
    }

    type AppendStreamStream = BoxStream<'static, Result<wire::AppendResponse, Status>>;

    async fn append_stream(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        self.peers
            .admit_stream(request.extensions().get::<Peer>(), request.metadata())
            .await?;
        let requests = futures::stream::unfold(request.into_inner(), next_append);
        let answers = self.local.raft.stream_append(requests).map(appended);
        let mut response = Response::new(answers.boxed());
        let disk = MetadataValue::from_bytes(&self.peers.disk_id());
        response.metadata_mut().insert_bin(DISK, disk);
        let format = MetadataValue::from(self.peers.format);
        response.metadata_mut().insert(FORMAT, format);
        Ok(response)
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        self.admit(&request, request.get_ref().caller.as_ref())
            .await?;
        let rpc = vote_request(&request.into_inner())?;
        let response = self.local.raft.vote(rpc).await;
        let response = response.map_err(|error| stopped(&error))?;
        Ok(Response::new(self.vote_response(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        self.admit(&request, request.get_ref().caller.as_ref())
            .await?;
        let rpc = vote_request(&request.into_inner())?;
        let response = self.local.raft.pre_vote(rpc).await;
        let response = response.map_err(|error| stopped(&error))?;
        Ok(Response::new(self.vote_response(&response)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotPart>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|part| part.part);
        let Some(wire::snapshot_part::Part::Start(start)) = first else {
            return Err(Status::invalid_argument("a snapshot begins with its start"));
        };
        self.peers
            .admit(peer.as_ref(), start.caller.as_ref())
            .await?;
        let vote = vote_from_wire(&required(start.ballot, "ballot")?);
        if let Some(reason) = self.local.room.lacking() {
            return Err(full(&reason));
        }
        let _slot = self
            .receiving
            .try_acquire()
            .map_err(|_| Status::unavailable("another snapshot is being received"))?;
        let file = self.receive(start.size_bytes, &mut parts).await?;
        let snapshots = Arc::clone(&self.snapshots);
        let checking = file.clone();
        let meta = away(move || {
            checking.sync()?;
            let meta = snapshots.verify(&checking)?;
            checking.check_installable()?;
            Ok(meta)
        })
        .await?;
        tracing::info!(
            index = meta.last_log_id.map_or(0, |id| id.index),
            size_bytes = file.size_bytes().unwrap_or_default(),
            "a snapshot was received"
        );
        let snapshot = Snapshot {
            meta,
            snapshot: SnapshotData::Received(file),
        };
        let response = self
            .local
            .raft
            .install_full_snapshot(vote, snapshot)
            .await
            .map_err(|error| stopped(&error))?;
        Ok(Response::new(wire::SnapshotResponse {
            disk_id: self.disk_id(),
            ballot: Some(vote_to_wire(&response.vote)),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        self.admit(&request, request.get_ref().caller.as_ref())
            .await?;
        let request = request.into_inner();
        let rpc = TransferLeaderRequest::new(
            vote_from_wire(&required(request.ballot, "ballot")?),
            request.next_leader,
            request.last_log.as_ref().map(log_id_from_wire),
        );
        let response = self
            .local
            .raft
            .handle_transfer_leader(rpc)
            .await
            .map_err(|error| stopped(&error))?;
        Ok(Response::new(wire::TransferLeaderResponse {
            disk_id: self.disk_id(),
            refused: response
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default(),
        }))
    }

    async fn forward(
        &self,
        request: Request<wire::ForwardRequest>,
    ) -> Result<Response<wire::ForwardResponse>, Status> {
        use wire::forward_response::Outcome;
        self.admit_member(&request, request.get_ref().caller.as_ref())
            .await?;
        let outcome = match self.local.propose(request.into_inner().command).await {
            Ok(proposed) => Outcome::Proposed(wire::Proposed {
                index: proposed.index,
                response: proposed.response,
            }),
            Err(ProposeError::NotLeader { leader }) => Outcome::NotLeader(wire::NotLeader {
                leader: leader.unwrap_or_default(),
            }),
            Err(ProposeError::Unknown) => Outcome::Unknown(wire::Unknown {}),
            Err(ProposeError::Halted { reason }) => Outcome::Halted(wire::Halted { reason }),
            Err(ProposeError::Unavailable { reason }) => {
                Outcome::Unavailable(wire::Unavailable { reason })
            }
            Err(error @ ProposeError::TooLarge { .. }) => Outcome::Unavailable(wire::Unavailable {
                reason: error.to_string(),
            }),
        };
        Ok(Response::new(wire::ForwardResponse {
            disk_id: self.disk_id(),
            outcome: Some(outcome),
        }))
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexResponse>, Status> {
        use wire::read_index_response::Outcome;
        self.admit_member(&request, request.get_ref().caller.as_ref())
            .await?;
        let outcome = match self.local.read_index().await {
            Ok(index) => Outcome::Index(index),
            Err(ReadIndexError::NotLeader(leader)) => Outcome::NotLeader(wire::NotLeader {
                leader: leader.unwrap_or_default(),
            }),
            Err(ReadIndexError::Unavailable(reason)) => {
                Outcome::Unavailable(wire::Unavailable { reason })
            }
            Err(ReadIndexError::Halted(reason)) => Outcome::Halted(wire::Halted { reason }),
        };
        Ok(Response::new(wire::ReadIndexResponse {
            disk_id: self.disk_id(),
            outcome: Some(outcome),
        }))
    }

    async fn introduce(
        &self,
        request: Request<wire::IntroduceRequest>,
    ) -> Result<Response<wire::IntroduceResponse>, Status> {
        self.admit(&request, request.get_ref().caller.as_ref())
            .await?;
        Ok(Response::new(wire::IntroduceResponse {
            disk_id: self.disk_id(),
            format: self.peers.format,
            voters: self.local.raft.voter_ids().collect(),
        }))
    }

    async fn change_members(
        &self,
        request: Request<wire::ChangeMembersRequest>,
    ) -> Result<Response<wire::ChangeMembersResponse>, Status> {
        self.admit_member(&request, request.get_ref().caller.as_ref())
            .await?;
        let request = request.into_inner();
        let change = change_from_wire(required(request.change, "change")?);
        let changed = members::change(&self.local, &self.peers, &request.actor, change).await;
        Ok(Response::new(wire::ChangeMembersResponse {
            disk_id: self.disk_id(),
            outcome: Some(change_outcome(changed)),
        }))
    }
}

pub(crate) fn change_from_wire(change: wire::change_members_request::Change) -> MemberChange {
    use wire::change_members_request::Change;
    match change {
        Change::Add(node) => MemberChange::Add {
            id: node.id,
            address: node.address,
        },
        Change::Promote(promote) => MemberChange::Promote {
            id: promote.id,
            replaces: (promote.replaces > 0).then_some(promote.replaces),
        },
        Change::Remove(id) => MemberChange::Remove { id },
        Change::Lead(id) => MemberChange::Lead { id },
    }
}

fn change_outcome(changed: Result<(), MembersError>) -> wire::change_members_response::Outcome {
    use wire::change_members_response::Outcome;
    match changed {
        Ok(()) => Outcome::Done(wire::Blank {}),
        Err(MembersError::NotLeader { leader }) => Outcome::NotLeader(wire::NotLeader {
            leader: leader.unwrap_or_default(),
        }),
        Err(MembersError::Unavailable { reason }) => {
            Outcome::Unavailable(wire::Unavailable { reason })
        }
        Err(MembersError::Refused { reason, action }) => {
            Outcome::Refused(wire::MembersRefused { reason, action })
        }
        Err(MembersError::Unknown) => Outcome::Unknown(wire::Unknown {}),
    }
}

pub(crate) fn append_request(
    request: wire::AppendRequest,
) -> Result<AppendEntriesRequest<crate::types::Types>, Status> {
    let entries = request.entries.into_iter().map(entry_from_wire);
    Ok(AppendEntriesRequest {
        vote: vote_from_wire(&required(request.ballot, "ballot")?),
        prev_log_id: request.previous.as_ref().map(log_id_from_wire),
        entries: entries
            .collect::<Result<_, _>>()
            .map_err(|lacks| Status::invalid_argument(lacks.to_string()))?,
        leader_commit: request.leader_commit.as_ref().map(log_id_from_wire),
    })
}

pub(crate) fn append_outcome(
    response: &AppendEntriesResponse<crate::types::Types>,
) -> Result<wire::append_response::Outcome, Status> {
    use wire::append_response::Outcome;
    match response {
        AppendEntriesResponse::Success => Ok(Outcome::Appended(wire::Appended {})),
        AppendEntriesResponse::Conflict => Ok(Outcome::Conflict(wire::Conflict {})),
        AppendEntriesResponse::HigherVote(vote) => Ok(Outcome::Higher(vote_to_wire(vote))),
        AppendEntriesResponse::PartialSuccess(_) => {
            Err(Status::internal("a part of the entries was appended"))
        }
    }
}

/// The next request of a stream. What cannot be read ends it, as a connection that breaks does.
async fn next_append(
    mut requests: Streaming<wire::AppendRequest>,
) -> Option<(
    AppendEntriesRequest<crate::types::Types>,
    Streaming<wire::AppendRequest>,
)> {
    let read = match requests.message().await {
        Ok(request) => append_request(request?),
        Err(status) => Err(status),
    };
    match read {
        Ok(request) => Some((request, requests)),
        Err(status) => {
            tracing::debug!(%status, "replication from a leader ended");
            None
        }
    }
}

/// What became of one request of a stream. The disk was told once.
fn appended<F: std::fmt::Display>(
    result: Result<StreamAppendResult<crate::types::Types>, F>,
) -> Result<wire::AppendResponse, Status> {
    use wire::append_response::Outcome;
    let outcome = match result.map_err(|fatal| stopped(&fatal))? {
        Ok(_) => Outcome::Appended(wire::Appended {}),
        Err(StreamAppendError::Conflict(_)) => Outcome::Conflict(wire::Conflict {}),
        Err(StreamAppendError::HigherVote(vote)) => Outcome::Higher(vote_to_wire(&vote)),
    };
    Ok(wire::AppendResponse {
        disk_id: Vec::new(),
        outcome: Some(outcome),
    })
}

pub(crate) fn vote_request(
    request: &wire::VoteRequest,
) -> Result<VoteRequest<crate::types::Types>, Status> {
    let vote = vote_from_wire(&required(request.ballot, "ballot")?);
    let mut rpc = VoteRequest::new(vote, request.last_log.as_ref().map(log_id_from_wire));
    rpc.leadership_transfer = request.leadership_transfer;
    Ok(rpc)
}

fn required<T>(field: Option<T>, name: &'static str) -> Result<T, Status> {
    field.ok_or_else(|| Status::invalid_argument(Lacks(name).to_string()))
}

/// Waits for the disk away from the thread that answers heartbeats.
async fn away<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let done = home::blocking(work).await.and_then(|done| done);
    done.map_err(|error| broken(&error))
}

fn broken(error: &io::Error) -> Status {
    match room::is_full(error) {
        true => full(&error.to_string()),
        false => Status::internal(error.to_string()),
    }
}

/// What was sent is sent again later; the leader says why it was not taken.
fn full(reason: &str) -> Status {
    Status::unavailable(format!("the disk of this member is full: {reason}"))
}

fn stopped(error: &impl std::fmt::Display) -> Status {
    Status::unavailable(format!("the member has stopped: {error}"))
}
