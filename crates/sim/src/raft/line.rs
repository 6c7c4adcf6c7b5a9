//! One entry of the log as a line of the trace.

use regraft_model::finding::TargetStatus;
use regraft_state::command::{Command, Envelope, Fault, Response};

pub(super) fn describe(
    index: u64,
    envelope: &Envelope,
    command: &Command,
    response: &Response,
    is_repeat: bool,
) -> String {
    let what = match command {
        Command::Report { status } => report(status),
        Command::OpenIncident(Fault {
            application,
            cluster,
            class,
            seen_at,
            ..
        }) => {
            let seen_at = seen_at.short();
            format!("OpenIncident {application}@{cluster} {class} at {seen_at}")
        }
        Command::Advance {
            incident,
            transition,
            ..
        } => format!("Advance {incident} {}", start(transition, 160)),
        other => start(other, 200),
    };
    let repeat = if is_repeat { " (repeat)" } else { "" };
    let answer = start(response, 120);
    format!(
        "log {index} by {}: {what} -> {answer}{repeat}",
        envelope.actor
    )
}

fn report(status: &TargetStatus) -> String {
    let findings: Vec<_> = status
        .findings
        .iter()
        .map(|finding| {
            let symptom = &finding.symptom;
            format!(
                "{} {} {}",
                symptom.workload.name, symptom.class, finding.change
            )
        })
        .collect();
    format!(
        "Report {} {}/{} {} verified={} [{}]",
        status.key,
        status.sync.state,
        status.sync.reason,
        status.health,
        status
            .verified
            .as_ref()
            .map_or("-", |verified| verified.revision.short()),
        findings.join(", ")
    )
}

/// The first characters of a value as it prints itself.
fn start(value: &impl std::fmt::Debug, most: usize) -> String {
    format!("{value:?}").chars().take(most).collect()
}
