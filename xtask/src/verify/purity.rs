//! The pure crates decide and do nothing: no runtime, no network, no storage, no clock.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::metadata::{Metadata, Package};

const PURE: [&str; 7] = [
    "model", "render", "diff", "detect", "remedy", "state", "engine",
];
/// Packages that act; none may be linked by a pure crate.
const ACTING: [&str; 12] = [
    "tokio",
    "mio",
    "hyper",
    "kube",
    "kube-client",
    "git2",
    "libgit2-sys",
    "tonic",
    "openraft",
    "rocksdb",
    "librocksdb-sys",
    "getrandom",
];
/// Words of the standard library that reach outside, or whose answer differs from run to run.
const OUTSIDE: [&str; 10] = [
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "HashMap",
    "HashSet",
    "println!",
];
/// Deepest folder below `src/`.
const DEPTH_MAX: usize = 8;

pub(super) fn problems(metadata: &Metadata) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for name in PURE {
        let full = format!("regraft-{name}");
        let Some(package) = metadata.members().find(|package| package.name == full) else {
            problems.push(format!("there is no crate {full}"));
            continue;
        };
        problems.extend(links(metadata, package));
        let source = package.manifest_path.with_file_name("src");
        words(&source, DEPTH_MAX, &mut problems)?;
    }
    Ok(problems)
}

fn links(metadata: &Metadata, package: &Package) -> Vec<String> {
    let linked = metadata.linked_by(package);
    let acting = ACTING
        .iter()
        .filter_map(|acting| Some((acting, linked.get(acting)?)));
    acting
        .map(|(acting, by)| format!("{} links {acting} (through {by})", package.name))
        .collect()
}

fn words(folder: &Path, depth: usize, problems: &mut Vec<String>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() {
            if depth > 0 && name != "tests" {
                words(&path, depth - 1, problems)?;
            }
            continue;
        }
        // Tests may read files and keep what they like.
        if path.extension().is_none_or(|extension| extension != "rs")
            || name == "tests"
            || name.ends_with("_tests")
        {
            continue;
        }
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        problems.extend(
            found(&text)
                .into_iter()
                .map(|(line, word)| format!("{}:{line} uses {word}", path.display())),
        );
    }
    Ok(())
}

/// Lines of the code before its tests that use such a word, comments apart.
fn found(text: &str) -> Vec<(usize, &'static str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        if begins_tests(&lines[number..]) {
            break;
        }
        let line = line.split("//").next().unwrap_or_default();
        found.extend(
            OUTSIDE
                .iter()
                .filter(|word| line.contains(**word))
                .map(|word| (number + 1, *word)),
        );
    }
    found
}

/// Whether the rest of a file is its block of tests. A module of tests in a file of its own (`mod tests;`) ends nothing.
fn begins_tests(lines: &[&str]) -> bool {
    let [mark, item, ..] = lines else {
        return false;
    };
    mark.trim() == "#[cfg(test)]" && item.starts_with("mod ") && item.contains('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_checked_and_comments_and_tests_are_not() {
        let text = "use std::collections::HashMap;\n// no std::fs here\nfn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }";
        assert_eq!(found(text), [(1, "HashMap")]);
    }

    #[test]
    fn code_after_the_name_of_a_file_of_tests_is_checked() {
        let text =
            "#[cfg(test)]\nmod tests;\nuse std::fs;\n#[cfg(test)]\nuse std::env;\nuse std::net;";
        let words = [(3, "std::fs"), (5, "std::env"), (6, "std::net")];
        assert_eq!(found(text), words);
    }
}
