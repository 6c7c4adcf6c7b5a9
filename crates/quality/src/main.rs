//! `quality --suite DIR --out DIR`: how good the judgement is, on data of other people.
//!
//! ```text
//! DIR/ad/<set>/<series>/ ─ walk forward ─> detect ─> OUT/ad/<set>/<series>.csv      timestamp,score,anomaly
//!                      ─ cut in two ───> detect ─> OUT/{alone,peers}/ad/<set>/<series>.csv  only when asked for
//! DIR/leak/<series>/     ─ walk forward ─> detect ─> OUT/leak/<series>.csv          the same
//! DIR/fc/<series>/       ─ walk forward ─> detect ─> OUT/fc/<series>.csv            origin,step,mean,q10,q50,q90
//! DIR/rca/<set>/<case>/  ─ two windows ──> remedy ─> OUT/rca/<set>/<case>.csv       service,metric, best first
//! ```
//!
//! One configuration for everything. Labels are never opened, names of sets and series only name files, and a row is
//! judged before the next one is read. What is written depends on nothing but what is read.

#![expect(
    clippy::print_stdout,
    reason = "a command-line program speaks on its standard output"
)]

mod ad;
mod alarms;
mod cold;
mod fc;
mod leak;
mod month;
mod parallel;
mod plot;
mod rca;
mod suite;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};

#[derive(Parser)]
#[command(
    name = "quality",
    about = "Predictions over a suite of labelled metrics"
)]
struct Cli {
    /// Folder with `ad`, `leak`, `fc` and `rca`; what it lacks is left out
    #[arg(long, value_name = "DIR", required_unless_present_any = ["month", "plot"])]
    suite: Option<PathBuf>,
    /// Folder that predictions are written to
    #[arg(long, value_name = "DIR", required_unless_present = "month")]
    out: Option<PathBuf>,
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Instead of predictions: draw rows FROM to TO of the series in this folder into the file OUT, as SVG
    #[arg(long, value_name = "SERIES", requires = "rows", conflicts_with_all = ["suite", "only", "month"])]
    plot: Option<PathBuf>,
    /// Rows that are drawn
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    rows: Vec<usize>,
    /// Instead of a suite: count false alarms on a generated month in which nothing is wrong
    #[arg(long, conflicts_with_all = ["suite", "out", "only"])]
    month: bool,
    /// Seed of the generated month
    #[arg(long, default_value_t = 1, requires = "month")]
    seed: u64,
}

/// A part of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Anomalies
    Ad,
    /// Forecasts
    Fc,
    /// Slow leaks
    Leak,
    /// Root causes
    Rca,
    /// Anomalies in a cluster that is new, without and with peers; only when it is named
    Cold,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    if let (Some(series), Some(out), &[from, to]) = (&cli.plot, &cli.out, &cli.rows[..]) {
        return plot::run(series, from, to, out);
    }
    let (Some(suite), Some(out)) = (&cli.suite, &cli.out) else {
        return month::run(cli.seed);
    };
    std::fs::read_dir(suite).with_context(|| format!("look into the suite {}", suite.display()))?;
    let mut failed = Vec::new();
    for part in Part::value_variants() {
        let always = cli.only.is_empty() && *part != Part::Cold;
        if !always && !cli.only.contains(part) {
            continue;
        }
        let done = match part {
            Part::Ad => ad::run(suite, out),
            Part::Fc => fc::run(suite, out),
            Part::Leak => leak::run(suite, out),
            Part::Rca => rca::run(suite, out),
            Part::Cold => cold::run(suite, out),
        };
        // The other parts are judged all the same.
        failed.extend(done.err().map(|error| format!("{error:#}")));
    }
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}
