//! When strangeness is told, and when it is over: one policy for everything.

use serde::{Deserialize, Serialize};

/// Samples whose mean surprise has to be above the threshold: one alone is often a scrape that went wrong.
const PERSISTENCE: usize = 2;
/// Samples below the lower threshold before an episode is over; what comes before that belongs to it.
const HOLD_OFF: u16 = 15;
/// The lower threshold, as a share of the one that begins an episode.
const HYSTERESIS: f64 = 0.8;
/// Samples after a gap that are no evidence: what just came back is often still starting.
pub(super) const SETTLING: u16 = 10;

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// No episode, or none any more.
    Quiet,
    /// An episode begins with this sample.
    Begins,
    /// It goes on.
    GoesOn,
}

/// The open episode, and what it would take to open one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Policy {
    recent: [Option<f64>; PERSISTENCE],
    since_ms: Option<i64>,
    left: u16,
}

impl Policy {
    /// Takes in a surprise; none where a sample is no evidence.
    pub(super) fn step(&mut self, at_ms: i64, surprise: Option<f64>, threshold: f64) -> Change {
        self.recent.rotate_left(1);
        self.recent[PERSISTENCE - 1] = surprise;
        let mean = self.mean();
        if self.since_ms.is_some() {
            // Without evidence an episode neither goes on nor ends sooner.
            let high = mean.is_some_and(|mean| mean > threshold * HYSTERESIS);
            self.left = if high {
                HOLD_OFF
            } else {
                self.left.saturating_sub(1)
            };
            if self.left > 0 {
                return Change::GoesOn;
            }
            self.since_ms = None;
            return Change::Quiet;
        }
        if mean.is_some_and(|mean| mean > threshold) {
            self.since_ms = Some(at_ms);
            self.left = HOLD_OFF;
            return Change::Begins;
        }
        Change::Quiet
    }

    /// Mean of the last surprises; none when one of them is missing.
    pub(super) fn mean(&self) -> Option<f64> {
        let sum: Option<f64> = self.recent.iter().copied().sum();
        sum.map(|sum| sum / PERSISTENCE as f64)
    }

    /// Since when an episode is open, milliseconds since 1970.
    pub(super) fn since_ms(&self) -> Option<i64> {
        self.since_ms
    }

    pub(super) fn is_sound(&self) -> bool {
        self.left <= HOLD_OFF
            && self.since_ms.is_some() == (self.left > 0)
            && self.recent.iter().flatten().all(|it| it.is_finite())
    }
}
