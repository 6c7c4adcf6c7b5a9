//! Questions that change something: one command each, under the caller's name.

use super::read;
use super::refusal::Refusal;
use crate::document::HASH_CHARS_MIN;
use crate::serve::member::Member;
use crate::serve::waits;
use regraft_model::id::{ApplicationName, ClusterName, RepositoryName, TargetKey};
use regraft_state::command::{Command, RejectionReason, Response};
use regraft_state::record::{Confirmation, Subject};
use regraft_state::view::View;
use regraft_wire::admin::v1 as wire;

/// Longest reason a person can give.
const REASON_BYTES_MAX: usize = 1000;

pub(super) async fn sync(
    member: &Member,
    actor: String,
    request: wire::SyncRequest,
) -> Result<wire::Accepted, Refusal> {
    let view = fresh(member).await?;
    let application = application(member, &view, &request.application).await?;
    if let Some(refusal) = suspension(&view, &application) {
        return Err(refusal);
    }
    let message = format!("sync of {application} is asked for");
    propose(member, &actor, &Command::SyncNow { application }, message).await
}

pub(super) async fn suspend(
    member: &Member,
    actor: String,
    request: wire::SuspendRequest,
) -> Result<wire::Accepted, Refusal> {
    let view = fresh(member).await?;
    let subject = known(member, &view, wire_subject(request.subject)?).await?;
    if matches!(subject, Subject::Repository(_)) {
        return Err(Refusal::invalid(
            "a repository can only be resumed",
            "suspend an application, or --all",
        ));
    }
    let reason = reason(request.reason)?;
    let message = format!("{subject} is suspended");
    propose(
        member,
        &actor,
        &Command::Suspend { subject, reason },
        message,
    )
    .await
}

pub(super) async fn resume(
    member: &Member,
    actor: String,
    request: wire::ResumeRequest,
) -> Result<wire::Accepted, Refusal> {
    let view = fresh(member).await?;
    // A suspension may outlive what it was about.
    let subject = match wire_subject(request.subject)? {
        Subject::Repository(name) if !view.heads.contains_key(&name) => {
            return Err(no_repository(&name));
        }
        subject if view.suspensions.contains_key(&subject) => subject,
        subject => known(member, &view, subject).await?,
    };
    let message = format!("{subject} is resumed");
    let standing = format!("{subject} was not suspended: nothing was changed");
    match member
        .people
        .propose(&actor, &Command::Resume { subject })
        .await?
    {
        // As often as one likes: what is asked for holds.
        (index, Response::Rejected(rejection))
            if rejection.reason == RejectionReason::AlreadyDone =>
        {
            Ok(wire::Accepted {
                message: standing,
                index,
            })
        }
        (index, response) => accepted(&actor, index, response, message),
    }
}

pub(super) async fn approve(
    member: &Member,
    actor: String,
    request: wire::ApproveRequest,
) -> Result<wire::Accepted, Refusal> {
    let view = fresh(member).await?;
    let incident = read::incident(&view, &request.incident)?;
    // People quote the beginning of a hash; the state wants all of it.
    let diff_hash = match &incident.plan {
        Some(plan)
            if request.diff_hash.len() >= HASH_CHARS_MIN
                && plan.diff_hash.starts_with(&request.diff_hash) =>
        {
            plan.diff_hash.clone()
        }
        _ => request.diff_hash,
    };
    let message = format!("{} is approved", incident.id);
    propose(
        member,
        &actor,
        &Command::Approve {
            incident: incident.id.clone(),
            diff_hash,
        },
        message,
    )
    .await
    .map_err(|refusal| refusal.about(&incident.id))
}

pub(super) async fn veto(
    member: &Member,
    actor: String,
    request: wire::VetoRequest,
) -> Result<wire::Accepted, Refusal> {
    let view = fresh(member).await?;
    let incident = read::incident(&view, &request.incident)?;
    if incident.plan.is_none() && !incident.is_open() {
        return Err(Refusal::invalid(
            format!(
                "{} ended without a plan: there is no repair to forbid",
                incident.id
            ),
            "nothing was changed; `regraft suspend APPLICATION` pauses healing",
        ));
    }
    let reason = reason(request.reason)?;
    if reason.is_empty() {
        return Err(Refusal::invalid(
            "a veto needs a reason: the others read why the repair is never made again",
            "give it with --reason",
        ));
    }
    let fingerprint = incident
        .plan
        .as_ref()
        .map(|plan| regraft_remedy::fingerprint(&plan.edits));
    let command = Command::Veto {
        incident: incident.id.clone(),
        fingerprint,
        reason,
    };
    propose(
        member,
        &actor,
        &command,
        format!("{} is vetoed", incident.id),
    )
    .await
    .map_err(|refusal| refusal.about(&incident.id))
}

pub(super) async fn confirm_delete(
    member: &Member,
    actor: String,
    request: wire::ConfirmDeleteRequest,
) -> Result<wire::Accepted, Refusal> {
    let target = TargetKey {
        application: request.application.into(),
        cluster: request.cluster.into(),
    };
    let message = format!("deletions of {target} are confirmed");
    let command = Command::ConfirmDelete(Confirmation {
        target,
        token: request.token,
    });
    propose(member, &actor, &command, message).await
}

pub(super) async fn forget_cluster(
    member: &Member,
    actor: String,
    request: wire::ForgetClusterRequest,
) -> Result<wire::Accepted, Refusal> {
    let view = fresh(member).await?;
    let cluster = ClusterName::from(request.cluster);
    if !view.clusters.contains_key(&cluster) {
        return Err(Refusal::not_found(
            format!("no cluster `{cluster}` was ever reached"),
            "see `regraft get clusters`",
        ));
    }
    let message = format!(
        "{cluster} is forgotten: whatever answers under its name next is taken for it, and applications that left it \
         are let go"
    );
    propose(member, &actor, &Command::ForgetCluster { cluster }, message).await
}

async fn propose(
    member: &Member,
    actor: &str,
    command: &Command,
    message: String,
) -> Result<wire::Accepted, Refusal> {
    let (index, response) = member.people.propose(actor, command).await?;
    accepted(actor, index, response, message)
}

fn accepted(
    actor: &str,
    index: u64,
    response: Response,
    message: String,
) -> Result<wire::Accepted, Refusal> {
    if let Response::Rejected(rejection) = response {
        return Err(rejection.into());
    }
    tracing::info!(actor, "{message}");
    let index = match response {
        // What targets answer: an entry that was proposed twice has a later index as well.
        Response::Requested { fence } => fence.0,
        _ => index,
    };
    Ok(wire::Accepted { message, index })
}

async fn fresh(member: &Member) -> Result<View, Refusal> {
    read::fresh(member, wire::Consistency::Linearizable.into()).await
}

fn reason(text: String) -> Result<String, Refusal> {
    match text.len() <= REASON_BYTES_MAX {
        true => Ok(text.trim().to_owned()),
        false => Err(Refusal::invalid(
            format!("a reason of {} bytes is too long", text.len()),
            format!("use at most {REASON_BYTES_MAX}"),
        )),
    }
}

fn wire_subject(subject: Option<wire::Subject>) -> Result<Subject, Refusal> {
    use wire::subject::Subject as Wire;
    match subject.and_then(|subject| subject.subject) {
        Some(Wire::All(true)) => Ok(Subject::All),
        Some(Wire::Application(name)) => Ok(Subject::Application(name.into())),
        Some(Wire::Repository(name)) => Ok(Subject::Repository(name.into())),
        Some(Wire::All(false)) | None => Err(Refusal::invalid(
            "nothing is named",
            "name an application, or --all",
        )),
    }
}

async fn known(member: &Member, view: &View, subject: Subject) -> Result<Subject, Refusal> {
    match &subject {
        Subject::Application(name) => drop(application(member, view, name.as_str()).await?),
        Subject::Repository(name) if !view.heads.contains_key(name) => {
            return Err(no_repository(name));
        }
        Subject::All | Subject::Repository(_) => {}
    }
    Ok(subject)
}

async fn application(member: &Member, view: &View, name: &str) -> Result<ApplicationName, Refusal> {
    let known = ApplicationName::from(name);
    match view.application(&known).is_some() || view.retiring.contains_key(&known) {
        true => Ok(known),
        false => Err(read::no_application(member, view, name).await),
    }
}

/// Why a sync would do nothing.
fn suspension(view: &View, name: &ApplicationName) -> Option<Refusal> {
    let suspended = waits::suspended(view, view.application(name)?)?;
    let message = format!("{name} is not synced: {}", suspended.why);
    let action = format!("{}, then sync again", suspended.lifted_by);
    Some(Refusal::suspended(message, action))
}

fn no_repository(name: &RepositoryName) -> Refusal {
    Refusal::not_found(
        format!("there is no repository `{name}`"),
        "see `regraft status`",
    )
}
