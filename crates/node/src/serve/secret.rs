//! Which files people are not shown, although they may read what regraft does with them.

use serde_json::Value;

/// Whether a file may hold a Secret: some object in it is one, or it cannot be read. What only names a Secret as an
/// object counts too: better to hide too much.
pub(super) fn may_be_in(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return true;
    };
    serde_saphyr::from_multiple::<Value>(text).map_or(true, |documents| documents.iter().any(is_in))
}

fn is_in(value: &Value) -> bool {
    match value {
        Value::Object(map) => {
            map.get("kind").is_some_and(|kind| kind == "Secret") || map.values().any(is_in)
        }
        Value::Array(items) => items.iter().any(is_in),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_wherever_it_is() {
        for (text, is_hidden) in [
            ("", false),
            ("kind: Deployment\nspec: {}\n", false),
            (
                "kind: Deployment\n---\nkind: ConfigMap\ndata: {kind: x}\n",
                false,
            ),
            ("kind: Secret\ndata: {}\n", true),
            ("kind: \"\\x53ecret\"\n", true),
            ("{\"kind\": \"Secret\"}", true),
            ("kind: Deployment\n---\nkind: Secret\n", true),
            ("kind: List\nitems:\n  - kind: Secret\n", true),
            ("kind: ConfigMap\n---\nbroken: [\n", true),
        ] {
            assert_eq!(may_be_in(text.as_bytes()), is_hidden, "{text}");
        }
        assert!(may_be_in(&[0xff, 0xfe]));
    }
}
