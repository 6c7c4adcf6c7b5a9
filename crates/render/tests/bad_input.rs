//! What people read when their input is wrong: file, line, column, what, and one next action.

use regraft_model::config::{Application, Fleet, Mode, Policy};
use regraft_model::source::{FileMode, SourceFile};
use regraft_model::{Location, Problem, SourceTree};
use regraft_render::{configuration, manifests};
use std::fmt::Write as _;

fn tree<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> SourceTree {
    let mut tree = SourceTree::default();
    for (path, text) in files {
        let bytes = text.as_bytes().to_vec();
        tree.files.insert(
            path.to_owned(),
            SourceFile {
                blob: Default::default(),
                mode: FileMode::Regular,
                bytes,
            },
        );
    }
    tree
}

fn application() -> Application {
    Application {
        name: "shop".into(),
        repository: "fleet".into(),
        location: Location {
            file: ".regraft/shop.yaml".to_owned(),
            line: 1,
            column: 1,
        },
        path: "apps/shop".to_owned(),
        clusters: vec!["east".into()],
        namespace: "shop".to_owned(),
        mode: Mode::Observe,
        prune: Default::default(),
        conflicts: Default::default(),
        suspend: false,
        deletion: Default::default(),
        policy: Policy::default(),
    }
}

fn told(title: &str, problems: &[Problem], story: &mut String) {
    let _ = writeln!(story, "# {title}");
    for problem in problems {
        let _ = writeln!(story, "{problem}");
    }
    let _ = writeln!(story);
}

const CLUSTER: &str = "apiVersion: regraft.dev/v1alpha1\nkind: Cluster\nmetadata: {name: east}\n";

/// One broken object beside a good one: the good one has to survive.
fn configured(title: &str, text: &str, story: &mut String) -> Fleet {
    let good = format!(
        "{CLUSTER}---\napiVersion: regraft.dev/v1alpha1\nkind: Application\nmetadata:\n  name: good\nspec:\n  path: \
         apps/good\n  clusters: [east]\n"
    );
    let files = tree([
        (".regraft/a-good.yaml", good.as_str()),
        (".regraft/b.yaml", text),
    ]);
    let (fleet, problems) = configuration(&"fleet".into(), &files);
    told(title, &problems, story);
    assert!(
        fleet.applications.contains_key(&"good".into()),
        "{title}: a sibling was lost"
    );
    fleet
}

fn spec(kind: &str, spec: &str) -> String {
    format!("apiVersion: regraft.dev/v1alpha1\nkind: {kind}\nmetadata:\n  name: bad\nspec:\n{spec}")
}

#[test]
fn configuration_mistakes_are_told_with_their_place_and_spare_their_siblings() {
    let app = |body: &str| spec("Application", body);
    let cases: Vec<(&str, String)> = vec![
        (
            "an unknown field",
            app("  path: a\n  cluster: [east]\n  clusters: [east]\n"),
        ),
        ("a wrong type", app("  path: 7\n  clusters: east\n")),
        ("a missing field", app("  clusters: []\n")),
        (
            "no spec at all",
            "apiVersion: regraft.dev/v1alpha1\nkind: Application\nmetadata: {name: bad}\n"
                .to_owned(),
        ),
        (
            "an unknown cluster",
            app("  path: a\n  clusters: [east, eats]\n"),
        ),
        (
            "the same cluster twice",
            app("  path: a\n  clusters: [east, east]\n"),
        ),
        (
            "an unknown policy",
            app("  path: a\n  clusters: [east]\n  policy: stict\n"),
        ),
        (
            "a path that leads upwards",
            app("  path: ../secrets\n  clusters: [east]\n"),
        ),
        (
            "an absolute path",
            app("  path: /etc\n  clusters: [east]\n"),
        ),
        (
            "the whole repository",
            app("  path: .\n  clusters: [east]\n"),
        ),
        (
            "our own folder",
            app("  path: .regraft/apps\n  clusters: [east]\n"),
        ),
        (
            "an unknown mode",
            app("  path: a\n  clusters: [east]\n  mode: atuo\n"),
        ),
        (
            "a flag that is text",
            app("  path: a\n  clusters: [east]\n  prune: \"true\"\n"),
        ),
        (
            "a namespace that is none",
            app("  path: a\n  clusters: [east]\n  namespace: My_Shop\n"),
        ),
        (
            "a wrong apiVersion and a wrong kind",
            "apiVersion: regraft.dev/v1\nkind: Aplication\nmetadata: {name: bad}\n".to_owned(),
        ),
        (
            "no kind and no name",
            "apiVersion: regraft.dev/v1alpha1\nmetadata: {}\n".to_owned(),
        ),
        (
            "a name that is none",
            app("").replace("name: bad", "name: Bad_Name"),
        ),
        (
            "a duplicate name",
            app("  path: a\n  clusters: [east]\n").replace("name: bad", "name: good"),
        ),
        ("not an object", "- just\n- a list\n".to_owned()),
        (
            "broken syntax",
            "apiVersion: regraft.dev/v1alpha1\nkind: [Application\n".to_owned(),
        ),
        (
            "a tab for indentation",
            "apiVersion: regraft.dev/v1alpha1\nmetadata:\n\tname: bad\n".to_owned(),
        ),
        (
            "a field twice",
            app("  path: a\n  path: b\n  clusters: [east]\n"),
        ),
        (
            "policy values that make no sense",
            spec(
                "Policy",
                "  confirmFor: 0s\n  stormPercent: 120\n  maxConcurrentRepairs: 0\n  verifyFor: 5 minutes\n  cooldown: 90\n  lockLease: 1s\n  maxActionsPerHour: 1.5\n",
            ),
        ),
        (
            "an unknown policy field",
            spec("Policy", "  confirmfor: 3s\n"),
        ),
        (
            "an unknown cluster field",
            spec("Cluster", "  kubeconfig: /tmp/x\n"),
        ),
        (
            "a reference to a broken policy",
            format!(
                "{}---\n{}",
                spec("Policy", "  confirmFor: soon\n"),
                spec(
                    "Application",
                    "  path: a\n  clusters: [east]\n  policy: bad\n"
                )
            ),
        ),
        (
            "one broken document of two",
            format!("kind: [\n---\n{}", spec("Cluster", "  suspend: maybe\n")),
        ),
    ];
    let mut story = String::new();
    for (title, text) in &cases {
        let fleet = configured(title, text, &mut story);
        assert!(!fleet.applications.contains_key(&"bad".into()), "{title}");
    }
    insta::assert_snapshot!("configuration", story);
}

#[test]
fn manifest_mistakes_are_told_with_their_place_and_spare_their_siblings() {
    let good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n";
    let map = |metadata: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n{metadata}");
    let bomb: String = (1..10).fold(
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(),
        |mut text, level| {
            let before = format!("*a{}", level - 1);
            let _ = writeln!(
                text,
                "a{level}: &a{level} [{}]",
                [before.as_str(); 10].join(", ")
            );
            text
        },
    );
    let deep = format!("a: {}{}\n", "[".repeat(500), "]".repeat(500));
    let cases: Vec<(&str, &str, String)> = vec![
        ("broken syntax", "b.yaml", "apiVersion: v1\nkind: \"ConfigMap\nmetadata: {}\n".to_owned()),
        ("bad indentation", "b.yaml", "apiVersion: v1\n  kind: ConfigMap\n".to_owned()),
        ("broken JSON", "b.json", "{\"apiVersion\": \"v1\",\n \"kind\": }\n".to_owned()),
        ("no apiVersion, kind or name", "b.yaml", "data: {a: b}\n".to_owned()),
        ("a number for a name", "b.yaml", map("  name: 12\n")),
        ("a name with a slash", "b.yaml", map("  name: a/b\n")),
        ("a generated name", "b.yaml", map("  generateName: job-\n")),
        ("a label that is no text", "b.yaml", map("  name: a\n  labels:\n    version: 1.10\n    debug: yes\n")),
        ("fields of the server", "b.yaml", map("  name: a\n  uid: 123\n  resourceVersion: \"7\"\nstatus: {ready: true}\n")),
        ("our own marks", "b.yaml", map("  name: a\n  labels: {regraft.dev/application: other}\n")),
        ("the same object twice", "b.yaml", map("  name: good\n")),
        ("a namespace where none can be", "b.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n".to_owned()),
        ("a kustomization", "kustomization.yaml", "resources: [a.yaml]\n".to_owned()),
        ("a kustomization by another name", "b.yaml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nmetadata: {name: a}\n".to_owned()),
        ("an encrypted Secret", "b.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nsops: {mac: x}\n".to_owned()),
        ("our configuration", "b.yaml", "apiVersion: regraft.dev/v1alpha1\nkind: Policy\nmetadata: {name: a}\n".to_owned()),
        ("a text instead of an object", "b.yaml", "hello\n".to_owned()),
        ("an alias bomb", "b.yaml", bomb),
        ("an alias of itself", "b.yaml", "a: &a [*a]\n".to_owned()),
        ("an unknown alias", "b.yaml", "a: *nobody\n".to_owned()),
        ("endless nesting", "b.yaml", deep),
        ("a tag", "b.yaml", "a: !ruby/object x\n".to_owned()),
        ("a number JSON has not", "b.yaml", "a: .nan\n".to_owned()),
        ("a field twice", "b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: a\n  x: b\n".to_owned()),
        ("a key that is a map", "b.yaml", "apiVersion: v1\ndata:\n  {{ .Values.x }}: a\n".to_owned()),
        ("a template", "b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Values.name }}\n".to_owned()),
    ];
    let mut story = String::new();
    for (title, name, text) in &cases {
        let path = format!("apps/shop/{name}");
        let files = tree([
            ("apps/shop/a-good.yaml", good),
            (path.as_str(), text.as_str()),
        ]);
        let rendered = manifests(&application(), &files);
        told(title, &rendered.problems, &mut story);
        assert!(!rendered.problems.is_empty(), "{title}");
        assert!(
            rendered
                .objects
                .iter()
                .any(|found| found.object.name() == "good"),
            "{title}: a sibling was lost"
        );
    }
    insta::assert_snapshot!("manifests", story);
}

#[test]
fn files_that_are_not_read_are_told() {
    let mut files = tree([
        ("apps/shop/link.yaml", "../other.yaml"),
        ("apps/shop/big.yaml", ""),
    ]);
    if let Some(file) = files.files.get_mut("apps/shop/link.yaml") {
        file.mode = FileMode::Link;
    }
    if let Some(file) = files.files.get_mut("apps/shop/big.yaml") {
        file.bytes = vec![b'#'; 5 * 1024 * 1024];
    }
    files.files.insert(
        "apps/shop/latin.yaml".to_owned(),
        SourceFile {
            blob: Default::default(),
            mode: FileMode::Regular,
            bytes: vec![b'a', 0xe9],
        },
    );
    let mut story = String::new();
    told(
        "links, sizes, encodings",
        &manifests(&application(), &files).problems,
        &mut story,
    );
    let empty = tree([("apps/shop/README.md", "x")]);
    told(
        "nothing there",
        &manifests(&application(), &empty).problems,
        &mut story,
    );
    let comments = tree([("apps/shop/a.yaml", "# all gone\n")]);
    told(
        "nothing in it",
        &manifests(&application(), &comments).problems,
        &mut story,
    );
    insta::assert_snapshot!("files", story);
}

#[test]
fn many_documents_have_no_more_room_for_values_than_one() {
    let levels = (1..5).map(|level| {
        let below = format!("*a{}", level - 1);
        format!(
            "a{level}: &a{level} [{}]\n",
            [below.as_str(); 10].join(", ")
        )
    });
    let document = format!(
        "---\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n{}",
        levels.collect::<String>()
    );
    let file = document.repeat(15);
    let files = tree([
        ("apps/shop/a.yaml", file.as_str()),
        ("apps/shop/b.yaml", &file),
    ]);
    let problems = manifests(&application(), &files).problems;
    let too_many = problems.iter().find(|it| it.reason == "TooManyValues");
    assert_eq!(
        too_many.map(|it| it.location.file.as_str()),
        Some("apps/shop/b.yaml")
    );
}
