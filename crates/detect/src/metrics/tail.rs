//! How rare a strangeness is: a forgetting histogram with a power law beyond what it has seen often.

use super::bounds::{halved, is_size};
use super::pace::Pace;
use super::summary::TailShape;
use serde::{Deserialize, Serialize};

/// Bins for each doubling: the error of a quantile is at most 6 %.
const BINS_PER_OCTAVE: f64 = 6.0;
/// Smallest size that is told apart: 2^-6 units.
const OCTAVE_MIN: f64 = -6.0;
pub(super) const BINS: usize = 96;
/// Share of the samples beyond which the histogram is too thin, and the power law begins.
const RARE: f64 = 0.07;
/// Where excesses are censored, in natural logarithms: anomalies that were learned must not make the tail heavy.
const CENSORED_FROM: f64 = 2.0;
/// What is believed of the tail before there are data: its index, and how many samples that opinion is worth.
const PRIOR: (f64, f64) = (3.0, 10.0);
const INDEX_RANGE: (f64, f64) = (0.5, 8.0);
/// Samples between two looks at the rare part.
const REFRESHED_EVERY: u8 = 32;
/// Where weights begin anew, before they get too large to add up.
const WEIGHT_MAX: f64 = 1e6;
/// More than all samples can weigh together: those of a whole history at a millisecond each.
const TOTAL_MAX: f64 = 1e18;
/// By how much the bins may be more than the total, which is rounded more finely.
const ROUNDED: f64 = 4.0;
/// Largest surprise of the histogram's own part.
const BODY_MIN: f64 = 1e-6;

/// Sizes seen, newer ones weigh more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Tail {
    bins: Box<[f32]>,
    total: f64,
    weight: f64,
    until_refresh: u8,
    rare_bin: u8,
    rare_share: f64,
    index: f64,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            bins: vec![0.0; BINS].into_boxed_slice(),
            total: 0.0,
            weight: 1.0,
            until_refresh: 0,
            rare_bin: 0,
            rare_share: 1.0,
            index: PRIOR.0,
        }
    }
}

impl Tail {
    /// Minus the natural logarithm of the share of samples that are at least this large.
    ///
    /// Up to the rarest part it is read off the histogram; beyond it a power law is fitted to the excesses by Hill's
    /// estimator (1975), with large ones censored and a weak prior.
    pub(super) fn surprise(&mut self, size: f64) -> f64 {
        if self.until_refresh == 0 {
            self.refresh();
            self.until_refresh = REFRESHED_EVERY;
        }
        let place = place(size);
        let beyond = place - f64::from(self.rare_bin);
        if beyond < 0.0 {
            let bin = (place as usize).min(BINS - 1);
            let larger: f32 = self.bins[bin + 1..].iter().sum();
            let as_large = f64::from(self.bins[bin]) * (1.0 - (place - place.floor()));
            let share = (f64::from(larger) + as_large) / self.total.max(f64::MIN_POSITIVE);
            return -libm::log(share.clamp(BODY_MIN, 1.0));
        }
        let excess = beyond / BINS_PER_OCTAVE * std::f64::consts::LN_2;
        self.index * excess - libm::log(self.rare_share.max(BODY_MIN))
    }

    /// Takes in a size; `share` is how much of a sample it counts for.
    pub(super) fn learn(&mut self, size: f64, share: f64, pace: &Pace) {
        self.weight *= pace.tail_growth;
        let bin = (place(size) as usize).min(BINS - 1);
        let added = halved(self.weight * share);
        self.bins[bin] += added;
        self.total += f64::from(added);
        self.until_refresh = self.until_refresh.saturating_sub(1);
        if self.weight > WEIGHT_MAX {
            let shrink = halved(1.0 / self.weight);
            self.bins.iter_mut().for_each(|bin| *bin *= shrink);
            self.total = self.bins.iter().map(|bin| f64::from(*bin)).sum();
            self.weight = 1.0;
        }
    }

    /// As shares; none while nothing was seen.
    pub(super) fn shape(&self, samples: u32) -> Option<TailShape> {
        let share = |bin: &f32| halved(f64::from(*bin) / self.total);
        (self.total > 0.0).then(|| TailShape {
            samples,
            shares: self.bins.iter().map(share).collect(),
        })
    }

    /// Adds what peers have seen, as so many samples.
    pub(super) fn adopt(&mut self, shares: &[f64], worth: f64) {
        for (bin, share) in self.bins.iter_mut().zip(shares) {
            let added = halved(share * worth * self.weight);
            *bin += added;
            self.total += f64::from(added);
        }
        self.until_refresh = 0;
    }

    /// Finds the rare part and fits its index.
    fn refresh(&mut self) {
        let mut rare = 0.0;
        let mut first = BINS;
        while first > 0 && rare < RARE * self.total {
            first -= 1;
            rare += f64::from(self.bins[first]);
        }
        let (mut excess_sum, mut excesses) = (0.0, 0.0);
        for (bins_beyond, bin) in self.bins[first..].iter().enumerate() {
            let samples = f64::from(*bin) / self.weight;
            let excess = (bins_beyond as f64 + 0.5) / BINS_PER_OCTAVE * std::f64::consts::LN_2;
            excess_sum += samples * excess.min(CENSORED_FROM);
            excesses += if excess < CENSORED_FROM { samples } else { 0.0 };
        }
        let (index, samples) = PRIOR;
        let index = (excesses + samples) / (excess_sum + samples / index);
        self.index = index.clamp(INDEX_RANGE.0, INDEX_RANGE.1);
        self.rare_bin = u8::try_from(first).unwrap_or(u8::MAX);
        self.rare_share = rare / self.total.max(f64::MIN_POSITIVE);
    }

    pub(super) fn is_sound(&self) -> bool {
        self.bins.len() == BINS
            && usize::from(self.rare_bin) <= BINS
            && self.until_refresh <= REFRESHED_EVERY
            && self
                .bins
                .iter()
                .all(|bin| is_size(f64::from(*bin), TOTAL_MAX))
            && is_size(self.total, TOTAL_MAX)
            && (1.0..=WEIGHT_MAX).contains(&self.weight)
            && self.bins.iter().map(|bin| f64::from(*bin)).sum::<f64>() <= ROUNDED * self.total
            && is_size(self.rare_share, ROUNDED)
            && (INDEX_RANGE.0..=INDEX_RANGE.1).contains(&self.index)
    }

    /// Bytes outside of this value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.bins)
    }
}

/// Where a size lies among the bins, from 0 on.
fn place(size: f64) -> f64 {
    let octave = libm::log2(size.max(f64::MIN_POSITIVE)) - OCTAVE_MIN;
    (octave * BINS_PER_OCTAVE).clamp(0.0, BINS as f64)
}
