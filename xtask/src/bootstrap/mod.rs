//! Makes a bare machine ready: tools, Debian packages, RocksDB, the control plane, Pythons.
//!
//! Guarantees: every part is built once per machine and version; two runs at
//! once wait for each other; a part is in the cache whole or not at all.

mod cache;
mod cargo_fuzz;
mod controlplane;
mod packages;
pub(crate) mod python;
mod rocksdb;
mod sshd;
mod tools;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::cargo;
use crate::workspace::Workspace;

/// What to prepare.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Parts {
    /// Everything that tests and demo need
    All,
    /// What compiling needs: RocksDB
    Build,
    /// The real servers: control plane, KWOK, sshd
    Servers,
}

/// The environment in which cargo, tests and demo find the prepared parts.
#[derive(Default)]
pub(crate) struct Prepared {
    pub(crate) environment: Vec<(String, PathBuf)>,
}

/// Prepares the parts and writes `env.sh` for people who start cargo themselves.
pub(crate) fn prepare(workspace: &Workspace, parts: Parts) -> Result<Prepared> {
    tools::check()?;
    packages::install_missing(packages::NEEDED)?;
    let mut environment = Vec::new();
    if parts != Parts::Servers {
        environment.extend(rocksdb::build(workspace)?);
        write_env(workspace, &environment)?;
    }
    if parts != Parts::Build {
        environment.extend(controlplane::build(workspace)?);
        environment.extend(sshd::find(workspace)?);
        write_env(workspace, &environment)?;
        point_to_current(workspace, &environment)?;
    }
    Ok(Prepared { environment })
}

/// Gives the program that compiles for libFuzzer.
pub(crate) fn cargo_fuzz(workspace: &Workspace) -> Result<PathBuf> {
    cargo_fuzz::build(workspace)
}

/// The C++ compiler, as the cc crate chooses it.
fn cxx() -> Command {
    Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()))
}

/// Links under fixed names, for tests that people start without the environment.
fn point_to_current(workspace: &Workspace, environment: &[(String, PathBuf)]) -> Result<()> {
    let folder = workspace.cache.join("current");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    for (_, program) in environment
        .iter()
        .filter(|(key, _)| key != "ROCKSDB_LIB_DIR" && key != "ROCKSDB_STATIC")
    {
        let name = program.file_name().context("a program has a name")?;
        cache::link(&folder.join(name), program)?;
    }
    Ok(())
}

fn write_env(workspace: &Workspace, environment: &[(String, PathBuf)]) -> Result<()> {
    let mut text = String::from("# For people who start cargo themselves: source this file.\n");
    for (key, value) in environment {
        writeln!(text, "export {key}='{}'", value.display()).context("write to a string")?;
    }
    for (key, value) in cargo::LINTING {
        writeln!(text, "export {key}='{value}'").context("write to a string")?;
    }
    cache::write(&workspace.cache.join("env.sh"), &text)
}
