//! Marks desired objects as ours, with a digest that changes when what we want changes.

use data_encoding::HEXLOWER;
use regraft_model::id::ApplicationName;
use regraft_model::object::{APPLICATION_LABEL, DIGEST_ANNOTATION, INSTALLATION_ANNOTATION};
use regraft_model::{Object, ObjectKey};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Bytes of the SHA-256 kept in a digest: enough against accidents, short enough for an annotation people see.
const DIGEST_BYTES: usize = 16;

/// Puts our label and annotations on desired objects. `stringData` of Secrets becomes `data`, because the server
/// keeps only that and server-side apply would otherwise never remove a key.
pub fn stamp(
    application: &ApplicationName,
    installation: &str,
    objects: Vec<Object>,
) -> Vec<Object> {
    objects
        .into_iter()
        .map(|object| stamp_one(application, installation, object))
        .collect()
}

/// SHA-256 in hex (first 16 bytes) of a desired object without our own marks. Key order does not matter.
pub fn digest(object: &Object) -> String {
    let mut bare = object.clone();
    for (folder, key) in [
        ("labels", APPLICATION_LABEL),
        ("annotations", INSTALLATION_ANNOTATION),
        ("annotations", DIGEST_ANNOTATION),
    ] {
        unmark(&mut bare, folder, key);
    }
    hash(&bare.0)
}

/// Writes the digest of what the object says now; used again after fields were taken out of it.
pub(crate) fn refresh_digest(object: &mut Object) {
    let digest = digest(object);
    mark(object, "annotations", DIGEST_ANNOTATION, &digest);
}

/// SHA-256 in hex (first 16 bytes) of a JSON value; key order does not matter.
pub(crate) fn hash(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    HEXLOWER.encode(&Sha256::digest(text.as_bytes())[..DIGEST_BYTES])
}

/// Digest of a sorted list of keys with a subject.
pub(crate) fn hash_keys(subject: &str, keys: &[ObjectKey]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(subject.as_bytes());
    for key in keys {
        hasher.update([0]);
        hasher.update(key.to_string().as_bytes());
    }
    HEXLOWER.encode(&hasher.finalize()[..DIGEST_BYTES])
}

fn stamp_one(application: &ApplicationName, installation: &str, mut object: Object) -> Object {
    data_from_string_data(&mut object);
    refresh_digest(&mut object);
    mark(
        &mut object,
        "labels",
        APPLICATION_LABEL,
        application.as_str(),
    );
    mark(
        &mut object,
        "annotations",
        INSTALLATION_ANNOTATION,
        installation,
    );
    object
}

fn mark(object: &mut Object, folder: &str, key: &str, text: &str) {
    let metadata = child(&mut object.0, "metadata");
    if let Some(metadata) = metadata {
        if !metadata.get(folder).is_some_and(Value::is_object) {
            metadata.insert(folder.to_owned(), Value::Object(Map::new()));
        }
        if let Some(Value::Object(entries)) = metadata.get_mut(folder) {
            entries.insert(key.to_owned(), Value::String(text.to_owned()));
        }
    }
}

fn unmark(object: &mut Object, folder: &str, key: &str) {
    let Some(Value::Object(metadata)) = object.0.get_mut("metadata") else {
        return;
    };
    let Some(Value::Object(entries)) = metadata.get_mut(folder) else {
        return;
    };
    entries.remove(key);
    if entries.is_empty() {
        metadata.remove(folder);
    }
}

fn child<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    let object = value.as_object_mut()?;
    if !object.get(key).is_some_and(Value::is_object) {
        object.insert(key.to_owned(), Value::Object(Map::new()));
    }
    object.get_mut(key)?.as_object_mut()
}

fn data_from_string_data(object: &mut Object) {
    if object.kind() != "Secret" || !object.group().is_empty() {
        return;
    }
    let Some(secret) = object.0.as_object_mut() else {
        return;
    };
    let Some(Value::Object(texts)) = secret.remove("stringData") else {
        return;
    };
    let Some(data) = child(&mut object.0, "data") else {
        return;
    };
    for (key, text) in texts {
        if let Value::String(text) = text {
            data.insert(key, Value::String(base64(text.as_bytes())));
        }
    }
}

/// RFC 4648 section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                let index = (word >> (18 - 6 * place)) & 63;
                text.push(char::from(ALPHABET[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (key, child) in keys {
                let _ = write!(out, "{}:", Value::String(key.clone()));
                canonical(child, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => {
            let _ = write!(out, "{scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stamped_object_carries_application_installation_and_digest() {
        let stamped = stamp(
            &"shop".into(),
            "blue",
            vec![Object(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
            )],
        );
        assert_eq!(stamped[0].label(APPLICATION_LABEL), Some("shop"));
        assert_eq!(stamped[0].annotation(INSTALLATION_ANNOTATION), Some("blue"));
        assert_eq!(
            stamped[0].annotation(DIGEST_ANNOTATION),
            Some(digest(&stamped[0]).as_str())
        );
    }

    #[test]
    fn the_digest_ignores_key_order_and_our_own_marks_and_sees_every_value() {
        let one = Object(json!({"kind": "A", "metadata": {"name": "a"}, "spec": {"x": 1, "y": 2}}));
        let same =
            Object(json!({"spec": {"y": 2, "x": 1}, "metadata": {"name": "a"}, "kind": "A"}));
        let other =
            Object(json!({"kind": "A", "metadata": {"name": "a"}, "spec": {"x": 1, "y": "2"}}));
        assert_eq!(digest(&one), digest(&same));
        assert_ne!(digest(&one), digest(&other));
        let stamped = stamp(&"a".into(), "i", vec![one.clone()]);
        assert_eq!(digest(&stamped[0]), digest(&one));
    }

    #[test]
    fn string_data_of_a_secret_becomes_data() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
            "data": {"kept": "eA=="}, "stringData": {"p": "password", "e": "", "a": "ab"}});
        let stamped = stamp(&"a".into(), "i", vec![Object(secret)]);
        assert_eq!(
            stamped[0].0["data"],
            json!({"kept": "eA==", "p": "cGFzc3dvcmQ=", "e": "", "a": "YWI="})
        );
        assert_eq!(stamped[0].0.get("stringData"), None);
    }
}
