//! What a member answers people: gRPC over a Unix socket (one member) or mutual TLS (a trio).
//!
//! - Expected flow: [`caller`] says who asks; reads wait for a linearizable read point unless told otherwise; writes
//!   are one command under the caller's name.
//! - Guarantees: nobody is answered who was not identified; members may read, and never act as people.
//! - Assumptions: whoever can open the socket file is who its owner lets in.
//! - Errors: [`Refusal`], as a gRPC status with a `Problem` in its details.

mod act;
mod backup;
mod caller;
mod diff;
mod listen;
mod members;
mod read;
mod refusal;

pub(super) use listen::{Listener, Place};

use super::member::Member;
use caller::Caller;
use refusal::Refusal;
use regraft_wire::admin::v1 as wire;
use regraft_wire::admin::v1::admin_server::{Admin, AdminServer};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Largest request: names, reasons and hashes.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Calls at the same time on one connection.
const STREAMS_MAX: u32 = 32;

type Answer<T> = Result<Response<T>, Status>;

/// Serves until `stop`.
pub(super) async fn serve(
    member: Arc<Member>,
    listener: Listener,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = AdminServer::new(Service(member)).max_decoding_message_size(REQUEST_BYTES_MAX);
    let server = tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .add_service(service);
    listener.serve(server, stop).await
}

struct Service(Arc<Member>);

#[tonic::async_trait]
impl Admin for Service {
    async fn status(&self, request: Request<wire::StatusRequest>) -> Answer<wire::Document> {
        answer(request, async |_, request| {
            read::status(&self.0, request).await
        })
        .await
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Answer<wire::Document> {
        answer(request, async |_, request| {
            read::list(&self.0, request).await
        })
        .await
    }

    async fn describe(&self, request: Request<wire::DescribeRequest>) -> Answer<wire::Document> {
        answer(request, async |_, request| {
            read::describe(&self.0, request).await
        })
        .await
    }

    async fn diff(&self, request: Request<wire::DiffRequest>) -> Answer<wire::Document> {
        answer(request, async |_, request| {
            diff::diff(&self.0, request).await
        })
        .await
    }

    async fn audit(&self, request: Request<wire::AuditRequest>) -> Answer<wire::Document> {
        answer(request, async |_, request| {
            read::audit(&self.0, request).await
        })
        .await
    }

    async fn audit_chain(
        &self,
        request: Request<wire::AuditChainRequest>,
    ) -> Answer<wire::Document> {
        answer(request, async |_, request| {
            read::audit_chain(&self.0, request).await
        })
        .await
    }

    type BackupStream = backup::Parts;

    async fn backup(&self, request: Request<wire::BackupRequest>) -> Answer<backup::Parts> {
        answer(request, async |caller, _| {
            backup::backup(&self.0, &caller.admin()?).await
        })
        .await
    }

    async fn sync(&self, request: Request<wire::SyncRequest>) -> Answer<wire::Accepted> {
        answer(request, async |caller, request| {
            act::sync(&self.0, caller.operator()?, request).await
        })
        .await
    }

    async fn suspend(&self, request: Request<wire::SuspendRequest>) -> Answer<wire::Accepted> {
        answer(request, async |caller, request| {
            act::suspend(&self.0, caller.operator()?, request).await
        })
        .await
    }

    async fn resume(&self, request: Request<wire::ResumeRequest>) -> Answer<wire::Accepted> {
        answer(request, async |caller, request| {
            act::resume(&self.0, caller.operator()?, request).await
        })
        .await
    }

    async fn approve(&self, request: Request<wire::ApproveRequest>) -> Answer<wire::Accepted> {
        answer(request, async |caller, request| {
            act::approve(&self.0, caller.operator()?, request).await
        })
        .await
    }

    async fn veto(&self, request: Request<wire::VetoRequest>) -> Answer<wire::Accepted> {
        answer(request, async |caller, request| {
            act::veto(&self.0, caller.operator()?, request).await
        })
        .await
    }

    async fn confirm_delete(
        &self,
        request: Request<wire::ConfirmDeleteRequest>,
    ) -> Answer<wire::Accepted> {
        answer(request, async |caller, request| {
            act::confirm_delete(&self.0, caller.operator()?, request).await
        })
        .await
    }

    async fn forget_cluster(
        &self,
        request: Request<wire::ForgetClusterRequest>,
    ) -> Answer<wire::Accepted> {
        answer(request, async |caller, request| {
            act::forget_cluster(&self.0, caller.operator()?, request).await
        })
        .await
    }

    async fn change_members(
        &self,
        request: Request<wire::ChangeMembersRequest>,
    ) -> Answer<wire::Accepted> {
        answer(request, async |caller, request| {
            members::change(&self.0, caller.admin()?, request).await
        })
        .await
    }
}

/// Nobody is answered before it is known who asks.
async fn answer<Q, A, F>(request: Request<Q>, work: F) -> Answer<A>
where
    F: AsyncFnOnce(Caller, Q) -> Result<A, Refusal>,
{
    let caller = caller::caller(request.extensions())?;
    let answered = work(caller, request.into_inner()).await;
    Ok(Response::new(answered?))
}
