//! How a detector is stored, and what one that is read has to be.

use super::hours::{Collector, Hour, is_amount};
use super::track::Track;
use super::{Detector, Options};
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
    /// All that judging relies on: a window that ends, hours in order, and amounts only. A trend is fitted to every pair of
    /// hours, so that a long window would take for ever.
    fn is_sound(&self) -> bool {
        let numbers = || self.window.iter().map(|hour| i64::from(hour.number));
        let span = self.window.back().zip(self.window.front());
        self.limit
            .is_none_or(|limit| limit.is_finite() && limit > 0.0)
            && self.last.is_none_or(|(_, value)| is_amount(value))
            && numbers().is_sorted_by(|one, next| one < next)
            && span.is_none_or(|(last, first)| {
                last.number.abs_diff(first.number) < Options::WINDOW_HOURS_MAX
            })
            && self
                .window
                .iter()
                .all(|hour| is_amount(hour.middle) && is_amount(hour.floor))
            && self.collector.is_sound()
            && self.middle.is_sound()
            && self.floor.is_sound()
    }
}
