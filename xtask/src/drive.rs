//! The drivers that use the real parts: `demo` and `bench`, binaries of the testbed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::bootstrap::{self, Parts, Prepared};
use crate::cargo;
use crate::leftovers;
use crate::run;
use crate::workspace::Workspace;

/// Which build is driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// The one of tests: our code hardly optimised, dependencies wholly
    #[default]
    Dev,
    /// What is shipped
    Release,
}

/// Builds the binaries of the workspace; returns their folder. All at once, as the tests do: cargo joins the features of
/// what it is asked for, so that another selection would build dependencies anew.
pub(crate) fn build(
    workspace: &Workspace,
    prepared: &Prepared,
    profile: Profile,
) -> Result<PathBuf> {
    let mut build = vec!["build", "--workspace", "--bins", "--locked"];
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            build.push("--release");
            "release"
        }
    };
    run::shown(&mut cargo::command(workspace, prepared, &build))?;
    Ok(workspace.target_dir().join(folder))
}

/// Prepares, builds and runs a driver with these arguments.
pub(crate) fn drive(
    workspace: &Workspace,
    driver: &str,
    profile: Profile,
    args: &[String],
) -> Result<()> {
    let prepared = bootstrap::prepare(workspace, Parts::All)?;
    let binaries = build(workspace, &prepared, profile)?;
    let mut command = Command::new(binaries.join(driver));
    command
        .args(args)
        .env("REGRAFT_BINARY", binaries.join("regraft"));
    run_alone(workspace, &prepared, driver, command, args)
}

/// Runs a driver, which must leave nothing running unless it is told to keep it.
pub(crate) fn run_alone(
    workspace: &Workspace,
    prepared: &Prepared,
    driver: &str,
    mut command: Command,
    args: &[String],
) -> Result<()> {
    let before = leftovers::running(workspace, prepared);
    command.current_dir(&workspace.root);
    command.envs(prepared.environment.iter().map(|(key, value)| (key, value)));
    let status = command
        .status()
        .with_context(|| format!("start {driver}"))?;
    if !status.success() {
        bail!("{driver} ended with {status}");
    }
    let after = leftovers::running(workspace, prepared);
    let kept = args.iter().any(|arg| arg == "--keep");
    let left: Vec<String> = after
        .difference(&before)
        .map(|(pid, command)| format!("{pid} {command}"))
        .collect();
    if !left.is_empty() && !kept {
        bail!("{driver} left processes behind:\n  {}", left.join("\n  "));
    }
    Ok(())
}
