//! The next twelve steps, each told by models of its own.

use serde::{Deserialize, Serialize};

use super::answer::LEVELS;
use super::blend::{Blend, ERROR_MAX, EXPERTS};
use super::history::{History, Space};
use super::regression::Regression;
use super::waiting::Waiting;
use super::{VALUE_LIMIT, bits};

/// Steps that are told this way: an hour at five minutes.
pub(super) const NEAR_STEPS: usize = 12;
/// Forecasts that must have come true or not before a band is shown: fewer do not tell a tenth.
pub(super) const SCORED_MIN: u64 = 72;
/// Columns that do not depend on how far ahead is told.
const BASE: usize = 7;
/// All columns.
const COLUMNS: usize = BASE + 2;
const SPACES: [Space; 2] = [Space::Plain, Space::Ratio];
/// Numbers of a base in all spaces.
const ORIGIN: usize = BASE * SPACES.len();
/// More than any column: the difference of two differences of values.
const COLUMN_MAX: f64 = 5.0 * VALUE_LIMIT;
/// What the deviation from a week ago keeps a step later.
const WEEK_KEEP: f64 = 0.9;
/// How far a usual error moves to a new one of its time of day.
const UNREST_RATE: f64 = 0.3;
/// Slots on each side that share a usual error.
const UNREST_REACH: i64 = 4;

/// Forecasts of the next steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Near {
    /// The columns of the last origins, by slot.
    #[serde(with = "bits::many")]
    origins: Vec<f64>,
    steps: Vec<Step>,
    /// Absolute error of the furthest step by time of day; zero where none is known.
    #[serde(with = "bits::many")]
    unrest: Vec<f64>,
}

/// Forecasts so many steps ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Step {
    models: Vec<Regression>,
    blend: Blend,
    waiting: Waiting,
}

impl Near {
    pub(super) fn new(day: usize) -> Self {
        let step = |ahead| Step {
            models: vec![Regression::new(COLUMNS); SPACES.len()],
            blend: Blend::new(),
            waiting: Waiting::new(ahead, 1),
        };
        Self {
            origins: vec![0.0; ORIGIN * NEAR_STEPS],
            steps: (1..=NEAR_STEPS).map(step).collect(),
            unrest: vec![0.0; day],
        }
    }

    pub(super) fn fits(&self, day: usize) -> bool {
        self.origins.len() == ORIGIN * NEAR_STEPS
            && self.unrest.len() == day
            && self.origins.iter().all(|it| it.abs() <= COLUMN_MAX)
            && self.unrest.iter().all(|it| (0.0..=ERROR_MAX).contains(it))
            && self.steps.len() == NEAR_STEPS
            && self.steps.iter().zip(1..).all(|(step, ahead)| {
                step.models.len() == SPACES.len()
                    && step.models.iter().all(|model| model.fits(COLUMNS))
                    && step.blend.is_sound()
                    && step.waiting.fits(ahead, 1)
            })
    }

    /// Bytes it takes beyond its own size.
    pub(super) fn heap_bytes(&self) -> usize {
        let step = |step: &Step| {
            let models = step
                .models
                .iter()
                .map(|model| size_of::<Regression>() + model.heap_bytes());
            size_of::<Step>()
                + models.sum::<usize>()
                + step.blend.heap_bytes()
                + step.waiting.heap_bytes()
        };
        (self.origins.len() + self.unrest.len()) * size_of::<f64>()
            + self.steps.iter().map(step).sum::<usize>()
    }

    /// Steps ahead whose bands were checked.
    pub(super) fn ready(&self) -> usize {
        self.steps
            .iter()
            .take_while(|step| step.blend.scored() >= SCORED_MIN)
            .count()
    }

    /// Learns from the newest value, before the usual day knows it: columns must be as they were told from.
    pub(super) fn learn(&mut self, history: &History) {
        let slot = history.last();
        let value = history.value(slot);
        for (step, ahead) in self.steps.iter_mut().zip(1_usize..) {
            let origin = slot - ahead as i64;
            let Some(told) = step.waiting.take(origin) else {
                continue;
            };
            if history.reaches(origin, history.day()) {
                for (i, space) in SPACES.into_iter().enumerate() {
                    let base = &self.origins[place(origin) + i * BASE..][..BASE];
                    let row = row(history, space, base, origin, ahead);
                    let change = history.level(space, slot) - history.level(space, origin);
                    step.models[i].learn(&row, change);
                }
            }
            let error = step.blend.learn(&told, value);
            if ahead == NEAR_STEPS {
                let usual = &mut self.unrest[history.time_of_day(slot)];
                *usual += if *usual > 0.0 { UNREST_RATE } else { 1.0 } * (error - *usual);
            }
        }
    }

    /// Tells all steps from the newest value on.
    pub(super) fn tell(&mut self, history: &History) {
        let slot = history.last();
        for (i, space) in SPACES.into_iter().enumerate() {
            let base = base(history, space, slot);
            self.origins[place(slot) + i * BASE..][..BASE].copy_from_slice(&base);
        }
        for ahead in 1..=NEAR_STEPS {
            let experts = self.experts(history, slot, ahead);
            let unrest = self.unrest(history, slot + ahead as i64, ahead);
            let step = &mut self.steps[ahead - 1];
            // Solving costs most; an hour-old solution is as good.
            if slot.rem_euclid(NEAR_STEPS as i64) == ahead as i64 - 1 {
                step.models.iter_mut().for_each(Regression::solve);
            }
            let told = step.blend.tell(experts, unrest);
            step.waiting.put(slot, &told);
        }
    }

    /// Point and bounds so many steps after the newest value.
    pub(super) fn ahead(
        &self,
        history: &History,
        ahead: usize,
    ) -> Option<(f64, [f64; LEVELS.len()])> {
        let step = &self.steps[ahead - 1];
        let told = step.waiting.get(history.last())?;
        Some((told.point, step.blend.bounds(&told)))
    }

    /// Point of the furthest step after the newest value.
    pub(super) fn furthest(&self, history: &History) -> f64 {
        let slot = history.last();
        self.steps[NEAR_STEPS - 1]
            .waiting
            .get(slot)
            .map_or_else(|| history.value(slot), |told| told.point)
    }

    /// Usual error around the time of day of a slot, as a multiple of the usual one.
    pub(super) fn unrest_share(&self, history: &History, slot: i64) -> Option<f64> {
        let usual = self.steps[NEAR_STEPS - 1].blend.usual_error();
        let known = (-UNREST_REACH..=UNREST_REACH)
            .map(|side| self.unrest[history.time_of_day(slot + side)])
            .filter(|&error| error > 0.0);
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), error| (sum + error, count + 1.0));
        (count > 0.0 && usual > 0.0).then(|| sum / count / usual)
    }

    fn unrest(&self, history: &History, slot: i64, ahead: usize) -> Option<f64> {
        let share = self.unrest_share(history, slot)?;
        Some(share * self.steps[ahead - 1].blend.usual_error())
    }

    /// What each way of telling says: both models; as now; as a day ago; as it went on a day ago; as it went on a week
    /// ago; as a week ago.
    fn experts(&self, history: &History, slot: i64, ahead: usize) -> [f64; EXPERTS] {
        let now = history.value(slot);
        let then = slot + ahead as i64;
        let (day, week) = (history.day() as i64, history.week() as i64);
        let mut experts = [now; EXPERTS];
        if history.reaches(slot, history.day()) {
            for (i, space) in SPACES.into_iter().enumerate() {
                let base = &self.origins[place(slot) + i * BASE..][..BASE];
                let row = row(history, space, base, slot, ahead);
                let change = self.steps[ahead - 1].models[i].predict(&row);
                experts[i] = history.back(space, history.level(space, slot) + change);
            }
            experts[3] = history.value(then - day);
            experts[4] = experts[3] + now - history.value(slot - day);
            experts[5] = experts[4];
            experts[6] = experts[3];
        }
        if history.reaches(slot, history.week()) {
            let keep: f64 = (0..ahead).map(|_| WEEK_KEEP).product();
            experts[6] = history.value(then - week);
            experts[5] = experts[6] + (now - history.value(slot - week)) * keep;
        }
        experts.map(|expert| {
            if expert.is_finite() {
                history.possible(expert)
            } else {
                now
            }
        })
    }
}

/// Columns of an origin that hold for all steps: how the value differs from the last ones, from the recent mean, from
/// the usual one at its time, and the same against a day and a week ago. Zero where there is no such past.
fn base(history: &History, space: Space, slot: i64) -> [f64; BASE] {
    let level = |slot| history.level(space, slot);
    let now = level(slot);
    let recent = history.recent();
    let (day, week) = (history.day() as i64, history.week() as i64);
    let mean = history.mean(space, slot, recent);
    let mut base = [
        now - level(slot - 1),
        now - level(slot - 6),
        now - mean,
        0.0,
        0.0,
        0.0,
        0.0,
    ];
    if history.reaches(slot, history.day()) {
        base[3] = now - level(slot - day) - (mean - history.mean(space, slot - day, recent));
        base[4] = now - history.usual(space, slot);
    }
    if history.reaches(slot, history.week()) {
        base[5] = mean - history.mean(space, slot - week, recent);
        base[6] = now - level(slot - week);
    }
    base
}

/// All columns: those of the origin, and how far it went on the usual day and a week ago.
fn row(history: &History, space: Space, base: &[f64], origin: i64, ahead: usize) -> [f64; COLUMNS] {
    let mut row = [0.0; COLUMNS];
    row[..BASE].copy_from_slice(base);
    let then = origin + ahead as i64;
    if history.reaches(origin, history.day()) {
        row[BASE] = history.usual(space, then) - history.usual(space, origin);
    }
    if history.reaches(origin, history.week()) {
        let week = history.week() as i64;
        row[BASE + 1] = history.level(space, then - week) - history.level(space, origin - week);
    }
    row
}

/// Where the columns of an origin lie.
fn place(slot: i64) -> usize {
    slot.rem_euclid(NEAR_STEPS as i64) as usize * ORIGIN
}
