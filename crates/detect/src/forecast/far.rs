//! Hours and days ahead: the level of late, and the season if one was found.

use serde::{Deserialize, Serialize};

use super::Season;
use super::answer::LEVELS;
use super::blend::{Blend, EXPERTS, Told};
use super::history::{History, Space};
use super::near::{NEAR_STEPS, Near};
use super::waiting::Waiting;

/// How far ahead bands are watched and how often one is told for that, both in hours, and how many must have come true
/// or not before a band is shown. Between two, the band of the longer holds. Far ones are told rarely, to bound what
/// waits; their hours share no divisor with the day's, so that every time of day is met, and they are checked for a week
/// at least, as weekends are not like other days.
const REACHES: [(usize, usize, u64); 8] = [
    (2, 1, 24),
    (4, 1, 24),
    (8, 1, 48),
    (12, 1, 48),
    (24, 1, 72),
    (48, 5, 34),
    (96, 5, 34),
    (168, 7, 24),
];

/// In four hours, a sixth of a day, half of a difference from a day or a week ago is left.
const HALVES_A_DAY: f64 = 6.0;

/// Forecasts beyond the near ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Far {
    reaches: Vec<Reach>,
}

/// Forecasts so far ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reach {
    /// Slots ahead.
    ahead: usize,
    /// Forecasts checked before its band is shown.
    scored_min: u64,
    blend: Blend,
    waiting: Waiting,
}

impl Far {
    pub(super) fn new(day: usize) -> Self {
        let reach = |(ahead, every, scored_min)| Reach {
            ahead,
            scored_min,
            blend: Blend::new(),
            waiting: Waiting::new(ahead, every),
        };
        Self {
            reaches: reaches(day).map(reach).collect(),
        }
    }

    pub(super) fn fits(&self, day: usize) -> bool {
        self.reaches.len() == reaches(day).count()
            && self
                .reaches
                .iter()
                .zip(reaches(day))
                .all(|(reach, (ahead, every, scored_min))| {
                    reach.ahead == ahead
                        && reach.scored_min == scored_min
                        && reach.blend.is_sound()
                        && reach.waiting.fits(ahead, every)
                })
    }

    /// Bytes it takes beyond its own size.
    pub(super) fn heap_bytes(&self) -> usize {
        let bytes = |reach: &Reach| {
            size_of::<Reach>() + reach.blend.heap_bytes() + reach.waiting.heap_bytes()
        };
        self.reaches.iter().map(bytes).sum()
    }

    /// Steps ahead whose bands were checked; near ones are not asked about.
    pub(super) fn ready(&self) -> usize {
        self.reaches
            .iter()
            .take_while(|reach| reach.blend.scored() >= reach.scored_min)
            .last()
            .map_or(0, |reach| reach.ahead)
    }

    /// Learns from the newest value.
    pub(super) fn learn(&mut self, history: &History) {
        let slot = history.last();
        for reach in &mut self.reaches {
            if let Some(told) = reach.waiting.take(slot - reach.ahead as i64) {
                reach.blend.learn(&told, history.value(slot));
            }
        }
    }

    /// Tells what has its turn.
    pub(super) fn tell(&mut self, history: &History, season: Season, near: &Near) {
        let slot = history.last();
        if !self.reaches.iter().any(|reach| reach.waiting.is_turn(slot)) {
            return;
        }
        let view = View::new(history, season, near);
        for reach in &mut self.reaches {
            if reach.waiting.is_turn(slot) {
                let told = view.tell(&reach.blend, near, reach.ahead);
                reach.waiting.put(slot, &told);
            }
        }
    }

    /// A way to ask for many steps after the newest value.
    pub(super) fn view<'a>(history: &'a History, season: Season, near: &Near) -> View<'a> {
        View::new(history, season, near)
    }

    /// Point and bounds so many steps after the newest value.
    pub(super) fn ahead(
        &self,
        view: &View<'_>,
        near: &Near,
        ahead: usize,
    ) -> Option<(f64, [f64; LEVELS.len()])> {
        let reach = self.reaches.iter().find(|reach| reach.ahead >= ahead)?;
        let told = view.tell(&reach.blend, near, ahead);
        Some((told.point, reach.blend.bounds(&told)))
    }
}

/// What is the same for all steps from one origin.
pub(super) struct View<'a> {
    history: &'a History,
    season: Season,
    /// Point of the furthest near step.
    furthest: f64,
    /// Mean of the last day.
    level: f64,
    /// That, less the mean of the same day a week ago.
    above_week: f64,
}

impl<'a> View<'a> {
    fn new(history: &'a History, season: Season, near: &Near) -> Self {
        let day = history.day();
        let mean = |slot| history.mean(Space::Plain, slot, day);
        let level = mean(history.last());
        let week_ago = history.last() - history.week() as i64;
        Self {
            history,
            season,
            furthest: near.furthest(history),
            level,
            above_week: level - mean(week_ago),
        }
    }

    fn tell(&self, blend: &Blend, near: &Near, ahead: usize) -> Told {
        let then = self.history.last() + ahead as i64;
        let unrest = if self.season == Season::None {
            None
        } else {
            near.unrest_share(self.history, then)
                .map(|share| share * blend.usual_error())
        };
        blend.tell(self.experts(then), unrest)
    }

    /// As in an hour; as the last day on the whole; as the same time of the last day; that, with what of its difference
    /// from then in an hour will be left; the same two of a week ago; and a week ago at the level of the last day.
    fn experts(&self, then: i64) -> [f64; EXPERTS] {
        let history = self.history;
        let (now, level) = (self.furthest, self.level);
        // Without a season nobody outvotes the other: those who err less do.
        let mut experts = [now, level, now, level, now, level, (now + level) / 2.0];
        if self.season != Season::None {
            let day = history.day() as i64;
            let half = day as f64 / HALVES_A_DAY;
            let keep = half / (half + (then - history.last()) as f64);
            let hour = history.last() + NEAR_STEPS as i64;
            let days = (then - history.last() - 1).div_euclid(day) + 1;
            experts[2] = history.value(then - days * day);
            experts[3] = experts[2] + keep * (self.furthest - history.value(hour - day));
            experts[4] = experts[2];
            experts[5] = experts[3];
            experts[6] = experts[2];
            if history.reaches(history.last(), history.week()) {
                let week = history.week() as i64;
                experts[4] = history.value(then - week);
                experts[5] = experts[4] + keep * (self.furthest - history.value(hour - week));
                experts[6] = experts[4] + self.above_week;
            }
        }
        experts.map(|expert| history.possible(expert))
    }
}

/// Slots ahead, slots between two forecasts, and how many to check, of those beyond the near ones.
fn reaches(day: usize) -> impl Iterator<Item = (usize, usize, u64)> {
    let hour = day / 24;
    REACHES
        .into_iter()
        .map(move |(ahead, every, scored_min)| (ahead * hour, every * hour, scored_min))
        .filter(|&(ahead, _, _)| ahead > NEAR_STEPS)
}
