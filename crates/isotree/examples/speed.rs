//! How fast a forest of 100 trees of 256 rows is fitted on a million rows of 8 columns and scores them, on one thread:
//! `cargo run --release --example speed -- [straight|slanted]`. One line of JSON for each kind of number and of cut.
//!
//! Times are those of the processor: what else runs on the machine is not counted.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "it measures, and tells figures"
)]

use isotree::{Cut, Error, IsolationForest};
use linfa::traits::Fit;
use linfa::{DatasetBase, Float};
use ndarray::{Array2, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::time::Duration;

const ROWS: usize = 1_000_000;
const COLUMNS: usize = 8;
/// Fits whose mean is told: one takes milliseconds.
const FITS: usize = 10;
const SINGLE_ROWS: usize = 10_000;

fn main() -> Result<(), Error> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let rows = Array2::from_shape_fn((ROWS, COLUMNS), |_| random.gen_range(-1.0..1.0_f64));
    let wanted = std::env::args().nth(1);
    let cuts = [
        ("straight", Cut::Straight),
        ("slanted", Cut::Slanted { columns: 2 }),
    ];
    for (name, cut) in cuts {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            measure::<f64>("f64", name, cut, &rows)?;
            measure("f32", name, cut, &rows.mapv(|x| x as f32))?;
        }
    }
    Ok(())
}

fn measure<F: Float>(numbers: &str, cuts: &str, cut: Cut, rows: &Array2<F>) -> Result<(), Error> {
    let dataset = DatasetBase::from(rows.view());
    let params = IsolationForest::params().trees(100).sample_rows(256);
    let params = params.cut(cut);
    let fits_s = seconds(|| {
        for _ in 0..FITS {
            black_box(params.fit(&dataset)?);
        }
        Ok(())
    })?;
    let forest = params.fit(&dataset)?;
    let scores_s = seconds(|| forest.scores(rows).map(|scores| drop(black_box(scores))))?;
    let singles: Vec<Array2<F>> = rows
        .rows()
        .into_iter()
        .take(SINGLE_ROWS)
        .map(|row| row.to_owned().insert_axis(Axis(0)))
        .collect();
    let singles_s = seconds(|| {
        for row in &singles {
            black_box(forest.scores(row)?);
        }
        Ok(())
    })?;
    println!(
        r#"{{"name":"ours","numbers":"{numbers}","cuts":"{cuts}","fit_s":{:.6},"rows_per_s":{:.0},"one_row_us":{:.3}}}"#,
        fits_s / FITS as f64,
        ROWS as f64 / scores_s,
        singles_s * 1e6 / SINGLE_ROWS as f64,
    );
    Ok(())
}

/// Processor time that some work takes.
fn seconds(work: impl FnOnce() -> Result<(), Error>) -> Result<f64, Error> {
    let now = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::try_from(time).unwrap_or_default()
    };
    let began = now();
    work()?;
    Ok((now() - began).as_secs_f64())
}
