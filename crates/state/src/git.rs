//! Heads, configurations, and applications that left Git.

use crate::audit;
use crate::command::{HeadRelation, NewHead, RejectionReason, Response};
use crate::machine::{Halt, rejected};
use crate::record::{Configuration, Head, Retiring};
use crate::table::{self, prefix};
use crate::transaction::Transaction;
use regraft_model::config::Fleet;
use regraft_model::id::{BranchName, RepositoryName, TargetKey};
use regraft_model::source::Revision;

pub(crate) fn record_head(
    transaction: &mut Transaction<'_>,
    new: NewHead,
) -> Result<Response, Halt> {
    let NewHead {
        repository,
        branch,
        revision,
        previous,
        relation,
    } = new;
    let key = table::head(&repository);
    let recorded: Option<Head> = transaction.get(&key)?;
    // Another branch of the configuration starts a history of its own.
    let recorded = recorded.filter(|head| head.branch == branch);
    if recorded.as_ref().map(|head| &head.revision) != previous.as_ref() {
        return Ok(rejected(
            RejectionReason::HeadMoved,
            format!("{repository} is not at the head this was made for"),
        ));
    }
    if previous.as_ref() == Some(&revision) {
        return Ok(rejected(
            RejectionReason::AlreadyDone,
            "that head is recorded",
        ));
    }
    let mut frozen = recorded.and_then(|head| head.frozen);
    if relation == HeadRelation::Rewritten {
        let was = previous.as_ref().map_or("", Revision::short);
        frozen = Some(format!(
            "{branch} moved from {was} to {}, which does not descend from it; `regraft resume --repository {repository}` \
             lets healing go on",
            revision.short()
        ));
        audit::append(
            transaction,
            "HistoryRewritten",
            repository.as_str(),
            format!("healing is frozen until `regraft resume --repository {repository}`"),
        )?;
    }
    let message = format!("{branch} is at {revision}");
    audit::append(transaction, "HeadRecorded", repository.as_str(), message)?;
    let head = Head {
        repository,
        branch,
        revision,
        recorded_at: transaction.now,
        fence: transaction.fence(),
        frozen,
    };
    transaction.put(key, &head)?;
    Ok(Response::Done)
}

pub(crate) fn record_configuration(
    transaction: &mut Transaction<'_>,
    repository: RepositoryName,
    branch: BranchName,
    revision: Revision,
    fleet: Fleet,
) -> Result<Response, Halt> {
    let head: Option<Head> = transaction.get(&table::head(&repository))?;
    if head.is_none_or(|head| head.revision != revision || head.branch != branch) {
        return Ok(rejected(
            RejectionReason::HeadMoved,
            format!("{repository} is not at {} any more", revision.short()),
        ));
    }
    let key = table::configuration(&repository);
    let before = transaction
        .get::<Configuration>(&key)?
        .map(|configuration| configuration.fleet);
    retire_what_left(transaction, &before.unwrap_or_default(), &fleet)?;
    let message = format!(
        "configuration of {}: {} clusters, {} applications",
        revision.short(),
        fleet.clusters.len(),
        fleet.applications.len()
    );
    audit::append(
        transaction,
        "ConfigurationRecorded",
        repository.as_str(),
        message,
    )?;
    transaction.put(
        key,
        &Configuration {
            repository,
            branch,
            revision,
            fleet,
        },
    )?;
    Ok(Response::Done)
}

pub(crate) fn forget(
    transaction: &mut Transaction<'_>,
    repository: &RepositoryName,
) -> Result<Response, Halt> {
    let (head, configuration) = (table::head(repository), table::configuration(repository));
    let known = transaction.get::<Head>(&head)?.is_some()
        || transaction.get::<Configuration>(&configuration)?.is_some();
    if !known {
        return Ok(rejected(
            RejectionReason::AlreadyDone,
            format!("no repository {repository} is known"),
        ));
    }
    transaction.delete(head);
    transaction.delete(configuration);
    for (key, retiring) in transaction.all::<Retiring>(prefix::RETIRING)? {
        if retiring.application.repository == *repository {
            transaction.delete(key);
        }
    }
    audit::append(
        transaction,
        "RepositoryForgotten",
        repository.as_str(),
        "what its applications have in clusters stays there".to_owned(),
    )?;
    Ok(Response::Done)
}

/// A cluster has no objects of a retiring application left.
pub(crate) fn retired(
    transaction: &mut Transaction<'_>,
    target: &TargetKey,
) -> Result<Response, Halt> {
    let key = table::application(prefix::RETIRING, &target.application);
    let Some(mut retiring) = transaction.get::<Retiring>(&key)? else {
        return Ok(rejected(
            RejectionReason::NotFound,
            "that application is not retiring",
        ));
    };
    retiring
        .clusters
        .retain(|cluster| *cluster != target.cluster);
    if retiring.clusters.is_empty() {
        transaction.delete(key);
    } else {
        transaction.put(key, &retiring)?;
    }
    transaction.delete(table::target(prefix::CONFIRMATIONS, target));
    audit::append(
        transaction,
        "Retired",
        &target.to_string(),
        "nothing of it is left".to_owned(),
    )?;
    Ok(Response::Done)
}

/// Targets of `before` that `after` has no more are kept as retiring until their clusters are clear.
fn retire_what_left(
    transaction: &mut Transaction<'_>,
    before: &Fleet,
    after: &Fleet,
) -> Result<(), Halt> {
    for (name, application) in &before.applications {
        let now = after
            .applications
            .get(name)
            .map_or(&[][..], |now| &now.clusters);
        let gone: Vec<_> = application
            .clusters
            .iter()
            .filter(|cluster| !now.contains(cluster))
            .cloned()
            .collect();
        if gone.is_empty() {
            continue;
        }
        let key = table::application(prefix::RETIRING, name);
        let mut clusters = transaction
            .get::<Retiring>(&key)?
            .map_or_else(Vec::new, |retiring| retiring.clusters);
        clusters.extend(gone);
        clusters.sort();
        clusters.dedup();
        let since = transaction.now;
        transaction.put(
            key,
            &Retiring {
                application: application.clone(),
                clusters,
                since,
            },
        )?;
    }
    for (name, application) in &after.applications {
        let key = table::application(prefix::RETIRING, name);
        let Some(mut retiring) = transaction.get::<Retiring>(&key)? else {
            continue;
        };
        retiring
            .clusters
            .retain(|cluster| !application.clusters.contains(cluster));
        if retiring.clusters.is_empty() {
            transaction.delete(key);
        } else {
            transaction.put(key, &retiring)?;
        }
    }
    Ok(())
}
