//! Parser events to located nodes, with aliases and merges resolved and everything bounded.

use super::scalar::plain;
use super::{Content, Key, Node, Position, problem};
use regraft_model::Problem;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, Tag, options};
use std::collections::{BTreeMap, BTreeSet};

/// Deepest nesting, aliases expanded. The deepest CRD schemas in use stay below 60.
const MAX_DEPTH: usize = 100;
/// Most values of all documents that are read together, aliases expanded: far above what the largest applications have,
/// far below what would hurt.
pub(crate) const MAX_NODES: usize = 2_000_000;

/// Builds nodes from the events of one chunk.
pub(super) struct Builder<'a> {
    file: &'a str,
    first_line: u32,
    stack: Vec<Open>,
    anchors: BTreeMap<usize, Anchored>,
    /// Values that are read, of at most `room`.
    nodes: usize,
    room: usize,
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
    pub(super) fn new(file: &'a str, first_line: u32, room: usize) -> Self {
        Self {
            file,
            first_line,
            stack: Vec::new(),
            anchors: BTreeMap::new(),
            nodes: 0,
            room,
            documents: Vec::new(),
        }
    }

    /// How many values were read.
    pub(super) fn nodes(&self) -> usize {
        self.nodes
    }

    pub(super) fn read(&mut self, text: &str) -> Outcome<Vec<Node>> {
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
                self.expect_distinct(&entries)?;
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
        if self.nodes.saturating_add(nodes) > self.room {
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
        if self.nodes > self.room {
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
                (Some((name, _)), _) => entries.push((name, node)),
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

    fn expect_distinct(&self, entries: &[(Key, Node)]) -> Outcome<()> {
        let mut first = BTreeMap::new();
        for (key, _) in entries {
            if let Some(first) = first.insert(key.text.as_str(), key) {
                return Err(Box::new(duplicate(self.file, key, first)));
            }
        }
        Ok(())
    }

    /// `<<: *defaults`: entries that the map does not have itself.
    fn merge(&self, entries: &mut Vec<(Key, Node)>, merges: Vec<Node>) -> Outcome<()> {
        if merges.is_empty() {
            return Ok(());
        }
        let mut known: BTreeSet<String> = entries.iter().map(|(own, _)| own.text.clone()).collect();
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
                    if known.insert(key.text.clone()) {
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
            format!("with it, more than {MAX_NODES} values are read together, aliases expanded"),
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
