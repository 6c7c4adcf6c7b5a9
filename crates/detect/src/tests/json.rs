//! Stored forms as JSON, to be changed.

use serde_json::Value;

/// All numbers of a stored form, and places where one may be.
pub(crate) fn numbers(stored: &mut Value) -> Vec<&mut Value> {
    match stored {
        Value::Array(parts) => parts.iter_mut().flat_map(numbers).collect(),
        Value::Object(parts) => parts.values_mut().flat_map(numbers).collect(),
        Value::Number(_) | Value::Null => vec![stored],
        Value::Bool(_) | Value::String(_) => Vec::new(),
    }
}
