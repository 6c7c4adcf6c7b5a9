//! Commits, trees and blobs, content-addressed.

use crate::content::Content;
use data_encoding::HEXLOWER;
use regraft_model::git::{History, HistoryError, Relation, Snapshot};
use regraft_model::plan::Edit;
use regraft_model::source::{BlobId, Commit, FileMode, Revision, SourceFile, SourceTree, TreeId};
use regraft_model::time::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Most commits one history may have.
const MAX_HISTORY_COMMITS: usize = 500;

pub(crate) type Tree = BTreeMap<String, BlobId>;

#[derive(Clone, Debug)]
pub(crate) struct StoredCommit {
    pub(crate) revision: Revision,
    pub(crate) parent: Option<Revision>,
    pub(crate) files: Rc<Tree>,
    /// Directories and their trees.
    pub(crate) trees: Rc<BTreeMap<String, TreeId>>,
    pub(crate) author: Author,
    pub(crate) message: String,
    pub(crate) at: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    Person,
    Regraft,
}

/// A blob and what it means.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) content: Content,
    pub(crate) bytes: Vec<u8>,
}

/// Every object that was ever made; nothing is collected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) commits: BTreeMap<Revision, StoredCommit>,
    pub(crate) blobs: BTreeMap<BlobId, Blob>,
    made: u64,
}

impl StoredCommit {
    pub(crate) fn trailers(&self) -> Vec<(String, String)> {
        let last = self.message.trim_end().rsplit("\n\n").next().unwrap_or("");
        last.lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    pub(crate) fn trailer(&self, key: &str) -> Option<String> {
        self.trailers()
            .into_iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }
}

impl Store {
    pub(crate) fn blob(&mut self, content: Content) -> BlobId {
        let bytes = content.text().into_bytes();
        let id = BlobId(hash(&[&bytes]));
        self.blobs.insert(id.clone(), Blob { content, bytes });
        id
    }

    pub(crate) fn content(&self, id: &BlobId) -> Option<&Content> {
        self.blobs.get(id).map(|blob| &blob.content)
    }

    /// Makes a commit; it is on no branch yet.
    pub(crate) fn commit(
        &mut self,
        parent: Option<Revision>,
        files: Tree,
        author: Author,
        message: String,
        at: i64,
    ) -> Revision {
        self.made += 1;
        let trees = Rc::new(trees_of(&files));
        let root = trees.get("").map_or("", |tree| tree.0.as_str());
        let parent_text = parent.as_ref().map_or("", |parent| parent.0.as_str());
        let number = self.made.to_string();
        let revision = Revision(hash(&[
            parent_text.as_bytes(),
            root.as_bytes(),
            message.as_bytes(),
            number.as_bytes(),
        ]));
        self.commits.insert(
            revision.clone(),
            StoredCommit {
                revision: revision.clone(),
                parent,
                files: Rc::new(files),
                trees,
                author,
                message,
                at,
            },
        );
        revision
    }

    pub(crate) fn get(&self, revision: &Revision) -> Option<&StoredCommit> {
        self.commits.get(revision)
    }

    /// The commit and its ancestors, newest first.
    pub(crate) fn line(&self, from: &Revision) -> impl Iterator<Item = &StoredCommit> {
        std::iter::successors(self.commits.get(from), |commit| {
            commit
                .parent
                .as_ref()
                .and_then(|parent| self.commits.get(parent))
        })
    }

    pub(crate) fn descends(&self, revision: &Revision, ancestor: &Revision) -> bool {
        self.line(revision)
            .any(|commit| commit.revision == *ancestor)
    }

    pub(crate) fn relation(&self, tip: &Revision, known: &Revision) -> Relation {
        if tip == known {
            Relation::Same
        } else if self.descends(tip, known) {
            Relation::Descends
        } else {
            Relation::Rewritten
        }
    }

    /// The files that an edit list makes of a parent, or what does not fit.
    pub(crate) fn edited(&self, parent: &Revision, edits: &[Edit]) -> Result<Tree, String> {
        let commit = self.get(parent).ok_or("no such parent")?;
        let mut files = (*commit.files).clone();
        for edit in edits {
            if files.get(&edit.path) != edit.before.as_ref() {
                return Err(format!("{} is not what the edit expects", edit.path));
            }
            match &edit.after {
                Some(blob) if self.blobs.contains_key(blob) => {
                    files.insert(edit.path.clone(), blob.clone());
                }
                Some(blob) => return Err(format!("no blob {}", blob.0)),
                None => {
                    files.remove(&edit.path);
                }
            }
        }
        Ok(files)
    }

    pub(crate) fn snapshot(&self, revision: &Revision) -> Option<Snapshot> {
        let commit = self.get(revision)?;
        Some(Snapshot {
            revision: revision.clone(),
            config: self.below(commit, ".regraft"),
            trees: (*commit.trees).clone(),
        })
    }

    pub(crate) fn read(&self, revision: &Revision, path: &str) -> Option<(TreeId, SourceTree)> {
        let commit = self.get(revision)?;
        let tree = commit.trees.get(path).cloned()?;
        Some((tree, self.below(commit, path)))
    }

    pub(crate) fn history(
        &self,
        from: &Revision,
        to: &Revision,
        path: &str,
    ) -> Result<History, HistoryError> {
        let unreadable = |revision: &Revision| {
            HistoryError::Unreadable(format!("no commit {}", revision.short()))
        };
        let base = self.get(from).ok_or_else(|| unreadable(from))?;
        let tip = self.get(to).ok_or_else(|| unreadable(to))?;
        if !self.descends(to, from) {
            return Err(HistoryError::Rewritten);
        }
        let mut commits = Vec::new();
        for commit in self.line(to).take_while(|commit| commit.revision != *from) {
            let before = commit
                .parent
                .as_ref()
                .and_then(|parent| self.get(parent))
                .and_then(|parent| parent.trees.get(path));
            if before != commit.trees.get(path) {
                commits.push(self.told(commit, path));
            }
        }
        if commits.len() > MAX_HISTORY_COMMITS {
            return Err(HistoryError::TooLong {
                limit: MAX_HISTORY_COMMITS,
            });
        }
        commits.reverse();
        Ok(History {
            from: from.clone(),
            to: to.clone(),
            base: self.below(base, path),
            commits,
            tip: self.below(tip, path),
        })
    }

    fn told(&self, commit: &StoredCommit, path: &str) -> Commit {
        let author = match commit.author {
            Author::Person => "Ada <ada@example.org>",
            Author::Regraft => "regraft <regraft@example.org>",
        };
        Commit {
            revision: commit.revision.clone(),
            parent: commit.parent.clone(),
            author: author.to_owned(),
            committed_at: Timestamp(commit.at),
            message: commit.message.clone(),
            trailers: commit.trailers(),
            tree: self.below(commit, path),
        }
    }

    fn below(&self, commit: &StoredCommit, path: &str) -> SourceTree {
        let prefix = format!("{path}/");
        let files = commit
            .files
            .range(prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&prefix))
            .filter_map(|(name, id)| {
                let blob = self.blobs.get(id)?;
                Some((
                    name.clone(),
                    SourceFile {
                        blob: id.clone(),
                        mode: FileMode::Regular,
                        bytes: blob.bytes.clone(),
                    },
                ))
            })
            .collect();
        SourceTree {
            revision: commit.revision.clone(),
            files,
        }
    }
}

fn trees_of(files: &Tree) -> BTreeMap<String, TreeId> {
    let mut folders = BTreeSet::from([String::new()]);
    for path in files.keys() {
        let mut rest = path.as_str();
        while let Some((folder, _)) = rest.rsplit_once('/') {
            folders.insert(folder.to_owned());
            rest = folder;
        }
    }
    folders
        .into_iter()
        .map(|folder| {
            let prefix = match folder.as_str() {
                "" => String::new(),
                folder => format!("{folder}/"),
            };
            let mut parts = Vec::new();
            for (path, blob) in files.range(prefix.clone()..) {
                let Some(rest) = path.strip_prefix(&prefix) else {
                    break;
                };
                parts.push(format!("{rest} {}\n", blob.0));
            }
            let bytes: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
            (folder, TreeId(hash(&bytes)))
        })
        .collect()
}

/// Forty hex characters, like a SHA-1.
fn hash(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    HEXLOWER.encode(&hasher.finalize()[..20])
}
