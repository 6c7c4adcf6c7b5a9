//! Where things are: the checkout, the cache that outlives it, the locked versions.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The checkout and its cache.
pub(crate) struct Workspace {
    /// Folder of the root Cargo.toml.
    pub(crate) root: PathBuf,
    /// What is built once per machine: `$REGRAFT_CACHE` or `~/.cache/regraft`.
    pub(crate) cache: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        // Cargo says it at run time: checkouts that share a target folder share the binary.
        let xtask = std::env::var_os("CARGO_MANIFEST_DIR")
            .context("CARGO_MANIFEST_DIR is not set: start it as `cargo xtask`")?;
        let root = Path::new(&xtask)
            .parent()
            .context("xtask has no parent folder")?
            .to_path_buf();
        let cache = match std::env::var_os("REGRAFT_CACHE") {
            Some(folder) => PathBuf::from(folder),
            None => PathBuf::from(
                std::env::var_os("HOME").context("neither REGRAFT_CACHE nor HOME is set")?,
            )
            .join(".cache/regraft"),
        };
        std::fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
        Ok(Self { root, cache })
    }

    /// The target folder of every cargo that xtask starts. A fresh clone in CI
    /// would be cold in its own, so there it shares the one in the cache.
    pub(crate) fn target_dir(&self) -> PathBuf {
        if let Some(folder) = std::env::var_os("CARGO_TARGET_DIR") {
            return self.root.join(folder);
        }
        if std::env::var_os("CI").is_some_and(|ci| ci == "true") {
            return self.cache.join("target");
        }
        self.root.join("target")
    }

    /// The version of a package in Cargo.lock (the first, where there are several).
    pub(crate) fn locked_version(&self, package: &str) -> Result<String> {
        let path = self.root.join("Cargo.lock");
        let lock =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let name = format!("name = \"{package}\"");
        let mut lines = lock.lines();
        lines
            .find(|line| *line == name)
            .with_context(|| format!("Cargo.lock has no package {package}"))?;
        let version = lines
            .next()
            .and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
        version
            .map(str::to_owned)
            .with_context(|| format!("Cargo.lock names no version of {package}"))
    }
}
