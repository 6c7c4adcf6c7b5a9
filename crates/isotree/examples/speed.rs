//! How fast a forest of 100 trees of 256 rows is fitted and scores 8 columns: `cargo run --release --example speed`.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "it measures, and tells figures"
)]

use isotree::{Cut, Error, IsolationForest};
use linfa::traits::Fit;
use linfa::{DatasetBase, Float};
use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::hint::black_box;
use std::time::Instant;

const ROWS: usize = 200_000;
const COLUMNS: usize = 8;
const SINGLE_ROWS: usize = 2_000;
const ROUNDS: usize = 3;

fn main() -> Result<(), Error> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let rows = Array2::from_shape_fn((ROWS, COLUMNS), |_| random.gen_range(-1.0..1.0_f64));
    println!(
        "{:<24} {:>14} {:>16} {:>14}",
        "", "fit, ms", "scores, rows/s", "one row, µs"
    );
    for (name, cut) in [
        ("straight cuts", Cut::Straight),
        ("slanted, 2 columns", Cut::Slanted { columns: 2 }),
    ] {
        for _ in 0..ROUNDS {
            measure::<f64>(&format!("f64, {name}"), cut, &rows)?;
            measure(&format!("f32, {name}"), cut, &rows.mapv(|x| x as f32))?;
        }
    }
    Ok(())
}

fn measure<F: Float>(name: &str, cut: Cut, rows: &Array2<F>) -> Result<(), Error> {
    let dataset = DatasetBase::from(rows.view());
    let began = Instant::now();
    let forest = IsolationForest::params().cut(cut).fit(&dataset)?;
    let fit_ms = began.elapsed().as_secs_f64() * 1e3;
    let began = Instant::now();
    black_box(forest.scores(rows)?);
    let rows_per_s = ROWS as f64 / began.elapsed().as_secs_f64();
    let singles: Vec<Array2<F>> = rows
        .rows()
        .into_iter()
        .take(SINGLE_ROWS)
        .map(|row| row.to_owned().insert_axis(ndarray::Axis(0)))
        .collect();
    let began = Instant::now();
    for row in &singles {
        black_box(forest.scores(row)?);
    }
    let one_us = began.elapsed().as_secs_f64() * 1e6 / SINGLE_ROWS as f64;
    println!("{name:<24} {fit_ms:>14.1} {rows_per_s:>16.0} {one_us:>14.2}");
    Ok(())
}
