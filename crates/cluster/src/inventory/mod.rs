//! The list of what was applied, kept as one ConfigMap per application in the cluster itself.
//!
//! Expected flow: read all at connect; before an apply the union is stored, after it the exact list. A write is left
//! out only when the server is known to hold just that: this connection read it or wrote it last.
//! Guarantees: only objects that were in a list of this installation are ever pruned (I5); an unreadable list stops its
//! application, never counts as empty, and is never overwritten; the list of another installation is left alone; a list
//! that another member wrote since it was told is not overwritten: the connection starts over and tells all anew.
//! Errors: [`Error::InventoryTooLarge`], [`Error::InventoryMalformed`], [`Error::InventoryNotOurs`],
//! [`Error::InventoryDiffers`].

mod document;

pub(crate) use document::union;

use crate::connection::Connection;
use crate::error::Error;
use crate::request;
use crate::task::locked;
use crate::traffic::Verb;
use document::{
    Fingerprint, LABEL, NAME_PREFIX, SYSTEM_NAMESPACE, decode, encode, fingerprint, name, owned_by,
};
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
    There(List),
    /// A write was sent and its answer is not known: the server has this list or the one before.
    InDoubt {
        before: Option<List>,
        sent: Fingerprint,
    },
    /// It cannot be read.
    Unreadable,
}

/// A stored list.
#[derive(Clone)]
struct List {
    version: String,
    installation: String,
    content: Fingerprint,
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

    /// Whether the server is known to hold just this.
    fn holds(&self, name: &str, inventory: &Inventory) -> bool {
        match self.get(name) {
            None => inventory.entries.is_empty(),
            Some(Known::There(list)) => list.content == fingerprint(inventory),
            Some(Known::InDoubt { .. } | Known::Unreadable) => false,
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
    match read(connection, &name).await? {
        None => {
            connection.stored.put(&name, None);
            Ok(())
        }
        Some(_) => Err(start_over(connection, &name, "is readable again")),
    }
}

/// Refuses to say that nothing of an application is listed while something is.
pub(crate) async fn check_nothing_listed(
    connection: &Connection,
    application: &ApplicationName,
) -> Result<(), Error> {
    let name = name(application.as_str());
    match read(connection, &name).await? {
        Some((_, inventory)) if !inventory.entries.is_empty() => Err(start_over(
            connection,
            &name,
            "lists objects that were not told",
        )),
        there => {
            let list = there.map(|(list, _)| Known::There(list));
            connection.stored.put(&name, list);
            Ok(())
        }
    }
}

/// Sees to it that an inventory is stored, over the one that is `expected` there; an empty one is removed.
pub(crate) async fn ensure(
    connection: &Connection,
    application: &ApplicationName,
    expected: &Inventory,
    inventory: &Inventory,
) -> Result<(), Error> {
    let name = name(application.as_str());
    if let Some(Known::InDoubt { .. }) = connection.stored.get(&name) {
        agree(connection, &name, expected, inventory).await?;
    }
    if connection.stored.holds(&name, inventory) {
        return Ok(());
    }
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
    let store = || store(connection, &name, inventory, object.as_ref());
    match store().await {
        Err(error) if error.is_conflict() || error.is_not_found() => {
            agree(connection, &name, expected, inventory).await?;
            if connection.stored.holds(&name, inventory) {
                return Ok(());
            }
            store().await
        }
        other => other,
    }
}

/// One write on the version that is known, or a first one.
async fn store(
    connection: &Connection,
    name: &str,
    inventory: &Inventory,
    object: Option<&Value>,
) -> Result<(), Error> {
    let before = match connection.stored.get(name) {
        Some(Known::There(list)) => {
            owned_by(name, &list.installation, &inventory.installation)?;
            Some(list)
        }
        _ => None,
    };
    let version = before.as_ref().map(|list| &list.version);
    let (verb, request) = match (object, version) {
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
    let sent = fingerprint(inventory);
    // Before it is sent: its answer may be lost, and this run may be dropped.
    connection
        .stored
        .put(name, Some(Known::InDoubt { before, sent }));
    let answer = connection.call(verb, &subject(name), request).await?;
    let known = object
        .is_some()
        .then(|| Known::There(list(&answer, inventory)));
    connection.stored.put(name, known);
    Ok(())
}

/// Finds out what is stored after a write that was refused or whose answer was lost. What was there before, our own
/// write, and an edit that left the content alone are agreed to; what another one wrote is not.
async fn agree(
    connection: &Connection,
    name: &str,
    expected: &Inventory,
    inventory: &Inventory,
) -> Result<(), Error> {
    let Some((list, stored)) = read(connection, name).await? else {
        // Somebody removed it, perhaps with our namespace: what it said is known.
        connection.stored.put(name, None);
        return match inventory.entries.is_empty() {
            true => Ok(()),
            false => make_namespace(connection).await,
        };
    };
    owned_by(name, &stored.installation, &inventory.installation)?;
    let mut ours = vec![fingerprint(expected), fingerprint(inventory)];
    if let Some(Known::InDoubt { before, sent }) = connection.stored.get(name) {
        ours.push(sent);
        ours.extend(before.map(|before| before.content));
    }
    if ours.contains(&list.content) {
        connection.stored.put(name, Some(Known::There(list)));
        return Ok(());
    }
    Err(start_over(connection, name, "was written by another one"))
}

/// The list as the server has it now.
async fn read(connection: &Connection, name: &str) -> Result<Option<(List, Inventory)>, Error> {
    let object = match connection.get(&path(name), &subject(name)).await {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other?,
    };
    let (_, inventory) = decode(&object)?;
    if object["metadata"]["labels"][LABEL.0] != LABEL.1 {
        // Starting over would not find it.
        return Err(Error::InventoryMalformed {
            name: format!("{SYSTEM_NAMESPACE}/{name}"),
            what: format!(
                "its label {}={} is gone; put it back, or delete the ConfigMap",
                LABEL.0, LABEL.1
            ),
        });
    }
    Ok(Some((list(&object, &inventory), inventory)))
}

fn start_over(connection: &Connection, name: &str, what: &'static str) -> Error {
    let error = Error::InventoryDiffers {
        name: format!("{SYSTEM_NAMESPACE}/{name}"),
        what,
    };
    connection.breaker.trip_for(error.to_string());
    error
}

fn list(object: &Value, inventory: &Inventory) -> List {
    let version = object["metadata"]["resourceVersion"].as_str();
    List {
        version: version.unwrap_or_default().to_owned(),
        installation: inventory.installation.clone(),
        content: fingerprint(inventory),
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
            "labels": {(LABEL.0): LABEL.1},
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
            let list = list(object, &inventory);
            connection.stored.put(name, Some(Known::There(list)));
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
