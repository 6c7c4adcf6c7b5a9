//! The one place that reads clocks and rests.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment, to measure from.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since the epoch, for certificates.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Lets time pass.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) async fn rest(time: Duration) {
    tokio::time::sleep(time).await;
}
