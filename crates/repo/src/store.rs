//! The folder of the local bare clone: a cache that may break, and is then made anew beside the old one and swapped.
//!
//! Expected flow: `open` at start; `fresh`, a fetch into it, `swap` when the clone is damaged or has too many packs.
//! Guarantees: at any moment, also after a crash between two renames, the next `open` finds a clone or starts one.
//! Assumptions: one process uses the folder (the member's data folder is locked by its owner).
//! Errors: [`Error::Folder`] for what the disk says, [`Error::Corrupt`] for what Git says.

use crate::connection::said;
use crate::error::Error;
use crate::view::MAX_DIRECTORIES;
use git2::{ObjectType, Oid, RepositoryInitOptions};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Every fetch leaves a pack, and every read looks through all of them: beyond this many the clone is made anew.
const MAX_PACKS: usize = 256;

/// The folder of the clone.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    damaged: AtomicBool,
}

impl Store {
    /// Opens or creates the clone. A damaged one is noticed here and made anew by the next fetch, since the remote
    /// may be away just now.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        spare_memory();
        let store = Self {
            folder: folder.to_owned(),
            damaged: AtomicBool::new(false),
        };
        store.clean_up().map_err(|error| store.unusable(error))?;
        if !folder.exists() {
            store.init(folder)?;
        }
        store.inspect_again();
        Ok(store)
    }

    /// Looks whether the clone is sound, after something strange was seen.
    pub(crate) fn inspect_again(&self) {
        if let Err(problem) = inspect(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %problem, "the local clone is damaged and will be cloned again");
            self.mark_damaged();
        }
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Notes that the clone cannot be trusted.
    pub(crate) fn mark_damaged(&self) {
        self.damaged.store(true, Ordering::Release);
    }

    /// Whether the clone must be made anew.
    pub(crate) fn is_worn(&self) -> bool {
        self.damaged.load(Ordering::Acquire) || packs(&self.folder) > MAX_PACKS
    }

    /// The clone, unless it is known to be damaged.
    pub(crate) fn git(&self) -> Result<git2::Repository, Error> {
        if self.damaged.load(Ordering::Acquire) {
            return Err(Error::Corrupt {
                folder: self.folder.clone(),
                detail: "it waits to be cloned again".to_owned(),
            });
        }
        open_bare(&self.folder).map_err(|error| self.corrupt(&error))
    }

    /// An empty clone beside the present one.
    pub(crate) fn fresh(&self) -> Result<PathBuf, Error> {
        let fresh = self.beside("new");
        remove(&fresh).map_err(|error| self.unusable(error))?;
        self.init(&fresh)?;
        Ok(fresh)
    }

    /// Puts the fresh clone in the present one's place.
    pub(crate) fn swap(&self) -> Result<(), Error> {
        let old = self.beside("old");
        remove(&old)
            .and_then(|()| std::fs::rename(&self.folder, &old))
            .and_then(|()| std::fs::rename(self.beside("new"), &self.folder))
            .and_then(|()| remove(&old))
            .map_err(|error| self.unusable(error))?;
        self.damaged.store(false, Ordering::Release);
        Ok(())
    }

    fn init(&self, folder: &Path) -> Result<(), Error> {
        let mut options = RepositoryInitOptions::new();
        options.bare(true).mkpath(true).external_template(false);
        git2::Repository::init_opts(folder, &options)
            .map(drop)
            .map_err(|error| self.unusable(io::Error::other(said(&error))))
    }

    /// Ends what a crash between the renames of `swap` left behind.
    fn clean_up(&self) -> io::Result<()> {
        let old = self.beside("old");
        if !self.folder.exists() && old.exists() {
            std::fs::rename(&old, &self.folder)?;
        }
        remove(&old)?;
        remove(&self.beside("new"))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(self.folder.as_os_str());
        name.push(".");
        name.push(suffix);
        PathBuf::from(name)
    }

    fn unusable(&self, source: io::Error) -> Error {
        Error::Folder {
            folder: self.folder.clone(),
            source,
        }
    }

    fn corrupt(&self, error: &git2::Error) -> Error {
        self.mark_damaged();
        Error::Corrupt {
            folder: self.folder.clone(),
            detail: said(error),
        }
    }
}

/// Where the clone keeps a remote branch.
pub(crate) fn tracking(branch: &str) -> String {
    format!("refs/remotes/origin/{branch}")
}

/// Opens a bare repository that listens to its own configuration only: a person's `insteadOf` or proxy settings would
/// silently change where we read and push.
pub(crate) fn open_bare(folder: &Path) -> Result<git2::Repository, git2::Error> {
    let git = git2::Repository::open_bare(folder)?;
    git.set_config(&git2::Config::open(&folder.join("config"))?)?;
    Ok(git)
}

/// libgit2 keeps up to 256 MiB of parsed objects; we read each one once.
fn spare_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| git2::opts::enable_caching(false));
}

/// Looks whether every branch's newest tree is complete. Bytes are checked against their id when they are read.
fn inspect(folder: &Path) -> Result<(), String> {
    let text = |error: git2::Error| said(&error);
    let git = open_bare(folder).map_err(text)?;
    for reference in git.references_glob("refs/remotes/*").map_err(text)? {
        let commit = reference
            .and_then(|reference| reference.peel_to_commit())
            .map_err(text)?;
        inspect_tree(&git, commit.tree_id()).map_err(text)?;
    }
    Ok(())
}

fn inspect_tree(git: &git2::Repository, root: Oid) -> Result<(), git2::Error> {
    let objects = git.odb()?;
    let mut waiting = vec![root];
    let mut seen = 0;
    while let Some(id) = waiting.pop() {
        seen += 1;
        if seen > MAX_DIRECTORIES {
            return Ok(());
        }
        for entry in &git.find_tree(id)? {
            match entry.kind() {
                Some(ObjectType::Tree) => waiting.push(entry.id()),
                Some(ObjectType::Blob) => drop(objects.read_header(entry.id())?),
                _ => {}
            }
        }
    }
    Ok(())
}

fn packs(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder.join("objects/pack")) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().extension().is_some_and(|ext| ext == "pack"))
        .count()
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
