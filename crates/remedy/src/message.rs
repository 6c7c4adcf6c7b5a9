//! The commit message: what happened, why this change, what was verified before, how to veto.
//!
//! Guarantees: the trailers are the last paragraph and nobody else's text is in it; text from clusters and commits is
//! on indented lines of its own, without line breaks, redacted and bounded, so that it can be no trailer.

use crate::case::Case;
use crate::draft::Draft;
use regraft_model::finding::Change;
pub(crate) use regraft_model::git::{INCIDENT_TRAILER, INSTALLATION_TRAILER, PLAN_TRAILER};
use regraft_model::plan::{Answer, Delivery};
use regraft_model::text::{counted, one_line, redact, truncate};
use regraft_model::{ClusterName, Commit, Finding, Plan};
use std::fmt::Write as _;

const ACTION_TRAILER: &str = "Regraft-Action";
const REVERTS_TRAILER: &str = "Regraft-Reverts";

/// Longest subject, as `git log --oneline` and forges show it whole.
pub(crate) const MAX_SUBJECT_CHARS: usize = 72;
/// Where prose wraps.
const WRAP_CHARS: usize = 72;
/// Most clusters whose evidence is told; the incident has all of it.
const MAX_CLUSTERS: usize = 3;
/// Most pieces of evidence told for one finding.
const MAX_EVIDENCE: usize = 4;
/// Most findings told for one cluster.
const MAX_FINDINGS: usize = 2;
/// Most suspects described; all of them are in the trailers.
const MAX_SUSPECTS: usize = 5;
/// Most files listed; all of them are in the diff.
const MAX_FILES: usize = 10;
/// Longest quoted text in bytes.
const MAX_QUOTE_BYTES: usize = 200;

/// The whole message of a plan. Its guards and edits must be final.
pub(crate) fn write(case: &Case<'_>, draft: &Draft<'_>, plan: &Plan) -> String {
    let mut text = subject(case, draft, plan);
    text.push_str("\n\n");
    what_happened(&mut text, case, draft);
    why_this(&mut text, case, draft);
    what_was_verified(&mut text, case, plan);
    how_to_veto(&mut text, case, plan);
    text.push_str(&trailers(plan));
    text
}

/// The trailers of a plan, exactly as they end its message.
pub(crate) fn trailers(plan: &Plan) -> String {
    let mut text = format!(
        "{PLAN_TRAILER}: {}\n{INCIDENT_TRAILER}: {}\n{INSTALLATION_TRAILER}: {}\n{ACTION_TRAILER}: {}\n",
        one_line(plan.id.as_str()),
        one_line(plan.incident.as_str()),
        one_line(&plan.installation),
        plan.action
    );
    for suspect in &plan.suspects {
        let _ = writeln!(text, "{REVERTS_TRAILER}: {}", one_line(&suspect.0));
    }
    text
}

fn subject(case: &Case<'_>, draft: &Draft<'_>, plan: &Plan) -> String {
    let application = one_line(case.application.name.as_str());
    let to = plan.restores.short();
    let below = |path: &str| {
        path.strip_prefix(case.application.path.as_str())
            .unwrap_or(path)
            .trim_start_matches('/')
            .to_owned()
    };
    let mut candidates = Vec::new();
    match plan.edits.as_slice() {
        [edit] => candidates.push(below(&edit.path)),
        _ => candidates.extend(draft.failing.iter().next().map(|key| key.name.clone())),
    }
    candidates.push(counted(plan.edits.len(), "file"));
    candidates
        .iter()
        .map(|what| one_line(&format!("revert({application}): restore {what} to {to}")))
        .find(|subject| subject.chars().count() <= MAX_SUBJECT_CHARS)
        .unwrap_or_else(|| {
            let cut: String = application.chars().take(MAX_SUBJECT_CHARS / 2).collect();
            format!("revert({cut}…): restore files to {to}")
        })
}

fn what_happened(text: &mut String, case: &Case<'_>, draft: &Draft<'_>) {
    let workloads: Vec<_> = draft.failing.iter().map(ToString::to_string).collect();
    let clusters: Vec<_> = case
        .incident
        .targets
        .keys()
        .map(ClusterName::as_str)
        .collect();
    let verb = if workloads.len() == 1 {
        "fails"
    } else {
        "fail"
    };
    wrap(
        text,
        "",
        &format!(
            "{} {verb} with {} in {}.",
            in_words(&workloads),
            case.incident.class,
            in_words(&clusters)
        ),
    );
    text.push_str("\nWhat was seen:\n");
    for (cluster, findings) in case.incident.targets.iter().take(MAX_CLUSTERS) {
        let told = findings
            .iter()
            .filter(|finding| finding.change == Change::Changed)
            .take(MAX_FINDINGS);
        for finding in told {
            evidence(text, cluster, finding);
        }
    }
    let more = clusters.len().saturating_sub(MAX_CLUSTERS);
    if more > 0 {
        let _ = writeln!(text, "- the same in {more} more clusters");
    }
}

fn evidence(text: &mut String, cluster: &ClusterName, finding: &Finding) {
    let _ = writeln!(text, "- {cluster}, since {}:", finding.since.to_rfc3339());
    for seen in finding.symptom.evidence.iter().take(MAX_EVIDENCE) {
        let said = quote(&format!("{}, {}: {}", seen.object, seen.field, seen.text));
        wrap(text, "    ", &said);
    }
}

fn why_this(text: &mut String, case: &Case<'_>, draft: &Draft<'_>) {
    let (commits, they) = match draft.suspects.len() {
        1 => ("one commit".to_owned(), "it"),
        many => (format!("{many} commits"), "they"),
    };
    let everywhere = match case.incident.targets.len() {
        1 => "",
        _ => " in each of these clusters",
    };
    text.push_str("\nWhy this change:\n");
    wrap(
        text,
        "",
        &format!(
            "Since {}, the last revision that was verified healthy{everywhere}, {commits} changed what the failing \
             pods run on:",
            case.history.from.short(),
        ),
    );
    for commit in draft.suspects.iter().take(MAX_SUSPECTS) {
        wrap(text, "    ", &described(commit));
    }
    let more = draft.suspects.len().saturating_sub(MAX_SUSPECTS);
    if more > 0 {
        let _ = writeln!(text, "    and {more} more");
    }
    let below = match case.application.path.as_str() {
        "" => "the root",
        path => path,
    };
    wrap(
        text,
        "",
        &format!(
            "This commit puts back, byte for byte, what {they} changed below {below}, and nothing else:"
        ),
    );
    for edit in plan_files(draft).take(MAX_FILES) {
        let _ = writeln!(text, "    {edit}");
    }
    let more = draft.edits.len().saturating_sub(MAX_FILES);
    if more > 0 {
        let _ = writeln!(text, "    and {more} more files");
    }
    if !draft.kept.is_empty() {
        let kept: Vec<_> = draft
            .kept
            .iter()
            .map(|commit| commit.revision.short())
            .collect();
        let shown = &kept[kept.len().saturating_sub(MAX_SUSPECTS)..];
        wrap(
            text,
            "",
            &format!("Other commits stay as they are: {}.", shown.join(", ")),
        );
    }
}

fn plan_files<'d>(draft: &'d Draft<'_>) -> impl Iterator<Item = String> + use<'d> {
    draft.edits.iter().map(|edit| {
        let path = quote(&edit.path);
        match (&edit.before, &edit.after) {
            (None, _) => format!("{path} (comes back)"),
            (_, None) => format!("{path} (goes: it was not there)"),
            _ => path,
        }
    })
}

fn what_was_verified(text: &mut String, case: &Case<'_>, plan: &Plan) {
    text.push_str("\nVerified before:\n");
    wrap_item(
        text,
        "the result renders without problems and gives these workloads the inputs of the restored revision",
    );
    for guard in plan
        .guards
        .iter()
        .filter(|one| one.answer == Answer::Passed)
    {
        wrap_item(text, &format!("{}: {}", guard.guard, quote(&guard.message)));
    }
    let open: Vec<_> = plan
        .guards
        .iter()
        .filter(|one| one.answer == Answer::Propose)
        .collect();
    if open.is_empty() {
        return;
    }
    let approver = case
        .incident
        .approval
        .as_ref()
        .filter(|_| plan.delivery == Delivery::Push);
    match approver {
        Some(approval) => {
            let _ = writeln!(text, "\nApproved by {}:", quote(&approval.actor));
        }
        None => text.push_str("\nFor a person to decide:\n"),
    }
    for guard in open {
        wrap_item(text, &format!("{}: {}", guard.guard, quote(&guard.message)));
    }
}

fn how_to_veto(text: &mut String, case: &Case<'_>, plan: &Plan) {
    let application = one_line(case.application.name.as_str());
    text.push('\n');
    let words = match plan.delivery {
        Delivery::Push | Delivery::Observe => format!(
            "To veto, `git revert` this commit: regraft takes any commit that undoes it as a veto and never makes \
             this repair again. `regraft suspend {application}` pauses healing."
        ),
        Delivery::Propose => format!(
            "To accept, `regraft approve {} --diff {}`. To veto, `regraft veto {} --reason WHY`: this repair is never \
             made again.",
            case.incident.id,
            plan.diff_hash.get(..12).unwrap_or(&plan.diff_hash),
            case.incident.id
        ),
    };
    wrap(text, "", &words);
    text.push('\n');
}

fn described(commit: &Commit) -> String {
    let subject = match commit.subject() {
        "" => "(no subject)",
        subject => subject,
    };
    format!(
        "{} {} ({})",
        commit.revision.short(),
        quote(subject),
        quote(&commit.author)
    )
}

/// Somebody else's text: one line, redacted, bounded.
fn quote(text: &str) -> String {
    truncate(&redact(&one_line(text)), MAX_QUOTE_BYTES)
}

fn in_words<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

fn wrap_item(text: &mut String, words: &str) {
    wrap_with(text, "- ", "  ", words);
}

fn wrap(text: &mut String, indent: &str, words: &str) {
    wrap_with(text, indent, indent, words);
}

fn wrap_with(text: &mut String, first: &str, rest: &str, words: &str) {
    let mut width = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if width == 0 {
            text.push_str(first);
            width = first.chars().count();
        } else if width + 1 + length > WRAP_CHARS {
            text.push('\n');
            text.push_str(rest);
            width = rest.chars().count();
        } else {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += length;
    }
    text.push('\n');
}
