//! Carries out one request: widen the inventory, apply stage by stage, delete what left, narrow the inventory.
//!
//! Expected flow: inventory (union) -> per stage: dry run of all, write what differs, wait -> prune -> inventory (exact).
//! Guarantees: nothing of a stage is written when the dry run of one of its objects fails; nothing is pruned after a
//! failure; an object that the server's defaults make equal is not written (I6); whatever may exist because of us is
//! in the inventory before it exists. Dropping the future at any point leaves a state that a later run completes.
//! Assumptions: one run at a time per target. Errors: all of them end up in `failures`, by object.

use crate::classify::{Contenders, contenders, failure};
use crate::connection::Connection;
use crate::digest::digest;
use crate::discovery::Resource;
use crate::error::Error;
use crate::request::{self, Effect, Ownership};
use crate::traffic::Verb;
use crate::{inventory, release, trim, wait};
use bytes::Bytes;
use futures::{StreamExt, stream};
use regraft_model::apply::{
    ApplyFailure, ApplyOutcome, ApplyRequest, KindScope, KindVersion, Stage, StageWait,
    StagedObject, Written,
};
use regraft_model::config::Conflicts;
use regraft_model::object::{FIELD_MANAGER, INSTALLATION_ANNOTATION};
use regraft_model::{Object, ObjectKey};
use serde_json::Value;
use std::sync::Arc;

/// Objects of one stage on their way at a time; the connection bounds all stages together.
pub(crate) const MAX_STAGE_IN_FLIGHT: usize = 16;
/// How often an object is tried that changes between the dry run and the look at it.
const MAX_DRY_RUNS: usize = 3;

/// Runs a request.
pub(crate) async fn run(connection: &Connection, request: ApplyRequest) -> ApplyOutcome {
    let mut outcome = ApplyOutcome {
        target: request.target.clone(),
        revision: request.revision.clone(),
        ..ApplyOutcome::default()
    };
    let application = &request.target.application;
    if let Err(error) = inventory::check_readable(connection, application).await {
        outcome.failures.push(failure(None, &error));
        return outcome;
    }
    let before = &request.inventory_before;
    let wide = inventory::union(before, &request.inventory);
    if !inventory::same(&wide, before)
        && let Err(error) = inventory::write(connection, application, before, &wide).await
    {
        outcome.failures.push(failure(None, &error));
        return outcome;
    }
    for stage in &request.stages {
        if let Err(failures) = run_stage(connection, stage, &mut outcome.objects).await {
            outcome.failures = failures;
            return outcome;
        }
    }
    let released = release::run(connection, &request).await;
    let mut exact = request.inventory;
    for failure in &released.failures {
        if let Some(key) = &failure.key
            && let Some(version) = wide.entries.get(key)
        {
            exact.entries.insert(key.clone(), version.clone());
        }
    }
    outcome.pruned = released.pruned;
    outcome.failures = released.failures;
    if !inventory::same(&exact, &wide)
        && let Err(error) = inventory::write(connection, application, &wide, &exact).await
    {
        outcome.failures.push(failure(None, &error));
    }
    outcome
}

async fn run_stage(
    connection: &Connection,
    stage: &Stage,
    objects: &mut Vec<(Object, Written)>,
) -> Result<(), Vec<ApplyFailure>> {
    let tried: Vec<_> = stream::iter(&stage.objects)
        .map(|staged| dry_run(connection, staged))
        .buffered(MAX_STAGE_IN_FLIGHT)
        .collect()
        .await;
    let tried = all_or_failures(tried)?;
    let written: Vec<_> = stream::iter(tried)
        .map(|tried| write(connection, tried))
        .buffered(MAX_STAGE_IN_FLIGHT)
        .collect()
        .await;
    let mut failures = Vec::new();
    let first = objects.len();
    for result in written {
        match result {
            Ok(written) => objects.push(written),
            Err(failure) => failures.push(failure),
        }
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    match stage.then {
        StageWait::Nothing => Ok(()),
        StageWait::Established => wait::established(connection, &objects[first..]).await,
    }
}

/// An object that the server would take.
pub(crate) struct Tried {
    pub(crate) key: ObjectKey,
    pub(crate) path: String,
    body: Bytes,
    ownership: Ownership,
    /// What the server would make of it.
    pub(crate) answer: Value,
}

/// Asks the server what it would make of an object.
pub(crate) async fn try_out(
    connection: &Connection,
    staged: &StagedObject,
) -> Result<Tried, ApplyFailure> {
    let key = staged.object.key();
    let told = |error: Error| failure(Some(staged.object.key()), &error);
    let kind = KindVersion::of(&staged.object);
    let resource = connection
        .discovery
        .find(connection, &kind)
        .await
        .map_err(told)?;
    let path = request::object_path(&resource, &key).map_err(told)?;
    let body = body(&resource, &staged.object);
    let subject = key.to_string();
    let ask = |ownership| {
        let request = request::apply(
            &path,
            FIELD_MANAGER,
            body.clone(),
            Effect::DryRun,
            ownership,
        );
        async { connection.call(Verb::DryRun, &subject, request?).await }
    };
    let mut ownership = match staged.conflicts {
        Conflicts::Force => Ownership::Take,
        Conflicts::Refuse => Ownership::Respect,
    };
    let answer = match ask(ownership).await {
        Err(error) if were_ours(connection, &path, &staged.object, &error).await => {
            ownership = Ownership::Take;
            ask(ownership).await
        }
        other => other,
    };
    Ok(Tried {
        answer: answer.map_err(told)?,
        key,
        path,
        body,
        ownership,
    })
}

/// Whether the fields in conflict are ours to put back: a patch of ours wrote them, or somebody edited an object that
/// this installation has applied. What we never applied is not ours; and another GitOps tool would write its fields
/// again: both stay conflicts, for a person to decide.
async fn were_ours(connection: &Connection, path: &str, object: &Object, error: &Error) -> bool {
    match contenders(error) {
        Contenders::None | Contenders::Tools => false,
        Contenders::Ourselves => true,
        Contenders::People => {
            let installation = object.annotation(INSTALLATION_ANNOTATION);
            let live = connection.get(path, &object.key().to_string()).await;
            installation.is_some()
                && live.is_ok_and(|live| {
                    Object(live).annotation(INSTALLATION_ANNOTATION) == installation
                })
        }
    }
}

async fn dry_run(
    connection: &Connection,
    staged: &StagedObject,
) -> Result<(Tried, Written), ApplyFailure> {
    let mut tried = try_out(connection, staged).await?;
    for _ in 1..MAX_DRY_RUNS {
        let would = would_change(connection, &tried)
            .await
            .map_err(|error| failure(Some(staged.object.key()), &error))?;
        match would {
            Some(false) => return Ok((tried, Written::Unchanged)),
            Some(true) => return Ok((tried, Written::Written)),
            None => tried = try_out(connection, staged).await?,
        }
    }
    // Writing what is there already changes nothing either.
    Ok((tried, Written::Written))
}

/// Whether a dry run answered something else than the live object. It carries the resource version of the object it was
/// tried on, so the fingerprint that the watch left for that version tells; without one the object is read. `None` when
/// the object moved on between the two: both have to be asked again.
async fn would_change(connection: &Connection, tried: &Tried) -> Result<Option<bool>, Error> {
    let version = version(&tried.answer);
    if version.is_empty() {
        return Ok(Some(true));
    }
    let would_be = digest(&tried.answer);
    // As the watch names it: objects of the cluster have no namespace there.
    let mut key = tried.key.clone();
    if tried.answer["metadata"]["namespace"].is_null() {
        key.namespace.clear();
    }
    if let Some(live) = connection.digests.at(&key, version) {
        return Ok(Some(live != would_be));
    }
    match connection.get(&tried.path, &tried.key.to_string()).await {
        Ok(live) if digest(&live) == would_be => Ok(Some(false)),
        Ok(live) => Ok((self::version(&live) == version).then_some(true)),
        Err(error) if error.is_not_found() => Ok(Some(true)),
        Err(error) => Err(error),
    }
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
}

async fn write(
    connection: &Connection,
    (tried, written): (Tried, Written),
) -> Result<(Object, Written), ApplyFailure> {
    let mut object = tried.answer;
    let mut written = written;
    if written == Written::Written {
        let subject = tried.key.to_string();
        let answer = async {
            let request = request::apply(
                &tried.path,
                FIELD_MANAGER,
                tried.body,
                Effect::Write,
                tried.ownership,
            )?;
            connection.call(Verb::Patch, &subject, request).await
        };
        let answer = answer
            .await
            .map_err(|error| failure(Some(tried.key.clone()), &error))?;
        // The server keeps the version of an object that it found equal.
        if version(&answer) == version(&object) {
            written = Written::Unchanged;
        }
        object = answer;
    }
    match written {
        Written::Written => connection.traffic.count_written(),
        Written::Unchanged => connection.traffic.count_unchanged(),
    }
    trim::owned(&mut object);
    Ok((Object(object), written))
}

/// The bytes to apply. A namespace means nothing to objects of the cluster, and the server refuses it there.
fn body(resource: &Arc<Resource>, object: &Object) -> Bytes {
    let text = if resource.scope == KindScope::Cluster && !object.namespace().is_empty() {
        let mut object = object.0.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("namespace");
        }
        object.to_string()
    } else {
        object.0.to_string()
    };
    Bytes::from(text.into_bytes())
}

fn all_or_failures<T>(results: Vec<Result<T, ApplyFailure>>) -> Result<Vec<T>, Vec<ApplyFailure>> {
    let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    if bad.is_empty() {
        Ok(good.into_iter().filter_map(Result::ok).collect())
    } else {
        Err(bad.into_iter().filter_map(Result::err).collect())
    }
}
