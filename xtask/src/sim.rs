//! `cargo xtask sim`: seeded worlds; the simulator's own words and exit code are passed on.

use anyhow::Result;

use crate::bootstrap::Prepared;
use crate::cargo;
use crate::run;
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
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
