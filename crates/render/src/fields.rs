//! Reads typed fields out of located maps and collects what is wrong.

use crate::closest::did_you_mean;
use crate::yaml::{Content, Key, Node, Position, problem};
use regraft_model::{Problem, Seconds};
use std::ops::RangeInclusive;

/// Longest excerpt of a person's value in a message, in characters.
const MAX_EXCERPT_CHARS: usize = 60;

/// Reads one file's objects.
pub(crate) struct Reader<'a> {
    pub(crate) file: &'a str,
    pub(crate) problems: Vec<Problem>,
}

/// A map whose fields are known.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    /// How people call it: `spec`.
    path: &'a str,
    at: Position,
    entries: &'a [(Key, Node)],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: &'a str) -> Self {
        Self {
            file,
            problems: Vec::new(),
        }
    }

    pub(crate) fn fail(
        &mut self,
        at: Position,
        reason: &str,
        message: impl Into<String>,
        action: impl Into<String>,
    ) {
        self.problems
            .push(problem(at.of(self.file), reason, message, action));
    }

    /// The fields of a map. Unknown ones are problems at once.
    pub(crate) fn fields<'n>(
        &mut self,
        node: &'n Node,
        path: &'n str,
        known: &[&str],
    ) -> Option<Fields<'n>> {
        let Content::Map(entries) = &node.content else {
            self.wrong_type(node, path, "a map");
            return None;
        };
        for (key, _) in entries
            .iter()
            .filter(|(key, _)| !known.contains(&key.text.as_str()))
        {
            let full = join(path, &key.text);
            self.fail(
                key.at,
                "UnknownField",
                format!(
                    "`{full}` is not a field{}",
                    did_you_mean(&key.text, known.iter().copied())
                ),
                format!("known fields: {}", known.join(", ")),
            );
        }
        Some(Fields {
            path,
            at: node.at,
            entries,
        })
    }

    /// Text; an empty one counts as missing.
    pub(crate) fn text<'n>(
        &mut self,
        fields: Fields<'n>,
        name: &str,
    ) -> Option<(&'n str, Position)> {
        let node = fields.get(name)?;
        match node.text() {
            Some(text) => Some((text, node.at)),
            None => {
                self.wrong_type(node, &join(fields.path, name), "text");
                None
            }
        }
    }

    /// Text that has to be there.
    pub(crate) fn required<'n>(
        &mut self,
        fields: Fields<'n>,
        name: &str,
    ) -> Option<(&'n str, Position)> {
        let missing = match fields.get(name) {
            None => true,
            Some(node) => matches!(&node.content, Content::Text(text) if text.is_empty()),
        };
        if missing {
            self.missing(fields, name);
            return None;
        }
        self.text(fields, name)
    }

    pub(crate) fn missing(&mut self, fields: Fields<'_>, name: &str) {
        let full = join(fields.path, name);
        self.fail(
            fields.at,
            "MissingField",
            format!("`{full}` is missing"),
            format!("add `{full}`"),
        );
    }

    pub(crate) fn flag(&mut self, fields: Fields<'_>, name: &str) -> Option<bool> {
        let node = fields.get(name)?;
        match node.content {
            Content::Bool(flag) => Some(flag),
            _ => {
                self.wrong_type(node, &join(fields.path, name), "true or false");
                None
            }
        }
    }

    pub(crate) fn number(
        &mut self,
        fields: Fields<'_>,
        name: &str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let node = fields.get(name)?;
        let full = join(fields.path, name);
        let wanted = match *range.end() {
            u32::MAX => format!("at least {}", range.start()),
            end => format!("from {} to {end}", range.start()),
        };
        let Content::Number(number) = &node.content else {
            self.wrong_type(node, &full, &format!("a whole number {wanted}"));
            return None;
        };
        let value = number.as_u64().and_then(|value| u32::try_from(value).ok());
        if let Some(value) = value.filter(|value| range.contains(value)) {
            return Some(value);
        }
        self.fail(
            node.at,
            "OutOfRange",
            format!("`{full}` is {number}"),
            format!("write a whole number {wanted}"),
        );
        None
    }

    pub(crate) fn duration(
        &mut self,
        fields: Fields<'_>,
        name: &str,
        range: RangeInclusive<Seconds>,
    ) -> Option<Seconds> {
        let node = fields.get(name)?;
        let full = join(fields.path, name);
        let Some(text) = node.text() else {
            self.wrong_type(node, &full, "a duration such as 90s, 2m or 1h30m");
            return None;
        };
        let Some(span) = Seconds::parse(text) else {
            self.fail(
                node.at,
                "NotADuration",
                format!("`{full}` is `{}`, which is no duration", excerpt(text)),
                "write it as 90s, 2m or 1h30m",
            );
            return None;
        };
        if range.contains(&span) {
            return Some(span);
        }
        self.fail(
            node.at,
            "OutOfRange",
            format!("`{full}` is {span}"),
            format!("write a duration from {} to {}", range.start(), range.end()),
        );
        None
    }

    /// One of some words, in any case.
    pub(crate) fn word<T: Copy>(
        &mut self,
        fields: Fields<'_>,
        name: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let (text, at) = self.text(fields, name)?;
        if let Some((_, value)) = words
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text))
        {
            return Some(*value);
        }
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let full = join(fields.path, name);
        self.fail(
            at,
            "UnknownValue",
            format!(
                "`{full}` is `{}`{}",
                excerpt(text),
                did_you_mean(text, known.iter().copied())
            ),
            format!("write one of: {}", known.join(", ")),
        );
        None
    }

    /// A list of texts.
    pub(crate) fn texts<'n>(
        &mut self,
        fields: Fields<'n>,
        name: &str,
    ) -> Option<Vec<(&'n str, Position)>> {
        let node = fields.get(name)?;
        let full = join(fields.path, name);
        let Content::List(items) = &node.content else {
            self.wrong_type(node, &full, "a list of names");
            return None;
        };
        let mut texts = Vec::new();
        for item in items {
            match item.text() {
                Some(text) => texts.push((text, item.at)),
                None => self.wrong_type(item, &format!("{full}[]"), "text"),
            }
        }
        Some(texts)
    }

    pub(crate) fn wrong_type(&mut self, node: &Node, path: &str, wanted: &str) {
        let hint = match (&node.content, wanted) {
            (Content::Bool(_) | Content::Number(_), "text") => "quote it",
            _ => "correct the value",
        };
        let path = if path.is_empty() {
            "the document"
        } else {
            path
        };
        self.fail(
            node.at,
            "WrongType",
            format!("`{path}` has to be {wanted}, this is {}", node.type_name()),
            hint,
        );
    }
}

impl<'a> Fields<'a> {
    /// The value, when it is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Node> {
        self.entries
            .iter()
            .find(|(key, _)| key.text == name)
            .map(|(_, node)| node)
            .filter(|node| node.content != Content::Null)
    }

    pub(crate) fn at(&self) -> Position {
        self.at
    }
}

/// A person's value, cut so that a message stays a line.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(MAX_EXCERPT_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
    .replace(['\n', '\r'], " ")
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}
