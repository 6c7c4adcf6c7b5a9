//! `regraft diff`: what differs between Git and the clusters, and the exit code that says so.

use super::read::{document, read};
use super::story::line;
use super::{Exit, Failure, Format, output, print};
use crate::client::Client;
use crate::document::{DiffDocument, DiffOutcome, ObjectChange};
use clap::Args;
use regraft_wire::admin::v1 as wire;

#[derive(Args)]
pub(crate) struct DiffArgs {
    /// The application
    application: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) async fn diff(mut client: Client, args: &DiffArgs) -> Result<(), Failure> {
    let request = wire::DiffRequest {
        application: args.application.clone(),
        reach: wire::Reach::All.into(),
    };
    let document = document(client.diff(request).await)?;
    let targets: Vec<DiffDocument> = read(&document)?;
    print(&output::render(&document, args.output, |_| {
        Ok(differences(&targets))
    })?)?;
    match differs(&targets) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// The exit code of a comparison, as `kubectl diff` has it: what could not be compared is worse than a difference.
pub(super) fn differs(targets: &[DiffDocument]) -> Option<Failure> {
    let mut targets: Vec<&DiffDocument> = targets.iter().collect();
    targets.sort_by_key(|target| std::cmp::Reverse(target.outcome));
    targets
        .into_iter()
        .filter_map(not_the_same)
        .reduce(Failure::and)
}

fn not_the_same(target: &DiffDocument) -> Option<Failure> {
    let (exit, reason, action) = match target.outcome {
        DiffOutcome::Same => return None,
        DiffOutcome::Differs => return Some(Failure::quiet(Exit::Failed)),
        DiffOutcome::Refused => (
            Exit::Refused,
            "ObjectsRefused",
            "correct what the server says of them, in Git",
        ),
        DiffOutcome::Invalid => (
            Exit::Usage,
            "NotReadable",
            "correct it in Git; `regraft status` shows every problem",
        ),
        DiffOutcome::Unreachable => (
            Exit::Unreachable,
            "ClusterUnreachable",
            "see `regraft get clusters`, and try again when it answers",
        ),
    };
    let message = format!(
        "{} in {}: {}",
        target.application, target.cluster, target.summary
    );
    Some(Failure::new(exit, reason, message, action))
}

/// What differs, cluster by cluster. What cannot be compared is no difference: it is told as an error.
pub(super) fn differences(targets: &[DiffDocument]) -> String {
    let mut out = String::new();
    let compared = targets
        .iter()
        .filter(|target| target.outcome <= DiffOutcome::Refused);
    for target in compared {
        line(
            &mut out,
            &format!(
                "{} in {}: {}",
                target.application, target.cluster, target.summary
            ),
        );
        for object in &target.objects {
            let change = match object.change {
                ObjectChange::Creates => "creates",
                ObjectChange::Changes => "changes",
                ObjectChange::Deletes => "deletes",
                ObjectChange::Unknown => "cannot compare",
            };
            line(&mut out, &format!("  {change} {}", object.object));
            for diff_line in object.diff.lines() {
                line(&mut out, &format!("    {diff_line}"));
            }
        }
    }
    out
}
