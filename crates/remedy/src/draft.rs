//! From the history to the exact edits: which commits are suspects, and what restores their files.
//!
//! Guarantees: the edits put exactly the files that suspects changed below the application's path back to the bytes of
//! the last verified revision; the failing workloads' inputs then are those of that revision; no change by another
//! commit is lost.

use crate::case::{Case, Stop};
use crate::edit::restored;
use crate::line::{self, Inputs, Line, Point, changed_paths, same_file};
use regraft_model::finding::TargetStatus;
use regraft_model::plan::{Touch, Touched};
use regraft_model::text::{one_line, truncate};
use regraft_model::{Commit, Edit, Object, ObjectKey, Revision, SourceTree, TargetKey};
use regraft_render::Rendered;
use std::collections::{BTreeMap, BTreeSet};

/// A repair before its guards were asked.
#[derive(Clone, Debug)]
pub(crate) struct Draft<'a> {
    /// The workloads it repairs.
    pub(crate) failing: BTreeSet<ObjectKey>,
    pub(crate) suspects: Vec<&'a Commit>,
    /// Commits after the last verified revision that stay.
    pub(crate) kept: Vec<&'a Commit>,
    pub(crate) edits: Vec<Edit>,
    /// What happens to objects.
    pub(crate) touched: Vec<Touched>,
    /// Objects as they are at the tip and as they would be, for the touched ones.
    pub(crate) objects: BTreeMap<ObjectKey, (Option<Object>, Option<Object>)>,
    /// The inputs that fail.
    pub(crate) suspect_inputs: Inputs,
}

impl Draft<'_> {
    /// The inputs that fail, by the workload's key; without workloads that are not there.
    pub(crate) fn suspect_digests(&self) -> BTreeMap<String, String> {
        let there = self.suspect_inputs.iter();
        there
            .filter_map(|(key, digest)| Some((key.to_string(), digest.clone()?)))
            .collect()
    }
}

/// Drafts the repair, or says why there is none.
pub(crate) fn draft<'a>(
    case: &Case<'a>,
    line: &Line<'a>,
    failing: BTreeSet<ObjectKey>,
) -> Result<Draft<'a>, Stop> {
    let tip = render_or_stop(case, &case.history.tip, "TipBroken", "the tip")?;
    render_or_stop(
        case,
        &case.history.base,
        "BaseBroken",
        "the last verified revision",
    )?;
    let suspects = line.suspects();
    superseded(case, line, &suspects)?;
    if suspects.is_empty() {
        return Err(Stop::escalate(
            "NoCommitToBlame",
            format!(
                "no commit from {} to {} changed what the failing workloads run on; look at what they depend on",
                case.history.from.short(),
                case.history.to.short()
            ),
        ));
    }
    let paths: BTreeSet<&str> = suspects
        .iter()
        .flat_map(|&index| changed_paths(line.before(index).files, line.after[index].files))
        .collect();
    conflict(line, &suspects, &paths)?;
    let edits = edits(case, &paths);
    if edits.is_empty() {
        return Err(Stop::escalate(
            "NothingToRestore",
            "every file that the suspect commits changed already is as it was; another commit changes what the \
             workloads run on",
        ));
    }
    let after_files = restored(&case.history.tip, &case.history.base, &edits);
    let after = render_or_stop(case, &after_files, "RestoreBroken", "the restored tree")?;
    if line::inputs(&after, &failing) != line.base.inputs {
        return Err(Stop::escalate(
            "RestoreInsufficient",
            format!(
                "restoring the suspects' files does not give the failing workloads what they ran on at {}",
                case.history.from.short()
            ),
        ));
    }
    let objects = touched_objects(&tip, &after);
    Ok(Draft {
        failing,
        suspects: commits(line, |index| suspects.contains(&index)),
        kept: commits(line, |index| !suspects.contains(&index)),
        edits,
        touched: objects.iter().map(touch).collect(),
        objects,
        suspect_inputs: line.tip().inputs.clone(),
    })
}

fn render_or_stop(
    case: &Case<'_>,
    files: &SourceTree,
    reason: &'static str,
    what: &str,
) -> Result<Rendered, Stop> {
    line::render(case.application, files)
        .map_err(|problem| Stop::escalate(reason, format!("{what} cannot be rendered: {problem}")))
}

/// Whether a commit after the failure was seen changed the failing workloads: it may be the fix.
fn superseded(case: &Case<'_>, line: &Line<'_>, suspects: &[usize]) -> Result<(), Stop> {
    let Some(last) = line.last_change() else {
        return Ok(());
    };
    let by = |message: String| Stop::Superseded {
        by: last.revision.clone(),
        message,
    };
    if line.tip().inputs == line.base.inputs {
        return Err(by(format!(
            "the tip already gives the workloads what they ran on at {}",
            case.history.from.short()
        )));
    }
    let moved_on = match failing_states(case, line) {
        States::Known(states) => states.iter().any(|seen| seen.inputs != line.tip().inputs),
        // It cannot be told which of several commits the failure was seen with. If the last one fails as well, that
        // is an incident of its own. What was verified fails without any of them.
        States::Unknown => suspects.len() > 1 || is_verified(case),
    };
    if moved_on {
        return Err(by(format!(
            "the failing workloads were changed after the failure was seen at {}",
            case.incident.seen_at.short()
        )));
    }
    Ok(())
}

/// The states at which the failure was seen.
enum States<'l, 'a> {
    Known(Vec<&'l Point<'a>>),
    Unknown,
}

/// What the failing clusters run, and the head at which the failure was seen: a commit that was on the head by then
/// need not have been in the cluster.
fn failing_states<'l, 'a>(case: &Case<'_>, line: &'l Line<'a>) -> States<'l, 'a> {
    let mut running: Vec<&Revision> = target_statuses(case)
        .filter_map(|status| status.applied.as_ref())
        .filter(|applied| applied.tree == case.incident.suspect_tree)
        .map(|applied| &applied.revision)
        .collect();
    running.sort();
    running.dedup();
    let mut states: Vec<_> = running
        .iter()
        .filter_map(|revision| line.at(revision))
        .collect();
    if states.is_empty() && !running.is_empty() && !running.contains(&&case.incident.seen_at) {
        return States::Unknown;
    }
    states.extend(line.at(&case.incident.seen_at));
    match states.is_empty() {
        true => States::Unknown,
        false => States::Known(states),
    }
}

/// Whether the inputs that fail are the verified ones in a cluster of the incident.
fn is_verified(case: &Case<'_>) -> bool {
    target_statuses(case).any(|status| {
        let verified = status.verified.as_ref();
        verified.is_some_and(|verified| verified.tree == case.incident.suspect_tree)
    })
}

fn target_statuses<'a>(case: &Case<'a>) -> impl Iterator<Item = &'a TargetStatus> + use<'a> {
    let (statuses, application) = (case.statuses, &case.application.name);
    case.incident
        .targets
        .keys()
        .filter_map(move |cluster| statuses.get(&TargetKey::new(application, cluster)))
}

/// Whether restoring would lose what a commit that is no suspect did to one of the files.
fn conflict(line: &Line<'_>, suspects: &[usize], paths: &BTreeSet<&str>) -> Result<(), Stop> {
    let first = suspects.first().copied().unwrap_or(0);
    for path in paths {
        let lost = (0..line.after.len()).rev().find(|&index| {
            let (before, after) = (line.before(index).files, line.after[index].files);
            let changed = !suspects.contains(&index) && !same_file(before, after, path);
            // Before the first suspect only what was left of the changes counts.
            let left = match index < first {
                true => line.before(first).files,
                false => after,
            };
            changed && !same_file(left, line.base.files, path)
        });
        if let Some(commit) = lost.and_then(|index| line.after[index].commit) {
            return Err(Stop::escalate(
                "Conflict",
                format!(
                    "{path} was also changed by {} ({}), which is no suspect and would be lost; repair it by hand",
                    commit.revision.short(),
                    truncate(&one_line(commit.subject()), 80),
                ),
            ));
        }
    }
    Ok(())
}

fn edits(case: &Case<'_>, paths: &BTreeSet<&str>) -> Vec<Edit> {
    let (base, tip) = (&case.history.base, &case.history.tip);
    paths
        .iter()
        .filter(|path| !same_file(base, tip, path))
        .map(|path| {
            let (before, after) = (tip.files.get(*path), base.files.get(*path));
            Edit {
                path: (*path).to_owned(),
                before: before.map(|file| file.blob.clone()),
                after: after.map(|file| file.blob.clone()),
                mode: after.or(before).map(|file| file.mode).unwrap_or_default(),
            }
        })
        .collect()
}

fn commits<'a>(line: &Line<'a>, wanted: impl Fn(usize) -> bool) -> Vec<&'a Commit> {
    line.after
        .iter()
        .enumerate()
        .filter(|(index, _)| wanted(*index))
        .filter_map(|(_, point)| point.commit)
        .collect()
}

fn touched_objects(
    tip: &Rendered,
    after: &Rendered,
) -> BTreeMap<ObjectKey, (Option<Object>, Option<Object>)> {
    let mut objects: BTreeMap<_, (Option<Object>, Option<Object>)> = BTreeMap::new();
    for one in &tip.objects {
        objects.entry(one.object.key()).or_default().0 = Some(one.object.clone());
    }
    for one in &after.objects {
        objects.entry(one.object.key()).or_default().1 = Some(one.object.clone());
    }
    objects.retain(|_, (before, after)| before != after);
    objects
}

fn touch((key, (before, after)): (&ObjectKey, &(Option<Object>, Option<Object>))) -> Touched {
    Touched {
        key: key.clone(),
        how: match (before, after) {
            (None, _) => Touch::Creates,
            (_, None) => Touch::Deletes,
            _ => Touch::Changes,
        },
    }
}
