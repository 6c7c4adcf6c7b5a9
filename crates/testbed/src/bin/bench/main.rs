//! `cargo xtask bench`: figures with real parts.
#![expect(
    clippy::print_stdout,
    reason = "figures are printed on standard output"
)]

mod figures;
mod fleet;
mod heal;
mod idle;
mod reconcile;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use regraft_testbed::{TestDir, end_cleanly_on_signals};

#[derive(Parser)]
#[command(name = "bench", about = "Figures with real parts")]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// One cluster, one member, many applications of one directory each
    Reconcile {
        /// How many applications
        #[arg(long, default_value_t = 100)]
        apps: u32,
        /// How often all of it is measured, on a new cluster each time
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Three clusters, three members: how fast commits are applied, faults reverted, leaders replaced
    Heal {
        /// How often each is measured
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// The repository to fill Git from
        #[arg(long, default_value = "gitops-examples")]
        repository: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the benchmark failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    match &options.what {
        What::Heal { rounds, repository } => {
            let dir = TestDir::new("heal")?;
            end_cleanly_on_signals(dir.path().to_path_buf())?;
            heal::heal(dir, repository, *rounds)
        }
        What::Reconcile { apps, rounds } => {
            let mut dir = TestDir::new("bench")?;
            end_cleanly_on_signals(dir.path().to_path_buf())?;
            let result = reconcile::reconcile(dir.path(), *apps, *rounds);
            if result.is_err() {
                dir.keep();
                println!("logs and data are kept in {}", dir.path().display());
            }
            result
        }
    }
}
