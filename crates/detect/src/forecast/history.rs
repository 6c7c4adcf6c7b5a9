//! What the series was: a little more than a week of values, and the usual day.

use serde::{Deserialize, Serialize};

use super::{VALUE_LIMIT, bits};

/// Days of a week.
const WEEK_DAYS: usize = 7;
/// Slots kept beyond a week and four hours, for what is read around the value of a week ago.
const MARGIN: usize = 16;
/// How far a usual day moves to a new one. Days differ, and five of them are remembered.
const PROFILE_RATE: f64 = 0.2;
/// Share of the usual size of a value below which ratios are taken as differences: a rate of nearly nothing that doubles
/// is no event.
const UNIT_SHARE: f64 = 0.05;
/// How many times the furthest value of a week a next one is believed to be. Rates that grow faster within a step exist,
/// and are followed in the next ones.
const BELIEVED: f64 = 4.0;
/// Largest exponent taken back from ratios; beyond it a double ends.
const EXPONENT_MAX: f64 = 700.0;

/// How values are compared: what is added, or what is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// Differences.
    Plain,
    /// Ratios: a logarithm that is linear around zero and odd.
    Ratio,
}

/// Values by slot (time divided by the step), without holes: what was missing was filled in before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct History {
    /// Slots of a day.
    day: usize,
    /// The newest slot.
    last: i64,
    /// Slots since the beginning.
    count: u64,
    /// By slot modulo its length.
    #[serde(with = "bits::many")]
    values: Vec<f64>,
    /// Size of a value at which ratios begin to count.
    #[serde(with = "bits::one")]
    unit: f64,
    /// Usual value by time of day.
    #[serde(with = "bits::many")]
    plain: Vec<f64>,
    /// The same as ratio.
    #[serde(with = "bits::many")]
    ratio: Vec<f64>,
    /// When a value was last below zero.
    negative: Option<i64>,
}

impl History {
    /// Begins with one value.
    pub(super) fn new(day: usize, slot: i64, value: f64) -> Self {
        let mut history = Self {
            day,
            last: slot,
            count: 1,
            values: vec![value; capacity(day)],
            unit: 1.0,
            plain: vec![value; day],
            ratio: vec![0.0; day],
            negative: (value < 0.0).then_some(slot),
        };
        history.measure();
        let ratio = history.to(Space::Ratio, value);
        history.ratio.fill(ratio);
        history
    }

    /// Whether the lengths are those of a history with so many slots a day.
    pub(super) fn fits(&self, day: usize) -> bool {
        self.day == day
            && self.count > 0
            && self.values.len() == capacity(day)
            && self.plain.len() == day
            && self.ratio.len() == day
            && self.unit > 0.0
            && self.unit <= VALUE_LIMIT
            && self.negative.is_none_or(|slot| slot <= self.last)
            && [&self.values, &self.plain, &self.ratio]
                .into_iter()
                .flatten()
                .all(|value| value.abs() <= VALUE_LIMIT)
    }

    /// Slots of a day.
    pub(super) fn day(&self) -> usize {
        self.day
    }

    /// Slots of a week.
    pub(super) fn week(&self) -> usize {
        self.day * WEEK_DAYS
    }

    /// Slots of three hours: what counts as recent.
    pub(super) fn recent(&self) -> usize {
        self.day / 8
    }

    /// The newest slot.
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// Bytes it takes beyond its own size.
    pub(super) fn heap_bytes(&self) -> usize {
        (self.values.len() + self.plain.len() + self.ratio.len()) * size_of::<f64>()
    }

    /// Takes the value of the next slot.
    pub(super) fn push(&mut self, value: f64) {
        self.last += 1;
        self.count = self.count.saturating_add(1);
        let place = self.place(self.last);
        self.values[place] = value;
        if value < 0.0 {
            self.negative = Some(self.last);
        }
    }

    /// Learns the newest value as one of its time of day.
    pub(super) fn learn_day(&mut self) {
        let value = self.value(self.last);
        let time = self.time_of_day(self.last);
        let ratio = self.to(Space::Ratio, value);
        let rate = if self.reaches(self.last, self.day) {
            PROFILE_RATE
        } else {
            1.0
        };
        self.plain[time] += rate * (value - self.plain[time]);
        self.ratio[time] += rate * (ratio - self.ratio[time]);
        let first_day = !self.reaches(self.last, self.day);
        if time == 0 || (first_day && time.is_multiple_of(self.recent())) {
            self.measure();
        }
    }

    /// Whether there is a value so many slots before this one.
    pub(super) fn reaches(&self, slot: i64, back: usize) -> bool {
        slot - back as i64 >= self.oldest()
    }

    /// Value of a slot; before the beginning, the first one.
    pub(super) fn value(&self, slot: i64) -> f64 {
        self.values[self.place(slot.clamp(self.oldest(), self.last))]
    }

    /// Value of a slot in a space.
    pub(super) fn level(&self, space: Space, slot: i64) -> f64 {
        self.to(space, self.value(slot))
    }

    /// Mean over the slots that end with this one.
    pub(super) fn mean(&self, space: Space, slot: i64, slots: usize) -> f64 {
        let sum: f64 = (0..slots as i64)
            .map(|back| self.level(space, slot - back))
            .sum();
        sum / slots as f64
    }

    /// Usual value at the time of day of a slot.
    pub(super) fn usual(&self, space: Space, slot: i64) -> f64 {
        let time = self.time_of_day(slot);
        match space {
            Space::Plain => self.plain[time],
            Space::Ratio => self.ratio[time],
        }
    }

    /// Into a space.
    pub(super) fn to(&self, space: Space, value: f64) -> f64 {
        match space {
            Space::Plain => value,
            Space::Ratio => {
                let units = (value.abs() / self.unit).min(f64::MAX);
                libm::copysign(libm::log1p(units), value)
            }
        }
    }

    /// Back from a space.
    pub(super) fn back(&self, space: Space, level: f64) -> f64 {
        match space {
            Space::Plain => level,
            Space::Ratio => libm::copysign(
                libm::expm1(level.abs().min(EXPONENT_MAX)) * self.unit,
                level,
            ),
        }
    }

    /// A forecast as what it can be: no less than zero when no value of the last week was.
    pub(super) fn possible(&self, value: f64) -> f64 {
        let signed = self
            .negative
            .is_some_and(|slot| self.last.saturating_sub(slot) <= self.week() as i64);
        if signed { value } else { value.max(0.0) }
    }

    /// A value as far as it is believed at first: no further from zero than a few times the furthest of a week. A glitch
    /// costs little, and what stays is believed a few steps later. In the first hours, and after zeros alone, all is.
    pub(super) fn credible(&self, value: f64) -> f64 {
        if !self.reaches(self.last, self.recent()) {
            return value;
        }
        let largest = self
            .values
            .iter()
            .fold(0.0_f64, |most, value| most.max(value.abs()));
        if largest == 0.0 {
            return value;
        }
        value.clamp(-BELIEVED * largest, BELIEVED * largest)
    }

    /// What a missing next value is taken for: that of a day ago at the level of the last hours.
    pub(super) fn filling(&self) -> f64 {
        let (next, day, recent) = (self.last + 1, self.day as i64, self.recent());
        if !self.reaches(next, self.day + recent) {
            return self.value(self.last);
        }
        let shift = self.mean(Space::Plain, self.last, recent)
            - self.mean(Space::Plain, self.last - day, recent);
        let filling = self.value(next - day) + shift;
        self.possible(filling.clamp(-VALUE_LIMIT, VALUE_LIMIT))
    }

    /// Time of day of a slot, in slots.
    pub(super) fn time_of_day(&self, slot: i64) -> usize {
        slot.rem_euclid(self.day as i64) as usize
    }

    /// Takes the unit of ratios from the last day, and the usual day with it.
    fn measure(&mut self) {
        let slots = self.count.min(self.day as u64) as i64;
        let mut sizes: Vec<f64> = (0..slots)
            .map(|back| self.value(self.last - back).abs())
            .collect();
        sizes.sort_by(f64::total_cmp);
        let median = sizes[sizes.len() / 2];
        let mean: f64 = sizes.iter().map(|size| size / slots as f64).sum();
        let size = if median > 0.0 { median } else { mean };
        // Far below any rate, and far above where dividing by it would overflow.
        let unit = if size > f64::MIN_POSITIVE / f64::EPSILON {
            size * UNIT_SHARE
        } else {
            1.0
        };
        let usual: Vec<f64> = self
            .ratio
            .iter()
            .map(|&ratio| self.back(Space::Ratio, ratio))
            .collect();
        self.unit = unit;
        self.ratio = usual
            .into_iter()
            .map(|value| self.to(Space::Ratio, value))
            .collect();
    }

    fn oldest(&self) -> i64 {
        self.last + 1 - self.count.min(self.values.len() as u64) as i64
    }

    fn place(&self, slot: i64) -> usize {
        slot.rem_euclid(self.values.len() as i64) as usize
    }
}

/// A week, four hours for the season's test, and the margin.
fn capacity(day: usize) -> usize {
    day * WEEK_DAYS + day / 6 + MARGIN
}
