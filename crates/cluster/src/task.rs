//! Starting, waiting and backing off: the one place of this crate that sleeps, and that starts what outlives its caller.
//! What ends with its caller (the watches of a session) is in a set that the caller holds.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tasks that end together.
#[derive(Default)]
pub(crate) struct Tasks {
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// Runs a future until it ends or the tasks are stopped.
    pub(crate) fn start(&self, future: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        self.tracker.spawn(async move {
            token.run_until_cancelled(future).await;
        });
    }

    /// Cancels all and waits for them.
    pub(crate) async fn stop(&self) {
        self.token.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// Waits between two looks at a condition, or between two tries.
#[expect(
    clippy::disallowed_methods,
    reason = "the one sleep of this crate; every caller names its bound"
)]
pub(crate) async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

/// Doubling waits between two bounds.
pub(crate) struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(least: Duration, most: Duration) -> Self {
        Self {
            least,
            most,
            next: least,
        }
    }

    /// How long to wait now; the next wait is twice as long.
    pub(crate) fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.most);
        now
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.least;
    }
}

/// Locks; a panic of another holder leaves the data as it was, and every use here replaces whole values.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let waits: Vec<_> = (0..4).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [100, 200, 350, 350]);
        backoff.reset();
        assert_eq!(backoff.next().as_millis(), 100);
    }
}
