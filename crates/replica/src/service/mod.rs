//! The replicated state as programs use it, over gRPC.
//!
//! ```text
//! program --mutual TLS--> StoreService --Operation--> Replica::propose --> log --> apply --> Answer --> program
//!                              |
//!                              +--> read point (asked of the leader, or none) --> frozen view --> program
//! ```
//!
//! - Guarantees: a change is answered after it is applied; a linearizable read sees every change that was answered
//!   before it was asked.
//! - Errors: gRPC codes, as `proto/regraft/store/v1/store.proto` lists them; a `leader` in the metadata names who leads.

pub(crate) mod convert;
mod limits;
mod wait;
pub(crate) mod watch;

use crate::certs::{ClientRole, Identity};
use crate::error::{BarrierError, ProposeError};
use crate::home;
use crate::listener;
use crate::local::Proposed;
use crate::replica::Replica;
use crate::tls::{Peer, Tls};
use futures::stream::{BoxStream, StreamExt as _};
use regraft_state::command::FORMAT;
use regraft_state::operation::{self as state, Operation};
use regraft_state::store::ReadError;
use regraft_state::view::sessions as view;
use regraft_wire::store::v1 as wire;
use regraft_wire::store::v1::store_server::{Store, StoreServer};
use std::fmt::Display;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Response, Status};

use limits::Limiter;
pub use limits::StoreLimits;

/// Largest request: the largest record, with room for its key.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Calls at the same time on one connection.
const STREAMS_MAX: u32 = 256;
/// A program whose machine is gone gives its connection and its watches back after this and `PING_TIMEOUT`.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What a page counts for, in requests: it is read and sent for as long as so many.
const PAGE_REQUESTS: NonZeroU32 = NonZeroU32::new(50).expect("it is not zero");
/// Watches, and requests that wait for locks, that are open at the same time on one member.
const WATCHES_MAX: usize = 1_024;
/// The metadata that names the leader.
const LEADER: &str = "leader";

/// Serves programs on `listener` until `stop`; there is no way to do so without mutual TLS.
///
/// # Errors
/// When the listener fails.
pub async fn serve_store(
    replica: Replica,
    tls: Arc<Tls>,
    listener: TcpListener,
    limits: StoreLimits,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let limiter = Arc::new(Limiter::new(limits));
    let service = StoreServer::new(StoreService {
        replica: replica.clone(),
        stop: stop.clone(),
        watches: Arc::new(Semaphore::new(WATCHES_MAX)),
        limiter: Arc::clone(&limiter),
    })
    .max_decoding_message_size(REQUEST_BYTES_MAX);
    let service = InterceptedService::new(service, move |request| limiter.admit(request));
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .max_concurrent_streams(STREAMS_MAX)
        .add_service(service);
    let incoming = listener::incoming(listener, tls, stop.clone());
    let serving = server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
    match replica.spawn(serving).await {
        Ok(served) => served,
        // The member has stopped, and with it all its tasks.
        Err(_) => Ok(()),
    }
}

struct StoreService {
    replica: Replica,
    /// Ends what would never end by itself: open calls keep the databases open.
    stop: CancellationToken,
    watches: Arc<Semaphore>,
    limiter: Arc<Limiter>,
}

#[tonic::async_trait]
impl Store for StoreService {
    type WatchStream = BoxStream<'static, Result<wire::WatchResponse, Status>>;

    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        allowed(&request, ClientRole::Viewer)?;
        let status = self.replica.status();
        Ok(Response::new(wire::StatusResponse {
            cluster_id: self.replica.cluster_id().to_owned(),
            node_id: status.node_id,
            leader: status.leader.unwrap_or_default(),
            revision: status.applied,
        }))
    }

    async fn open_session(
        &self,
        request: Request<wire::OpenSessionRequest>,
    ) -> Result<Response<wire::OpenSessionResponse>, Status> {
        let actor = actor(&request)?;
        let open = state::OpenSession {
            ttl_ms: request.get_ref().ttl_ms,
        };
        let operation = convert::outside(state::Request::OpenSession(open));
        let proposed = self.propose(&actor, operation).await?;
        match convert::outcome(&proposed)? {
            state::Outcome::Opened(opened) => Ok(Response::new(wire::OpenSessionResponse {
                session: opened.session,
                ttl_ms: opened.ttl_ms,
            })),
            state::Outcome::Refused(refused) => Err(Status::resource_exhausted(refused.message)),
            _ => Err(Status::internal("the answer is of another request")),
        }
    }

    async fn keep_alive(
        &self,
        request: Request<wire::KeepAliveRequest>,
    ) -> Result<Response<wire::KeepAliveResponse>, Status> {
        let actor = actor(&request)?;
        let session = request.get_ref().session;
        let kept = self.replica.keep_alive(&actor, session).await;
        kept.map(|ttl_ms| Response::new(wire::KeepAliveResponse { ttl_ms }))
            .map_err(|error| self.unread(&error))
    }

    async fn close_session(
        &self,
        request: Request<wire::CloseSessionRequest>,
    ) -> Result<Response<wire::ChangeResponse>, Status> {
        let actor = actor(&request)?;
        let session = request.get_ref().session;
        self.check_owner(&actor, session).await?;
        let close = state::CloseSession { session };
        let operation = convert::outside(state::Request::CloseSession(close));
        self.change(&actor, operation).await
    }

    async fn put(
        &self,
        request: Request<wire::PutRequest>,
    ) -> Result<Response<wire::ChangeResponse>, Status> {
        let actor = actor(&request)?;
        self.change(&actor, convert::put(request.into_inner())?)
            .await
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteRequest>,
    ) -> Result<Response<wire::ChangeResponse>, Status> {
        let actor = actor(&request)?;
        self.change(&actor, convert::delete(request.into_inner())?)
            .await
    }

    async fn acquire(
        &self,
        request: Request<wire::AcquireRequest>,
    ) -> Result<Response<wire::ChangeResponse>, Status> {
        let actor = actor(&request)?;
        self.change(&actor, convert::acquire(request.into_inner())?)
            .await
    }

    async fn release(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ChangeResponse>, Status> {
        let actor = actor(&request)?;
        self.change(&actor, convert::release(request.into_inner())?)
            .await
    }

    async fn wait(
        &self,
        request: Request<wire::WaitRequest>,
    ) -> Result<Response<wire::ChangeResponse>, Status> {
        actor(&request)?;
        let slot = self.watch_slot()?;
        let request = request.into_inner();
        let barrier = self.replica.barrier().await;
        barrier.map_err(|error| self.unread(&error))?;
        let waiting = wait::granted(&self.replica, request.session, &request.scope);
        let waited = self.stop.run_until_cancelled(waiting).await;
        let waited = waited.unwrap_or_else(|| Err(stopping()));
        drop(slot);
        waited.map(Response::new)
    }

    async fn get(
        &self,
        request: Request<wire::GetRequest>,
    ) -> Result<Response<wire::GetResponse>, Status> {
        allowed(&request, ClientRole::Viewer)?;
        let request = request.get_ref();
        self.read_point(request.consistency).await?;
        let read = self.replica.read_at(|view, revision| {
            let record = view::record(view, &request.key)?;
            Ok::<_, ReadError>(wire::GetResponse {
                revision,
                record: record.map(|record| convert::record(request.key.clone(), record)),
            })
        });
        let response = read.flatten().map_err(|error| unreadable(&error))?;
        Ok(Response::new(response))
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        allowed(&request, ClientRole::Viewer)?;
        self.limiter.count(&request, PAGE_REQUESTS)?;
        let request = request.into_inner();
        self.read_point(request.consistency).await?;
        let limit = match request.limit {
            0 => view::PAGE_RECORDS_MAX,
            limit => limit as usize,
        };
        let replica = self.replica.clone();
        // A page is too much for the thread that answers heartbeats.
        let reading = home::blocking(move || {
            let after = (!request.after.is_empty()).then_some(request.after.as_slice());
            let read = replica.read_at(|view, revision| {
                let page = view::records(view, &request.prefix, after, limit)?;
                let records = page.records.into_iter();
                Ok::<_, ReadError>(wire::ListResponse {
                    revision,
                    records: records
                        .map(|(key, record)| convert::record(key, record))
                        .collect(),
                    more: page.next.is_some(),
                })
            });
            read.flatten().map_err(|error| unreadable(&error))
        });
        let response = reading
            .await
            .map_err(|error| Status::internal(error.to_string()))??;
        Ok(Response::new(response))
    }

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        allowed(&request, ClientRole::Viewer)?;
        let slot = self.watch_slot()?;
        let request = request.into_inner();
        let changes = match request.after {
            0 => self.replica.changes(),
            after => self.replica.changes_after(after),
        };
        let told = watch::stream(changes, request.prefix, slot);
        let told = told.take_until(self.stop.clone().cancelled_owned());
        // Also when the stream ended by itself, for an error: then nobody hears this.
        let stopped = futures::stream::once(std::future::ready(Err(stopping())));
        Ok(Response::new(told.chain(stopped).boxed()))
    }
}

impl StoreService {
    fn watch_slot(&self) -> Result<OwnedSemaphorePermit, Status> {
        let slot = Arc::clone(&self.watches).try_acquire_owned();
        slot.map_err(|_| Status::resource_exhausted(format!("{WATCHES_MAX} watches are open")))
    }

    async fn propose(&self, actor: &str, operation: Operation) -> Result<Proposed, Status> {
        let may = self.replica.check_format(FORMAT);
        may.map_err(|error| self.not_proposed(&error))?;
        let proposed = self.replica.propose(convert::command(actor, operation));
        proposed.await.map_err(|error| self.not_proposed(&error))
    }

    async fn change(
        &self,
        actor: &str,
        operation: Operation,
    ) -> Result<Response<wire::ChangeResponse>, Status> {
        let proposed = self.propose(actor, operation).await?;
        convert::change(&proposed).map(Response::new)
    }

    /// Refuses to end the session of somebody else. An id is never used twice, so its owner never changes.
    async fn check_owner(&self, actor: &str, session: u64) -> Result<(), Status> {
        let barrier = self.replica.barrier().await;
        barrier.map_err(|error| self.unread(&error))?;
        let read = self.replica.read(|read| view::session(read, session));
        let open = read.flatten().map_err(|error| unreadable(&error))?;
        match open {
            Some(open) if open.actor != actor => Err(Status::permission_denied(format!(
                "session {session} is of {}",
                open.actor
            ))),
            _ => Ok(()),
        }
    }

    /// Waits until a read of this freshness may be made here.
    async fn read_point(&self, consistency: i32) -> Result<(), Status> {
        let consistency = wire::Consistency::try_from(consistency)
            .map_err(|_| Status::invalid_argument(format!("no consistency {consistency}")))?;
        let confirmed = match consistency {
            wire::Consistency::Linearizable => self.replica.barrier().await,
            wire::Consistency::Stale => return Ok(()),
        };
        confirmed.map(drop).map_err(|error| self.unread(&error))
    }

    fn not_proposed(&self, error: &ProposeError) -> Status {
        let code = match error {
            ProposeError::NotLeader { .. } | ProposeError::Unavailable { .. } => Code::Unavailable,
            ProposeError::Unknown => Code::DeadlineExceeded,
            ProposeError::Halted { .. } => Code::FailedPrecondition,
            ProposeError::TooLarge { .. } => Code::ResourceExhausted,
        };
        self.status_of(code, error)
    }

    fn unread(&self, error: &BarrierError) -> Status {
        let code = match error {
            BarrierError::Unavailable { .. } => Code::Unavailable,
            BarrierError::Halted { .. } => Code::FailedPrecondition,
        };
        self.status_of(code, error)
    }

    fn status_of(&self, code: Code, error: &impl Display) -> Status {
        let mut status = Status::new(code, error.to_string());
        if let Some(leader) = self.replica.status().leader {
            status.metadata_mut().insert(LEADER, leader.into());
        }
        status
    }
}

/// Who asks for a change, as the audit names it.
fn actor<T>(request: &Request<T>) -> Result<String, Status> {
    allowed(request, ClientRole::Operator)
}

/// Who asks, if it may do as much as `needed`.
fn allowed<T>(request: &Request<T>, needed: ClientRole) -> Result<String, Status> {
    match request.extensions().get::<Peer>() {
        Some(Peer(Ok(Identity::Client { name, role }))) if *role >= needed => {
            Ok(format!("user/{name}"))
        }
        Some(Peer(Ok(client @ Identity::Client { .. }))) => Err(Status::permission_denied(
            format!("{client} may not do that: a certificate of an {needed} may"),
        )),
        Some(Peer(Ok(Identity::Member { node_id, .. }))) => {
            Err(Status::permission_denied(format!(
                "a member's certificate (of member {node_id}) speaks for no program: make one with `regraft certs client NAME`"
            )))
        }
        Some(Peer(Err(reason))) => Err(Status::permission_denied(format!(
            "the certificate is refused: {reason}"
        ))),
        None => Err(Status::permission_denied(
            "the connection has no certificate",
        )),
    }
}

fn stopping() -> Status {
    Status::unavailable("the member stops: ask another one")
}

fn unreadable(error: &ReadError) -> Status {
    Status::internal(error.to_string())
}
