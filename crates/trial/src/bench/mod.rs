//! The same load on both kinds in turn, and what it cost them.
//!
//! ```text
//! for each load and number of clients: A B, A B, ... -> operations/s, p50, p99, processor time and disk bytes each
//! a ratio is of one round, so that it is of two neighbours in time; the median and the range of the rounds are told
//! ```

pub(crate) mod failover;
mod load;
mod report;
pub(crate) mod size;
mod value;

use std::time::Duration;

use anyhow::Result;
use regraft_testbed::{TestDir, end_cleanly_on_signals};

use crate::trio::{Certificates, Kind, Trio};
use load::Load;
pub(crate) use report::Output;
use report::{Report, Row};

/// More clients of one driver than this measure the driver.
const CLIENTS_MAX: i64 = 10_000;

/// What is measured, and how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which loads
    #[arg(long = "load", value_enum, value_delimiter = ',', default_values_t = Load::ALL)]
    loads: Vec<Load>,
    /// How many clients at the same time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256], value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    clients: Vec<u32>,
    /// Rounds of each; medians are told
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only one of them, to look at it with a profiler
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Beside whom; we have no mode without TLS
    #[arg(long, value_enum, default_value_t = Beside::Etcd)]
    beside: Beside,
    /// How figures are printed
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// One of both kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// Ours
    Regraft,
    /// Theirs
    Etcd,
}

impl Only {
    /// Of both, those that are wanted.
    fn of(only: Option<Self>, theirs: Kind) -> Vec<Kind> {
        match only {
            None => vec![Kind::Regraft, theirs],
            Some(Self::Regraft) => vec![Kind::Regraft],
            Some(Self::Etcd) => vec![theirs],
        }
    }
}

/// How etcd is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Beside {
    /// With mutual TLS, as ours
    Etcd,
    /// Without TLS
    PlainEtcd,
}

impl From<Beside> for Kind {
    fn from(beside: Beside) -> Self {
        match beside {
            Beside::Etcd => Self::Etcd,
            Beside::PlainEtcd => Self::PlainEtcd,
        }
    }
}

/// Starts both trios, measures in turn, prints.
pub(crate) async fn bench(options: &Options) -> Result<()> {
    let mut dir = TestDir::new("trial")?;
    end_cleanly_on_signals(dir.path().to_path_buf())?;
    let measured = measure(options, &dir).await;
    match measured {
        Ok(report) => report.print(options.output),
        Err(error) => {
            dir.keep();
            Err(error.context(format!(
                "logs and data are kept in {}",
                dir.path().display()
            )))
        }
    }
}

async fn measure(options: &Options, dir: &TestDir) -> Result<Report> {
    let certificates = Certificates::create(&dir.folder("certificates")?)?;
    let mut trios = Vec::new();
    for kind in Only::of(options.only, options.beside.into()) {
        trios.push(Trio::start(kind, dir.path(), &certificates).await?);
    }
    let time = Duration::from_secs(options.seconds);
    let mut rows = Vec::new();
    for load in &options.loads {
        for clients in options.clients.iter().map(|clients| *clients as usize) {
            let mut row = Row::new(*load, clients);
            for round in 0..options.rounds {
                for trio in &trios {
                    let figures = load::run(trio, *load, clients, round, time).await?;
                    row.add(trio.kind, figures);
                }
            }
            report::progress(&row);
            rows.push(row);
        }
    }
    Ok(Report::new(rows, &trios))
}
