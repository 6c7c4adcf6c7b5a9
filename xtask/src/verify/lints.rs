//! Every package inherits the lints of the workspace; exceptions are made in the code, with a reason.

use anyhow::{Context as _, Result};
use toml::Table;

use crate::metadata::Metadata;

pub(super) fn problems(metadata: &Metadata) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in metadata.members() {
        let path = &package.manifest_path;
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let manifest: Table = text
            .parse()
            .with_context(|| format!("parse {}", path.display()))?;
        let inherited = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace")?.as_bool());
        if inherited != Some(true) {
            problems.push(format!(
                "{} has no `[lints] workspace = true`",
                path.display()
            ));
        }
    }
    Ok(problems)
}
