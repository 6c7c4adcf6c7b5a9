//! Which commits changed a folder between two revisions.

use crate::error::Error;
use crate::message;
use crate::view::{MAX_DEPTH, View, normal};
use git2::Oid;
use regraft_model::git::{History, HistoryError};
use regraft_model::{Commit, Revision, SourceTree, Timestamp};
use std::collections::BTreeMap;

/// Commits looked at for one history: a repository with 100 commits a day gets there in three months.
pub(crate) const MAX_WALKED_COMMITS: usize = 10_000;

/// Bytes of all files of all commits of one history.
pub(crate) const MAX_HISTORY_BYTES: usize = 32 * 1024 * 1024;

impl View<'_> {
    pub(crate) fn history(
        &self,
        from: &Revision,
        to: &Revision,
        path: &str,
        limit: usize,
    ) -> Result<History, HistoryError> {
        let path = normal(path);
        let newest = self.commit(to).map_err(Error::into_history)?;
        let oldest = match self.commit(from) {
            Ok(commit) => commit,
            Err(Error::RevisionMissing { .. }) => return Err(HistoryError::Rewritten),
            Err(error) => return Err(error.into_history()),
        };
        let changed = self.changed_between(&oldest, newest.clone(), path, limit)?;
        let mut budget_bytes = MAX_HISTORY_BYTES;
        let mut files = |commit: &git2::Commit<'_>| -> Result<SourceTree, HistoryError> {
            let tree = self.files_at(commit, path).map_err(Error::into_history)?;
            let bytes: usize = tree.files.values().map(|file| file.bytes.len()).sum();
            budget_bytes = budget_bytes.checked_sub(bytes).ok_or_else(|| {
                HistoryError::Unreadable(format!(
                    "TooLarge: the commits that changed `{path}` hold more than {MAX_HISTORY_BYTES} bytes"
                ))
            })?;
            Ok(tree)
        };
        let base = files(&oldest)?;
        let tip = files(&newest)?;
        let mut commits = Vec::with_capacity(changed.len());
        for (commit, parent) in changed.into_iter().rev() {
            commits.push(told(&commit, parent, files(&commit)?));
        }
        Ok(History {
            from: from.clone(),
            to: to.clone(),
            base,
            commits,
            tip,
        })
    }

    /// Commits that changed the folder, newest first, each with its parent on the line.
    fn changed_between<'v>(
        &'v self,
        oldest: &git2::Commit<'v>,
        newest: git2::Commit<'v>,
        path: &str,
        limit: usize,
    ) -> Result<Vec<(git2::Commit<'v>, Oid)>, HistoryError> {
        let unreadable = Error::into_history;
        let mut changed = Vec::new();
        let mut current = newest;
        let mut current_tree = self.folder_at(&current, path).map_err(unreadable)?;
        for _ in 0..MAX_WALKED_COMMITS {
            if current.id() == oldest.id() {
                return Ok(changed);
            }
            let parent = self
                .parent_towards(&current, oldest.id())
                .map_err(unreadable)?
                .ok_or(HistoryError::Rewritten)?;
            let parent_tree = self.folder_at(&parent, path).map_err(unreadable)?;
            if parent_tree != current_tree {
                if changed.len() == limit {
                    return Err(HistoryError::TooLong { limit });
                }
                changed.push((current, parent.id()));
            }
            (current, current_tree) = (parent, parent_tree);
        }
        Err(HistoryError::TooLong {
            limit: MAX_WALKED_COMMITS,
        })
    }

    /// The first parent that is `ancestor` or descends from it. That is the first parent, except where somebody merged
    /// the branch into his work and pushed the result: then the branch's own line goes on at another parent.
    fn parent_towards<'v>(
        &'v self,
        commit: &git2::Commit<'v>,
        ancestor: Oid,
    ) -> Result<Option<git2::Commit<'v>>, Error> {
        for id in commit.parent_ids().take(MAX_DEPTH) {
            let leads = id == ancestor
                || self
                    .git
                    .graph_descendant_of(id, ancestor)
                    .map_err(|error| self.damaged(&error))?;
            if leads {
                return self
                    .git
                    .find_commit(id)
                    .map(Some)
                    .map_err(|error| self.damaged(&error));
            }
        }
        Ok(None)
    }

    /// The folder's files at a commit; a folder that is not there has none.
    fn files_at(&self, commit: &git2::Commit<'_>, path: &str) -> Result<SourceTree, Error> {
        let revision = Revision(commit.id().to_string());
        match self.folder_at(commit, path)? {
            Some(tree) => self.files(&revision, path, tree),
            None => Ok(SourceTree {
                revision,
                files: BTreeMap::new(),
            }),
        }
    }
}

fn told(commit: &git2::Commit<'_>, parent: Oid, tree: SourceTree) -> Commit {
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    let author = commit.author();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Commit {
        revision: Revision(commit.id().to_string()),
        parent: Some(Revision(parent.to_string())),
        author: format!(
            "{} <{}>",
            text(author.name_bytes()),
            text(author.email_bytes())
        ),
        committed_at: Timestamp(commit.time().seconds().saturating_mul(1000)),
        trailers: message::trailers(&message),
        message,
        tree,
    }
}
