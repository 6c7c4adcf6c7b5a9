//! `cargo xtask bench`: figures with real parts.
#![expect(
    clippy::print_stdout,
    reason = "figures are printed on standard output"
)]

mod fleet;
mod reconcile;

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
    let mut dir = TestDir::new("bench")?;
    end_cleanly_on_signals(dir.path().to_path_buf())?;
    let What::Reconcile { apps } = options.what;
    let result = reconcile::reconcile(dir.path(), apps);
    if result.is_err() {
        dir.keep();
        println!("logs and data are kept in {}", dir.path().display());
    }
    result
}
