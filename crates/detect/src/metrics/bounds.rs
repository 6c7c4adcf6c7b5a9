//! How large numbers may get, so that no sum or square of them overflows.
//!
//! A value is within [`VALUE_MAX`]; levels are means of values; the season adds at most two `f32` to a level, which is
//! nothing beside it. So a residual is the difference of a value and something of twice its size at most.

/// Values beyond this are no numbers of a metric: their squares would overflow.
pub(super) const VALUE_MAX: f64 = 1e150;
/// Largest level, with room for rounding.
pub(super) const LEVEL_MAX: f64 = 2.0 * VALUE_MAX;
/// Largest residual, and largest mean of residuals.
pub(super) const RESIDUAL_MAX: f64 = 4.0 * VALUE_MAX;
/// Largest mean of squared residuals.
pub(super) const SQUARE_MAX: f64 = RESIDUAL_MAX * RESIDUAL_MAX;
/// Largest high quantile: a step up is at most the root of [`SQUARE_MAX`], from below a residual.
pub(super) const HIGH_MAX: f64 = 2.0 * RESIDUAL_MAX;
/// Largest magnitude that is started from peers: what they say is up to thousands of it, and buckets of a season are `f32`.
pub(super) const STARTED_MAX: f64 = 1e30;

/// A number kept at half the size.
#[expect(clippy::cast_possible_truncation, reason = "what is lost is noise")]
pub(super) fn halved(number: f64) -> f32 {
    number as f32
}

/// Whether a size is one: a number from 0 to `max`.
pub(super) fn is_size(size: f64, max: f64) -> bool {
    (0.0..=max).contains(&size)
}
