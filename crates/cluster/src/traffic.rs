//! Counts what goes over the wire and notices when nothing comes back.
//!
//! Expected flow: every request of a connection passes [`Meter`]; its counters live as long as the cluster, its breaker
//! as long as the connection.
//! Guarantees: any answer of the server, also a refusal, closes the streak of failures; the breaker trips once.
//! Errors: none of its own; those of the client pass through.

use crate::error::chain;
use crate::task::locked;
use futures::FutureExt;
use futures::future::BoxFuture;
use kube::client::Body;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Layer, Service};

/// Connection failures in a row before a cluster counts as lost...
const LOST_AFTER_FAILURES: u32 = 3;
/// ... and how long they must last, so that a restart of one connection is no loss.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// Requests and writes since the start of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests by verb: `get`, `list`, `watch`, `dry-run`, `patch`, `update`, `create`, `delete`.
    pub requests: BTreeMap<&'static str, u64>,
    /// Requests that may have changed the cluster: `patch`, `update`, `create` and `delete`.
    pub writes: u64,
    /// Objects that were written.
    pub written: u64,
    /// Objects that a dry run found equal.
    pub unchanged: u64,
    /// Objects that were deleted.
    pub pruned: u64,
    /// How often the connection was lost.
    pub lost: u64,
}

/// What a request does, as counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    DryRun,
    Patch,
    Update,
    Create,
    Delete,
}

impl Verb {
    const ALL: [Verb; 8] = [
        Verb::Get,
        Verb::List,
        Verb::Watch,
        Verb::DryRun,
        Verb::Patch,
        Verb::Update,
        Verb::Create,
        Verb::Delete,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::DryRun => "dry-run",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Create => "create",
            Verb::Delete => "delete",
        }
    }

    pub(crate) fn writes(self) -> bool {
        matches!(
            self,
            Verb::Patch | Verb::Update | Verb::Create | Verb::Delete
        )
    }

    /// Ours are marked; those of kube's watcher carry the word they are traced with.
    fn of(request: &http::Request<Body>) -> Verb {
        if let Some(verb) = request.extensions().get::<Verb>() {
            return *verb;
        }
        match request.extensions().get::<&'static str>() {
            Some(word) if word.starts_with("watch") => Verb::Watch,
            Some(word) if word.starts_with("list") => Verb::List,
            _ => Verb::Get,
        }
    }
}

/// The counters of one cluster.
#[derive(Default)]
pub(crate) struct Traffic {
    requests: [AtomicU64; Verb::ALL.len()],
    written: AtomicU64,
    unchanged: AtomicU64,
    pruned: AtomicU64,
    lost: AtomicU64,
}

impl Traffic {
    fn count(&self, verb: Verb) {
        self.requests[verb as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_written(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_unchanged(&self) {
        self.unchanged.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_pruned(&self) {
        self.pruned.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> Stats {
        let of = |verb: Verb| self.requests[verb as usize].load(Ordering::Relaxed);
        Stats {
            requests: Verb::ALL
                .into_iter()
                .map(|verb| (verb.word(), of(verb)))
                .collect(),
            writes: Verb::ALL
                .into_iter()
                .filter(|verb| verb.writes())
                .map(of)
                .sum(),
            written: self.written.load(Ordering::Relaxed),
            unchanged: self.unchanged.load(Ordering::Relaxed),
            pruned: self.pruned.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }
}

/// Failures in a row of one connection.
#[derive(Default)]
pub(crate) struct Breaker {
    streak: Mutex<Streak>,
    open: CancellationToken,
}

#[derive(Default)]
struct Streak {
    failures: u32,
    since: Option<Instant>,
    reason: String,
}

impl Breaker {
    /// The server answered something.
    pub(crate) fn answered(&self) {
        let mut streak = locked(&self.streak);
        if streak.failures > 0 {
            *streak = Streak::default();
        }
    }

    /// No answer came.
    pub(crate) fn failed(&self, reason: impl FnOnce() -> String) {
        self.failed_at(Instant::now(), reason);
    }

    fn failed_at(&self, now: Instant, reason: impl FnOnce() -> String) {
        let mut streak = locked(&self.streak);
        let since = *streak.since.get_or_insert(now);
        streak.failures = streak.failures.saturating_add(1);
        streak.reason = reason();
        if streak.failures >= LOST_AFTER_FAILURES && now.duration_since(since) >= LOST_AFTER {
            self.open.cancel();
        }
    }

    /// Whether the last request failed.
    pub(crate) fn is_failing(&self) -> bool {
        locked(&self.streak).failures > 0
    }

    /// Ends everything that waits for this connection.
    pub(crate) fn trip(&self) {
        self.open.cancel();
    }

    /// The same, because of what the server showed.
    pub(crate) fn trip_for(&self, reason: String) {
        locked(&self.streak).reason = reason;
        self.trip();
    }

    /// Open from the moment the connection counts as lost.
    pub(crate) fn opened(&self) -> &CancellationToken {
        &self.open
    }

    /// The last failure.
    pub(crate) fn reason(&self) -> String {
        locked(&self.streak).reason.clone()
    }
}

/// Puts the counters and the breaker around a client.
#[derive(Clone)]
pub(crate) struct Meter {
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) breaker: Arc<Breaker>,
}

impl<S> Layer<S> for Meter {
    type Service = Metered<S>;

    fn layer(&self, inner: S) -> Metered<S> {
        Metered {
            inner,
            meter: self.clone(),
        }
    }
}

/// A client with a [`Meter`].
pub(crate) struct Metered<S> {
    inner: S,
    meter: Meter,
}

impl<S> Service<http::Request<Body>> for Metered<S>
where
    S: Service<http::Request<Body>, Error = BoxError>,
    S::Response: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.meter.traffic.count(Verb::of(&request));
        let breaker = Arc::clone(&self.meter.breaker);
        self.inner
            .call(request)
            .map(move |answer| {
                match &answer {
                    Ok(_) => breaker.answered(),
                    Err(error) => breaker.failed(|| chain(error.as_ref())),
                }
                answer
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_failures_is_no_loss_and_a_lasting_one_is() {
        let breaker = Breaker::default();
        let start = Instant::now();
        for _ in 0..50 {
            breaker.failed_at(start, || "refused".to_owned());
        }
        assert!(!breaker.opened().is_cancelled());
        breaker.failed_at(start + LOST_AFTER, || "still refused".to_owned());
        assert!(breaker.opened().is_cancelled());
        assert_eq!(breaker.reason(), "still refused");
    }

    #[test]
    fn any_answer_ends_the_streak() {
        let breaker = Breaker::default();
        let start = Instant::now();
        breaker.failed_at(start, || "refused".to_owned());
        breaker.failed_at(start, || "refused".to_owned());
        breaker.answered();
        breaker.failed_at(start + LOST_AFTER * 2, || "refused".to_owned());
        assert!(!breaker.opened().is_cancelled());
    }
}
