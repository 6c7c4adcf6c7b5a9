//! How long the way to a row is in a tree of a given size, and the score that follows (Liu et al. 2008, equations 1 and 2).

/// Mean path length of an unsuccessful search in a binary search tree of so many rows: how deep a leaf that was left
/// with that many would have gone on. Equation 1 with the exact harmonic number instead of its logarithm, up to
/// [`EXACT_UP_TO`] rows.
pub(crate) fn mean_path_length(rows: usize) -> f64 {
    match rows {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let n = count(rows);
            2.0 * harmonic(rows - 1) - 2.0 * (n - 1.0) / n
        }
    }
}

/// The score of a row from its path length as a multiple of the mean one (equation 2).
pub(crate) fn score(path_length: f64) -> f64 {
    libm::exp2(-path_length)
}

/// Rows as a number; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "rows of a sample")]
pub(crate) fn count(rows: usize) -> f64 {
    rows as f64
}

/// From here on the sum would be slow, and the approximation differs by less than 1e-11.
const EXACT_UP_TO: usize = 4096;
const EULER_MASCHERONI: f64 = 0.577_215_664_901_532_9;

fn harmonic(n: usize) -> f64 {
    if n <= EXACT_UP_TO {
        return (1..=n).rev().map(|k| 1.0 / count(k)).sum();
    }
    let n = count(n);
    libm::log(n) + EULER_MASCHERONI + 1.0 / (2.0 * n) - 1.0 / (12.0 * n * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_path_lengths_are_those_of_the_paper() {
        let near = |rows, expected: f64| (mean_path_length(rows) - expected).abs() < 1e-4;
        assert!(near(0, 0.0) && near(1, 0.0) && near(2, 1.0));
        // H(2) = 1.5.
        assert!(near(3, 2.0 * 1.5 - 4.0 / 3.0));
        assert!(near(256, 10.248_69), "{}", mean_path_length(256));
    }

    #[test]
    fn the_approximation_takes_over_without_a_step() {
        let exact: f64 = (1..=EXACT_UP_TO + 1).map(|k| 1.0 / count(k)).sum();
        assert!((harmonic(EXACT_UP_TO + 1) - exact).abs() < 1e-11);
    }

    #[test]
    fn the_average_row_scores_one_half() {
        assert!((score(1.0) - 0.5).abs() < f64::EPSILON);
        assert!(score(1.0 / mean_path_length(256)) > 0.9);
    }
}
