//! When strangeness is told, and when it is over: one policy for everything.

use super::settings::Limits;
use serde::{Deserialize, Serialize};

/// Samples whose mean surprise has to be above the limit: one alone, unless it is twice as surprising as it has to be, is
/// often a scrape that went wrong.
const PERSISTENCE: usize = 2;
/// Samples below the lower limit before an episode is over; what comes before that belongs to it.
const HOLD_OFF: u16 = 15;
/// The lower limit, as a share of the one that begins an episode.
const HYSTERESIS: f64 = 0.8;
/// Samples after a gap that are no evidence: what just came back is often still starting.
pub(super) const SETTLING: u16 = 10;

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// No episode, or none any more.
    Quiet,
    /// A suspicion begins with this sample.
    Suspicion,
    /// An alarm begins, or a suspicion becomes one.
    Alarm,
    /// What was told goes on.
    GoesOn,
}

/// The open episode, and what it would take to open one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Policy {
    recent: [Option<f64>; PERSISTENCE],
    since_ms: Option<i64>,
    is_alarm: bool,
    left: u16,
}

impl Policy {
    /// Takes in a surprise; none where a sample is no evidence.
    pub(super) fn step(&mut self, at_ms: i64, surprise: Option<f64>, limits: Limits) -> Change {
        self.recent.rotate_left(1);
        self.recent[PERSISTENCE - 1] = surprise;
        let exceeds = |limit: f64| self.mean().is_some_and(|mean| mean > limit);
        // Without evidence an episode neither goes on nor ends sooner.
        let goes_on = self.since_ms.is_some() && exceeds(limits.suspicion * HYSTERESIS);
        let begins = self.since_ms.is_none() && exceeds(limits.suspicion);
        let rises = !self.is_alarm && exceeds(limits.alarm);
        self.left = match goes_on || begins {
            true => HOLD_OFF,
            false => self.left.saturating_sub(1),
        };
        if self.left == 0 {
            self.since_ms = None;
            self.is_alarm = false;
            return Change::Quiet;
        }
        self.since_ms = self.since_ms.or(Some(at_ms));
        self.is_alarm |= rises;
        match (rises, begins) {
            (true, _) => Change::Alarm,
            (false, true) => Change::Suspicion,
            (false, false) => Change::GoesOn,
        }
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

    /// Whether the open episode is an alarm.
    pub(super) fn is_alarm(&self) -> bool {
        self.is_alarm
    }

    pub(super) fn is_sound(&self) -> bool {
        self.left <= HOLD_OFF
            && (!self.is_alarm || self.since_ms.is_some())
            && self.since_ms.is_some() == (self.left > 0)
            && self.recent.iter().flatten().all(|it| it.is_finite())
    }
}
