//! What `cargo metadata` knows about the workspace, as far as the checks need it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::bootstrap::Prepared;
use crate::cargo;
use crate::run;
use crate::workspace::Workspace;

/// The platform whose dependencies are checked, and that is compiled for.
pub(crate) const PLATFORM: &str = "x86_64-unknown-linux-gnu";

#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) license_file: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) req: String,
    pub(crate) path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// `null` is a normal dependency.
    kind: Option<String>,
}

impl Metadata {
    pub(crate) fn read(workspace: &Workspace, prepared: &Prepared) -> Result<Self> {
        let args = [
            "metadata",
            "--format-version=1",
            "--locked",
            "--filter-platform",
            PLATFORM,
        ];
        let text = run::captured(&mut cargo::command(workspace, prepared, &args))?;
        serde_json::from_str(&text).context("read the output of cargo metadata")
    }

    /// Our own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.workspace_members.contains(&package.id))
    }

    /// The folder of a package's sources.
    pub(crate) fn folder_of(&self, name: &str) -> Result<PathBuf> {
        let package = self.packages.iter().find(|package| package.name == name);
        let manifest = package.map(|package| package.manifest_path.as_path());
        let folder = manifest.and_then(Path::parent);
        folder
            .map(Path::to_path_buf)
            .with_context(|| format!("no package {name} is locked"))
    }

    /// Everything that a package links at run time, each with the package that brings it in.
    pub(crate) fn linked_by(&self, package: &Package) -> BTreeMap<&str, &str> {
        let nodes: BTreeMap<&str, &Node> = self
            .resolve
            .nodes
            .iter()
            .map(|node| (node.id.as_str(), node))
            .collect();
        let names: BTreeMap<&str, &str> = self
            .packages
            .iter()
            .map(|package| (package.id.as_str(), package.name.as_str()))
            .collect();
        let mut brought_by = BTreeMap::new();
        let mut waiting = vec![package.id.as_str()];
        while let Some(id) = waiting.pop() {
            let Some(node) = nodes.get(id) else { continue };
            for edge in &node.deps {
                let normal = edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
                let (Some(name), Some(by)) = (names.get(edge.pkg.as_str()), names.get(id)) else {
                    continue;
                };
                if normal && !brought_by.contains_key(name) {
                    brought_by.insert(*name, *by);
                    waiting.push(edge.pkg.as_str());
                }
            }
        }
        brought_by
    }
}
