//! The folder of one test or demo run.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// A temporary folder: removed on drop, kept and named when the test panics.
#[derive(Debug)]
pub struct TestDir(Option<tempfile::TempDir>, PathBuf);

impl TestDir {
    /// Makes one below the system's temporary folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(name: &str) -> Result<Self, Error> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("regraft-{name}-"))
            .tempdir()
            .map_err(Error::file("create a folder in", std::env::temp_dir()))?;
        let path = dir.path().to_path_buf();
        Ok(Self(Some(dir), path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.1
    }

    /// Makes a folder in it.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.1.join(name);
        std::fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
        Ok(path)
    }

    /// Leaves the folder where it is, for a person to look at.
    pub fn keep(&mut self) {
        if let Some(dir) = self.0.take() {
            let _ = dir.keep();
        }
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
            eprintln!(
                "logs and data of the failed test are in {}",
                self.1.display()
            );
        }
    }
}
