//! Reads commits and trees from the clone, without a checkout.

use crate::connection::said;
use crate::error::Error;
use git2::{
    DiffFile, DiffFormat, DiffLineType, DiffOptions, ErrorClass, ErrorCode, ObjectType, Oid,
    TreeEntry,
};
use regraft_model::git::{Relation, Snapshot};
use regraft_model::source::FileMode;
use regraft_model::{BlobId, Edit, RepositoryName, Revision, SourceFile, SourceTree, TreeId};
use std::collections::BTreeMap;
use std::path::Path;

/// Folder of a repository's configuration.
pub(crate) const CONFIG_FOLDER: &str = ".regraft";

/// Folders of one revision; a snapshot holds about 150 bytes for each.
pub(crate) const MAX_DIRECTORIES: usize = 100_000;

/// Folders within folders; beyond this somebody is attacking.
pub(crate) const MAX_DEPTH: usize = 64;

/// Bytes of one file: etcd takes no object beyond 1.5 MiB, and a file may hold several.
pub(crate) const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of the files below one path, all of them in memory at once.
pub(crate) const MAX_TREE_BYTES: usize = 32 * 1024 * 1024;

/// Files below one path.
pub(crate) const MAX_TREE_FILES: usize = 20_000;

/// Bytes of a diff for people.
pub(crate) const MAX_DIFF_BYTES: usize = 256 * 1024;

/// Stands for the lines of a file that are not for everybody.
const HIDDEN: &str = "(hidden: the file holds a Secret, or cannot be read; see it in Git)\n";

/// Git's mode bits of a symbolic link and of an executable file.
const MODE_LINK: i32 = 0o120_000;
const MODE_EXECUTABLE: i32 = 0o100_755;

/// The clone, opened for one operation.
pub(crate) struct View<'a> {
    pub(crate) repository: &'a RepositoryName,
    pub(crate) folder: &'a Path,
    pub(crate) git: git2::Repository,
}

impl View<'_> {
    /// A commit by its full id.
    pub(crate) fn commit(&self, revision: &Revision) -> Result<git2::Commit<'_>, Error> {
        let missing = || Error::RevisionMissing {
            repository: self.repository.clone(),
            revision: revision.clone(),
        };
        // A shorter text would be taken for an id padded with zeros.
        let id = Oid::from_str(&revision.0)
            .ok()
            .filter(|_| revision.0.len() == 40)
            .ok_or_else(missing)?;
        self.git
            .find_commit(id)
            .map_err(|error| match error.code() {
                ErrorCode::NotFound => missing(),
                _ => self.damaged(&error),
            })
    }

    pub(crate) fn relation(&self, from: &Revision, to: &Revision) -> Result<Relation, Error> {
        let to = self.commit(to)?.id();
        let from = match self.commit(from) {
            Ok(commit) => commit.id(),
            Err(Error::RevisionMissing { .. }) => return Ok(Relation::Rewritten),
            Err(error) => return Err(error),
        };
        if from == to {
            return Ok(Relation::Same);
        }
        match self.git.graph_descendant_of(to, from) {
            Ok(true) => Ok(Relation::Descends),
            Ok(false) => Ok(Relation::Rewritten),
            Err(error) => Err(self.damaged(&error)),
        }
    }

    pub(crate) fn snapshot(&self, at: &Revision) -> Result<Snapshot, Error> {
        let root = self.commit(at)?.tree_id();
        let mut trees = BTreeMap::new();
        let mut config = None;
        let mut waiting = vec![(String::new(), root, 0)];
        while let Some((path, id, depth)) = waiting.pop() {
            bound(depth, MAX_DEPTH, || format!("the depth of folder {path}"))?;
            bound(trees.len() + 1, MAX_DIRECTORIES, || {
                format!("the number of folders at {}", at.short())
            })?;
            let tree = self.tree(id)?;
            for entry in &tree {
                // What is no text cannot be named by an Application; reading a folder with such a name says so.
                if let (Some(ObjectType::Tree), Ok(name)) = (entry.kind(), entry.name()) {
                    waiting.push((join(&path, name), entry.id(), depth + 1));
                }
            }
            if path == CONFIG_FOLDER {
                config = Some(id);
            }
            trees.insert(path, TreeId(id.to_string()));
        }
        let config = match config {
            Some(id) => self.files(at, CONFIG_FOLDER, id)?,
            None => SourceTree {
                revision: at.clone(),
                files: BTreeMap::new(),
            },
        };
        Ok(Snapshot {
            revision: at.clone(),
            config,
            trees,
        })
    }

    pub(crate) fn read(&self, at: &Revision, path: &str) -> Result<(TreeId, SourceTree), Error> {
        let path = normal(path);
        let commit = self.commit(at)?;
        let id = self
            .folder_at(&commit, path)?
            .ok_or_else(|| Error::PathMissing {
                revision: at.clone(),
                path: path.to_owned(),
            })?;
        Ok((TreeId(id.to_string()), self.files(at, path, id)?))
    }

    /// The tree at a normal path, `None` if there is no folder.
    pub(crate) fn folder_at(
        &self,
        commit: &git2::Commit<'_>,
        path: &str,
    ) -> Result<Option<Oid>, Error> {
        let root = commit.tree_id();
        if path.is_empty() {
            return Ok(Some(root));
        }
        match self.tree(root)?.get_path(Path::new(path)) {
            Ok(entry) if entry.kind() == Some(ObjectType::Tree) => Ok(Some(entry.id())),
            Ok(_) => Ok(None),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(self.damaged(&error)),
        }
    }

    /// All files below a tree, by their path from the root.
    pub(crate) fn files(&self, at: &Revision, path: &str, tree: Oid) -> Result<SourceTree, Error> {
        let mut files = BTreeMap::new();
        let mut total_bytes = 0;
        let mut waiting = vec![(path.to_owned(), tree, 0)];
        while let Some((folder, id, depth)) = waiting.pop() {
            bound(depth, MAX_DEPTH, || format!("the depth of folder {folder}"))?;
            for entry in &self.tree(id)? {
                let name = entry.name().map_err(|_| Error::NameNotText {
                    path: join(&folder, &String::from_utf8_lossy(entry.name_bytes())),
                })?;
                let path = join(&folder, name);
                match entry.kind() {
                    Some(ObjectType::Tree) => waiting.push((path, entry.id(), depth + 1)),
                    Some(ObjectType::Blob) => {
                        let file = self.file(&path, &entry)?;
                        total_bytes += file.bytes.len();
                        bound(total_bytes, MAX_TREE_BYTES, || {
                            format!("the size of the files below `{folder}` in bytes")
                        })?;
                        files.insert(path, file);
                        bound(files.len(), MAX_TREE_FILES, || {
                            format!("the number of files below `{folder}`")
                        })?;
                    }
                    // A submodule names a commit of another repository.
                    _ => tracing::debug!(%path, "submodule is not followed"),
                }
            }
        }
        Ok(SourceTree {
            revision: at.clone(),
            files,
        })
    }

    pub(crate) fn diff_text(
        &self,
        parent: &Revision,
        edits: &[Edit],
        hides: fn(&[u8]) -> bool,
    ) -> Result<String, Error> {
        let commit = self.commit(parent)?;
        let before = self.tree(commit.tree_id())?;
        let after = self.tree(self.edited(&commit, edits)?)?;
        let mut options = DiffOptions::new();
        options.context_lines(3).id_abbrev(8).indent_heuristic(true);
        let diff = self
            .git
            .diff_tree_to_tree(Some(&before), Some(&after), Some(&mut options))
            .map_err(|error| self.damaged(&error))?;
        let mut text = Vec::new();
        let mut is_hidden = true;
        let printed = diff.print(DiffFormat::Patch, |file, _, line| {
            match line.origin_value() {
                DiffLineType::FileHeader => {
                    text.extend_from_slice(line.content());
                    let sides = [file.old_file(), file.new_file()];
                    is_hidden = sides.iter().any(|side| self.hides(side, hides));
                    if is_hidden {
                        text.extend_from_slice(HIDDEN.as_bytes());
                    }
                }
                _ if is_hidden => {}
                _ => {
                    if matches!(line.origin(), '+' | '-' | ' ') {
                        text.push(line.origin() as u8);
                    }
                    text.extend_from_slice(line.content());
                }
            }
            text.len() <= MAX_DIFF_BYTES
        });
        match printed {
            Ok(()) => Ok(String::from_utf8_lossy(&text).into_owned()),
            Err(_) if text.len() > MAX_DIFF_BYTES => {
                text.truncate(MAX_DIFF_BYTES);
                let mut text = String::from_utf8_lossy(&text).into_owned();
                text.push_str(&format!("\n... cut after {MAX_DIFF_BYTES} bytes\n"));
                Ok(text)
            }
            Err(error) => Err(self.damaged(&error)),
        }
    }

    /// Whether one side of a change is not for everybody; also when it cannot be read. No file hides nothing.
    fn hides(&self, side: &DiffFile<'_>, hides: fn(&[u8]) -> bool) -> bool {
        let blob = self.git.find_blob(side.id());
        !side.id().is_zero() && blob.map_or(true, |blob| hides(blob.content()))
    }

    /// A tree that must be there, since something names it.
    pub(crate) fn tree(&self, id: Oid) -> Result<git2::Tree<'_>, Error> {
        self.git.find_tree(id).map_err(|error| self.damaged(&error))
    }

    /// An object that must be there is not, or cannot be read.
    pub(crate) fn damaged(&self, error: &git2::Error) -> Error {
        let detail = said(error);
        match error.class() {
            ErrorClass::Os | ErrorClass::Filesystem | ErrorClass::NoMemory => Error::Folder {
                folder: self.folder.to_owned(),
                source: std::io::Error::other(detail),
            },
            _ => Error::Corrupt {
                folder: self.folder.to_owned(),
                detail,
            },
        }
    }

    fn file(&self, path: &str, entry: &TreeEntry<'_>) -> Result<SourceFile, Error> {
        let blob = self
            .git
            .find_blob(entry.id())
            .map_err(|error| self.damaged(&error))?;
        bound(blob.size(), MAX_FILE_BYTES, || {
            format!("the size of `{path}` in bytes")
        })?;
        Ok(SourceFile {
            blob: BlobId(entry.id().to_string()),
            mode: match entry.filemode() {
                MODE_LINK => FileMode::Link,
                MODE_EXECUTABLE => FileMode::Executable,
                _ => FileMode::Regular,
            },
            bytes: blob.content().to_vec(),
        })
    }
}

/// A path from the root without slashes at its ends; `.` is the root.
pub(crate) fn normal(path: &str) -> &str {
    match path.strip_prefix("./").unwrap_or(path).trim_matches('/') {
        "." => "",
        path => path,
    }
}

fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    }
}

pub(crate) fn bound(
    value: usize,
    limit: usize,
    what: impl FnOnce() -> String,
) -> Result<(), Error> {
    match value > limit {
        true => Err(Error::TooLarge {
            what: what(),
            limit: limit.to_string(),
        }),
        false => Ok(()),
    }
}
