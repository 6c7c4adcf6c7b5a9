//! `cargo xtask bench raft`, `failover` and `size`: three members of the replicated state beside three of etcd; `cargo xtask
//! torture`: the same under a load and real faults. The trial's own words and exit code are passed on.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::bootstrap::{self, Parts, Prepared};
use crate::cargo;
use crate::drive::{self, Profile};
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
    let binaries = workspace.target_dir().join("release");
    run(workspace, &prepared, &binaries, what, args)
}

/// Builds the members as the tests do, with their own checks, and tortures them.
pub(crate) fn torture(workspace: &Workspace, args: &[String]) -> Result<()> {
    let prepared = bootstrap::prepare(workspace, Parts::Build)?;
    let binaries = drive::build(workspace, &prepared, Profile::Dev)?;
    torture_built(workspace, &prepared, &binaries, args)
}

/// Tortures with what is built already.
pub(crate) fn torture_built(
    workspace: &Workspace,
    prepared: &Prepared,
    binaries: &Path,
    args: &[String],
) -> Result<()> {
    run(workspace, prepared, binaries, "torture", args)
}

fn run(
    workspace: &Workspace,
    prepared: &Prepared,
    binaries: &Path,
    what: &str,
    args: &[String],
) -> Result<()> {
    let mut trial = Command::new(binaries.join(TRIAL));
    trial.arg(what).args(args);
    drive::run_alone(workspace, prepared, TRIAL, trial, args)
}
