//! How many replicas the load that comes asks for.

use super::Forecast;
use crate::metrics::figure;
use regraft_model::Timestamp;
use std::fmt;

/// Most replicas that are ever hinted at. No workload of ours is near; it keeps a wild forecast a number.
pub const HINT_REPLICAS_MAX: u32 = 100_000;

/// How many replicas carry the load that comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleHint {
    /// Replicas, at most [`HINT_REPLICAS_MAX`].
    pub replicas: u32,
    /// The load they are for, in the unit of the series.
    pub load: f64,
    /// When that load is reached first.
    pub at: Timestamp,
}

impl fmt::Display for ScaleHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = figure(self.load);
        write!(
            f,
            "replicas: {}, for a load of {load} at {}",
            self.replicas, self.at
        )
    }
}

/// Replicas that carry the next steps' largest load, as it is at a quantile: with .9, one time in ten each step's load
/// is larger. `load_per_replica` is what one replica carries, in the unit of the series. It is a hint: limits, and how
/// fast to follow, are for who scales. A load of nothing asks for none.
///
/// None when no step is asked for or one replica carries nothing (zero, less, or no number).
///
/// ```
/// use regraft_detect::forecast::{Ahead, Forecast, Season, scale_hint};
/// use regraft_model::Timestamp;
///
/// let (origin, at) = (Timestamp(0), Timestamp(300_000));
/// let busy = Ahead { at, point: 90.0, bounds: [60.0, 70.0, 75.0, 80.0, 90.0, 100.0, 125.0, 140.0, 200.0] };
/// let forecast = Forecast { origin, step_s: 300, season: Season::None, steps: vec![busy] };
/// let hint = scale_hint(&forecast, 1, 0.9, 50.0).expect("one step, and a replica that carries something");
/// assert_eq!((hint.replicas, hint.load), (3, 125.0));
/// ```
#[must_use]
pub fn scale_hint(
    forecast: &Forecast,
    steps: usize,
    level: f64,
    load_per_replica: f64,
) -> Option<ScaleHint> {
    if load_per_replica.is_nan() || load_per_replica <= 0.0 {
        return None;
    }
    let mut loads = forecast
        .steps
        .iter()
        .take(steps)
        .map(|ahead| (ahead.quantile(level), ahead.at));
    let first = loads.next()?;
    let (load, at) = loads.fold(
        first,
        |largest, next| {
            if next.0 > largest.0 { next } else { largest }
        },
    );
    let replicas = libm::ceil(load / load_per_replica).clamp(0.0, f64::from(HINT_REPLICAS_MAX));
    Some(ScaleHint {
        replicas: replicas as u32,
        load,
        at,
    })
}
