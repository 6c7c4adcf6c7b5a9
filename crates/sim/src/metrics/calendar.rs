//! What all services of a month share: the week, a holiday, common demand, and hours without a scraper.

use super::chance::{Wander, between, unit};
use super::{Kind, Month};
use crate::rng::Rng;
use std::ops::Range;

const DAY_S: i64 = 86_400;
/// Common demand is drawn anew every so many seconds.
const DEMAND_EVERY_S: i64 = 600;
/// Scraper outages a month that take minutes, and that take hours: updates of the monitoring itself.
const SHORT_OUTAGES: usize = 5;
const LONG_OUTAGES: usize = 2;

/// What all services share.
#[derive(Debug)]
pub(super) struct Calendar {
    /// The weekday that looks like a Sunday, counted from the start; none in a month shorter than a week.
    pub(super) holiday: Option<i64>,
    /// Logarithm of common demand, every [`DEMAND_EVERY_S`].
    demand: Vec<f64>,
    /// Seconds from the start that nothing is scraped in.
    outages: Vec<Range<i64>>,
}

impl Calendar {
    pub(super) fn new(month: &Month) -> Self {
        let mut rng = Rng::new(month.seed ^ 0xCA1E_0DA2);
        let seconds = i64::from(month.days) * DAY_S;
        let workdays: Vec<i64> = (7..i64::from(month.days))
            .filter(|day| day % 7 < 5)
            .collect();
        let holiday = rng.pick(&workdays).copied();
        let mut wander = Wander::new(&mut rng, 0.03, 3.0 * 3600.0, DEMAND_EVERY_S as f64);
        let demand = (0..=seconds / DEMAND_EVERY_S)
            .map(|_| wander.step(&mut rng))
            .collect();
        let outage = |rng: &mut Rng, low: f64, high: f64| {
            let start = (unit(rng) * seconds as f64) as i64;
            start..start + between(rng, low, high) as i64
        };
        let mut outages: Vec<_> = (0..SHORT_OUTAGES)
            .map(|_| outage(&mut rng, 120.0, 900.0))
            .collect();
        outages.extend((0..LONG_OUTAGES).map(|_| outage(&mut rng, 3600.0, 4.0 * 3600.0)));
        Self {
            holiday,
            demand,
            outages,
        }
    }

    /// Logarithm of the demand that all public services have in common, without jumps.
    pub(super) fn demand(&self, second: i64) -> f64 {
        let place = usize::try_from(second / DEMAND_EVERY_S).unwrap_or(0);
        let part = (second % DEMAND_EVERY_S) as f64 / DEMAND_EVERY_S as f64;
        let at = |place: usize| self.demand.get(place).copied().unwrap_or(0.0);
        at(place) + part * (at(place + 1) - at(place))
    }

    pub(super) fn is_scraped(&self, second: i64) -> bool {
        !self.outages.iter().any(|outage| outage.contains(&second))
    }

    /// The load at a second as a part of the highest of the week, 0 to about 1; `shift_s` is the offset of where its
    /// users live, `weekend` what is left of the load then.
    pub(super) fn season(&self, kind: Kind, second: i64, shift_s: i64, weekend: f64) -> f64 {
        let local = second + shift_s;
        let (day, hour) = (
            local.div_euclid(DAY_S),
            local.rem_euclid(DAY_S) as f64 / 3600.0,
        );
        let is_free = |day: i64| day.rem_euclid(7) >= 5 || Some(day) == self.holiday;
        let of_day = |day: i64| if is_free(day) { weekend } else { 1.0 };
        // The night from one day to the next belongs to both, so nothing jumps at midnight.
        let next = smooth((hour - 22.0) / 4.0);
        let past = 1.0 - smooth((hour + 2.0) / 4.0);
        let week = of_day(day)
            + next * (of_day(day + 1) - of_day(day))
            + past * (of_day(day - 1) - of_day(day));
        let shape = match kind {
            Kind::Public => 0.18 + 0.55 * hump(hour, 12.5, 4.0) + 0.8 * hump(hour, 20.0, 3.0),
            Kind::Office => {
                0.02 + smooth((hour - 6.5) / 3.0)
                    * smooth((19.5 - hour) / 4.0)
                    * (1.0 - 0.25 * hump(hour, 12.5, 0.7))
            }
            Kind::Internal | Kind::Worker => 0.7 + 0.2 * hump(hour, 14.0, 5.0),
            Kind::Small => 0.3 + 0.6 * hump(hour, 14.0, 5.0),
            Kind::Nightly => 0.05,
        };
        shape * week
    }
}

/// A bell around an hour of the day, also over midnight.
fn hump(hour: f64, middle: f64, width: f64) -> f64 {
    let far = (hour - middle).abs();
    let distance = far.min(24.0 - far) / width;
    libm::exp(-0.5 * distance * distance)
}

/// From 0 at 0 to 1 at 1, without corners.
fn smooth(x: f64) -> f64 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}
