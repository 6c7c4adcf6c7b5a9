//! Pythons with pinned packages, for programs of others: the scorer of predictions, the forests ours is measured beside.
//!
//! Guarantees: one virtual environment for each list of packages and each Python of the machine, made once; it is in the
//! cache only after everything in it could be imported.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::cache;
use super::packages;
use crate::progress::Progress;
use crate::run;
use crate::workspace::Workspace;

/// Packages of PyPI that belong together.
pub(crate) struct Packages {
    /// What they are for.
    title: &'static str,
    /// As `pip install -r` reads them, every version pinned.
    requirements: &'static str,
    /// What is imported to see that they work.
    modules: &'static [&'static str],
    usual_time: Duration,
    /// Debian packages that making them needs.
    debian: &'static [&'static str],
    /// A file that those bring, below the folder of Python's headers.
    header: Option<&'static str>,
}

/// What the scorer of predictions needs.
pub(crate) const SCORER: Packages = Packages {
    title: "Python with numpy and pandas (once per machine)",
    requirements: include_str!("../../python/scorer.txt"),
    modules: &["numpy", "pandas"],
    usual_time: Duration::from_secs(30),
    debian: &["python3-venv"],
    header: None,
};

/// The isolation forests that ours is measured beside. One of them is compiled here.
pub(crate) const FORESTS: Packages = Packages {
    title: "Python with scikit-learn and isotree (once per machine)",
    requirements: include_str!("../../../crates/isotree/benches/requirements.txt"),
    modules: &["sklearn.ensemble", "isotree"],
    usual_time: Duration::from_secs(4 * 60),
    debian: &["python3-venv", "python3-dev", "g++"],
    header: Some("Python.h"),
};

/// Says what Python it is, and fails where one cannot make environments, or programs for it cannot be compiled.
const PROBE: &str = "
import ensurepip, os, sys, sysconfig, venv
header = sys.argv[1] if len(sys.argv) > 1 else ''
assert os.path.exists(os.path.join(sysconfig.get_path('include'), header)), 'no ' + header
print(sys.version_info[0], sys.version_info[1])
print(sys.version, sys.base_prefix)
";
/// What the pinned packages ask for.
const LEAST_PYTHON: (u32, u32) = (3, 11);

/// Gives the Python that has the packages, made when it is not in the cache.
pub(crate) fn find(workspace: &Workspace, packages: &Packages) -> Result<PathBuf> {
    let machine = python_of_the_machine(packages)?;
    let key = cache::fingerprint([packages.requirements.as_bytes(), machine.as_bytes()]);
    let part = format!("python-{key}");
    let folder = workspace.cache.join(&part);
    let python = folder.join("bin/python");
    if !python.exists() {
        let _lock = cache::lock(&workspace.cache, &part)?;
        // Another run may have made it while this one waited for the lock.
        if !python.exists() {
            make(workspace, packages, &part)?;
        }
    }
    Ok(python)
}

/// What tells the machine's Python from others; what it lacks is installed on Debian.
fn python_of_the_machine(packages: &Packages) -> Result<String> {
    let probe = || {
        run::captured(
            Command::new("python3")
                .args(["-c", PROBE])
                .args(packages.header),
        )
    };
    let answer = match probe() {
        Ok(answer) => answer,
        Err(_) => {
            packages::install_missing(packages.debian)?;
            probe().context("python3 is missing, cannot make virtual environments, or lacks its headers; install 3.11 or newer with them")?
        }
    };
    let (version, whole) = answer.split_once('\n').unwrap_or((&answer, ""));
    if version_of(version).is_none_or(|found| found < LEAST_PYTHON) {
        let (major, minor) = LEAST_PYTHON;
        bail!(
            "python3 is {}: {major}.{minor} or newer is needed",
            whole.trim()
        );
    }
    Ok(whole.to_owned())
}

fn version_of(line: &str) -> Option<(u32, u32)> {
    let (major, minor) = line.split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Makes the environment beside its place and moves it there; what is used of it is `bin/python`, which can be moved.
fn make(workspace: &Workspace, packages: &Packages, part: &str) -> Result<()> {
    let mut progress = Progress::start(packages.title, packages.usual_time);
    let log = workspace.cache.join(format!("logs/{part}.log"));
    let folder = workspace.cache.join(part);
    let temporary = workspace.cache.join(format!("{part}.new"));
    let list = workspace.cache.join(format!("{part}.txt"));
    cache::remove(&temporary)?;
    cache::write(&list, packages.requirements)?;
    let mut step = |command: &mut Command| run::watched(command, &log, &mut progress, || None);
    step(Command::new("python3").args(["-m", "venv"]).arg(&temporary))?;
    let python = temporary.join("bin/python");
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--no-input", "--requirement"]);
    step(install.arg(&list))?;
    step(Command::new(&python).args(["-c", &format!("import {}", packages.modules.join(", "))]))?;
    cache::remove(&folder)?;
    std::fs::rename(&temporary, &folder)
        .with_context(|| format!("put {} in place", folder.display()))?;
    progress.finish();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_compare_as_numbers() {
        assert!(version_of("3 9").is_some_and(|found| found < LEAST_PYTHON));
        assert_eq!(version_of("3 11"), Some(LEAST_PYTHON));
        assert_eq!(version_of(""), None);
    }

    #[test]
    fn every_package_has_its_version() {
        for packages in [SCORER, FORESTS] {
            let lines = packages.requirements.lines();
            for line in lines.filter(|line| !line.starts_with('#')) {
                assert!(line.contains("=="), "{line}");
            }
        }
    }
}
