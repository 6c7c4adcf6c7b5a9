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

mod ad;
mod cold;
mod fc;
mod parallel;
mod rca;
mod suite;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

#[derive(Parser)]
#[command(
    name = "quality",
    about = "Predictions over a suite of labelled metrics"
)]
struct Cli {
    /// Folder with `ad`, `leak`, `fc` and `rca`; what it lacks is left out
    #[arg(long, value_name = "DIR")]
    suite: PathBuf,
    /// Folder that predictions are written to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

/// A part of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Anomalies
    Ad,
    /// Forecasts
    Fc,
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
    std::fs::read_dir(&cli.suite)
        .with_context(|| format!("look into the suite {}", cli.suite.display()))?;
    for part in Part::value_variants() {
        let always = cli.only.is_empty() && *part != Part::Cold;
        if !always && !cli.only.contains(part) {
            continue;
        }
        match part {
            Part::Ad => ad::run(&cli.suite, &cli.out)?,
            Part::Fc => fc::run(&cli.suite, &cli.out)?,
            Part::Rca => rca::run(&cli.suite, &cli.out)?,
            Part::Cold => cold::run(&cli.suite, &cli.out)?,
        }
    }
    Ok(())
}
