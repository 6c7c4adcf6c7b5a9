//! What is normal for one metric of one service, in bounded bytes.

use super::bounds::{LEVEL_MAX, STARTED_MAX, VALUE_MAX, halved, is_size};
use super::grain::Grain;
use super::level::Level;
use super::pace::{Pace, weight};
use super::prior::{Own, Prior};
use super::scale::Scale;
use super::season::{self, Season};
use super::summary::Shape;
use serde::{Deserialize, Serialize};

/// Samples over which the two levels are taken: the last hour of a metric scraped each minute, and most of its day.
pub(super) const RECENT_SAMPLES: f64 = 60.0;
pub(super) const USUAL_SAMPLES: f64 = 1000.0;
/// Samples before a metric says anything.
pub(super) const SAMPLES_MIN: u32 = 100;
/// Own samples before a metric can be compared with its peers.
const OWN_MIN: u32 = 20;
/// Own samples before a metric is told to others.
const SHARED_MIN: u32 = 200;
/// Least share of the magnitude that the season is taken to leave: at night a service does not tell how large it is.
const SEASON_LEAVES_MIN: f64 = 0.2;
/// Share of the level below which a difference interests nobody.
const NEGLIGIBLE: f64 = 0.05;
/// Share of samples that differ from the one before, below which a metric's strangeness counts less: what hardly ever
/// changes has no scale to be measured by.
const CHANGES_OFTEN: f64 = 0.003;
/// Share of changes below which it says nothing at all.
const CHANGES_MIN: f64 = 0.000_2;
/// Units beyond which nothing is stranger: of a metric that is far from the only values it ever had.
const UNITS_MAX: f64 = 1e9;

/// What of a sample is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Feature {
    /// Its difference from the level of the last 60 samples or so.
    Recent,
    /// Its difference from the level of the last 1000 samples or so.
    Usual,
    /// Its difference from the sample before.
    Change,
    /// Its difference from what is usual at this time of the day and the week.
    Season,
}

/// All of them, in the order of [`Strangeness::features`].
pub(super) const FEATURES: [Feature; 4] = [
    Feature::Recent,
    Feature::Usual,
    Feature::Change,
    Feature::Season,
];

/// How strange a sample of a metric is, in units of what is usual for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Strangeness {
    /// Mean of the features, less for metrics that hardly ever change.
    pub(super) size: f64,
    /// Each feature's residual divided by its unit, with its sign.
    pub(super) features: [Option<f64>; FEATURES.len()],
}

/// Where a value would be no news, in the metric's unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Band {
    /// Its lower end: 99 of 100 values are between it and the upper one.
    pub low: f64,
    /// What is expected.
    pub middle: f64,
    /// Its upper end.
    pub high: f64,
}

/// Levels, season and scales of one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Baseline {
    recent: Level,
    usual: Level,
    season: Season,
    scales: [Scale; FEATURES.len()],
    before: Option<f64>,
    magnitude: f64,
    changes: f64,
    grain: Grain,
    count: u32,
}

/// Whether a value can be one of a metric.
pub(super) fn is_number(value: f64) -> bool {
    value.abs() <= VALUE_MAX
}

impl Baseline {
    /// How strange a number is; none while too little is known.
    pub(super) fn judge(&self, at_ms: i64, value: f64) -> Option<Strangeness> {
        if self.count < SAMPLES_MIN || self.changes < CHANGES_MIN {
            return None;
        }
        let floor = self.floor();
        let residuals = self.residuals(at_ms, value);
        let (mut sum, mut present) = (0.0, 0.0);
        let mut features = [None; FEATURES.len()];
        for ((feature, residual), scale) in features.iter_mut().zip(residuals).zip(&self.scales) {
            let unit = scale.unit(floor);
            if let Some(residual) = residual.filter(|_| unit > 0.0) {
                let units = (residual / unit).clamp(-UNITS_MAX, UNITS_MAX);
                sum += units.abs();
                present += 1.0;
                *feature = Some(units);
            }
        }
        let often = (self.changes / CHANGES_OFTEN).min(1.0).sqrt();
        (present > 0.0).then(|| Strangeness {
            size: sum / present * often,
            features,
        })
    }

    /// Takes in a number.
    pub(super) fn learn(&mut self, at_ms: i64, value: f64, pace: &Pace) {
        self.count = self.count.saturating_add(1);
        self.magnitude += weight(self.count, pace.day) * (value.abs() - self.magnitude);
        if let Some(before) = self.before {
            self.grain.learn((value - before).abs());
        }
        let floor = self.floor();
        for (residual, scale) in self
            .residuals(at_ms, value)
            .into_iter()
            .zip(&mut self.scales)
        {
            if let Some(residual) = residual {
                scale.learn(residual.abs(), floor, pace);
            }
        }
        self.recent.learn(value, 1.0 / RECENT_SAMPLES, floor);
        self.usual.learn(value, 1.0 / USUAL_SAMPLES, floor);
        let left = self.scales[Feature::Season as usize].spread;
        self.season.learn(at_ms, value, left, floor, pace);
        let changed = f64::from(u8::from(self.before != Some(value)));
        self.changes += weight(self.count, pace.history) * (changed - self.changes);
        self.before = Some(value);
    }

    /// The sample before the next one is not its neighbour.
    pub(super) fn interrupt(&mut self) {
        self.before = None;
    }

    /// Where a value at this time would be no news: around the season where there is one, else around the recent level.
    pub(super) fn expects(&self, at_ms: i64) -> Band {
        let (middle, feature) = match self.season.expects(at_ms) {
            Some(middle) => (middle, Feature::Season),
            None => (self.recent.centre, Feature::Recent),
        };
        let scale = &self.scales[feature as usize];
        let away = scale.high.max(self.magnitude * NEGLIGIBLE);
        Band {
            low: middle - away,
            middle,
            high: middle + away,
        }
    }

    /// Whether a season is expected at this time.
    #[cfg(test)]
    pub(super) fn has_season(&self, at_ms: i64) -> bool {
        self.season.expects(at_ms).is_some()
    }

    /// The sample before; none after a gap.
    pub(super) fn before(&self) -> Option<f64> {
        self.before
    }

    /// Samples taken in.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// What can be told to others; none while it is little, or where there is nothing to measure by.
    pub(super) fn shape(&self) -> Option<Shape> {
        if self.own() < SHARED_MIN || self.magnitude <= 0.0 || self.changes < CHANGES_MIN {
            return None;
        }
        let share = |number: f64| halved(number / self.magnitude);
        let [day, week] = self.season.shapes(self.magnitude);
        let level = self.season.level();
        let shape = Shape {
            samples: self.own(),
            log_magnitude: halved(libm::log(self.magnitude)),
            changes: halved(self.changes),
            level: share(level.centre),
            level_spread: share(level.spread),
            scales: self.scales.each_ref().map(|it| it.shape(self.magnitude)),
            day,
            week,
        };
        shape.is_sound().then_some(shape)
    }

    /// What can be compared with peers; none while it is too little, when it is enough or was compared, and beyond
    /// [`STARTED_MAX`].
    pub(super) fn wants(&self) -> Option<Own> {
        let few = OWN_MIN..SAMPLES_MIN;
        let is_comparable = self.magnitude > 0.0 && self.magnitude <= STARTED_MAX;
        let wants = few.contains(&self.count) && self.own() == self.count && is_comparable;
        wants.then(|| Own {
            magnitude: self.magnitude,
            change: self.scales[Feature::Change as usize].spread,
        })
    }

    /// Starts from what peers know, of which own samples keep their share. `at_ms` and `step_ms` say when those were.
    pub(super) fn adopt(&mut self, prior: &Prior, at_ms: i64, step_ms: u32, pace: &Pace) {
        let before = |back: i64| at_ms.saturating_sub(back * i64::from(step_ms));
        let times = (0..i64::from(self.count)).map(before);
        let added: Vec<_> = times
            .filter_map(|at_ms| season::added(prior, at_ms))
            .collect();
        let added = match added.is_empty() {
            true => 0.0,
            false => added.iter().sum::<f64>() / added.len() as f64,
        };
        if added != 0.0 {
            self.magnitude /= (prior.level + added).abs().max(SEASON_LEAVES_MIN);
        }
        let magnitude = self.magnitude;
        let season_scale = &mut self.scales[Feature::Season as usize];
        let has_season = prior.day.is_some() || prior.week.is_some();
        if has_season && season_scale.count == 0 {
            *season_scale = Scale::of(&prior.season_scale, magnitude, prior.worth);
        }
        self.season
            .adopt(prior, magnitude, added * magnitude, 1.0 / pace.day);
        let share = f64::from(prior.worth) / f64::from(prior.worth.saturating_add(self.count));
        self.changes += share * (prior.changes - self.changes);
        self.count = self.count.saturating_add(prior.worth);
    }

    /// Samples of its own, without what peers were worth.
    fn own(&self) -> u32 {
        self.recent.count
    }

    /// Differences that interest nobody.
    fn floor(&self) -> f64 {
        NEGLIGIBLE * self.magnitude + self.grain.floor(self.changes)
    }

    /// Differences from what each feature expects, in the order of [`FEATURES`].
    fn residuals(&self, at_ms: i64, value: f64) -> [Option<f64>; FEATURES.len()] {
        let from = |level: &Level| (level.count > 2).then_some(value - level.centre);
        [
            from(&self.recent),
            from(&self.usual),
            self.before.map(|before| value - before),
            self.season.expects(at_ms).map(|expected| value - expected),
        ]
    }

    pub(super) fn is_sound(&self) -> bool {
        self.recent.is_sound()
            && self.usual.is_sound()
            && self.season.is_sound()
            && self.scales.iter().all(Scale::is_sound)
            && self.grain.is_sound()
            && self.before.is_none_or(is_number)
            && is_size(self.magnitude, LEVEL_MAX)
            && is_size(self.changes, 1.0)
    }

    /// Bytes outside of this value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.season.heap_bytes()
    }
}
