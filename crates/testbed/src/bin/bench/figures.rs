//! What is made of measurements.

use regraft_testbed::Usage;

const MIB: f64 = 1024.0 * 1024.0;

/// The one in the middle, the upper of two; not a number where nothing was measured.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Highest resident memory.
#[expect(clippy::cast_precision_loss, reason = "a few MiB")]
pub(crate) fn peak_mib(usage: &Usage) -> f64 {
    usage.peak_bytes as f64 / MIB
}
