//! What peers are worth: the same series as if a second cluster began where the training part ends.
//!
//! ```text
//! training part ─> watch ─ summary ─> watch with peers ─> OUT/peers/ad/<set>/<series>.csv
//!                    │                watch that knows nothing ─> OUT/alone/ad/<set>/<series>.csv
//!                    └─────────────── goes on ────────────> OUT/always/ad/<set>/<series>.csv
//! ```
//!
//! All in the format of the anomalies, from the first row of the training part, of which nothing is said, to the last row
//! of the days that are asked for.

use std::path::Path;

use anyhow::{Context as _, Result};
use regraft_detect::metrics::{Learning, Summary, Unknown, Verdict, Watch};
use serde::Deserialize;

use crate::alarms::{Grade, Predictions};
use crate::{ad, parallel, suite};

const DAY_S: i64 = 86_400;

/// What is said of a series.
#[derive(Deserialize)]
struct About {
    /// Seconds since 1970 of the first row after the training part.
    train_end: i64,
}

/// Writes `alone`, `peers` and `always` for each series of each set.
pub(crate) fn run(suite: &Path, out: &Path, days: u32, grade: Grade) -> Result<()> {
    parallel::each("cold", &ad::series(suite)?, |(set, folder)| {
        one(set, folder, out, days, grade)
    })
}

fn one(set: &str, folder: &Path, out: &Path, days: u32, grade: Grade) -> Result<()> {
    let table = suite::table(&folder.join("data.csv"))?;
    let about: About = suite::about(&folder.join("meta.json"))?;
    let end_s = about
        .train_end
        .saturating_add(i64::from(days).saturating_mul(DAY_S));
    let row_of = |time_s: i64| {
        table
            .times
            .iter()
            .take_while(|time| **time < time_s)
            .count()
    };
    let (begin, end) = (row_of(about.train_end), row_of(end_s));
    let mut always = ad::watch(folder, &table)?;
    for row in 0..begin {
        always.observe(table.at(row), &table.row(row), Learning::On);
    }
    let peers = [told(&always)?];
    let begun = [
        ("alone", ad::watch(folder, &table)?, &[][..]),
        ("peers", ad::watch(folder, &table)?, &peers[..]),
        ("always", always, &[][..]),
    ];
    for (name, mut watch, peers) in begun {
        let path = out.join(name).join("ad").join(set);
        let path = path.join(format!("{}.csv", suite::name(folder)));
        let mut predictions = Predictions::create(&path)?;
        for (row, time) in table.times.iter().enumerate().take(end) {
            let verdict = match row < begin {
                true => Verdict::Unknown(Unknown::NoNumbers),
                false => {
                    if watch.wants_peers() {
                        watch.start_from(peers);
                    }
                    watch.observe(table.at(row), &table.row(row), Learning::On)
                }
            };
            ad::write(&mut predictions, *time, &verdict, grade)?;
        }
        predictions.finish()?;
    }
    Ok(())
}

/// What a cluster knows, as it reaches others.
fn told(watch: &Watch) -> Result<Summary> {
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
