//! Days and weeks, cut into buckets. Those of UTC; where a week begins is no matter, as long as it is the same every week.

pub(super) const DAY_MS: i64 = 86_400_000;
pub(super) const WEEK_MS: i64 = 7 * DAY_MS;

/// The bucket of a time among so many that share a period.
pub(super) fn bucket(at_ms: i64, period_ms: i64, buckets: usize) -> usize {
    let into_ms = at_ms.rem_euclid(period_ms);
    let bucket = into_ms.saturating_mul(buckets as i64) / period_ms;
    usize::try_from(bucket).unwrap_or_default()
}
