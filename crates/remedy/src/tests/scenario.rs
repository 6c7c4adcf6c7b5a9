//! A small world around one incident: a shop's storefront in two clusters, broken by a release.

use crate::{Case, Decision, Storm, decide};
use data_encoding::HEXLOWER;
use regraft_model::config::{ClusterSpec, Conflicts, DeletionPolicy, Prune};
use regraft_model::finding::{
    AppliedInputs, Change, SyncState, SyncStatus, TargetStatus, Template,
};
use regraft_model::git::History;
use regraft_model::incident::Approval;
use regraft_model::source::FileMode;
use regraft_model::{
    Application, ApplicationName, BlobId, ClusterName, Commit, Evidence, FailureClass, Finding,
    Fleet, Health, Incident, IncidentId, Location, Mode, ObjectKey, Outcome, Phase, Plan, Policy,
    Revision, Seconds, SourceFile, SourceTree, Symptom, TargetKey, Timestamp, TreeId,
};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// 2026-01-31T12:00:00Z: when the failure began.
pub(super) const NOON: Timestamp = Timestamp(1_769_860_800_000);
pub(super) const INSTALLATION: &str = "0a1b2c3d";
pub(super) const WEB: &str = "apps/storefront/web.yaml";
pub(super) const API: &str = "apps/storefront/api.yaml";
pub(super) const SETTINGS: &str = "apps/storefront/settings.yaml";

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp(NOON.0 + seconds * 1000)
}

#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) now: Timestamp,
    pub(super) incident: Incident,
    pub(super) application: Application,
    pub(super) fleet: Fleet,
    pub(super) history: History,
    pub(super) statuses: BTreeMap<TargetKey, TargetStatus>,
    pub(super) others: Vec<Incident>,
    pub(super) vetoes: BTreeSet<String>,
    pub(super) closed: BTreeSet<(ApplicationName, TreeId)>,
    pub(super) suspended: Option<String>,
    pub(super) frozen: Option<String>,
    pub(super) storm: Option<Storm>,
}

impl Scenario {
    /// Verified files and no commit since.
    pub(super) fn quiet() -> Self {
        let mut base = SourceTree {
            revision: revision('0'),
            files: BTreeMap::new(),
        };
        put(&mut base, WEB, Some(&deployment("web", "1")));
        put(&mut base, API, Some(&deployment("api", "1")));
        put(&mut base, SETTINGS, Some(&settings("1")));
        let application = application("storefront", "apps/storefront");
        let mut fleet = Fleet::default();
        for cluster in ["eu-west", "us-east"] {
            fleet
                .clusters
                .insert(cluster.into(), ClusterSpec::default());
        }
        fleet
            .applications
            .insert(application.name.clone(), application.clone());
        let mut scenario = Self {
            now: at(125),
            incident: incident("storefront-7", "storefront"),
            application,
            fleet,
            history: History {
                from: revision('0'),
                to: revision('0'),
                tip: base.clone(),
                base,
                commits: vec![],
            },
            statuses: BTreeMap::new(),
            others: vec![],
            vetoes: BTreeSet::new(),
            closed: BTreeSet::new(),
            suspended: None,
            frozen: None,
            storm: None,
        };
        for cluster in ["eu-west", "us-east"] {
            scenario.status(cluster, |_| {});
        }
        scenario
    }

    /// The release of web 2 is broken in both clusters.
    pub(super) fn bad_release() -> Self {
        let mut scenario = Self::quiet();
        scenario.commit(
            'a',
            "Release web 2",
            &[(WEB, Some(&deployment("web", "2")))],
        );
        scenario.seen_at('a');
        scenario
    }

    /// Adds a commit on top.
    pub(super) fn commit(
        &mut self,
        name: char,
        subject: &str,
        changes: &[(&str, Option<&str>)],
    ) -> &mut Commit {
        let mut tree = self.history.tip.clone();
        tree.revision = revision(name);
        for (path, text) in changes {
            put(&mut tree, path, *text);
        }
        self.history.commits.push(Commit {
            revision: revision(name),
            parent: Some(self.history.to.clone()),
            author: "Alice <alice@example.com>".to_owned(),
            committed_at: at(-30),
            message: format!("{subject}\n"),
            trailers: vec![],
            tree: tree.clone(),
        });
        self.history.to = revision(name);
        self.history.tip = tree;
        self.history.commits.last_mut().expect("just pushed")
    }

    /// Changes where the application stands in a cluster.
    pub(super) fn status(&mut self, cluster: &str, change: impl FnOnce(&mut TargetStatus)) {
        let key = TargetKey {
            application: self.application.name.clone(),
            cluster: cluster.into(),
        };
        let status = self
            .statuses
            .entry(key.clone())
            .or_insert_with(|| TargetStatus {
                key,
                applied: Some(AppliedInputs {
                    revision: revision('a'),
                    tree: self.incident.suspect_tree.clone(),
                    at: at(-10),
                }),
                sync: SyncStatus {
                    state: SyncState::Synced,
                    ..SyncStatus::default()
                },
                health: Health::Degraded,
                health_since: NOON,
                workloads: 2,
                ..TargetStatus::default()
            });
        change(status);
    }

    /// The failure was seen at this head, and its inputs are what runs.
    pub(super) fn seen_at(&mut self, name: char) {
        self.incident.seen_at = revision(name);
        self.runs(name);
    }

    /// What runs in both clusters came with this head.
    pub(super) fn runs(&mut self, name: char) {
        for status in self.statuses.values_mut() {
            if let Some(applied) = &mut status.applied {
                applied.revision = revision(name);
            }
        }
    }

    /// The finding in a cluster.
    pub(super) fn finding(&mut self, cluster: &str) -> &mut Finding {
        &mut self
            .incident
            .targets
            .get_mut(&ClusterName::from(cluster))
            .expect("a target")[0]
    }

    pub(super) fn with<R>(&self, ask: impl FnOnce(&Case<'_>) -> R) -> R {
        let incidents: Vec<&Incident> = self.others.iter().chain([&self.incident]).collect();
        ask(&Case {
            now: self.now,
            installation: INSTALLATION,
            incident: &self.incident,
            application: &self.application,
            fleet: &self.fleet,
            history: &self.history,
            statuses: &self.statuses,
            incidents: &incidents,
            vetoes: &self.vetoes,
            closed: &self.closed,
            suspended: self.suspended.as_deref(),
            frozen: self.frozen.as_deref(),
            storm: self.storm.as_ref(),
        })
    }

    pub(super) fn decide(&self) -> Decision {
        self.with(decide)
    }

    #[track_caller]
    pub(super) fn plan(&self) -> Plan {
        match self.decide() {
            Decision::Act(plan) => *plan,
            other => panic!("no plan: {other:?}"),
        }
    }

    /// Approves what would be planned.
    pub(super) fn approve(&mut self) {
        let diff_hash = self.plan().diff_hash;
        self.incident.approval = Some(Approval {
            actor: "user/bob".to_owned(),
            diff_hash,
            at: self.now,
        });
    }
}

pub(super) fn revision(name: char) -> Revision {
    Revision(name.to_string().repeat(40))
}

pub(super) fn application(name: &str, path: &str) -> Application {
    Application {
        name: name.into(),
        repository: "shop".into(),
        location: Location::default(),
        path: path.to_owned(),
        clusters: vec!["eu-west".into(), "us-east".into()],
        namespace: "shop".to_owned(),
        mode: Mode::Auto,
        prune: Prune::Keep,
        conflicts: Conflicts::Refuse,
        suspend: false,
        deletion: DeletionPolicy::Orphan,
        policy: Policy::default(),
    }
}

pub(super) fn incident(id: &str, application: &str) -> Incident {
    Incident {
        id: IncidentId(id.to_owned()),
        application: application.into(),
        repository: "shop".into(),
        branch: "main".into(),
        class: FailureClass::CrashLoopBackOff,
        seen_at: revision('0'),
        suspect_tree: TreeId("suspect".to_owned()),
        targets: ["eu-west", "us-east"]
            .map(|cluster| (cluster.into(), vec![finding(cluster)]))
            .into(),
        opened_at: at(120),
        executor: Default::default(),
        executor_fence: Default::default(),
        phase: Phase::Open,
        phase_since: at(120),
        deadline: at(1800),
        waits_for: String::new(),
        plan: None,
        guards: vec![],
        rejected: vec![],
        lock: None,
        committed: None,
        committed_at: None,
        approval: None,
        steps: vec![],
        outcome: None,
        ended_at: None,
    }
}

/// An incident of an application whose repair was committed, and ended unless `ended` is absent.
pub(super) fn repaired(
    id: &str,
    application: &str,
    committed: i64,
    ended: Option<i64>,
) -> Incident {
    let mut incident = incident(id, application);
    incident.committed = Some(revision('f'));
    incident.phase = Phase::Committed;
    incident.committed_at = Some(at(committed));
    if let Some(ended) = ended {
        incident.phase = Phase::Ended;
        incident.ended_at = Some(at(ended));
        incident.outcome = Some(Outcome {
            kind: regraft_model::incident::OutcomeKind::Verified,
            message: String::new(),
        });
    }
    incident
}

pub(super) fn web() -> ObjectKey {
    ObjectKey {
        group: "apps".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
    }
}

pub(super) fn finding(cluster: &str) -> Finding {
    let pod = ObjectKey {
        group: String::new(),
        kind: "Pod".to_owned(),
        name: format!("web-2-{cluster}"),
        ..web()
    };
    Finding {
        symptom: Symptom {
            workload: web(),
            class: FailureClass::CrashLoopBackOff,
            template: Template::Newest,
            newest_template: Some(web()),
            evidence: vec![
                Evidence {
                    object: ObjectKey {
                        kind: "ReplicaSet".to_owned(),
                        name: "web-2".to_owned(),
                        ..web()
                    },
                    at: NOON,
                    field: "newest template".to_owned(),
                    text: "web=shop/web:2; 0 of 1 pods ready".to_owned(),
                },
                Evidence {
                    object: pod,
                    at: NOON,
                    field: ".status.containerStatuses[web].state.waiting".to_owned(),
                    text: "CrashLoopBackOff: back-off 20s restarting failed container=web"
                        .to_owned(),
                },
            ],
        },
        since: NOON,
        change: Change::Changed,
    }
}

pub(super) fn deployment(name: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  replicas: 1\n  selector:\n    \
         matchLabels:\n      app: {name}\n  template:\n    metadata:\n      labels:\n        app: {name}\n    spec:\n      \
         containers:\n      - name: {name}\n        image: shop/{name}:{image}\n        envFrom:\n        - \
         configMapRef:\n            name: settings\n"
    )
}

pub(super) fn settings(value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  value: \"{value}\"\n"
    )
}

pub(super) fn secret(value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: keys\nstringData:\n  value: \"{value}\"\n"
    )
}

/// Puts a file, or removes it.
pub(super) fn put(tree: &mut SourceTree, path: &str, text: Option<&str>) {
    match text {
        None => drop(tree.files.remove(path)),
        Some(text) => {
            let file = SourceFile {
                blob: blob(text),
                mode: FileMode::Regular,
                bytes: text.as_bytes().to_vec(),
            };
            tree.files.insert(path.to_owned(), file);
        }
    }
}

pub(super) fn blob(text: &str) -> BlobId {
    let digest = Sha256::digest(text.as_bytes());
    BlobId(HEXLOWER.encode(&digest[..20]))
}

pub(super) fn seconds(seconds: u64) -> Seconds {
    Seconds(seconds)
}
