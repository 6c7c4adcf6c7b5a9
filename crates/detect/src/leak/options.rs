//! What counts as a leak.

use serde::{Deserialize, Serialize};

/// Fewest hours that have a line, and a line in each half.
const HOURS_MIN: u32 = 4;

/// What counts as a leak. The defaults hold for all series; each may be moved by 30 % without much changing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Hours that a trend is looked for in, at most [`Options::WINDOW_HOURS_MAX`]. Two days and a third: each half is
    /// longer than a day, so no half is one flank of a daily season.
    pub window_hours: u32,
    /// The part of them that must hold samples.
    pub least_part: f64,
    /// Kendall's tau at least. .4 of so many independent hours happens once in a hundred thousand times by chance.
    pub tau: f64,
    /// Growth over the window, at least so many times the noise around the line.
    pub growth_to_noise: f64,
    /// Each half grows at least at this part of the pace of the whole.
    pub evenness: f64,
    /// So many times faster than nine in ten of the earlier trends of the series.
    pub times_usual: f64,
    /// Growth a day as a part of the level: below it doubling takes more than three months, longer than pods live.
    pub growth_per_day: f64,
    /// Hours on end that all of it holds.
    pub lasting_hours: u32,
    /// If growth would reach the limit within so many days, it need be neither unusual nor higher than ever.
    pub near_days: f64,
}

impl Options {
    /// The longest window: a week.
    pub const WINDOW_HOURS_MAX: u32 = 168;

    /// Hours of the window that are really looked at.
    pub(super) fn window_hours(&self) -> u32 {
        self.window_hours.clamp(HOURS_MIN, Self::WINDOW_HOURS_MAX)
    }

    /// Hours of it that must hold samples.
    pub(super) fn least_hours(&self) -> u32 {
        let hours = self.least_part.clamp(0.0, 1.0) * f64::from(self.window_hours());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of at most a week"
        )]
        let hours = libm::ceil(hours) as u32;
        hours.max(HOURS_MIN)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window_hours: 56,
            least_part: 0.75,
            tau: 0.4,
            growth_to_noise: 2.5,
            evenness: 0.7,
            times_usual: 1.4,
            growth_per_day: 0.01,
            lasting_hours: 4,
            near_days: 3.0,
        }
    }
}
