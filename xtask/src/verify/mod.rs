//! `cargo xtask verify`: the checks of habits. It changes no source.

mod architecture;
mod clippy;
mod deny;
mod licence;
mod lints;
mod locks;
mod purity;

use anyhow::{Result, bail};

use crate::bootstrap::Prepared;
use crate::cargo;
use crate::clock::{Stopwatch, human};
use crate::codegen;
use crate::metadata::Metadata;
use crate::run;
use crate::say;
use crate::workspace::Workspace;

/// Runs every check and tells each one's result; fails when any failed.
pub(crate) fn verify(workspace: &Workspace, prepared: &Prepared) -> Result<()> {
    let metadata = Metadata::read(workspace, prepared)?;
    let mut failed = Vec::new();
    let mut check = |name: &str, check: &mut dyn FnMut() -> Result<Vec<String>>| -> Result<()> {
        let watch = Stopwatch::start();
        let problems = check()?;
        let verdict = if problems.is_empty() {
            "ok    "
        } else {
            "FAILED"
        };
        say::line(&format!("{verdict} {name} ({})", human(watch.elapsed())));
        for problem in &problems {
            say::line(&format!("         {problem}"));
        }
        if !problems.is_empty() {
            failed.push(name.to_owned());
        }
        Ok(())
    };
    check("the pure crates are pure", &mut || {
        purity::problems(&metadata)
    })?;
    check("every package inherits the workspace's lints", &mut || {
        lints::problems(&metadata)
    })?;
    check("ARCHITECTURE.md names the crates there are", &mut || {
        architecture::problems(workspace)
    })?;
    check("generated code is current", &mut || {
        generated(workspace, prepared)
    })?;
    check("licences, bans and sources", &mut || {
        deny::problems(workspace, prepared, &metadata)
    })?;
    check(
        "what is fuzzed has the versions of the workspace",
        &mut || locks::problems(workspace),
    )?;
    check("formatting", &mut || {
        command(
            workspace,
            prepared,
            &["fmt", "--all", "--check", "--", "-l"],
            "cargo xtask fix",
        )
    })?;
    check("clippy sees what it should", &mut || {
        clippy::problems(workspace)
    })?;
    let build = ["build", "--workspace", "--all-targets", "--locked"];
    check(
        "everything builds without a warning of rustc or clippy",
        &mut || command(workspace, prepared, &build, "see above"),
    )?;
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("verify failed: {}", failed.join("; "))
    }
}

fn generated(workspace: &Workspace, prepared: &Prepared) -> Result<Vec<String>> {
    let differing = codegen::differing(workspace, prepared)?;
    Ok(differing
        .keys()
        .map(|path| format!("{} is not: cargo xtask codegen", path.display()))
        .collect())
}

fn command(
    workspace: &Workspace,
    prepared: &Prepared,
    args: &[&str],
    hint: &str,
) -> Result<Vec<String>> {
    let result = run::shown(&mut cargo::command(workspace, prepared, args));
    Ok(result
        .err()
        .map(|error| format!("{error:#}: {hint}"))
        .into_iter()
        .collect())
}
