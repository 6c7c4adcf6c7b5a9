//! What stands, whatever the repair looks like: a person's pause, a frozen repository, a storm, the mode, a veto, a
//! repair that did not help.

use super::{passed, propose, refused, wait};
use crate::case::Case;
use crate::draft::Draft;
use crate::edit::fingerprint;
use crate::line::Line;
use crate::message::{INSTALLATION_TRAILER, PLAN_TRAILER};
use regraft_model::{Commit, Edit, Guard, GuardResult, IncidentId, Mode, SourceTree};

/// A pause ends when a person resumes; until then the incident waits, at most until its own deadline.
pub(super) fn suspended(case: &Case<'_>) -> GuardResult {
    let by_git = case.application.suspend.then_some(
        "suspended in its configuration; a commit without `suspend: true` lets it go on",
    );
    match case.suspended.or(by_git) {
        Some(why) => wait(
            Guard::Suspended,
            case.now,
            case.incident.deadline,
            format!("healing is paused: {why}"),
        ),
        None => passed(Guard::Suspended, "healing is not paused"),
    }
}

pub(super) fn frozen(case: &Case<'_>) -> GuardResult {
    match case.frozen {
        Some(why) => wait(
            Guard::Frozen,
            case.now,
            case.incident.deadline,
            format!(
                "healing of {} is frozen: {why}",
                case.application.repository
            ),
        ),
        None => passed(
            Guard::Frozen,
            "the configuration is valid and the history was not rewritten",
        ),
    }
}

/// I10.
pub(super) fn storm(case: &Case<'_>) -> GuardResult {
    match case.storm {
        Some(storm) => refused(
            Guard::Storm,
            format!("a storm: {}; nothing is touched", storm.reason),
        ),
        None => passed(
            Guard::Storm,
            "there is no storm of failures that this commit does not explain",
        ),
    }
}

pub(super) fn mode(case: &Case<'_>) -> GuardResult {
    match case.application.mode {
        Mode::Observe => passed(Guard::Mode, "mode observe: it only says what it would do"),
        Mode::Propose => propose(Guard::Mode, "mode propose: a person decides"),
        Mode::Auto => passed(Guard::Mode, "mode auto"),
    }
}

/// Two installations that repair the same files would not see each other's locks and vetoes.
pub(super) fn other_installation(case: &Case<'_>) -> GuardResult {
    let other = case.history.commits.iter().find_map(|commit| {
        let by = commit.trailer(INSTALLATION_TRAILER)?;
        (by != case.installation).then_some((commit, by))
    });
    match other {
        Some((commit, by)) => propose(
            Guard::OtherInstallation,
            format!(
                "{} is by regraft installation {by}, not by this one ({}): only one may repair here",
                commit.revision.short(),
                case.installation
            ),
        ),
        None => passed(
            Guard::OtherInstallation,
            "no other installation of regraft commits here",
        ),
    }
}

/// I9.
pub(super) fn veto(case: &Case<'_>, line: &Line<'_>, draft: &Draft<'_>) -> GuardResult {
    if case.vetoes.contains(&fingerprint(&draft.edits)) {
        return refused(
            Guard::Veto,
            "a person undid or forbade exactly this repair before",
        );
    }
    if let Some((incident, path)) = undoes_what_was_vetoed(case, line, draft) {
        return refused(
            Guard::Veto,
            format!(
                "it would also undo what {incident} was about in {path}, which a person forbade; fix the newest commit by \
                 hand"
            ),
        );
    }
    if let Some(incident) = inputs_put_back(case, draft) {
        return refused(
            Guard::Veto,
            format!(
                "{incident} was about exactly what these workloads run on, and somebody put that back or forbade its repair; \
                 fix it with a commit"
            ),
        );
    }
    match undone_since(case, draft) {
        Some((ours, path)) => refused(
            Guard::Veto,
            format!(
                "{} by regraft changed {path} in exactly this way before, and somebody put it back",
                ours.revision.short()
            ),
        ),
        None => passed(Guard::Veto, "nobody undid this repair before"),
    }
}

/// A repair that a person forbade and that this one would make on the way: it takes a file back to the same bytes, over
/// those that were to stay.
fn undoes_what_was_vetoed<'a>(
    case: &Case<'a>,
    line: &Line<'_>,
    draft: &Draft<'_>,
) -> Option<(&'a IncidentId, String)> {
    let stayed = |edit: &Edit| {
        line.after.iter().any(|point| {
            let file = point.files.files.get(&edit.path);
            file.map(|file| &file.blob) == edit.before.as_ref()
        })
    };
    let goes_back = |forbidden: &Edit| {
        let same = |edit: &Edit| edit.path == forbidden.path && edit.after == forbidden.after;
        draft.edits.iter().any(same) && stayed(forbidden)
    };
    let plans = case.incidents.iter();
    let plans = plans.filter_map(|incident| Some((&incident.id, incident.plan.as_ref()?)));
    plans
        .filter(|(_, plan)| {
            plan.application == case.application.name
                && case.vetoes.contains(&fingerprint(&plan.edits))
        })
        .find_map(|(id, plan)| {
            let edit = plan.edits.iter().find(|edit| goes_back(edit))?;
            Some((id, edit.path.clone()))
        })
}

/// An earlier incident of the same inputs whose repair is on the branch, or that a person forbade: whatever else
/// changed in the files since, somebody wants these inputs.
fn inputs_put_back<'a>(case: &Case<'a>, draft: &Draft<'_>) -> Option<&'a IncidentId> {
    let failing = draft.suspect_digests();
    case.incidents.iter().find_map(|incident| {
        let plan = incident.plan.as_ref()?;
        let is_other = incident.id != case.incident.id && plan.application == case.application.name;
        let is_settled = (incident.committed.is_some() && plan.branch == case.incident.branch)
            || case.vetoes.contains(&fingerprint(&plan.edits));
        let is_same = !failing.is_empty() && plan.suspect_inputs == failing;
        (is_other && is_settled && is_same).then_some(&incident.id)
    })
}

/// A commit of ours in the history that made a change the draft would make again: somebody undid it since, though
/// nobody may have lived to record the commit, or the veto.
fn undone_since<'a>(case: &Case<'a>, draft: &Draft<'a>) -> Option<(&'a Commit, String)> {
    let blob = |tree: &SourceTree, path: &str| tree.files.get(path).map(|file| file.blob.clone());
    let mut before = &case.history.base;
    for commit in &case.history.commits {
        if commit.trailer(PLAN_TRAILER).is_some() {
            let repeated = draft.edits.iter().find(|edit| {
                edit.before != edit.after
                    && blob(before, &edit.path) == edit.before
                    && blob(&commit.tree, &edit.path) == edit.after
            });
            if let Some(edit) = repeated {
                return Some((commit, edit.path.clone()));
            }
        }
        before = &commit.tree;
    }
    None
}

pub(super) fn ineffective(case: &Case<'_>) -> GuardResult {
    let inputs = (
        case.application.name.clone(),
        case.incident.suspect_tree.clone(),
    );
    match case.closed.contains(&inputs) {
        true => refused(
            Guard::Ineffective,
            "a repair of these inputs did not help before; closed until a person commits",
        ),
        false => passed(
            Guard::Ineffective,
            "no repair of these inputs failed before",
        ),
    }
}
