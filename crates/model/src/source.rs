//! What Git holds: revisions, commits, trees and files, without Git itself.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A commit's object id in hex (40 characters for SHA-1).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub String);

impl Revision {
    /// The first eight characters, as people quote it.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Revision {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A blob's object id in hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlobId(pub String);

/// The object id in hex of the tree at an application's path: its inputs did not change while this did not.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TreeId(pub String);

/// One file with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Object id of the bytes.
    pub blob: BlobId,
    /// How Git stores it.
    pub mode: FileMode,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// How Git stores a file. Symbolic links and submodules are problems of the reader, never followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileMode {
    /// 100644.
    #[default]
    Regular,
    /// 100755.
    Executable,
    /// 120000: the bytes are the link's text.
    Link,
}

/// Files below a path of one revision, keyed by their path from the repository's root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceTree {
    /// The revision these files belong to.
    pub revision: Revision,
    /// Path from the repository's root to file.
    pub files: BTreeMap<String, SourceFile>,
}

/// One commit of a history, with the files below the path that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub revision: Revision,
    /// First parent, absent for a root commit.
    pub parent: Option<Revision>,
    /// `Name <mail>` of the author.
    pub author: String,
    /// When it was committed, by the committer's clock: shown to people, never used to decide.
    pub committed_at: Timestamp,
    /// The whole message.
    pub message: String,
    /// Trailers (`Key: value` lines of the last paragraph), in order.
    pub trailers: Vec<(String, String)>,
    /// Files below the path asked for, as of this commit.
    pub tree: SourceTree,
}

impl Commit {
    /// First line of the message.
    pub fn subject(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }

    /// The value of the first trailer with this key; upper and lower case are alike, as Git has it.
    pub fn trailer(&self, key: &str) -> Option<&str> {
        self.trailers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value.as_str())
    }
}
