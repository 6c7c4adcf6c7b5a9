//! Metrics made up from a seed.

use crate::metrics::{Band, Episode, Learning, MetricEvidence, Settings, Unknown, Verdict, Watch};
pub(super) use crate::tests::noise::Noise;
use regraft_model::Timestamp;

/// 2026-01-31T12:00:00Z.
pub(super) const NOON_MS: i64 = 1_769_860_800_000;
pub(super) const MINUTE_MS: i64 = 60_000;
pub(super) const DAY_MS: i64 = 1440 * MINUTE_MS;

/// The time of a sample that comes each minute.
pub(super) fn minute(index: usize) -> Timestamp {
    Timestamp(NOON_MS + index as i64 * MINUTE_MS)
}

/// A watch of so many metrics.
pub(super) fn watch(metrics: usize) -> Watch {
    let names = (0..metrics).map(|index| format!("metric-{index}"));
    Watch::new(Settings::default(), names.collect()).unwrap()
}

/// A service whose metrics all are noise around 100.
pub(super) fn noisy(metrics: usize, rows: usize, seed: u64) -> Vec<(Timestamp, Vec<f64>)> {
    let mut noise = Noise::new(seed);
    let mut row = |_| (0..metrics).map(|_| noise.around_100()).collect();
    (0..rows).map(|index| (minute(index), row(index))).collect()
}

/// What is said of each row.
pub(super) fn observe_all(watch: &mut Watch, rows: &[(Timestamp, Vec<f64>)]) -> Vec<Verdict> {
    rows.iter()
        .map(|(at, values)| watch.observe(*at, values, Learning::On))
        .collect()
}

/// Whether every number of a verdict is one.
pub(super) fn is_finite(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Unknown(_) => true,
        Verdict::Usual { surprise } => surprise.is_finite(),
        Verdict::Strange(anomaly) => {
            let numbers = |it: &MetricEvidence| {
                let Band { low, middle, high } = it.band;
                [it.strangeness, low, middle, high]
                    .iter()
                    .all(|it| it.is_finite())
            };
            anomaly.surprise.is_finite() && anomaly.metrics.iter().all(numbers)
        }
    }
}

/// One letter for what was said: `B` and `s` for an episode that begins and goes on or rises, `.` for usual; of what is unknown
/// `t`oo little data, a `g`ap, `o`ut of order, no `n`umbers, never `c`hanged, `x` for stale.
pub(super) fn letter(verdict: &Verdict) -> char {
    match verdict {
        Verdict::Usual { .. } => '.',
        Verdict::Strange(anomaly) => match anomaly.episode {
            Episode::Begins => 'B',
            Episode::Rises | Episode::GoesOn => 's',
        },
        Verdict::Unknown(unknown) => match unknown {
            Unknown::TooLittleData { .. } => 't',
            Unknown::Gap { .. } => 'g',
            Unknown::Stale { .. } => 'x',
            Unknown::OutOfOrder => 'o',
            Unknown::NoNumbers => 'n',
            Unknown::NeverChanged => 'c',
        },
    }
}

/// Letters with how often each came in a row: `t200.3B1`.
pub(super) fn letters(verdicts: &[Verdict]) -> String {
    let mut runs: Vec<(char, usize)> = Vec::new();
    for letter in verdicts.iter().map(letter) {
        match runs.last_mut() {
            Some((last, times)) if *last == letter => *times += 1,
            _ => runs.push((letter, 1)),
        }
    }
    let runs = runs.iter();
    runs.map(|(letter, times)| format!("{letter}{times}"))
        .collect()
}
