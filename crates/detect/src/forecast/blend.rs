//! One forecast of several, and its band, both by what came true.

use serde::{Deserialize, Serialize};

use super::answer::LEVELS;
use super::bits;

/// Forecasts that are blended.
pub(super) const EXPERTS: usize = 7;
/// What one error weighs a forecast later: half of it after 69.
const KEEP: f64 = 0.99;
/// Rate of the error of late: about ten forecasts.
const FAST: f64 = 0.1;
/// Rate of the usual error: about two hundred forecasts.
const SLOW: f64 = 0.005;
/// Least scale of a band, as a share of the usual error.
const SCALE_SHARE_MIN: f64 = 0.1;
/// How far a bound moves when the value fell on the other side of it, as a share of its own distance. Coverage comes out
/// by itself with any rate (Angelopoulos, Candès and Tibshirani 2023, quantile tracking); this one takes some hundred
/// forecasts.
const BOUND_RATE: f64 = 0.025;
/// It begins faster, and after so many forecasts is half of that; see [`BOUND_RATE_FIRST`].
const BOUND_SLOWING: f64 = 100.0;
/// What the rate is at first.
const BOUND_RATE_FIRST: f64 = 0.2;
/// Least distance that rate is taken of, in scales.
const BOUND_MIN: f64 = 0.3;
/// Furthest a bound gets, in scales: beyond it the scale has not yet followed, and will.
const SCORE_MAX: f64 = 1e3;
/// Largest number that is blended: a forecast far beyond all values is as wrong as any, and sums of it have to be numbers.
const NUMBER_MAX: f64 = 1e110;
/// More than any error of what is blended.
pub(super) const ERROR_MAX: f64 = 2.0 * NUMBER_MAX;
/// More than any scale: a quarter of three errors and of how far forecasts are apart.
const SCALE_MAX: f64 = 3.0 * NUMBER_MAX;
/// Bounds at the beginning, in mean absolute errors: those of normal errors (a standard deviation is 1.25 of them).
const FIRST_SCORES: [f64; LEVELS.len()] = [-2.9, -2.05, -1.6, -0.84, 0.0, 0.84, 1.6, 2.05, 2.9];

/// Weights and band of forecasts so far ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Blend {
    /// Absolute errors of each, fading.
    #[serde(with = "bits::many")]
    losses: Vec<f64>,
    /// Absolute error of the blend, of late.
    #[serde(with = "bits::one")]
    fast: f64,
    /// Absolute error of the blend, usually.
    #[serde(with = "bits::one")]
    slow: f64,
    /// For each level, its distance from the point in scales.
    #[serde(with = "bits::many")]
    scores: Vec<f64>,
    /// Forecasts that came true or not.
    scored: u64,
}

/// A forecast that waits for its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) experts: [f64; EXPERTS],
    pub(super) point: f64,
    pub(super) scale: f64,
}

impl Told {
    /// Whether one that was read back can be.
    pub(super) fn is_sound(&self) -> bool {
        let numbers = self.experts.iter().chain([&self.point]);
        numbers.into_iter().all(|number| number.abs() <= NUMBER_MAX)
            && (0.0..=SCALE_MAX).contains(&self.scale)
    }
}

impl Blend {
    pub(super) fn new() -> Self {
        Self {
            losses: vec![0.0; EXPERTS],
            fast: 0.0,
            slow: 0.0,
            scores: FIRST_SCORES.to_vec(),
            scored: 0,
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.losses.len() == EXPERTS
            && self.scores.len() == LEVELS.len()
            && self
                .losses
                .iter()
                .all(|loss| (0.0..=ERROR_MAX / (1.0 - KEEP)).contains(loss))
            && self.scores.iter().all(|score| score.abs() <= SCORE_MAX)
            && (0.0..=ERROR_MAX).contains(&self.fast)
            && (0.0..=ERROR_MAX).contains(&self.slow)
    }

    /// Bytes it takes beyond its own size.
    pub(super) fn heap_bytes(&self) -> usize {
        (EXPERTS + LEVELS.len()) * size_of::<f64>()
    }

    /// Forecasts that came true or not.
    pub(super) fn scored(&self) -> u64 {
        self.scored
    }

    /// The usual absolute error.
    pub(super) fn usual_error(&self) -> f64 {
        self.slow
    }

    /// Blends. `unrest` is the usual error at the time of day that is told of, when known.
    pub(super) fn tell(&self, experts: [f64; EXPERTS], unrest: Option<f64>) -> Told {
        let experts = experts.map(bounded);
        let unrest = unrest.map(bounded);
        let mut sorted = experts;
        sorted.sort_by(f64::total_cmp);
        let spread = sorted[EXPERTS * 3 / 4] - sorted[EXPERTS / 4];
        let scale = (self.fast + self.slow + unrest.unwrap_or(self.slow) + spread) / 4.0;
        Told {
            experts,
            point: self.point(&experts),
            scale: scale.max(SCALE_SHARE_MIN * self.slow),
        }
    }

    /// Learns what came true, and answers how far off the point was.
    pub(super) fn learn(&mut self, told: &Told, value: f64) -> f64 {
        for (loss, expert) in self.losses.iter_mut().zip(told.experts) {
            *loss = *loss * KEEP + (expert - value).abs();
        }
        let error = (value - told.point).abs();
        if self.scored == 0 {
            (self.fast, self.slow) = (error, error);
        }
        self.fast += FAST * (error - self.fast);
        self.slow += SLOW * (error - self.slow);
        self.scored = self.scored.saturating_add(1);
        let rate = BOUND_RATE_FIRST * BOUND_SLOWING / (BOUND_SLOWING + self.scored as f64);
        let rate = rate.max(BOUND_RATE);
        if told.scale > 0.0 {
            for (score, level) in self.scores.iter_mut().zip(LEVELS) {
                let below = if value < told.point + told.scale * *score {
                    1.0
                } else {
                    0.0
                };
                *score += rate * score.abs().max(BOUND_MIN) * (level - below);
                *score = score.clamp(-SCORE_MAX, SCORE_MAX);
            }
        }
        error
    }

    /// The value at each level, in order, and the middle one the point.
    pub(super) fn bounds(&self, told: &Told) -> [f64; LEVELS.len()] {
        let middle = LEVELS.len() / 2;
        let mut bounds = [told.point; LEVELS.len()];
        for i in middle + 1..LEVELS.len() {
            bounds[i] = bounds[i - 1].max(told.point + told.scale * self.scores[i]);
        }
        for i in (0..middle).rev() {
            bounds[i] = bounds[i + 1].min(told.point + told.scale * self.scores[i]);
        }
        bounds
    }

    /// Weighted median: one that errs twice as much as the best weighs a quarter.
    fn point(&self, experts: &[f64; EXPERTS]) -> f64 {
        let best = self.losses.iter().copied().fold(f64::INFINITY, f64::min);
        let mut weighed = [(0.0, 0.0); EXPERTS];
        for (place, (&expert, &loss)) in weighed.iter_mut().zip(experts.iter().zip(&self.losses)) {
            let share = if loss > best { best / loss } else { 1.0 };
            *place = (expert, share * share);
        }
        weighed.sort_by(|a, b| a.0.total_cmp(&b.0));
        let half = weighed.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
        let mut sum = 0.0;
        for (expert, weight) in weighed {
            sum += weight;
            if sum >= half {
                return expert;
            }
        }
        weighed[EXPERTS - 1].0
    }
}

fn bounded(number: f64) -> f64 {
    match number.is_nan() {
        true => 0.0,
        false => number.clamp(-NUMBER_MAX, NUMBER_MAX),
    }
}
