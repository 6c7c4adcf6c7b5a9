//! Whether a series has a day or a week: whether the past one tells how the present one goes.

use serde::{Deserialize, Serialize};
use std::fmt;

use super::bits;
use super::history::{History, Space};

/// Rate of the means: a week of hours.
const RATE: f64 = 1.0 / 168.0;
/// Hours compared before anything is said: two days, after the first one that they are compared with.
const HOURS_MIN: u64 = 48;
/// A season is found when the change of a day ago errs by less than this share of what the changes around it do. Without
/// a season the share is 1; in simulated noise, autoregressions and random walks it was below .7 one hour in two hundred.
const FOUND: f64 = 0.7;
/// And lost above this one.
const LOST: f64 = 0.85;
/// A week is told from a day when it errs less by at least a fifth.
const WEEK_FOUND: f64 = 0.8;
/// And is lost when it hardly does.
const WEEK_LOST: f64 = 0.95;
/// Hours ago of the changes that a day ago is held against: as far from it on both sides, so that a trend makes no
/// difference, and neither whole nor half days.
const OTHER_HOURS: [i64; 2] = [17, 31];
/// Hours of a day.
const DAY_HOURS: i64 = 24;
/// Hours over which a change is taken.
const CHANGE_HOURS: i64 = 3;

/// What repeats in a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Season {
    /// Nothing that was found.
    None,
    /// Days are alike.
    Day,
    /// The same days of the week are alike, more than days are.
    Week,
}

impl fmt::Display for Season {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "nothing repeats",
            Self::Day => "days repeat",
            Self::Week => "weeks repeat",
        })
    }
}

/// How well the changes of a day ago and of a week ago foretold those of now.
///
/// Limits: a season weaker than the noise of an hour's mean is not found, and growth from nothing without any noise
/// bends so that it passes for one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Repeats {
    /// Difference of a change from those of other hours.
    #[serde(with = "bits::one")]
    other: f64,
    /// Its difference from that of a day ago.
    #[serde(with = "bits::one")]
    day: f64,
    /// Its difference from that of a week ago.
    #[serde(with = "bits::one")]
    week: f64,
    days_compared: u64,
    weeks_compared: u64,
    found: Season,
}

impl Repeats {
    pub(super) fn new() -> Self {
        Self {
            other: 0.0,
            day: 0.0,
            week: 0.0,
            days_compared: 0,
            weeks_compared: 0,
            found: Season::None,
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        [self.other, self.day, self.week]
            .into_iter()
            .all(|mean| (0.0..=f64::MAX).contains(&mean))
    }

    pub(super) fn found(&self) -> Season {
        self.found
    }

    /// Compares the hour that has just ended, if one has. Ratios, so that one outburst does not outweigh days.
    pub(super) fn learn(&mut self, history: &History) {
        let slot = history.last();
        let hour = history.day() as i64 / DAY_HOURS;
        if (slot + 1).rem_euclid(hour) != 0 {
            return;
        }
        let change = |hours_ago: i64| {
            let end = slot - hours_ago * hour;
            let mean = |slot| history.mean(Space::Ratio, slot, hour as usize);
            mean(end) - mean(end - CHANGE_HOURS * hour)
        };
        let reach = ((CHANGE_HOURS + 1) * hour) as usize - 1;
        if !history.reaches(slot, (OTHER_HOURS[1] * hour) as usize + reach) {
            return;
        }
        let now = change(0);
        let differs = |hours_ago: i64| (now - change(hours_ago)).abs();
        self.days_compared = self.days_compared.saturating_add(1);
        let other = (differs(OTHER_HOURS[0]) + differs(OTHER_HOURS[1])) / 2.0;
        approach(&mut self.other, other, self.days_compared);
        approach(&mut self.day, differs(DAY_HOURS), self.days_compared);
        if history.reaches(slot, history.week() + reach) {
            self.weeks_compared = self.weeks_compared.saturating_add(1);
            approach(&mut self.week, differs(7 * DAY_HOURS), self.weeks_compared);
        }
        self.judge();
    }

    fn judge(&mut self) {
        let limit = |held: bool, found: f64, lost: f64| if held { lost } else { found };
        let none = self.other * limit(self.found != Season::None, FOUND, LOST);
        let day = self.day * limit(self.found == Season::Week, WEEK_FOUND, WEEK_LOST);
        let is_day = self.days_compared >= HOURS_MIN && self.day < none;
        let is_week = self.weeks_compared >= HOURS_MIN && self.week < none && self.week < day;
        self.found = match (is_week, is_day) {
            (true, _) => Season::Week,
            (false, true) => Season::Day,
            (false, false) => Season::None,
        };
    }
}

/// Moves a mean: the plain one until it has seen enough, a fading one from then on.
fn approach(mean: &mut f64, value: f64, seen: u64) {
    *mean += (value - *mean) * RATE.max(1.0 / seen as f64);
}
