//! What a forecaster is told and answers.

use super::Season;
use crate::metrics::figure;
use regraft_model::Timestamp;
use std::fmt;

/// Levels whose bounds are watched. Those between are interpolated.
pub const LEVELS: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// It was learned from.
    Learned,
    /// It was learned from, and so many steps before it were missing and were filled in.
    AfterGap(usize),
    /// It is no number, infinite, or too large for one: as if it had not come.
    Unusable,
    /// Its step has a value already: the first one stands.
    Repeated,
    /// It is older than the newest, or more than a week newer: it is left out. Many such in a row begin the series anew.
    Misplaced,
    /// It began the series, or began it anew after the clock went back or more than a week was missing.
    Began,
}

/// Why there is no forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// So far only this many steps ahead can be told; further forecasts have not yet been checked often enough.
    TooLittle {
        /// Steps ahead that can be told.
        ready: usize,
    },
    /// No sample came for too long.
    Stale {
        /// Time of the newest one.
        last: Timestamp,
    },
    /// Too few samples have come since a gap: so many more are needed.
    Gap {
        /// Samples to come.
        missing: usize,
    },
}

/// What comes, step by step.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Time of the newest sample it knows.
    pub origin: Timestamp,
    /// Seconds between two steps.
    pub step_s: u32,
    /// What repeats in the series, as far as was found.
    pub season: Season,
    /// One for each step, the next first.
    pub steps: Vec<Ahead>,
}

/// What is expected at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ahead {
    /// When.
    pub at: Timestamp,
    /// The value that is passed as often as not: what errs least in absolute terms.
    pub point: f64,
    /// The value that a share of [`LEVELS`] stays below, in the unit of the series, never falling.
    pub bounds: [f64; LEVELS.len()],
}

impl Ahead {
    /// The value that this share (0 to 1) of outcomes stays below; beyond the outermost [`LEVELS`] theirs, as no more is
    /// known. NaN is taken for one half.
    #[must_use]
    pub fn quantile(&self, level: f64) -> f64 {
        let level = if level.is_nan() { 0.5 } else { level };
        let above = LEVELS.partition_point(|&known| known < level);
        match above {
            0 => self.bounds[0],
            above if above == LEVELS.len() => self.bounds[above - 1],
            above => {
                let (low, high) = (LEVELS[above - 1], LEVELS[above]);
                let share = (level - low) / (high - low);
                self.bounds[above - 1] * (1.0 - share) + self.bounds[above] * share
            }
        }
    }
}

impl fmt::Display for Forecast {
    /// The next step, the one with the highest point, and the last one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} steps of {} s from {}; {}",
            self.steps.len(),
            self.step_s,
            self.origin,
            self.season
        )?;
        let highest = |one: &&Ahead, other: &&Ahead| one.point.total_cmp(&other.point);
        // Of equal ones the first.
        let highest = self.steps.iter().rev().max_by(highest);
        let named = [
            ("next", self.steps.first()),
            ("highest", highest),
            ("last", self.steps.last()),
        ];
        for (name, ahead) in named {
            if let Some(ahead) = ahead {
                write!(f, "\n  {name}: {ahead}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = [0.1, 0.9].map(|level| figure(self.quantile(level)));
        let point = figure(self.point);
        write!(f, "{point} at {} ({low} to {high} in 8 of 10)", self.at)
    }
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLittle { ready } => {
                write!(f, "too little data: {ready} steps ahead can be told so far")
            }
            Self::Stale { last } => write!(f, "stale: no sample since {last}"),
            Self::Gap { missing } => {
                write!(
                    f,
                    "samples came back after a gap; {missing} more are needed"
                )
            }
        }
    }
}
