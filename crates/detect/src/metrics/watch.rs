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
use super::baseline::{Band, Baseline, FEATURES, SAMPLES_MIN, Strangeness, is_number};
use super::cadence::{Arrival, Cadence};
use super::pace::Pace;
use super::prior::{Prior, merge_tails};
use super::recurrence::Recurrence;
use super::settings::{Limits, Settings};
use super::summary::{SERVICE_ENTRY, Summary};
use super::tail::Tail;
use super::verdict::{Anomaly, Episode, Grade, MetricEvidence, Restraint, Unknown, Verdict};
use crate::Error;
use regraft_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most metrics of a service: more of them make a verdict slower, hardly better.
pub const METRICS_MAX: usize = 256;
/// Longest name of a metric, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Most bytes of one metric, in memory and stored: a service's bytes divided by its metrics.
pub const BYTES_PER_METRIC_MAX: usize = 4096;
/// Rows after the first ones before their joint strangeness has a distribution.
const ROWS_MIN: u32 = 100;
/// Share of the metrics whose mean is the strangeness of the service: one alone is often noise, and a fault shows in
/// several.
const STRANGEST: f64 = 0.25;
/// What a sample counts for in the distribution when it is itself told of: it has to be learned for the threshold to
/// follow a service that changed for good, but slowly.
const TOLD_SHARE: f64 = 0.3;
/// What follows a rollout for so long is explained by it: pods start, caches fill, levels are others.
const ROLLOUT_MS: i64 = 30 * 60 * 1000;
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
    pub(super) settings: Settings,
    pub(super) names: Vec<String>,
    pub(super) baselines: Vec<Baseline>,
    pub(super) cadence: Cadence,
    /// Follows from the settings and the cadence.
    #[serde(skip)]
    pub(super) pace: Pace,
    pub(super) tail: Tail,
    rows: u32,
    settling: u16,
    policy: Policy,
    pub(super) recurrence: Recurrence,
    rolled_out_ms: Option<i64>,
    learned_ms: Option<i64>,
    /// Empty between samples.
    #[serde(skip)]
    pub(super) strange: Vec<(usize, Strangeness)>,
}

impl Watch {
    /// A watch that knows nothing, for metrics with these names.
    ///
    /// # Errors
    /// [`Error::Settings`], [`Error::Metrics`] for none or more than [`METRICS_MAX`], [`Error::Name`] for one longer than
    /// [`NAME_BYTES_MAX`], [`Error::SameName`] for one that two metrics have.
    pub fn new(settings: Settings, mut names: Vec<String>) -> Result<Self, Error> {
        if let Some(problem) = settings.problem() {
            return Err(Error::Settings(problem));
        }
        if names.is_empty() || names.len() > METRICS_MAX {
            return Err(Error::Metrics(names.len()));
        }
        if let Some(name) = names.iter().find(|name| name.len() > NAME_BYTES_MAX) {
            return Err(Error::Name(name.len()));
        }
        if let Some(name) = doubled(&names) {
            return Err(Error::SameName(name.to_owned()));
        }
        names.iter_mut().for_each(String::shrink_to_fit);
        names.shrink_to_fit();
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
            recurrence: Recurrence::default(),
            rolled_out_ms: None,
            learned_ms: None,
            strange: Vec::new(),
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
        let numbers = self.judge_each(at.0, values);
        let verdict = match self.strangeness() {
            None => self.without_strangeness(at, numbers),
            Some(size) => self.judge(at, values, size, learning),
        };
        if learning == Learning::On {
            for (baseline, value) in self.baselines.iter_mut().zip(values) {
                if is_number(*value) {
                    baseline.learn(at.0, *value, &self.pace);
                    self.learned_ms = Some(at.0);
                }
            }
        }
        self.settling = self.settling.saturating_sub(1);
        self.strange.clear();
        verdict
    }

    /// That the service's pods are being exchanged at this time: a deploy, a restart. What follows soon is no alarm; a
    /// rollout that makes things worse shows in a [comparison](super::compare) of new pods with old ones.
    pub fn rolled_out(&mut self, at: Timestamp) {
        self.rolled_out_ms = Some(at.0);
    }

    /// That nothing can be said because nothing came; none while samples come.
    #[must_use]
    pub fn stale(&self, now: Timestamp) -> Option<Unknown> {
        self.cadence.is_stale(now.0).then(|| Unknown::Stale {
            last: self.cadence.last_ms().map(Timestamp),
        })
    }

    /// What other clusters can start from, without metrics that too little is known of. It changes with what is learned
    /// only: not while learning is frozen.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let metrics = self.names.iter().zip(&self.baselines);
        Summary {
            tail: (self.rows >= ROWS_MIN)
                .then(|| self.tail.shape(self.rows))
                .flatten(),
            metrics: metrics
                .filter(|(name, _)| *name != SERVICE_ENTRY)
                .filter_map(|(name, baseline)| Some((name.clone(), baseline.shape()?)))
                .collect(),
        }
    }

    /// Time of the newest sample that was learned, and so the version of [`Self::summary`]; none before the first one. It
    /// stands still with the summary: while learning is frozen, and at samples without a number or too late to be used.
    /// After a clock that was set back it goes back too: a time that was wrong does not stay.
    #[must_use]
    pub fn learned_until(&self) -> Option<Timestamp> {
        self.learned_ms.map(Timestamp)
    }

    /// Whether [`Self::start_from`] would make use of peers now: it has a few samples of its own, and not many.
    #[must_use]
    pub fn wants_peers(&self) -> bool {
        self.baselines.iter().any(|it| it.wants().is_some())
    }

    /// Starts from what other clusters know of the same service, given in the order of their names. Every metric that wants
    /// peers takes the merged view of those that know it, once; own samples soon weigh more than that.
    pub fn start_from(&mut self, peers: &[Summary]) {
        let Some(at_ms) = self.cadence.last_ms() else {
            return;
        };
        let step_ms = self.cadence.step_ms();
        let mut started = 0;
        for (name, baseline) in self.names.iter().zip(&mut self.baselines) {
            let known = peers.iter().filter_map(|peer| peer.metrics.get(name));
            let prior = baseline.wants().and_then(|own| Prior::merge(own, known));
            if let Some(prior) = prior {
                baseline.adopt(&prior, at_ms, step_ms, &self.pace);
                started += 1;
            }
        }
        if started == 0 || self.rows > 0 {
            return;
        }
        if let Some((shares, worth)) = merge_tails(peers.iter().filter_map(|it| it.tail.as_ref())) {
            self.tail.adopt(&shares, worth);
            self.rows = ROWS_MIN.min(worth as u32);
        }
    }

    /// Where a value of a metric would be no news at this time; none while too little is known of it, or for an index
    /// beyond the names.
    #[must_use]
    pub fn band(&self, metric: usize, at: Timestamp) -> Option<Band> {
        let baseline = self.baselines.get(metric)?;
        (baseline.count() >= SAMPLES_MIN).then(|| baseline.expects(at.0))
    }

    /// Names of the metrics.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether one that was read back can be: what cannot be reached by any samples would lead to numbers that are none.
    pub(super) fn is_sound(&self) -> bool {
        let names = &self.names;
        self.settings.problem().is_none()
            && (1..=METRICS_MAX).contains(&names.len())
            && names.iter().all(|name| name.len() <= NAME_BYTES_MAX)
            && doubled(names).is_none()
            && self.baselines.len() == names.len()
            && self.baselines.iter().all(Baseline::is_sound)
            && self.learned_ms.is_some() == self.baselines.iter().any(|it| it.count() > 0)
            && self.cadence.is_sound()
            && self.tail.is_sound()
            && self.settling <= SETTLING
            && self.policy.is_sound()
            && self.recurrence.is_sound()
    }

    /// Notes how strange each metric is; tells whether any has a number.
    fn judge_each(&mut self, at_ms: i64, values: &[f64]) -> Numbers {
        self.strange.reserve_exact(self.baselines.len());
        let mut numbers = Numbers::None;
        for (index, (baseline, value)) in self.baselines.iter().zip(values).enumerate() {
            if !is_number(*value) {
                continue;
            }
            numbers = Numbers::Some;
            let strangeness = baseline.judge(at_ms, *value);
            self.strange.extend(strangeness.map(|it| (index, it)));
        }
        numbers
    }

    /// How many of the metrics are its strangest.
    fn counted(&self) -> usize {
        ((self.strange.len() as f64 * STRANGEST).ceil() as usize).max(1)
    }

    /// The mean of the strangest metrics, which are sorted for it; none when no metric says anything.
    fn strangeness(&mut self) -> Option<f64> {
        let by_size = |one: &(usize, Strangeness), other: &(usize, Strangeness)| {
            let sizes = other.1.size.total_cmp(&one.1.size);
            sizes.then(one.0.cmp(&other.0))
        };
        let counted = self.counted();
        if counted < self.strange.len() {
            self.strange.select_nth_unstable_by(counted - 1, by_size);
        }
        let strangest = self.strange.get_mut(..counted)?;
        strangest.sort_unstable_by(by_size);
        Some(strangest.iter().map(|(_, it)| it.size).sum::<f64>() / counted as f64)
    }

    fn without_strangeness(&mut self, at: Timestamp, numbers: Numbers) -> Verdict {
        self.policy.step(at.0, None, self.limits());
        let have = self.baselines.iter().map(Baseline::count).max();
        let have = have.unwrap_or_default();
        let need = SAMPLES_MIN + ROWS_MIN;
        Verdict::Unknown(match numbers {
            Numbers::None => Unknown::NoNumbers,
            Numbers::Some if have < SAMPLES_MIN => Unknown::TooLittleData { have, need },
            Numbers::Some => Unknown::NeverChanged,
        })
    }

    fn judge(&mut self, at: Timestamp, values: &[f64], size: f64, learning: Learning) -> Verdict {
        let limits = self.limits();
        let known = self.rows >= ROWS_MIN;
        let evident = known && self.settling == 0;
        let surprise = match known {
            true => self.tail.surprise(size),
            false => 0.0,
        };
        if learning == Learning::On && self.settling == 0 {
            let share = if surprise > limits.suspicion {
                TOLD_SHARE
            } else {
                1.0
            };
            self.tail.learn(size, share, &self.pace);
            self.rows = self.rows.saturating_add(1);
        }
        let restrained = self.restrained(at.0, limits);
        let was_told = self.policy.since_ms().is_some();
        let change = self
            .policy
            .step(at.0, evident.then_some(surprise), restrained.limits);
        if learning == Learning::On && evident {
            self.recurrence.learn(at.0, surprise);
        }
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
            Change::Suspicion => Episode::Begins,
            Change::Alarm if was_told => Episode::Rises,
            Change::Alarm => Episode::Begins,
            Change::GoesOn => Episode::GoesOn,
        };
        let mean = self.policy.mean().unwrap_or(surprise);
        let grade = match self.policy.is_alarm() {
            true => Grade::Alarm,
            false => Grade::Suspicion,
        };
        let would_be = grade == Grade::Suspicion && mean > limits.alarm;
        Verdict::Strange(Box::new(Anomaly {
            episode,
            grade,
            restraint: restrained.why.filter(|_| would_be),
            since: Timestamp(self.policy.since_ms().unwrap_or(at.0)),
            at,
            surprise: mean,
            threshold: limits.alarm,
            metrics: self.evidence(at.0, values),
        }))
    }

    fn limits(&self) -> Limits {
        self.settings.limits(self.pace.samples_a_month())
    }

    /// What it takes at this time, where an alarm would be a call for what everybody knows.
    fn restrained(&self, at_ms: i64, limits: Limits) -> Restrained {
        let since_rollout = self.rolled_out_ms.map(|it| at_ms.saturating_sub(it));
        if since_rollout.is_some_and(|it| (0..ROLLOUT_MS).contains(&it)) {
            return Restrained {
                limits: Limits {
                    alarm: f64::INFINITY,
                    ..limits
                },
                why: Some(Restraint::RolledOut),
            };
        }
        let usual = self.recurrence.expects(at_ms);
        let recurs = usual > limits.suspicion;
        Restrained {
            limits: Limits {
                alarm: limits.alarm + if recurs { usual } else { 0.0 },
                ..limits
            },
            why: recurs.then_some(Restraint::Recurs),
        }
    }

    /// The strangest metrics, as [`Self::strangeness`] has sorted them.
    fn evidence(&self, at_ms: i64, values: &[f64]) -> Vec<MetricEvidence> {
        let strangest = self.strange.iter().take(self.counted().min(EVIDENCE_MAX));
        strangest
            .map(|(index, strangeness)| {
                let baseline = &self.baselines[*index];
                let mut features: Vec<_> = FEATURES
                    .into_iter()
                    .zip(strangeness.features)
                    .filter_map(|(feature, size)| Some((feature, size?)))
                    .collect();
                features.sort_by(|one, other| other.1.abs().total_cmp(&one.1.abs()));
                MetricEvidence {
                    metric: self.names[*index].clone(),
                    observed: values[*index],
                    before: baseline.before(),
                    band: baseline.expects(at_ms),
                    strangeness: strangeness.size,
                    features,
                }
            })
            .collect()
    }
}

/// Limits that what is known of the time has raised, and by what.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Restrained {
    limits: Limits,
    why: Option<Restraint>,
}

/// Whether any metric has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    None,
    Some,
}

/// A name that two metrics have.
fn doubled(names: &[String]) -> Option<&str> {
    let mut known = BTreeSet::new();
    let mut names = names.iter().map(String::as_str);
    names.find(|name| !known.insert(*name))
}
