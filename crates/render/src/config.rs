//! `.regraft/*.yaml` to the fleet: clusters, applications, policies, with every reference resolved.

use crate::closest::did_you_mean;
use crate::fields::{Fields, Reader, excerpt};
use crate::policy::{MODES, POLICY_FIELDS, policy};
use crate::yaml::{Content, MAX_NODES, Node, Position, documents, problem};
use regraft_model::config::{
    Application, CONFIG_API_VERSION, CONFIG_FOLDER, ClusterSpec, Conflicts, DeletionPolicy, Fleet,
    Mode, Policy, Prune,
};
use regraft_model::source::FileMode;
use regraft_model::{ApplicationName, ClusterName, Location, Problem, RepositoryName, SourceTree};
use std::collections::{BTreeMap, BTreeSet};

const KINDS: &[&str] = &["Cluster", "Application", "Policy"];
const APPLICATION_FIELDS: &[&str] = &[
    "path",
    "clusters",
    "policy",
    "namespace",
    "mode",
    "prune",
    "conflicts",
    "suspend",
    "deletionPolicy",
];
const CLUSTER_FIELDS: &[&str] = &["credentials", "suspend"];
/// Longest name: it becomes the value of a label.
const MAX_NAME_CHARS: usize = 63;
/// Name of the policy of applications that name none: the built-in one unless the repository has its own.
const DEFAULT_POLICY: &str = "default";

/// Reads the configuration of a repository. What has a problem is left out; so is what refers to it.
pub fn configuration(repository: &RepositoryName, files: &SourceTree) -> (Fleet, Vec<Problem>) {
    let (documents, mut problems) = read(files);
    let mut drafts = Vec::new();
    for (file, node) in &documents {
        let mut reader = Reader::new(file);
        drafts.extend(draft(&mut reader, file, node));
        problems.append(&mut reader.problems);
    }
    let mut names = Names::default();
    let mut fleet = Fleet::default();
    drafts.retain(|draft| names.claim(draft, &mut problems));
    for draft in drafts.iter().filter(|draft| draft.kind == "Policy") {
        if let Some(read) = draft.read(&mut problems, POLICY_FIELDS, |reader, fields| {
            policy(reader, draft.name, fields)
        }) {
            names.policies.insert(draft.name, read);
        }
    }
    for draft in drafts.iter().filter(|draft| draft.kind == "Cluster") {
        let spec = draft.read(&mut problems, CLUSTER_FIELDS, |reader, fields| {
            cluster(reader, draft.name, fields)
        });
        if let Some(spec) = spec {
            fleet.clusters.insert(ClusterName::from(draft.name), spec);
        }
    }
    for draft in drafts.iter().filter(|draft| draft.kind == "Application") {
        let read = draft.read(&mut problems, APPLICATION_FIELDS, |reader, fields| {
            application(reader, repository, draft, fields, &names, &fleet)
        });
        if let Some(Some(application)) = read {
            fleet
                .applications
                .insert(application.name.clone(), application);
        }
    }
    problems.sort();
    (fleet, problems)
}

/// All documents below the configuration folder.
fn read(files: &SourceTree) -> (Vec<(String, Node)>, Vec<Problem>) {
    let (mut all, mut problems, mut room) = (Vec::new(), Vec::new(), MAX_NODES);
    let prefix = format!("{CONFIG_FOLDER}/");
    for (path, file) in files
        .files
        .iter()
        .filter(|(path, _)| path.starts_with(&prefix))
    {
        if !(path.ends_with(".yaml") || path.ends_with(".yml")) {
            continue;
        }
        if file.mode == FileMode::Link {
            problems.push(link(path));
            continue;
        }
        let (nodes, mut found) = documents(path, &file.bytes, &mut room);
        problems.append(&mut found);
        all.extend(
            nodes
                .into_iter()
                .filter(|node| node.content != Content::Null)
                .map(|node| (path.clone(), node)),
        );
    }
    (all, problems)
}

/// Links are never followed: they could point out of the repository.
pub(crate) fn link(path: &str) -> Problem {
    problem(
        Position::default().of(path),
        "Link",
        "is a symbolic link, which is not followed",
        "commit the file itself",
    )
}

/// An object of the configuration whose name is known and whose spec is not read yet.
struct Draft<'a> {
    file: &'a str,
    at: Position,
    kind: &'a str,
    name: &'a str,
    name_at: Position,
    spec: Option<&'a Node>,
}

impl Draft<'_> {
    fn location(&self) -> Location {
        self.at.of(self.file)
    }

    /// What `parse` makes of the spec, unless it had problems.
    fn read<T>(
        &self,
        problems: &mut Vec<Problem>,
        known: &[&str],
        parse: impl FnOnce(&mut Reader<'_>, Fields<'_>) -> T,
    ) -> Option<T> {
        let mut reader = Reader::new(self.file);
        // An object without a spec has every default, and misses what it has to say.
        let empty = Node {
            at: self.at,
            content: Content::Map(Vec::new()),
        };
        let value = reader
            .fields(self.spec.unwrap_or(&empty), "spec", known)
            .map(|fields| parse(&mut reader, fields));
        let good = reader.problems.is_empty();
        problems.append(&mut reader.problems);
        value.filter(|_| good)
    }
}

fn draft<'n>(reader: &mut Reader<'_>, file: &'n str, node: &'n Node) -> Option<Draft<'n>> {
    let fields = reader.fields(node, "", &["apiVersion", "kind", "metadata", "spec"])?;
    if let Some((version, at)) = reader.required(fields, "apiVersion")
        && version != CONFIG_API_VERSION
    {
        reader.fail(
            at,
            "WrongApiVersion",
            format!("`apiVersion` is `{}`", excerpt(version)),
            format!("write `apiVersion: {CONFIG_API_VERSION}`"),
        );
    }
    let kind = reader.required(fields, "kind");
    if let Some((kind, at)) = kind
        && !KINDS.contains(&kind)
    {
        reader.fail(
            at,
            "UnknownKind",
            format!(
                "`{}` is not a kind{}",
                excerpt(kind),
                did_you_mean(kind, KINDS.iter().copied())
            ),
            format!("known kinds in {CONFIG_FOLDER}: {}", KINDS.join(", ")),
        );
    }
    let Some(metadata) = fields.get("metadata") else {
        reader.missing(fields, "metadata.name");
        return None;
    };
    let metadata = reader.fields(
        metadata,
        "metadata",
        &["name", "namespace", "labels", "annotations"],
    )?;
    let name = reader.required(metadata, "name");
    if let Some((name, at)) = name {
        check_name(reader, "metadata.name", name, at);
    }
    let ((kind, _), (name, name_at)) = (kind?, name?);
    reader.problems.is_empty().then_some(Draft {
        file,
        at: fields.at(),
        kind,
        name,
        name_at,
        spec: fields.get("spec"),
    })
}

/// Names taken so far, and the policies that could be read.
#[derive(Default)]
struct Names<'a> {
    taken: BTreeMap<(&'a str, &'a str), Location>,
    policies: BTreeMap<&'a str, (Policy, Option<Mode>)>,
}

impl<'a> Names<'a> {
    fn claim(&mut self, draft: &Draft<'a>, problems: &mut Vec<Problem>) -> bool {
        if let Some(first) = self.taken.get(&(draft.kind, draft.name)) {
            problems.push(problem(
                draft.name_at.of(draft.file),
                "DuplicateName",
                format!("{} `{}` already exists in {first}", draft.kind, draft.name),
                "rename or remove one of the two",
            ));
            return false;
        }
        self.taken
            .insert((draft.kind, draft.name), draft.location());
        true
    }

    /// Says why a reference leads nowhere.
    fn unknown(&self, reader: &mut Reader<'_>, kind: &str, name: &str, at: Position) {
        if let Some(place) = self.taken.get(&(kind, name)) {
            reader.fail(
                at,
                "BrokenReference",
                format!("the {kind} `{name}` in {place} has problems itself"),
                format!("correct the {kind} `{name}`"),
            );
            return;
        }
        let known: Vec<_> = self
            .taken
            .keys()
            .filter(|(other, _)| *other == kind)
            .map(|(_, name)| *name)
            .collect();
        let listed = match known.is_empty() {
            true => "there are none".to_owned(),
            false => format!("known: {}", known.join(", ")),
        };
        reader.fail(
            at,
            "UnknownReference",
            format!(
                "there is no {kind} `{}`{}",
                excerpt(name),
                did_you_mean(name, known.iter().copied())
            ),
            format!("add it to {CONFIG_FOLDER} or name another one ({listed})"),
        );
    }
}

fn cluster(reader: &mut Reader<'_>, name: &str, fields: Fields<'_>) -> ClusterSpec {
    let credentials = reader
        .text(fields, "credentials")
        .map_or(name, |(text, _)| text);
    ClusterSpec {
        credentials: credentials.to_owned(),
        suspend: reader.flag(fields, "suspend").unwrap_or_default(),
    }
}

fn application(
    reader: &mut Reader<'_>,
    repository: &RepositoryName,
    draft: &Draft<'_>,
    fields: Fields<'_>,
    names: &Names<'_>,
    fleet: &Fleet,
) -> Option<Application> {
    let path = reader
        .required(fields, "path")
        .and_then(|(path, at)| safe_path(reader, path, at));
    let clusters = clusters(reader, fields, names, fleet);
    let (policy, policy_mode) = named_policy(reader, fields, names);
    let namespace = reader.text(fields, "namespace");
    if let Some((namespace, at)) = namespace {
        check_name(reader, "spec.namespace", namespace, at);
    }
    let mode = reader
        .word(fields, "mode", MODES)
        .or(policy_mode)
        .unwrap_or_default();
    let prune = match reader.flag(fields, "prune") {
        Some(true) => Prune::Delete,
        _ => Prune::Keep,
    };
    let conflicts = [("Refuse", Conflicts::Refuse), ("Force", Conflicts::Force)];
    let deletion = [
        ("Orphan", DeletionPolicy::Orphan),
        ("Delete", DeletionPolicy::Delete),
    ];
    Some(Application {
        name: ApplicationName::from(draft.name),
        repository: repository.clone(),
        location: draft.location(),
        mode,
        prune,
        conflicts: reader
            .word(fields, "conflicts", &conflicts)
            .unwrap_or_default(),
        suspend: reader.flag(fields, "suspend").unwrap_or_default(),
        deletion: reader
            .word(fields, "deletionPolicy", &deletion)
            .unwrap_or_default(),
        namespace: namespace
            .map_or("default", |(namespace, _)| namespace)
            .to_owned(),
        path: path?,
        clusters: clusters?,
        policy,
    })
}

/// The policy that an application names and the mode that says; without a name the one called `default`, which need
/// not exist.
fn named_policy(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    names: &Names<'_>,
) -> (Policy, Option<Mode>) {
    let told = reader.text(fields, "policy");
    let (name, at) = told.unwrap_or((DEFAULT_POLICY, fields.at()));
    if let Some(found) = names.policies.get(name) {
        return found.clone();
    }
    // What is there and is no text is told of already.
    let is_readable = told.is_some() || fields.get("policy").is_none();
    let is_default = name == DEFAULT_POLICY && !names.taken.contains_key(&("Policy", name));
    if is_readable && !is_default {
        names.unknown(reader, "Policy", name, at);
    }
    Default::default()
}

fn clusters(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    names: &Names<'_>,
    fleet: &Fleet,
) -> Option<Vec<ClusterName>> {
    if fields.get("clusters").is_none() {
        reader.missing(fields, "clusters");
        return None;
    }
    let listed = reader.texts(fields, "clusters")?;
    if listed.is_empty() {
        reader.missing(fields, "clusters");
    }
    let mut seen = BTreeSet::new();
    for (name, at) in &listed {
        if !seen.insert(*name) {
            reader.fail(
                *at,
                "DuplicateName",
                format!("`spec.clusters` names `{}` twice", excerpt(name)),
                "remove one of the two",
            );
        } else if !fleet.clusters.contains_key(&ClusterName::from(*name)) {
            names.unknown(reader, "Cluster", name, *at);
        }
    }
    Some(seen.into_iter().map(ClusterName::from).collect())
}

/// The path without slashes at its ends; a problem when it leads out of the repository, or into our own folder.
fn safe_path(reader: &mut Reader<'_>, path: &str, at: Position) -> Option<String> {
    let parts: Vec<_> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let wrong = if path.starts_with('/') {
        "is absolute"
    } else if parts.contains(&"..") {
        "leads upwards"
    } else if path.contains(['\\', '\0', '\n']) {
        "has characters that no path should have"
    } else if parts.is_empty() {
        "is the whole repository, and with it the configuration itself"
    } else if parts[0] == CONFIG_FOLDER || parts[0] == ".git" {
        "is not a place for manifests"
    } else {
        return Some(parts.join("/"));
    };
    reader.fail(
        at,
        "UnsafePath",
        format!("`spec.path` `{}` {wrong}", excerpt(path)),
        "name a directory below the root of the repository, such as `apps/shop`",
    );
    None
}

/// RFC 1123 label: it becomes part of labels, branches and file names.
fn check_name(reader: &mut Reader<'_>, field: &str, name: &str, at: Position) {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = name.len() <= MAX_NAME_CHARS
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.is_empty();
    if !good {
        reader.fail(
            at,
            "InvalidName",
            format!("`{field}` is `{}`", excerpt(name)),
            format!(
                "use lower case letters, digits and `-` inside, at most {MAX_NAME_CHARS} characters"
            ),
        );
    }
}
