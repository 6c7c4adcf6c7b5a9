//! Draws a stretch of one metric, and prints what was told in it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use regraft_detect::metrics::{Chart, Learning, Verdict};

use crate::suite::{self, Table};
use crate::{ad, picture};

/// What was made of the rows that are drawn.
struct Judged {
    /// For each metric one.
    charts: Vec<Chart>,
    /// With the rows they were said of.
    told: Vec<(usize, Verdict)>,
}

/// Draws rows `from..to` of the metric that was strangest when somebody was told first; the first metric when nobody was.
pub(crate) fn run(series: &Path, from: usize, to: usize, out: &Path) -> Result<()> {
    let data = series.join("data.csv");
    let table = suite::table(&data)
        .context("--series: name the folder of one series, such as SUITE/ad/SET/SERIES")?;
    let rows = table.times.len();
    ensure!(rows > 0, "{} has no rows", data.display());
    ensure!(
        from < to && to <= rows,
        "--rows {from} {to}: {} has rows 0 to {rows}; give FROM below TO within them",
        data.display()
    );
    let judged = walk(series, &table, from, to)?;
    let picture = picture::svg(&judged.charts[strangest(&table, &judged.told)]);
    std::fs::write(out, picture).with_context(|| {
        format!(
            "write {}; --out is a file in a folder that is there",
            out.display()
        )
    })?;
    for (row, verdict) in &judged.told {
        print!("row {row}: {verdict}");
    }
    println!(
        "told in rows {from} to {to}: {}; drawn in {}",
        judged.told.len(),
        out.display()
    );
    Ok(())
}

/// Judges all rows up to `to`, and charts those from `from` on.
fn walk(series: &Path, table: &Table, from: usize, to: usize) -> Result<Judged> {
    let mut watch = ad::watch(series, table)?;
    let title = |metric: &String| Chart::new(format!("{} {metric}", suite::name(series)));
    let mut charts: Vec<Chart> = table.names.iter().map(title).collect();
    let mut told = Vec::new();
    for row in 0..to {
        let (at, values) = (table.at(row), table.row(row));
        let bands: Vec<_> = (0..values.len())
            .map(|metric| watch.band(metric, at))
            .collect();
        let verdict = watch.observe(at, &values, Learning::On);
        if row < from {
            continue;
        }
        for ((chart, value), band) in charts.iter_mut().zip(values).zip(bands) {
            chart.push(at, value, band, &verdict);
        }
        if verdict.told().is_some() {
            told.push((row, verdict));
        }
    }
    Ok(Judged { charts, told })
}

/// The first metric of the first evidence.
fn strangest(table: &Table, told: &[(usize, Verdict)]) -> usize {
    let evidence = told.iter().find_map(|(_, verdict)| match verdict {
        Verdict::Strange(anomaly) => anomaly.metrics.first(),
        Verdict::Usual { .. } | Verdict::Unknown(_) => None,
    });
    evidence
        .and_then(|evidence| table.names.iter().position(|name| *name == evidence.metric))
        .unwrap_or_default()
}
