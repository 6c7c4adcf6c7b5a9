//! Seasons that are discovered: a day and a week, used once they explain enough of what they would be used for.

use super::bounds::{RESIDUAL_MAX, is_size};
use super::level::{CLIP, Level};
use super::pace::{Pace, weight};
use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;
const WEEK_MS: i64 = 7 * DAY_MS;
/// 1970 began on a Thursday; the week's first hour only has to be the same every week.
const DAY_BUCKETS: usize = 288;
const WEEK_BUCKETS: usize = 168;
/// Rounds before a bucket says anything: one round is one opinion.
const ROUNDS_MIN: u8 = 2;
/// Weight of the newest round in a bucket.
const ROUND_SHARE: f64 = 0.2;
/// A season counts once it leaves at most this share of the residuals' mean size.
const LEAVES_MAX: f64 = 0.5;
/// Samples before outliers are clipped where a season is compared with none.
const CLIPPED_FROM: u32 = 600;
/// Where outliers are clipped there, in mean sizes.
const COMPARED_CLIP: f64 = 4.0;
/// Share of the level's spread that a bucket may at least move by, before outliers are clipped.
const SPREAD_SHARE: f64 = 0.3;

/// What usually is at each time of a period, as a difference from the level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Profile {
    period_ms: i64,
    buckets: Box<[f32]>,
    rounds: Box<[u8]>,
    /// Mean size of residuals without and with this profile.
    without: f64,
    with: f64,
    compared: u32,
}

impl Profile {
    fn new(period_ms: i64, buckets: usize) -> Self {
        Self {
            period_ms,
            buckets: vec![0.0; buckets].into_boxed_slice(),
            rounds: vec![0; buckets].into_boxed_slice(),
            without: 0.0,
            with: 0.0,
            compared: 0,
        }
    }

    fn bucket(&self, at_ms: i64) -> usize {
        let into_ms = at_ms.rem_euclid(self.period_ms);
        let bucket = into_ms.saturating_mul(self.buckets.len() as i64) / self.period_ms;
        usize::try_from(bucket).unwrap_or_default()
    }

    /// What the profile says of this time; none before the bucket has seen enough rounds.
    fn says(&self, at_ms: i64) -> Option<f64> {
        let bucket = self.bucket(at_ms);
        (self.rounds[bucket] >= ROUNDS_MIN).then(|| f64::from(self.buckets[bucket]))
    }

    /// Whether it explains enough to be used.
    fn counts(&self) -> bool {
        self.with < LEAVES_MAX * self.without
    }

    /// Takes in a difference from the level, of which the part beyond `limit` is left out.
    fn learn(&mut self, at_ms: i64, away: f64, limit: f64, pace: &Pace) {
        if let Some(said) = self.says(at_ms) {
            self.compared = self.compared.saturating_add(1);
            let clip = match self.compared < CLIPPED_FROM {
                true => f64::MAX,
                false => COMPARED_CLIP * self.without,
            };
            let share = weight(self.compared, pace.season);
            self.without += share * (away.abs().min(clip) - self.without);
            self.with += share * ((away - said).abs().min(clip) - self.with);
        }
        let bucket = self.bucket(at_ms);
        let rounds = self.rounds[bucket];
        let limit = if rounds == 0 { f64::MAX } else { limit };
        let step = (away - f64::from(self.buckets[bucket])).clamp(-limit, limit);
        #[expect(clippy::cast_possible_truncation, reason = "kept at half the size")]
        let moved = (f64::from(self.buckets[bucket])
            + weight(u32::from(rounds) + 1, ROUND_SHARE) * step) as f32;
        self.buckets[bucket] = moved.clamp(f32::MIN, f32::MAX);
        self.rounds[bucket] = rounds.saturating_add(1);
    }

    fn is_sound(&self, period_ms: i64, buckets: usize) -> bool {
        self.period_ms == period_ms
            && self.buckets.len() == buckets
            && self.rounds.len() == buckets
            && self.buckets.iter().all(|it| it.is_finite())
            && is_size(self.without, RESIDUAL_MAX)
            && is_size(self.with, RESIDUAL_MAX)
    }

    fn heap_bytes(&self) -> usize {
        size_of_val(&*self.buckets) + size_of_val(&*self.rounds)
    }
}

/// The level of a day, and what day and week add to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Season {
    level: Level,
    day: Profile,
    week: Profile,
}

impl Default for Season {
    fn default() -> Self {
        Self {
            level: Level::default(),
            day: Profile::new(DAY_MS, DAY_BUCKETS),
            week: Profile::new(WEEK_MS, WEEK_BUCKETS),
        }
    }
}

impl Season {
    /// What the season makes of this time; none while there is no season.
    pub(super) fn expects(&self, at_ms: i64) -> Option<f64> {
        let day = self.day.says(at_ms).filter(|_| self.day.counts());
        let week = self.week.says(at_ms).filter(|_| self.week.counts());
        match (day, week) {
            (None, None) => None,
            (day, week) => {
                Some(self.level.centre + day.unwrap_or_default() + week.unwrap_or_default())
            }
        }
    }

    /// Takes in a value. `usual` is the usual size of what the season leaves.
    pub(super) fn learn(&mut self, at_ms: i64, value: f64, usual: f64, floor: f64, pace: &Pace) {
        self.level.learn(value, pace.day);
        let away = value - self.level.centre;
        let limit = CLIP * usual.max(SPREAD_SHARE * self.level.spread) + floor;
        // The week explains what the day leaves, where there is a day.
        let left = match self.day.says(at_ms).filter(|_| self.day.counts()) {
            Some(day) => away - day,
            None => away,
        };
        self.day.learn(at_ms, away, limit, pace);
        self.week.learn(at_ms, left, limit, pace);
    }

    /// Mean of the last day or so, without outliers.
    pub(super) fn level(&self) -> &Level {
        &self.level
    }

    /// The day's profile as differences from the level, from midnight UTC on; none while there is no daily season.
    pub(super) fn day(&self) -> Option<&[f32]> {
        self.day.counts().then_some(&self.day.buckets[..])
    }

    /// What the week adds for each of its hours, from Thursday midnight UTC on; none while there is no weekly season.
    pub(super) fn week(&self) -> Option<&[f32]> {
        self.week.counts().then_some(&self.week.buckets[..])
    }

    pub(super) fn is_sound(&self) -> bool {
        self.level.is_sound()
            && self.day.is_sound(DAY_MS, DAY_BUCKETS)
            && self.week.is_sound(WEEK_MS, WEEK_BUCKETS)
    }

    /// Bytes outside of this value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.day.heap_bytes() + self.week.heap_bytes()
    }
}
