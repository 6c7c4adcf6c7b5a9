//! YAML and JSON to values that know where they stand.
//!
//! Values are typed as `kubectl` types them, so that the same bytes mean the same here and there (go-yaml behind
//! `sigs.k8s.io/yaml`, that is YAML 1.1 in the places where it differs): plain `yes`, `on`, `y` are booleans, `0644`
//! and `0o644` are octal, `1_000` is a number, `<<` merges; timestamps stay text; anything quoted stays text.
//!
//! Guarantees: never panics; depth, bytes and nodes (aliases expanded) are bounded; one broken document of a file
//! leaves the others readable.

use regraft_model::{Location, Problem, Severity};
use serde_json::{Map, Number, Value};
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, Tag, options};
use std::collections::BTreeMap;

/// Largest file read, in bytes. The API server takes requests of 3 MiB; a file may hold several objects.
pub(crate) const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;
/// Deepest nesting, aliases expanded. Kubernetes objects (CRD schemas included) stay below 40.
const MAX_DEPTH: usize = 100;
/// Most values in one document, aliases expanded: far above the largest CRD, far below what would hurt.
const MAX_NODES: usize = 1_000_000;

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

/// The documents of a file that can be read, and what is wrong with the others.
pub(crate) fn documents(file: &str, bytes: &[u8]) -> (Vec<Node>, Vec<Problem>) {
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
        // JSON has no tabs inside strings, and YAML none in indentation.
        true => {
            json = text.replace('\t', " ");
            json.as_str()
        }
        false => text,
    };
    let (mut nodes, mut problems) = (Vec::new(), Vec::new());
    for chunk in chunks(text) {
        let mut builder = Builder::new(file, chunk.first_line);
        match builder.read(chunk.text) {
            Ok(read) => nodes.extend(read),
            Err(found) => problems.push(*found),
        }
    }
    (nodes, problems)
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

/// Builds nodes from the events of one chunk.
struct Builder<'a> {
    file: &'a str,
    first_line: u32,
    stack: Vec<Open>,
    anchors: BTreeMap<usize, Anchored>,
    nodes: usize,
    documents: Vec<Node>,
}

/// A collection that is not closed yet.
struct Open {
    at: Position,
    anchor: usize,
    nodes_before: usize,
    height: usize,
    holds: Holds,
}

enum Holds {
    List(Vec<Node>),
    Map {
        entries: Vec<(Key, Node)>,
        key: Option<(Key, ScalarStyle)>,
        merges: Vec<Node>,
    },
}

/// A node that aliases may repeat, with its cost.
struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

type Outcome<T> = Result<T, Box<Problem>>;

impl<'a> Builder<'a> {
    fn new(file: &'a str, first_line: u32) -> Self {
        Self {
            file,
            first_line,
            stack: Vec::new(),
            anchors: BTreeMap::new(),
            nodes: 0,
            documents: Vec::new(),
        }
    }

    fn read(&mut self, text: &str) -> Outcome<Vec<Node>> {
        let limits = options! {
            emit_comments: false,
            block_nesting_limit: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
        };
        for event in Parser::new_from_str_with_options(text, limits) {
            let (event, span) = event.map_err(|error| {
                let at = self.position(error.marker().line(), error.marker().col());
                Box::new(problem(
                    at.of(self.file),
                    "Syntax",
                    format!("is not valid YAML: {}", error.info()),
                    "correct the syntax; `regraft` reads what kubectl reads",
                ))
            })?;
            self.take(event, &span)?;
        }
        Ok(std::mem::take(&mut self.documents))
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Outcome<()> {
        let at = self.position(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), at)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.expect_tag(tag.as_deref(), "seq", at)?;
                self.open(at, anchor, Holds::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.expect_tag(tag.as_deref(), "map", at)?;
                let (entries, merges) = (Vec::new(), Vec::new());
                self.open(
                    at,
                    anchor,
                    Holds::Map {
                        entries,
                        key: None,
                        merges,
                    },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => self.alias(id, at),
            // An implicit document ends where a second one without a marker would begin: a syntax error to the parser.
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        at: Position,
    ) -> Outcome<()> {
        let content = match (tag.map(|tag| tag.core_suffix()), style) {
            (None, ScalarStyle::Plain) => self.plain(text, at)?,
            (None, _) | (Some(Some("str")), _) => Content::Text(text.to_owned()),
            (Some(Some("int" | "float" | "bool" | "null")), _) => self.plain(text, at)?,
            _ => return Err(self.unknown_tag(tag, at)),
        };
        let node = Node { at, content };
        self.remember(anchor, &node, 1, 0);
        self.add(node, 1, 0, Some((text, style)))
    }

    fn plain(&self, text: &str, at: Position) -> Outcome<Content> {
        plain(text).ok_or_else(|| {
            Box::new(problem(
                at.of(self.file),
                "NotRepresentable",
                format!("`{text}` is a number that JSON cannot hold"),
                "quote it if it is text",
            ))
        })
    }

    fn expect_tag(&self, tag: Option<&Tag>, expected: &str, at: Position) -> Outcome<()> {
        match tag.map(|found| found.core_suffix()) {
            None => Ok(()),
            Some(Some(suffix)) if suffix == expected => Ok(()),
            Some(_) => Err(self.unknown_tag(tag, at)),
        }
    }

    fn unknown_tag(&self, tag: Option<&Tag>, at: Position) -> Box<Problem> {
        let written = tag.map(Tag::original).unwrap_or_default();
        Box::new(problem(
            at.of(self.file),
            "UnknownTag",
            format!("the tag `{written}` means nothing here"),
            "remove the tag",
        ))
    }

    fn open(&mut self, at: Position, anchor: usize, holds: Holds) -> Outcome<()> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(self.too_deep(at));
        }
        self.stack.push(Open {
            at,
            anchor,
            nodes_before: self.nodes,
            height: 0,
            holds,
        });
        Ok(())
    }

    fn close(&mut self) -> Outcome<()> {
        let Some(open) = self.stack.pop() else {
            return Ok(());
        };
        let content = match open.holds {
            Holds::List(items) => Content::List(items),
            Holds::Map {
                mut entries,
                merges,
                ..
            } => {
                self.merge(&mut entries, merges)?;
                Content::Map(entries)
            }
        };
        let node = Node {
            at: open.at,
            content,
        };
        let nodes = self.nodes - open.nodes_before + 1;
        self.remember(open.anchor, &node, nodes, open.height + 1);
        self.add(node, 1, open.height + 1, None)
    }

    fn alias(&mut self, id: usize, at: Position) -> Outcome<()> {
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(Box::new(problem(
                at.of(self.file),
                "RecursiveAlias",
                "this alias stands inside what it repeats",
                "write the value out",
            )));
        };
        let (nodes, height) = (anchored.nodes, anchored.height);
        if self.nodes.saturating_add(nodes) > MAX_NODES {
            return Err(self.too_many(at));
        }
        if self.stack.len() + height > MAX_DEPTH {
            return Err(self.too_deep(at));
        }
        let node = anchored.node.clone();
        self.add(node, nodes, height, None)
    }

    fn remember(&mut self, anchor: usize, node: &Node, nodes: usize, height: usize) {
        if anchor != 0 {
            let node = node.clone();
            self.anchors.insert(
                anchor,
                Anchored {
                    node,
                    nodes,
                    height,
                },
            );
        }
    }

    /// Puts a finished node where it belongs. `written` is its text when it is a scalar, and thereby could be a key.
    fn add(
        &mut self,
        node: Node,
        nodes: usize,
        height: usize,
        written: Option<(&str, ScalarStyle)>,
    ) -> Outcome<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(self.too_many(node.at));
        }
        let (file, at) = (self.file, node.at);
        let Some(open) = self.stack.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        open.height = open.height.max(height);
        match &mut open.holds {
            Holds::List(items) => items.push(node),
            Holds::Map {
                entries,
                key,
                merges,
            } => match (key.take(), written) {
                (Some((name, ScalarStyle::Plain)), _) if name.text == "<<" => merges.push(node),
                (Some((name, _)), _) => {
                    if let Some((first, _)) =
                        entries.iter().find(|(other, _)| other.text == name.text)
                    {
                        return Err(Box::new(duplicate(file, &name, first)));
                    }
                    entries.push((name, node));
                }
                (None, Some((text, style))) => {
                    *key = Some((
                        Key {
                            at,
                            text: text.to_owned(),
                        },
                        style,
                    ));
                }
                (None, None) => match node.content {
                    Content::Text(text) => {
                        *key = Some((Key { at, text }, ScalarStyle::DoubleQuoted))
                    }
                    _ => {
                        return Err(Box::new(problem(
                            at.of(file),
                            "KeyNotText",
                            format!("a key has to be text, this is {}", node.type_name()),
                            "quote it if it is text (`\"{{ value }}\"`)",
                        )));
                    }
                },
            },
        }
        Ok(())
    }

    /// `<<: *defaults`: entries that the map does not have itself.
    fn merge(&self, entries: &mut Vec<(Key, Node)>, merges: Vec<Node>) -> Outcome<()> {
        for merged in merges {
            let at = merged.at;
            let sources = match merged.content {
                Content::List(items) => items,
                _ => vec![merged],
            };
            for source in sources {
                let Content::Map(inherited) = source.content else {
                    return Err(Box::new(problem(
                        at.of(self.file),
                        "WrongType",
                        "`<<` merges maps only",
                        "point it at a map",
                    )));
                };
                for (key, node) in inherited {
                    if !entries.iter().any(|(own, _)| own.text == key.text) {
                        entries.push((key, node));
                    }
                }
            }
        }
        Ok(())
    }

    fn too_deep(&self, at: Position) -> Box<Problem> {
        Box::new(problem(
            at.of(self.file),
            "TooDeep",
            format!("is nested deeper than {MAX_DEPTH} levels"),
            "flatten it",
        ))
    }

    fn too_many(&self, at: Position) -> Box<Problem> {
        Box::new(problem(
            at.of(self.file),
            "TooManyValues",
            format!("holds more than {MAX_NODES} values, aliases expanded"),
            "split it, or use fewer aliases",
        ))
    }

    fn position(&self, line: usize, column: usize) -> Position {
        let line = u32::try_from(line.max(1)).unwrap_or(u32::MAX);
        Position {
            line: line.saturating_add(self.first_line - 1),
            column: u32::try_from(column.saturating_add(1)).unwrap_or(u32::MAX),
        }
    }
}

fn duplicate(file: &str, key: &Key, first: &Key) -> Problem {
    problem(
        key.at.of(file),
        "DuplicateField",
        format!("`{}` is already set in line {}", key.text, first.at.line),
        "keep one of the two",
    )
}

/// Types a plain scalar as go-yaml does; `None` for numbers that JSON has not.
fn plain(text: &str) -> Option<Content> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Content::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            Content::Bool(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            Content::Bool(false)
        }
        _ => match text.trim_start_matches(['-', '+']) {
            ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => return None,
            _ => match number(text) {
                Numeric::Is(number) => Content::Number(number),
                Numeric::TooLarge => return None,
                Numeric::No => Content::Text(text.to_owned()),
            },
        },
    })
}

enum Numeric {
    Is(Number),
    TooLarge,
    No,
}

fn number(text: &str) -> Numeric {
    let first = text.as_bytes().first().copied().unwrap_or_default();
    if !(first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.')) {
        return Numeric::No;
    }
    let digits = text.replace('_', "");
    if let Some(number) = integer(&digits) {
        return Numeric::Is(number);
    }
    if !is_float(&digits) {
        return Numeric::No;
    }
    match digits.trim_start_matches('+').parse::<f64>() {
        // JSON has one kind of number: 1.0 and 1e3 are whole, as Go writes them.
        Ok(float) if float.fract() == 0.0 && float.abs() < 1e15 => {
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
            let whole = float as i64;
            Numeric::Is(whole.into())
        }
        Ok(float) => Number::from_f64(float).map_or(Numeric::TooLarge, Numeric::Is),
        Err(_) => Numeric::No,
    }
}

/// Signed, with the prefixes of Go's `ParseInt(text, 0, 64)`.
fn integer(text: &str) -> Option<Number> {
    let (negative, magnitude) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !magnitude.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let lower = magnitude.to_ascii_lowercase();
    let (digits, radix) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0o") => (&lower[2..], 8),
        Some("0b") => (&lower[2..], 2),
        Some(prefix) if prefix.starts_with('0') => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if digits.starts_with(['-', '+']) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    match negative {
        false => Some(value.into()),
        true => i64::try_from(-i128::from(value)).ok().map(Number::from),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, the pattern of go-yaml.
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let good_exponent = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    let good_mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && all_digits(fraction),
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    good_mantissa && good_exponent
}
