//! Seasons that are discovered: a day and a week, used once they explain enough of what they would be used for.

use super::bounds::{RESIDUAL_MAX, halved, is_size};
use super::level::{CLIP, Level};
use super::pace::{Pace, weight};
use super::period::{DAY_MS, WEEK_MS, bucket};
use super::prior::{Prior, PriorProfile};
use super::summary::ProfileShape;
use serde::{Deserialize, Serialize};

pub(super) const DAY_BUCKETS: usize = 288;
pub(super) const WEEK_BUCKETS: usize = 168;
/// Rounds before a bucket says anything: one round is one opinion.
const ROUNDS_MIN: u8 = 2;
/// Least weight of the newest round in a bucket.
const ROUND_SHARE: f64 = 0.2;
/// A season counts once it leaves less than this share of the residuals' mean size.
const FOUND_BELOW: f64 = 0.5;
/// It is given up once it leaves more than this share: one odd day, a holiday, is when it is needed most.
const LOST_ABOVE: f64 = 0.8;
/// Samples before outliers are clipped where a season is compared with none.
const CLIPPED_FROM: u32 = 600;
/// Where outliers are clipped there, in mean sizes.
const COMPARED_CLIP: f64 = 4.0;
/// Share of the level's spread that a bucket may at least move by, before outliers are clipped.
const SPREAD_SHARE: f64 = 0.3;

/// Mean difference from the level in one bucket of one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Round {
    round: i64,
    bucket: u32,
    samples: u32,
    mean: f64,
}

/// What usually is at each time of a period, as a difference from the level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Profile {
    period_ms: i64,
    buckets: Box<[f32]>,
    rounds: Box<[u8]>,
    /// What the newest bucket has seen in this round.
    newest: Round,
    /// Mean size of residuals without and with this profile.
    without: f64,
    with: f64,
    compared: u32,
    counts: bool,
}

impl Profile {
    fn new(period_ms: i64, buckets: usize) -> Self {
        Self {
            period_ms,
            buckets: vec![0.0; buckets].into_boxed_slice(),
            rounds: vec![0; buckets].into_boxed_slice(),
            newest: Round::default(),
            without: 0.0,
            with: 0.0,
            compared: 0,
            counts: false,
        }
    }

    fn bucket(&self, at_ms: i64) -> usize {
        bucket(at_ms, self.period_ms, self.buckets.len())
    }

    /// What the profile says of this time; none before the bucket has seen enough rounds.
    fn says(&self, at_ms: i64) -> Option<f64> {
        let bucket = self.bucket(at_ms);
        (self.rounds[bucket] >= ROUNDS_MIN).then(|| f64::from(self.buckets[bucket]))
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
            let most = if self.counts { LOST_ABOVE } else { FOUND_BELOW };
            self.counts = self.with < most * self.without;
        }
        let bucket = self.bucket(at_ms);
        let round = at_ms.div_euclid(self.period_ms);
        if (self.newest.bucket, self.newest.round) != (bucket as u32, round) {
            self.close_round(limit);
            self.newest = Round {
                bucket: bucket as u32,
                round,
                ..Round::default()
            };
        }
        self.newest.samples = self.newest.samples.saturating_add(1);
        self.newest.mean += (away - self.newest.mean) / f64::from(self.newest.samples);
    }

    /// A round is one opinion however many samples it has, and says nothing before it is over.
    fn close_round(&mut self, limit: f64) {
        let Some(bucket) = usize::try_from(self.newest.bucket)
            .ok()
            .filter(|_| self.newest.samples > 0)
        else {
            return;
        };
        let limit = match self.rounds[bucket] {
            0 => f64::MAX,
            _ => limit,
        };
        self.rounds[bucket] = self.rounds[bucket].saturating_add(1);
        let share = weight(u32::from(self.rounds[bucket]), ROUND_SHARE);
        let before = f64::from(self.buckets[bucket]);
        let moved = halved(before + share * (self.newest.mean - before).clamp(-limit, limit));
        self.buckets[bucket] = moved.clamp(f32::MIN, f32::MAX);
    }

    /// In units of `magnitude`; none while it is not used.
    fn shape(&self, magnitude: f64) -> Option<ProfileShape> {
        let share = |number: f64| halved(number / magnitude);
        let buckets = self.buckets.iter().zip(&self.rounds);
        let known = |(bucket, rounds): (&f32, &u8)| {
            (*rounds >= ROUNDS_MIN).then(|| share(f64::from(*bucket)))
        };
        let buckets: Vec<_> = buckets.map(known).collect();
        self.counts
            .then(|| ProfileShape::new(share(self.without), share(self.with), &buckets))
    }

    /// Starts from what peers know: each of their buckets is worth as many rounds as it takes to say something.
    fn adopt(&mut self, prior: &PriorProfile, magnitude: f64, worth: u32) {
        self.without = prior.without * magnitude;
        self.with = prior.with * magnitude;
        self.compared = worth;
        self.counts = self.with < FOUND_BELOW * self.without;
        let own = self.buckets.iter_mut().zip(&mut self.rounds);
        for ((bucket, rounds), prior) in own.zip(&prior.buckets) {
            if let Some(prior) = prior {
                *bucket = halved(prior * magnitude).clamp(f32::MIN, f32::MAX);
                *rounds = ROUNDS_MIN;
            }
        }
    }

    fn is_sound(&self, period_ms: i64, buckets: usize) -> bool {
        self.period_ms == period_ms
            && self.buckets.len() == buckets
            && self.rounds.len() == buckets
            && self.buckets.iter().all(|it| it.is_finite())
            && (self.newest.bucket as usize) < buckets
            && self.newest.mean.abs() <= RESIDUAL_MAX
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
        let day = self.day.says(at_ms).filter(|_| self.day.counts);
        let week = self.week.says(at_ms).filter(|_| self.week.counts);
        match (day, week) {
            (None, None) => None,
            (day, week) => {
                Some(self.level.centre + day.unwrap_or_default() + week.unwrap_or_default())
            }
        }
    }

    /// Takes in a value. `usual` is the usual size of what the season leaves.
    pub(super) fn learn(&mut self, at_ms: i64, value: f64, usual: f64, floor: f64, pace: &Pace) {
        self.level.learn(value, pace.day, floor);
        let away = value - self.level.centre;
        let limit = CLIP * usual.max(SPREAD_SHARE * self.level.spread) + floor;
        // The week explains what the day leaves, where there is a day.
        let left = match self.day.says(at_ms).filter(|_| self.day.counts) {
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

    /// Day and week in units of `magnitude`; none of either while there is none.
    pub(super) fn shapes(&self, magnitude: f64) -> [Option<ProfileShape>; 2] {
        [self.day.shape(magnitude), self.week.shape(magnitude)]
    }

    /// Starts from what peers know. `added` is what they say that the season added to the level so far, on average;
    /// `samples_a_day` is how much the level is worth: it must not follow the day that it is known to have.
    pub(super) fn adopt(&mut self, prior: &Prior, magnitude: f64, added: f64, samples_a_day: f64) {
        if let Some(day) = &prior.day {
            self.day.adopt(day, magnitude, prior.worth);
        }
        if let Some(week) = &prior.week {
            self.week.adopt(week, magnitude, prior.worth);
        }
        if prior.day.is_some() || prior.week.is_some() {
            self.level = Level {
                centre: self.level.centre - added,
                spread: prior.level_spread * magnitude,
                count: (samples_a_day as u32).max(self.level.count),
            };
        }
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

impl PriorProfile {
    /// What it adds to the level at a time.
    fn says(&self, at_ms: i64, period_ms: i64) -> Option<f64> {
        let bucket = bucket(at_ms, period_ms, self.buckets.len());
        self.buckets.get(bucket).copied().flatten()
    }
}

/// What peers say that the season adds to the level at a time, in units of the magnitude; none where they say nothing.
pub(super) fn added(prior: &Prior, at_ms: i64) -> Option<f64> {
    let day = prior.day.as_ref().and_then(|it| it.says(at_ms, DAY_MS));
    let week = prior.week.as_ref().and_then(|it| it.says(at_ms, WEEK_MS));
    match (day, week) {
        (None, None) => None,
        (day, week) => Some(day.unwrap_or_default() + week.unwrap_or_default()),
    }
}
