//! Whether a metric differs between two groups: the pods of a new ReplicaSet and of the old one, a canary and what is
//! stable.
//!
//! Guarantees: what differs only by chance is called different at most as often as [`Limits::level`] says, over all the
//! metrics of one call together; what differs by nothing that matters is not called different however sure it is. The
//! same samples give the same answer on every platform. Values that are no finite numbers are left out.
//!
//! Assumptions: the values of a group are in the order of time. Neighbours may resemble each other, which is taken into
//! account; beyond that both groups are samples of something that stays as it is.

use super::ranks::{Ranks, inflation};
use super::verdict::figure;
use std::fmt;

/// Values of a group below which nothing is said: with fewer, even groups that do not overlap could be chance.
pub const VALUES_MIN: usize = 8;
/// Newest values of a group that are looked at: eight hours at ten seconds; more make no verdict better.
pub const VALUES_MAX: usize = 2880;

/// What it takes to be called different.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Chance, between 0 and 1, that anything is called different where nothing is.
    pub level: f64,
    /// Smallest effect, between 0 and 1: see [`Difference::effect`].
    pub effect_min: f64,
    /// Smallest difference of quartiles, as a share of the largest quartile by size.
    pub shift_min: f64,
}

impl Default for Limits {
    /// One false difference in a hundred comparisons; an effect that is not small (Romano et al. 2006 call less than
    /// 0.33 small); a twentieth, as for what a watch calls negligible.
    fn default() -> Self {
        Self {
            level: 0.01,
            effect_min: 0.33,
            shift_min: 0.05,
        }
    }
}

/// How two groups differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Cliff's delta (1993), from -1 to 1: by how much more often a new value is above an old one than below it.
    pub effect: f64,
    /// Chance of a difference as clear as this where there is none, already multiplied for the number of metrics.
    pub probability: f64,
    /// Medians of the old and the new group, in the metric's unit.
    pub medians: [f64; 2],
}

/// What is said of two groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    /// Nothing: one of them is too small.
    TooLittleData {
        /// Values of the old and the new group.
        have: [usize; 2],
        /// Values that each of them needs.
        need: usize,
    },
    /// They do not differ, or not so that it matters.
    NoDifference(Difference),
    /// They differ.
    Different(Difference),
}

/// Values of one metric in two groups, each in the order of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Groups<'a> {
    /// Values of the old group.
    pub old: &'a [f64],
    /// Values of the new group.
    pub new: &'a [f64],
}

/// Compares one metric by the test of Mann and Whitney (1947), in its normal approximation with corrections for ties and
/// continuity.
#[must_use]
pub fn one(groups: Groups<'_>, limits: &Limits) -> Comparison {
    match Tested::new(groups) {
        Ok(tested) => tested.judge(tested.probability, limits),
        Err(too_little) => too_little,
    }
}

/// Compares several metrics at once, with Holm's correction (1979): the answers in the order of the metrics.
#[must_use]
pub fn several(metrics: &[Groups<'_>], limits: &Limits) -> Vec<Comparison> {
    let tested: Vec<_> = metrics.iter().map(|groups| Tested::new(*groups)).collect();
    let mut by_probability: Vec<(usize, f64)> = tested
        .iter()
        .enumerate()
        .filter_map(|(index, tested)| Some((index, tested.as_ref().ok()?.probability)))
        .collect();
    by_probability.sort_by(|one, other| one.1.total_cmp(&other.1));
    let count = by_probability.len();
    let mut adjusted = vec![1.0; metrics.len()];
    let mut largest = 0.0_f64;
    for (before, (index, probability)) in by_probability.into_iter().enumerate() {
        largest = largest.max((count - before) as f64 * probability).min(1.0);
        adjusted[index] = largest;
    }
    let judge = |(tested, probability): (Result<Tested, Comparison>, f64)| match tested {
        Ok(tested) => tested.judge(probability, limits),
        Err(too_little) => too_little,
    };
    tested.into_iter().zip(adjusted).map(judge).collect()
}

impl Comparison {
    /// The difference that matters, if there is one.
    #[must_use]
    pub fn different(&self) -> Option<&Difference> {
        match self {
            Self::Different(difference) => Some(difference),
            Self::TooLittleData { .. } | Self::NoDifference(_) => None,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLittleData {
                have: [old, new],
                need,
            } => write!(
                f,
                "too little data: {old} values of the old group and {new} of the new one, {need} needed of each"
            ),
            Self::NoDifference(difference) => {
                write!(f, "no difference that matters: {difference}")
            }
            Self::Different(difference) => write!(f, "different: {difference}"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [old, new] = self.medians.map(figure);
        let higher = (50.0 * (1.0 + self.effect)).round();
        let chance = match self.probability < 1e-6 {
            true => "less than 1 in a million".to_owned(),
            false => figure(self.probability),
        };
        write!(
            f,
            "median {new}, was {old}; above it in {higher} of 100 pairs; by chance: {chance}"
        )
    }
}

/// Two groups and what the test makes of them.
pub(super) struct Tested {
    pub(super) effect: f64,
    probability: f64,
    quartiles: [[f64; 3]; 2],
}

impl Tested {
    fn new(groups: Groups<'_>) -> Result<Self, Comparison> {
        let newest = |values: &[f64]| {
            let mut newest: Vec<f64> = values
                .iter()
                .rev()
                .copied()
                .filter(|it| it.is_finite())
                .take(VALUES_MAX)
                .collect();
            newest.reverse();
            newest
        };
        let (old, new) = (newest(groups.old), newest(groups.new));
        let have = [old.len(), new.len()];
        if have.into_iter().any(|have| have < VALUES_MIN) {
            let need = VALUES_MIN;
            return Err(Comparison::TooLittleData { have, need });
        }
        Ok(Self::of(old, new))
    }

    /// Of finite values in both.
    pub(super) fn of(mut old: Vec<f64>, mut new: Vec<f64>) -> Self {
        let (olds, news) = (old.len() as f64, new.len() as f64);
        let both = olds + news;
        let joined: Vec<f64> = old.iter().chain(&new).copied().collect();
        let ranks = Ranks::new(&joined);
        let (old_ranks, new_ranks) = ranks.of.split_at(old.len());
        // Pairs in which the new value is above, where equal ones are a half: Mann and Whitney's U.
        let above = new_ranks.iter().sum::<f64>() - news * (news + 1.0) / 2.0;
        let pairs = olds * news;
        let distance = ((above - pairs / 2.0).abs() - 0.5).max(0.0);
        let variance = pairs / 12.0 * (both + 1.0 - ranks.ties / (both * (both - 1.0)));
        let variance = variance * inflation([old_ranks, new_ranks]);
        let probability = match variance > 0.0 {
            true => libm::erfc(distance / variance.sqrt() / std::f64::consts::SQRT_2),
            false => 1.0,
        };
        Self {
            effect: 2.0 * above / pairs - 1.0,
            probability: probability.min(1.0),
            quartiles: [quartiles(&mut old), quartiles(&mut new)],
        }
    }

    /// With the probability that counts.
    pub(super) fn judge(&self, probability: f64, limits: &Limits) -> Comparison {
        let difference = Difference {
            effect: self.effect,
            probability,
            medians: self.quartiles.map(|it| it[1]),
        };
        let matters = self.effect.abs() >= limits.effect_min && self.shift() >= limits.shift_min;
        match probability <= limits.level && matters {
            true => Comparison::Different(difference),
            false => Comparison::NoDifference(difference),
        }
    }

    /// Largest difference of a quartile, as a share of the largest one. (A metric that is mostly 0, like errors, differs
    /// in no median.)
    fn shift(&self) -> f64 {
        let [old, new] = self.quartiles;
        let size = old
            .iter()
            .chain(&new)
            .fold(0.0, |size, it| it.abs().max(size));
        // Each divided first: the difference of two large numbers may be infinite.
        let share = |value: f64| value / f64::max(size, f64::MIN_POSITIVE);
        let shifts = old
            .iter()
            .zip(new)
            .map(|(old, new)| (share(new) - share(*old)).abs());
        shifts.fold(0.0, f64::max)
    }
}

/// The quartiles, interpolated between neighbours; of at least one value.
pub(super) fn quartiles(values: &mut [f64]) -> [f64; 3] {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    [1, 2, 3].map(|quarter| {
        let (below, part) = (last * quarter / 4, (last * quarter % 4) as f64 / 4.0);
        values[below] * (1.0 - part) + values[(below + 1).min(last)] * part
    })
}
