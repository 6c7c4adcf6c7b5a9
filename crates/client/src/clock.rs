//! The one place of this crate that reads the clock and waits.

use std::time::Duration;
use tokio::time::Instant;

/// The monotonic clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until `at`: a deadline, or when the next sign of life is due.
pub(crate) async fn until(at: Instant) {
    tokio::time::sleep_until(at).await;
}

/// Waits between two attempts; the caller names its bound.
pub(crate) async fn pause(span: Duration) {
    until(now() + span).await;
}
