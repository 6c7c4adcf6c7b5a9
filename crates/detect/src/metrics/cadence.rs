//! How often samples come, and which of them can be judged.

use serde::{Deserialize, Serialize};

/// Distances between samples that are remembered; the step is their median, so that it follows a new scrape interval
/// after half as many samples.
const REMEMBERED: usize = 9;
/// Distances before a gap can be told from the usual step.
const KNOWN_MIN: u8 = 3;
/// A distance of more steps than this is a gap: two missed scrapes happen, three are an outage of the source.
const GAP_STEPS: i64 = 3;
/// So many samples in a row that are older than the newest one mean that the clock was set back.
pub(super) const LATE_MAX: u8 = 10;
/// Step before anything is known, milliseconds: Prometheus scrapes once a minute by default.
const STEP_MS: u32 = 60_000;

/// What a sample's time says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next one.
    Next,
    /// The first one, or the first after a gap or a clock that was set back.
    AfterGap,
    /// Doubled or out of order: not to be used.
    Late,
}

/// Times of samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cadence {
    last_ms: Option<i64>,
    step_ms: u32,
    recent_ms: [u32; REMEMBERED],
    known: u8,
    late: u8,
}

impl Default for Cadence {
    fn default() -> Self {
        Self {
            last_ms: None,
            step_ms: STEP_MS,
            recent_ms: [0; REMEMBERED],
            known: 0,
            late: 0,
        }
    }
}

impl Cadence {
    /// Takes note of a sample's time.
    pub(crate) fn arrive(&mut self, at_ms: i64) -> Arrival {
        let Some(last_ms) = self.last_ms else {
            self.last_ms = Some(at_ms);
            return Arrival::AfterGap;
        };
        let distance_ms = at_ms.saturating_sub(last_ms);
        if distance_ms <= 0 {
            self.late = self.late.saturating_add(1);
            if self.late < LATE_MAX {
                return Arrival::Late;
            }
            self.late = 0;
            self.last_ms = Some(at_ms);
            return Arrival::AfterGap;
        }
        self.late = 0;
        self.last_ms = Some(at_ms);
        let gap = self.known >= KNOWN_MIN && distance_ms > GAP_STEPS * i64::from(self.step_ms);
        self.remember(u32::try_from(distance_ms).unwrap_or(u32::MAX));
        match gap {
            true => Arrival::AfterGap,
            false => Arrival::Next,
        }
    }

    fn remember(&mut self, distance_ms: u32) {
        let known = usize::from(self.known);
        if known == REMEMBERED {
            self.recent_ms.rotate_left(1);
            self.recent_ms[REMEMBERED - 1] = distance_ms;
        } else {
            self.recent_ms[known] = distance_ms;
            self.known += 1;
        }
        if distance_ms != self.step_ms {
            let mut sorted = self.recent_ms;
            let sorted = &mut sorted[..usize::from(self.known)];
            sorted.sort_unstable();
            self.step_ms = sorted[sorted.len() / 2];
        }
    }

    /// Usual distance of two samples, milliseconds; at least 1.
    pub(crate) fn step_ms(&self) -> u32 {
        self.step_ms.max(1)
    }

    /// Time of the newest sample, milliseconds since 1970.
    pub(crate) fn last_ms(&self) -> Option<i64> {
        self.last_ms
    }

    /// Whether no sample came for longer than a gap.
    pub(crate) fn is_stale(&self, now_ms: i64) -> bool {
        self.last_ms.is_none_or(|last_ms| {
            now_ms.saturating_sub(last_ms) > GAP_STEPS * i64::from(self.step_ms())
        })
    }

    /// Whether what was read back can be.
    pub(crate) fn is_sound(&self) -> bool {
        usize::from(self.known) <= REMEMBERED && self.late < LATE_MAX
    }
}
