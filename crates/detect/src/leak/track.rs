//! What is remembered of one sight of memory, and whether it leaks by it.

use super::hours::{hour_of, is_amount};
use super::options::Options;
use super::trend::Trend;
use regraft_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// A trend of the past is written down every so many hours: over five days at each hour of the day once.
const SLOPE_EVERY_HOURS: i32 = 5;
/// Trends of the past that are kept for each sight: fifteen days, so that every day of the week is in it twice.
const SLOPES: usize = 72;
/// Trends of the past that there must be before one is called unusual: more than a day of them.
const SLOPES_LEAST: usize = 6;
/// Hours of this life that there must be before the window to call its end higher than ever: one day, so that its
/// season is among them. With less, the warming up of a new pod would count.
const HOURS_BEFORE_LEAST: u16 = 24;
/// The share of earlier trends that is usual.
const USUAL_SHARE: f64 = 0.9;
/// Trends written down within the last half of the window; they may be of the leak that is asked about.
const FRESH_SLOPES: usize = 6;

/// What is remembered of one sight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Track {
    /// Size of the trends of the past per hour, oldest first; the newest [`FRESH_SLOPES`] of them overlap with the window.
    pub(super) slopes: VecDeque<f32>,
    last_slope: Option<i32>,
    /// The highest hour of this life before the window.
    highest_before: f32,
    /// Hours of this life before the window.
    hours_before: u16,
    /// Hours on end that it looked like a leak; while it is one, hours on end that it did not.
    lasting: u8,
    /// Since when it leaks.
    pub(super) since: Option<Timestamp>,
    pub(super) strength: f32,
    /// The trend of the last hour while it leaks, so that it is not fitted again with every sample. It follows from
    /// the window.
    #[serde(skip)]
    pub(super) trend: Option<Box<Trend>>,
}

impl Track {
    /// Whether what was read back can be, whose newest sample is of this time.
    pub(super) fn is_sound(&self, last: Timestamp) -> bool {
        let is_size = |number: f32| number.is_finite() && number >= 0.0;
        self.slopes.len() <= SLOPES
            && self.slopes.iter().all(|it| is_size(*it))
            && is_amount(self.highest_before)
            && is_size(self.strength)
            && self.last_slope.is_none_or(|hour| hour <= hour_of(last))
            && self.since.is_none_or(|since| since <= last)
    }

    /// How far it is from a leak: the least of what was reached of each thing that is asked, 1 when all is reached.
    pub(super) fn ask(&self, options: &Options, trend: &Trend, present: f64, is_near: bool) -> f64 {
        let is_new =
            self.hours_before >= HOURS_BEFORE_LEAST && present > f64::from(self.highest_before);
        if trend.slope <= 0.0 || !(is_new || is_near) {
            return 0.0;
        }
        let reached = |what: f64, asked: f64| if what > 0.0 { what / asked } else { 0.0 };
        let unusual = match self.usual() {
            _ if is_near => 1.0,
            Some(usual) => reached(trend.slope / usual, options.times_usual),
            None => 0.0,
        };
        // A flat floor has no noise, and a constant grows by nothing.
        let growth_to_noise = (trend.rise / trend.noise).min(f64::from(f32::MAX));
        let start = (trend.level - trend.rise).abs().max(f64::MIN_POSITIVE);
        [
            reached(trend.tau, options.tau),
            reached(growth_to_noise, options.growth_to_noise),
            reached(trend.evenness, options.evenness),
            reached(trend.slope * 24.0 / start, options.growth_per_day),
            unusual,
        ]
        .into_iter()
        .fold(f64::from(f32::MAX), f64::min)
    }

    /// Begins a leak after it lasted, ends it when it is over as long.
    pub(super) fn conclude(
        &mut self,
        options: &Options,
        trend: &Trend,
        strength: f64,
        since: Timestamp,
    ) {
        #[expect(clippy::cast_possible_truncation, reason = "a ratio for a person")]
        {
            self.strength = strength as f32;
        }
        let goes_on = trend.tau > options.tau / 2.0 && trend.recent > 0.0;
        let counts = match self.since {
            None => strength >= 1.0,
            Some(_) => !goes_on,
        };
        self.lasting = if counts {
            self.lasting.saturating_add(1)
        } else {
            0
        };
        if self.lasting > 0 && u32::from(self.lasting) >= options.lasting_hours {
            self.lasting = 0;
            self.since = match self.since {
                None => Some(since),
                Some(_) => None,
            };
        }
        self.trend = self.since.map(|_| Box::new(*trend));
    }

    /// Writes a trend down. Not while it leaks: that is not what is usual.
    pub(super) fn remember(&mut self, hour: i32, slope: f64) {
        let is_due = self
            .last_slope
            .is_none_or(|last| hour.saturating_sub(last) >= SLOPE_EVERY_HOURS);
        if self.since.is_some() || !is_due {
            return;
        }
        self.last_slope = Some(hour);
        if self.slopes.len() == SLOPES {
            self.slopes.pop_front();
        }
        self.slopes.reserve_exact(SLOPES - self.slopes.len());
        #[expect(
            clippy::cast_possible_truncation,
            reason = "within f32, and seven figures are enough"
        )]
        self.slopes.push_back(slope.abs() as f32);
    }

    /// What nine in ten of the trends do not exceed that were seen before half of the window; none when there are too
    /// few.
    pub(super) fn usual(&self) -> Option<f64> {
        let known = self.slopes.len().saturating_sub(FRESH_SLOPES);
        if known < SLOPES_LEAST {
            return None;
        }
        let mut slopes: Vec<f32> = self.slopes.iter().take(known).copied().collect();
        slopes.sort_unstable_by(f32::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a short list"
        )]
        let place = (USUAL_SHARE * (known - 1) as f64) as usize;
        let below = f64::from(slopes[place]);
        let above = f64::from(slopes[(place + 1).min(known - 1)]);
        let part = USUAL_SHARE * (known - 1) as f64 - place as f64;
        Some(below + part * (above - below))
    }

    /// An hour leaves the window.
    pub(super) fn leave(&mut self, value: f32) {
        self.highest_before = self.highest_before.max(value);
        self.hours_before = self.hours_before.saturating_add(1);
    }

    /// Too little is known to go on with what was begun.
    pub(super) fn give_up(&mut self) {
        (self.lasting, self.since, self.strength) = (0, None, 0.0);
        self.trend = None;
    }

    pub(super) fn end_life(&mut self) {
        self.give_up();
        (self.highest_before, self.hours_before) = (0.0, 0);
    }
}
