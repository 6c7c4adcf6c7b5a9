//! How a detector is stored, and what one that is read has to be: one that samples could have led to. Another one could
//! grow without bound, or tell a leak from nothing.

use super::hours::{Collector, Hour, hour_of, is_amount};
use super::{Detector, MEMORY_MAX, OLD_SAMPLES_MAX, Options, SLOPES, Track};
use regraft_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What the stored form is; another one is refused.
const FORMAT: u32 = 1;

/// Why a stored detector is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is of another version.
    #[error("stored in format {0}; this version reads format {FORMAT}")]
    Format(u32),
    /// It was changed.
    #[error("the stored detector is damaged")]
    Damaged,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    format: u32,
    limit: Option<f64>,
    collector: Collector,
    window: VecDeque<Hour>,
    last: Option<(Timestamp, f32)>,
    old_samples: u8,
    middle: Track,
    floor: Track,
}

impl From<Detector> for Stored {
    fn from(detector: Detector) -> Self {
        Self {
            format: FORMAT,
            limit: detector.limit,
            collector: detector.collector,
            window: detector.window,
            last: detector.last,
            old_samples: detector.old_samples,
            middle: detector.middle,
            floor: detector.floor,
        }
    }
}

impl TryFrom<Stored> for Detector {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self, Error> {
        if stored.format != FORMAT {
            return Err(Error::Format(stored.format));
        }
        let detector = Self {
            limit: stored.limit,
            collector: stored.collector,
            window: stored.window,
            last: stored.last,
            old_samples: stored.old_samples,
            middle: stored.middle,
            floor: stored.floor,
        };
        match detector.is_sound() {
            true => Ok(detector),
            false => Err(Error::Damaged),
        }
    }
}

impl Detector {
    fn is_sound(&self) -> bool {
        let Some((at, value)) = self.last else {
            return *self == Self::new(self.limit) && is_limit(self.limit);
        };
        let hour = hour_of(at);
        is_limit(self.limit)
            && is_amount(value)
            && self.old_samples < OLD_SAMPLES_MAX
            && self.collector.is_sound(hour)
            && self.is_window_sound()
            && self.middle.is_sound(at)
            && self.floor.is_sound(at)
    }

    /// Hours one after the other, all before the one that is collected, none older than a window.
    fn is_window_sound(&self) -> bool {
        let (Some(first), Some(last)) = (self.window.front(), self.window.back()) else {
            return true;
        };
        let hours = self.window.iter();
        hours
            .zip(self.window.iter().skip(1))
            .all(|(one, next)| one.number < next.number)
            && self.collector.is_after(last.number)
            && last.number.abs_diff(first.number) < Options::WINDOW_HOURS_MAX
            && self
                .window
                .iter()
                .all(|hour| is_amount(hour.middle) && is_amount(hour.floor))
    }
}

impl Track {
    fn is_sound(&self, last: Timestamp) -> bool {
        let is_size = |size: f32| (0.0..=f32::MAX).contains(&size);
        self.slopes.len() <= SLOPES
            && self.slopes.iter().all(|slope| is_size(*slope))
            && self.last_slope.is_none_or(|hour| hour <= hour_of(last))
            && is_amount(self.highest_before)
            && self.since.is_none_or(|since| since <= last)
            && is_size(self.strength)
    }
}

/// A limit that memory can have; above what is memory at all there is none.
pub(super) fn is_limit(limit: Option<f64>) -> bool {
    limit.is_none_or(|limit| limit > 0.0 && limit <= MEMORY_MAX)
}
