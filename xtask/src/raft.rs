//! `cargo xtask bench raft`: three members of the replicated state beside three of etcd.

use anyhow::{Context as _, Result, bail};

use crate::bootstrap::{self, Parts};
use crate::cargo;
use crate::leftovers;
use crate::run;
use crate::say;
use crate::workspace::Workspace;

/// Builds the members as a release, and runs the trial with these arguments.
pub(crate) fn bench(workspace: &Workspace, args: &[String]) -> Result<()> {
    let prepared = bootstrap::prepare(workspace, Parts::All)?;
    say::note("members and their driver are built as a release");
    let build = ["build", "--release", "--locked", "-p", "regraft-trial"];
    run::shown(&mut cargo::command(workspace, &prepared, &build))?;
    let before = leftovers::running(workspace, &prepared);
    let mut trial =
        std::process::Command::new(workspace.target_dir().join("release").join("trial"));
    trial.arg("bench").args(args).current_dir(&workspace.root);
    trial.envs(prepared.environment.iter().map(|(key, value)| (key, value)));
    let status = trial.status().context("start the trial")?;
    if !status.success() {
        bail!("the trial ended with {status}");
    }
    let after = leftovers::running(workspace, &prepared);
    let left: Vec<String> = after
        .difference(&before)
        .map(|(pid, command)| format!("{pid} {command}"))
        .collect();
    if !left.is_empty() {
        bail!("the trial left processes behind:\n  {}", left.join("\n  "));
    }
    Ok(())
}
