//! Whether a series has a day or a week: whether the past one tells how the present one goes.

use serde::{Deserialize, Serialize};

use super::bits;
use super::history::{History, Space};

/// Rate of the means: three days of hours.
const RATE: f64 = 1.0 / 72.0;
/// Hours compared before anything is said: two days, after the first one that they are compared with.
const HOURS_MIN: u64 = 48;
/// A season is found below this share of the error of knowing none. Without a season the share is √2 (two independent
/// changes differ by more than one of them), and stays above 1 in random walks and autoregressions.
const FOUND: f64 = 1.0;
/// And lost above this one.
const LOST: f64 = 1.2;
/// A week is told from a day when it errs less by at least a tenth.
const WEEK_FOUND: f64 = 0.9;
/// And is lost when it errs more by a tenth.
const WEEK_LOST: f64 = 1.1;
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

/// How well the changes of a day ago and of a week ago foretold those of now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Repeats {
    /// Size of a change.
    #[serde(with = "bits::one")]
    change: f64,
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
            change: 0.0,
            day: 0.0,
            week: 0.0,
            days_compared: 0,
            weeks_compared: 0,
            found: Season::None,
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.change.is_finite() && self.day.is_finite() && self.week.is_finite()
    }

    pub(super) fn found(&self) -> Season {
        self.found
    }

    /// Compares the hour that has just ended, if one has. Ratios, so that one outburst does not outweigh days.
    pub(super) fn learn(&mut self, history: &History) {
        let slot = history.last();
        let hour = (history.day() / 24) as i64;
        if (slot + 1).rem_euclid(hour) != 0 {
            return;
        }
        let change = |back: usize| {
            let end = slot - back as i64;
            let mean = |slot| history.mean(Space::Ratio, slot, hour as usize);
            mean(end) - mean(end - CHANGE_HOURS * hour)
        };
        let reach = ((CHANGE_HOURS + 1) * hour) as usize;
        if !history.reaches(slot, history.day() + reach - 1) {
            return;
        }
        let now = change(0);
        self.days_compared = self.days_compared.saturating_add(1);
        approach(&mut self.change, now.abs(), self.days_compared);
        let day = (now - change(history.day())).abs();
        approach(&mut self.day, day, self.days_compared);
        if history.reaches(slot, history.week() + reach - 1) {
            self.weeks_compared = self.weeks_compared.saturating_add(1);
            let week = (now - change(history.week())).abs();
            approach(&mut self.week, week, self.weeks_compared);
        }
        self.judge();
    }

    fn judge(&mut self) {
        let limit = |held: bool, found: f64, lost: f64| if held { lost } else { found };
        let none = self.change * limit(self.found != Season::None, FOUND, LOST);
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
