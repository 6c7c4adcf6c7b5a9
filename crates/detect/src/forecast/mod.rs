//! What a series will be: the next hour and the next week, with bands that hold what they promise.
//!
//! ```text
//! (time, value) ── observe ──> History (a week, the usual day) ──┬─> Near: each of 12 steps, two regressions
//!                                                               └─> Far: hours to a week, level and season
//!      several simple forecasts ── Blend: weighted median, by who erred least of late ──> point
//!      errors of the past       ── Blend: a scale, and bounds in scales that follow coverage ──> bounds
//! ```
//!
//! Expected flow: one [`Forecaster`] a series, [`Forecaster::observe`] for each sample in order,
//! [`Forecaster::forecast`] whenever one is wanted. Nothing is tuned by hand.
//!
//! Guarantees: a forecast uses nothing after its origin. Memory is bounded ([`Forecaster::bytes`]). The same samples
//! give the same bits on every platform, also when it was stored and loaded in between. No input panics: see
//! [`Observed`]. A season is found, never assumed ([`Season`]). What was not yet checked against what came true is not
//! told ([`Withheld`]).
//!
//! Assumptions: one sample a step; finer ones are averaged before. Days are those of UTC; a clock that is changed twice
//! a year shifts a day's pattern by an hour, and a few days later it is learned.

mod answer;
mod bits;
mod blend;
mod far;
mod hint;
mod history;
mod near;
mod regression;
mod season;
mod waiting;

#[cfg(test)]
mod tests;

pub use answer::{Ahead, Forecast, LEVELS, Observed, Withheld};
pub use hint::{HINT_REPLICAS_MAX, ScaleHint, scale_hint};
pub use season::Season;

use crate::{Error, Stored};
use far::Far;
use history::History;
use near::{NEAR_STEPS, Near};
use regraft_model::Timestamp;
use season::Repeats;
use serde::{Deserialize, Serialize};

/// Shortest step, in seconds. A week of it is what takes most memory; finer samples say little about the next hour.
pub const STEP_MIN_S: u32 = 300;
/// Longest step, in seconds: a day must have hours.
pub const STEP_MAX_S: u32 = 3_600;
/// Values as large are no rates, and their squares would soon be infinite.
pub const VALUE_LIMIT: f64 = 1e100;
/// A forecast is withheld when the newest sample is older than so many steps.
pub const STALE_STEPS: i64 = 3;
/// Misplaced samples in a row after which it is the known ones that are taken to be misplaced: one wrong clock, once, must
/// not cost what was learned.
const MISPLACED_MAX: u32 = 36;
/// Real samples wanted after a gap longer than these steps.
const AFTER_GAP: usize = 12;
const DAY_S: u32 = 86_400;
/// What the stored form is; a newer one is refused.
const FORMAT: u32 = 1;

/// Forecasts one series. Takes about 60 KiB at a step of five minutes, less at longer ones: see
/// [`Forecaster::bytes`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Forecaster {
    step_s: u32,
    learned: Option<Learned>,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct Form {
    format: u32,
    step_s: u32,
    learned: Option<Learned>,
}

/// What is known since the first sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Learned {
    /// Time of the newest sample.
    last: Timestamp,
    /// Samples in a row that were misplaced.
    misplaced: u32,
    /// Samples since the last gap.
    since_gap: usize,
    /// Whether that gap was long enough to wait after it.
    waits: bool,
    history: History,
    repeats: Repeats,
    near: Near,
    far: Far,
}

impl Forecaster {
    /// A forecaster that knows nothing yet.
    ///
    /// # Errors
    /// [`Error::Step`] for a step that is not between [`STEP_MIN_S`] and [`STEP_MAX_S`], or no part of an hour.
    pub fn new(step_s: u32) -> Result<Self, Error> {
        let hour_s = STEP_MAX_S;
        if !(STEP_MIN_S..=STEP_MAX_S).contains(&step_s) || !hour_s.is_multiple_of(step_s) {
            return Err(Error::Step(step_s));
        }
        Ok(Self {
            step_s,
            learned: None,
        })
    }

    /// Takes a sample: a time, and the value of the step that it lies in.
    pub fn observe(&mut self, at: Timestamp, value: f64) -> Observed {
        if value.is_nan() || value.abs() > VALUE_LIMIT {
            return Observed::Unusable;
        }
        let slot = self.slot(at);
        let day = (DAY_S / self.step_s) as usize;
        let Some(learned) = &mut self.learned else {
            self.learned = Some(Learned::new(day, at, slot, value));
            return Observed::Began;
        };
        let missing = slot - learned.history.last() - 1;
        if missing == -1 {
            return Observed::Repeated;
        }
        if missing < 0 || missing > learned.history.week() as i64 {
            learned.misplaced = learned.misplaced.saturating_add(1);
            if learned.misplaced < MISPLACED_MAX {
                return Observed::Misplaced;
            }
            *learned = Learned::new(day, at, slot, value);
            return Observed::Began;
        }
        learned.misplaced = 0;
        learned.last = at;
        learned.take(missing as usize, value);
        match missing {
            0 => Observed::Learned,
            missing => Observed::AfterGap(missing as usize),
        }
    }

    /// What comes in the next steps after the newest sample, a week at most; asked for at a time that is now.
    ///
    /// # Errors
    /// When too little is known to tell all of these steps; nothing is told then.
    pub fn forecast(&self, now: Timestamp, steps: usize) -> Result<Forecast, Withheld> {
        let Some(learned) = &self.learned else {
            return Err(Withheld::TooLittle { ready: 0 });
        };
        let (step_ms, last) = (self.step_ms(), learned.last);
        if now.millis_since(last) > STALE_STEPS * step_ms {
            return Err(Withheld::Stale { last });
        }
        if learned.waits && learned.since_gap < AFTER_GAP {
            let missing = AFTER_GAP - learned.since_gap;
            return Err(Withheld::Gap { missing });
        }
        let ready = learned.ready();
        let too_little = Withheld::TooLittle { ready };
        if steps > ready {
            return Err(too_little);
        }
        let told = learned.ahead(steps).ok_or(too_little)?;
        let at = |ahead: i64| Timestamp(last.0.saturating_add(ahead * step_ms));
        Ok(Forecast {
            origin: last,
            step_s: self.step_s,
            season: self.season(),
            steps: (1..)
                .zip(told)
                .map(|(ahead, (point, bounds))| Ahead {
                    at: at(ahead),
                    point,
                    bounds,
                })
                .collect(),
        })
    }

    /// What repeats in the series, as far as was found. It takes three days to find a day, and nine to find a week.
    #[must_use]
    pub fn season(&self) -> Season {
        self.learned
            .as_ref()
            .map_or(Season::None, |learned| learned.repeats.found())
    }

    /// Bytes of memory it takes, all of them. It does not grow after the first sample.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let learned = self.learned.as_ref().map_or(0, Learned::heap_bytes);
        size_of::<Self>() + learned
    }

    fn step_ms(&self) -> i64 {
        i64::from(self.step_s) * 1000
    }

    /// The step that a time lies in, counted from 1970.
    fn slot(&self, at: Timestamp) -> i64 {
        at.0.div_euclid(self.step_ms())
    }
}

impl Learned {
    fn new(day: usize, at: Timestamp, slot: i64, value: f64) -> Self {
        Self {
            last: at,
            misplaced: 0,
            since_gap: 1,
            waits: false,
            history: History::new(day, slot, value),
            repeats: Repeats::new(),
            near: Near::new(day),
            far: Far::new(day),
        }
    }

    fn fits(&self, day: usize) -> bool {
        self.history.fits(day)
            && self.near.fits(day)
            && self.far.fits(day)
            && self.repeats.is_sound()
    }

    fn heap_bytes(&self) -> usize {
        self.history.heap_bytes() + self.near.heap_bytes() + self.far.heap_bytes()
    }

    /// Takes the next sample, after filling in what is missing before it. Nothing is learned from what was filled in.
    fn take(&mut self, missing: usize, value: f64) {
        for _ in 0..missing {
            let filling = self.history.filling();
            self.history.push(filling);
        }
        if missing > 0 {
            self.since_gap = 0;
            self.waits = missing > AFTER_GAP;
        }
        self.since_gap = self.since_gap.saturating_add(1);
        self.history.push(self.history.credible(value));
        self.near.learn(&self.history);
        self.far.learn(&self.history);
        self.history.learn_day();
        self.repeats.learn(&self.history);
        self.near.tell(&self.history);
        self.far
            .tell(&self.history, self.repeats.found(), &self.near);
    }

    /// Steps ahead that can be told.
    fn ready(&self) -> usize {
        match self.near.ready() {
            NEAR_STEPS => self.far.ready().max(NEAR_STEPS),
            fewer => fewer,
        }
    }

    /// Point and bounds of the next steps.
    fn ahead(&self, steps: usize) -> Option<Vec<(f64, [f64; LEVELS.len()])>> {
        let view = Far::view(&self.history, self.repeats.found(), &self.near);
        (1..=steps)
            .map(|ahead| {
                let (point, bounds) = if ahead <= NEAR_STEPS {
                    self.near.ahead(&self.history, ahead)?
                } else {
                    self.far.ahead(&view, &self.near, ahead)?
                };
                let bounds = bounds.map(|bound| self.history.possible(bound));
                Some((point, bounds))
            })
            .collect()
    }
}

impl From<Forecaster> for Form {
    fn from(forecaster: Forecaster) -> Self {
        Self {
            format: FORMAT,
            step_s: forecaster.step_s,
            learned: forecaster.learned,
        }
    }
}

impl TryFrom<Form> for Forecaster {
    type Error = Error;

    fn try_from(stored: Form) -> Result<Self, Error> {
        Stored::Forecaster.check_format(stored.format, FORMAT)?;
        let mut forecaster = Self::new(stored.step_s)?;
        let day = (DAY_S / stored.step_s) as usize;
        if stored.learned.as_ref().is_some_and(|learned| {
            forecaster.slot(learned.last) != learned.history.last() || !learned.fits(day)
        }) {
            return Err(Stored::Forecaster.broken("no samples lead to its numbers"));
        }
        forecaster.learned = stored.learned;
        Ok(forecaster)
    }
}
