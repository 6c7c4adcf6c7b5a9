//! Carries out one request: widen the inventory, apply stage by stage, delete what left, narrow the inventory.
//!
//! Expected flow: inventory (union) -> per stage: dry run of all, write what differs, wait -> prune -> inventory
//! (exact).
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
        number: request.number,
        target: request.target.clone(),
        revision: request.revision.clone(),
        ..ApplyOutcome::default()
    };
    let application = &request.target.application;
    let before = &request.inventory_before;
    let wide = inventory::union(before, &request.inventory);
    let listing = async {
        inventory::check_readable(connection, application).await?;
        if wide.entries.is_empty() {
            // Success says that nothing is left: only the server knows.
            inventory::check_nothing_listed(connection, application).await?;
        }
        inventory::ensure(connection, application, before, &wide).await
    };
    if let Err(error) = listing.await {
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
    if let Err(error) = inventory::ensure(connection, application, &wide, &exact).await {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Answer, Asked, Server};
    use regraft_model::apply::Inventory;
    use regraft_model::id::TargetKey;
    use regraft_model::object::APPLICATION_LABEL;
    use serde_json::json;
    use std::sync::Mutex;

    const LISTS: &str = "/api/v1/namespaces/regraft-system/configmaps";

    /// What becomes of a write of an inventory.
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    enum Fate {
        #[default]
        Done,
        Refused,
        /// It is done, and its answer is lost.
        Unanswered,
    }

    /// The inventory of `shop` as a server has it, and what becomes of the next write of it.
    #[derive(Default)]
    struct Kept {
        list: Option<Value>,
        version: u64,
        next: Fate,
    }

    impl Kept {
        fn answer(&mut self, asked: &Asked) -> Answer {
            let mut words = asked.line.split([' ', '?']);
            let (Some(verb), Some(path)) = (words.next(), words.next()) else {
                return Answer::HangUp;
            };
            if !path.starts_with(LISTS) {
                return fake::basics(asked, "one", 1);
            }
            match (verb, &self.list) {
                ("GET", None) if path.len() > LISTS.len() => fake::refusal(404, "not found"),
                ("GET", list) if path.len() == LISTS.len() => {
                    Answer::Json(200, json!({"metadata": {}, "items": Vec::from_iter(list)}))
                }
                ("GET", Some(list)) => Answer::Json(200, list.clone()),
                _ => self.write(verb, asked.body.clone()),
            }
        }

        fn write(&mut self, verb: &str, mut object: Value) -> Answer {
            let fate = std::mem::take(&mut self.next);
            if fate == Fate::Refused {
                return fake::refusal(500, "etcd has no leader");
            }
            let pointer = match verb {
                "DELETE" => "/preconditions/resourceVersion",
                _ => "/metadata/resourceVersion",
            };
            let there = self.list.as_ref().map(|list| version(list).to_owned());
            let meant = object.pointer(pointer).and_then(Value::as_str);
            if meant != there.as_deref() {
                return fake::refusal(409, "the object has been modified");
            }
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.list = (verb != "DELETE").then(|| object.clone());
            match fate {
                Fate::Unanswered => Answer::HangUp,
                _ => Answer::Json(200, object),
            }
        }
    }

    fn serve() -> (Server, Arc<Mutex<Kept>>) {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let keeping = Arc::clone(&kept);
        let server = Server::start(move |asked| keeping.lock().unwrap().answer(asked));
        (server, kept)
    }

    fn map(name: &str) -> Object {
        Object(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "name": name,
                "namespace": "shop",
                "labels": {(APPLICATION_LABEL): "shop"},
                "annotations": {(INSTALLATION_ANNOTATION): "one"},
            }}),
        )
    }

    fn inventory(names: &[&str]) -> Inventory {
        Inventory {
            installation: "one".to_owned(),
            entries: names
                .iter()
                .map(|name| (map(name).key(), "v1".to_owned()))
                .collect(),
        }
    }

    /// A request that applies objects where others, it seems, are listed.
    fn request(listed: &[&str], names: &[&str]) -> ApplyRequest {
        let staged = |name: &&str| StagedObject {
            object: map(name),
            conflicts: Conflicts::Refuse,
        };
        let stage = Stage {
            objects: names.iter().map(staged).collect(),
            then: StageWait::Nothing,
        };
        ApplyRequest {
            number: 0,
            target: TargetKey {
                application: "shop".into(),
                cluster: "east".into(),
            },
            revision: "0123456789".into(),
            stages: vec![stage],
            prune: Vec::new(),
            orphan: Vec::new(),
            inventory: inventory(names),
            inventory_before: inventory(listed),
        }
    }

    fn entries(kept: &Mutex<Kept>) -> String {
        let list = kept.lock().unwrap().list.clone();
        list.map_or_else(String::new, |list| {
            list["data"]["entries"].as_str().unwrap().to_owned()
        })
    }

    fn reasons(outcome: &ApplyOutcome) -> Vec<&str> {
        let failures = outcome.failures.iter();
        failures.map(|failure| failure.reason.as_str()).collect()
    }

    #[tokio::test]
    async fn after_an_inventory_was_not_stored_the_retry_stores_it_before_any_object() {
        let (server, kept) = serve();
        let connection = server.connect().await;
        kept.lock().unwrap().next = Fate::Refused;
        let first = run(&connection, request(&[], &["a"])).await;
        assert_eq!(reasons(&first), ["ServerError"]);
        assert_eq!(server.asked("PATCH"), Vec::<String>::new());

        // From the first try on the union is what may be there.
        let second = run(&connection, request(&["a"], &["a"])).await;
        assert_eq!(reasons(&second), Vec::<&str>::new());
        assert_eq!(entries(&kept), r#"{"v1":{"ConfigMap":{"shop":["a"]}}}"#);
        let writes: Vec<_> = server
            .asked("P")
            .iter()
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect();
        // The refused one, the list, the dry run and the write.
        assert_eq!(writes, ["POST", "POST", "PATCH", "PATCH"]);

        run(&connection, request(&["a"], &["a"])).await;
        assert_eq!(server.asked("POST").len() + server.asked("PUT").len(), 2);
    }

    #[tokio::test]
    async fn an_inventory_whose_write_got_no_answer_is_read_before_it_counts() {
        let (server, kept) = serve();
        let connection = server.connect().await;
        run(&connection, request(&[], &["a", "b"])).await;
        // It is narrowed, which nobody hears of; then Git brings back what left.
        kept.lock().unwrap().next = Fate::Unanswered;
        let (wide, exact) = (inventory(&["a", "b"]), inventory(&["a"]));
        inventory::ensure(&connection, &"shop".into(), &wide, &exact)
            .await
            .unwrap_err();
        assert_eq!(entries(&kept), r#"{"v1":{"ConfigMap":{"shop":["a"]}}}"#);
        let again = run(&connection, request(&["a", "b"], &["a", "b"])).await;
        assert_eq!(reasons(&again), Vec::<&str>::new());
        assert_eq!(entries(&kept), r#"{"v1":{"ConfigMap":{"shop":["a","b"]}}}"#);
    }

    #[tokio::test]
    async fn our_own_write_whose_answer_was_lost_is_found_and_not_sent_again() {
        let (server, kept) = serve();
        let connection = server.connect().await;
        kept.lock().unwrap().next = Fate::Unanswered;
        let first = run(&connection, request(&[], &["a"])).await;
        assert_eq!(reasons(&first), ["Unreachable"]);
        let second = run(&connection, request(&["a"], &["a"])).await;
        assert_eq!(reasons(&second), Vec::<&str>::new());
        assert_eq!(kept.lock().unwrap().version, 1);
    }

    #[tokio::test]
    async fn that_nothing_is_left_is_not_said_while_the_cluster_lists_something() {
        let (server, kept) = serve();
        let late = server.connect().await;
        let nothing = request(&[], &[]);
        assert_eq!(
            reasons(&run(&late, nothing.clone()).await),
            Vec::<&str>::new()
        );

        let other = server.connect().await;
        run(&other, request(&[], &["a"])).await;
        let refused = run(&late, nothing.clone()).await;
        assert_eq!(reasons(&refused), ["InventoryDiffers"]);
        assert_eq!(
            refused.failures[0].retry,
            regraft_model::apply::Retry::Transient
        );
        assert!(late.breaker.opened().is_cancelled(), "it starts over");
        insta::assert_snapshot!(late.breaker.reason(), @"ConfigMap regraft-system/regraft-inventory-shop lists objects that were not told; reading all anew");

        // A list that starting over would not find is told instead.
        kept.lock().unwrap().list.as_mut().unwrap()["metadata"]["labels"] = json!({});
        let again = server.connect().await;
        let refused = run(&again, nothing).await;
        assert_eq!(reasons(&refused), ["InventoryMalformed"]);
        assert!(!again.breaker.opened().is_cancelled());
        insta::assert_snapshot!(refused.failures[0].message, @"ConfigMap regraft-system/regraft-inventory-shop cannot be read as an inventory: its label app.kubernetes.io/managed-by=regraft is gone; put it back, or delete the ConfigMap");
    }
}
