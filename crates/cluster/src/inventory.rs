//! The list of what was applied, kept as one ConfigMap per application in the cluster itself.
//!
//! Expected flow: read all at connect; before an apply the union is written, after it the exact list.
//! Guarantees: only objects that were in a list of this installation are ever pruned (I5); an unreadable list stops its
//! application, never counts as empty, and is never overwritten; the list of another installation is left alone.
//! Assumptions: one writer per application and cluster within an installation.
//! Errors: [`Error::InventoryTooLarge`], [`Error::InventoryMalformed`], [`Error::InventoryNotOurs`].

use crate::connection::Connection;
use crate::error::Error;
use crate::request::{self, Effect, Ownership};
use crate::task::locked;
use crate::traffic::Verb;
use bytes::Bytes;
use regraft_model::ObjectKey;
use regraft_model::apply::Inventory;
use regraft_model::id::ApplicationName;
use regraft_model::object::FIELD_MANAGER;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use tokio::sync::OnceCell;

/// Namespace of regraft's own objects.
const SYSTEM_NAMESPACE: &str = "regraft-system";
/// Where inventories live.
const COLLECTION: &str = "/api/v1/namespaces/regraft-system/configmaps";
/// Start of the name of an inventory.
const NAME_PREFIX: &str = "regraft-inventory-";
/// Longest name of a ConfigMap.
const MAX_NAME_BYTES: usize = 253;
/// Most bytes of entries: etcd takes 1.5 MiB a request, a ConfigMap 1 MiB; about 20,000 objects.
const MAX_ENTRIES_BYTES: usize = 900 * 1024;
/// ConfigMaps in one answer.
const PAGE_SIZE: usize = 100;
/// Most pages: 100,000 applications in one cluster.
const MAX_PAGES: usize = 1_000;

/// API version -> kind -> namespace -> names.
type Entries = BTreeMap<String, BTreeMap<String, BTreeMap<String, BTreeSet<String>>>>;

/// Names of inventories that could not be read, and whether our namespace is known to be there.
#[derive(Default)]
pub(crate) struct Quarantine {
    names: Mutex<BTreeSet<String>>,
    namespace: OnceCell<()>,
}

/// Both lists together, as the new owner's.
pub(crate) fn union(before: &Inventory, after: &Inventory) -> Inventory {
    let mut union = after.clone();
    for (key, version) in &before.entries {
        union
            .entries
            .entry(key.clone())
            .or_insert_with(|| version.clone());
    }
    union
}

/// Whether writing the one over the other changes nothing. Empty lists are not stored at all.
pub(crate) fn same(one: &Inventory, other: &Inventory) -> bool {
    one.entries == other.entries
        && (one.entries.is_empty() || one.installation == other.installation)
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

/// Stores an inventory; an empty one is removed.
pub(crate) async fn write(
    connection: &Connection,
    application: &ApplicationName,
    inventory: &Inventory,
) -> Result<(), Error> {
    let name = name(application.as_str());
    release_quarantine(connection, &name).await?;
    if inventory.entries.is_empty() {
        return remove(connection, &name, &inventory.installation).await;
    }
    let body = Bytes::from(
        encode(application, &name, inventory)?
            .to_string()
            .into_bytes(),
    );
    connection
        .quarantine
        .namespace
        .get_or_try_init(|| make_namespace(connection))
        .await?;
    let store = |ownership| put(connection, &name, inventory, body.clone(), ownership);
    match store(Ownership::Respect).await {
        // Somebody removed our namespace since.
        Err(error) if error.is_not_found() => {
            make_namespace(connection).await?;
            store(Ownership::Respect).await
        }
        // Restored from a backup or edited by hand: still ours while it says so.
        Err(error) if error.is_conflict() => {
            let stored = connection.get(&path(&name), &subject(&name)).await?;
            owned_by(&name, &stored, &inventory.installation)?;
            store(Ownership::Take).await
        }
        other => other,
    }
}

async fn put(
    connection: &Connection,
    name: &str,
    inventory: &Inventory,
    body: Bytes,
    ownership: Ownership,
) -> Result<(), Error> {
    let manager = manager(&inventory.installation);
    let request = request::apply(&path(name), &manager, body, Effect::Write, ownership)?;
    connection
        .call(Verb::Patch, &subject(name), request)
        .await
        .map(|_| ())
}

async fn remove(connection: &Connection, name: &str, installation: &str) -> Result<(), Error> {
    let stored = match connection.get(&path(name), &subject(name)).await {
        Err(error) if error.is_not_found() => return Ok(()),
        other => other?,
    };
    owned_by(name, &stored, installation)?;
    let uid = stored["metadata"]["uid"].as_str().unwrap_or_default();
    let request = request::delete(&path(name), uid)?;
    match connection.call(Verb::Delete, &subject(name), request).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
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

/// An unreadable inventory stops its application until a person deleted it or made it readable.
async fn release_quarantine(connection: &Connection, name: &str) -> Result<(), Error> {
    if !locked(&connection.quarantine.names).contains(name) {
        return Ok(());
    }
    match connection.get(&path(name), &subject(name)).await {
        Err(error) if error.is_not_found() => {
            locked(&connection.quarantine.names).remove(name);
            Ok(())
        }
        Err(error) => Err(error),
        Ok(object) => {
            decode(&object)?;
            // Readable again, but the reader was told nothing of it: start over and tell all.
            connection.breaker.trip();
            Err(Error::NotConnected {
                reason: format!(
                    "ConfigMap {SYSTEM_NAMESPACE}/{name} is readable again; reading all anew"
                ),
            })
        }
    }
}

fn take(connection: &Connection, object: &Value, all: &mut BTreeMap<String, Inventory>) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if !name.starts_with(NAME_PREFIX) {
        return;
    }
    match decode(object) {
        Ok((application, inventory)) => {
            all.insert(application, inventory);
        }
        Err(error) => {
            tracing::error!(%error, "this application stands still until the ConfigMap is repaired or deleted");
            locked(&connection.quarantine.names).insert(name.to_owned());
        }
    }
}

fn encode(
    application: &ApplicationName,
    name: &str,
    inventory: &Inventory,
) -> Result<Value, Error> {
    let mut entries = Entries::new();
    for (key, version) in &inventory.entries {
        entries
            .entry(version.clone())
            .or_default()
            .entry(key.kind.clone())
            .or_default()
            .entry(key.namespace.clone())
            .or_default()
            .insert(key.name.clone());
    }
    let entries = json!(entries).to_string();
    if entries.len() > MAX_ENTRIES_BYTES {
        return Err(Error::InventoryTooLarge {
            application: application.to_string(),
            bytes: entries.len(),
            limit: MAX_ENTRIES_BYTES,
        });
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": SYSTEM_NAMESPACE,
            "labels": {"app.kubernetes.io/managed-by": "regraft"},
        },
        "data": {
            "application": application.as_str(),
            "installation": inventory.installation,
            "entries": entries,
        },
    }))
}

fn decode(object: &Value) -> Result<(String, Inventory), Error> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let malformed = |what: String| Error::InventoryMalformed {
        name: format!("{SYSTEM_NAMESPACE}/{name}"),
        what,
    };
    let text = |field: &str| {
        object["data"][field]
            .as_str()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| malformed(format!("data.{field} is missing")))
    };
    let (application, installation) = (text("application")?, text("installation")?);
    let stored: Entries = serde_json::from_str(text("entries")?)
        .map_err(|error| malformed(format!("data.entries: {error}")))?;
    if self::name(application) != name {
        return Err(malformed(format!("it names application {application}")));
    }
    let mut entries = BTreeMap::new();
    for (version, kinds) in stored {
        let group = version.split_once('/').map_or("", |(group, _)| group);
        for (kind, namespaces) in kinds {
            for (namespace, names) in namespaces {
                for name in names {
                    let key = ObjectKey {
                        group: group.to_owned(),
                        kind: kind.clone(),
                        namespace: namespace.clone(),
                        name,
                    };
                    entries.insert(key, version.clone());
                }
            }
        }
    }
    let inventory = Inventory {
        installation: installation.to_owned(),
        entries,
    };
    Ok((application.to_owned(), inventory))
}

fn owned_by(name: &str, stored: &Value, installation: &str) -> Result<(), Error> {
    let owner = stored["data"]["installation"].as_str().unwrap_or_default();
    if owner == installation || owner.is_empty() {
        return Ok(());
    }
    Err(Error::InventoryNotOurs {
        name: format!("{SYSTEM_NAMESPACE}/{name}"),
        owner: owner.to_owned(),
    })
}

/// Name of the ConfigMap. What a name cannot hold, or is too long, is replaced by a hash; the data tells the true name.
fn name(application: &str) -> String {
    let plain = application.bytes().all(|byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
    }) && application.ends_with(|last: char| last.is_ascii_alphanumeric())
        && !application.contains("..")
        && !application.contains(".-")
        && !application.contains("-.")
        && !application.starts_with('.');
    if plain && NAME_PREFIX.len() + application.len() <= MAX_NAME_BYTES {
        return format!("{NAME_PREFIX}{application}");
    }
    // A double dash cannot be confused with a plain name's hash: plain names keep their own text.
    format!("{NAME_PREFIX}sha256--{}", short_hash(application))
}

/// Field manager of an inventory: two installations are two managers, so that the server tells their conflict.
fn manager(installation: &str) -> String {
    format!("{FIELD_MANAGER}-inventory-{}", short_hash(installation))
}

fn short_hash(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn path(name: &str) -> String {
    format!("{COLLECTION}/{name}")
}

fn subject(name: &str) -> String {
    format!("ConfigMap {SYSTEM_NAMESPACE}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(group: &str, kind: &str, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    fn sample() -> Inventory {
        Inventory {
            installation: "i".to_owned(),
            entries: BTreeMap::from([
                (key("apps", "Deployment", "shop", "a"), "apps/v1".to_owned()),
                (key("apps", "Deployment", "shop", "b"), "apps/v1".to_owned()),
                (key("", "Namespace", "", "shop"), "v1".to_owned()),
            ]),
        }
    }

    #[test]
    fn an_inventory_is_compact_and_comes_back_as_it_was() {
        let object = encode(&"shop".into(), &name("shop"), &sample()).unwrap();
        insta::assert_snapshot!(object["data"]["entries"].as_str().unwrap(),
            @r#"{"apps/v1":{"Deployment":{"shop":["a","b"]}},"v1":{"Namespace":{"":["shop"]}}}"#);
        assert_eq!(decode(&object).unwrap(), ("shop".to_owned(), sample()));
    }

    #[test]
    fn an_unreadable_inventory_is_an_error_that_names_what_is_wrong() {
        let good = encode(&"shop".into(), &name("shop"), &sample()).unwrap();
        let check = |change: fn(&mut Value), expected: &str| {
            let mut object = good.clone();
            change(&mut object);
            assert_eq!(decode(&object).unwrap_err().to_string(), expected);
        };
        let prefix =
            "ConfigMap regraft-system/regraft-inventory-shop cannot be read as an inventory: ";
        check(
            |o| o["data"] = json!({}),
            &format!("{prefix}data.application is missing"),
        );
        check(
            |o| o["data"]["installation"] = json!(""),
            &format!("{prefix}data.installation is missing"),
        );
        check(
            |o| o["data"]["entries"] = json!("{"),
            &format!("{prefix}data.entries: EOF while parsing an object at line 1 column 1"),
        );
        check(
            |o| o["data"]["application"] = json!("till"),
            &format!("{prefix}it names application till"),
        );
    }

    #[test]
    fn any_application_has_a_name_of_its_own_that_fits() {
        let long = "a".repeat(300);
        let names: BTreeSet<_> = ["shop", "Shop", "shop.", "sh/op", &long, "a..b"]
            .map(name)
            .into();
        assert_eq!(names.len(), 6);
        assert!(names.iter().all(|name| name.len() <= MAX_NAME_BYTES));
        assert!(names.contains("regraft-inventory-shop"));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_size() {
        let mut inventory = sample();
        for index in 0..5_000 {
            let long = format!("{index:0250}");
            inventory
                .entries
                .insert(key("", "ConfigMap", "n", &long), "v1".to_owned());
        }
        let error = encode(&"shop".into(), "n", &inventory).unwrap_err();
        assert!(
            matches!(error, Error::InventoryTooLarge { bytes, .. } if bytes > MAX_ENTRIES_BYTES)
        );
    }

    #[test]
    fn the_union_keeps_what_was_and_takes_the_new_versions() {
        let before = sample();
        let mut after = Inventory {
            installation: "j".to_owned(),
            entries: BTreeMap::new(),
        };
        after
            .entries
            .insert(key("apps", "Deployment", "shop", "a"), "apps/v2".to_owned());
        let union = union(&before, &after);
        assert_eq!(union.entries.len(), 3);
        assert_eq!(union.installation, "j");
        assert_eq!(
            union.entries[&key("apps", "Deployment", "shop", "a")],
            "apps/v2"
        );
        assert!(same(
            &Inventory::default(),
            &Inventory {
                installation: "j".to_owned(),
                ..Inventory::default()
            }
        ));
        assert!(!same(&before, &after));
    }
}
