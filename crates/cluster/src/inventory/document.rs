//! An inventory as a ConfigMap, and back.

use crate::error::Error;
use data_encoding::HEXLOWER;
use regraft_model::ObjectKey;
use regraft_model::apply::Inventory;
use regraft_model::id::ApplicationName;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Namespace of regraft's own objects.
pub(super) const SYSTEM_NAMESPACE: &str = "regraft-system";
/// By which label our own objects are found.
pub(super) const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "regraft");
/// Start of the name of an inventory.
pub(super) const NAME_PREFIX: &str = "regraft-inventory-";
/// Longest name of a ConfigMap.
const MAX_NAME_BYTES: usize = 253;
/// Most bytes of entries: etcd takes 1.5 MiB a request, a ConfigMap 1 MiB; about 20,000 objects.
const MAX_ENTRIES_BYTES: usize = 900 * 1024;

/// API version -> kind -> namespace -> names.
type Entries = BTreeMap<String, BTreeMap<String, BTreeMap<String, BTreeSet<String>>>>;

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

/// What tells whether two lists would be stored as the same. All empty ones are: they are not stored at all.
pub(super) type Fingerprint = [u8; 32];

/// The fingerprint of what is stored of an inventory.
pub(super) fn fingerprint(inventory: &Inventory) -> Fingerprint {
    let mut hash = Sha256::new();
    if !inventory.entries.is_empty() {
        hash.update(inventory.installation.as_bytes());
    }
    for (key, version) in &inventory.entries {
        for part in [version, &key.kind, &key.namespace, &key.name] {
            // A length before each part: no two lists run together.
            hash.update(part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.finalize().into()
}

pub(super) fn encode(
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
            "labels": {(LABEL.0): LABEL.1},
        },
        "data": {
            "application": application.as_str(),
            "installation": inventory.installation,
            "entries": entries,
        },
    }))
}

pub(super) fn decode(object: &Value) -> Result<(String, Inventory), Error> {
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

pub(super) fn owned_by(name: &str, owner: &str, installation: &str) -> Result<(), Error> {
    if owner == installation {
        return Ok(());
    }
    Err(Error::InventoryNotOurs {
        name: format!("{SYSTEM_NAMESPACE}/{name}"),
        owner: owner.to_owned(),
    })
}

/// Name of the ConfigMap. What a name cannot hold, or is too long, is replaced by a hash; the data tells the true name.
pub(super) fn name(application: &str) -> String {
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

fn short_hash(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text.as_bytes())[..16])
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
    }

    #[test]
    fn lists_that_would_be_stored_as_the_same_have_one_fingerprint() {
        let stored = encode(&"shop".into(), &name("shop"), &sample()).unwrap();
        let (_, read) = decode(&stored).unwrap();
        assert_eq!(fingerprint(&read), fingerprint(&sample()));
        let of = |installation: &str, entries: BTreeMap<ObjectKey, String>| {
            fingerprint(&Inventory {
                installation: installation.to_owned(),
                entries,
            })
        };
        assert_eq!(of("", BTreeMap::new()), of("j", BTreeMap::new()));
        let mut others = BTreeSet::from([
            fingerprint(&sample()),
            of("j", sample().entries),
            of("i", BTreeMap::new()),
        ]);
        let mut entries = sample().entries;
        entries.insert(key("apps", "Deployment", "shop", "a"), "apps/v2".to_owned());
        others.insert(of("i", entries.clone()));
        entries.pop_first();
        others.insert(of("i", entries));
        assert_eq!(others.len(), 5);
    }
}
