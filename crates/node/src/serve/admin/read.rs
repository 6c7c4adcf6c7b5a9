//! Questions that change nothing.

use super::refusal::Refusal;
use crate::document::ReportDocument;
use crate::serve::documents::{self, Asked};
use crate::serve::member::Member;
use crate::serve::state;
use regraft_model::incident::Incident;
use regraft_state::view::View;
use regraft_wire::admin::v1 as wire;
use serde::Serialize;

/// Most audit entries in one answer.
const AUDIT_ENTRIES_MAX: usize = 1000;

pub(super) async fn status(
    member: &Member,
    request: wire::StatusRequest,
) -> Result<wire::Document, Refusal> {
    let view = fresh(member, request.consistency).await?;
    let report = report(member).await;
    let asked = asked(request.consistency);
    document(member, &documents::status(&view, member, asked, report))
}

pub(super) async fn list(
    member: &Member,
    request: wire::ListRequest,
) -> Result<wire::Document, Refusal> {
    let view = fresh(member, request.consistency).await?;
    let name = request.name.as_str();
    let kind = wire::Kind::try_from(request.kind).unwrap_or(wire::Kind::Unspecified);
    match kind {
        wire::Kind::Applications => {
            let mut rows = documents::applications(&view);
            if !name.is_empty() && rows.iter().all(|row| row.name.as_str() != name) {
                return Err(no_application(member, &view, name).await);
            }
            documents::refused(&mut rows, report(member).await.as_ref());
            named(member, rows, name, "application", |it| it.name.to_string())
        }
        wire::Kind::Clusters => named(
            member,
            documents::clusters(&view, member),
            name,
            "cluster",
            |it| it.name.to_string(),
        ),
        wire::Kind::Incidents => named(
            member,
            documents::incidents(&view),
            name,
            "incident",
            |it: &Incident| it.id.to_string(),
        ),
        wire::Kind::Locks => named(
            member,
            view.locks.into_values().collect(),
            name,
            "lock",
            |it| it.incident.to_string(),
        ),
        wire::Kind::Members => named(
            member,
            documents::members(member, asked(request.consistency)),
            name,
            "member",
            |it| it.id.to_string(),
        ),
        wire::Kind::Unspecified => Err(Refusal::invalid(
            "the kind is not known to this member",
            "use the same version as the member",
        )),
    }
}

pub(super) async fn describe(
    member: &Member,
    request: wire::DescribeRequest,
) -> Result<wire::Document, Refusal> {
    let view = fresh(member, request.consistency).await?;
    let incident = incident(&view, &request.incident)?;
    let diff = match (&incident.plan, member.git.get(&incident.repository)) {
        (Some(plan), Some(git)) => git
            .diff_text(plan.parent.clone(), plan.edits.clone())
            .await
            .unwrap_or_else(|error| {
                tracing::debug!(%error, incident = %incident.id, "the plan's diff cannot be shown");
                String::new()
            }),
        _ => String::new(),
    };
    document(member, &documents::incident(&view, incident, diff))
}

pub(super) async fn audit(
    member: &Member,
    request: wire::AuditRequest,
) -> Result<wire::Document, Refusal> {
    wait(member, request.consistency).await?;
    let limit = usize::try_from(request.limit)
        .unwrap_or(AUDIT_ENTRIES_MAX)
        .min(AUDIT_ENTRIES_MAX);
    document(member, &state::audit(&member.replica, limit)?)
}

pub(super) async fn audit_chain(
    member: &Member,
    request: wire::AuditChainRequest,
) -> Result<wire::Document, Refusal> {
    wait(member, request.consistency).await?;
    let limit = usize::try_from(request.limit)
        .unwrap_or(AUDIT_ENTRIES_MAX)
        .min(AUDIT_ENTRIES_MAX);
    document(
        member,
        &state::audit_chain(&member.replica, request.from, limit)?,
    )
}

/// The state, as fresh as asked for.
pub(super) async fn fresh(member: &Member, consistency: i32) -> Result<View, Refusal> {
    wait(member, consistency).await?;
    Ok(state::view(&member.replica)?)
}

/// The incident of this id.
pub(super) fn incident<'a>(view: &'a View, id: &str) -> Result<&'a Incident, Refusal> {
    view.incidents.get(&id.into()).ok_or_else(|| {
        Refusal::not_found(
            format!("there is no incident `{id}`"),
            "see `regraft get incidents`",
        )
    })
}

/// There is no such application. Where a repository never gave a configuration, that is why.
pub(super) async fn no_application(member: &Member, view: &View, name: &str) -> Refusal {
    let report = report(member).await;
    let unread = documents::repositories(view, member, report.as_ref())
        .into_iter()
        .find(|repository| !repository.configured);
    match unread {
        Some(repository) => Refusal::not_found(
            format!(
                "there is no application `{name}`: no configuration was read from {}: {}",
                repository.name, repository.message
            ),
            "correct what keeps it from being read; `regraft status` shows all of it",
        ),
        None => Refusal::not_found(
            format!("there is no application `{name}`"),
            "see `regraft get applications`",
        ),
    }
}

/// What this member's engine knows; `None` when it ended.
async fn report(member: &Member) -> Option<ReportDocument> {
    member.engine.report().await.map(ReportDocument::from)
}

/// A document with the index it stands for.
pub(super) fn document(
    member: &Member,
    content: &impl Serialize,
) -> Result<wire::Document, Refusal> {
    let json = serde_json::to_vec(content).map_err(|error| Refusal::failed(error.to_string()))?;
    Ok(wire::Document {
        json,
        applied: member.replica.status().applied,
    })
}

async fn wait(member: &Member, consistency: i32) -> Result<(), Refusal> {
    if asked(consistency) == Asked::WithProof {
        member.replica.barrier().await?;
    }
    Ok(())
}

fn asked(consistency: i32) -> Asked {
    match wire::Consistency::try_from(consistency) {
        Ok(wire::Consistency::Stale) => Asked::AsItIs,
        _ => Asked::WithProof,
    }
}

fn named<T: Serialize>(
    member: &Member,
    mut rows: Vec<T>,
    name: &str,
    what: &str,
    of: impl Fn(&T) -> String,
) -> Result<wire::Document, Refusal> {
    if !name.is_empty() {
        rows.retain(|row| of(row) == name);
        if rows.is_empty() {
            return Err(Refusal::not_found(
                format!("there is no {what} `{name}`"),
                format!("see `regraft get {what}s`"),
            ));
        }
    }
    document(member, &rows)
}
