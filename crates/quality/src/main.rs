//! `quality suite --suite DIR --out DIR`: what our judgement says of the data of other people.
//!
//! ```text
//! DIR/ad/<set>/<series>/ ─ walk forward ─> detect ─> OUT/ad/<set>/<series>.csv      timestamp,score,anomaly
//! DIR/leak/<series>/     ─ walk forward ─> detect ─> OUT/leak/<series>.csv          the same
//! DIR/fc/<series>/       ─ walk forward ─> detect ─> OUT/fc/<series>.csv            origin,step,mean,q10,q50,q90
//! DIR/rca/<set>/<case>/  ─ two windows ──> remedy ─> OUT/rca/<set>/<case>.csv       service,metric, best first
//! ```
//!
//! `quality cold` cuts the series of `ad` in two, `quality month` generates what it judges, `quality plot` draws.
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
mod picture;
mod plot;
mod rca;
mod suite;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};

use crate::alarms::Grade;

#[derive(Parser)]
#[command(
    name = "quality",
    about = "Judges labelled metrics of other people, without their labels"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write predictions for every series and case of a suite
    Suite {
        /// Folder with `ad`, `leak`, `fc` and `rca`; what it lacks is left out
        #[arg(long, value_name = "DIR")]
        suite: PathBuf,
        /// Folder that predictions are written to, laid out as the suite is
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Only these parts
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<Part>,
        /// What counts as an anomaly in the predictions of `ad`
        #[arg(long, value_enum, default_value_t)]
        grade: Grade,
    },
    /// Write predictions for the first days of a cluster that is new, without and with peers
    ///
    /// Every series of `ad` is cut where its training part ends. OUT/alone is what a watch says that begins there,
    /// OUT/peers one that starts from the summary of a watch which saw the training part, OUT/always that watch itself.
    Cold {
        /// Folder with `ad`
        #[arg(long, value_name = "DIR")]
        suite: PathBuf,
        /// Folder that predictions are written to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Days after the training part
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
        days: u32,
        /// What counts as an anomaly
        #[arg(long, value_enum, default_value_t)]
        grade: Grade,
    },
    /// Count false alarms on a generated month in which nothing is wrong
    Month {
        /// What all chance follows from
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many services there are
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        services: u32,
        /// How many days it has
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
        /// Write the figures here too, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Draw a stretch of a series as SVG, and print what was told in it with its evidence
    ///
    /// The rows before it are judged too. Of several metrics the strangest is drawn, when somebody is told first; the
    /// first metric when nobody is.
    Plot {
        /// Folder of the series: SUITE/ad/SET/SERIES
        #[arg(long, value_name = "DIR")]
        series: PathBuf,
        /// The first row, counted from 0, and the row after the last one
        #[arg(long, num_args = 2, value_names = ["FROM", "TO"], required = true)]
        rows: Vec<usize>,
        /// File that the picture is written to
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
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
}

impl Part {
    /// Its folder.
    fn name(self) -> &'static str {
        match self {
            Self::Ad => "ad",
            Self::Fc => "fc",
            Self::Leak => "leak",
            Self::Rca => "rca",
        }
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Suite {
            suite,
            out,
            only,
            grade,
        } => predict(suite, out, only, *grade),
        Command::Cold {
            suite,
            out,
            days,
            grade,
        } => {
            parts(suite, &[Part::Ad])?;
            cold::run(suite, out, *days, *grade)
        }
        Command::Month {
            seed,
            services,
            days,
            json,
        } => month::run(*seed, *services, *days, json.as_deref()),
        Command::Plot { series, rows, out } => match rows[..] {
            [from, to] => plot::run(series, from, to, out),
            _ => bail!("--rows: give two numbers, FROM and TO"),
        },
    }
}

fn predict(suite: &Path, out: &Path, only: &[Part], grade: Grade) -> Result<()> {
    let mut failed = Vec::new();
    for part in parts(suite, only)? {
        let done = match part {
            Part::Ad => ad::run(suite, out, grade),
            Part::Fc => fc::run(suite, out),
            Part::Leak => leak::run(suite, out),
            Part::Rca => rca::run(suite, out),
        };
        // The other parts are judged all the same.
        failed.extend(done.err().map(|error| format!("{error:#}")));
    }
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// What a part of the suite holds.
///
/// # Errors
/// When that is nothing: of an empty part nothing would be told, and no file would say so.
pub(crate) fn some<T>(found: Vec<T>, suite: &Path, folders: &str) -> Result<Vec<T>> {
    ensure!(
        !found.is_empty(),
        "--suite: there is no folder {}/{folders}; lay it out like that",
        suite.display()
    );
    Ok(found)
}

/// The parts that are asked for, or all, as far as the suite has them.
fn parts(suite: &Path, only: &[Part]) -> Result<Vec<Part>> {
    let has = |part: &Part| suite.join(part.name()).is_dir();
    if let Some(part) = only.iter().find(|part| !has(part)) {
        bail!(
            "--suite: {} has no folder {}; name a folder that has one",
            suite.display(),
            part.name()
        );
    }
    let all = Part::value_variants().iter().copied();
    let parts: Vec<Part> = all
        .filter(|part| has(part) && (only.is_empty() || only.contains(part)))
        .collect();
    ensure!(
        !parts.is_empty(),
        "--suite: {} has no folder ad, leak, fc or rca; name a folder that has one of them",
        suite.display()
    );
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_part_without_series_is_told_with_how_they_lie() {
        let told = some(Vec::<u8>::new(), Path::new("/suite"), "leak/SERIES");
        assert_eq!(
            told.expect_err("there is none").to_string(),
            "--suite: there is no folder /suite/leak/SERIES; lay it out like that"
        );
    }

    #[test]
    fn what_a_suite_lacks_is_named_with_what_to_do() {
        let told = |only: &[Part]| {
            let error = parts(Path::new("/nowhere"), only).expect_err("there is nothing");
            error.to_string()
        };
        assert_eq!(
            told(&[]),
            "--suite: /nowhere has no folder ad, leak, fc or rca; name a folder that has one of them"
        );
        assert_eq!(
            told(&[Part::Leak]),
            "--suite: /nowhere has no folder leak; name a folder that has one"
        );
    }
}
