//! The one place of this crate that reads clocks and sleeps, and that starts threads and tasks of their own. Everything
//! else is told the time. Tasks that end together are spawned into the set that ends them.

use regraft_model::time::Timestamp;
use std::future::Future;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;

/// A wall clock that is off by more was set, or the machine slept; less is taken for the running of the two clocks.
const STEP_MS: i64 = 1000;

/// When this process first looked at its clocks, and the wall clock then.
static START: LazyLock<(Instant, i64)> = LazyLock::new(|| (instant(), wall_ms()));
/// By how much the wall clock was set since.
static SET_BY_MS: AtomicI64 = AtomicI64::new(0);

/// The time of day, which goes on steadily: where the wall clock was set it changes with [`follow`] only, so that no
/// span becomes longer or shorter without anybody knowing.
pub(crate) fn now() -> Timestamp {
    let (start, wall) = &*START;
    let elapsed = i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX);
    Timestamp(wall + SET_BY_MS.load(Ordering::Relaxed) + elapsed)
}

/// Follows the wall clock; says by how many milliseconds it was set, when it was.
pub(crate) fn follow() -> Option<i64> {
    let by_ms = wall_ms() - now().0;
    (by_ms.abs() > STEP_MS).then(|| {
        SET_BY_MS.fetch_add(by_ms, Ordering::Relaxed);
        by_ms
    })
}

#[expect(clippy::disallowed_methods, reason = "the one clock of this binary")]
fn wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
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
