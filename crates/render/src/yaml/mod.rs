//! YAML and JSON to values that know where they stand.
//!
//! Values are typed as `kubectl` types them, so that the same bytes mean the same here and there (go-yaml behind
//! `sigs.k8s.io/yaml`, that is YAML 1.1 in the places where it differs): plain `yes`, `on`, `y` are booleans, `0644`
//! and `0o644` are octal, `1_000` is a number, `<<` merges; timestamps stay text; anything quoted stays text.
//!
//! Guarantees: never panics; depth, bytes and nodes (aliases expanded) are bounded; one broken document of a file
//! leaves the others readable.

mod build;
mod scalar;

use build::Builder;
pub(crate) use build::MAX_NODES;
use regraft_model::{Location, Problem, Severity};
use serde_json::{Map, Number, Value};

/// Largest file read, in bytes. The API server takes requests of 3 MiB; a file may hold several objects.
pub(crate) const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;
/// Where something stands; line and column from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Position {
    pub(crate) fn of(self, file: &str) -> Location {
        Location {
            file: file.to_owned(),
            line: self.line,
            column: self.column,
        }
    }
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) content: Content,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) at: Position,
    pub(crate) text: String,
}

impl Node {
    /// The entry of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Map(entries) => entries
                .iter()
                .find(|(name, _)| name.text == key)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Bool(_) => "a boolean",
            Content::Number(_) => "a number",
            Content::Text(_) => "text",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    /// Without the places.
    pub(crate) fn into_value(self) -> Value {
        match self.content {
            Content::Null => Value::Null,
            Content::Bool(flag) => Value::Bool(flag),
            Content::Number(number) => Value::Number(number),
            Content::Text(text) => Value::String(text),
            Content::List(items) => Value::Array(items.into_iter().map(Node::into_value).collect()),
            Content::Map(entries) => Value::Object(
                entries
                    .into_iter()
                    .map(|(key, node)| (key.text, node.into_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

/// The documents of a file that can be read, and what is wrong with the others. What is read together has room for
/// [`MAX_NODES`] values.
pub(crate) fn documents(file: &str, bytes: &[u8], room: &mut usize) -> (Vec<Node>, Vec<Problem>) {
    let whole = |reason: &str, message: String, action: &str| {
        (
            Vec::new(),
            vec![problem(
                Position::default().of(file),
                reason,
                message,
                action,
            )],
        )
    };
    if bytes.len() > MAX_FILE_BYTES {
        return whole(
            "FileTooLarge",
            format!("has {} bytes, more than {MAX_FILE_BYTES}", bytes.len()),
            "split it",
        );
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return whole("NotText", "is not UTF-8".to_owned(), "save it as UTF-8");
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let json;
    let text = match file.ends_with(".json") {
        true => {
            json = yaml_of_json(text);
            json.as_str()
        }
        false => text,
    };
    let (mut nodes, mut problems) = (Vec::new(), Vec::new());
    for chunk in chunks(text) {
        let mut builder = Builder::new(file, chunk.first_line, *room);
        match builder.read(chunk.text) {
            Ok(read) => nodes.extend(read),
            Err(found) => problems.push(*found),
        }
        *room = room.saturating_sub(builder.nodes());
    }
    (nodes, problems)
}

/// JSON is YAML but for tabs between values and for characters that YAML wants escaped; JSON has both only where the
/// replacement means the same.
fn yaml_of_json(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut yaml, c| {
            match c {
                '\t' => yaml.push(' '),
                '\u{7f}'..='\u{9f}'
                | '\u{2028}'
                | '\u{2029}'
                | '\u{feff}'
                | '\u{fffe}'
                | '\u{ffff}' => {
                    yaml.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                other => yaml.push(other),
            }
            yaml
        })
}

/// An error of which one thing has to be done.
pub(crate) fn problem(
    location: Location,
    reason: &str,
    message: impl Into<String>,
    action: impl Into<String>,
) -> Problem {
    Problem {
        location,
        severity: Severity::Error,
        reason: reason.to_owned(),
        message: message.into(),
        action: action.into(),
    }
}

/// Part of a file that begins at a document marker.
struct Chunk<'a> {
    text: &'a str,
    first_line: u32,
}

/// Splits at `---` in the first column, which nothing inside a document may contain: what is broken stays in one part.
fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let (mut chunks, mut start, mut start_line, mut offset) = (Vec::new(), 0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        let line_number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        if marker && offset > start && !only_directives(&text[start..offset]) {
            chunks.push(Chunk {
                text: &text[start..offset],
                first_line: start_line,
            });
        }
        if marker {
            (start, start_line) = (offset, line_number);
        }
        offset += line.len();
    }
    chunks.push(Chunk {
        text: &text[start..],
        first_line: start_line,
    });
    chunks
}

fn only_directives(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with(['#', '%'])
    })
}
