//! Watches the metrics of one service.
//!
//! Expected flow: [`Watch::observe`] for each scrape, in the order of time, with one value for each metric.
//! [`Watch::stale`] whenever somebody asks without a new sample.
//!
//! Guarantees: a verdict uses nothing after its sample; the same samples give the same bytes and verdicts on every
//! platform, also when it was stored and read back in between; memory is bounded by [`BYTES_PER_METRIC_MAX`] and
//! [`METRICS_MAX`]. No input makes it panic, and none of these makes a verdict: a value that is no finite number (taken for
//! missing), a doubled or late sample, the samples after a gap, a metric that never changes.

use super::alarm::{Change, Policy, SETTLING};
use super::baseline::{Baseline, FEATURES, SAMPLES_MIN, Strangeness, is_number};
use super::cadence::{Arrival, Cadence};
use super::pace::Pace;
use super::settings::Settings;
use super::tail::Tail;
use super::verdict::{Anomaly, Episode, MetricEvidence, Unknown, Verdict};
use crate::Error;
use regraft_model::Timestamp;
use serde::{Deserialize, Serialize};

/// Most metrics of a service: more of them make a verdict slower, hardly better.
pub const METRICS_MAX: usize = 256;
/// Most bytes of one metric, in memory and stored.
pub const BYTES_PER_METRIC_MAX: usize = 4096;
/// Rows after the first ones before their joint strangeness has a distribution.
const ROWS_MIN: u32 = 100;
/// Share of the metrics whose mean is the strangeness of the service: one alone is often noise, and a fault shows in
/// several.
const STRANGEST: f64 = 0.3;
/// A metric's own surprise counts up to here: beyond it is a guess of the power law, and one metric must not speak for all.
const OWN_SURPRISE_MAX: f64 = 15.0;
/// What a sample counts for in the distribution when it is itself told of: it has to be learned for the threshold to
/// follow a service that changed for good, but slowly.
const TOLD_SHARE: f64 = 0.3;
/// Metrics named as evidence.
const EVIDENCE_MAX: usize = 5;

/// Whether a sample is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learning {
    /// As always.
    On,
    /// An incident is open: what is seen now must not become normal.
    Frozen,
}

/// What is normal for one service, and whether it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    settings: Settings,
    names: Vec<String>,
    baselines: Vec<Baseline>,
    cadence: Cadence,
    pace: Pace,
    tail: Tail,
    rows: u32,
    settling: u16,
    policy: Policy,
    /// Of the newest sample: what each metric said.
    #[serde(skip)]
    strange: Vec<Option<Strangeness>>,
    #[serde(skip)]
    sorted: Vec<f64>,
}

impl Watch {
    /// A watch that knows nothing, for metrics with these names.
    ///
    /// # Errors
    /// [`Error::Settings`], [`Error::Metrics`] for none or more than [`METRICS_MAX`].
    pub fn new(settings: Settings, names: Vec<String>) -> Result<Self, Error> {
        if let Some(problem) = settings.problem() {
            return Err(Error::Settings(problem));
        }
        if names.is_empty() || names.len() > METRICS_MAX {
            return Err(Error::Metrics(names.len()));
        }
        let cadence = Cadence::default();
        Ok(Self {
            pace: Pace::new(cadence.step_ms(), settings.history_days),
            settings,
            baselines: vec![Baseline::default(); names.len()],
            names,
            cadence,
            tail: Tail::default(),
            rows: 0,
            settling: 0,
            policy: Policy::default(),
            strange: Vec::new(),
            sorted: Vec::new(),
        })
    }

    /// Judges the values of one moment, in the order of the names, then learns them. NaN is missing; missing values at the
    /// end may be left out.
    pub fn observe(&mut self, at: Timestamp, values: &[f64], learning: Learning) -> Verdict {
        match self.cadence.arrive(at.0) {
            Arrival::Late => return Verdict::Unknown(Unknown::OutOfOrder),
            Arrival::AfterGap => {
                self.settling = SETTLING;
                self.baselines.iter_mut().for_each(Baseline::interrupt);
            }
            Arrival::Next => {}
        }
        self.pace = self.pace.at(self.cadence.step_ms());
        let threshold = self.settings.threshold(self.pace.samples_a_month());
        let numbers = self.judge_each(at.0, values);
        let verdict = match self.strongest(|it| it.size) {
            None => self.without_strangeness(at, numbers, threshold),
            Some(size) => self.judge(at, values, size, threshold, learning),
        };
        if learning == Learning::On {
            let metrics = self.baselines.iter_mut().zip(&self.strange).zip(values);
            for ((baseline, strange), value) in metrics.filter(|(_, value)| is_number(**value)) {
                let strange = strange
                    .as_ref()
                    .map(|it| (it, told_share(it.surprise, threshold)));
                baseline.learn(at.0, *value, strange, &self.pace);
            }
        }
        self.settling = self.settling.saturating_sub(1);
        verdict
    }

    /// That nothing can be said because nothing came; none while samples come.
    #[must_use]
    pub fn stale(&self, now: Timestamp) -> Option<Unknown> {
        self.cadence.is_stale(now.0).then(|| Unknown::Stale {
            last: self.cadence.last_ms().map(Timestamp),
        })
    }

    /// Names of the metrics.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Notes how strange each metric is; tells whether any has a number.
    fn judge_each(&mut self, at_ms: i64, values: &[f64]) -> Numbers {
        self.strange.clear();
        let mut numbers = Numbers::None;
        for (baseline, value) in self.baselines.iter().zip(values) {
            let number = is_number(*value);
            if number {
                numbers = Numbers::Some;
            }
            let strange = number.then(|| baseline.judge(at_ms, *value)).flatten();
            self.strange.push(strange);
        }
        numbers
    }

    /// The mean of this figure over the metrics where it is greatest; none when no metric says anything.
    fn strongest(&mut self, figure: impl Fn(&Strangeness) -> f64) -> Option<f64> {
        self.sorted.clear();
        self.sorted
            .extend(self.strange.iter().flatten().map(figure));
        let counted = strongest_of(self.sorted.len());
        if counted < self.sorted.len() {
            let order = |one: &f64, other: &f64| other.total_cmp(one);
            self.sorted.select_nth_unstable_by(counted - 1, order);
        }
        let strongest = self.sorted.get_mut(..counted)?;
        // The order of a sum shows in its last bit.
        strongest.sort_unstable_by(f64::total_cmp);
        Some(strongest.iter().sum::<f64>() / counted as f64)
    }

    fn without_strangeness(&mut self, at: Timestamp, numbers: Numbers, threshold: f64) -> Verdict {
        self.policy.step(at.0, None, threshold);
        let have = self.baselines.iter().map(Baseline::count).max();
        let have = have.unwrap_or_default();
        let need = SAMPLES_MIN + ROWS_MIN;
        Verdict::Unknown(match numbers {
            Numbers::None => Unknown::NoNumbers,
            Numbers::Some if have < SAMPLES_MIN => Unknown::TooLittleData { have, need },
            Numbers::Some => Unknown::NeverChanged,
        })
    }

    fn judge(
        &mut self,
        at: Timestamp,
        values: &[f64],
        size: f64,
        threshold: f64,
        learning: Learning,
    ) -> Verdict {
        let known = self.rows >= ROWS_MIN;
        let evident = known && self.settling == 0;
        let joint = match known {
            true => self.tail.surprise(size),
            false => 0.0,
        };
        if learning == Learning::On && self.settling == 0 {
            self.tail
                .learn(size, told_share(joint, threshold), &self.pace);
            self.rows = self.rows.saturating_add(1);
        }
        let surprise = joint.max(self.agreement());
        let change = self
            .policy
            .step(at.0, evident.then_some(surprise), threshold);
        if !known {
            let (have, need) = (SAMPLES_MIN + self.rows, SAMPLES_MIN + ROWS_MIN);
            return Verdict::Unknown(Unknown::TooLittleData { have, need });
        }
        if !evident {
            let settling = u32::from(self.settling);
            return Verdict::Unknown(Unknown::Gap { settling });
        }
        let episode = match change {
            Change::Quiet => return Verdict::Usual { surprise },
            Change::Begins => Episode::Begins,
            Change::GoesOn => Episode::GoesOn,
        };
        Verdict::Strange(Box::new(Anomaly {
            episode,
            since: Timestamp(self.policy.since_ms().unwrap_or(at.0)),
            at,
            surprise: self.policy.mean().unwrap_or(surprise),
            threshold,
            metrics: self.evidence(at.0, values),
        }))
    }

    /// How rare it is that so many metrics are as strange as they are, each by its own measure: the mean surprise of the
    /// strongest, as if they always moved together. Nothing for a single metric, for which the joint surprise is the same.
    fn agreement(&mut self) -> f64 {
        match self.baselines.len() {
            1 => 0.0,
            _ => {
                let own = self.strongest(|it| it.surprise.min(OWN_SURPRISE_MAX));
                own.unwrap_or_default()
            }
        }
    }

    /// The strangest metrics, strangest first.
    fn evidence(&self, at_ms: i64, values: &[f64]) -> Vec<MetricEvidence> {
        let strange = self.strange.iter().enumerate();
        let mut strange: Vec<_> = strange
            .filter_map(|(index, it)| Some((index, it.as_ref()?)))
            .collect();
        strange.sort_by(|one, other| other.1.size.total_cmp(&one.1.size));
        let counted = strongest_of(strange.len()).min(EVIDENCE_MAX);
        strange
            .into_iter()
            .take(counted)
            .map(|(index, strangeness)| {
                let expectation = self.baselines[index].expects(at_ms);
                let mut features: Vec<_> = FEATURES
                    .into_iter()
                    .zip(strangeness.features)
                    .filter_map(|(feature, size)| Some((feature, size?)))
                    .collect();
                features.sort_by(|one, other| other.1.abs().total_cmp(&one.1.abs()));
                MetricEvidence {
                    metric: self.names[index].clone(),
                    observed: values[index],
                    band: [expectation.low, expectation.high],
                    expected: expectation.middle,
                    strangeness: strangeness.size,
                    features,
                }
            })
            .collect()
    }
}

/// How many of so many metrics are the strongest.
fn strongest_of(metrics: usize) -> usize {
    ((metrics as f64 * STRANGEST).ceil() as usize).max(1)
}

/// What a sample of this surprise counts for when it is learned.
fn told_share(surprise: f64, threshold: f64) -> f64 {
    if surprise > threshold {
        TOLD_SHARE
    } else {
        1.0
    }
}

/// Whether any metric has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    None,
    Some,
}
