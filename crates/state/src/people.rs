//! What people say: suspend, resume, approve, veto, confirm, sync.

use crate::audit;
use crate::command::{RejectionReason, Response};
use crate::incident;
use crate::machine::{Halt, rejected};
use crate::record::{Configuration, Confirmation, Head, Subject, Suspension, SyncRequest, Veto};
use crate::table::{self, prefix};
use crate::transaction::Transaction;
use regraft_model::finding::TargetStatus;
use regraft_model::id::{ApplicationName, Fence, IncidentId};
use regraft_model::incident::{Approval, OutcomeKind, Phase};
use regraft_model::source::Revision;

pub(crate) fn suspend(
    transaction: &mut Transaction<'_>,
    subject: Subject,
    reason: String,
) -> Result<Response, Halt> {
    audit::append(
        transaction,
        "Suspended",
        &subject.to_string(),
        reason.clone(),
    )?;
    let suspension = Suspension {
        subject,
        reason,
        actor: transaction.actor.clone(),
        at: transaction.now,
    };
    transaction.put(table::suspension(&suspension.subject), &suspension)?;
    Ok(Response::Done)
}

pub(crate) fn resume(
    transaction: &mut Transaction<'_>,
    subject: &Subject,
) -> Result<Response, Halt> {
    let key = table::suspension(subject);
    let mut found = transaction.get::<Suspension>(&key)?.is_some();
    transaction.delete(key);
    if let Subject::Repository(repository) = subject {
        let key = table::head(repository);
        if let Some(mut head) = transaction.get::<Head>(&key)? {
            found |= head.frozen.take().is_some();
            transaction.put(key, &head)?;
        }
    }
    if !found {
        return Ok(rejected(
            RejectionReason::AlreadyDone,
            format!("{subject} is not suspended"),
        ));
    }
    audit::append(transaction, "Resumed", &subject.to_string(), String::new())?;
    Ok(Response::Done)
}

pub(crate) fn approve(
    transaction: &mut Transaction<'_>,
    id: &IncidentId,
    diff_hash: String,
) -> Result<Response, Halt> {
    let mut incident = match incident::known(transaction, id)? {
        Ok(incident) => incident,
        Err(refusal) => return Ok(refusal),
    };
    if incident.phase != Phase::Proposed {
        return Ok(rejected(
            RejectionReason::WrongPhase,
            format!(
                "{id} is {}: only a proposal can be approved",
                incident.phase
            ),
        ));
    }
    let offered = incident
        .plan
        .as_ref()
        .map(|plan| plan.diff_hash.as_str())
        .unwrap_or_default();
    if offered != diff_hash {
        return Ok(rejected(
            RejectionReason::DiffChanged,
            format!("{id} proposes the diff {offered}, not {diff_hash}: read it again"),
        ));
    }
    let actor = transaction.actor.clone();
    let message = format!("{actor} approved the diff {diff_hash}");
    incident.approval = Some(Approval {
        actor,
        diff_hash,
        at: transaction.now,
    });
    incident::record(transaction, &mut incident, "Approved", message)?;
    incident::save(transaction, &incident)?;
    Ok(Response::Done)
}

/// A person forbids a repair.
pub(crate) fn veto(
    transaction: &mut Transaction<'_>,
    id: &IncidentId,
    fingerprint: Option<String>,
    reason: String,
) -> Result<Response, Halt> {
    let by = transaction.actor.clone();
    end_by_veto(transaction, id, fingerprint, by, reason)
}

/// A commit by somebody else undid ours (I9).
pub(crate) fn record_undone(
    transaction: &mut Transaction<'_>,
    id: &IncidentId,
    fingerprint: String,
    revision: &Revision,
) -> Result<Response, Halt> {
    if transaction
        .get::<Veto>(&table::veto(&fingerprint))?
        .is_some()
    {
        return Ok(rejected(
            RejectionReason::AlreadyDone,
            "that veto is recorded",
        ));
    }
    let by = format!("commit {revision}");
    let reason = format!("{} put back what was repaired", revision.short());
    end_by_veto(transaction, id, Some(fingerprint), by, reason)
}

pub(crate) fn confirm_delete(
    transaction: &mut Transaction<'_>,
    confirmation: Confirmation,
) -> Result<Response, Halt> {
    let status: Option<TargetStatus> =
        transaction.get(&table::target(prefix::STATUSES, &confirmation.target))?;
    let pending = status.and_then(|status| status.pending_deletion);
    let Some(pending) = pending.filter(|pending| pending.token == confirmation.token) else {
        return Ok(rejected(
            RejectionReason::DiffChanged,
            format!(
                "{} does not wait for this list of deletions",
                confirmation.target
            ),
        ));
    };
    let message = format!("{} deletions confirmed", pending.objects.len());
    audit::append(
        transaction,
        "DeleteConfirmed",
        &confirmation.target.to_string(),
        message,
    )?;
    transaction.put(
        table::target(prefix::CONFIRMATIONS, &confirmation.target),
        &confirmation,
    )?;
    Ok(Response::Done)
}

pub(crate) fn sync_now(
    transaction: &mut Transaction<'_>,
    application: ApplicationName,
) -> Result<Response, Halt> {
    if let Some(refusal) = suspended(transaction, &application)? {
        return Ok(refusal);
    }
    let request = SyncRequest {
        application,
        fence: transaction.fence(),
        at: transaction.now,
        asked: false,
    };
    audit::append(
        transaction,
        "SyncRequested",
        request.application.as_str(),
        String::new(),
    )?;
    transaction.put(
        table::application(prefix::SYNCS, &request.application),
        &request,
    )?;
    Ok(Response::Requested {
        fence: request.fence,
    })
}

/// The leader has asked the remote after a request: from now on targets can answer it.
pub(crate) fn remote_asked(
    transaction: &mut Transaction<'_>,
    application: &ApplicationName,
    fence: Fence,
) -> Result<Response, Halt> {
    let key = table::application(prefix::SYNCS, application);
    let request: Option<SyncRequest> = transaction.get(&key)?;
    let Some(mut request) = request.filter(|it| it.fence == fence && !it.asked) else {
        return Ok(rejected(
            RejectionReason::AlreadyDone,
            format!("no sync of {application} with fence {fence} waits for the remote"),
        ));
    };
    request.asked = true;
    transaction.put(key, &request)?;
    Ok(Response::Done)
}

/// The refusal of what makes no sense while an application is suspended.
fn suspended(
    transaction: &Transaction<'_>,
    application: &ApplicationName,
) -> Result<Option<Response>, Halt> {
    for subject in [Subject::All, Subject::Application(application.clone())] {
        if let Some(suspension) = transaction.get::<Suspension>(&table::suspension(&subject))? {
            let lifted_by = suspension.lifted_by();
            return Ok(Some(rejected(
                RejectionReason::Suspended,
                format!("{suspension}; {lifted_by} lets it go on"),
            )));
        }
    }
    let configurations = transaction.all::<Configuration>(prefix::CONFIGURATIONS)?;
    let configured = configurations
        .iter()
        .find_map(|(_, it)| it.fleet.applications.get(application));
    Ok(configured.filter(|it| it.suspend).map(|_| {
        rejected(
            RejectionReason::Suspended,
            format!("{application} has spec.suspend true in Git: commit it as false"),
        )
    }))
}

fn end_by_veto(
    transaction: &mut Transaction<'_>,
    id: &IncidentId,
    fingerprint: Option<String>,
    by: String,
    reason: String,
) -> Result<Response, Halt> {
    let mut incident = match incident::known(transaction, id)? {
        Ok(incident) => incident,
        Err(refusal) => return Ok(refusal),
    };
    if let Some(fingerprint) = fingerprint {
        let veto = Veto {
            application: incident.application.clone(),
            fingerprint,
            incident: id.clone(),
            by: by.clone(),
            at: transaction.now,
        };
        transaction.put(table::veto(&veto.fingerprint), &veto)?;
    }
    audit::append(
        transaction,
        "Vetoed",
        id.as_str(),
        format!("{reason} ({by})"),
    )?;
    if incident.is_open() {
        let closed = vec![incident.suspect_tree.clone()];
        incident::end(
            transaction,
            &mut incident,
            OutcomeKind::Vetoed,
            reason,
            closed,
        )?;
    } else {
        let message = format!("never again, by {by}: {reason}");
        incident::step(transaction, &mut incident, "Vetoed", message);
        incident::save(transaction, &incident)?;
    }
    Ok(Response::Done)
}
