//! The files of the fake repository: what each means is known here without parsing it, so that the checkers do not
//! lean on the renderer they watch.

use crate::rng::Rng;
use regraft_model::config::Mode;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A workload.
    Deployment(Workload),
    /// A settings file next to it.
    ConfigMap {
        namespace: String,
        name: String,
        setting: u64,
    },
    /// A `Cluster`.
    Cluster { name: String },
    /// An `Application`.
    Application(Application),
    /// A `Policy`.
    Policy(Policy),
    /// No YAML at all.
    Unreadable { mark: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) image: Image,
    pub(crate) replicas: i64,
    /// Changes the template without changing how the image behaves.
    pub(crate) note: u64,
}

/// How an image behaves is written in its tag: the ground truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) version: u64,
    pub(crate) flavour: Flavour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flavour {
    Good,
    /// Takes long to get ready, and does.
    Slow,
    /// Crashes for a while, then heals by itself.
    Rough,
    /// Crashes for ever.
    Crash,
    /// Cannot be pulled.
    Missing,
    /// Its container cannot be made.
    NoConfig,
    /// Never gets ready: the rollout's deadline passes.
    Stuck,
    /// Crashes in the first cluster only.
    Picky,
}

impl Flavour {
    pub(crate) const BAD: &[Flavour] = &[
        Flavour::Crash,
        Flavour::Crash,
        Flavour::Missing,
        Flavour::NoConfig,
        Flavour::Stuck,
    ];

    fn suffix(self) -> &'static str {
        match self {
            Flavour::Good => "",
            Flavour::Slow => "-slow",
            Flavour::Rough => "-rough",
            Flavour::Crash => "-crash",
            Flavour::Missing => "-missing",
            Flavour::NoConfig => "-noconfig",
            Flavour::Stuck => "-stuck",
            Flavour::Picky => "-picky",
        }
    }

    pub(crate) fn of_tag(image: &str) -> Self {
        [
            Flavour::Slow,
            Flavour::Rough,
            Flavour::Crash,
            Flavour::Missing,
            Flavour::NoConfig,
            Flavour::Stuck,
            Flavour::Picky,
        ]
        .into_iter()
        .find(|flavour| image.ends_with(flavour.suffix()))
        .unwrap_or(Flavour::Good)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Application {
    pub(crate) name: String,
    pub(crate) clusters: Vec<String>,
    pub(crate) mode: Mode,
    pub(crate) prune: bool,
    pub(crate) delete: bool,
}

/// Spans in seconds, as the Policy object names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) confirm_for: u64,
    pub(crate) verify_for: u64,
    pub(crate) rollout_wait: u64,
    pub(crate) verify_deadline: u64,
    pub(crate) cooldown: u64,
    pub(crate) lock_lease: u64,
    pub(crate) max_actions_per_hour: u32,
    pub(crate) max_same_action_per_day: u32,
    pub(crate) storm_workloads: u32,
    pub(crate) storm_percent: u32,
    pub(crate) storm_window: u64,
    pub(crate) delete_cap_percent: u32,
    pub(crate) revert_partial: bool,
}

impl Policy {
    /// Short spans, so that a whole incident fits into minutes; the counts differ from seed to seed.
    pub(crate) fn drawn(rng: &mut Rng) -> Self {
        let tight = rng.chance(20);
        Self {
            confirm_for: 3,
            verify_for: 8,
            rollout_wait: 20,
            verify_deadline: 45,
            cooldown: 5,
            lock_lease: 6,
            max_actions_per_hour: if tight { 3 } else { 12 },
            max_same_action_per_day: if tight { 2 } else { 8 },
            storm_workloads: 3,
            storm_percent: 20,
            storm_window: 60,
            delete_cap_percent: 30,
            revert_partial: rng.chance(30),
        }
    }
}

impl Content {
    /// The file's bytes.
    pub(crate) fn text(&self) -> String {
        match self {
            Content::Deployment(workload) => workload.text(),
            Content::ConfigMap {
                namespace,
                name,
                setting,
            } => format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
                 data:\n  setting: \"{setting}\"\n"
            ),
            Content::Cluster { name } => format!(
                "apiVersion: regraft.dev/v1alpha1\nkind: Cluster\nmetadata:\n  name: {name}\nspec: {{}}\n"
            ),
            Content::Application(application) => application.text(),
            Content::Policy(policy) => policy.text(),
            Content::Unreadable { mark } => format!("# {mark}\nkind: [unclosed\n  : {{\n"),
        }
    }

    /// The object it stands for, when it is a manifest.
    pub(crate) fn object(&self) -> Option<Value> {
        match self {
            Content::Deployment(workload) => Some(workload.object()),
            Content::ConfigMap {
                namespace,
                name,
                setting,
            } => Some(json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": namespace},
                "data": {"setting": setting.to_string()},
            })),
            _ => None,
        }
    }
}

impl Workload {
    fn text(&self) -> String {
        let Workload {
            namespace,
            name,
            replicas,
            note,
            ..
        } = self;
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n  \
             replicas: {replicas}\n  progressDeadlineSeconds: {DEADLINE_S}\n  selector:\n    matchLabels:\n      app: {name}\n  \
             template:\n    metadata:\n      labels:\n        app: {name}\n    spec:\n      containers:\n        \
             - name: main\n          image: {}\n          env:\n            - name: NOTE\n              value: \"{note}\"\n",
            self.tag()
        )
    }

    fn tag(&self) -> String {
        format!(
            "registry.local/{}:v{}{}",
            self.name,
            self.image.version,
            self.image.flavour.suffix()
        )
    }

    fn object(&self) -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "replicas": self.replicas,
                "progressDeadlineSeconds": DEADLINE_S,
                "selector": {"matchLabels": {"app": self.name}},
                "template": {
                    "metadata": {"labels": {"app": self.name}},
                    "spec": {"containers": [{
                        "name": "main",
                        "image": self.tag(),
                        "env": [{"name": "NOTE", "value": self.note.to_string()}],
                    }]},
                },
            },
        })
    }
}

/// `progressDeadlineSeconds` of every workload.
pub(crate) const DEADLINE_S: i64 = 12;

impl Application {
    fn text(&self) -> String {
        let mode = match self.mode {
            Mode::Observe => "observe",
            Mode::Propose => "propose",
            Mode::Auto => "auto",
        };
        let mut text = format!(
            "apiVersion: regraft.dev/v1alpha1\nkind: Application\nmetadata:\n  name: {0}\nspec:\n  path: apps/{0}\n  \
             namespace: {0}\n  mode: {mode}\n  policy: quick\n  clusters:\n",
            self.name
        );
        for cluster in &self.clusters {
            let _ = writeln!(text, "    - {cluster}");
        }
        let _ = writeln!(text, "  prune: {}", self.prune);
        let deletion = if self.delete { "Delete" } else { "Orphan" };
        let _ = writeln!(text, "  deletionPolicy: {deletion}");
        text
    }
}

impl Policy {
    fn text(&self) -> String {
        let mut text = String::from(
            "apiVersion: regraft.dev/v1alpha1\nkind: Policy\nmetadata:\n  name: quick\nspec:\n",
        );
        for (name, seconds) in [
            ("confirmFor", self.confirm_for),
            ("verifyFor", self.verify_for),
            ("rolloutWait", self.rollout_wait),
            ("verifyDeadline", self.verify_deadline),
            ("cooldown", self.cooldown),
            ("lockLease", self.lock_lease),
            ("stormWindow", self.storm_window),
        ] {
            let _ = writeln!(text, "  {name}: {seconds}s");
        }
        for (name, number) in [
            ("maxActionsPerHour", self.max_actions_per_hour),
            ("maxSameActionPerDay", self.max_same_action_per_day),
            ("stormWorkloads", self.storm_workloads),
            ("stormPercent", self.storm_percent),
            ("deleteCapPercent", self.delete_cap_percent),
        ] {
            let _ = writeln!(text, "  {name}: {number}");
        }
        let partial = if self.revert_partial {
            "Revert"
        } else {
            "Propose"
        };
        let _ = writeln!(text, "  partialFailure: {partial}");
        text
    }
}
