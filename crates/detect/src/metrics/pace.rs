//! How fast things are forgotten: times as shares of one sample.

use super::period::DAY_MS;
use serde::{Deserialize, Serialize};

/// Half-life of the tail of strangeness, days: long enough for its rare part, short enough to follow a service that
/// becomes noisier.
const TAIL_DAYS: f64 = 4.0;
/// Time over which seasons are compared with what they would explain, days.
const SEASON_DAYS: f64 = 5.0;

/// What one sample weighs, for a given step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pace {
    step_ms: u32,
    history_days: f64,
    /// Weight of one sample in what is kept over the whole history.
    pub(crate) history: f64,
    /// Weight of one sample in what is kept for a day.
    pub(crate) day: f64,
    /// Weight of one sample when seasons are compared.
    pub(crate) season: f64,
    /// By how much the next sample weighs more than this one in the tail.
    pub(crate) tail_growth: f64,
}

impl Default for Pace {
    /// Of what is not known yet: to be replaced by [`Self::new`].
    fn default() -> Self {
        Self::new(0, 0.0)
    }
}

impl Pace {
    pub(crate) fn new(step_ms: u32, history_days: f64) -> Self {
        let steps_a_day = DAY_MS as f64 / f64::from(step_ms.max(1));
        let share = |half_life_days: f64| {
            (std::f64::consts::LN_2 / (half_life_days * steps_a_day)).min(1.0)
        };
        Self {
            step_ms,
            history_days,
            history: share(history_days),
            day: (1.0 / steps_a_day).min(1.0),
            season: (1.0 / (SEASON_DAYS * steps_a_day)).min(1.0),
            tail_growth: libm::exp(share(TAIL_DAYS)),
        }
    }

    /// The pace for a step; this one while the step is the same.
    pub(crate) fn at(self, step_ms: u32) -> Self {
        match step_ms == self.step_ms {
            true => self,
            false => Self::new(step_ms, self.history_days),
        }
    }

    /// Samples a month at this step.
    pub(crate) fn samples_a_month(self) -> f64 {
        30.0 * DAY_MS as f64 / f64::from(self.step_ms.max(1))
    }
}

/// Weight of the newest of so many samples in a mean that forgets by `share`: the plain mean while that forgets faster.
pub(crate) fn weight(count: u32, share: f64) -> f64 {
    (1.0 / f64::from(count.max(1))).max(share)
}
