//! Hours and days ahead: the level of late, and the season if one was found.

use serde::{Deserialize, Serialize};

use super::Season;
use super::answer::LEVELS;
use super::blend::{Blend, EXPERTS, Told};
use super::history::{History, Space};
use super::near::{NEAR_STEPS, Near};
use super::waiting::Waiting;

/// Forecasts that must have come true or not before a band is shown. They lie hours apart.
pub(super) const SCORED_MIN: u64 = 24;
/// How far ahead bands are watched, and how often one is told for that, both in hours. Between two, the band of the
/// longer holds. Far ones are told rarely, to bound what waits; their hours share no divisor with the day's, so that
/// every time of day is met.
const REACHES: [(usize, usize); 8] =
    [(2, 1), (4, 1), (8, 1), (12, 1), (24, 1), (48, 5), (96, 5), (168, 7)];

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
    blend: Blend,
    waiting: Waiting,
}

impl Far {
    pub(super) fn new(day: usize) -> Self {
        let reach = |(ahead, every)| Reach {
            ahead,
            blend: Blend::new(),
            waiting: Waiting::new(ahead, every),
        };
        Self {
            reaches: reaches(day).map(reach).collect(),
        }
    }

    pub(super) fn fits(&self, day: usize) -> bool {
        self.reaches.len() == reaches(day).count()
            && self.reaches.iter().zip(reaches(day)).all(|(reach, (ahead, every))| {
                reach.ahead == ahead
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
            .take_while(|reach| reach.blend.scored() >= SCORED_MIN)
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
        let view = View::new(history, season);
        for reach in &mut self.reaches {
            if reach.waiting.is_turn(slot) {
                let told = view.tell(&reach.blend, near, reach.ahead);
                reach.waiting.put(slot, &told);
            }
        }
    }

    /// A way to ask for many steps after the newest value.
    pub(super) fn view<'a>(&self, history: &'a History, season: Season) -> View<'a> {
        View::new(history, season)
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
    /// Mean of the last day.
    level: f64,
    /// That, less the mean of the usual day.
    above_usual: f64,
    /// That, less the mean of the same day a week ago.
    above_week: f64,
}

impl<'a> View<'a> {
    fn new(history: &'a History, season: Season) -> Self {
        let day = history.day();
        let mean = |slot| history.mean(Space::Plain, slot, day);
        let level = mean(history.last());
        let week_ago = history.last() - history.week() as i64;
        Self {
            history,
            season,
            level,
            above_usual: level - history.usual_mean(),
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

    /// As now; as the last day on the whole; as the same time of the last day; as the usual day at the level of the last
    /// one; as a week ago; and that at the level of the last day.
    fn experts(&self, then: i64) -> [f64; EXPERTS] {
        let history = self.history;
        let day = history.day() as i64;
        let now = history.value(history.last());
        let mut experts = [now, self.level, self.level, self.level, self.level, self.level];
        if self.season != Season::None {
            let days = (then - history.last() - 1).div_euclid(day) + 1;
            experts[2] = history.value(then - days * day);
            experts[3] = history.usual(Space::Plain, then) + self.above_usual;
            experts[4] = history.usual(Space::Plain, then);
            experts[5] = experts[3];
        }
        if self.season == Season::Week {
            experts[4] = history.value(then - history.week() as i64);
            experts[5] = experts[4] + self.above_week;
        }
        experts.map(|expert| history.possible(expert))
    }
}

/// Slots ahead, and slots between two forecasts, of those beyond the near ones.
fn reaches(day: usize) -> impl Iterator<Item = (usize, usize)> {
    let hour = day / 24;
    REACHES
        .into_iter()
        .map(move |(ahead, every)| (ahead * hour, every * hour))
        .filter(|&(ahead, _)| ahead > NEAR_STEPS)
}
