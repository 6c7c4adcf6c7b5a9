//! How a detector is stored, and what one that is read has to be: one that samples could have led to. Another one could
//! grow without bound, or tell a leak from nothing.

use super::hours::{Collector, Hour, hour_of, is_amount};
use super::track::Track;
use super::{Detector, MEMORY_MAX, OLD_SAMPLES_MAX, Options};
use crate::{Error, Stored};
use regraft_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Version of what is written. A newer one is refused.
const FORMAT: u32 = 1;

/// The stored form.
#[derive(Serialize, Deserialize)]
pub(super) struct Form {
    format: u32,
    limit: Option<f64>,
    collector: Collector,
    window: VecDeque<Hour>,
    last: Option<(Timestamp, f32)>,
    old_samples: u8,
    middle: Track,
    floor: Track,
}

impl From<Detector> for Form {
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

impl TryFrom<Form> for Detector {
    type Error = Error;

    fn try_from(form: Form) -> Result<Self, Error> {
        Stored::LeakDetector.check_format(form.format, FORMAT)?;
        if !form.is_sound() {
            return Err(Stored::LeakDetector.broken("no samples lead to its numbers"));
        }
        Ok(Self {
            limit: form.limit,
            collector: form.collector,
            window: form.window,
            last: form.last,
            old_samples: form.old_samples,
            middle: form.middle,
            floor: form.floor,
        })
    }
}

impl Form {
    /// All that judging relies on, as samples lead to it: a window that ends, hours in order, amounts only, and nothing
    /// that is newer than the newest sample. A trend is fitted to every pair of hours, so that a long window would take for
    /// ever.
    fn is_sound(&self) -> bool {
        let is_sound = match self.last {
            Some((at, value)) => is_amount(value) && self.is_sound_at(at),
            None => self.is_empty(),
        };
        is_sound && is_limit(self.limit) && self.old_samples < OLD_SAMPLES_MAX
    }

    /// Whether it is the form of a detector that has seen nothing.
    fn is_empty(&self) -> bool {
        let is_new = |track: &Track| *track == Track::default();
        self.old_samples == 0
            && self.collector == Collector::default()
            && self.window.is_empty()
            && is_new(&self.middle)
            && is_new(&self.floor)
    }

    fn is_sound_at(&self, at: Timestamp) -> bool {
        self.collector.is_sound(hour_of(at))
            && self.is_window_sound()
            && self.middle.is_sound(at)
            && self.floor.is_sound(at)
    }

    /// Hours one after the other, all before the one that is collected, none older than a window.
    fn is_window_sound(&self) -> bool {
        let (Some(first), Some(last)) = (self.window.front(), self.window.back()) else {
            return true;
        };
        let mut hours = self.window.iter();
        let numbers = self.window.iter().map(|hour| hour.number);
        numbers.is_sorted_by(|one, next| one < next)
            && last.number.abs_diff(first.number) < Options::WINDOW_HOURS_MAX
            && self.collector.is_after(last.number)
            && hours.all(|hour| is_amount(hour.middle) && is_amount(hour.floor))
    }
}

/// A limit that memory can have, or none; above what is memory at all there is none.
pub(super) fn is_limit(limit: Option<f64>) -> bool {
    limit.is_none_or(|limit| limit > 0.0 && limit <= MEMORY_MAX)
}
