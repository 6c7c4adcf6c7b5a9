//! Good input to objects and configuration.

use proptest::prelude::*;
use regraft_model::config::{
    Application, Conflicts, DeletionPolicy, Mode, PartialFailure, Policy, Prune,
};
use regraft_model::source::{FileMode, SourceFile};
use regraft_model::{Location, Object, Seconds, SourceTree};
use regraft_render::{Rendered, configuration, manifests};
use serde_json::{Value, json};

fn file(bytes: &[u8]) -> SourceFile {
    SourceFile {
        blob: Default::default(),
        mode: FileMode::Regular,
        bytes: bytes.to_vec(),
    }
}

fn tree(files: &[(&str, &str)]) -> SourceTree {
    let mut tree = SourceTree::default();
    for (path, text) in files {
        tree.files.insert((*path).to_owned(), file(text.as_bytes()));
    }
    tree
}

fn application() -> Application {
    Application {
        name: "shop".into(),
        repository: "fleet".into(),
        location: Location::default(),
        path: "apps/shop".to_owned(),
        clusters: vec!["east".into()],
        namespace: "shop".to_owned(),
        mode: Mode::Observe,
        prune: Prune::Keep,
        conflicts: Conflicts::Refuse,
        suspend: false,
        deletion: DeletionPolicy::Orphan,
        policy: Policy::default(),
    }
}

fn render(files: &[(&str, &str)]) -> Rendered {
    manifests(&application(), &tree(files))
}

#[track_caller]
fn one(text: &str) -> Value {
    let rendered = render(&[("apps/shop/a.yaml", text)]);
    assert_eq!(rendered.problems, []);
    rendered.objects[0].object.0.clone()
}

fn keys(rendered: &Rendered) -> Vec<String> {
    rendered
        .objects
        .iter()
        .map(|found| found.object.key().to_string())
        .collect()
}

fn map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

#[test]
fn files_are_read_in_the_order_of_their_paths_and_others_are_left_alone() {
    let rendered = render(&[
        ("apps/shop/z.yml", &map("z")),
        (
            "apps/shop/sub/b.yaml",
            &format!("# c\n---\n{}---\n---\n{}", map("b1"), map("b2")),
        ),
        (
            "apps/shop/a.json",
            "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"a\"}\n}\n",
        ),
        ("apps/shop/.hidden/c.yaml", "nonsense: ["),
        ("apps/shop/README.md", "# hello"),
        ("apps/shop-other/x.yaml", &map("x")),
        (".regraft/x.yaml", &map("x")),
    ]);
    assert_eq!(rendered.problems, []);
    assert_eq!(
        keys(&rendered),
        [
            "ConfigMap shop/a",
            "ConfigMap shop/b1",
            "ConfigMap shop/b2",
            "ConfigMap shop/z"
        ]
    );
    let places: Vec<_> = rendered
        .objects
        .iter()
        .map(|found| found.location.to_string())
        .collect();
    assert_eq!(
        places,
        [
            "apps/shop/a.json:1:1",
            "apps/shop/sub/b.yaml:3:1",
            "apps/shop/sub/b.yaml:8:1",
            "apps/shop/z.yml:1:1"
        ]
    );
    assert_eq!(rendered.problems, []);
}

#[test]
fn lists_are_flattened() {
    let rendered = render(&[(
        "apps/shop/a.yaml",
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- apiVersion: \
         v1\n  kind: ConfigMapList\n  items:\n  - {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n",
    )]);
    assert_eq!(rendered.problems, []);
    assert_eq!(keys(&rendered), ["ConfigMap shop/a", "ConfigMap shop/b"]);
}

#[test]
fn only_namespaced_kinds_get_the_default_namespace() {
    let crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: \
               w.example.com}\nspec: {group: example.com, scope: Cluster, names: {kind: Widget}}\n";
    let files = tree(&[
        (
            "apps/shop/a.yaml",
            &format!(
                "{}---\n{crd}",
                "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n"
            ),
        ),
        (
            "apps/shop/b.yaml",
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r}\n",
        ),
        (
            "apps/shop/c.yaml",
            "apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: g}\n",
        ),
        (
            "apps/shop/d.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: other}\n",
        ),
    ]);
    assert_eq!(
        keys(&manifests(&application(), &files)),
        [
            "Widget.example.com w",
            "CustomResourceDefinition.apiextensions.k8s.io w.example.com",
            "ClusterRole.rbac.authorization.k8s.io r",
            "Gadget.example.com shop/g",
            "Secret other/s",
        ]
    );
}

#[test]
fn values_have_the_types_kubectl_gives_them() {
    let object = one(
        "apiVersion: v1\nkind: Widget\nmetadata: {name: w}\nspec:\n  text: \"8080\"\n  number: 8080\n  quoted: 'yes'\n  \
         flag: yes\n  mode: 0644\n  when: 2026-01-31T12:00:00Z\n  day: 2026-01-31\n  quantity: 10m\n  forced: !!str 12\n  \
         none: ~\n  block: |\n    a\n    b\n  folded: >-\n    a\n    b\n  base: &base {a: 1, b: 2}\n  derived: {<<: *base, \
         b: 3}\n  1: numeric key\n",
    );
    assert_eq!(
        object["spec"],
        json!({"text": "8080", "number": 8080, "quoted": "yes", "flag": true, "mode": 420,
            "when": "2026-01-31T12:00:00Z", "day": "2026-01-31", "quantity": "10m", "forced": "12", "none": null,
            "block": "a\nb\n", "folded": "a b", "base": {"a": 1, "b": 2}, "derived": {"b": 3, "a": 1},
            "1": "numeric key"})
    );
}

#[test]
fn long_json_on_one_line_is_read() {
    let data: Vec<_> = (0..300)
        .map(|index| format!("\"key-{index}\": \"{}\"", "x".repeat(20)))
        .collect();
    let text = format!(
        "{{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {{\"name\": \"a\"}}, \"data\": {{{}}}}}",
        data.join(", ")
    );
    let rendered = render(&[("apps/shop/a.json", &text)]);
    assert_eq!(rendered.problems, []);
    assert_eq!(
        rendered.objects[0].object.0["data"]
            .as_object()
            .map(serde_json::Map::len),
        Some(300)
    );
}

#[test]
fn windows_line_ends_byte_order_marks_and_directives_are_understood() {
    let text =
        format!("\u{feff}%YAML 1.2\n---\n{}...\n---\n{}", map("a"), map("b")).replace('\n', "\r\n");
    let rendered = render(&[("apps/shop/a.yaml", &text)]);
    assert_eq!(rendered.problems, []);
    assert_eq!(keys(&rendered), ["ConfigMap shop/a", "ConfigMap shop/b"]);
}

#[test]
fn what_tools_leave_empty_is_stripped_without_a_word() {
    let object = one(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, creationTimestamp: null}\nstatus: {}\n",
    );
    assert_eq!(
        object,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}})
    );
}

#[test]
fn a_configuration_is_read_with_its_defaults() {
    let text = "\
apiVersion: regraft.dev/v1alpha1
kind: Cluster
metadata:
  name: east
spec:
  credentials: prod-east
---
apiVersion: regraft.dev/v1alpha1
kind: Cluster
metadata: {name: west}
---
apiVersion: regraft.dev/v1alpha1
kind: Policy
metadata: {name: quick}
spec: {mode: auto, confirmFor: 3s, partialFailure: Revert, deleteCapPercent: 50}
---
apiVersion: regraft.dev/v1alpha1
kind: Application
metadata: {name: shop, labels: {team: a}}
spec: {path: ./apps/shop/, clusters: [west, east], policy: quick, prune: true, conflicts: Force, deletionPolicy: Delete}
---
apiVersion: regraft.dev/v1alpha1
kind: Application
metadata: {name: plain}
spec: {path: apps/plain, clusters: [east], policy: quick, mode: propose, namespace: p}
---
apiVersion: regraft.dev/v1alpha1
kind: Application
metadata: {name: bare}
spec: {path: apps/bare, clusters: [east]}
";
    let (fleet, problems) =
        configuration(&"fleet".into(), &tree(&[(".regraft/sub/all.yml", text)]));
    assert_eq!(problems, []);
    assert_eq!(fleet.clusters[&"east".into()].credentials, "prod-east");
    assert_eq!(fleet.clusters[&"west".into()].credentials, "west");
    let shop = &fleet.applications[&"shop".into()];
    let quick = Policy {
        name: "quick".to_owned(),
        confirm_for: Seconds(3),
        partial_failure: PartialFailure::Revert,
        delete_cap_percent: 50,
        ..Policy::default()
    };
    assert_eq!(
        *shop,
        Application {
            location: Location {
                file: ".regraft/sub/all.yml".to_owned(),
                line: 17,
                column: 1
            },
            clusters: vec!["east".into(), "west".into()],
            namespace: "default".to_owned(),
            mode: Mode::Auto,
            prune: Prune::Delete,
            conflicts: Conflicts::Force,
            deletion: DeletionPolicy::Delete,
            policy: quick,
            ..application()
        }
    );
    let plain = &fleet.applications[&"plain".into()];
    assert_eq!((plain.mode, plain.namespace.as_str()), (Mode::Propose, "p"));
    let bare = &fleet.applications[&"bare".into()];
    assert_eq!(
        (bare.mode, &bare.policy),
        (Mode::Observe, &Policy::default())
    );
}

#[test]
fn a_policy_named_default_is_the_default() {
    let text = "\
apiVersion: regraft.dev/v1alpha1
kind: Cluster
metadata: {name: east}
---
apiVersion: regraft.dev/v1alpha1
kind: Policy
metadata: {name: default}
spec: {mode: propose}
---
apiVersion: regraft.dev/v1alpha1
kind: Application
metadata: {name: shop}
spec: {path: apps/shop, clusters: [east]}
";
    let read = |text: &str| configuration(&"fleet".into(), &tree(&[(".regraft/a.yaml", text)]));
    let (fleet, problems) = read(text);
    assert_eq!(problems, []);
    assert_eq!(fleet.applications[&"shop".into()].mode, Mode::Propose);
    let (fleet, problems) = read(&text.replace("mode: propose", "mode: 7"));
    assert!(fleet.applications.is_empty(), "its policy is broken");
    assert_eq!(problems.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut files = SourceTree::default();
        files.files.insert("apps/shop/a.yaml".to_owned(), file(&bytes));
        files.files.insert(".regraft/a.yaml".to_owned(), file(&bytes));
        let _ = manifests(&application(), &files);
        let _ = configuration(&"fleet".into(), &files);
    }

    #[test]
    fn random_yaml_pieces_never_panic(pieces in prop::collection::vec(prop::sample::select(vec![
        "a", ":", " ", "\n", "- ", "{", "}", "[", "]", "&x ", "*x", "<<", "---\n", "...", "!!str ", "|", ">", "\"", "'",
        "#", "?", "\t", "0x", "%YAML 1.2\n", "apiVersion: ", "kind: ", "metadata: ", "name: ", "items: ", "spec: ", "é",
    ]), 0..60)) {
        let text = pieces.concat();
        let files = tree(&[("apps/shop/a.yaml", &text), (".regraft/a.yaml", &text), ("apps/shop/a.json", &text)]);
        let rendered = manifests(&application(), &files);
        for problem in &rendered.problems {
            prop_assert!(!problem.message.is_empty() && !problem.action.is_empty());
        }
        let _ = configuration(&"fleet".into(), &files);
    }

    /// What serde_json writes is read back as it was.
    #[test]
    fn json_survives(text in ".{0,30}", number in any::<i64>(), flag in any::<bool>()) {
        let object = json!({"apiVersion": "v1", "kind": "Widget", "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"text": text, "number": number, "flag": flag, "list": [text, number]}});
        let rendered = render(&[("apps/shop/a.json", &object.to_string())]);
        prop_assert_eq!(rendered.problems, []);
        prop_assert_eq!(&rendered.objects[0].object, &Object(object));
    }
}
