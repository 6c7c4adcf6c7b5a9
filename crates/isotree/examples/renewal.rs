//! A machine whose normal changes: a forest that is renewed follows it, and says of what is strange which column made it
//! so. `cargo run --example renewal`.
#![expect(clippy::print_stdout, reason = "an example shows what comes out")]

use isotree::{IsolationForest, Threshold};
use linfa::DatasetBase;
use linfa::traits::{Fit, FitWith};
use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const COLUMNS: [&str; 2] = ["cores", "gigabytes"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut week = |cores: f64| {
        Array2::from_shape_fn((1000, 2), |(_, column)| {
            let usual = if column == 0 { cores } else { 8.0 };
            usual + random.gen_range(-0.5..0.5)
        })
    };
    let params = IsolationForest::params()
        .threshold(Threshold::Contamination(0.05))
        .renewed(0.5)
        .seed(1);
    let mut forest = params.fit(&DatasetBase::from(week(2.0)))?;
    let busy = [4.0, 8.0];
    for renewals in 0..=2 {
        let why = forest.explain(&busy)?;
        println!(
            "after {renewals} renewals {busy:?} scores {:.2}, told above {:.2}",
            why.score,
            forest.threshold()
        );
        for (name, added) in COLUMNS.iter().zip(&why.columns) {
            println!("  {name}: {added:+.2}");
        }
        forest = params.fit_with(Some(forest), &DatasetBase::from(week(4.0)))?;
    }
    let stored = serde_json::to_string(&forest)?;
    let read: IsolationForest<f64> = serde_json::from_str(&stored)?;
    println!(
        "{} bytes of JSON read back: {}",
        stored.len(),
        read == forest
    );
    Ok(())
}
