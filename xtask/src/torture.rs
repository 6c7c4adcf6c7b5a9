//! `cargo xtask torture`: three members under a load and real faults; the driver's own words and exit code are passed on.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::bootstrap::{self, Parts, Prepared};
use crate::drive::{self, Profile};
use crate::workspace::Workspace;

/// The binary that is members and their driver.
const TRIAL: &str = "trial";

/// Builds the members as the tests do, with their own checks, and tortures them.
pub(crate) fn torture(workspace: &Workspace, args: &[String]) -> Result<()> {
    let prepared = bootstrap::prepare(workspace, Parts::Build)?;
    let binaries = drive::build(workspace, &prepared, Profile::Dev)?;
    run(workspace, &prepared, &binaries, args)
}

/// Tortures with what is built already.
pub(crate) fn run(
    workspace: &Workspace,
    prepared: &Prepared,
    binaries: &Path,
    args: &[String],
) -> Result<()> {
    let mut trial = Command::new(binaries.join(TRIAL));
    trial.arg("torture").args(args);
    drive::run_alone(workspace, prepared, TRIAL, trial, args)
}
