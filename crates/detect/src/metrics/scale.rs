//! How large a residual usually is.

use super::bounds::{HIGH_MAX, RESIDUAL_MAX, SQUARE_MAX, halved, is_size};
use super::level::CLIP;
use super::pace::{Pace, weight};
use super::prior::PriorScale;
use super::summary::ScaleShape;
use serde::{Deserialize, Serialize};

/// Samples over which the mean size is taken.
const SPREAD_SAMPLES: f64 = 500.0;
/// Samples before outliers can be told.
const CLIPPED_FROM: u32 = 20;
/// Quantile of the size that `high` follows.
const HIGH: f64 = 0.99;
/// Step by which `high` follows, as a share of itself or of the root mean square.
const HIGH_STEP: f64 = 0.04;
/// The same while nothing is known, divided by the number of samples.
const HIGH_STEP_FIRST: f64 = 5.0;
/// Shares of the mean size, of the root mean square and of `high` in the unit. The mean size follows the service through
/// the day; the other two remember bursts that are usual for the metric, so that one that bursts every day is no news.
const UNIT: [f64; 3] = [0.3, 0.5, 1.0];

/// Mean size (clipped), mean square over the whole history, and a high quantile of the residuals of one feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Scale {
    pub(super) spread: f64,
    pub(super) square: f64,
    pub(super) high: f64,
    pub(super) count: u32,
}

impl Scale {
    /// What residuals are divided by; `floor` is what nobody would care about.
    pub(super) fn unit(&self, floor: f64) -> f64 {
        let [spread, root, high] = UNIT;
        spread * self.spread + root * self.square.sqrt() + high * self.high + floor
    }

    /// In units of `magnitude`.
    pub(super) fn shape(&self, magnitude: f64) -> ScaleShape {
        let share = |size: f64| halved(size / magnitude);
        ScaleShape {
            spread: share(self.spread),
            root: share(self.square.sqrt()),
            high: share(self.high),
        }
    }

    /// What peers know, as so many samples.
    pub(super) fn of(prior: &PriorScale, magnitude: f64, worth: u32) -> Self {
        Self {
            spread: prior.spread * magnitude,
            square: prior.square * magnitude * magnitude,
            high: prior.high * magnitude,
            count: worth,
        }
    }

    /// Takes in the size of a residual.
    pub(super) fn learn(&mut self, size: f64, floor: f64, pace: &Pace) {
        self.count = self.count.saturating_add(1);
        let limit = match self.count < CLIPPED_FROM {
            true => f64::MAX,
            false => CLIP * self.spread + floor,
        };
        let spread_weight = weight(self.count, 1.0 / SPREAD_SAMPLES);
        self.spread += spread_weight * (size.min(limit) - self.spread);
        self.square += weight(self.count, pace.history) * (size * size - self.square);
        let step = (HIGH_STEP_FIRST / f64::from(self.count)).clamp(HIGH_STEP, 1.0)
            * self.square.sqrt().max(self.high);
        self.high = match size > self.high {
            true => self.high + step * HIGH,
            false => (self.high - step * (1.0 - HIGH)).max(0.0),
        };
    }

    pub(super) fn is_sound(&self) -> bool {
        is_size(self.spread, RESIDUAL_MAX)
            && is_size(self.square, SQUARE_MAX)
            && is_size(self.high, HIGH_MAX)
    }
}
