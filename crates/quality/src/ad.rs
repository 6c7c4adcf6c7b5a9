//! Anomalies: every series is one service.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use regraft_detect::metrics::{self, Episode, Learning, Settings, Verdict, Watch};

use crate::alarms::{Alarm, Grade, Predictions};
use crate::suite::Table;
use crate::{parallel, suite};

/// Writes `ad/<set>/<series>.csv` for each series of each set.
pub(crate) fn run(suite: &Path, out: &Path, grade: Grade) -> Result<()> {
    parallel::each("ad", &series(suite)?, |(set, folder)| {
        one(folder, &out.join("ad").join(set), grade)
    })
}

/// The folders of all series, with the names of their sets.
pub(crate) fn series(suite: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut series = Vec::new();
    for set in suite::folders(&suite.join("ad"))? {
        let folders = suite::folders(&set)?.into_iter();
        series.extend(folders.map(|folder| (suite::name(&set), folder)));
    }
    crate::some(series, suite, "ad/SET/SERIES")
}

fn one(folder: &Path, out: &Path, grade: Grade) -> Result<()> {
    let table = suite::table(&folder.join("data.csv"))?;
    let path = out.join(format!("{}.csv", suite::name(folder)));
    let mut watch = watch(folder, &table)?;
    let mut predictions = Predictions::create(&path)?;
    for (row, time) in table.times.iter().enumerate() {
        let verdict = watch.observe(table.at(row), &table.row(row), Learning::On);
        write(&mut predictions, *time, &verdict, grade)?;
    }
    predictions.finish()
}

/// Writes what was said of a time, in seconds since 1970.
pub(crate) fn write(
    predictions: &mut Predictions,
    time_s: i64,
    verdict: &Verdict,
    grade: Grade,
) -> Result<()> {
    let surprise = match verdict {
        Verdict::Unknown(_) => 0.0,
        Verdict::Usual { surprise } => *surprise,
        Verdict::Strange(anomaly) => anomaly.surprise,
    };
    predictions.write(time_s, format_args!("{surprise:.4}"), alarm(verdict, grade))
}

/// Somebody is told once an episode: when it begins, or when it is an alarm.
fn alarm(verdict: &Verdict, grade: Grade) -> Alarm {
    let Verdict::Strange(anomaly) = verdict else {
        return Alarm::Silent;
    };
    match (grade, anomaly.episode, anomaly.grade) {
        (Grade::Suspicion, Episode::Begins, _)
        | (Grade::Alarm, Episode::Begins | Episode::Rises, metrics::Grade::Alarm) => Alarm::Told,
        _ => Alarm::Silent,
    }
}

/// A watch that knows nothing, for the columns of a table.
pub(crate) fn watch(folder: &Path, table: &Table) -> Result<Watch> {
    ensure!(
        !table.names.is_empty(),
        "{} has no column but the time",
        folder.join("data.csv").display()
    );
    Watch::new(Settings::default(), table.names.clone())
        .with_context(|| format!("watch {}", folder.display()))
}
