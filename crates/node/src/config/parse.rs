//! Text to schema, and the parser's errors into words a person can act on.

use super::schema::File;
use regraft_model::problem::{Location, Problem, Severity};
use serde_saphyr::Error;

/// Fields in which people would put a secret; the file may only say where it is.
const SECRET_FIELDS: [&str; 5] = ["password", "token", "passphrase", "sshKey", "privateKey"];

pub(super) fn parse(file: &str, text: &str) -> Result<File, Box<Problem>> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| Box::new(explain(file, &error)))
}

fn explain(file: &str, error: &Error) -> Problem {
    let error = error.without_snippet();
    let location = error.location().map_or(
        Location {
            file: file.to_owned(),
            line: 0,
            column: 0,
        },
        |at| location(file, &at),
    );
    let (reason, message, action) = match error {
        Error::SerdeUnknownField { field, .. } if SECRET_FIELDS.contains(&field.as_str()) => (
            "PlainSecret",
            format!("`{field}` would put a secret into this file"),
            format!(
                "write the secret to a file of mode 0600 and name it with `{field}File`, or a variable with `{field}Env`"
            ),
        ),
        Error::SerdeUnknownField {
            field, expected, ..
        } => (
            "UnknownField",
            format!("`{field}` is not a field here"),
            one_of(field, expected),
        ),
        Error::SerdeMissingField { field, .. } => (
            "MissingField",
            format!("`{field}` is missing"),
            format!("add `{field}:`"),
        ),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => (
            "UnknownValue",
            format!("`{variant}` is not a value here"),
            one_of(variant, expected),
        ),
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        }
        | Error::SerdeInvalidValue {
            unexpected,
            expected,
            ..
        } => (
            "WrongType",
            format!("{unexpected} stands where {expected} belongs"),
            "correct the value".to_owned(),
        ),
        other => (
            "Invalid",
            without_place(&other.to_string()),
            "correct the file".to_owned(),
        ),
    };
    Problem {
        location,
        severity: Severity::Error,
        reason: reason.to_owned(),
        message,
        action,
    }
}

pub(super) fn location(file: &str, at: &serde_saphyr::Location) -> Location {
    Location {
        file: file.to_owned(),
        line: u32::try_from(at.line()).unwrap_or(u32::MAX),
        column: u32::try_from(at.column()).unwrap_or(u32::MAX),
    }
}

fn one_of(given: &str, expected: &[&'static str]) -> String {
    let lower = given.to_lowercase();
    let near = expected.iter().find(|name| {
        name.to_lowercase() == lower.replace(['_', '-'], "")
            || distance(&name.to_lowercase(), &lower) <= 2
    });
    match near {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("one of: {}", expected.join(", ")),
    }
}

/// Levenshtein's distance; both words are short.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The place is told by the problem's location already.
fn without_place(text: &str) -> String {
    let text = text.lines().next().unwrap_or_default();
    let cut = text.find(" at line ").unwrap_or(text.len());
    text[..cut].trim_end_matches([',', ':']).to_owned()
}
