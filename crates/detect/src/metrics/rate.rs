//! Counters as rates: only rates have a level that can be normal.
//!
//! | sample | rate |
//! |---|---|
//! | the first | none |
//! | above or at the one before | difference by time |
//! | below the one before: the counter began anew | none, and the next is compared with this one |
//! | not a finite number, or below 0 | none, as if it had not come |
//! | doubled or late | none, as if it had not come |
//! | late for the tenth time in a row: the clock was set back | none, and the next is compared with this one |
//! | more than [`Rate::GAP_MS`] after the one before | none: a mean over a gap is no sample |

use super::cadence::LATE_MAX;
use regraft_model::Timestamp;
use serde::{Deserialize, Serialize};

/// Turns a counter that only rises into how fast it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    last: Option<(Timestamp, f64)>,
    late: u8,
}

impl Rate {
    /// Longest time between two samples that make a rate, milliseconds: as long as Prometheus looks back for a sample.
    pub const GAP_MS: i64 = 300_000;

    /// Units a second since the sample before; none where the table above says so.
    pub fn per_second(&mut self, at: Timestamp, total: f64) -> Option<f64> {
        if !total.is_finite() || total < 0.0 {
            return None;
        }
        let Some((last_at, last)) = self.last else {
            self.last = Some((at, total));
            return None;
        };
        let passed_ms = at.millis_since(last_at);
        if passed_ms == 0 {
            self.late = self.late.saturating_add(1);
            if self.late >= LATE_MAX {
                *self = Self::default();
                self.last = Some((at, total));
            }
            return None;
        }
        self.late = 0;
        self.last = Some((at, total));
        let fits = total >= last && passed_ms <= Self::GAP_MS;
        // Divided first: the difference of two large totals is finite, a thousand times it may not be.
        fits.then(|| (total - last) / (passed_ms as f64 / 1000.0))
            .filter(|rate| rate.is_finite())
    }
}
