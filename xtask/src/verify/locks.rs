//! What is fuzzed is what is shipped: `fuzz/Cargo.lock` has the versions of `Cargo.lock`.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::workspace::Workspace;

/// Packages that only the fuzzer has.
const OF_THE_FUZZER: [&str; 3] = ["arbitrary", "libfuzzer-sys", "regraft-fuzz-targets"];

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Locked {
    name: String,
    version: String,
}

pub(super) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let read = |name: &str| -> Result<Lock> {
        let path = workspace.root.join(name);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("parse {}", path.display()))
    };
    Ok(compare(&read("Cargo.lock")?, &read("fuzz/Cargo.lock")?))
}

fn compare(ours: &Lock, fuzzed: &Lock) -> Vec<String> {
    let ours: BTreeSet<&Locked> = ours.package.iter().collect();
    let others = fuzzed.package.iter().filter(|it| !ours.contains(it));
    others
        .filter(|it| !OF_THE_FUZZER.contains(&it.name.as_str()))
        .map(|it| {
            format!(
                "fuzz/Cargo.lock has {} {}, Cargo.lock has not: copy Cargo.lock over it and run `cargo xtask fuzz`",
                it.name, it.version
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_told_and_the_fuzzer_is_not() {
        let lock = |packages: &[(&str, &str)]| Lock {
            package: packages
                .iter()
                .map(|(name, version)| Locked {
                    name: (*name).to_owned(),
                    version: (*version).to_owned(),
                })
                .collect(),
        };
        let ours = lock(&[("prost", "1"), ("prost", "2"), ("tokio", "1")]);
        let same = lock(&[("prost", "2"), ("libfuzzer-sys", "0.4")]);
        assert!(compare(&ours, &same).is_empty());
        let told = compare(&ours, &lock(&[("prost", "3")]));
        assert!(
            told[0].starts_with("fuzz/Cargo.lock has prost 3"),
            "{told:?}"
        );
    }
}
