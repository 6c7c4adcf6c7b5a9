//! Samples to hours: what an hour held in the middle, and the floor that memory fell back to.

use super::MEMORY_MAX;
use regraft_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Milliseconds of an hour, the unit that everything slower is judged in.
pub(super) const HOUR_MS: i64 = 3_600_000;
/// Samples that are kept of the hour that is not over yet: one a minute. Of more, every second one is left out, then
/// every fourth, and so on.
const SAMPLES: usize = 60;
/// Hours that the floor is looked for in. A collector that cleans up at least every three hours reaches its floor.
const FLOOR_HOURS: usize = 3;
/// The share of an hour's samples that lie below its floor: one in ten may be a glitch.
const FLOOR_SHARE: usize = 10;

/// One hour that is over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Hour {
    /// Hours since 1970.
    pub(super) number: i32,
    /// Median of its samples.
    pub(super) middle: f32,
    /// Lowest low of this and the hours right before.
    pub(super) floor: f32,
}

/// An hour that was just closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    pub(super) hour: Hour,
    /// Low of this hour alone.
    pub(super) low: f32,
    /// Its highest sample.
    pub(super) high: f32,
}

/// Collects the samples of an hour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Collector {
    number: i32,
    samples: Vec<f32>,
    /// Samples seen for each that is kept; a power of two.
    stride: u32,
    seen: u32,
    /// Number and low of the last hours, the newest last.
    lows: VecDeque<(i32, f32)>,
}

impl Collector {
    /// Takes a sample; returns the hour before when it is over. Times must not fall.
    pub(super) fn take(&mut self, at: Timestamp, value: f32) -> Option<Closed> {
        let number = hour_of(at);
        let closed = (number != self.number).then(|| self.close()).flatten();
        self.number = number;
        if self.seen.is_multiple_of(self.stride.max(1)) {
            self.samples
                .reserve_exact((SAMPLES + 1).saturating_sub(self.samples.len()));
            self.samples.push(value);
        }
        self.seen = self.seen.saturating_add(1);
        if self.samples.len() > SAMPLES {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride = self.stride.max(1).saturating_mul(2);
        }
        closed
    }

    /// Forgets the floors of another life, and what was collected in it.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Whether what was read back can be, whose newest sample is of this hour: all amounts, no more of them than samples
    /// lead to, and floors of the hours before only.
    pub(super) fn is_sound(&self, hour: i32) -> bool {
        let is_collecting = self.number == hour && !self.samples.is_empty();
        let lows = self.lows.iter().map(|(_, low)| low);
        (is_collecting || *self == Self::default())
            && self.samples.len() <= SAMPLES
            && self.lows.len() <= FLOOR_HOURS
            && self.samples.iter().chain(lows).all(|it| is_amount(*it))
            && self.lows.iter().all(|(number, _)| *number < hour)
    }

    /// Whether it collects an hour after this one.
    pub(super) fn is_after(&self, hour: i32) -> bool {
        !self.samples.is_empty() && self.number > hour
    }

    /// Bytes that it points to.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.samples.capacity() * size_of::<f32>() + self.lows.capacity() * size_of::<(i32, f32)>()
    }

    fn close(&mut self) -> Option<Closed> {
        let mut samples = std::mem::take(&mut self.samples);
        (self.stride, self.seen) = (1, 0);
        samples.sort_unstable_by(f32::total_cmp);
        let (low, high) = (*samples.get(samples.len() / FLOOR_SHARE)?, *samples.last()?);
        let half = samples.len() / 2;
        let middle = match samples.len() % 2 {
            1 => samples[half],
            _ => samples[half - 1] / 2.0 + samples[half] / 2.0,
        };
        let number = self.number;
        self.lows.push_back((number, low));
        self.lows
            .retain(|(hour, _)| number.saturating_sub(*hour) < FLOOR_HOURS as i32);
        let floor = self.lows.iter().map(|(_, low)| *low).fold(low, f32::min);
        samples.clear();
        self.samples = samples;
        Some(Closed {
            hour: Hour {
                number,
                middle,
                floor,
            },
            low,
            high,
        })
    }
}

/// The hour of a time, in hours since 1970; the first or the last that is counted for those beyond.
pub(super) fn hour_of(at: Timestamp) -> i32 {
    let hour = at.0.div_euclid(HOUR_MS);
    let end = if hour < 0 { i32::MIN } else { i32::MAX };
    i32::try_from(hour).unwrap_or(end)
}

/// Whether a number can be an amount of memory.
pub(super) fn is_amount(value: f32) -> bool {
    (0.0..=MEMORY_MAX as f32).contains(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(samples: impl Iterator<Item = f32>, step_ms: i64) -> Closed {
        let mut collector = Collector::default();
        let mut at = Timestamp(0);
        for sample in samples {
            assert!(collector.take(at, sample).is_none());
            at.0 += step_ms;
        }
        assert!(collector.samples.len() <= SAMPLES);
        collector.take(Timestamp(HOUR_MS), 0.0).unwrap()
    }

    #[test]
    fn an_hour_is_its_median_and_its_floor() {
        let closed = close((0..12).map(|n| n as f32), 300_000);
        assert_eq!((closed.hour.middle, closed.hour.floor), (5.5, 1.0));
        assert_eq!(closed.high, 11.0);
    }

    #[test]
    fn an_hour_of_a_sample_a_second_takes_no_more_room_and_says_the_same() {
        let closed = close((0..3600).map(|n| n as f32), 1000);
        assert!((closed.hour.middle - 1800.0).abs() < 100.0, "{closed:?}");
        assert!((closed.hour.floor - 360.0).abs() < 100.0, "{closed:?}");
    }
}
