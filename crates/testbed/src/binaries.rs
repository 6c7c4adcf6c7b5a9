//! Where the programs are that the bootstrap or cargo built.

use std::path::PathBuf;

use crate::error::Error;

/// A program that is built, not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// etcd, apiserver, controller-manager, scheduler and kubectl in one.
    ControlPlane,
    /// The nodes' stand-in.
    Kwok,
    /// OpenSSH's server.
    Sshd,
    /// The product.
    Regraft,
}

impl Binary {
    /// Its path: the environment's word, else where the bootstrap or cargo puts it.
    ///
    /// # Errors
    /// `MissingBinary` when it is not there.
    pub fn path(self) -> Result<PathBuf, Error> {
        let (name, variable) = match self {
            Self::ControlPlane => ("controlplane", "REGRAFT_CONTROLPLANE"),
            Self::Kwok => ("kwok", "REGRAFT_KWOK"),
            Self::Sshd => ("sshd", "REGRAFT_SSHD"),
            Self::Regraft => ("regraft", "REGRAFT_BINARY"),
        };
        let path = std::env::var_os(variable).map_or_else(|| self.usual_path(), PathBuf::from);
        if path.exists() {
            Ok(path)
        } else {
            Err(Error::MissingBinary { name, path })
        }
    }

    fn usual_path(self) -> PathBuf {
        match self {
            Self::ControlPlane => cache().join("current/controlplane"),
            Self::Kwok => cache().join("current/kwok"),
            Self::Sshd => cache().join("current/sshd"),
            Self::Regraft => target().join("regraft"),
        }
    }
}

fn cache() -> PathBuf {
    match std::env::var_os("REGRAFT_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/regraft"),
    }
}

/// The folder of cargo's binaries: tests run from its `deps`, the demo from itself.
fn target() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap_or_default();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}
