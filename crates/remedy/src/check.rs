//! Every promise of a plan, derived again from the case and not from how the plan was made.

use crate::case::Case;
use crate::edit::{diff_hash, restored};
use crate::guards;
use crate::line::{self, changed_paths, same_file};
use crate::message::{MAX_SUBJECT_CHARS, trailers};
use regraft_model::finding::Change;
use regraft_model::plan::{Answer, Delivery};
use regraft_model::{Guard, Mode, ObjectKey, Plan, Revision};
use regraft_render::manifests;
use std::collections::BTreeSet;

/// A broken promise of a plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Violation {
    /// Its incident, id, application, repository or branch are not those of the case.
    #[error("it belongs to another case")]
    AnotherCase,
    /// Its parent is not the tip (I3).
    #[error("its parent is not the tip of the branch")]
    ParentIsNotTip,
    /// It does not restore the last verified revision.
    #[error("it does not restore the last verified revision")]
    RestoresAnotherRevision,
    /// It names no suspect.
    #[error("it names no suspect")]
    NoSuspect,
    /// A suspect is not between the last verified revision and the tip.
    #[error("its suspect {0} is not between the last verified revision and the tip")]
    SuspectOutsideHistory(Revision),
    /// It changes nothing.
    #[error("it changes nothing")]
    NoEdits,
    /// Two edits of one file, or not in order.
    #[error("its edit of {0} comes twice or out of order")]
    EditsOutOfOrder(String),
    /// It edits a file that is not the application's.
    #[error("it edits {0}, which is not the application's")]
    OutsideApplication(String),
    /// It edits a file that no suspect changed.
    #[error("it edits {0}, which no suspect changed")]
    NotBySuspect(String),
    /// What it replaces is not what the tip holds.
    #[error("what it replaces in {0} is not what the tip holds")]
    StaleBefore(String),
    /// What it puts is not what the last verified revision holds.
    #[error("what it puts in {0} is not what the last verified revision holds")]
    NotRestored(String),
    /// An edit that changes nothing.
    #[error("its edit of {0} changes nothing")]
    EditWithoutChange(String),
    /// A file that a suspect changed stays as the suspect left it.
    #[error("it leaves {0} as a suspect left it")]
    LeftUnrestored(String),
    /// A change by a commit that is no suspect would be lost.
    #[error("it loses the change of {path} by {by}, which is no suspect")]
    LosesChange {
        /// The file.
        path: String,
        /// The commit.
        by: Revision,
    },
    /// The restored files cannot be rendered.
    #[error("the files it restores cannot be rendered")]
    RestoredTreeBroken,
    /// A failing workload would not run on what it ran on at the last verified revision.
    #[error("{0} would not run on what it ran on at the last verified revision")]
    InputsDiffer(ObjectKey),
    /// The hash is not that of the edits.
    #[error("its hash is not that of its edits")]
    WrongDiffHash,
    /// Not exactly the trailers it must have.
    #[error("its message does not have exactly the trailers it must have")]
    WrongTrailers,
    /// The subject is empty or too long.
    #[error("its subject is empty or too long")]
    BadSubject,
    /// A guard was not asked, or asked twice.
    #[error("guard {0} was not asked exactly once")]
    GuardNotAskedOnce(Guard),
    /// A guard said no, or wait.
    #[error("guard {0} does not let it go on")]
    AgainstGuard(Guard),
    /// It goes further than mode, guards and approval allow.
    #[error("it goes further than mode, guards and approval allow")]
    DeliveredTooFar,
}

/// All promises a plan breaks, none for a good one.
pub fn check(plan: &Plan, case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    identity(plan, case, &mut found);
    edits(plan, case, &mut found);
    coverage(plan, case, &mut found);
    effect(plan, case, &mut found);
    paper(plan, case, &mut found);
    found
}

fn identity(plan: &Plan, case: &Case<'_>, found: &mut Vec<Violation>) {
    let same_case = plan.incident == case.incident.id
        && plan.id == case.plan_id()
        && plan.application == case.application.name
        && plan.application == case.incident.application
        && plan.repository == case.incident.repository
        && plan.branch == case.incident.branch;
    if !same_case {
        found.push(Violation::AnotherCase);
    }
    if plan.parent != case.history.to {
        found.push(Violation::ParentIsNotTip);
    }
    if plan.restores != case.history.from {
        found.push(Violation::RestoresAnotherRevision);
    }
    if plan.suspects.is_empty() {
        found.push(Violation::NoSuspect);
    }
    let unknown = |revision: &&Revision| {
        !case
            .history
            .commits
            .iter()
            .any(|commit| commit.revision == **revision)
    };
    found.extend(
        plan.suspects
            .iter()
            .filter(unknown)
            .cloned()
            .map(Violation::SuspectOutsideHistory),
    );
}

fn edits(plan: &Plan, case: &Case<'_>, found: &mut Vec<Violation>) {
    if plan.edits.is_empty() {
        found.push(Violation::NoEdits);
    }
    for pair in plan.edits.windows(2) {
        if pair[0].path >= pair[1].path {
            found.push(Violation::EditsOutOfOrder(pair[1].path.clone()));
        }
    }
    let (base, tip) = (&case.history.base, &case.history.tip);
    for edit in &plan.edits {
        let path = || edit.path.clone();
        let blob_in = |tree: &regraft_model::SourceTree| {
            tree.files.get(&edit.path).map(|file| file.blob.clone())
        };
        if !guards::is_below(&edit.path, &case.application.path) {
            found.push(Violation::OutsideApplication(path()));
        }
        if edit.before != blob_in(tip) {
            found.push(Violation::StaleBefore(path()));
        }
        let mode = base.files.get(&edit.path).map(|file| file.mode);
        if edit.after != blob_in(base) || mode.is_some_and(|mode| mode != edit.mode) {
            found.push(Violation::NotRestored(path()));
        }
        if same_file(base, tip, &edit.path) {
            found.push(Violation::EditWithoutChange(path()));
        }
    }
}

/// Whether the edits are exactly what the suspects changed, and lose nothing else.
fn coverage(plan: &Plan, case: &Case<'_>, found: &mut Vec<Violation>) {
    let (base, tip) = (&case.history.base, &case.history.tip);
    let edited: BTreeSet<&str> = plan.edits.iter().map(|edit| edit.path.as_str()).collect();
    let mut by_suspects: BTreeSet<&str> = BTreeSet::new();
    let mut foreign: Vec<(&Revision, &str)> = Vec::new();
    let mut before = base;
    for commit in &case.history.commits {
        let changed = changed_paths(before, &commit.tree);
        if plan.suspects.contains(&commit.revision) {
            by_suspects.extend(changed);
        } else {
            // What another commit did is lost unless it was gone before the first suspect, or was itself a restore.
            let before_suspects = by_suspects.is_empty();
            foreign.retain(|(_, path)| !before_suspects || !changed.contains(path));
            foreign.extend(
                changed
                    .into_iter()
                    .filter(|path| !same_file(&commit.tree, base, path))
                    .map(|path| (&commit.revision, path)),
            );
        }
        before = &commit.tree;
    }
    for path in edited.difference(&by_suspects) {
        found.push(Violation::NotBySuspect((*path).to_owned()));
    }
    for path in by_suspects.difference(&edited) {
        if !same_file(base, tip, path) {
            found.push(Violation::LeftUnrestored((*path).to_owned()));
        }
    }
    found.extend(
        foreign
            .into_iter()
            .filter(|(_, path)| edited.contains(path))
            .map(|(by, path)| Violation::LosesChange {
                path: path.to_owned(),
                by: by.clone(),
            }),
    );
}

fn effect(plan: &Plan, case: &Case<'_>, found: &mut Vec<Violation>) {
    let failing: BTreeSet<ObjectKey> = case
        .incident
        .targets
        .values()
        .flatten()
        .filter(|finding| finding.change == Change::Changed)
        .map(|finding| finding.symptom.workload.clone())
        .collect();
    let tree = restored(&case.history.tip, &case.history.base, &plan.edits);
    match line::render(case.application, &tree) {
        Err(_) => found.push(Violation::RestoredTreeBroken),
        Ok(rendered) => {
            let good = manifests(case.application, &case.history.base);
            let good = line::inputs(&good, &failing);
            found.extend(
                line::inputs(&rendered, &failing)
                    .into_iter()
                    .filter(|(key, digest)| good.get(key) != Some(digest))
                    .map(|(key, _)| Violation::InputsDiffer(key)),
            );
        }
    }
}

fn paper(plan: &Plan, case: &Case<'_>, found: &mut Vec<Violation>) {
    if plan.diff_hash != diff_hash(&plan.edits) {
        found.push(Violation::WrongDiffHash);
    }
    let last_paragraph = plan.message.trim_end().rsplit("\n\n").next();
    if last_paragraph != Some(trailers(plan).trim_end()) {
        found.push(Violation::WrongTrailers);
    }
    let subject = plan.message.lines().next().unwrap_or_default();
    if subject.is_empty() || subject.chars().count() > MAX_SUBJECT_CHARS {
        found.push(Violation::BadSubject);
    }
    for &guard in Guard::ALL {
        let answers: Vec<_> = plan
            .guards
            .iter()
            .filter(|one| one.guard == guard)
            .collect();
        if answers.len() != 1 {
            found.push(Violation::GuardNotAskedOnce(guard));
        }
        if !answers
            .iter()
            .all(|one| matches!(one.answer, Answer::Passed | Answer::Propose))
        {
            found.push(Violation::AgainstGuard(guard));
        }
    }
    let for_a_person = plan.guards.iter().any(|one| one.answer == Answer::Propose);
    let approved = guards::is_approved(case, &plan.diff_hash);
    let allowed = match plan.delivery {
        Delivery::Observe => true,
        Delivery::Propose => case.application.mode != Mode::Observe,
        Delivery::Push => case.application.mode != Mode::Observe && (!for_a_person || approved),
    };
    if !allowed {
        found.push(Violation::DeliveredTooFar);
    }
}
