//! Forecasts: the next twelve steps from every row of the test part.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use regraft_detect::forecast::Forecaster;
use serde::Deserialize;

use crate::{parallel, suite};

/// What is said about a series. Its season is said too, and is not read.
#[derive(Deserialize)]
struct About {
    step_s: u32,
    horizon: usize,
    /// Rows before the test part.
    n_train: usize,
}

/// Writes `fc/<series>.csv` for each series.
pub(crate) fn run(suite: &Path, out: &Path) -> Result<()> {
    let series = suite::folders(&suite.join("fc"))?;
    let series = crate::some(series, suite, "fc/SERIES")?;
    parallel::each("fc", &series, |folder| walk(folder, &out.join("fc")))
}

/// Forecasts from each row of the test part before reading the next.
fn walk(folder: &Path, out: &Path) -> Result<()> {
    let about: About = suite::about(&folder.join("meta.json"))?;
    let table = suite::table(&folder.join("data.csv"))?;
    ensure!(
        table.columns.len() == 1,
        "{}: a series has one column",
        folder.display()
    );
    let name = suite::name(folder);
    let path = out.join(format!("{name}.csv"));
    let place = || format!("write {}", path.display());
    let mut forecaster =
        Forecaster::new(about.step_s).with_context(|| format!("forecast {name}"))?;
    let mut predictions = suite::predictions(&path)?;
    predictions
        .write_record(["origin", "step", "mean", "q10", "q50", "q90"])
        .with_context(place)?;
    for (row, (&time, &value)) in table.times.iter().zip(&table.columns[0]).enumerate() {
        forecaster.observe(table.at(row), value);
        if row + 1 < about.n_train {
            continue;
        }
        // Withheld, for example after a gap: the row has no prediction.
        let Ok(forecast) = forecaster.forecast(table.at(row), about.horizon) else {
            continue;
        };
        for (step, ahead) in (1..).zip(&forecast.steps) {
            let [low, middle, high] = [0.1, 0.5, 0.9].map(|level| ahead.quantile(level));
            predictions
                .serialize((time, step, ahead.point, low, middle, high))
                .with_context(place)?;
        }
    }
    predictions.flush().with_context(place)
}
