//! Slow leaks: memory that grows for days, and when it will be used up.
//!
//! ```text
//! sample ──> hour: median, floor ──> window of 56 hours ──> line (Theil–Sen, Kendall) ──> asked each hour:
//!            (floor: low of 3 h)     (one pod's life)       of the medians, of the floors
//!   1. is it a trend at all           tau, growth against the noise around the line
//!   2. is it steady                   both halves of the window grow; a step or a season's flank does not
//!   3. is it new for this series      faster than nine in ten of its own earlier trends, higher than ever before
//!   4. does it last                   so for some hours on end
//! ```
//!
//! Expected flow: one [`Detector`] per pod and memory metric. [`Detector::observe`] with each sample,
//! [`Detector::restarted`] when the container starts again, [`Detector::verdict`] to ask in between.
//!
//! Guarantees: a verdict depends only on samples before it. A sample that is no amount of memory (not a number,
//! infinite, negative, over [`MEMORY_MAX`]) or is not newer than the last one changes nothing. It takes at most
//! [`STATE_BYTES`], and goes on from its serde form as if it had never stopped; a form that is newer, or that no samples
//! lead to, is refused.
//!
//! What it makes of odd input: constants and noise are no leak. Hours without samples are left out; with less than
//! [`Options::least_part`] of the window there is too little data. A clock that jumps ahead leaves a gap. One
//! that goes back is waited out, and after [`OLD_SAMPLES_MAX`] older samples in a row it is taken for right: all starts
//! anew. A new life begins when all of an hour lies below half the lowest floor of the day before; a garbage collector
//! never falls below its own floor.
//!
//! Assumptions: a leak lasts longer than a day's season, and shows above what the pod held on another day, so no leak
//! is told within the first three days of a life unless a limit is near. A trend that a series had from its first hour
//! is not told from its usual growth, unless a limit is near.

mod hours;
mod options;
mod stored;
mod track;
mod trend;
mod verdict;

#[cfg(test)]
mod tests;

pub use options::Options;
pub use verdict::{Exhaustion, Leak, Sight, Verdict};

use hours::{Closed, Collector, HOUR_MS, Hour};
use regraft_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use stored::{Form, is_limit};
use track::Track;
use trend::{Trend, median};
use verdict::start_of;

/// The most that counts as an amount of memory: an exbibyte is more than any machine has.
pub const MEMORY_MAX: f64 = 1.2e18;
/// Memory of one detector in bytes at most, with all it points to. An hour more of window than the default takes 12 more.
pub const STATE_BYTES: usize = 2048;
/// Samples older than the last one in a row, after which it was the clock of the last one that was wrong.
pub const OLD_SAMPLES_MAX: u8 = 60;
/// After so many milliseconds without a sample nothing is said: two hours, as each hour is judged at its end.
const STALE_MS: i64 = 2 * HOUR_MS;
/// Hours whose median is the present level.
const PRESENT_HOURS: usize = 6;
/// Hours whose lowest floor an hour must fall below to be another life: one day, all phases of a season.
const LIFE_HOURS: usize = 24;
/// Floors of the day that must be known to tell a new life from the warming up of one.
const LIFE_HOURS_LEAST: usize = 3;
/// What part of the lowest floor an hour must fall below.
const LIFE_PART: f32 = 0.5;

/// Looks for a slow leak in one memory metric of one pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Detector {
    /// Limit of the metric, in its unit.
    limit: Option<f64>,
    collector: Collector,
    /// The window, oldest first, each hour once.
    window: VecDeque<Hour>,
    last: Option<(Timestamp, f32)>,
    old_samples: u8,
    middle: Track,
    floor: Track,
}

impl Detector {
    /// A detector that has seen nothing; with the limit of the metric in its unit, if it has one. One that is no amount of
    /// memory above 0 is none: some tell "unlimited" by a number that nothing reaches.
    pub fn new(limit: Option<f64>) -> Self {
        Self {
            limit: limit.filter(|limit| is_limit(Some(*limit))),
            collector: Collector::default(),
            window: VecDeque::new(),
            last: None,
            old_samples: 0,
            middle: Track::default(),
            floor: Track::default(),
        }
    }

    /// Takes a sample and says what is known now. What is no amount of memory, and what is not newer than the last
    /// sample, changes nothing.
    pub fn observe(&mut self, options: &Options, at: Timestamp, value: f64) -> Verdict {
        if (0.0..=MEMORY_MAX).contains(&value) && self.is_newer(at) {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "within f32, and seven figures are enough"
            )]
            let value = value as f32;
            self.last = Some((at, value));
            if let Some(closed) = self.collector.take(at, value) {
                self.close(options, closed);
            }
        }
        self.last.map_or(
            Verdict::TooLittleData {
                hours: 0,
                needed: options.least_hours(),
            },
            |(last, _)| self.verdict(options, last),
        )
    }

    /// What is known at a moment.
    pub fn verdict(&self, options: &Options, now: Timestamp) -> Verdict {
        let Some((last, observed)) = self.last else {
            return Verdict::TooLittleData {
                hours: 0,
                needed: options.least_hours(),
            };
        };
        if now.millis_since(last) > STALE_MS {
            return Verdict::Stale { last };
        }
        let hours = u32::try_from(self.window.len()).unwrap_or(u32::MAX);
        if hours < options.least_hours() {
            return Verdict::TooLittleData {
                hours,
                needed: options.least_hours(),
            };
        }
        match self.leak(f64::from(observed)) {
            Some(leak) => Verdict::Leak(leak),
            None => Verdict::Nothing,
        }
    }

    /// The container started again: a new life with a new age. What was usual in the lives before stays known.
    pub fn restarted(&mut self) {
        self.collector.restart();
        self.window.clear();
        for track in [&mut self.middle, &mut self.floor] {
            track.end_life();
        }
    }

    /// How near it is to a leak: from 1 on all that is asked of a leak holds this hour, except that it lasts.
    pub fn strength(&self) -> f64 {
        f64::from(self.middle.strength.max(self.floor.strength))
    }

    /// Whether a sample is newer than the last one; a clock that went back for good starts everything anew.
    fn is_newer(&mut self, at: Timestamp) -> bool {
        let is_newer = self.last.is_none_or(|(last, _)| at > last);
        if is_newer {
            self.old_samples = 0;
            return true;
        }
        self.old_samples = self.old_samples.saturating_add(1);
        if self.old_samples < OLD_SAMPLES_MAX {
            return false;
        }
        *self = Self::new(self.limit);
        true
    }

    /// Takes an hour that is over.
    fn close(&mut self, options: &Options, closed: Closed) {
        if self.is_another_life(&closed) {
            let (at, value) = (self.last, closed.low);
            self.restarted();
            if let Some((at, sample)) = at {
                self.collector.take(at, sample);
            }
            self.window.push_back(Hour {
                floor: value,
                ..closed.hour
            });
            return;
        }
        let hours = options.window_hours();
        // A queue that grows by itself doubles, which would be more than it may take.
        let room = (hours as usize + 1).saturating_sub(self.window.len());
        self.window.reserve_exact(room);
        self.window.push_back(closed.hour);
        let first = closed
            .hour
            .number
            .saturating_sub(i32::try_from(hours).unwrap_or(i32::MAX) - 1);
        while let Some(old) = self.window.front().filter(|old| old.number < first) {
            self.middle.leave(old.middle);
            self.floor.leave(old.floor);
            self.window.pop_front();
        }
        if self.window.len() >= options.least_hours() as usize {
            for sight in [Sight::Middle, Sight::Floor] {
                self.judge(options, sight);
            }
        } else {
            for track in [&mut self.middle, &mut self.floor] {
                track.give_up();
            }
        }
    }

    fn is_another_life(&self, closed: &Closed) -> bool {
        let floors = self.window.iter().rev().take(LIFE_HOURS);
        let lowest = floors.map(|hour| hour.floor).fold(f32::INFINITY, f32::min);
        self.window.len() >= LIFE_HOURS_LEAST && closed.high < LIFE_PART * lowest
    }

    fn judge(&mut self, options: &Options, sight: Sight) {
        let points = points(&self.window, sight);
        let Some(trend) = Trend::fit(&points) else {
            return;
        };
        let is_near = self
            .exhaustion(&trend)
            .and_then(|exhaustion| exhaustion.latest_hours)
            .is_some_and(|hours| hours <= options.near_days * 24.0);
        let (Some(first), Some(last)) = (self.window.front(), self.window.back()) else {
            return;
        };
        let (since, hour) = (start_of(first.number), last.number);
        let mut present: Vec<f64> = points
            .iter()
            .rev()
            .take(PRESENT_HOURS)
            .map(|(_, y)| *y)
            .collect();
        let present = median(&mut present);
        let track = match sight {
            Sight::Middle => &mut self.middle,
            Sight::Floor => &mut self.floor,
        };
        let strength = track.ask(options, &trend, present, is_near);
        track.conclude(options, &trend, strength, since);
        track.remember(hour, trend.slope);
    }

    fn exhaustion(&self, trend: &Trend) -> Option<Exhaustion> {
        let interval = (trend.slope_low, trend.slope_high);
        Exhaustion::new(self.limit?, trend.level, trend.slope, interval)
    }

    /// The leak, if it leaks, as it looks now.
    fn leak(&self, observed: f64) -> Option<Leak> {
        let (sight, track, since) = [(Sight::Middle, &self.middle), (Sight::Floor, &self.floor)]
            .into_iter()
            .find_map(|(sight, track)| Some((sight, track, track.since?)))?;
        let trend = match track.trend.as_deref() {
            Some(trend) => *trend,
            None => Trend::fit(&points(&self.window, sight))?,
        };
        let (first, last) = (self.window.front()?, self.window.back()?);
        Some(Leak {
            since,
            sight,
            slope: trend.slope,
            slope_interval: (trend.slope_low, trend.slope_high),
            r_squared: trend.r_squared,
            level: trend.level,
            growth: trend.rise,
            hours: last.number.abs_diff(first.number) + 1,
            times_usual: track.usual().map(|usual| trend.slope / usual),
            observed,
            exhaustion: self.exhaustion(&trend),
        })
    }
}

fn points(window: &VecDeque<Hour>, sight: Sight) -> Vec<(f64, f64)> {
    let first = window.front().map_or(0, |hour| hour.number);
    window
        .iter()
        .map(|hour| {
            let value = match sight {
                Sight::Middle => hour.middle,
                Sight::Floor => hour.floor,
            };
            (
                f64::from(hour.number.saturating_sub(first)),
                f64::from(value),
            )
        })
        .collect()
}
