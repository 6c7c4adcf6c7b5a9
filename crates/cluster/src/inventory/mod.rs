//! The list of what was applied, kept as one ConfigMap per application in the cluster itself.
//!
//! Expected flow: read all at connect; before an apply the union is written, after it the exact list.
//! Guarantees: only objects that were in a list of this installation are ever pruned (I5); an unreadable list stops its
//! application, never counts as empty, and is never overwritten; the list of another installation is left alone; a list
//! that another member wrote since it was told is not overwritten: the connection starts over and tells all anew.
//! Errors: [`Error::InventoryTooLarge`], [`Error::InventoryMalformed`], [`Error::InventoryNotOurs`].

mod document;

pub(crate) use document::{same, union};

use crate::connection::Connection;
use crate::error::Error;
use crate::request;
use crate::task::locked;
use crate::traffic::Verb;
use document::{NAME_PREFIX, SYSTEM_NAMESPACE, decode, encode, name, owned_by};
use regraft_model::apply::Inventory;
use regraft_model::id::ApplicationName;
use regraft_model::object::FIELD_MANAGER;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::OnceCell;

/// Where inventories live.
const COLLECTION: &str = "/api/v1/namespaces/regraft-system/configmaps";
/// ConfigMaps in one answer.
const PAGE_SIZE: usize = 100;
/// Most pages: 100,000 applications in one cluster.
const MAX_PAGES: usize = 1_000;

/// What a connection knows of the ConfigMaps, by name, and whether our namespace is known to be there.
#[derive(Default)]
pub(crate) struct Stored {
    known: Mutex<BTreeMap<String, Known>>,
    namespace: OnceCell<()>,
}

#[derive(Clone)]
enum Known {
    /// As it was read or written last.
    Read {
        version: String,
        installation: String,
    },
    /// It cannot be read.
    Unreadable,
}

impl Stored {
    fn get(&self, name: &str) -> Option<Known> {
        locked(&self.known).get(name).cloned()
    }

    fn put(&self, name: &str, known: Option<Known>) {
        let mut all = locked(&self.known);
        match known {
            Some(known) => drop(all.insert(name.to_owned(), known)),
            None => drop(all.remove(name)),
        }
    }
}

/// All inventories of the cluster by application. Unreadable ones are left out and stop their application.
pub(crate) async fn read_all(
    connection: &Connection,
) -> Result<BTreeMap<String, Inventory>, Error> {
    let mut all = BTreeMap::new();
    let mut token = String::new();
    for _ in 0..MAX_PAGES {
        let path = format!(
            "{COLLECTION}?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dregraft&limit={PAGE_SIZE}{token}"
        );
        let request = request::get(&path, "inventories")?;
        let page = connection.call(Verb::List, "inventories", request).await?;
        for object in page["items"].as_array().into_iter().flatten() {
            take(connection, object, &mut all);
        }
        match page["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => {
                token = format!("&continue={}", request::escaped(next));
            }
            _ => return Ok(all),
        }
    }
    Err(Error::InventoryMalformed {
        name: SYSTEM_NAMESPACE.to_owned(),
        what: format!("there are more than {} of them", MAX_PAGES * PAGE_SIZE),
    })
}

/// Refuses an application whose inventory cannot be read, until a person deleted it or made it readable.
pub(crate) async fn check_readable(
    connection: &Connection,
    application: &ApplicationName,
) -> Result<(), Error> {
    let name = name(application.as_str());
    if !matches!(connection.stored.get(&name), Some(Known::Unreadable)) {
        return Ok(());
    }
    match connection.get(&path(&name), &subject(&name)).await {
        Err(error) if error.is_not_found() => {
            connection.stored.put(&name, None);
            Ok(())
        }
        Err(error) => Err(error),
        Ok(object) => {
            decode(&object)?;
            Err(start_over(connection, &name, "is readable again"))
        }
    }
}

/// Stores an inventory over the one that is `expected` there; an empty one is removed.
pub(crate) async fn write(
    connection: &Connection,
    application: &ApplicationName,
    expected: &Inventory,
    inventory: &Inventory,
) -> Result<(), Error> {
    let name = name(application.as_str());
    let object = match inventory.entries.is_empty() {
        true => None,
        false => Some(encode(application, &name, inventory)?),
    };
    if object.is_some() {
        let namespace = &connection.stored.namespace;
        namespace
            .get_or_try_init(|| make_namespace(connection))
            .await?;
    }
    let store = || store(connection, &name, &inventory.installation, object.as_ref());
    match store().await {
        Err(error) if error.is_conflict() || error.is_not_found() => {
            agree(connection, &name, expected, inventory).await?;
            store().await
        }
        other => other,
    }
}

/// One write on the version that is known, or a first one.
async fn store(
    connection: &Connection,
    name: &str,
    ours: &str,
    object: Option<&Value>,
) -> Result<(), Error> {
    let version = match connection.stored.get(name) {
        Some(Known::Read {
            version,
            installation,
        }) => {
            owned_by(name, &installation, ours)?;
            Some(version)
        }
        _ => None,
    };
    let (verb, request) = match (object, &version) {
        (None, None) => return Ok(()),
        (None, Some(version)) => {
            let precondition = json!({"resourceVersion": version});
            let request = request::delete(&path(name), &precondition)?;
            (Verb::Delete, request)
        }
        (Some(object), None) => {
            let request = request::create(COLLECTION, FIELD_MANAGER, object)?;
            (Verb::Create, request)
        }
        (Some(object), Some(version)) => {
            let mut object = object.clone();
            object["metadata"]["resourceVersion"] = json!(version);
            let request = request::replace(&path(name), FIELD_MANAGER, &object)?;
            (Verb::Update, request)
        }
    };
    let answer = connection.call(verb, &subject(name), request).await?;
    let known = object.is_some().then(|| known(&answer));
    connection.stored.put(name, known);
    Ok(())
}

/// Finds out why a write was refused. Our own write whose answer was lost, or an edit that left the content alone, is
/// agreed to; what another one wrote is not.
async fn agree(
    connection: &Connection,
    name: &str,
    expected: &Inventory,
    inventory: &Inventory,
) -> Result<(), Error> {
    let object = match connection.get(&path(name), &subject(name)).await {
        // Somebody removed it, perhaps with our namespace: what it said is known.
        Err(error) if error.is_not_found() => {
            connection.stored.put(name, None);
            return make_namespace(connection).await;
        }
        other => other?,
    };
    let (_, stored) = decode(&object)?;
    owned_by(name, &stored.installation, &inventory.installation)?;
    if same(&stored, expected) || same(&stored, inventory) {
        connection.stored.put(name, Some(known(&object)));
        return Ok(());
    }
    Err(start_over(connection, name, "was written by another one"))
}

fn start_over(connection: &Connection, name: &str, why: &str) -> Error {
    connection.breaker.trip();
    Error::NotConnected {
        reason: format!("{} {why}; reading all anew", subject(name)),
    }
}

fn known(object: &Value) -> Known {
    let text = |pointer: &str| {
        let text = object.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    Known::Read {
        version: text("/metadata/resourceVersion"),
        installation: text("/data/installation"),
    }
}

async fn make_namespace(connection: &Connection) -> Result<(), Error> {
    let subject = format!("namespace {SYSTEM_NAMESPACE}");
    let path = format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}");
    match connection.get(&path, &subject).await {
        Err(error) if error.is_not_found() => {}
        other => return other.map(|_| ()),
    }
    let object = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": SYSTEM_NAMESPACE,
            "labels": {"app.kubernetes.io/managed-by": "regraft"},
        },
    });
    let request = request::create("/api/v1/namespaces", FIELD_MANAGER, &object)?;
    match connection.call(Verb::Create, &subject, request).await {
        // Another member was faster.
        Err(error) if error.is_conflict() => Ok(()),
        other => other.map(|_| ()),
    }
}

fn take(connection: &Connection, object: &Value, all: &mut BTreeMap<String, Inventory>) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if !name.starts_with(NAME_PREFIX) {
        return;
    }
    match decode(object) {
        Ok((application, inventory)) => {
            connection.stored.put(name, Some(known(object)));
            all.insert(application, inventory);
        }
        Err(error) => {
            tracing::error!(%error, "this application stands still until the ConfigMap is repaired or deleted");
            connection.stored.put(name, Some(Known::Unreadable));
        }
    }
}

fn path(name: &str) -> String {
    format!("{COLLECTION}/{name}")
}

fn subject(name: &str) -> String {
    format!("ConfigMap {SYSTEM_NAMESPACE}/{name}")
}
