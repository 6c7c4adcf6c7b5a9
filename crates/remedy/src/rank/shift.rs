//! How far each metric moved between the windows, in units of its own unrest.

use super::input::{Input, Metric, Service};
use super::kind::{Kind, Meaning, meaning, received};
use super::report::Reading;
use std::collections::BTreeMap;

/// Fewest normal samples that say what is usual.
pub(super) const NORMAL_SAMPLES: usize = 5;
/// Beyond this a sample counts as missing: its square would not be finite.
const LARGEST: f64 = 1e150;
/// Least unit of a shift, as a share of what is usual: smaller changes matter to nobody.
const LEAST_SHARE: f64 = 0.05;
/// Least unit of a shift, as a share of what is usual for this metric elsewhere: a service that hardly does anything
/// makes large changes of nothing.
const LEAST_SHARE_OF_TYPICAL: f64 = 0.05;
/// Least unit of a shift of a share of failures: one in a hundred.
const LEAST_FAILING: f64 = 0.01;
/// Least unit of a shift of whole numbers: one more or less happens to any count.
const QUANTUM: f64 = 1.0;
/// Least error of a mean of ratios, as a share of it.
const LEAST_RATIO_ERROR: f64 = 0.01;
/// Shift for each unit of Student's t. With some six anomalous samples t = 3 is a shift of about 1.5.
const SHIFT_PER_T: f64 = 0.5;
/// What a shift is cut to.
const LARGEST_SHIFT: f64 = 1e6;
/// Fewest samples of time right before the incident that are looked at, in steps.
const STEPS_BEFORE: f64 = 4.0;
/// Fewest samples right before the incident that say whether it was so already.
const SAMPLES_BEFORE: usize = 2;
/// Least shift of the symptom that tells when the incident began.
const SYMPTOM_SHIFT: f64 = 3.0;
/// Fewest services with a metric that tell what happens to all.
const PEERS: usize = 4;

/// One metric of one service.
#[derive(Clone, Debug)]
pub(super) struct Shift {
    /// Index in the input.
    pub(super) service: usize,
    pub(super) metric: String,
    pub(super) kind: Kind,
    pub(super) reading: Reading,
    /// Medians of the windows.
    pub(super) normal: f64,
    pub(super) anomalous: f64,
    /// Against the normal window alone.
    pub(super) raw: f64,
    /// Without what was so right before.
    pub(super) fresh: f64,
    /// Also without what happened to most services.
    pub(super) own: f64,
}

struct Series {
    service: usize,
    metric: String,
    kind: Kind,
    reading: Reading,
    normal: Vec<f64>,
    anomalous: Vec<f64>,
}

struct Usual {
    median: f64,
    mean: f64,
    deviation: f64,
    samples: f64,
    scale: f64,
}

/// All metrics with enough samples.
pub(super) fn shifts(input: &Input) -> Vec<Shift> {
    let series = series(input);
    let typical = typical(&series);
    let usual: Vec<Option<Usual>> = series.iter().map(|one| usual(one, &typical)).collect();
    let during = during(input, &series, &usual);
    let before = before(input);
    let mut shifts: Vec<Shift> = series
        .iter()
        .zip(&usual)
        .filter_map(|(series, usual)| shift(series, usual.as_ref()?, &during, &before))
        .collect();
    take_out_common(&mut shifts);
    shifts
}

fn series(input: &Input) -> Vec<Series> {
    let mut all = Vec::new();
    for (service, Service { metrics, .. }) in input.services.iter().enumerate() {
        for metric in metrics {
            let (kind, reading) = match meaning(&metric.name) {
                Meaning::Plain(kind) => (kind, Reading::Value),
                Meaning::Success => (Kind::Failure, Reading::FailingShare),
            };
            let mut one = Series {
                service,
                metric: metric.name.clone(),
                kind,
                reading,
                normal: clean(&metric.normal),
                anomalous: clean(&metric.anomalous),
            };
            if reading == Reading::FailingShare {
                failing(&mut one);
            }
            all.push(one);
            all.extend(packet_ratio(service, metric, metrics));
        }
    }
    all
}

fn clean(samples: &[f64]) -> Vec<f64> {
    samples
        .iter()
        .map(|&sample| {
            if sample.abs() <= LARGEST {
                sample
            } else {
                f64::NAN
            }
        })
        .collect()
}

/// Turns a share that succeeds into the share that fails: from 100 % a fall to 98 % is small, from 0 % a rise to 2 % is
/// not.
fn failing(series: &mut Series) {
    let both = || series.normal.iter().chain(&series.anomalous);
    let whole = if both().any(|&share| share > 1.5) {
        100.0
    } else {
        1.0
    };
    for share in series.normal.iter_mut().chain(&mut series.anomalous) {
        *share = (whole - *share) / whole;
    }
}

fn packet_ratio(service: usize, sent: &Metric, metrics: &[Metric]) -> Option<Series> {
    let name = received(&sent.name)?;
    let received = metrics.iter().find(|metric| metric.name == name)?;
    let ratio = |sent: &[f64], received: &[f64]| -> Vec<f64> {
        let pairs = clean(sent).into_iter().zip(clean(received));
        let ratios: Vec<f64> = pairs
            .map(|(sent, received)| {
                if received > 0.0 {
                    sent / received
                } else {
                    f64::NAN
                }
            })
            .collect();
        clean(&ratios)
    };
    Some(Series {
        service,
        metric: sent.name.clone(),
        kind: Kind::PacketRatio,
        reading: Reading::PerReceived,
        normal: ratio(&sent.normal, &received.normal),
        anomalous: ratio(&sent.anomalous, &received.anomalous),
    })
}

/// What is usual for a metric across services: the median of their medians.
fn typical(series: &[Series]) -> BTreeMap<(&str, Reading), f64> {
    let mut medians: BTreeMap<(&str, Reading), Vec<f64>> = BTreeMap::new();
    for one in series {
        let samples = present(&one.normal);
        if samples.len() >= NORMAL_SAMPLES
            && let Some(median) = median(samples)
        {
            medians
                .entry((&one.metric, one.reading))
                .or_default()
                .push(median.abs());
        }
    }
    medians
        .into_iter()
        .filter_map(|(metric, medians)| Some((metric, median(medians)?)))
        .collect()
}

fn usual(series: &Series, typical: &BTreeMap<(&str, Reading), f64>) -> Option<Usual> {
    let samples = present(&series.normal);
    if samples.len() < NORMAL_SAMPLES {
        return None;
    }
    let count = count(samples.len());
    let mean = samples.iter().map(|sample| sample / count).sum::<f64>();
    let variance = samples
        .iter()
        .map(|sample| (sample - mean) * (sample - mean) / count)
        .sum::<f64>();
    let deviation = variance.max(0.0).sqrt();
    let whole = samples.iter().all(|sample| sample.fract() == 0.0);
    let median = median(samples)?;
    let least = match series.reading {
        Reading::FailingShare => LEAST_FAILING,
        Reading::Value | Reading::PerReceived => {
            let elsewhere = typical.get(&(series.metric.as_str(), series.reading));
            let quantum = if whole { QUANTUM } else { 0.0 };
            (LEAST_SHARE * median.abs())
                .max(LEAST_SHARE_OF_TYPICAL * elsewhere.copied().unwrap_or(0.0))
                .max(quantum)
        }
    };
    Some(Usual {
        median,
        mean,
        deviation,
        samples: count,
        scale: deviation.max(least).max(f64::MIN_POSITIVE),
    })
}

/// Which anomalous samples belong to the incident: those where the symptom shows at least half as much as at its worst.
/// All, when nothing tells.
fn during(input: &Input, series: &[Series], usual: &[Option<Usual>]) -> Vec<bool> {
    let length = series.iter().map(|one| one.anomalous.len()).max();
    let all = vec![true; length.unwrap_or(0)];
    let Some(symptom) = &input.symptom else {
        return all;
    };
    let found = series.iter().zip(usual).find(|(one, _)| {
        one.metric == symptom.metric
            && one.reading != Reading::PerReceived
            && input
                .services
                .get(one.service)
                .is_some_and(|service| service.name == symptom.service)
    });
    let Some((one, Some(usual))) = found else {
        return all;
    };
    let far = |sample: &f64| bounded((sample - usual.median) / usual.scale).abs();
    let worst = one.anomalous.iter().map(far).fold(0.0, f64::max);
    if worst < SYMPTOM_SHIFT {
        return all;
    }
    let mut during: Vec<bool> = one
        .anomalous
        .iter()
        .map(|sample| far(sample) >= worst / 2.0)
        .collect();
    during.resize(all.len(), false);
    during
}

/// Which normal samples were taken right before the incident: for as long as the anomalous window, at least
/// [`STEPS_BEFORE`] steps.
fn before(input: &Input) -> Vec<bool> {
    let times = &input.anomalous_times_s;
    let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
        return Vec::new();
    };
    if times.len() < 2 || last <= first {
        return Vec::new();
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds between samples of one incident"
    )]
    let step = last.saturating_sub(first) as f64 / count(times.len() - 1);
    let length = (STEPS_BEFORE.max(count(times.len())) + 0.5) * step;
    #[expect(
        clippy::cast_precision_loss,
        reason = "only times near the incident matter"
    )]
    input
        .normal_times_s
        .iter()
        .map(|&time| time < first && first.saturating_sub(time) as f64 <= length)
        .collect()
}

fn shift(series: &Series, usual: &Usual, during: &[bool], before: &[bool]) -> Option<Shift> {
    let inside = present(&chosen(&series.anomalous, during));
    let anomalous = median(inside.clone())?;
    let raw = bounded((anomalous - usual.median) / usual.scale);
    let fresh = if series.reading == Reading::PerReceived {
        // Slight but steady: the mean is what tells, and it needs all samples.
        let count = count(inside.len());
        let mean = inside.iter().map(|sample| sample / count).sum::<f64>();
        let error = usual.deviation * (1.0 / count + 1.0 / usual.samples).sqrt();
        let error = error.max(LEAST_RATIO_ERROR * usual.mean.abs());
        bounded((mean - usual.mean) / error.max(f64::MIN_POSITIVE) * SHIFT_PER_T)
    } else {
        let mut earlier = present(&chosen(&series.normal, before));
        let onset = during.iter().position(|&inside| inside).unwrap_or_default();
        earlier.extend(present(series.anomalous.get(..onset).unwrap_or_default()));
        match median(earlier.clone()) {
            Some(level) if earlier.len() >= SAMPLES_BEFORE => {
                lesser(raw, bounded((anomalous - level) / usual.scale))
            }
            _ => raw,
        }
    };
    Some(Shift {
        service: series.service,
        metric: series.metric.clone(),
        kind: series.kind,
        reading: series.reading,
        normal: usual.median,
        anomalous,
        raw,
        fresh,
        own: fresh,
    })
}

/// Takes the median shift of a metric across services out of each: more or less work for most is load, not cause. Slow
/// and failing answers stay: they reach most services from a single one, and the calls tell from which.
fn take_out_common(shifts: &mut [Shift]) {
    let moves_with_load = |kind: Kind| kind.follows_load() || kind == Kind::Cpu;
    let mut of: BTreeMap<(&str, Reading), Vec<f64>> = BTreeMap::new();
    for shift in shifts.iter().filter(|one| moves_with_load(one.kind)) {
        of.entry((&shift.metric, shift.reading))
            .or_default()
            .push(shift.fresh);
    }
    let common: BTreeMap<(String, Reading), f64> = of
        .into_iter()
        .filter(|(_, shifts)| shifts.len() >= PEERS)
        .filter_map(|((metric, reading), shifts)| {
            Some(((metric.to_owned(), reading), median(shifts)?))
        })
        .collect();
    for shift in shifts {
        if let Some(&common) = common.get(&(shift.metric.clone(), shift.reading))
            && common * shift.fresh > 0.0
        {
            shift.own = lesser(shift.fresh, shift.fresh - common);
        }
    }
}

/// The one nearer to zero; zero when they point apart.
fn lesser(one: f64, other: f64) -> f64 {
    if one * other <= 0.0 {
        0.0
    } else if one.abs() <= other.abs() {
        one
    } else {
        other
    }
}

fn bounded(shift: f64) -> f64 {
    if shift.is_nan() {
        0.0
    } else {
        shift.clamp(-LARGEST_SHIFT, LARGEST_SHIFT)
    }
}

fn chosen(samples: &[f64], mask: &[bool]) -> Vec<f64> {
    let pairs = samples.iter().zip(mask);
    pairs
        .filter_map(|(sample, chosen)| chosen.then_some(*sample))
        .collect()
}

fn present(samples: &[f64]) -> Vec<f64> {
    samples
        .iter()
        .copied()
        .filter(|sample| sample.is_finite())
        .collect()
}

pub(super) fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    let upper = *samples.get(samples.len() / 2)?;
    if samples.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *samples.get(samples.len() / 2 - 1)?;
    Some(lower / 2.0 + upper / 2.0)
}

#[expect(clippy::cast_precision_loss, reason = "samples of a window")]
fn count(samples: usize) -> f64 {
    samples as f64
}
