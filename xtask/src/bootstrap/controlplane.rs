//! The Kubernetes control plane and KWOK, built from their Go modules once per version.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::cache;
use crate::progress::Progress;
use crate::run;
use crate::workspace::Workspace;

/// Clients parse the server's version, so the binary has to know its own.
const KUBERNETES: (&str, &str, &str) = ("v1.36.3", "1", "36");

struct Program {
    /// Folder below `tests/` with go.mod, and the name of the binary.
    name: &'static str,
    /// The Go package with `main`.
    package: &'static str,
    title: &'static str,
    usual_time: Duration,
    variable: &'static str,
}

const PROGRAMS: [Program; 2] = [
    Program {
        name: "kwok",
        package: "sigs.k8s.io/kwok/cmd/kwok",
        title: "KWOK (once per machine)",
        usual_time: Duration::from_secs(80),
        variable: "REGRAFT_KWOK",
    },
    Program {
        name: "controlplane",
        package: ".",
        title: "Kubernetes control plane (once per machine)",
        usual_time: Duration::from_secs(5 * 60),
        variable: "REGRAFT_CONTROLPLANE",
    },
];

/// Builds what is not in the cache; gives the variables by which the testbed finds the binaries.
pub(super) fn build(workspace: &Workspace) -> Result<Vec<(String, PathBuf)>> {
    PROGRAMS
        .iter()
        .map(|program| Ok((program.variable.to_owned(), build_one(workspace, program)?)))
        .collect()
}

fn build_one(workspace: &Workspace, program: &Program) -> Result<PathBuf> {
    let module = workspace.root.join("tests").join(program.name);
    let flags = linker_flags(program);
    let parts = workspace.cache.join(program.name);
    let binary = parts.join(version_of(&module, &flags)?).join(program.name);
    if !binary.exists() {
        let _lock = cache::lock(&workspace.cache, program.name)?;
        // Another run may have built it while this one waited for the lock.
        if !binary.exists() {
            compile(workspace, program, &module, &flags, &binary)?;
        }
    }
    Ok(binary)
}

/// A new version, a changed source or other flags make another binary.
fn version_of(module: &Path, flags: &str) -> Result<String> {
    let mut contents = vec![flags.as_bytes().to_vec()];
    for file in ["go.mod", "go.sum", "main.go"] {
        let path = module.join(file);
        if path.exists() {
            contents
                .push(std::fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        }
    }
    Ok(cache::fingerprint(contents.iter().map(Vec::as_slice)))
}

fn linker_flags(program: &Program) -> String {
    let mut flags = String::from("-s -w");
    if program.name == "controlplane" {
        let (version, major, minor) = KUBERNETES;
        for (key, value) in [
            ("gitVersion", version),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
            ("gitCommit", "module"),
            ("buildDate", "2026-01-01T00:00:00Z"),
        ] {
            flags.push_str(&format!(" -X k8s.io/component-base/version.{key}={value}"));
        }
    }
    flags
}

fn compile(
    workspace: &Workspace,
    program: &Program,
    module: &Path,
    flags: &str,
    binary: &Path,
) -> Result<()> {
    let mut progress = Progress::start(program.title, program.usual_time);
    let log = workspace.cache.join(format!("logs/{}.log", program.name));
    run::watched(
        go(module).args(["mod", "download"]),
        &log,
        &mut progress,
        || None,
    )?;
    let packages = run::captured(go(module).args(["list", "-deps", program.package]))?
        .lines()
        .count();
    let temporary = workspace.cache.join(format!("{}/new", program.name));
    let folder = binary
        .parent()
        .context("a binary in the cache has a folder")?;
    cache::fresh(&temporary)?;
    let mut command = go(module);
    command
        .args([
            "build",
            "-v",
            "-mod=readonly",
            "-trimpath",
            "-ldflags",
            flags,
            "-o",
        ])
        .arg(temporary.join(program.name))
        .arg(program.package);
    // `-v` names every package that had to be compiled.
    run::watched(&mut command, &log, &mut progress, || {
        let compiled = std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
        #[expect(clippy::cast_precision_loss, reason = "a few thousand packages")]
        Some(compiled as f64 / packages.max(1) as f64)
    })?;
    cache::remove(folder)?;
    std::fs::rename(&temporary, folder)
        .with_context(|| format!("put {} in place", folder.display()))?;
    progress.finish();
    Ok(())
}

fn go(module: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env_remove("GOFLAGS");
    command
}
