//! A linear model that learns row by row and forgets.

use serde::{Deserialize, Serialize};

use super::{VALUE_LIMIT, bits};

/// What one row of the past weighs a step later: half of it after 346 steps, a little over a day at five minutes.
const KEEP: f64 = 0.998;
/// Share of a column's own weight, and of the mean one, that pulls its coefficient to zero: columns say nearly the same.
const RIDGE: f64 = 0.01;
/// Rate of the usual error.
const RATE: f64 = 0.01;
/// More than any sum of products: five hundred of two differences of values each.
const PRODUCTS_MAX: f64 = 1e5 * VALUE_LIMIT * VALUE_LIMIT;

/// Weighted least squares with ridge and forgetting. A row weighs less the more it errs (Huber's weight with the mean
/// absolute error as its threshold), so that it leans to the median.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Regression {
    /// Lower triangle of the weighted products of columns.
    #[serde(with = "bits::many")]
    products: Vec<f64>,
    /// Weighted products of columns with what was to be told.
    #[serde(with = "bits::many")]
    targets: Vec<f64>,
    /// As last solved.
    #[serde(with = "bits::many")]
    coefficients: Vec<f64>,
    /// Mean absolute error.
    #[serde(with = "bits::one")]
    error: f64,
}

impl Regression {
    pub(super) fn new(columns: usize) -> Self {
        Self {
            products: vec![0.0; triangle(columns)],
            targets: vec![0.0; columns],
            coefficients: vec![0.0; columns],
            error: 0.0,
        }
    }

    /// Whether it is one of so many columns.
    pub(super) fn fits(&self, columns: usize) -> bool {
        self.products.len() == triangle(columns)
            && (0.0..=f64::MAX).contains(&self.error)
            && self.targets.len() == columns
            && self.coefficients.len() == columns
            && self.coefficients.iter().all(|value| value.is_finite())
            && [&self.products, &self.targets]
                .into_iter()
                .flatten()
                .all(|sum| sum.abs() <= PRODUCTS_MAX)
    }

    /// Bytes it takes beyond its own size.
    pub(super) fn heap_bytes(&self) -> usize {
        (self.products.len() + 2 * self.targets.len()) * size_of::<f64>()
    }

    pub(super) fn predict(&self, row: &[f64]) -> f64 {
        self.coefficients.iter().zip(row).map(|(a, b)| a * b).sum()
    }

    /// Learns what a row was followed by; nothing when that is past what a double holds.
    pub(super) fn learn(&mut self, row: &[f64], target: f64) {
        let error = (target - self.predict(row)).abs();
        if !error.is_finite() {
            return;
        }
        if self.error == 0.0 {
            self.error = error;
        }
        self.error += RATE * (error - self.error);
        let weight = if error > self.error {
            self.error / error
        } else {
            1.0
        };
        let mut product = self.products.iter_mut();
        for (i, a) in row.iter().enumerate() {
            for (b, product) in row[..=i].iter().zip(product.by_ref()) {
                *product = *product * KEEP + weight * a * b;
            }
            self.targets[i] = self.targets[i] * KEEP + weight * a * target;
        }
    }

    /// Finds the coefficients anew, by Cholesky's decomposition.
    pub(super) fn solve(&mut self) {
        let columns = self.targets.len();
        let mean = (0..columns)
            .map(|i| self.products[triangle(i) + i])
            .sum::<f64>()
            / columns as f64;
        let mut lower = self.products.clone();
        let mut solution = self.targets.clone();
        for i in 0..columns {
            let row = triangle(i);
            lower[row + i] += RIDGE * (lower[row + i] + mean) / 2.0;
            for j in 0..=i {
                let other = triangle(j);
                let known: f64 = (0..j).map(|k| lower[row + k] * lower[other + k]).sum();
                let rest = lower[row + j] - known;
                lower[row + j] = if i == j {
                    rest.sqrt()
                } else {
                    rest / lower[other + j]
                };
            }
            let known: f64 = (0..i).map(|k| lower[row + k] * solution[k]).sum();
            solution[i] = (solution[i] - known) / lower[row + i];
        }
        for i in (0..columns).rev() {
            let known: f64 = (i + 1..columns)
                .map(|k| lower[triangle(k) + i] * solution[k])
                .sum();
            solution[i] = (solution[i] - known) / lower[triangle(i) + i];
        }
        // Columns of zeros alone have no solution; what was known stays.
        if solution.iter().all(|value| value.is_finite()) {
            self.coefficients = solution;
        }
    }
}

/// Cells of the lower triangle above a row.
const fn triangle(row: usize) -> usize {
    row * (row + 1) / 2
}
