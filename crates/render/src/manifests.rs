//! The manifests of one application to objects.

use crate::config::link;
use crate::fields::{Reader, excerpt};
use crate::scopes::KindScopes;
use crate::yaml::{Content, Key, MAX_NODES, Node, Position, documents, problem};
use regraft_model::apply::KindScope;
use regraft_model::config::Application;
use regraft_model::object::{APPLICATION_LABEL, DIGEST_ANNOTATION, INSTALLATION_ANNOTATION};
use regraft_model::source::FileMode;
use regraft_model::{Location, Object, ObjectKey, Problem, Severity, SourceTree};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most objects of one application; more belong into several.
pub const MAX_OBJECTS: usize = 10_000;
/// Deepest nesting of `List` objects.
const MAX_LIST_DEPTH: usize = 4;
/// Fields of the metadata that the server writes.
const SERVER_FIELDS: &[&str] = &[
    "managedFields",
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "generation",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];
/// Labels and annotations that only regraft writes.
const OUR_MARKS: &[&str] = &[
    APPLICATION_LABEL,
    INSTALLATION_ANNOTATION,
    DIGEST_ANNOTATION,
];

/// What the manifests of an application say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// The objects, in the order of their files.
    pub objects: Vec<RenderedObject>,
    /// What is wrong. An error means that `objects` is not all there is: nothing may be pruned.
    pub problems: Vec<Problem>,
}

/// One object and where it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderedObject {
    /// The object, with its namespace.
    pub object: Object,
    /// Where its document begins.
    pub location: Location,
}

/// Reads all YAML and JSON files below the application's path, sub-directories included, in the order of their paths.
/// Files and directories whose name begins with a dot are left alone.
pub fn manifests(application: &Application, tree: &SourceTree) -> Rendered {
    let mut render = Render {
        room: MAX_NODES,
        ..Render::default()
    };
    let prefix = format!("{}/", application.path);
    for (path, file) in &tree.files {
        let Some(below) = path.strip_prefix(&prefix) else {
            continue;
        };
        if !is_manifest(below) {
            continue;
        }
        render.files += 1;
        match file.mode {
            FileMode::Link => render.problems.push(link(path)),
            FileMode::Regular | FileMode::Executable => render.file(path, &file.bytes),
        }
    }
    render.finish(application)
}

fn is_manifest(below: &str) -> bool {
    let hidden = below.split('/').any(|part| part.starts_with('.'));
    let known = [".yaml", ".yml", ".json"]
        .iter()
        .any(|ending| below.ends_with(ending));
    known && !hidden
}

#[derive(Default)]
struct Render {
    /// Values that may still be read.
    room: usize,
    files: usize,
    found: Vec<RenderedObject>,
    problems: Vec<Problem>,
}

impl Render {
    fn file(&mut self, path: &str, bytes: &[u8]) {
        let name = path.rsplit('/').next().unwrap_or(path);
        if let Some(tool) = foreign_tool(name) {
            self.problems
                .push(not_plain(Position::default().of(path), tool));
            return;
        }
        let (nodes, mut problems) = documents(path, bytes, &mut self.room);
        self.problems.append(&mut problems);
        for node in nodes
            .into_iter()
            .filter(|node| node.content != Content::Null)
        {
            self.document(path, node, 0);
        }
    }

    /// An object, or a list of them.
    fn document(&mut self, path: &str, node: Node, depth: usize) {
        let is_list = node
            .get("kind")
            .and_then(Node::text)
            .is_some_and(|kind| kind.ends_with("List"))
            && matches!(
                node.get("items").map(|items| &items.content),
                Some(Content::List(_) | Content::Null)
            );
        if !is_list {
            self.object(path, node);
            return;
        }
        if depth >= MAX_LIST_DEPTH {
            self.problems.push(problem(
                node.at.of(path),
                "TooDeep",
                format!("lists inside lists, more than {MAX_LIST_DEPTH} deep"),
                "flatten them",
            ));
            return;
        }
        let Content::Map(entries) = node.content else {
            return;
        };
        for (_, items) in entries.into_iter().filter(|(key, _)| key.text == "items") {
            if let Content::List(items) = items.content {
                for item in items {
                    self.document(path, item, depth + 1);
                }
            }
        }
    }

    fn object(&mut self, path: &str, mut node: Node) {
        let mut reader = Reader::new(path);
        check(&mut reader, &node);
        let good = reader.problems.is_empty();
        self.problems.append(&mut reader.problems);
        if !good {
            return;
        }
        self.strip(path, &mut node);
        let location = node.at.of(path);
        self.found.push(RenderedObject {
            object: Object(node.into_value()),
            location,
        });
    }

    /// Takes out what the server and regraft write; a person who put it there is told.
    fn strip(&mut self, path: &str, node: &mut Node) {
        let Content::Map(entries) = &mut node.content else {
            return;
        };
        let mut stripped = take(entries, "", |key| key == "status");
        for (key, value) in entries.iter_mut() {
            let Content::Map(metadata) = &mut value.content else {
                continue;
            };
            if key.text != "metadata" {
                continue;
            }
            stripped.extend(take(metadata, "metadata.", |key| {
                SERVER_FIELDS.contains(&key)
            }));
            for (folder, marks) in metadata.iter_mut() {
                let (name, Content::Map(marks)) = (folder.text.as_str(), &mut marks.content) else {
                    continue;
                };
                if matches!(name, "labels" | "annotations") {
                    stripped.extend(take(marks, &format!("metadata.{name}."), |key| {
                        OUR_MARKS.contains(&key)
                    }));
                }
            }
        }
        self.problems
            .extend(stripped.into_iter().map(|(field, at)| Problem {
                severity: Severity::Warning,
                ..problem(
                    at.of(path),
                    "NotYours",
                    format!("`{field}` is written by the server or by regraft, and left out"),
                    "remove it from the file",
                )
            }));
    }

    fn finish(mut self, application: &Application) -> Rendered {
        if self.found.len() > MAX_OBJECTS {
            self.problems.push(problem(
                application.location.clone(),
                "TooManyObjects",
                format!(
                    "`{}` has {} objects, more than {MAX_OBJECTS}",
                    application.path,
                    self.found.len()
                ),
                "split the application",
            ));
            self.found.truncate(MAX_OBJECTS);
        }
        let mut scopes = KindScopes::default();
        for rendered in &self.found {
            scopes.tell_crd(&rendered.object);
        }
        let (mut objects, mut first) = (Vec::new(), BTreeMap::<ObjectKey, Location>::new());
        for mut rendered in self.found {
            self.problems
                .extend(place(&mut rendered, &application.namespace, &scopes));
            let key = rendered.object.key();
            if let Some(other) = first.get(&key) {
                self.problems.push(problem(
                    rendered.location,
                    "DuplicateObject",
                    format!("{key} is already in {other}"),
                    "remove one of the two",
                ));
                continue;
            }
            first.insert(key, rendered.location.clone());
            objects.push(rendered);
        }
        if objects.is_empty()
            && self
                .problems
                .iter()
                .all(|problem| problem.severity < Severity::Error)
        {
            let what = match self.files {
                0 => "has no YAML or JSON files",
                _ => "has no objects in its files",
            };
            self.problems.push(problem(
                application.location.clone(),
                "NothingToApply",
                format!("`{}` {what}", application.path),
                "correct `spec.path`, or remove the Application to remove everything",
            ));
        }
        self.problems.sort();
        Rendered {
            objects,
            problems: self.problems,
        }
    }
}

/// Takes entries out of a map; tells those that said something.
fn take(
    entries: &mut Vec<(Key, Node)>,
    path: &str,
    which: impl Fn(&str) -> bool,
) -> Vec<(String, Position)> {
    let mut said = Vec::new();
    entries.retain(|(key, value)| {
        let taken = which(&key.text);
        let empty = match &value.content {
            Content::Null => true,
            Content::Map(inner) => inner.iter().all(|(_, node)| node.content == Content::Null),
            _ => false,
        };
        if taken && !empty {
            said.push((format!("{path}{}", key.text), key.at));
        }
        !taken
    });
    said
}

/// What every object must have.
fn check(reader: &mut Reader<'_>, node: &Node) {
    let Content::Map(entries) = &node.content else {
        reader.fail(
            node.at,
            "NotAnObject",
            format!("a Kubernetes object is a map, this is {}", node.type_name()),
            "write apiVersion, kind and metadata, or move the file out of the application's path",
        );
        return;
    };
    if entries.iter().any(|(key, _)| key.text == "sops") {
        reader.fail(
            node.at,
            "Encrypted",
            "is encrypted with SOPS, which is not decrypted here",
            "commit what the cluster should get, or let an operator in the cluster make the Secret",
        );
        return;
    }
    let api_version = required(reader, node.at, "apiVersion", node.get("apiVersion"));
    let kind = required(reader, node.at, "kind", node.get("kind"));
    if let Some((version, at)) = api_version {
        if version.starts_with("kustomize.config.k8s.io/") {
            reader
                .problems
                .push(not_plain(at.of(reader.file), "kustomize"));
            return;
        }
        if version.starts_with("regraft.dev/") {
            reader.fail(
                at,
                "Misplaced",
                format!(
                    "a {} of regraft is configuration",
                    kind.map_or("kind", |(kind, _)| kind)
                ),
                "move it to `.regraft/`",
            );
        }
    }
    let metadata = match node.get("metadata") {
        Some(metadata) if matches!(metadata.content, Content::Map(_)) => metadata,
        Some(other) if other.content != Content::Null => {
            reader.wrong_type(other, "metadata", "a map");
            return;
        }
        _ => {
            reader.fail(
                node.at,
                "MissingField",
                "`metadata.name` is missing",
                "add `metadata.name`",
            );
            return;
        }
    };
    check_metadata(reader, metadata);
}

fn check_metadata(reader: &mut Reader<'_>, metadata: &Node) {
    match (metadata.get("name"), metadata.get("generateName")) {
        (None, Some(generated)) => reader.fail(
            generated.at,
            "GeneratedName",
            "`metadata.generateName` makes a new object at every apply",
            "give it a `metadata.name`",
        ),
        (name, _) => {
            if let Some((name, at)) = required(reader, metadata.at, "metadata.name", name)
                && (name.contains(['/', '%', '\n', ' ']) || name == "." || name == "..")
            {
                reader.fail(
                    at,
                    "InvalidName",
                    format!("`metadata.name` is `{}`", excerpt(name)),
                    "use lower case letters, digits, `-` and `.`",
                );
            }
        }
    }
    if let Some(namespace) = metadata.get("namespace")
        && !matches!(namespace.content, Content::Text(_) | Content::Null)
    {
        reader.wrong_type(namespace, "metadata.namespace", "text");
    }
    for folder in ["labels", "annotations"] {
        let path = format!("metadata.{folder}");
        match metadata.get(folder).map(|node| (node, &node.content)) {
            None | Some((_, Content::Null)) => {}
            Some((_, Content::Map(entries))) => {
                for (key, value) in entries {
                    if !matches!(value.content, Content::Text(_) | Content::Null) {
                        reader.wrong_type(value, &format!("{path}.{}", excerpt(&key.text)), "text");
                    }
                }
            }
            Some((node, _)) => reader.wrong_type(node, &path, "a map"),
        }
    }
}

fn required<'n>(
    reader: &mut Reader<'_>,
    at: Position,
    path: &str,
    value: Option<&'n Node>,
) -> Option<(&'n str, Position)> {
    match value.map(|node| (&node.content, node)) {
        Some((Content::Text(text), node)) if !text.is_empty() => Some((text, node.at)),
        None | Some((Content::Null | Content::Text(_), _)) => {
            reader.fail(
                at,
                "MissingField",
                format!("`{path}` is missing"),
                format!("add `{path}`"),
            );
            None
        }
        Some((_, node)) => {
            reader.wrong_type(node, path, "text");
            None
        }
    }
}

/// Puts the default namespace in, or takes out one that cannot be.
fn place(rendered: &mut RenderedObject, namespace: &str, scopes: &KindScopes) -> Option<Problem> {
    let object = &rendered.object;
    let (given, scope) = (
        object.namespace().to_owned(),
        scopes.of(object.group(), object.kind()),
    );
    let kind = object.kind().to_owned();
    let metadata = rendered.object.0.get_mut("metadata")?.as_object_mut()?;
    match (scope, given.as_str()) {
        (KindScope::Namespaced, "") => {
            metadata.insert("namespace".to_owned(), Value::String(namespace.to_owned()));
            None
        }
        (KindScope::Namespaced, _) => None,
        (KindScope::Cluster, "") => {
            metadata.remove("namespace");
            None
        }
        (KindScope::Cluster, _) => {
            metadata.remove("namespace");
            Some(Problem {
                severity: Severity::Warning,
                ..problem(
                    rendered.location.clone(),
                    "NotNamespaced",
                    format!(
                        "a {kind} has no namespace; `{}` is left out",
                        excerpt(&given)
                    ),
                    "remove `metadata.namespace`",
                )
            })
        }
    }
}

/// The tool whose input a file is, by its name.
fn foreign_tool(name: &str) -> Option<&'static str> {
    match name {
        "kustomization.yaml" | "kustomization.yml" => Some("kustomize"),
        "Chart.yaml" => Some("Helm"),
        _ => None,
    }
}

fn not_plain(location: Location, tool: &str) -> Problem {
    problem(
        location,
        "NotPlain",
        format!("is input for {tool}, which is not run here: only plain manifests are applied"),
        format!("commit the output of {tool}, or move it out of the application's path"),
    )
}
