//! What is strange at the same time of most days: a job, a backup, a report. It is worth a look once, not a call each night.

use super::period::{DAY_MS, bucket};
use serde::{Deserialize, Serialize};

/// Twenty minutes each.
const SLOTS: usize = 72;
/// Days before today that are remembered.
const DAYS: usize = 4;
/// On so many of them something has to have been as strange: once is chance.
const OFTEN: usize = 2;
/// Surprises are kept in quarters.
const STEPS: f64 = 4.0;

/// The highest surprise of each slot of the last days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Recurrence {
    /// Days since 1970.
    today: i64,
    /// A row for today and each day before, in a ring.
    highest: Box<[u8]>,
}

impl Default for Recurrence {
    fn default() -> Self {
        Self {
            today: i64::MIN,
            highest: vec![0; (DAYS + 1) * SLOTS].into_boxed_slice(),
        }
    }
}

impl Recurrence {
    /// How surprising it usually gets at this time of the day, give or take a slot; infinite beyond what is kept.
    pub(super) fn expects(&self, at_ms: i64) -> f64 {
        let slot = bucket(at_ms, DAY_MS, SLOTS);
        let around = [slot + SLOTS - 1, slot, slot + 1].map(|slot| slot % SLOTS);
        let day = at_ms.div_euclid(DAY_MS);
        let mut before = [0; DAYS];
        for (back, highest) in (1..).zip(&mut before) {
            let of_day = day.saturating_sub(back);
            // Days that this does not reach back to, or not up to yet, have no row.
            if of_day <= self.today && self.today.saturating_sub(of_day) <= DAYS as i64 {
                let row = row(of_day);
                *highest = around
                    .map(|slot| self.highest[row + slot])
                    .into_iter()
                    .max()
                    .unwrap_or(0);
            }
        }
        before.sort_unstable();
        match before[DAYS - OFTEN] {
            u8::MAX => f64::INFINITY,
            quarters => f64::from(quarters) / STEPS,
        }
    }

    /// Takes in a surprise. After a clock that was set back by a day or more it begins anew.
    pub(super) fn learn(&mut self, at_ms: i64, surprise: f64) {
        let day = at_ms.div_euclid(DAY_MS);
        let passed = match day < self.today {
            true => DAYS as i64 + 1,
            false => day.saturating_sub(self.today).min(DAYS as i64 + 1),
        };
        for back in 0..passed {
            let row = row(day.saturating_sub(back));
            self.highest[row..row + SLOTS].fill(0);
        }
        self.today = day;
        let highest = &mut self.highest[row(day) + bucket(at_ms, DAY_MS, SLOTS)];
        let quarters = (surprise * STEPS).clamp(0.0, f64::from(u8::MAX)) as u8;
        *highest = quarters.max(*highest);
    }

    pub(super) fn is_sound(&self) -> bool {
        self.highest.len() == (DAYS + 1) * SLOTS
    }

    /// Bytes outside of this value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.highest)
    }
}

/// Where the row of a day begins.
fn row(day: i64) -> usize {
    let row = day.rem_euclid(DAYS as i64 + 1);
    usize::try_from(row).unwrap_or_default() * SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    /// A surprise at each of these hours since 1970, and what is expected at another.
    #[track_caller]
    fn check(surprises: &[(i64, f64)], asked: i64, expected: f64) {
        let mut recurrence = Recurrence::default();
        for (hour, surprise) in surprises {
            recurrence.learn(hour * HOUR_MS, *surprise);
        }
        assert_eq!(recurrence.expects(asked * HOUR_MS), expected);
    }

    #[test]
    fn what_was_once_does_not_recur() {
        check(&[(3, 9.0)], 24 + 3, 0.0);
    }

    #[test]
    fn what_was_on_two_days_recurs_as_the_lesser_of_them() {
        check(&[(3, 9.0), (27, 8.0)], 48 + 3, 8.0);
    }

    #[test]
    fn another_hour_is_another_matter() {
        check(&[(3, 9.0), (27, 8.0)], 48 + 4, 0.0);
    }

    #[test]
    fn days_are_forgotten() {
        check(&[(3, 9.0), (27, 8.0)], 24 * 6 + 3, 0.0);
        check(&[(3, 9.0), (27, 8.0), (24 * 400, 1.0)], 24 * 400 + 3, 0.0);
    }

    #[test]
    fn a_clock_that_was_wrong_for_a_while_costs_what_was_known_and_no_more() {
        check(&[(24 * 400, 9.0), (3, 9.0), (27, 8.0)], 48 + 3, 8.0);
        check(
            &[(24 * 4 + 3, 9.0), (24 * 3 + 3, 9.0), (3, 1.0)],
            24 + 3,
            0.0,
        );
    }

    #[test]
    fn today_says_nothing_of_itself() {
        check(&[(3, 9.0), (27, 8.0)], 24 + 3, 0.0);
    }

    #[test]
    fn beyond_what_is_kept_everything_recurs() {
        check(&[(3, 900.0), (27, 900.0)], 48 + 3, f64::INFINITY);
    }
}
