//! What Git says now: heads, the configuration that holds, and each application's rendered objects.

use regraft_diff::stamp;
use regraft_model::apply::KindVersion;
use regraft_model::config::{Application, Fleet};
use regraft_model::git::Snapshot;
use regraft_model::id::{ApplicationName, ClusterName, RepositoryName};
use regraft_model::object::{Object, ObjectKey};
use regraft_model::problem::{Problem, Severity};
use regraft_model::source::{Revision, SourceTree, TreeId};
use regraft_model::time::Timestamp;
use regraft_render::{configuration, inputs_of, manifests};
use regraft_state::record::Configuration;
use std::collections::{BTreeMap, BTreeSet};

/// One tracked branch.
#[derive(Debug, Default)]
pub(crate) struct Tracked {
    /// The snapshot of the newest revision that could be read.
    pub(crate) snapshot: Option<Snapshot>,
    /// What its configuration says, valid or not.
    pub(crate) parsed: Fleet,
    /// What is wrong with its configuration.
    pub(crate) problems: Vec<Problem>,
    /// Why the remote or a revision cannot be read: what is known of Git may be old. One application's files that
    /// cannot be read are told of with the application, and stop only that.
    pub(crate) unreadable: Option<String>,
    /// When the remote was last asked.
    pub(crate) asked_at: Option<Timestamp>,
    /// The recorded head it was asked about.
    pub(crate) asked_about: Option<Revision>,
    /// The log index that was applied when it was last asked.
    pub(crate) asked_with: u64,
    /// The tip it told last, and the log index that was applied when it was asked for that.
    pub(crate) told: Option<(u64, Revision)>,
}

impl Tracked {
    pub(crate) fn take(&mut self, repository: &RepositoryName, snapshot: Snapshot) {
        let (parsed, problems) = configuration(repository, &snapshot.config);
        self.parsed = parsed;
        self.problems = problems;
        self.unreadable = None;
        self.snapshot = Some(snapshot);
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.problems
            .iter()
            .all(|problem| problem.severity == Severity::Warning)
    }

    pub(crate) fn revision(&self) -> Option<&Revision> {
        self.snapshot.as_ref().map(|snapshot| &snapshot.revision)
    }

    /// The tree at an application's path.
    pub(crate) fn tree(&self, application: &Application) -> Option<&TreeId> {
        self.snapshot.as_ref()?.trees.get(&application.path)
    }

    /// The configuration that holds: what is valid now, and for what is not, its last valid form.
    pub(crate) fn effective(&self, recorded: Option<&Configuration>, basis: Basis) -> Effective {
        let mut effective = Effective {
            basis,
            fleet: self.parsed.clone(),
            kept: BTreeMap::new(),
        };
        let (false, Some(recorded)) = (self.is_valid() && self.snapshot.is_some(), recorded) else {
            return effective;
        };
        let why = match self.problems.iter().find(|p| p.severity == Severity::Error) {
            Some(problem) => problem.to_string(),
            None => "the configuration could not be read yet".to_owned(),
        };
        for (name, cluster) in &recorded.fleet.clusters {
            effective
                .fleet
                .clusters
                .entry(name.clone())
                .or_insert_with(|| cluster.clone());
        }
        for (name, application) in &recorded.fleet.applications {
            if !effective.fleet.applications.contains_key(name) {
                effective
                    .fleet
                    .applications
                    .insert(name.clone(), application.clone());
                effective.kept.insert(name.clone(), why.clone());
            }
        }
        effective
    }
}

/// The revision that was read, and that of the last valid configuration.
pub(crate) type Basis = (Option<Revision>, Option<Revision>);

/// The configuration that holds for one repository.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effective {
    /// What it was derived from.
    pub(crate) basis: Basis,
    /// What it says.
    pub(crate) fleet: Fleet,
    /// Applications kept in their last valid form, and why: their healing is stopped.
    pub(crate) kept: BTreeMap<ApplicationName, String>,
}

/// An application's files, rendered.
#[derive(Debug)]
pub(crate) struct Rendered {
    /// Tree they came from.
    pub(crate) tree: TreeId,
    /// A revision that has this tree.
    pub(crate) revision: Revision,
    /// Configuration they were rendered with.
    pub(crate) application: Application,
    /// Installation they were stamped with.
    pub(crate) installation: String,
    /// Stamped objects.
    pub(crate) objects: Vec<Object>,
    /// What is wrong.
    pub(crate) problems: Vec<Problem>,
    /// Their kinds.
    pub(crate) kinds: BTreeSet<KindVersion>,
    /// Digest of the inputs of each workload.
    pub(crate) inputs: BTreeMap<ObjectKey, String>,
    /// Blob by path, to see that a person put something back.
    pub(crate) files: SourceTree,
}

impl Rendered {
    pub(crate) fn new(
        application: &Application,
        installation: &str,
        tree: TreeId,
        mut files: SourceTree,
    ) -> Self {
        let rendered = manifests(application, &files);
        let bare: Vec<Object> = rendered
            .objects
            .into_iter()
            .map(|object| object.object)
            .collect();
        let all: Vec<&Object> = bare.iter().collect();
        let inputs = bare
            .iter()
            .filter(|object| is_workload(object))
            .map(|object| (object.key(), inputs_of(object, &all)))
            .collect();
        let kinds = bare.iter().map(KindVersion::of).collect();
        // The bytes are rendered; only the blob ids are needed from now on.
        files
            .files
            .values_mut()
            .for_each(|file| file.bytes = Vec::new());
        Self {
            tree,
            revision: files.revision.clone(),
            application: application.clone(),
            installation: installation.to_owned(),
            objects: stamp(&application.name, installation, bare),
            problems: rendered.problems,
            kinds,
            inputs,
            files,
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }
}

/// Whether an object runs pods of its own.
pub(crate) fn is_workload(object: &Object) -> bool {
    matches!(
        (object.group(), object.kind()),
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet") | ("batch", "Job")
    )
}

/// Name of the credentials of a cluster, where the configuration has it.
pub(crate) fn credentials_of<'a>(fleet: &'a Fleet, cluster: &'a ClusterName) -> Option<&'a str> {
    let spec = fleet.clusters.get(cluster)?;
    match spec.credentials.as_str() {
        "" => Some(cluster.as_str()),
        named => Some(named),
    }
}
