//! Slow leaks: each series of memory walked forward, one sample at a time.

use std::path::Path;

use anyhow::{Context as _, Result};
use regraft_detect::leak::{Detector, Options, Verdict};

use crate::alarms::{Alarm, Predictions};
use crate::{parallel, suite};

/// Writes what is said of every series of `SUITE/leak` to `OUT/leak`.
pub(crate) fn run(suite: &Path, out: &Path) -> Result<()> {
    let series = suite::folders(&suite.join("leak"))?;
    let series = crate::some(series, suite, "leak/SERIES")?;
    parallel::each("leak", &series, |folder| walk(folder, out))
}

fn walk(folder: &Path, out: &Path) -> Result<()> {
    let table = suite::table(&folder.join("data.csv"))?;
    let place = out
        .join("leak")
        .join(format!("{}.csv", suite::name(folder)));
    let values = table
        .columns
        .first()
        .with_context(|| format!("{} has no column of values", folder.display()))?;
    let mut predictions = Predictions::create(&place)?;
    let options = Options::default();
    let mut detector = Detector::new(None);
    for (row, (&time, &value)) in table.times.iter().zip(values).enumerate() {
        let verdict = detector.observe(&options, table.at(row), value);
        let alarm = match verdict {
            Verdict::Leak(_) => Alarm::Told,
            _ => Alarm::Silent,
        };
        predictions.write(time, format_args!("{:.6}", detector.strength()), alarm)?;
    }
    predictions.finish()
}
