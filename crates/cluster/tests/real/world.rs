//! A control plane that the tests of this binary share, and one watched cluster on it.

use regraft_cluster::{Cluster, Config, KubeconfigSource};
use regraft_model::apply::{
    ApplyOutcome, ApplyRequest, ClusterEvent, Inventory, KindVersion, Stage, StageWait,
    StagedObject, Written,
};
use regraft_model::config::Conflicts;
use regraft_model::id::{ClusterName, TargetKey};
use regraft_model::object::{APPLICATION_LABEL, INSTALLATION_ANNOTATION};
use regraft_model::{Object, ObjectKey};
use regraft_testbed::{ControlPlane, StartOptions, TestDir};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::Duration;

/// Longest wait for anything here; compilers may run beside.
pub(crate) const BOUND: Duration = Duration::from_secs(60);
/// The installation of these tests.
pub(crate) const INSTALLATION: &str = "one";

/// A control plane on a thread of its own: its servers end with the thread that started them.
pub(crate) struct Shared {
    plane: Option<ControlPlane>,
    keeper: Option<(mpsc::Sender<()>, std::thread::JoinHandle<()>)>,
    _dir: TestDir,
}

impl std::ops::Deref for Shared {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        self.plane.as_ref().expect("taken only by drop")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.plane = None;
        if let Some((stop, thread)) = self.keeper.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// The control plane of all tests that run at the moment.
pub(crate) fn shared() -> Arc<Shared> {
    static CURRENT: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
    let mut current = CURRENT
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(shared) = current.upgrade() {
        return shared;
    }
    let dir = TestDir::new("cluster").unwrap();
    let path = dir.path().to_path_buf();
    let (stop, stopped) = mpsc::channel::<()>();
    let (give, given) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _ = give.send(ControlPlane::start(&path, &StartOptions::named("east")));
        let _ = stopped.recv();
    });
    let plane = given.recv().unwrap().unwrap();
    let shared = Arc::new(Shared {
        plane: Some(plane),
        keeper: Some((stop, thread)),
        _dir: dir,
    });
    *current = Arc::downgrade(&shared);
    shared
}

/// A watched cluster and what it told.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    told: tokio::sync::mpsc::Receiver<(ClusterName, ClusterEvent)>,
}

impl World {
    pub(crate) fn start(kubeconfig: PathBuf, kinds: &[(&str, &str)]) -> World {
        let (events, told) = tokio::sync::mpsc::channel(64);
        let config = Config {
            name: "east".into(),
            kubeconfig: KubeconfigSource {
                path: kubeconfig,
                context: None,
            },
        };
        let cluster = Cluster::start(config, events);
        cluster.set_kinds(
            kinds
                .iter()
                .map(|(version, kind)| KindVersion::new(version, kind))
                .collect(),
        );
        World { cluster, told }
    }

    pub(crate) async fn ready(kubeconfig: PathBuf, kinds: &[(&str, &str)]) -> World {
        let mut world = World::start(kubeconfig, kinds);
        world
            .until("ready", |event| matches!(event, ClusterEvent::Ready { .. }))
            .await;
        world
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> ClusterEvent {
        tokio::time::timeout(BOUND, self.told.recv())
            .await
            .expect("an event in time")
            .expect("the cluster runs")
            .1
    }

    /// Everything told up to the first event that fits, which comes last.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        fits: impl Fn(&ClusterEvent) -> bool,
    ) -> Vec<ClusterEvent> {
        let mut told: Vec<ClusterEvent> = Vec::new();
        let waiting = async {
            while let Some((_, event)) = self.told.recv().await {
                let found = fits(&event);
                told.push(event);
                if found {
                    return;
                }
            }
        };
        if tokio::time::timeout(BOUND, waiting).await.is_err() {
            let kinds: Vec<_> = told.iter().map(brief).collect();
            panic!("{what} was not told; told were {kinds:#?}");
        }
        told
    }

    /// Until an object is told as seen that fits.
    pub(crate) async fn seen(
        &mut self,
        kind: &str,
        name: &str,
        fits: impl Fn(&Object) -> bool,
    ) -> Object {
        let what = format!("{kind} {name}");
        let fits = |event: &ClusterEvent| match event {
            ClusterEvent::Seen(object) => {
                object.kind() == kind && object.name() == name && fits(object)
            }
            _ => false,
        };
        match self.until(&what, fits).await.pop() {
            Some(ClusterEvent::Seen(object)) => object,
            _ => panic!("{what} was not seen"),
        }
    }

    /// Until an object is told as gone.
    pub(crate) async fn gone(&mut self, kind: &str, name: &str) {
        self.until(&format!("{kind} {name} gone"), |event| {
            matches!(event, ClusterEvent::Gone { key, .. } if key.kind == kind && key.name == name)
        })
        .await;
    }
}

pub(crate) fn brief(event: &ClusterEvent) -> String {
    match event {
        ClusterEvent::Seen(object) => {
            format!("seen {} {}", object.key(), object.resource_version())
        }
        ClusterEvent::Gone { key, .. } => format!("gone {key}"),
        other => format!("{other:?}"),
    }
}

/// An object with our marks.
pub(crate) fn ours(
    application: &str,
    api_version: &str,
    kind: &str,
    place: (&str, &str),
    rest: Value,
) -> Object {
    let mut object = rest;
    let (namespace, name) = place;
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    object["metadata"]["name"] = json!(name);
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object["metadata"]["labels"][APPLICATION_LABEL] = json!(application);
    object["metadata"]["annotations"][INSTALLATION_ANNOTATION] = json!(INSTALLATION);
    Object(object)
}

pub(crate) fn namespace(application: &str, name: &str) -> Object {
    ours(application, "v1", "Namespace", ("", name), json!({}))
}

pub(crate) fn config_map(application: &str, place: (&str, &str), value: &str) -> Object {
    ours(
        application,
        "v1",
        "ConfigMap",
        place,
        json!({"data": {"key": value}}),
    )
}

pub(crate) fn deployment(application: &str, place: (&str, &str), image: &str) -> Object {
    let labels = json!({"app": place.1});
    ours(
        application,
        "apps/v1",
        "Deployment",
        place,
        json!({"spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": image, "ports": [{"containerPort": 80}],
                    "resources": {"requests": {"cpu": "0.1", "memory": "64Mi"}}}]},
            },
        }}),
    )
}

pub(crate) fn stage(objects: &[Object], then: StageWait) -> Stage {
    let objects = objects
        .iter()
        .map(|object| StagedObject {
            object: object.clone(),
            conflicts: Conflicts::Refuse,
        })
        .collect();
    Stage { objects, then }
}

/// A request that applies namespaces and kinds first, then the rest.
pub(crate) fn request(application: &str, objects: &[Object]) -> ApplyRequest {
    let first =
        |object: &&Object| matches!(object.kind(), "Namespace" | "CustomResourceDefinition");
    let (first, rest): (Vec<_>, Vec<_>) = objects.iter().partition(first);
    let own = |objects: Vec<&Object>| objects.into_iter().cloned().collect::<Vec<_>>();
    ApplyRequest {
        number: 0,
        target: TargetKey {
            application: application.into(),
            cluster: "east".into(),
        },
        revision: "0123456789".into(),
        stages: vec![
            stage(&own(first), StageWait::Established),
            stage(&own(rest), StageWait::Nothing),
        ],
        prune: Vec::new(),
        orphan: Vec::new(),
        inventory: inventory(objects),
        inventory_before: Inventory::default(),
    }
}

pub(crate) fn inventory(objects: &[Object]) -> Inventory {
    Inventory {
        installation: INSTALLATION.to_owned(),
        entries: objects
            .iter()
            .map(|object| (object.key(), object.api_version().to_owned()))
            .collect(),
    }
}

pub(crate) fn entry(object: &Object) -> (ObjectKey, String) {
    (object.key(), object.api_version().to_owned())
}

/// Everything was done; gives what was written how.
pub(crate) fn done(outcome: &ApplyOutcome) -> Vec<(String, Written)> {
    assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
    outcome
        .objects
        .iter()
        .map(|(object, written)| (object.key().to_string(), *written))
        .collect()
}

/// The failures in short.
pub(crate) fn failures(outcome: &ApplyOutcome) -> Vec<String> {
    outcome
        .failures
        .iter()
        .map(|failure| {
            let key = failure
                .key
                .as_ref()
                .map_or("request".to_owned(), ToString::to_string);
            format!(
                "{key}: {:?} {}: {}",
                failure.retry, failure.reason, failure.message
            )
        })
        .collect()
}
