//! `cargo xtask sim`: seeded worlds; the simulator's own words and exit code are passed on.

use anyhow::Result;
use clap::Parser;

use crate::bootstrap::Prepared;
use crate::cargo;
use crate::members::{self, Members};
use crate::run;
use crate::workspace::Workspace;

/// The first argument that asks for members of the replicated state in place of whole worlds.
const REPLICA: &str = "replica";

pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    if args.first().is_some_and(|first| first == REPLICA) {
        return members::run(workspace, &Members::parse_from(args));
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
