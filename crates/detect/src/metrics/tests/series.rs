//! Metrics made up from a seed.

use crate::metrics::{Episode, Learning, Settings, Unknown, Verdict, Watch};
use regraft_model::Timestamp;

/// 2026-01-31T12:00:00Z.
pub(super) const NOON_MS: i64 = 1_769_860_800_000;
pub(super) const MINUTE_MS: i64 = 60_000;
pub(super) const DAY_MS: i64 = 1440 * MINUTE_MS;

/// The time of a sample that comes each minute.
pub(super) fn minute(index: usize) -> Timestamp {
    Timestamp(NOON_MS + index as i64 * MINUTE_MS)
}

/// Numbers that look random (Steele et al. 2014, SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Evenly between 0 and 1.
    pub(super) fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// As good as normal: mean 0, deviation 1.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum::<f64>() - 6.0
    }

    /// A sample of a metric around 100.
    pub(super) fn around_100(&mut self) -> f64 {
        100.0 + 10.0 * self.normal()
    }
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
