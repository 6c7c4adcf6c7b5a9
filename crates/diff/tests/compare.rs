//! Whole comparisons: what is written, what is pruned, what waits for a person.

use proptest::prelude::*;
use regraft_diff::{
    ClusterState, Comparison, Complete, Desired, KnownEqual, compare, deletion_token, retire,
    scale_targets, stamp,
};
use regraft_model::apply::{ApplyRequest, Inventory, StageWait};
use regraft_model::config::{Conflicts, DeletionPolicy, Mode, Policy, Prune};
use regraft_model::object::{DIGEST_ANNOTATION, FIELD_MANAGER, PRUNE_ANNOTATION, PRUNE_DISABLED};
use regraft_model::{Application, Location, Object, ObjectKey, Revision, TargetKey};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const INSTALLATION: &str = "blue";

/// A cluster that takes every request as the API server would, and one application that is reconciled to it.
struct Bench {
    application: Application,
    objects: Vec<Value>,
    complete: Complete,
    live: BTreeMap<ObjectKey, Object>,
    known_equal: BTreeMap<ObjectKey, KnownEqual>,
    inventory: Inventory,
    confirmation: Option<String>,
    /// Kinds that are served in another version only.
    unseen: Vec<String>,
    /// Other applications of this installation.
    others: BTreeSet<&'static str>,
}

impl Bench {
    fn new(objects: Vec<Value>) -> Self {
        Self {
            application: Application {
                name: "shop".into(),
                repository: "fleet".into(),
                location: Location::default(),
                path: "apps/shop".to_owned(),
                clusters: vec!["east".into()],
                namespace: "shop".to_owned(),
                mode: Mode::Observe,
                prune: Prune::Delete,
                conflicts: Conflicts::Refuse,
                suspend: false,
                deletion: DeletionPolicy::Orphan,
                policy: Policy::default(),
            },
            objects,
            unseen: vec![],
            complete: Complete::Yes,
            live: BTreeMap::new(),
            known_equal: BTreeMap::new(),
            inventory: Inventory::default(),
            confirmation: None,
            others: BTreeSet::from(["other"]),
        }
    }

    fn compare(&self) -> Comparison {
        let objects = self.objects.iter().cloned().map(Object).collect();
        let desired = Desired {
            target: &target(),
            revision: &Revision::from("aaaa"),
            application: &self.application,
            installation: INSTALLATION,
            objects: &stamp(&self.application.name, INSTALLATION, objects),
            complete: self.complete,
            holds: &|name| self.others.contains(name),
        };
        self.with_cluster(|cluster| {
            compare(
                &desired,
                cluster,
                &self.inventory,
                self.confirmation.as_deref(),
            )
        })
    }

    fn retire(&self, deletion: DeletionPolicy) -> Comparison {
        self.with_cluster(|cluster| {
            retire(
                &target(),
                &Revision::from("bbbb"),
                deletion,
                cluster,
                &self.inventory,
                self.confirmation.as_deref(),
            )
        })
    }

    fn with_cluster<T>(&self, ask: impl FnOnce(&ClusterState<'_>) -> T) -> T {
        ask(&ClusterState {
            live: &self.live,
            unseen: &|key| self.unseen.contains(&key.kind),
            scaled: &scale_targets(self.live.values()),
            known_equal: &self.known_equal,
        })
    }

    /// Does what the edge does, and says how many objects it wrote.
    fn apply(&mut self, request: ApplyRequest) -> usize {
        let mut writes = request.prune.len() + request.orphan.len();
        for staged in request.stages.into_iter().flat_map(|stage| stage.objects) {
            let key = staged.object.key();
            let mut live = self.live.remove(&key).map_or(json!({}), |object| object.0);
            merge(&mut live, &staged.object.0);
            self.live.insert(key, Object(live));
            writes += 1;
        }
        for (key, _) in request.prune.iter() {
            self.live.remove(key);
        }
        for (key, _) in request.orphan.iter() {
            if let Some(object) = self.live.get_mut(key) {
                object.0["metadata"]["labels"] = json!({});
                object.0["metadata"]["annotations"] = json!({});
            }
        }
        self.inventory = request.inventory;
        writes
    }

    /// Compares and applies once; everything has to be done after that.
    #[track_caller]
    fn settle(&mut self) -> Comparison {
        let comparison = self.compare();
        if let Some(request) = comparison.request.clone() {
            self.apply(request);
        }
        let again = self.compare();
        assert_eq!(again.request, None, "a second time finds more to do");
        comparison
    }

    fn live_mut(&mut self, name: &str) -> &mut Value {
        let object = self
            .live
            .iter_mut()
            .find(|(key, _)| key.name == name)
            .map(|(_, object)| object);
        &mut object.expect("it is live").0
    }
}

fn target() -> TargetKey {
    TargetKey {
        application: "shop".into(),
        cluster: "east".into(),
    }
}

/// Server-side apply by one manager: maps merge, the rest is replaced. Every write makes a new version.
fn merge(live: &mut Value, desired: &Value) {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => {
            for (key, value) in desired {
                merge(live.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (live, desired) => *live = desired.clone(),
    }
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"},
        "data": {"key": "value"}})
}

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}}})
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn hpa(target: &str) -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "scaler", "namespace": "shop"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}}})
}

fn many(count: usize) -> Vec<Value> {
    (0..count)
        .map(|index| config_map(&format!("map-{index:02}")))
        .collect()
}

fn names<'a>(keys: impl IntoIterator<Item = &'a ObjectKey>) -> Vec<String> {
    keys.into_iter().map(ToString::to_string).collect()
}

fn pruned(comparison: &Comparison) -> Vec<String> {
    leaving(comparison, |request| &request.prune)
}

fn orphaned(comparison: &Comparison) -> Vec<String> {
    leaving(comparison, |request| &request.orphan)
}

fn leaving(
    comparison: &Comparison,
    of: fn(&ApplyRequest) -> &Vec<(ObjectKey, String)>,
) -> Vec<String> {
    let request = comparison.request.iter();
    request
        .flat_map(|request| names(of(request).iter().map(|(key, _)| key)))
        .collect()
}

fn reasons(comparison: &Comparison) -> Vec<&str> {
    comparison
        .blocked
        .iter()
        .map(|blocked| blocked.reason.as_str())
        .collect()
}

#[test]
fn namespaces_and_kinds_come_first_and_are_waited_for() {
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"}});
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": {"name": "w", "namespace": "shop"}});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "web", "namespace": "shop"}});
    let bench = Bench::new(vec![
        widget,
        deployment("web"),
        account,
        namespace("shop"),
        crd,
    ]);
    let request = bench.compare().request.expect("all of it is new");
    let stages: Vec<_> = request
        .stages
        .iter()
        .map(|stage| {
            let kinds: Vec<_> = stage
                .objects
                .iter()
                .map(|staged| staged.object.kind().to_owned())
                .collect();
            (kinds.join(" "), stage.then)
        })
        .collect();
    assert_eq!(
        stages,
        [
            (
                "CustomResourceDefinition Namespace".to_owned(),
                StageWait::Established
            ),
            (
                "ServiceAccount Deployment Widget".to_owned(),
                StageWait::Nothing
            ),
        ]
    );
}

#[test]
fn what_is_applied_is_not_applied_again() {
    let mut bench = Bench::new(vec![
        namespace("shop"),
        deployment("web"),
        config_map("settings"),
    ]);
    let first = bench.settle();
    assert_eq!(first.out_of_sync.len(), 3);
    assert_eq!(bench.compare(), Comparison::default());
}

#[test]
fn only_what_drifted_is_written_and_its_path_is_named() {
    let mut bench = Bench::new(vec![deployment("web"), config_map("settings")]);
    bench.settle();
    bench.live_mut("web")["spec"]["template"]["spec"]["containers"][0]["image"] = json!("evil:1");
    let comparison = bench.settle();
    assert_eq!(
        comparison.out_of_sync[0].1,
        [".spec.template.spec.containers[name=web].image"]
    );
    assert_eq!(comparison.out_of_sync.len(), 1);
    assert_eq!(
        bench.live_mut("web")["spec"]["template"]["spec"]["containers"][0]["image"],
        "web:1"
    );
}

#[test]
fn a_field_that_left_git_makes_the_object_differ() {
    let mut bench = Bench::new(vec![config_map("settings")]);
    bench.objects[0]["data"]["extra"] = json!("x");
    bench.settle();
    bench.objects[0] = config_map("settings");
    let comparison = bench.compare();
    assert_eq!(
        comparison.out_of_sync[0].1,
        [format!(".metadata.annotations[\"{DIGEST_ANNOTATION}\"]")]
    );
}

#[test]
fn what_the_server_writes_differently_is_in_sync_once_a_dry_run_said_so() {
    let mut bench = Bench::new(vec![config_map("settings")]);
    bench.objects[0]["data"]["cpu"] = json!("1000m");
    bench.settle();
    bench.live_mut("settings")["data"]["cpu"] = json!("1");
    bench.live_mut("settings")["metadata"]["resourceVersion"] = json!("7");
    assert!(
        bench.compare().request.is_some(),
        "nobody said that they are equal"
    );
    let (key, live) = bench.live.iter().next().expect("one");
    bench.known_equal.insert(key.clone(), KnownEqual::of(live));
    assert_eq!(bench.compare(), Comparison::default());
    bench.live_mut("settings")["metadata"]["resourceVersion"] = json!("8");
    bench.live_mut("settings")["status"] = json!({"seen": 1});
    assert_eq!(
        bench.compare(),
        Comparison::default(),
        "a status update changes nothing"
    );
    bench.live_mut("settings")["data"]["cpu"] = json!("2");
    assert!(bench.compare().request.is_some(), "it drifted since");
}

#[test]
fn replicas_are_left_to_the_autoscaler() {
    let mut bench = Bench::new(vec![deployment("web"), hpa("web")]);
    bench.settle();
    assert_eq!(bench.live_mut("web")["spec"].get("replicas"), None);
    bench.live_mut("web")["spec"]["replicas"] = json!(9);
    assert_eq!(bench.compare().request, None);
}

#[test]
fn an_autoscaler_that_comes_later_does_not_reset_the_replicas() {
    let mut bench = Bench::new(vec![deployment("web")]);
    bench.settle();
    bench.live_mut("web")["spec"]["replicas"] = json!(5);
    bench.live_mut("web")["metadata"]["managedFields"] =
        json!([{"manager": FIELD_MANAGER, "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    bench.objects.push(hpa("web"));
    bench.settle();
    assert_eq!(bench.live_mut("web")["spec"]["replicas"], 5);
}

#[test]
fn what_left_git_is_pruned_in_reverse_order() {
    let mut bench = Bench::new([many(8), vec![deployment("web"), config_map("settings")]].concat());
    bench.settle();
    bench.objects.truncate(8);
    let comparison = bench.settle();
    assert_eq!(
        pruned(&comparison),
        ["Deployment.apps shop/web", "ConfigMap shop/settings"]
    );
    assert_eq!(bench.live.len(), 8);
}

#[test]
fn nothing_is_pruned_while_the_render_has_problems() {
    let mut bench = Bench::new(many(8));
    bench.settle();
    bench.objects.truncate(7);
    bench.complete = Complete::WithProblems;
    assert_eq!(bench.compare(), Comparison::default());
    assert_eq!(bench.inventory.entries.len(), 8, "still ours");
}

#[test]
fn one_object_may_always_go_but_the_cap_holds_the_rest_until_it_is_confirmed() {
    let mut bench = Bench::new(many(2));
    bench.settle();
    bench.objects.truncate(1);
    assert_eq!(pruned(&bench.settle()), ["ConfigMap shop/map-01"]);

    let mut bench = Bench::new(many(10));
    bench.settle();
    bench.objects.truncate(6);
    let comparison = bench.compare();
    assert_eq!(comparison.request, None, "4 of 10 are more than 30 %");
    let blocked = &comparison.blocked[0];
    insta::assert_snapshot!(blocked.message, @"4 objects left Git (ConfigMap shop/map-06, ConfigMap shop/map-07, ConfigMap shop/map-08, ConfigMap shop/map-09), more than the delete cap of 3 (30 % of the application); confirm with `regraft confirm-delete shop` or put them back");
    assert_eq!(blocked.objects.len(), 4);

    bench.confirmation = Some("something else".to_owned());
    assert_eq!(bench.compare().request, None);
    bench.confirmation = blocked.token.clone();
    assert_eq!(pruned(&bench.settle()).len(), 4);
    assert_eq!(bench.inventory.entries.len(), 6);
}

#[test]
fn what_is_not_there_does_not_count_against_the_cap() {
    let mut bench = Bench::new(many(10));
    bench.settle();
    // As after an apply that the server refused: in the inventory, and never there.
    for object in bench.objects.split_off(6) {
        bench.live.remove(&Object(object).key());
    }
    bench.unseen = vec!["ConfigMap".to_owned()];
    let held = bench.compare();
    assert_eq!(
        reasons(&held),
        ["DeleteNeedsConfirmation"],
        "it is there through another version"
    );
    bench.unseen = vec![];
    assert_eq!(pruned(&bench.settle()).len(), 4);
    assert_eq!(bench.inventory.entries.len(), 6);
}

#[test]
fn what_waits_for_a_confirmation_is_not_let_go_because_new_objects_came() {
    let mut bench = Bench::new(many(5));
    bench.settle();
    bench.objects = [many(2), vec![deployment("one")]].concat();
    let comparison = bench.settle();
    assert_eq!(reasons(&comparison), ["DeleteNeedsConfirmation"]);
    assert_eq!(reasons(&bench.compare()), ["DeleteNeedsConfirmation"]);
    assert_eq!(bench.live.len(), 6);
}

#[test]
fn a_namespace_or_a_claim_waits_for_a_person_and_the_others_go() {
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "shop"}});
    let mut bench =
        Bench::new([many(9), vec![namespace("old"), claim, deployment("web")]].concat());
    bench.settle();
    bench.objects.truncate(9);
    let comparison = bench.settle();
    assert_eq!(pruned(&comparison), ["Deployment.apps shop/web"]);
    assert_eq!(
        names(&comparison.blocked[0].objects),
        ["Namespace old", "PersistentVolumeClaim shop/data"]
    );
    assert_eq!(
        bench.inventory.entries.len(),
        11,
        "what waits is still ours"
    );
    bench.confirmation = comparison.blocked[0].token.clone();
    assert_eq!(
        pruned(&bench.settle()),
        ["PersistentVolumeClaim shop/data", "Namespace old"]
    );
}

#[test]
fn an_object_marked_to_be_kept_is_disowned_instead() {
    let mut bench = Bench::new(many(2));
    bench.settle();
    bench.live_mut("map-01")["metadata"]["annotations"][PRUNE_ANNOTATION] = json!(PRUNE_DISABLED);
    bench.objects.truncate(1);
    let comparison = bench.settle();
    assert_eq!(pruned(&comparison), Vec::<String>::new());
    assert_eq!(orphaned(&comparison), ["ConfigMap shop/map-01"]);
    assert_eq!(bench.live.len(), 2);
}

#[test]
fn without_prune_what_left_git_stays_and_is_disowned() {
    let mut bench = Bench::new(many(10));
    bench.application.prune = Prune::Keep;
    bench.settle();
    bench.objects.truncate(1);
    let comparison = bench.settle();
    assert_eq!(orphaned(&comparison).len(), 9);
    assert_eq!(bench.live.len(), 10);
    assert_eq!(bench.inventory.entries.len(), 1);
}

#[test]
fn objects_of_others_are_left_alone() {
    let mut bench = Bench::new(many(3));
    bench.settle();
    bench.live_mut("map-00")["metadata"]["annotations"]["regraft.dev/installation"] =
        json!("green");
    bench.live_mut("map-01")["metadata"]["labels"]["regraft.dev/application"] = json!("other");
    bench.live_mut("map-00")["data"]["key"] = json!("theirs");
    let comparison = bench.settle();
    assert_eq!(
        reasons(&comparison),
        ["ForeignInstallation", "OtherApplication"]
    );
    assert_eq!(pruned(&comparison), Vec::<String>::new());
    assert_eq!(bench.live_mut("map-00")["data"]["key"], "theirs");
}

#[test]
fn an_object_of_an_application_that_is_no_more_is_taken_over() {
    let mut bench = Bench::new(many(3));
    bench.settle();
    bench.live_mut("map-01")["metadata"]["labels"]["regraft.dev/application"] = json!("other");
    bench.others.clear();
    let comparison = bench.settle();
    assert_eq!(reasons(&comparison), Vec::<String>::new());
    assert_eq!(
        bench.live_mut("map-01")["metadata"]["labels"]["regraft.dev/application"],
        "shop"
    );
}

#[test]
fn an_inventory_of_another_installation_stops_everything() {
    let mut bench = Bench::new(many(3));
    bench.inventory.installation = "green".to_owned();
    let comparison = bench.compare();
    assert_eq!(reasons(&comparison), ["ForeignInstallation"]);
    assert_eq!(comparison.request, None);
}

#[test]
fn a_lost_inventory_is_written_again_without_touching_the_objects() {
    let mut bench = Bench::new(many(3));
    bench.settle();
    bench.inventory = Inventory::default();
    let request = bench.settle().request.expect("the inventory is missing");
    assert!(request.stages.is_empty() && request.prune.is_empty());
    assert_eq!(request.inventory.entries.len(), 3);
}

#[test]
fn an_application_that_left_git_is_orphaned_or_deleted_after_a_confirmation() {
    let mut bench = Bench::new(many(3));
    bench.settle();
    let orphaned = bench
        .retire(DeletionPolicy::Orphan)
        .request
        .expect("there are objects");
    assert_eq!((orphaned.orphan.len(), orphaned.prune.len()), (3, 0));
    assert!(orphaned.inventory.entries.is_empty());

    let blocked = bench.retire(DeletionPolicy::Delete);
    assert_eq!(blocked.request, None);
    insta::assert_snapshot!(blocked.blocked[0].message, @"shop left Git and its policy says Delete: 3 objects would be deleted (ConfigMap shop/map-00, ConfigMap shop/map-01, ConfigMap shop/map-02); confirm with `regraft confirm-delete shop` or put it back");
    bench.confirmation = blocked.blocked[0].token.clone();
    let request = bench
        .retire(DeletionPolicy::Delete)
        .request
        .expect("it is confirmed");
    assert_eq!(request.prune.len(), 3);
    bench.apply(request);
    assert_eq!(bench.retire(DeletionPolicy::Delete), Comparison::default());
}

#[test]
fn a_confirmation_names_the_exact_list_in_any_order() {
    let keys: Vec<_> = many(3)
        .into_iter()
        .map(|value| Object(value).key())
        .collect();
    let reversed: Vec<_> = keys.iter().rev().cloned().collect();
    let token = |keys: &[ObjectKey]| deletion_token(&"shop".into(), keys);
    assert_eq!(token(&keys), token(&reversed));
    assert_ne!(token(&keys), token(&keys[..2]));
    assert_ne!(token(&keys), deletion_token(&"other".into(), &keys));
}

fn any_object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-5i64..5).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("(name|ports|env|containers|[a-b])", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let kinds = prop::sample::select(vec![
        ("v1", "ConfigMap"),
        ("v1", "Namespace"),
        ("v1", "Secret"),
        ("apps/v1", "Deployment"),
        ("example.com/v1", "Widget"),
    ]);
    (kinds, "[a-d]", tree).prop_map(|((version, kind), name, spec)| {
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
    })
}

fn any_set() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(any_object(), 0..8).prop_map(|objects| {
        let mut seen = BTreeSet::new();
        objects
            .into_iter()
            .filter(|value| seen.insert(Object(value.clone()).key()))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// I6: what was applied is not applied again, whatever it was and whatever was there before.
    #[test]
    fn applying_once_leaves_nothing_to_do(before in any_set(), after in any_set(), delete in any::<bool>()) {
        let mut bench = Bench::new(before);
        bench.application.prune = if delete { Prune::Delete } else { Prune::Keep };
        bench.settle();
        bench.objects = after;
        bench.settle();
    }

    /// I5: whatever happens to the objects of Git, only entries of the inventory leave, within the cap.
    #[test]
    fn only_our_own_leave_and_never_too_many(before in any_set(), after in any_set()) {
        let mut bench = Bench::new(before);
        bench.settle();
        let ours = bench.inventory.clone();
        bench.objects = after;
        if let Some(request) = bench.compare().request {
            prop_assert!(request.prune.iter().all(|(key, _)| ours.entries.contains_key(key)));
            let all = ours.entries.keys().chain(request.inventory.entries.keys()).collect::<BTreeSet<_>>();
            prop_assert!(request.prune.len() <= (all.len() * 30 / 100).max(1));
            prop_assert!(request.prune.iter().all(|(key, _)| key.kind != "Namespace"));
        }
    }
}
