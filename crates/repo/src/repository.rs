//! A tracked branch of one remote, with its local clone.

use crate::config::Config;
use crate::connection::{Connection, Download, Heads};
use crate::credentials::Credentials;
use crate::error::{Error, Operation};
use crate::store::Store;
use crate::view::View;
use crate::watch::Abandoned;
use git2::Oid;
use regraft_model::git::{History, HistoryError, Relation, Snapshot};
use regraft_model::{Edit, Revision, SourceTree, TreeId};
use std::sync::Arc;

/// A tracked branch of one remote. Reads (`&self`) may run side by side; what changes the clone takes `&mut self`.
#[derive(Debug)]
pub struct Repository {
    pub(crate) connection: Arc<Connection>,
    pub(crate) store: Store,
}

/// What a fetch found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The branch still is where the caller knows it; nothing was downloaded.
    Unchanged,
    /// The branch is here, and its commits are local.
    Head {
        /// Its tip.
        revision: Revision,
    },
}

impl Repository {
    /// Opens the local clone, creating it if need be. Talks to nobody.
    ///
    /// # Errors
    /// [`Error::Configuration`], or [`Error::Folder`] when the folder cannot be made. A damaged clone is no error:
    /// the next fetch makes it anew.
    pub fn open(config: Config) -> Result<Self, Error> {
        let address = config.check()?;
        if config.sends_secrets_in_the_clear(&address) {
            tracing::warn!(repository = %config.name, "credentials are sent over http without TLS");
        }
        let store = Store::open(&config.folder)?;
        Ok(Self {
            connection: Arc::new(Connection {
                config,
                address,
                abandoned: Abandoned::default(),
            }),
            store,
        })
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &Config {
        &self.connection.config
    }

    /// Uses other credentials from now on: tokens are rotated.
    ///
    /// # Errors
    /// [`Error::Configuration`] when they do not fit the URL; the old ones stay.
    pub fn replace_credentials(&mut self, credentials: Credentials) -> Result<(), Error> {
        let mut config = self.connection.config.clone();
        config.credentials = credentials;
        let address = config.check()?;
        self.connection = Arc::new(Connection {
            config,
            address,
            abandoned: self.connection.abandoned.clone(),
        });
        Ok(())
    }

    /// Asks where the branch is, and downloads its commits unless they are here already.
    ///
    /// # Errors
    /// [`Error::Remote`], [`Error::BranchMissing`], [`Error::Folder`].
    pub fn fetch(&mut self, known: Option<&Revision>) -> Result<Fetched, Error> {
        let heads = self.sync(&[])?;
        let tip = self.tip(&heads)?;
        Ok(match known == Some(&revision(&tip)) {
            true => Fetched::Unchanged,
            false => Fetched::Head {
                revision: revision(&tip),
            },
        })
    }

    /// Makes sure that a revision's objects are local.
    ///
    /// # Errors
    /// As [`Repository::fetch`], and [`Error::RevisionMissing`] when the branch does not lead to it.
    pub fn ensure(&mut self, wanted: &Revision) -> Result<(), Error> {
        if self.has(wanted)? {
            return Ok(());
        }
        self.sync(&[])?;
        match self.has(wanted)? {
            true => Ok(()),
            false => Err(Error::RevisionMissing {
                repository: self.config().name.clone(),
                revision: wanted.clone(),
            }),
        }
    }

    /// Whether a revision is local. A clone that waits to be made anew has none.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub fn has(&self, wanted: &Revision) -> Result<bool, Error> {
        match self.with_view(|view| view.commit(wanted).map(drop)) {
            Ok(()) => Ok(true),
            Err(Error::RevisionMissing { .. } | Error::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How a head relates to one seen before. A `from` that is not local was rewritten away: the branch is fetched
    /// with its whole history.
    ///
    /// # Errors
    /// [`Error::RevisionMissing`] when `to` is not local, [`Error::Corrupt`].
    pub fn relation(&self, from: &Revision, to: &Revision) -> Result<Relation, Error> {
        self.with_view(|view| view.relation(from, to))
    }

    /// The configuration files and the ids of all folders. Submodules and names that are no UTF-8 are left out.
    ///
    /// # Errors
    /// [`Error::RevisionMissing`], [`Error::TooLarge`], [`Error::NameNotText`] within `.regraft`, [`Error::Corrupt`].
    pub fn snapshot(&self, at: &Revision) -> Result<Snapshot, Error> {
        self.with_view(|view| view.snapshot(at))
    }

    /// The files below a folder. The empty path and `.` are the root.
    ///
    /// # Errors
    /// [`Error::PathMissing`] (never an empty tree), [`Error::RevisionMissing`], [`Error::TooLarge`],
    /// [`Error::NameNotText`], [`Error::Corrupt`].
    pub fn read(&self, at: &Revision, path: &str) -> Result<(TreeId, SourceTree), Error> {
        self.with_view(|view| view.read(at, path))
    }

    /// The commits after `from` up to `to` that changed a folder, oldest first, with its files at each of them. What
    /// came in by a merge is represented by the merge.
    ///
    /// # Errors
    /// See [`HistoryError`].
    pub fn history(
        &self,
        from: &Revision,
        to: &Revision,
        path: &str,
        limit: usize,
    ) -> Result<History, HistoryError> {
        let view = self.view().map_err(Error::into_history)?;
        view.history(from, to, path, limit).inspect_err(|error| {
            if let HistoryError::Unreadable(_) = error {
                self.store.inspect_again();
            }
        })
    }

    /// The unified diff of edits on a parent, for people; bounded. Of a file that `hides` says yes to, before or after,
    /// it shows only that it changes, and its blobs.
    ///
    /// # Errors
    /// [`Error::Edit`] when an edit does not fit the parent, [`Error::RevisionMissing`], [`Error::Corrupt`].
    pub fn diff_text(
        &self,
        parent: &Revision,
        edits: &[Edit],
        hides: fn(&[u8]) -> bool,
    ) -> Result<String, Error> {
        self.with_view(|view| view.diff_text(parent, edits, hides))
    }

    /// Fetches the tracked branch and others; a worn clone is made anew first.
    pub(crate) fn sync(&mut self, others: &[&str]) -> Result<Heads, Error> {
        let connection = Arc::clone(&self.connection);
        let tracked = connection.config.branch.as_str();
        let mut branches = vec![tracked];
        branches.extend(others.iter().filter(|name| **name != tracked));
        let fetch = |folder: &std::path::Path| {
            connection
                .heads(folder, &branches, Download::Branches)
                .map_err(|failure| self.remote(Operation::Fetch, failure))
        };
        if !self.store.is_worn() {
            let heads = fetch(self.store.folder())?;
            if self.complete(&heads) {
                return Ok(heads);
            }
        }
        let fresh = self.store.fresh()?;
        let heads = fetch(&fresh)?;
        self.store.swap()?;
        tracing::info!(repository = %connection.config.name, "cloned anew");
        Ok(heads)
    }

    /// The tracked branch's tip.
    pub(crate) fn tip(&self, heads: &Heads) -> Result<Oid, Error> {
        let branch = self.config().branch.as_str();
        heads
            .get(branch)
            .copied()
            .ok_or_else(|| Error::BranchMissing {
                repository: self.config().name.clone(),
                branch: branch.to_owned(),
            })
    }

    pub(crate) fn remote(&self, operation: Operation, source: crate::Failure) -> Error {
        if let crate::Failure::Local(_) = source {
            self.store.inspect_again();
        }
        Error::Remote {
            repository: self.config().name.clone(),
            operation,
            source,
        }
    }

    pub(crate) fn view(&self) -> Result<View<'_>, Error> {
        Ok(View {
            repository: &self.connection.config.name,
            folder: self.store.folder(),
            git: self.store.git()?,
        })
    }

    /// Reads through a handle of its own, which gives its memory back afterwards, and remembers damage.
    pub(crate) fn with_view<T>(
        &self,
        read: impl FnOnce(&View<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        read(&self.view()?).inspect_err(|error| {
            if let Error::Corrupt { .. } = error {
                self.store.mark_damaged();
            }
        })
    }

    /// Whether the tips that the remote has can be read here.
    fn complete(&self, heads: &Heads) -> bool {
        let sound = self.with_view(|view| {
            heads
                .values()
                .try_for_each(|tip| view.commit(&revision(tip)).map(drop))
        });
        if sound.is_err() {
            self.store.mark_damaged();
        }
        sound.is_ok()
    }
}

/// An object id as the other crates know it.
pub(crate) fn revision(id: &Oid) -> Revision {
    Revision(id.to_string())
}
