//! Edits on a commit's tree as a new tree: by blob ids, so that restored files are the same to the byte.

use crate::error::Error;
use crate::view::{MAX_DEPTH, View};
use git2::{ObjectType, Oid};
use regraft_model::Edit;
use regraft_model::source::FileMode;
use std::collections::{BTreeMap, BTreeSet};

/// Edits below one folder: what happens to each of its names.
#[derive(Default)]
struct Folder<'a> {
    files: BTreeMap<&'a str, &'a Edit>,
    folders: BTreeMap<&'a str, Folder<'a>>,
}

impl View<'_> {
    /// The tree of a commit after edits, written to the clone. Every edit's `before` must be what the commit holds.
    /// A folder whose last file goes away goes too.
    pub(crate) fn edited(&self, parent: &git2::Commit<'_>, edits: &[Edit]) -> Result<Oid, Error> {
        let mut root = Folder::default();
        let mut paths = BTreeSet::new();
        for edit in edits {
            let names = components(&edit.path)?;
            if !paths.insert(edit.path.as_str()) {
                return Err(conflict(&edit.path, "it is edited twice"));
            }
            root.add(&names, edit);
        }
        match self.write(&root, Some(parent.tree_id()), "")? {
            Some(tree) => Ok(tree),
            None => self
                .git
                .treebuilder(None)
                .and_then(|empty| empty.write())
                .map_err(|error| self.damaged(&error)),
        }
    }

    /// Writes a folder after its edits; `None` when nothing is left of it.
    fn write(
        &self,
        edits: &Folder<'_>,
        base: Option<Oid>,
        path: &str,
    ) -> Result<Option<Oid>, Error> {
        let base = base.map(|id| self.tree(id)).transpose()?;
        let mut builder = self
            .git
            .treebuilder(base.as_ref())
            .map_err(|error| self.damaged(&error))?;
        let names: BTreeSet<&str> = edits
            .files
            .keys()
            .chain(edits.folders.keys())
            .copied()
            .collect();
        for name in names {
            let here = format!("{path}{name}");
            let old = base
                .as_ref()
                .and_then(|tree| tree.get_name(name))
                .map(|entry| (entry.id(), entry.kind()));
            let new = self.entry(edits, name, old, &here)?;
            match (new, old) {
                (Some((id, mode)), _) => builder.insert(name, id, mode).map(drop),
                (None, Some(_)) => builder.remove(name),
                (None, None) => Ok(()),
            }
            .map_err(|error| conflict(&here, error.message()))?;
        }
        if builder.is_empty() {
            return Ok(None);
        }
        builder
            .write()
            .map(Some)
            .map_err(|error| self.damaged(&error))
    }

    /// What stands under one name after its edits.
    fn entry(
        &self,
        edits: &Folder<'_>,
        name: &str,
        old: Option<(Oid, Option<ObjectType>)>,
        here: &str,
    ) -> Result<Option<(Oid, i32)>, Error> {
        let old_file = old.and_then(|(id, kind)| (kind == Some(ObjectType::Blob)).then_some(id));
        let old_folder = old.and_then(|(id, kind)| (kind == Some(ObjectType::Tree)).then_some(id));
        if old.is_some() && old_file.is_none() && old_folder.is_none() {
            return Err(conflict(here, "a submodule is there"));
        }
        let file = match edits.files.get(name) {
            Some(edit) => {
                self.fits(edit, old_file)?;
                self.file_after(edit)?
            }
            None => old_file.map(|id| (id, 0)),
        };
        let folder = match edits.folders.get(name) {
            Some(inner) => self.write(inner, old_folder, &format!("{here}/"))?,
            None => old_folder,
        };
        match (file, folder) {
            (Some(_), Some(_)) => Err(conflict(here, "it would be a file and a folder at once")),
            (Some(file), None) => Ok(Some(file)),
            (None, Some(folder)) => Ok(Some((folder, 0o040_000))),
            (None, None) => Ok(None),
        }
    }

    fn fits(&self, edit: &Edit, old_file: Option<Oid>) -> Result<(), Error> {
        let found = old_file.map(|id| id.to_string());
        let expected = edit.before.as_ref().map(|blob| blob.0.clone());
        if found == expected {
            return Ok(());
        }
        let name = |blob: Option<String>| blob.unwrap_or_else(|| "no file".to_owned());
        Err(conflict(
            &edit.path,
            &format!(
                "the parent holds {}, the plan expects {}",
                name(found),
                name(expected)
            ),
        ))
    }

    fn file_after(&self, edit: &Edit) -> Result<Option<(Oid, i32)>, Error> {
        let Some(blob) = &edit.after else {
            return Ok(None);
        };
        let id = Oid::from_str(&blob.0)
            .ok()
            .filter(|_| blob.0.len() == 40)
            .filter(|id| self.git.find_blob(*id).is_ok())
            .ok_or_else(|| conflict(&edit.path, &format!("blob {} is not in the clone", blob.0)))?;
        let mode = match edit.mode {
            FileMode::Regular => 0o100_644,
            FileMode::Executable => 0o100_755,
            FileMode::Link => 0o120_000,
        };
        Ok(Some((id, mode)))
    }
}

impl<'a> Folder<'a> {
    fn add(&mut self, names: &[&'a str], edit: &'a Edit) {
        match names {
            [] => {}
            [name] => {
                self.files.insert(name, edit);
            }
            [name, rest @ ..] => self.folders.entry(name).or_default().add(rest, edit),
        }
    }
}

/// The names of a path, none of which may leave the tree or reach into Git's own files.
fn components(path: &str) -> Result<Vec<&str>, Error> {
    let names: Vec<&str> = path.split('/').collect();
    let bad = |name: &&&str| {
        matches!(**name, "" | "." | "..")
            || name.eq_ignore_ascii_case(".git")
            || name.contains('\0')
    };
    match names.iter().find(bad) {
        Some(name) => Err(conflict(path, &format!("`{name}` is no name of a file"))),
        None if names.len() > MAX_DEPTH => Err(conflict(path, "it is too deep")),
        None => Ok(names),
    }
}

fn conflict(path: &str, problem: &str) -> Error {
    Error::Edit {
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}
