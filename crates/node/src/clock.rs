//! The one place that reads clocks, waits and starts tasks. Everything else is told the time.

use regraft_model::time::Timestamp;
use std::future::Future;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "the one clock of this binary")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The clock that never goes back, for spans.
#[expect(clippy::disallowed_methods, reason = "the one clock of this binary")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// Lets time pass between two looks at a condition; the caller names its bound.
#[expect(clippy::disallowed_methods, reason = "the one place that waits")]
pub(crate) async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

/// Ticks at a steady pace; ticks that were missed are not made up for.
pub(crate) fn ticker(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

/// Starts a task. Who starts it keeps the handle or a token that ends it.
#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
pub(crate) fn start<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(task)
}

/// Starts a thread for blocking work, named so that `top -H` tells it.
pub(crate) fn start_thread(
    name: impl Into<String>,
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}
