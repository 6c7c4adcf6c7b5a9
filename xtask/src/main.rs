//! The one door to build, test, demo and checks: `cargo xtask COMMAND`.
//!
//! ```text
//! tools + Debian packages ─┐
//! RocksDB (once, cached) ──┼─> Prepared { environment } ─> cargo build, test, demo, bench
//! control plane, KWOK ─────┘
//! ```
//!
//! It links none of our crates, so that it compiles in seconds on a machine
//! that has nothing yet. It never writes outside the cache folder, the target
//! folder and, for `fix` and `codegen`, the sources.

mod bootstrap;
mod cargo;
mod clock;
mod progress;
mod run;
mod say;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::bootstrap::Parts;
use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, test, demo and checks of regraft")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check tools, install missing packages, build RocksDB and the control plane into the cache
    Bootstrap {
        /// What to prepare
        #[arg(long, value_enum, default_value_t = Parts::All)]
        parts: Parts,
    },
}

fn main() -> std::process::ExitCode {
    match act(&Cli::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            say::error(&format!("{error:#}"));
            std::process::ExitCode::FAILURE
        }
    }
}

fn act(cli: &Cli) -> Result<()> {
    let workspace = Workspace::find()?;
    match &cli.command {
        Command::Bootstrap { parts } => bootstrap::prepare(&workspace, *parts).map(|_| ()),
    }
}
