//! What two tests on ranks have in common.

/// Serial correlation is believed up to this: beyond it there is hardly one independent sample among all.
const CORRELATION_MAX: f64 = 0.95;

/// Ranks from 1 on; equal values share the mean of theirs.
pub(super) struct Ranks {
    pub(super) of: Vec<f64>,
    /// Sum of t³ - t over the groups of t equal values.
    pub(super) ties: f64,
}

impl Ranks {
    /// Of finite values.
    pub(super) fn new(values: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..values.len()).collect();
        // Not by total_cmp: -0 and 0 are equal.
        order.sort_by(|one, other| {
            let by_value = values[*one].partial_cmp(&values[*other]);
            by_value.unwrap_or(std::cmp::Ordering::Equal)
        });
        let (mut of, mut ties) = (vec![0.0; values.len()], 0.0);
        let mut first = 0;
        while first < order.len() {
            let value = values[order[first]];
            let equal = order[first..].iter().take_while(|it| values[**it] == value);
            let equal = equal.count().max(1);
            let group = &order[first..first + equal];
            let rank = first as f64 + (equal as f64 + 1.0) / 2.0;
            group.iter().for_each(|it| of[*it] = rank);
            let equal_values = equal as f64;
            ties += equal_values * equal_values * equal_values - equal_values;
            first += equal;
        }
        Self { of, ties }
    }
}

/// By how much the variance of a sum of ranks is larger because neighbours resemble each other: (1 + r) / (1 - r) for the
/// correlation r of ranks with the next in the same part (Bartlett 1935), once that is more than chance; else 1.
pub(super) fn inflation(parts: [&[f64]; 2]) -> f64 {
    let (mut together, mut alone) = (0.0, 0.0);
    let mut count = 0.0;
    for part in parts {
        let mean = part.iter().sum::<f64>() / (part.len() as f64).max(1.0);
        let away: Vec<f64> = part.iter().map(|rank| rank - mean).collect();
        together += away.windows(2).map(|it| it[0] * it[1]).sum::<f64>();
        alone += away.iter().map(|it| it * it).sum::<f64>();
        count += part.len() as f64;
    }
    if alone <= 0.0 {
        return 1.0;
    }
    let correlation = together / alone;
    if correlation <= 2.0 / f64::max(count, 1.0).sqrt() {
        return 1.0;
    }
    // Estimated from a few it is too low (Marriott and Pope 1954).
    let each = count / parts.len() as f64;
    let correlation = (correlation + (1.0 + 4.0 * correlation) / each).min(CORRELATION_MAX);
    (1.0 + correlation) / (1.0 - correlation)
}
