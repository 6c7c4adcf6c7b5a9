//! cargo-fuzz, built from the registry once per version: it knows how a program is compiled for libFuzzer.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::cache;
use crate::cargo;
use crate::progress::Progress;
use crate::run;
use crate::workspace::Workspace;

const VERSION: &str = "0.13.2";
const USUAL_TIME: Duration = Duration::from_secs(60);

/// Gives the program, built if it is not in the cache.
pub(super) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let parts = workspace.cache.join("cargo-fuzz");
    let folder = parts.join(VERSION);
    let program = folder.join("bin/cargo-fuzz");
    if !program.exists() {
        let _lock = cache::lock(&workspace.cache, "cargo-fuzz")?;
        // Another run may have built it while this one waited for the lock.
        if !program.exists() {
            let mut progress = Progress::start("cargo-fuzz (once per machine)", USUAL_TIME);
            let temporary = parts.join("new");
            cache::fresh(&temporary)?;
            let mut install = Command::new("cargo");
            install
                .args(["install", "cargo-fuzz", "--locked", "--version", VERSION])
                .arg("--root")
                .arg(&temporary)
                .env("CARGO_TARGET_DIR", parts.join("build"));
            for (variable, _) in cargo::LINTING {
                install.env_remove(variable);
            }
            let log = workspace.cache.join("logs/cargo-fuzz.log");
            run::watched(&mut install, &log, &mut progress, || None)?;
            cache::remove(&parts.join("build"))?;
            cache::remove(&folder)?;
            std::fs::rename(&temporary, &folder)
                .with_context(|| format!("put {} in place", folder.display()))?;
            progress.finish();
        }
    }
    Ok(program)
}
