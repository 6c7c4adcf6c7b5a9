//! Since when a metric has another level: for "since when" in evidence, and for "what changed at 14:02?".
//!
//! Guarantees: one change at most is told, the clearest; noise is told at most as often as [`Limits::level`] says; time
//! and memory are bounded by [`WINDOW_MAX`]. Values that are no finite numbers are left out.
//!
//! Assumptions: samples are in the order of time. The series has no trend: a slow rise has a middle too, which would be
//! told.

use super::compare::{Comparison, Difference, Limits, Tested, quartiles};
use super::ranks::{Ranks, inflation};
use regraft_model::Timestamp;

/// Newest samples that are looked at: more than eight hours at a minute.
pub const WINDOW_MAX: usize = 512;
/// Values on each side of a change: fewer are an episode, not a level.
pub const SIDE_MIN: usize = 8;

/// What is said of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shift {
    /// Nothing: there are too few values.
    TooLittleData {
        /// Values in the window.
        have: usize,
        /// Values it takes.
        need: usize,
    },
    /// One level, as far as can be told.
    None,
    /// Two levels.
    Shifted(ChangePoint),
}

/// When the level changed, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangePoint {
    /// Index, in what was given, of the first value of the new level.
    pub index: usize,
    /// Time of the last value of the old level.
    pub not_yet: Timestamp,
    /// Time of the first value of the new level: it changed between the two.
    pub since: Timestamp,
    /// How the values after it differ from those before.
    pub difference: Difference,
}

/// Searches the newest [`WINDOW_MAX`] samples for the one moment at which the level changed.
///
/// Two tests on ranks look for it: that of Pettitt (1979), which is strong in the middle of the window, and that of Mann
/// and Whitney at every place, multiplied by their number (Bonferroni), which is strong at its ends, where most of what is
/// asked for has just happened. The smaller probability counts, doubled. Both are upper bounds; they are corrected for
/// equal values and for neighbours that resemble each other.
#[must_use]
pub fn find(samples: &[(Timestamp, f64)], limits: &Limits) -> Shift {
    let skipped = samples.len().saturating_sub(WINDOW_MAX);
    let window: Vec<(usize, f64)> = samples
        .iter()
        .enumerate()
        .skip(skipped)
        .filter(|(_, sample)| sample.1.is_finite())
        .map(|(index, sample)| (index, sample.1))
        .collect();
    let (have, need) = (window.len(), 2 * SIDE_MIN);
    if have < need {
        return Shift::TooLittleData { have, need };
    }
    let values: Vec<f64> = window.iter().map(|it| it.1).collect();
    let ranks = Ranks::new(&values);
    let peak = Peak::new(&ranks.of);
    let (before, after) = ranks.of.split_at(peak.place);
    let count = have as f64;
    let untied = 1.0 - ranks.ties / (count * count * count - count);
    let variance = untied * inflation([before, after]);
    if variance <= 0.0 {
        return Shift::None;
    }
    let probability = peak.probability(count, variance);
    let place = settle(&values, peak.place);
    let (before, after) = values.split_at(place);
    let tested = Tested::of(before.to_vec(), after.to_vec());
    match tested.judge(probability, limits) {
        Comparison::Different(difference) => {
            let (index, last) = (window[place].0, window[place - 1].0);
            Shift::Shifted(ChangePoint {
                index,
                not_yet: samples[last].0,
                since: samples[index].0,
                difference,
            })
        }
        Comparison::NoDifference(_) | Comparison::TooLittleData { .. } => Shift::None,
    }
}

/// The place from which on values are nearer to the median of what follows than to that of what comes before: ranks do not
/// know how far a value is from another, so that a few that happened to be high before a rise move their place.
fn settle(values: &[f64], place: usize) -> usize {
    let (before, after) = values.split_at(place);
    let (from, to) = (
        quartiles(&mut before.to_vec())[1],
        quartiles(&mut after.to_vec())[1],
    );
    // Halves, whose difference is finite.
    let (middle, reach) = (from / 4.0 + to / 4.0, to / 4.0 - from / 4.0);
    if reach == 0.0 {
        return place;
    }
    let (mut sum, mut least, mut settled) = (0.0, f64::INFINITY, place);
    for (index, value) in values.iter().enumerate() {
        sum += ((value / 2.0 - middle) / reach).clamp(-1.0, 1.0);
        let place = index + 1;
        if (SIDE_MIN..=values.len() - SIDE_MIN).contains(&place) && sum < least {
            (settled, least) = (place, sum);
        }
    }
    settled
}

/// Where the level changed, if it did, and the statistics of the tests.
struct Peak {
    /// Values before the change: the place at which the likelihood would have it, where the difference of ranks from what
    /// they would be on one level is largest by its own deviation. (Where it is largest at all is too near to the middle.)
    place: usize,
    /// The largest difference at all.
    height: f64,
    /// The square of the difference at the place, by the sizes of both sides.
    clear: f64,
}

impl Peak {
    fn new(ranks: &[f64]) -> Self {
        let count = ranks.len() as f64;
        let (mut sum, mut peak) = (
            0.0,
            Self {
                place: SIDE_MIN,
                height: 0.0,
                clear: 0.0,
            },
        );
        for (index, rank) in ranks.iter().enumerate() {
            sum += rank;
            let place = index + 1;
            if !(SIDE_MIN..=ranks.len() - SIDE_MIN).contains(&place) {
                continue;
            }
            let before = place as f64;
            let height = f64::abs(2.0 * sum - before * (count + 1.0));
            let clear = height * height / (before * (count - before));
            if clear > peak.clear {
                (peak.place, peak.clear) = (place, clear);
            }
            peak.height = peak.height.max(height);
        }
        peak
    }

    /// Upper bound of the chance of such a peak on one level; `variance` is that of the ranks, 1 for independent ones
    /// without ties.
    fn probability(&self, count: f64, variance: f64) -> f64 {
        let square = self.height * self.height / variance;
        let pettitt = 2.0 * libm::exp(-6.0 * square / (count * count * (count + 1.0)));
        let places = count - 2.0 * SIDE_MIN as f64 + 1.0;
        let deviations = (3.0 * self.clear / (count + 1.0) / variance).sqrt();
        let everywhere = places * libm::erfc(deviations / std::f64::consts::SQRT_2);
        (2.0 * pettitt.min(everywhere)).min(1.0)
    }
}
