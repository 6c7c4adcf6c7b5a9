//! Processes of tests and demo that outlived them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::bootstrap::Prepared;
use crate::workspace::Workspace;

/// Process ids whose program is one of ours.
pub(crate) fn running(workspace: &Workspace, prepared: &Prepared) -> BTreeSet<(u32, String)> {
    let mut programs: Vec<PathBuf> = prepared
        .environment
        .iter()
        .map(|(_, path)| path.clone())
        .collect();
    for program in [
        "debug/regraft",
        "release/regraft",
        "debug/trial",
        "release/trial",
    ] {
        programs.push(workspace.target_dir().join(program));
    }
    let resolved: Vec<PathBuf> = programs
        .iter()
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // Of processes of other users the program cannot be read; they are not ours.
        let Ok(program) = std::fs::read_link(entry.path().join("exe")) else {
            continue;
        };
        if resolved.contains(&program) {
            found.insert((pid, command_line(&entry.path())));
        }
    }
    found
}

fn command_line(process: &Path) -> String {
    let bytes = std::fs::read(process.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes)
        .replace('\0', " ")
        .chars()
        .take(120)
        .collect()
}
