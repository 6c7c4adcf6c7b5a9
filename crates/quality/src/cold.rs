//! What peers are worth: the same series as if a second cluster began where the training part ends.
//!
//! `alone/ad/<set>/<series>.csv` is a watch that knows nothing there, `peers/ad/<set>/<series>.csv` one that starts from
//! the summary of a watch which saw the training part. Both in the format of the anomalies, without that part.

use std::path::Path;

use anyhow::{Context as _, Result};
use regraft_detect::metrics::{Learning, Summary};
use serde::Deserialize;

use crate::alarms::Predictions;
use crate::suite::Table;
use crate::{ad, parallel, suite};

/// What is said of a series.
#[derive(Deserialize)]
struct About {
    /// Seconds since 1970 of the first row after the training part.
    train_end: i64,
}

/// Writes `alone/ad/<set>/<series>.csv` and `peers/ad/<set>/<series>.csv` for each series of each set.
pub(crate) fn run(suite: &Path, out: &Path) -> Result<()> {
    parallel::each("cold", &ad::series(suite)?, |(set, folder)| {
        one(set, folder, out)
    })
}

fn one(set: &str, folder: &Path, out: &Path) -> Result<()> {
    let table = suite::table(&folder.join("data.csv"))?;
    let about: About = suite::about(&folder.join("meta.json"))?;
    let begin = table.times.partition_point(|time| *time < about.train_end);
    let peers = [peer(folder, &table, begin)?];
    for (name, peers) in [("alone", &[][..]), ("peers", &peers[..])] {
        let path = out.join(name).join("ad").join(set);
        let path = path.join(format!("{}.csv", suite::name(folder)));
        let mut watch = ad::watch(folder, &table)?;
        let mut predictions = Predictions::create(&path)?;
        for (row, time) in table.times.iter().enumerate().skip(begin) {
            if watch.wants_peers() {
                watch.start_from(peers);
            }
            let verdict = watch.observe(table.at(row), &table.row(row), Learning::On);
            ad::write(&mut predictions, *time, &verdict)?;
        }
        predictions.finish()?;
    }
    Ok(())
}

/// What a cluster knows that saw the rows up to `end`, as it reaches others.
fn peer(folder: &Path, table: &Table, end: usize) -> Result<Summary> {
    let mut watch = ad::watch(folder, table)?;
    for row in 0..end {
        watch.observe(table.at(row), &table.row(row), Learning::On);
    }
    let summary = watch.summary();
    let entries = summary.entries();
    let entries = entries
        .iter()
        .map(|(name, bytes)| (*name, bytes.as_slice()));
    let (read, problems) = Summary::read(entries);
    match problems.into_iter().next() {
        None => Ok(read),
        Some((name, problem)) => {
            Err(problem).with_context(|| format!("read what is told of {name}"))
        }
    }
}
