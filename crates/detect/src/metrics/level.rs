//! A running level that outliers hardly move.

use super::bounds::{LEVEL_MAX, RESIDUAL_MAX, is_size};
use super::pace::weight;
use serde::{Deserialize, Serialize};

/// A sample counts as at most so many mean deviations away.
pub(super) const CLIP: f64 = 6.0;
/// Samples before outliers can be told.
const CLIPPED_FROM: u32 = 10;

/// Exponentially forgetting mean and mean deviation, both clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Level {
    pub(super) centre: f64,
    pub(super) spread: f64,
    pub(super) count: u32,
}

impl Level {
    /// Takes in a value, with the weight of one sample. Within `floor` nothing is an outlier: what never moved has no
    /// deviation to tell one by.
    pub(super) fn learn(&mut self, value: f64, share: f64, floor: f64) {
        self.count = self.count.saturating_add(1);
        let away = value - self.centre;
        let limit = match self.count < CLIPPED_FROM {
            true => f64::MAX,
            false => CLIP * self.spread + floor,
        };
        self.centre += weight(self.count, share) * away.clamp(-limit, limit);
        // The spread is kept for twice as long, so that it does not follow what it has to judge.
        let spread_weight = weight(self.count, share / 2.0);
        self.spread += spread_weight * (away.abs().min(limit) - self.spread);
    }

    pub(super) fn is_sound(&self) -> bool {
        self.centre.abs() <= LEVEL_MAX && is_size(self.spread, RESIDUAL_MAX)
    }
}
