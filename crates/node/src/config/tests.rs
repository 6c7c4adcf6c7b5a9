//! A table of what people get wrong, with what they are told.

use super::*;
use std::fmt::Write as _;

const GOOD: &str = "\
member: {id: 1}
cluster: demo
dataDir: data
";

const KUBECONFIG: &str = "\
current-context: reader
contexts: [{name: reader, context: {cluster: a, user: me}}, {name: admin, context: {cluster: a, user: me}}]
clusters: [{name: a, cluster: {server: 'https://a.example:6443'}}]
users: [{name: me, user: {token: hunter2}}]
";

/// A name that is too long for the path of a socket, and short enough for a folder.
const LONG_NAME_BYTES: usize = 120;

/// Reads `text` as a file in a fresh folder; problems are shown without the folder's name.
fn read_text(text: &str) -> Result<MemberConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("member.yaml");
    std::fs::write(folder.path().join("kubeconfig"), KUBECONFIG).unwrap();
    std::fs::write(folder.path().join("a-file"), "word\n").unwrap();
    std::fs::write(&path, text).unwrap();
    read(&path).map_err(|problems| {
        let mut shown = String::new();
        for problem in problems {
            let line = problem
                .to_string()
                .replace(&format!("{}/", folder.path().display()), "");
            writeln!(shown, "{line}").unwrap();
        }
        shown
    })
}

fn check(text: &str) -> String {
    read_text(text).unwrap_err()
}

#[test]
fn the_smallest_configuration_is_a_single_member_on_loopback() {
    let config = read_text(GOOD).unwrap();
    assert_eq!(config.member, MemberId(1));
    assert_eq!(config.name, "member-1");
    assert_eq!(config.raft.to_string(), "127.0.0.1:7101");
    assert!(matches!(&config.admin, AdminAddress::Unix(path) if path.ends_with("data/admin.sock")));
    assert_eq!(config.members.len(), 1);
    assert!(config.tls.is_none());
}

#[test]
fn a_whole_configuration_is_read() {
    let config = read_text(
        "\
member: {id: 2, name: eu-2}
cluster: demo
dataDir: data
listen: {raft: '127.0.0.1:7111', admin: '127.0.0.1:7211', http: '127.0.0.1:7311'}
peers:
  - {id: 1, raft: '127.0.0.1:7101', admin: '127.0.0.1:7201'}
  - {id: 2, raft: 'eu-2.example.org:7111', admin: 'eu-2.example.org:7211'}
  - {id: 3, raft: '127.0.0.1:7121'}
tls: {ca: a-file, cert: a-file, key: a-file}
repositories:
  - name: shop
    url: http://127.0.0.1:3000/shop.git
    branch: main
    pollInterval: 1s
    credentials: {username: bot, passwordFile: a-file}
    author: {name: regraft, mail: regraft@example.org}
clusters:
  - {name: eu-west, kubeconfig: kubeconfig}
  - {name: us-east, kubeconfig: kubeconfig, context: admin}
log: {format: json, level: debug}
",
    )
    .unwrap();
    assert_eq!(config.repositories[0].poll, Seconds(1));
    assert!(
        matches!(&config.repositories[0].credentials, CredentialsSource::Basic { user, .. } if user == "bot")
    );
    let own = config
        .members
        .iter()
        .find(|peer| peer.id == MemberId(2))
        .unwrap();
    assert_eq!(
        own.raft, "eu-2.example.org:7111",
        "the own entry says how the others reach it"
    );
    assert_eq!(config.clusters.len(), 2);
    assert_eq!(config.log_format, LogFormat::Json);
}

#[test]
fn the_words_of_the_parser_are_not_told() {
    let told = |text: &str| check(text).trim_end().to_owned();
    let shown = [
        told("member: [1, 2]\n"),
        told("member: {id: 1}\ncluster: {a: b}\n"),
        told("member: {id: 1}\nrepositories: 5\n"),
        told("member: *other\n"),
    ];
    insta::assert_snapshot!(shown.join("\n"), @r"
    member.yaml:1:9: WrongType: a group of fields (`name: value`) belongs here (correct the value)
    member.yaml:2:10: WrongType: text belongs here (correct the value)
    member.yaml:2:15: WrongType: a list belongs here (correct the value)
    member.yaml:1:9: Invalid: reference to unknown value (correct the file)
    ");
}

#[test]
fn every_mistake_is_told_with_its_place_and_a_next_action() {
    let cases = [
        ("unknown field", format!("{GOOD}repositorys: []\n")),
        (
            "field in the wrong case",
            "member: {id: 1}\ncluster: demo\ndata_dir: data\n".to_owned(),
        ),
        (
            "missing field",
            "member: {id: 1}\ncluster: demo\n".to_owned(),
        ),
        (
            "wrong type",
            "member: {id: one}\ncluster: demo\ndataDir: data\n".to_owned(),
        ),
        (
            "empty value",
            "member: {id: 1}\ncluster:\ndataDir: data\n".to_owned(),
        ),
        ("empty file", String::new()),
        ("two documents", format!("{GOOD}---\n{GOOD}")),
        ("no YAML", "member: {id: 1\n".to_owned()),
        (
            "id 0",
            "member: {id: 0}\ncluster: demo\ndataDir: data\n".to_owned(),
        ),
        (
            "bad cluster id",
            "member: {id: 1}\ncluster: My_Cluster\ndataDir: data\n".to_owned(),
        ),
        (
            "data folder is a file",
            "member: {id: 1}\ncluster: demo\ndataDir: a-file\n".to_owned(),
        ),
        ("no address", format!("{GOOD}listen: {{http: localhost}}\n")),
        (
            "port clash",
            format!("{GOOD}listen: {{raft: '127.0.0.1:7101', http: '127.0.0.1:7101'}}\n"),
        ),
        (
            "trio without certificates",
            format!("{GOOD}peers: [{{id: 2, raft: '127.0.0.1:7102'}}]\n"),
        ),
        (
            "beyond loopback without certificates",
            format!("{GOOD}listen: {{raft: '0.0.0.0:7101'}}\n"),
        ),
        (
            "admin over TCP without certificates",
            format!("{GOOD}listen: {{admin: '127.0.0.1:7201'}}\n"),
        ),
        (
            "certificate missing",
            format!("{GOOD}tls: {{ca: nowhere.pem, cert: a-file, key: a-file}}\n"),
        ),
        (
            "peer twice",
            format!(
                "{GOOD}tls: {{ca: a-file, cert: a-file, key: a-file}}\npeers:\n  - {{id: 2, raft: 'a:1'}}\n  - {{id: 2, raft: 'b:1'}}\n"
            ),
        ),
        (
            "two peers, one address",
            format!(
                "{GOOD}tls: {{ca: a-file, cert: a-file, key: a-file}}\npeers:\n  - {{id: 2, raft: 'a:1'}}\n  - {{id: 3, raft: 'a:1'}}\n"
            ),
        ),
        (
            "password in the file",
            format!(
                "{GOOD}repositories:\n  - {{name: r, url: 'https://h/r.git', branch: main, credentials: {{password: hunter2}}}}\n"
            ),
        ),
        (
            "password in the URL",
            format!(
                "{GOOD}repositories:\n  - {{name: r, url: 'https://bot:hunter2@h/r.git', branch: main}}\n"
            ),
        ),
        (
            "no URL",
            format!("{GOOD}repositories:\n  - {{name: r, url: shop, branch: main}}\n"),
        ),
        (
            "user in the URL",
            format!(
                "{GOOD}repositories:\n  - {{name: r, url: 'https://hunter2@h/r.git', branch: main}}\n"
            ),
        ),
        (
            "bad branch",
            format!("{GOOD}repositories:\n  - {{name: r, url: 'https://h/r.git', branch: a..b}}\n"),
        ),
        (
            "variable not set",
            format!(
                "{GOOD}repositories:\n  - {{name: r, url: 'https://h/r.git', branch: main, credentials: {{tokenEnv: REGRAFT_NOT_SET}}}}\n"
            ),
        ),
        (
            "key without known hosts",
            format!(
                "{GOOD}repositories:\n  - {{name: r, url: 'ssh://git@h/r.git', branch: main, credentials: {{sshKeyFile: a-file}}}}\n"
            ),
        ),
        (
            "duration without unit",
            format!(
                "{GOOD}repositories:\n  - {{name: r, url: 'https://h/r.git', branch: main, pollInterval: '5'}}\n"
            ),
        ),
        (
            "too eager",
            format!(
                "{GOOD}repositories:\n  - {{name: r, url: 'https://h/r.git', branch: main, pollInterval: 0s}}\n"
            ),
        ),
        (
            "repository twice",
            format!(
                "{GOOD}repositories:\n  - {{name: r, url: 'https://h/r.git', branch: main}}\n  - {{name: r, url: 'https://h/r.git', branch: main}}\n"
            ),
        ),
        (
            "kubeconfig missing",
            format!("{GOOD}clusters: [{{name: eu, kubeconfig: nowhere}}]\n"),
        ),
        (
            "kubeconfig that is none",
            format!("{GOOD}clusters: [{{name: eu, kubeconfig: a-file}}]\n"),
        ),
        (
            "context that the kubeconfig lacks",
            format!("{GOOD}clusters: [{{name: eu, kubeconfig: kubeconfig, context: prod}}]\n"),
        ),
        ("level", format!("{GOOD}log: {{level: verbose}}\n")),
        ("format", format!("{GOOD}log: {{format: xml}}\n")),
    ];
    let mut shown = String::new();
    for (name, text) in cases {
        let problems = check(&text);
        assert!(
            !problems.contains("hunter2"),
            "a secret is told: {problems}"
        );
        writeln!(shown, "{name}:\n{}", problems.trim_end()).unwrap();
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_socket_that_is_too_long_for_its_address_is_told_where_its_path_comes_from() {
    let long = "d".repeat(LONG_NAME_BYTES);
    let told = |text: String| {
        let problems = check(&text);
        let place = problems.find(": TooLong: ").map(|end| &problems[..end]);
        let action = problems.find('(').map(|start| problems[start..].trim_end());
        format!(
            "{} {}",
            place.unwrap_or(&problems),
            action.unwrap_or_default()
        )
    };
    let shown = [
        told(format!(
            "member: {{id: 1}}\ncluster: demo\ndataDir: {long}\n"
        )),
        told(format!("{GOOD}listen: {{admin: 'unix:{long}'}}\n")),
    ];
    insta::assert_snapshot!(shown.join("\n"), @r"
    member.yaml:3:10 (shorten `dataDir`, or set `listen.admin`)
    member.yaml:4:17 (choose a shorter path)
    ");
    let elsewhere = format!(
        "member: {{id: 1}}\ncluster: demo\ndataDir: {long}\nlisten: {{admin: 'unix:/run/regraft.sock'}}\n"
    );
    assert!(
        read_text(&elsewhere).is_ok(),
        "only the socket that is used counts"
    );
}

#[test]
fn several_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let problems = check("member: {id: 0}\ncluster: X\ndataDir: data\nlog: {level: loud}\n");
    assert_eq!(problems.lines().count(), 3, "{problems}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let problems = read(Path::new("/nowhere/member.yaml")).unwrap_err();
    insta::assert_snapshot!(problems[0].to_string(), @r#"/nowhere/member.yaml: Unreadable: the member's configuration cannot be read: No such file or directory (os error 2) (name it with --config, or write at least `member: {id: 1}`, `cluster: home` and `dataDir: data`, one a line; README, "Your own cluster", has a whole one to copy)"#);
}
