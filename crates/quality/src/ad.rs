//! Anomalies: every series is one service.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use regraft_detect::metrics::{Episode, Learning, Settings, Verdict, Watch};

use crate::{parallel, suite};

/// Writes `ad/<set>/<series>.csv` for each series of each set.
pub(crate) fn run(suite: &Path, out: &Path) -> Result<()> {
    parallel::each("ad", &series(suite)?, |(set, folder)| {
        one(folder, &out.join("ad").join(set))
    })
}

/// The folders of all series, with the names of their sets.
pub(crate) fn series(suite: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut series = Vec::new();
    for set in suite::folders(&suite.join("ad"))? {
        let folders = suite::folders(&set)?.into_iter();
        series.extend(folders.map(|folder| (suite::name(&set), folder)));
    }
    Ok(series)
}

fn one(folder: &Path, out: &Path) -> Result<()> {
    let table = suite::table(&folder.join("data.csv"))?;
    let path = out.join(format!("{}.csv", suite::name(folder)));
    let mut predictions = Predictions::create(&path)?;
    let mut watch = Watch::new(Settings::default(), table.names.clone())
        .with_context(|| format!("watch {}", folder.display()))?;
    for (row, time) in table.times.iter().enumerate() {
        let verdict = watch.observe(table.at(row), &table.row(row), Learning::On);
        predictions.write(*time, &verdict)?;
    }
    predictions.finish()
}

/// The predictions of one series.
pub(crate) struct Predictions {
    path: PathBuf,
    file: csv::Writer<std::fs::File>,
}

impl Predictions {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mut predictions = Self {
            path: path.to_owned(),
            file: suite::predictions(path)?,
        };
        predictions.line(["timestamp", "score", "anomaly"])?;
        Ok(predictions)
    }

    /// What was said of a time, in seconds since 1970.
    pub(crate) fn write(&mut self, time: i64, verdict: &Verdict) -> Result<()> {
        let (score, told) = match verdict {
            Verdict::Unknown(_) => (0.0, false),
            Verdict::Usual { surprise } => (*surprise, false),
            // Told once, when it begins: that is when a person is called.
            Verdict::Strange(anomaly) => (anomaly.surprise, anomaly.episode == Episode::Begins),
        };
        let (score, told) = (format!("{score:.4}"), u8::from(told).to_string());
        self.line([&time.to_string(), &score, &told])
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        let place = || format!("write {}", self.path.display());
        self.file.flush().with_context(place)
    }

    fn line(&mut self, line: [&str; 3]) -> Result<()> {
        let place = || format!("write {}", self.path.display());
        self.file.write_record(line).with_context(place)
    }
}
