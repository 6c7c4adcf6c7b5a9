//! Text to schema, and the parser's errors into words a person can act on.

use super::schema::File;
use regraft_model::problem::{Location, Problem, Severity};
use serde_saphyr::{Error, UserMessageFormatter};

/// Fields in which people would put a secret; the file may only say where it is.
const SECRET_FIELDS: [&str; 5] = ["password", "token", "passphrase", "sshKey", "privateKey"];

/// What to do about no configuration at all.
pub(super) const MINIMUM: &str = "write at least `member: {id: 1}`, `cluster: home` and `dataDir: data`, one a line; README, \"Your own cluster\", has a whole one to copy";

pub(super) fn parse(file: &str, text: &str) -> Result<File, Box<Problem>> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| Box::new(explain(file, text, &error)))
}

fn explain(file: &str, text: &str, error: &Error) -> Problem {
    let error = error.without_snippet();
    let location = error.location().map_or(
        Location {
            file: file.to_owned(),
            line: 0,
            column: 0,
        },
        |at| location(file, &at),
    );
    let of_field = match field_at(text, &location) {
        Some(field) => format!(" of `{field}`"),
        None => String::new(),
    };
    let (reason, message, action) = match error {
        Error::Eof { .. } => ("Empty", "the file is empty".to_owned(), MINIMUM.to_owned()),
        Error::MultipleDocuments { .. } => (
            "Invalid",
            "the file holds more than one YAML document".to_owned(),
            "keep one, without `---` after it".to_owned(),
        ),
        Error::NullIntoString { .. } => (
            "WrongType",
            format!("the value{of_field} is empty where text belongs"),
            "write the value".to_owned(),
        ),
        Error::InvalidScalar { ty, .. } => (
            "WrongType",
            format!("the value{of_field} is not {}", in_words(ty)),
            "correct the value".to_owned(),
        ),
        Error::Budget { .. } => (
            "TooLarge",
            "the file is larger or deeper than any configuration".to_owned(),
            "name the right file with --config".to_owned(),
        ),
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
        Error::Unexpected { expected, .. } => (
            "WrongType",
            format!("{} belongs here", kind_in_words(expected)),
            "correct the value".to_owned(),
        ),
        other => (
            "Invalid",
            without_place(&other.render_with_formatter(&UserMessageFormatter)),
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

/// The name of the field whose value stands at a place.
fn field_at<'a>(text: &'a str, at: &Location) -> Option<&'a str> {
    let line = usize::try_from(at.line).ok()?.checked_sub(1)?;
    let line = text.lines().nth(line)?;
    let column = usize::try_from(at.column).ok()?.saturating_sub(1);
    let end = line
        .char_indices()
        .nth(column)
        .map_or(line.len(), |it| it.0);
    // An empty value stands at its key, or behind it.
    let before = line.get(..end)?.trim_end();
    let before = before.strip_suffix(':').unwrap_or(before);
    let start = before
        .rfind(|letter: char| !letter.is_alphanumeric())
        .map_or(0, |place| place + 1);
    before.get(start..).filter(|name| !name.is_empty())
}

/// A type of the program as people say it.
fn in_words(name: &str) -> &str {
    match name {
        "bool" => "true or false",
        name if name.starts_with(['u', 'i']) => "a whole number",
        name if name.starts_with('f') => "a number",
        name => name,
    }
}

/// What the parser expected, as people say it.
fn kind_in_words(expected: &str) -> &str {
    match expected {
        "mapping start" => "a group of fields (`name: value`)",
        "sequence start" => "a list",
        "string scalar" => "text",
        other => other,
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
    match regraft_render::closest(given, expected.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("one of: {}", expected.join(", ")),
    }
}

/// The place is told by the problem's location already.
fn without_place(text: &str) -> String {
    let text = text.lines().next().unwrap_or_default();
    let cut = text.find(" at line ").unwrap_or(text.len());
    text[..cut].trim_end_matches([',', ':']).to_owned()
}
