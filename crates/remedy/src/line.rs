//! The application's history as the failing workloads saw it: what each commit made of their inputs.

use crate::case::Case;
use regraft_model::problem::Severity;
use regraft_model::{Application, Commit, ObjectKey, Revision, SourceTree};
use regraft_render::{Rendered, inputs_of, manifests};
use std::collections::{BTreeMap, BTreeSet};

/// Digest of each failing workload's inputs, absent where the workload is not there.
pub(crate) type Inputs = BTreeMap<ObjectKey, Option<String>>;

/// One state of the application's files.
#[derive(Clone, Debug)]
pub(crate) struct Point<'a> {
    /// The commit that made it, absent for the base.
    pub(crate) commit: Option<&'a Commit>,
    pub(crate) files: &'a SourceTree,
    pub(crate) inputs: Inputs,
}

/// The states from the last verified one to the tip, oldest first. There always is a base.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) base: Point<'a>,
    pub(crate) after: Vec<Point<'a>>,
    from: &'a Revision,
    to: &'a Revision,
}

impl<'a> Line<'a> {
    pub(crate) fn of(case: &Case<'a>, failing: &BTreeSet<ObjectKey>) -> Self {
        let (history, application) = (case.history, case.application);
        let inputs_at = |files: &SourceTree| inputs(&manifests(application, files), failing);
        Self {
            base: Point {
                commit: None,
                files: &history.base,
                inputs: inputs_at(&history.base),
            },
            after: history
                .commits
                .iter()
                .map(|commit| Point {
                    commit: Some(commit),
                    files: &commit.tree,
                    inputs: inputs_at(&commit.tree),
                })
                .collect(),
            from: &history.from,
            to: &history.to,
        }
    }

    /// The last state.
    pub(crate) fn tip(&self) -> &Point<'a> {
        self.after.last().unwrap_or(&self.base)
    }

    /// The state before the one at `index` of `after`.
    pub(crate) fn before(&self, index: usize) -> &Point<'a> {
        match index {
            0 => &self.base,
            index => &self.after[index - 1],
        }
    }

    /// The state at a revision, when the history tells.
    pub(crate) fn at(&self, revision: &Revision) -> Option<&Point<'a>> {
        if revision == self.to {
            return Some(self.tip());
        }
        if revision == self.from {
            return Some(&self.base);
        }
        self.after.iter().enumerate().find_map(|(index, point)| {
            let commit = point.commit?;
            if commit.revision == *revision {
                Some(point)
            } else if commit.parent.as_ref() == Some(revision) {
                // Commits in between did not change the path.
                Some(self.before(index))
            } else {
                None
            }
        })
    }

    /// Indices of the commits that changed the inputs since they last were those of the base, oldest first.
    pub(crate) fn suspects(&self) -> Vec<usize> {
        let mut suspects = Vec::new();
        for (index, point) in self.after.iter().enumerate() {
            if point.inputs == self.base.inputs {
                suspects.clear();
            } else if point.inputs != self.before(index).inputs {
                suspects.push(index);
            }
        }
        suspects
    }

    /// The last commit that changed the inputs.
    pub(crate) fn last_change(&self) -> Option<&'a Commit> {
        (0..self.after.len())
            .rev()
            .find(|&index| self.after[index].inputs != self.before(index).inputs)
            .and_then(|index| self.after[index].commit)
    }
}

/// The digests of the failing workloads' inputs in a rendering.
pub(crate) fn inputs(rendered: &Rendered, failing: &BTreeSet<ObjectKey>) -> Inputs {
    let objects: Vec<_> = rendered.objects.iter().map(|one| &one.object).collect();
    failing
        .iter()
        .map(|key| {
            let workload = objects.iter().find(|object| object.key() == *key);
            (
                key.clone(),
                workload.map(|workload| inputs_of(workload, &objects)),
            )
        })
        .collect()
}

/// Renders files and says what is wrong with them, if that keeps objects out.
pub(crate) fn render(application: &Application, files: &SourceTree) -> Result<Rendered, String> {
    let rendered = manifests(application, files);
    match rendered
        .problems
        .iter()
        .find(|problem| problem.severity == Severity::Error)
    {
        Some(problem) => Err(problem.to_string()),
        None => Ok(rendered),
    }
}

/// Paths whose content or mode differs between two states, in order.
pub(crate) fn changed_paths<'t>(
    before: &'t SourceTree,
    after: &'t SourceTree,
) -> BTreeSet<&'t str> {
    before
        .files
        .keys()
        .chain(after.files.keys())
        .filter(|path| !same_file(before, after, path))
        .map(String::as_str)
        .collect()
}

/// Whether a path is the same in two states, absent included.
pub(crate) fn same_file(one: &SourceTree, other: &SourceTree, path: &str) -> bool {
    let identity = |tree: &SourceTree| {
        tree.files
            .get(path)
            .map(|file| (file.blob.clone(), file.mode))
    };
    identity(one) == identity(other)
}
