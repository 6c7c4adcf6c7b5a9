//! Changes as they are sent: with the id that makes sending them again harmless.

use regraft_wire::store::v1 as wire;
use regraft_wire::store::v1::store_client::StoreClient;
use std::fmt;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// A request that changes something within a session.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(wire::PutRequest),
    Delete(wire::DeleteRequest),
    Acquire(wire::AcquireRequest),
    Release(wire::ReleaseRequest),
}

impl Change {
    pub(crate) fn release(scope: &str) -> Self {
        Self::Release(wire::ReleaseRequest {
            scope: scope.to_owned(),
            id: None,
        })
    }

    /// Changes nothing and is refused, and its sequence is used up: a record has a key.
    pub(crate) fn nothing() -> Self {
        Self::Delete(wire::DeleteRequest::default())
    }

    pub(crate) fn set_id(&mut self, new: wire::RequestId) {
        let id = match self {
            Self::Put(request) => &mut request.id,
            Self::Delete(request) => &mut request.id,
            Self::Acquire(request) => &mut request.id,
            Self::Release(request) => &mut request.id,
        };
        *id = Some(new);
    }

    pub(crate) async fn send(
        self,
        mut client: StoreClient<Channel>,
        timeout: Duration,
    ) -> Result<Response<wire::ChangeResponse>, Status> {
        match self {
            Self::Put(request) => client.put(timed(request, timeout)).await,
            Self::Delete(request) => client.delete(timed(request, timeout)).await,
            Self::Acquire(request) => client.acquire(timed(request, timeout)).await,
            Self::Release(request) => client.release(timed(request, timeout)).await,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(put) => write!(f, "writing {:?}", put.key.escape_ascii().to_string()),
            Self::Delete(delete) => {
                write!(f, "deleting {:?}", delete.key.escape_ascii().to_string())
            }
            Self::Acquire(acquire) => write!(f, "acquiring {}", acquire.scope),
            Self::Release(release) => write!(f, "releasing {}", release.scope),
        }
    }
}

/// A request that the member gives up after `timeout`, too.
pub(crate) fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}
