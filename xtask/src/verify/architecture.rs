//! The map and the land agree: ARCHITECTURE.md has a row for every crate, and only for those.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

pub(super) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let path = workspace.root.join("ARCHITECTURE.md");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let folder = workspace.root.join("crates");
    let there: BTreeSet<String> = std::fs::read_dir(&folder)
        .with_context(|| format!("list {}", folder.display()))?
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    Ok(compare(&code_map(&text), &there))
}

/// First cells of the table below the heading "Code map".
fn code_map(text: &str) -> BTreeSet<String> {
    text.lines()
        .skip_while(|line| *line != "## Code map")
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn compare(named: &BTreeSet<String>, there: &BTreeSet<String>) -> Vec<String> {
    let unnamed = there
        .difference(named)
        .map(|name| format!("the code map does not name crates/{name}"));
    let unreal = named
        .difference(there)
        .map(|name| format!("the code map names crates/{name}, which is not there"));
    unnamed.chain(unreal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_compared() {
        let text = "## Code map\n\n| Crate | For |\n|---|---|\n| `model` | words |\n| `ghost` | nothing |\n## Next\n| `later` | no |";
        let there = ["model", "node"].map(str::to_owned).into();
        assert_eq!(
            compare(&code_map(text), &there),
            [
                "the code map does not name crates/node",
                "the code map names crates/ghost, which is not there"
            ]
        );
    }
}
