//! One member on loopback: the small first step of a person.

use crate::support::{READY_BOUND, Single, command, page, plain, regraft};
use regraft_testbed::wait;

#[test]
fn a_single_member_serves_answers_stops_and_comes_back() {
    let mut single = Single::start();
    single.wait_ready();

    assert_eq!(
        single.mode_of("data/admin.sock"),
        0o600,
        "only its owner may open the socket"
    );

    let status = single.regraft(&["status", "-o", "json"]);
    assert_eq!(status.code, 0, "{}", status.err);
    let status = status.json();
    assert_eq!(status["leader"], 1);
    let installation = status["installation"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(installation.len(), 16, "{status}");

    for kind in ["applications", "clusters", "incidents", "locks"] {
        assert_eq!(
            single.regraft(&["get", kind, "-o", "json"]).json(),
            serde_json::json!([]),
            "{kind}"
        );
    }
    let members = single.regraft(&["get", "members", "-o", "json"]).json();
    assert_eq!(members[0]["role"], "leader", "{members}");
    assert_eq!(members[0]["contact"], "Reachable", "{members}");
    let status = single.regraft(&["status", "--stale", "-o", "json"]).json();
    assert_eq!(status["stale"], false, "it is the majority by itself");

    let suspended = single.regraft(&["suspend", "--all", "--reason", "maintenance"]);
    assert_eq!(
        (suspended.code, suspended.out.as_str()),
        (0, "all is suspended\n"),
        "{}",
        suspended.err
    );
    let audit = single.regraft(&["audit", "-o", "json"]).json();
    // The member itself says beside it what it reads.
    let mut entries = audit.as_array().unwrap().iter();
    let said = entries.find(|entry| entry["reason"] == "Suspended");
    let actor = said.and_then(|entry| entry["actor"].as_str());
    assert!(
        actor.is_some_and(|actor| actor.starts_with("unix/")),
        "{audit}"
    );
    assert!(
        single
            .regraft(&["status"])
            .out
            .contains("! all is suspended by unix/")
    );

    let (code, metrics) = page(single.http.number(), "/metrics").unwrap();
    assert_eq!(code, 200);
    for name in [
        "regraft_invariant_prevented_total{invariant=\"I1\"} 0",
        "regraft_raft_leader 1",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
    assert_eq!(
        page(single.http.number(), "/healthz").unwrap(),
        (200, "ok\n".to_owned())
    );

    assert!(single.member.stop(), "SIGTERM ends it with success");
    let gone = single.regraft(&["status"]);
    assert_eq!(gone.code, 4);
    single.member.restart().unwrap();
    single.wait_ready();
    let status = single.regraft(&["status", "-o", "json"]).json();
    assert_eq!(
        status["installation"],
        installation.as_str(),
        "it is the same installation as before"
    );
    assert_eq!(status["suspensions"][0]["reason"], "maintenance");
}

#[test]
fn what_is_not_there_is_said_with_a_next_action() {
    let mut single = Single::start();
    single.wait_ready();
    let mut shown = String::new();
    for line in [
        &["get", "applications", "shop"][..],
        &["describe", "incident", "shop-1"],
        &["diff", "shop"],
        &["sync", "shop"],
        &["suspend", "shop"],
        &["resume", "--repository", "shop"],
        &["approve", "shop-1", "--diff", "0123456789"],
        &["veto", "shop-1", "--reason", "no"],
        &["confirm-delete", "shop", "--yes"],
        &["forget-cluster", "eu-west"],
    ] {
        let answer = single.regraft(line);
        assert!(answer.out.is_empty(), "{}", answer.out);
        shown.push_str(&format!(
            "$ regraft {}\n{}exit {}\n",
            line.join(" "),
            answer.err,
            answer.code
        ));
    }
    insta::assert_snapshot!(shown);
    let resumed = single.regraft(&["resume", "--all"]);
    assert_eq!(
        (resumed.code, resumed.out.as_str()),
        (0, "all was not suspended: nothing was changed\n"),
        "{}",
        resumed.err
    );
    let nothing = single.regraft(&["get", "applications"]);
    assert_eq!(
        (nothing.code, nothing.out.as_str(), nothing.err.as_str()),
        (0, "", "No applications found.\n")
    );
}

#[test]
fn a_watch_goes_on_after_an_outage_and_says_so_once() {
    let mut single = Single::start();
    single.wait_ready();
    let log = single.folder.path().join("watch.log");
    let both = std::fs::File::create(&log).unwrap();
    let mut watch = command()
        .arg("--config")
        .arg(single.config())
        .args(["get", "members", "--watch", "-o", "name"])
        .stdout(both.try_clone().unwrap())
        .stderr(both)
        .spawn()
        .unwrap();
    let wait_for = |what: &str| {
        wait::until(what, READY_BOUND, || {
            let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
            text.contains(what).then_some(()).ok_or(text)
        })
        .unwrap();
    };
    wait_for("member/1\n");
    assert!(single.member.stop());
    wait_for("  it is asked again until you interrupt this\n");
    single.member.restart().unwrap();
    wait_for("the member answers again\n");
    watch.kill().unwrap();
    watch.wait().unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        text.contains("error: Unreachable: the member does not answer any more: "),
        "{text}"
    );
    assert_eq!(text.matches("it is asked again").count(), 1, "{text}");
    assert!(!text.contains("tonic"), "{text}");
}

#[test]
fn a_second_member_on_the_same_data_is_refused() {
    let mut single = Single::start();
    single.wait_ready();
    let port = regraft_testbed::Port::reserve().unwrap();
    let config = single.folder.path().join("second.yaml");
    let text = format!(
        "member: {{id: 1}}\ncluster: alone\ndataDir: data\nlisten: {{http: '127.0.0.1:{}'}}\n",
        port.number()
    );
    std::fs::write(&config, text).unwrap();
    let answer = regraft(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(answer.code, 1, "{}", answer.err);
    assert!(answer.err.contains("error: DataInUse"), "{}", answer.err);
    assert_eq!(
        single.regraft(&["status"]).code,
        0,
        "the first is not disturbed"
    );
}

#[test]
fn data_of_another_member_is_refused() {
    let mut single = Single::start();
    single.wait_ready();
    assert!(single.member.stop());
    let config = std::fs::read_to_string(single.config()).unwrap();
    std::fs::write(single.config(), config.replace("id: 1", "id: 2")).unwrap();
    let answer = single.regraft(&["serve"]);
    assert_eq!(answer.code, 2, "{}", answer.err);
    assert!(answer.err.contains("error: ForeignData"), "{}", answer.err);
}

#[test]
fn nobody_at_the_address_is_told_with_a_next_action() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let answer = regraft(&["status", "--address", socket.to_str().unwrap()]);
    assert_eq!(answer.code, 4);
    insta::assert_snapshot!(plain(&answer.err, folder.path()), @r"
    error: Unreachable: no member answers at FOLDER/admin.sock: No such file or directory (os error 2)
      next: is the member running (`regraft serve`)? name another with --address or REGRAFT_ADDRESS
    ");
}

#[test]
fn a_bad_configuration_ends_serve_with_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("member.yaml");
    std::fs::write(&config, "member: {id: 1}\ncluster: demo\ndatadir: data\n").unwrap();
    let answer = regraft(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(answer.code, 2);
    insta::assert_snapshot!(plain(&answer.err, folder.path()), @r"
    error: UnknownField: FOLDER/member.yaml:3:1: `datadir` is not a field here
      next: did you mean `dataDir`?
    ");
}

#[test]
fn addresses_and_certificates_are_checked_before_anybody_is_asked() {
    let shown: Vec<String> = [
        &["serve"][..],
        &["status", "--address", "localhost"],
        &["status", "--address", "127.0.0.1:7201"],
        &[
            "status",
            "--address",
            "127.0.0.1:7201",
            "--ca",
            "/nowhere/ca.pem",
            "--cert",
            "/nowhere/a.pem",
            "--key",
            "/nowhere/a-key.pem",
        ],
    ]
    .iter()
    .map(|line| {
        let answer = regraft(line);
        format!("{}exit {}\n", answer.err, answer.code)
    })
    .collect();
    insta::assert_snapshot!(shown.concat());
}
