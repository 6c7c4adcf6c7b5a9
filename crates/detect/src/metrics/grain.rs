//! The step in which a metric moves that mostly stays where it is: one error, one job, one connection.

use super::bounds::{RESIDUAL_MAX, is_size};
use super::pace::weight;
use serde::{Deserialize, Serialize};

/// Weight of the newest change.
const CHANGE_SHARE: f64 = 0.01;
/// Changes before outliers can be told.
const CLIPPED_FROM: u32 = 10;
/// A change counts for at most so many usual ones.
const CLIP: f64 = 3.0;
/// Share of a step that is no news by itself: of counts that are mostly zero the scales know next to nothing, and the
/// second error of a minute is as usual as the first.
const NO_NEWS: f64 = 0.25;

/// Mean size of the changes that are not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Grain {
    size: f64,
    changes: u32,
}

impl Grain {
    /// What nobody would care about, for a metric that differs from the sample before in `changed` of the samples.
    pub(super) fn floor(&self, changed: f64) -> f64 {
        NO_NEWS * self.size * (1.0 - changed).max(0.0)
    }

    /// Takes in the size of a change.
    pub(super) fn learn(&mut self, change: f64) {
        if change <= 0.0 {
            return;
        }
        self.changes = self.changes.saturating_add(1);
        let limit = match self.changes < CLIPPED_FROM {
            true => f64::MAX,
            false => CLIP * self.size,
        };
        self.size += weight(self.changes, CHANGE_SHARE) * (change.min(limit) - self.size);
    }

    pub(super) fn is_sound(&self) -> bool {
        is_size(self.size, RESIDUAL_MAX)
    }
}
