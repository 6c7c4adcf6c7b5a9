//! Forecasts that wait for their values.

use serde::{Deserialize, Serialize};

use super::bits;
use super::blend::{EXPERTS, Told};

/// Numbers of a forecast.
const TOLD: usize = EXPERTS + 2;

/// As many forecasts as can wait when one is told every so many slots, so many slots ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiting {
    every: usize,
    /// Origin of each, if there is one.
    origins: Vec<Option<i64>>,
    #[serde(with = "bits::many")]
    told: Vec<f64>,
}

impl Waiting {
    pub(super) fn new(ahead: usize, every: usize) -> Self {
        let places = places(ahead, every);
        Self {
            every,
            origins: vec![None; places],
            told: vec![0.0; places * TOLD],
        }
    }

    pub(super) fn fits(&self, ahead: usize, every: usize) -> bool {
        self.every == every
            && self.origins.len() == places(ahead, every)
            && self.told.len() == self.origins.len() * TOLD
            && self.told.chunks_exact(TOLD).all(|it| told(it).is_sound())
    }

    /// Bytes it takes beyond its own size.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(self.origins.as_slice()) + size_of_val(self.told.as_slice())
    }

    /// Whether one is told from this slot.
    pub(super) fn is_turn(&self, slot: i64) -> bool {
        slot.rem_euclid(self.every as i64) == 0
    }

    pub(super) fn put(&mut self, origin: i64, told: &Told) {
        let place = self.place(origin);
        self.origins[place] = Some(origin);
        let cells = &mut self.told[place * TOLD..][..TOLD];
        cells[..EXPERTS].copy_from_slice(&told.experts);
        cells[EXPERTS..].copy_from_slice(&[told.point, told.scale]);
    }

    pub(super) fn get(&self, origin: i64) -> Option<Told> {
        let place = self.place(origin);
        if !self.is_turn(origin) || self.origins[place] != Some(origin) {
            return None;
        }
        Some(told(&self.told[place * TOLD..][..TOLD]))
    }

    /// The one from this origin, which then waits no more.
    pub(super) fn take(&mut self, origin: i64) -> Option<Told> {
        let told = self.get(origin)?;
        let place = self.place(origin);
        self.origins[place] = None;
        Some(told)
    }

    fn place(&self, origin: i64) -> usize {
        let turn = origin.div_euclid(self.every as i64);
        turn.rem_euclid(self.origins.len() as i64) as usize
    }
}

/// The numbers of one forecast as such.
fn told(cells: &[f64]) -> Told {
    let mut experts = [0.0; EXPERTS];
    experts.copy_from_slice(&cells[..EXPERTS]);
    Told {
        experts,
        point: cells[EXPERTS],
        scale: cells[EXPERTS + 1],
    }
}

fn places(ahead: usize, every: usize) -> usize {
    ahead.div_ceil(every)
}
