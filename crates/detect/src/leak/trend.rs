//! The line through a window of hours, and how sure it is.

/// A line through points, fitted so that up to 29 % of them may be anything (Theil 1950, Sen 1968).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trend {
    /// Median of the slopes between all pairs, per hour.
    pub(super) slope: f64,
    /// 95 % interval of the slope, widened for what neighbouring hours have in common.
    pub(super) slope_low: f64,
    /// The same.
    pub(super) slope_high: f64,
    /// Kendall's tau of value against time, -1 to 1.
    pub(super) tau: f64,
    /// Value of the line at the last hour.
    pub(super) level: f64,
    /// Growth along the line over the window.
    pub(super) rise: f64,
    /// 1.4826 times the median distance from the line: a standard deviation, if the noise is normal.
    pub(super) noise: f64,
    /// Part of the variance that the line explains, 0 to 1.
    pub(super) r_squared: f64,
    /// The lower of the slopes of both halves, as a part of `slope`.
    pub(super) evenness: f64,
    /// The slope of the second half, as a part of `slope`.
    pub(super) recent: f64,
}

/// Two-sided 95 % of the normal distribution.
const Z_95: f64 = 1.96;
/// Standard deviation of a normal distribution in units of its median absolute deviation.
const MAD_TO_SIGMA: f64 = 1.4826;
/// What is taken for the correlation of neighbours at most; beyond it an interval would say nothing.
const CORRELATION_MAX: f64 = 0.9;

impl Trend {
    /// Fits points in order of time, at least four; none for fewer.
    pub(super) fn fit(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < 4 {
            return None;
        }
        let mut slopes = pair_slopes(points);
        slopes.sort_unstable_by(f64::total_cmp);
        let slope = middle_of(&slopes);
        let mut residuals: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
        let correlation = neighbour_correlation(&residuals);
        let offset = median(&mut residuals);
        for residual in &mut residuals {
            *residual = (*residual - offset).abs();
        }
        let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
        let noise = MAD_TO_SIGMA * median(&mut residuals);

        let rising = slopes.iter().filter(|slope| **slope > 0.0).count();
        let falling = slopes.iter().filter(|slope| **slope < 0.0).count();
        let pairs = slopes.len() as f64;
        let (slope_low, slope_high) = interval(&slopes, points.len(), correlation);
        let (first, last) = (points[0].0, points[points.len() - 1].0);
        let half = points.len() / 2;
        let part = |points| relative_slope(points, slope);
        let recent = part(&points[half..]);
        Some(Self {
            slope,
            slope_low,
            slope_high,
            tau: (rising as f64 - falling as f64) / pairs,
            level: offset + slope * last,
            rise: slope * (last - first),
            noise,
            r_squared: explained(points, squares),
            evenness: part(&points[..half]).min(recent),
            recent,
        })
    }
}

fn pair_slopes(points: &[(f64, f64)]) -> Vec<f64> {
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (index, (x, y)) in points.iter().enumerate() {
        for (later_x, later_y) in &points[index + 1..] {
            slopes.push((later_y - y) / (later_x - x));
        }
    }
    slopes
}

/// The slope of some of the points as a part of the slope of all; 0 when all do not rise.
fn relative_slope(points: &[(f64, f64)], slope: f64) -> f64 {
    if slope <= 0.0 {
        return 0.0;
    }
    median(&mut pair_slopes(points)) / slope
}

/// Sen's interval: so many slopes in from both ends as the variance of Kendall's S allows (Hollander, Wolfe 1999,
/// 9.3). The variance is multiplied by (1+r)/(1-r), as far fewer points than there are would be independent (Bayley,
/// Hammersley 1946).
fn interval(sorted: &[f64], points: usize, correlation: f64) -> (f64, f64) {
    let n = points as f64;
    let variance =
        n * (n - 1.0) * (2.0 * n + 5.0) / 18.0 * (1.0 + correlation) / (1.0 - correlation);
    let reach = Z_95 * libm::sqrt(variance);
    let last = sorted.len() - 1;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the places in a list"
    )]
    let place = |place: f64| place.clamp(0.0, last as f64) as usize;
    let pairs = sorted.len() as f64;
    (
        sorted[place((pairs - reach) / 2.0)],
        sorted[place((pairs + reach) / 2.0)],
    )
}

/// Correlation of each point's distance with the next one's, 0 to [`CORRELATION_MAX`].
fn neighbour_correlation(residuals: &[f64]) -> f64 {
    let mean = residuals.iter().sum::<f64>() / residuals.len() as f64;
    let variance: f64 = residuals.iter().map(|r| (r - mean) * (r - mean)).sum();
    let shared: f64 = residuals
        .iter()
        .zip(&residuals[1..])
        .map(|(a, b)| (a - mean) * (b - mean))
        .sum();
    if variance > 0.0 {
        (shared / variance).clamp(0.0, CORRELATION_MAX)
    } else {
        0.0
    }
}

fn explained(points: &[(f64, f64)], squares: f64) -> f64 {
    let mean = points.iter().map(|(_, y)| y).sum::<f64>() / points.len() as f64;
    let total: f64 = points.iter().map(|(_, y)| (y - mean) * (y - mean)).sum();
    if total > 0.0 {
        (1.0 - squares / total).clamp(0.0, 1.0)
    } else {
        0.0
    }
}

/// The median; 0 of nothing. Leaves the values in another order.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    middle_of(values)
}

fn middle_of(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(half)) {
        (_, None) => 0.0,
        (1, Some(middle)) => *middle,
        (_, Some(upper)) => (sorted[half - 1] + upper) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(slope: f64, noise: impl Fn(usize) -> f64) -> Vec<(f64, f64)> {
        (0..60)
            .map(|hour| (hour as f64, 100.0 + slope * hour as f64 + noise(hour)))
            .collect()
    }

    #[test]
    fn a_straight_line_is_found_exactly() {
        let trend = Trend::fit(&line(2.0, |_| 0.0)).unwrap();
        assert_eq!((trend.slope, trend.tau, trend.r_squared), (2.0, 1.0, 1.0));
        assert_eq!((trend.level, trend.rise), (218.0, 118.0));
        assert_eq!((trend.slope_low, trend.slope_high), (2.0, 2.0));
    }

    #[test]
    fn a_quarter_of_wild_points_does_not_move_the_line() {
        let wild = |hour: usize| if hour.is_multiple_of(4) { 1e6 } else { 0.0 };
        let trend = Trend::fit(&line(2.0, wild)).unwrap();
        assert!((trend.slope - 2.0).abs() < 0.01, "{trend:?}");
    }

    #[test]
    fn a_constant_has_no_trend() {
        let trend = Trend::fit(&line(0.0, |_| 0.0)).unwrap();
        assert_eq!((trend.slope, trend.tau, trend.evenness), (0.0, 0.0, 0.0));
    }

    #[test]
    fn noise_that_hangs_together_widens_the_interval() {
        let quick = Trend::fit(&line(1.0, |hour| f64::from(u8::from(hour % 2 == 0)))).unwrap();
        let slow = Trend::fit(&line(1.0, |hour| f64::from(u8::from(hour % 16 < 8)))).unwrap();
        let width = |trend: Trend| trend.slope_high - trend.slope_low;
        assert!(width(slow) > 2.0 * width(quick), "{slow:?} {quick:?}");
    }

    #[test]
    fn a_step_is_not_even() {
        let step = |hour: usize| if hour < 30 { 0.0 } else { 50.0 };
        let trend = Trend::fit(&line(0.1, step)).unwrap();
        assert!(trend.evenness < 0.6, "{trend:?}");
    }
}
