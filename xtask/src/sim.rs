//! `cargo xtask sim`: seeded worlds; the simulator's own words and exit code are passed on.

use anyhow::Result;
use clap::Parser;

use crate::bootstrap::{self, Parts, Prepared};
use crate::cargo;
use crate::run;
use crate::workspace::Workspace;

/// The first argument that asks for members of the replicated state in place of whole worlds.
const REPLICA: &str = "replica";

/// What `cargo xtask sim replica` takes.
#[derive(Parser)]
#[command(name = "cargo xtask sim replica")]
struct Members {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many, from the first on
    #[arg(long, default_value_t = 1)]
    seeds: u64,
}

pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    if args.first().is_some_and(|first| first == REPLICA) {
        return members(workspace, &Members::parse_from(args));
    }
    // It links pure crates only: nothing has to be prepared.
    let mut command = cargo::command(
        workspace,
        &Prepared::default(),
        &[
            "run",
            "--quiet",
            "--locked",
            "--package",
            "regraft-sim",
            "--bin",
            "sim",
            "--",
        ],
    );
    run::shown(command.args(args))
}

/// Members in simulated time. They are a part of their crate's tests: what is replaced there cannot be elsewhere.
fn members(workspace: &Workspace, members: &Members) -> Result<()> {
    let prepared = bootstrap::prepare(workspace, Parts::Build)?;
    let mut command = cargo::command(
        workspace,
        &prepared,
        &[
            "test",
            "--quiet",
            "--locked",
            "--workspace",
            "--lib",
            "--",
            "--exact",
            "simulation::tests::members_keep_their_promises_whatever_happens",
            "--nocapture",
        ],
    );
    command
        .env("SIMULATION_SEED", members.seed.to_string())
        .env("SIMULATION_SEEDS", members.seeds.to_string());
    run::shown(&mut command)
}
