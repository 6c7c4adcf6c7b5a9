//! Anomalies: every series is one service.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use regraft_detect::metrics::{Episode, Learning, Settings, Verdict, Watch};
use regraft_model::Timestamp;

use crate::{parallel, suite};

/// Writes `ad/<set>/<series>.csv` for each series of each set.
pub(crate) fn run(suite: &Path, out: &Path) -> Result<()> {
    let mut series = Vec::new();
    for set in suite::folders(&suite.join("ad"))? {
        let out = out.join("ad").join(suite::name(&set));
        series.extend(
            suite::folders(&set)?
                .into_iter()
                .map(|it| (it, out.clone())),
        );
    }
    parallel::each("ad", &series, |(folder, out)| one(folder, out))
}

fn one(folder: &PathBuf, out: &Path) -> Result<()> {
    let table = suite::table(&folder.join("data.csv"))?;
    let path = out.join(format!("{}.csv", suite::name(folder)));
    let mut predictions = suite::predictions(&path)?;
    let place = || format!("write {}", path.display());
    predictions
        .write_record(["timestamp", "score", "anomaly"])
        .with_context(place)?;
    let mut watch = Watch::new(Settings::default(), table.names.clone())
        .with_context(|| format!("watch {}", folder.display()))?;
    let mut values = vec![f64::NAN; table.names.len()];
    for (row, time) in table.times.iter().enumerate() {
        for (value, column) in values.iter_mut().zip(&table.columns) {
            *value = column[row];
        }
        let verdict = watch.observe(Timestamp(time * 1000), &values, Learning::On);
        let (score, told) = match &verdict {
            Verdict::Unknown(_) => (0.0, false),
            Verdict::Usual { surprise } => (*surprise, false),
            // Told once, when it begins: that is when a person is called.
            Verdict::Strange(anomaly) => (anomaly.surprise, anomaly.episode == Episode::Begins),
        };
        let line = [
            time.to_string(),
            format!("{score:.4}"),
            u8::from(told).to_string(),
        ];
        predictions.write_record(line).with_context(place)?;
    }
    predictions.flush().with_context(place)
}
