//! Generated code: made from `proto/`, and compared with what is committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::bootstrap::Prepared;
use crate::cargo;
use crate::run;
use crate::say;
use crate::workspace::Workspace;

/// The binary that makes them.
const GENERATOR: &str = "xtask-codegen";
/// Where generated files live. A crate's own file names say which it wants.
const FOLDERS: [&str; 2] = ["crates/wire/src/generated", "crates/state/src/generated"];

/// Writes the generated files that differ.
pub(crate) fn write(workspace: &Workspace, prepared: &Prepared) -> Result<()> {
    for (path, text) in differing(workspace, prepared)? {
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        say::line(&format!("generated {}", path.display()));
    }
    Ok(())
}

/// What is committed and what it should be, where they differ.
pub(crate) fn differing(
    workspace: &Workspace,
    prepared: &Prepared,
) -> Result<BTreeMap<PathBuf, String>> {
    let output = workspace.target_dir().join("codegen");
    std::fs::create_dir_all(&output).with_context(|| format!("create {}", output.display()))?;
    for old in files(&output)? {
        std::fs::remove_file(&old).with_context(|| format!("remove {}", old.display()))?;
    }
    // Of the whole workspace, as everything else is built: what it is made of is built once.
    let build = ["build", "--quiet", "--workspace", "--bin", GENERATOR];
    run::captured(&mut cargo::command(workspace, prepared, &build))?;
    let generator = workspace.target_dir().join("debug").join(GENERATOR);
    let mut command = Command::new(generator);
    command.current_dir(&workspace.root);
    run::captured(command.arg("proto").arg(&output))?;
    let mut differing = BTreeMap::new();
    let mut homeless = Vec::new();
    for made in files(&output)? {
        let name = made.file_name().context("a file has a name")?;
        let text =
            std::fs::read_to_string(&made).with_context(|| format!("read {}", made.display()))?;
        let homes: Vec<PathBuf> = FOLDERS
            .iter()
            .map(|folder| workspace.root.join(folder).join(name))
            .filter(|path| path.exists())
            .collect();
        if homes.is_empty() {
            homeless.push((name.to_owned(), text));
            continue;
        }
        for home in homes {
            if std::fs::read_to_string(&home).with_context(|| format!("read {}", home.display()))?
                != text
            {
                differing.insert(home, text.clone());
            }
        }
    }
    // A new proto package belongs to wire until another crate holds a file of its name.
    for (name, text) in homeless {
        differing.insert(workspace.root.join(FOLDERS[0]).join(name), text);
    }
    Ok(differing)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect();
    files.sort();
    Ok(files)
}
