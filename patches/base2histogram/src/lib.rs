//! Stands in for `base2histogram` 0.2.3, of which openraft uses only what is below.
//!
//! The original computes lookup tables for sixteen resolutions when the first histogram is made: 26 MB that stay
//! resident in every member, of which one table of 2 KB is used. Here a value's bucket is computed: two bits below its
//! highest one, so a percentile is at most a quarter too low.

use std::fmt;
use std::marker::PhantomData;

/// Bits below a value's highest bit that tell buckets apart.
const FRACTION_BITS: u32 = 2;
/// Buckets for each power of two.
const BUCKETS_PER_POWER: usize = 1 << FRACTION_BITS;
/// Values below the first full power are their own buckets; 62 powers follow.
const BUCKETS: usize = BUCKETS_PER_POWER * (u64::BITS as usize - FRACTION_BITS as usize + 1);

/// How often values of about the same size were seen. `T` is part of the original's interface.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Vec<u64>,
    of: PhantomData<T>,
}

/// The values below which the named share of all samples lies, in the unit of the samples; 0 without samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were recorded.
    pub samples: u64,
    /// 0.1 %.
    pub p0_1: u64,
    /// 1 %.
    pub p1: u64,
    /// 5 %.
    pub p5: u64,
    /// 10 %.
    pub p10: u64,
    /// 50 %: the median.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p99_9: u64,
}

/// Histograms by name, told as their percentiles.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart(Vec<(String, PercentileStats)>);

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl<T> Histogram<T> {
    /// One without samples.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            of: PhantomData,
        }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value seen `times` times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        if let Some(count) = self.counts.get_mut(bucket(value)) {
            *count = count.saturating_add(times);
        }
    }

    /// Percentiles of all values, each told as the least value of its bucket.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        let samples = self
            .counts
            .iter()
            .fold(0u64, |sum, count| sum.saturating_add(*count));
        let at = |per_mille: u64| self.at(samples, per_mille);
        PercentileStats {
            samples,
            p0_1: at(1),
            p1: at(10),
            p5: at(50),
            p10: at(100),
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p99_9: at(999),
        }
    }

    fn at(&self, samples: u64, per_mille: u64) -> u64 {
        let wanted = u128::from(samples) * u128::from(per_mille);
        let mut seen = 0u128;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count) * 1000;
            if *count > 0 && seen >= wanted {
                return least(bucket);
            }
        }
        0
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Histogram<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.percentile_stats().fmt(f)
    }
}

impl AsciiChart {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more histogram.
    #[must_use]
    pub fn add<T>(mut self, name: impl Into<String>, histogram: Histogram<T>) -> Self {
        self.0.push((name.into(), histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, stats) in &self.0 {
            writeln!(f, "{name}: {stats:?}")?;
        }
        Ok(())
    }
}

fn bucket(value: u64) -> usize {
    let power = (u64::BITS - value.leading_zeros()).saturating_sub(FRACTION_BITS + 1);
    let fraction = usize::try_from(value >> power).unwrap_or(usize::MAX);
    (power as usize * BUCKETS_PER_POWER).saturating_add(fraction)
}

/// The least value of a bucket.
fn least(bucket: usize) -> u64 {
    let power = (bucket / BUCKETS_PER_POWER).saturating_sub(1);
    ((bucket - power * BUCKETS_PER_POWER) as u64) << power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_told_by_its_least_value_at_most_a_quarter_too_low() {
        let edges = (0..64).flat_map(|power| [1u64 << power, (1 << power) - 1, (1 << power) + 1]);
        for value in edges.chain(0..5000).chain([u64::MAX, u64::MAX - 1]) {
            let (bucket, least) = (bucket(value), least(bucket(value)));
            assert!(bucket < BUCKETS, "{value}: {bucket}");
            assert!(
                least <= value && value - least <= value / 4,
                "{value}: {least}"
            );
            assert_eq!(super::bucket(least), bucket, "{value}");
        }
    }

    #[test]
    fn percentiles_are_of_all_samples() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p99, 0);
        histogram.record_n(1, 90);
        histogram.record_n(64, 9);
        histogram.record(1024);
        let stats = histogram.percentile_stats();
        assert_eq!(stats.samples, 100);
        assert_eq!(
            (stats.p50, stats.p90, stats.p99, stats.p99_9),
            (1, 1, 64, 1024)
        );
    }
}
