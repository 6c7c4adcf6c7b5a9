//! `cargo xtask test`: everything that proves this tree, on a bare machine, leaving nothing behind.

use std::process::Command;

use anyhow::{Result, bail};

use crate::bootstrap::{self, Parts, Prepared};
use crate::cargo;
use crate::clock::{Stopwatch, human};
use crate::drive::{self, Profile};
use crate::leftovers;
use crate::run;
use crate::say;
use crate::trial;
use crate::verify;
use crate::workspace::Workspace;

/// Seeds of every run; the long search is `cargo xtask sim --seeds 2000`.
const SEEDS: u64 = 300;

/// Every kind of fault once; a long run is `cargo xtask torture --minutes 60`.
const TORTURE: [&str; 2] = ["--minutes=2", "--seed=5"];

pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    let watch = Stopwatch::start();
    let prepared = bootstrap::prepare(workspace, Parts::All)?;
    let before = leftovers::running(workspace, &prepared);
    let result = steps(workspace, &prepared, watch);
    let after = leftovers::running(workspace, &prepared);
    let left: Vec<String> = after
        .difference(&before)
        .map(|(pid, command)| format!("{pid} {command}"))
        .collect();
    result?;
    if !left.is_empty() {
        bail!("the tests left processes behind:\n  {}", left.join("\n  "));
    }
    say::line(&format!("all green in {}", human(watch.elapsed())));
    Ok(())
}

fn steps(workspace: &Workspace, prepared: &Prepared, watch: Stopwatch) -> Result<()> {
    let step = |name: &str| say::line(&format!("== {name} (after {})", human(watch.elapsed())));
    step("verify and build");
    verify::verify(workspace, prepared)?;
    let binaries = drive::build(workspace, prepared, Profile::Dev)?;
    step("test");
    run::shown(&mut cargo::command(
        workspace,
        prepared,
        &["test", "--workspace", "--locked", "--no-fail-fast"],
    ))?;
    // Again, to be read: the shares of other projects' verdicts that ours agree with.
    step("health suites");
    let suites = [
        "test",
        "--workspace",
        "--locked",
        "--test",
        "health_suites",
        "--",
        "--nocapture",
    ];
    run::shown(&mut cargo::command(workspace, prepared, &suites))?;
    step("simulate");
    let mut sim = Command::new(binaries.join("sim"));
    run::shown(sim.args(["--seeds", &SEEDS.to_string()]))?;
    step("torture");
    let args = TORTURE.map(str::to_owned);
    trial::torture_built(workspace, prepared, &binaries, &args)
}
