//! `cargo xtask bench raft`, `failover` and `size`: three members of the replicated state beside three of etcd.

use std::process::Command;

use anyhow::Result;

use crate::bootstrap::{self, Parts};
use crate::cargo;
use crate::drive;
use crate::run;
use crate::say;
use crate::workspace::Workspace;

/// The binary that is members and their driver.
const TRIAL: &str = "trial";

/// Builds the members as a release, and runs this of the trial with these arguments.
pub(crate) fn bench(workspace: &Workspace, what: &str, args: &[String]) -> Result<()> {
    let prepared = bootstrap::prepare(workspace, Parts::All)?;
    say::note("members and their driver are built as a release");
    let build = ["build", "--release", "--locked", "-p", "regraft-trial"];
    run::shown(&mut cargo::command(workspace, &prepared, &build))?;
    let mut trial = Command::new(workspace.target_dir().join("release").join(TRIAL));
    trial.arg(what).args(args);
    drive::run_alone(workspace, &prepared, TRIAL, trial, args)
}
