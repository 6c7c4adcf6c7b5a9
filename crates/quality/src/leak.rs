//! Slow leaks: each series of memory walked forward, one sample at a time.

use std::path::Path;

use anyhow::{Context as _, Result};
use regraft_detect::leak::{Detector, Options, Verdict};

use crate::{parallel, suite};

/// Writes what is said of every series of `SUITE/leak` to `OUT/leak`.
pub(crate) fn run(suite: &Path, out: &Path) -> Result<()> {
    let series = suite::folders(&suite.join("leak"))?;
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
    let mut writer = suite::predictions(&place)?;
    let place = || format!("write {}", place.display());
    writer
        .write_record(["timestamp", "score", "anomaly"])
        .with_context(place)?;
    let options = Options::default();
    let mut detector = Detector::new(None);
    for (row, (&time, &value)) in table.times.iter().zip(values).enumerate() {
        let verdict = detector.observe(&options, table.at(row), value);
        let is_leak = matches!(verdict, Verdict::Leak(_));
        writer
            .write_record([
                time.to_string(),
                format!("{:.6}", detector.strength()),
                u8::from(is_leak).to_string(),
            ])
            .with_context(place)?;
    }
    writer.flush().with_context(place)
}
