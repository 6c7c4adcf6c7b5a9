//! How much one client may ask of one member.

use crate::certs::Identity;
use crate::tls::Peer;
use governor::{DefaultKeyedRateLimiter, Quota};
use std::num::NonZeroU32;
use tonic::{Request, Status};

/// Requests of one client in a second, and at once after a pause: some times what one honest program sends, and little
/// enough that two that run wild leave a member most of its processor.
const REQUESTS_PER_S: NonZeroU32 = NonZeroU32::new(10_000).expect("it is not zero");

/// How much one client may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Requests of one client in a second, and at once after a pause.
    pub requests_per_s: NonZeroU32,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            requests_per_s: REQUESTS_PER_S,
        }
    }
}

/// Counts what clients ask; by name, and names are only what the authority signed.
pub(super) struct Limiter {
    limits: StoreLimits,
    by_client: DefaultKeyedRateLimiter<String>,
}

impl Limiter {
    pub(super) fn new(limits: StoreLimits) -> Self {
        Self {
            limits,
            by_client: DefaultKeyedRateLimiter::keyed(Quota::per_second(limits.requests_per_s)),
        }
    }

    /// Lets a request of a client through, or tells it to ask less often.
    pub(super) fn admit(&self, request: Request<()>) -> Result<Request<()>, Status> {
        self.count(&request, NonZeroU32::MIN)?;
        Ok(request)
    }

    /// Counts a request as so many, at most as those of a second.
    pub(super) fn count<T>(
        &self,
        request: &Request<T>,
        requests: NonZeroU32,
    ) -> Result<(), Status> {
        let Some(Peer(Ok(Identity::Client { name, .. }))) = request.extensions().get() else {
            // Refused for what it is, where it is answered.
            return Ok(());
        };
        let requests = requests.min(self.limits.requests_per_s);
        match self.by_client.check_key_n(name, requests) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Status::unavailable(format!(
                "client {name} asks this member more than {} times a second: ask less often",
                self.limits.requests_per_s
            ))),
        }
    }
}
