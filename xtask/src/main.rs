//! The one door to build, test, demo and checks: `cargo xtask COMMAND`.
//!
//! ```text
//! tools + Debian packages ─┐
//! RocksDB (once, cached) ──┼─> Prepared { environment } ─> cargo build, test, demo, bench
//! control plane, KWOK ─────┘
//! Python (once, cached) ────> quality, bench isotree: what others made is run beside ours
//! cargo-fuzz (once, cached) > fuzz
//! ```
//!
//! It links none of our crates, so that it compiles in seconds on a machine
//! that has nothing yet. It never writes outside the cache folder, the target
//! folder and, for `fix`, `codegen` and `fuzz --keep`, the sources.

mod bootstrap;
mod cargo;
mod clock;
mod codegen;
mod drive;
mod figures;
mod forests;
mod fuzz;
mod leftovers;
mod metadata;
mod progress;
mod quality;
mod run;
mod say;
mod sim;
mod sim_replica;
mod test;
mod trial;
mod verify;
mod workspace;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use crate::bootstrap::Parts;
use crate::drive::Profile;
use crate::forests::Output;
use crate::workspace::Workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Build, test, demo and checks of regraft"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the whole promise with real parts: three clusters, a Git repository, three members, a bad commit
    Demo {
        /// Leave everything running, and print how to look at it
        #[arg(long)]
        keep: bool,
        /// Write the facts as JSON
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Build the `regraft` binary with the cached RocksDB, and say where it is
    Build {
        /// As it is shipped
        #[arg(long)]
        release: bool,
    },
    /// Run every check, test and a bounded simulation; what continuous integration runs
    Test,
    /// Check habits: purity, lints, generated code, licences, formatting, no warning of rustc or clippy; no source changes
    Verify,
    /// Format, apply clippy's suggestions, and generate code
    Fix,
    /// Generate code from proto/
    Codegen,
    /// Measure with real parts, or beside what others made
    Bench {
        #[command(subcommand)]
        what: Bench,
        /// Which build is measured [default: dev; of raft, failover, size and isotree it is always release]
        #[arg(long, value_enum, global = true)]
        profile: Option<Profile>,
    },
    /// Judge series of other people, and show how good that is beside floors and bars
    Quality(quality::Options),
    /// Simulate seeded worlds and check every invariant; or, with `replica`, members of the replicated state
    Sim {
        /// What else is simulated
        #[command(subcommand)]
        what: Option<Sim>,
        /// Arguments of the simulator of worlds, such as --seeds N, --seed S, --plant BUG; see --help after --
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Torture three members of the replicated state: a load, real faults, and a verdict on what clients saw
    Torture {
        /// Arguments of the trial, such as --minutes N, --seed S, --faults KIND,KIND, -o json; see --help after --
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Give every decoder any bytes for a while (libFuzzer), and tell what broke a promise
    Fuzz(fuzz::Options),
    /// Check tools, install missing packages, build RocksDB and the control plane into the cache
    Bootstrap {
        /// What to prepare
        #[arg(long, value_enum, default_value_t = Parts::All)]
        parts: Parts,
    },
}

#[derive(Subcommand)]
enum Sim {
    /// Members of the replicated state in simulated time, under faults
    Replica(sim_replica::Options),
}

#[derive(Subcommand)]
enum Bench {
    /// One cluster, one member, many applications: first apply, a commit that changes all, one, a hand edit, idleness
    Reconcile {
        /// Applications of one directory each
        #[arg(long, default_value_t = 100)]
        apps: u32,
        /// New clusters that each is measured on; medians are told
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
    /// Three clusters, three members: how fast commits are applied, faults reverted and leaders replaced; idleness
    Heal {
        /// How often each is measured
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// Three members of the replicated state beside three of etcd: the same load in turn, on the same disk
    Raft {
        /// Arguments of the trial, such as --load put,get, --clients 1,16, --rounds N; see --help after --
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Leaders of both kinds are killed: how long no write is answered
    Failover {
        /// Arguments of the trial, such as --rounds N, -o json
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// A million records, then a large state: memory, disk, restarts, and a new member, beside etcd
    Size {
        /// Arguments of the trial, such as --records N, --mib N, --only regraft, -o json
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Our isolation forest beside those of scikit-learn and of PyPI's isotree: fit, scores, one row alone
    Isotree {
        /// How often each is measured; medians are told
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// How figures are printed
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
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
        Command::Demo { keep, report } => {
            let mut args = Vec::new();
            args.extend(keep.then(|| "--keep".to_owned()));
            args.extend(
                report
                    .iter()
                    .map(|file| format!("--report={}", file.display())),
            );
            drive::drive(&workspace, "demo", Profile::Dev, &args)
        }
        Command::Build { release } => {
            let profile = match release {
                true => Profile::Release,
                false => Profile::Dev,
            };
            let prepared = bootstrap::prepare(&workspace, Parts::Build)?;
            let binaries = drive::build(&workspace, &prepared, profile)?;
            say::line(&format!("{} is built", binaries.join("regraft").display()));
            Ok(())
        }
        Command::Test => test::test(&workspace),
        Command::Verify => {
            verify::verify(&workspace, &bootstrap::prepare(&workspace, Parts::Build)?)
        }
        Command::Fix => fix(&workspace),
        Command::Codegen => {
            codegen::write(&workspace, &bootstrap::prepare(&workspace, Parts::Build)?)
        }
        Command::Bench { what, profile } => bench(&workspace, what, *profile),
        Command::Quality(options) => quality::quality(&workspace, options),
        Command::Sim {
            what: Some(Sim::Replica(options)),
            ..
        } => sim_replica::run(&workspace, options),
        Command::Sim { what: None, args } => sim::run(&workspace, args),
        Command::Torture { args } => trial::torture(&workspace, args),
        Command::Fuzz(options) => fuzz::fuzz(&workspace, options),
        Command::Bootstrap { parts } => bootstrap::prepare(&workspace, *parts).map(drop),
    }
}

fn bench(workspace: &Workspace, what: &Bench, profile: Option<Profile>) -> Result<()> {
    let args = match what {
        Bench::Reconcile { apps, rounds } => vec![
            "reconcile".to_owned(),
            format!("--apps={apps}"),
            format!("--rounds={rounds}"),
        ],
        Bench::Heal { rounds } => vec!["heal".to_owned(), format!("--rounds={rounds}")],
        Bench::Isotree { .. }
        | Bench::Raft { .. }
        | Bench::Failover { .. }
        | Bench::Size { .. }
            if profile == Some(Profile::Dev) =>
        {
            bail!("this is measured as a release only: beside others a dev build says nothing")
        }
        Bench::Raft { args } => return trial::bench(workspace, "bench", args),
        Bench::Failover { args } => return trial::bench(workspace, "failover", args),
        Bench::Size { args } => return trial::bench(workspace, "size", args),
        Bench::Isotree { rounds, output } => return forests::bench(workspace, *rounds, *output),
    };
    drive::drive(workspace, "bench", profile.unwrap_or_default(), &args)
}

fn fix(workspace: &Workspace) -> Result<()> {
    let prepared = bootstrap::prepare(workspace, Parts::Build)?;
    codegen::write(workspace, &prepared)?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
    ];
    run::shown(&mut cargo::command(workspace, &prepared, &clippy))?;
    run::shown(&mut cargo::command(workspace, &prepared, &["fmt", "--all"]))
}
