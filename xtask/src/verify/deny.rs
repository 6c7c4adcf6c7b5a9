//! `deny.toml`: by cargo-deny where it is installed, else licences, bans and sources by ourselves.
//!
//! Advisories are not checked here: their database is not always reachable.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::licence;
use crate::bootstrap::Prepared;
use crate::cargo;
use crate::metadata::{Metadata, Package};
use crate::run;
use crate::say;
use crate::workspace::Workspace;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Deserialize)]
struct Rules {
    licenses: Licences,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(alias = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    #[serde(default)]
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(alias = "crate")]
    name: String,
}

pub(super) fn problems(
    workspace: &Workspace,
    prepared: &Prepared,
    metadata: &Metadata,
) -> Result<Vec<String>> {
    if run::captured(Command::new("cargo-deny").arg("--version")).is_ok() {
        say::line("       licences, bans and sources by cargo-deny; advisories skipped");
        let args = ["deny", "check", "licenses", "bans", "sources"];
        let result = run::captured(&mut cargo::command(workspace, prepared, &args));
        return Ok(result
            .err()
            .map(|error| format!("{error:#}"))
            .into_iter()
            .collect());
    }
    say::line("       cargo-deny is not installed: deny.toml read by xtask; advisories skipped");
    let path = workspace.root.join("deny.toml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let rules: Rules =
        toml::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    Ok(metadata
        .packages
        .iter()
        .flat_map(|package| of(package, &rules))
        .collect())
}

fn of(package: &Package, rules: &Rules) -> Vec<String> {
    let name = format!("{} {}", package.name, package.version);
    let mut problems = Vec::new();
    if package
        .source
        .as_deref()
        .is_some_and(|source| source != CRATES_IO)
    {
        problems.push(format!(
            "{name} comes from {}",
            package.source.as_deref().unwrap_or_default()
        ));
    }
    if rules
        .bans
        .deny
        .iter()
        .any(|banned| banned.name == package.name)
    {
        problems.push(format!("{name} is banned"));
    }
    // Ours may name each other by folder only; everything else by version.
    let ours = package.source.is_none();
    for dependency in package
        .dependencies
        .iter()
        .filter(|it| ours && it.req == "*" && it.path.is_none())
    {
        problems.push(format!("{name} takes any version of {}", dependency.name));
    }
    let exception = rules
        .licenses
        .exceptions
        .iter()
        .find(|exception| exception.name == package.name);
    let allowed = |licence: &str| {
        rules.licenses.allow.contains(licence)
            || exception.is_some_and(|it| it.allow.contains(licence))
    };
    match (&package.license, &package.license_file) {
        (Some(expression), _) if licence::is_allowed(expression, &allowed) => {}
        (Some(expression), _) => problems.push(format!(
            "{name} is under {expression}, which deny.toml does not allow"
        )),
        (None, Some(_)) if exception.is_some() => {}
        (None, _) => problems.push(format!("{name} names no licence")),
    }
    problems
}
