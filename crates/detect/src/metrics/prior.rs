//! What a metric is taken to be like while it has few samples of its own: the merged view of its peers.
//!
//! A peer weighs by its evidence and by how similar it is. All together are worth a bounded number of samples, fewer where
//! they are less similar, so that own data soon weigh more.

use super::baseline::Feature;
use super::summary::{ProfileShape, Shape, TailShape};

/// Samples beyond which more of them make a peer no better.
const EVIDENCE_MAX: u32 = 10_000;
/// Samples that all peers of a metric are worth.
const WORTH_MAX: f64 = 300.0;
/// Samples that all peers of a service are worth in the distribution of its strangeness.
const TAIL_WORTH_MAX: f64 = 1000.0;
/// Ratio of the magnitudes at which a peer is half as similar: services of a tenth of the size are served by other means.
const MAGNITUDE_HALF: f64 = 10.0;
/// Ratio of the relative sizes of changes at which a peer is half as similar.
const CHANGES_HALF: f64 = 3.0;
/// Share of the magnitude below which sizes of changes are not told apart.
const CHANGES_FLOOR: f64 = 0.05;

/// What few own samples say of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Own {
    /// Mean size, above 0.
    pub(super) magnitude: f64,
    /// Mean size of the differences between neighbours.
    pub(super) change: f64,
}

/// What peers say of a metric, in units of its magnitude.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prior {
    /// Samples that it is worth, at least 1.
    pub(super) worth: u32,
    pub(super) changes: f64,
    pub(super) level: f64,
    pub(super) level_spread: f64,
    /// How large the residuals are that the season leaves: the one scale that few own samples say nothing of. The others
    /// are learned from them sooner than a peer's are unlearned.
    pub(super) season_scale: PriorScale,
    pub(super) day: Option<PriorProfile>,
    pub(super) week: Option<PriorProfile>,
}

/// How large residuals of a feature are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PriorScale {
    pub(super) spread: f64,
    pub(super) square: f64,
    pub(super) high: f64,
}

/// What a period adds to the level.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PriorProfile {
    pub(super) without: f64,
    pub(super) with: f64,
    pub(super) buckets: Vec<Option<f64>>,
}

impl Prior {
    /// The merged view; none when nobody is of any worth. The order of the peers decides nothing but the last digits.
    pub(super) fn merge<'a>(own: Own, peers: impl Iterator<Item = &'a Shape>) -> Option<Self> {
        let peers: Vec<_> = peers
            .map(|shape| {
                let evidence = f64::from(shape.samples.min(EVIDENCE_MAX));
                (evidence, evidence * similarity(own, shape), shape)
            })
            .collect();
        let evidence: f64 = peers.iter().map(|(evidence, ..)| evidence).sum();
        let total: f64 = peers.iter().map(|(_, weight, _)| weight).sum();
        let worth = (WORTH_MAX * total / evidence.max(1.0)).min(total);
        if worth < 1.0 {
            return None;
        }
        let mean = |of: &dyn Fn(&Shape) -> f32| {
            let sum: f64 = peers
                .iter()
                .map(|(_, weight, it)| weight * f64::from(of(it)))
                .sum();
            sum / total
        };
        let left = |shape: &Shape| shape.scales[Feature::Season as usize];
        let season_scale = PriorScale {
            spread: mean(&|it| left(it).spread),
            square: mean(&|it| left(it).root * left(it).root),
            high: mean(&|it| left(it).high),
        };
        let weighted = || peers.iter().map(|(_, weight, shape)| (*weight, *shape));
        Some(Self {
            worth: worth as u32,
            changes: mean(&|it| it.changes),
            level: mean(&|it| it.level),
            level_spread: mean(&|it| it.level_spread),
            season_scale,
            day: PriorProfile::merge(total, weighted().map(|(weight, it)| (weight, &it.day))),
            week: PriorProfile::merge(total, weighted().map(|(weight, it)| (weight, &it.week))),
        })
    }
}

impl PriorProfile {
    /// The merged profile; none unless most of the weight has one.
    fn merge<'a>(
        total: f64,
        peers: impl Iterator<Item = (f64, &'a Option<ProfileShape>)>,
    ) -> Option<Self> {
        let (mut known, mut without, mut with) = (0.0, 0.0, 0.0);
        let mut sums: Vec<(f64, f64)> = Vec::new();
        for (weight, profile) in peers {
            let Some(profile) = profile else { continue };
            known += weight;
            without += weight * f64::from(profile.without);
            with += weight * f64::from(profile.with);
            for (index, bucket) in profile.buckets().enumerate() {
                if index == sums.len() {
                    sums.push((0.0, 0.0));
                }
                if let Some(bucket) = bucket {
                    sums[index].0 += weight;
                    sums[index].1 += weight * f64::from(bucket);
                }
            }
        }
        let bucket = |(weight, sum): (f64, f64)| (weight > 0.0).then(|| sum / weight);
        (known > total / 2.0).then(|| Self {
            without: without / known,
            with: with / known,
            buckets: sums.into_iter().map(bucket).collect(),
        })
    }
}

/// The merged distribution of strangeness as shares, and how many samples it is worth.
pub(super) fn merge_tails<'a>(
    peers: impl Iterator<Item = &'a TailShape>,
) -> Option<(Vec<f64>, f64)> {
    let (mut shares, mut total) = (vec![0.0; super::tail::BINS], 0.0);
    for peer in peers {
        let weight = f64::from(peer.samples.min(EVIDENCE_MAX));
        total += weight;
        for (share, more) in shares.iter_mut().zip(&peer.shares) {
            *share += weight * f64::from(*more);
        }
    }
    if total < 1.0 {
        return None;
    }
    shares.iter_mut().for_each(|share| *share /= total);
    Some((shares, total.min(TAIL_WORTH_MAX)))
}

/// From 0 to 1: a metric of the same size that changes as much.
fn similarity(own: Own, peer: &Shape) -> f64 {
    let size = libm::log(own.magnitude) - f64::from(peer.log_magnitude);
    let peer_change = f64::from(peer.scales[Feature::Change as usize].spread);
    let change = libm::log(own.change / own.magnitude + CHANGES_FLOOR)
        - libm::log(peer_change + CHANGES_FLOOR);
    let (size, change) = (
        size / libm::log(MAGNITUDE_HALF),
        change / libm::log(CHANGES_HALF),
    );
    1.0 / (1.0 + size * size) / (1.0 + change * change)
}
