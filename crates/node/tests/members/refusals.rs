//! A member that cannot start says why and ends with its code, never by a signal.

use crate::support::{Answer, plain, regraft};
use regraft_testbed::Port;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Starts of each kind: what ends a process in the middle of its threads does so only now and then.
const STARTS: usize = 5;

fn serve(folder: &Path, http: u16, more: &str) -> Answer {
    let config = folder.join("member.yaml");
    let text = format!(
        "member: {{id: 1}}\ncluster: alone\ndataDir: data\nlisten: {{http: '127.0.0.1:{http}'}}\n{more}"
    );
    std::fs::write(&config, text).unwrap();
    regraft(&["serve", "--config", config.to_str().unwrap()])
}

#[test]
fn a_taken_port_ends_the_start_before_any_database_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let http = taken.local_addr().unwrap().port();
    for _ in 0..STARTS {
        let answer = serve(folder.path(), http, "");
        assert_eq!(answer.code, 1, "{}", answer.err);
        assert!(answer.err.contains("error: CannotListen"), "{}", answer.err);
    }
    assert!(!folder.path().join("data/log").exists());
}

#[test]
fn credentials_that_cannot_be_used_are_told_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    let mut shown = String::new();
    for (content, url) in [
        ("", "http://127.0.0.1:1/fleet.git"),
        ("word\n", "file:///nowhere"),
        ("word\n", "https://me@127.0.0.1:1/fleet.git"),
    ] {
        std::fs::write(&secret, content).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let more = format!(
            "repositories:\n  - name: fleet\n    url: {url}\n    branch: main\n    credentials: {{passwordFile: secret}}\n"
        );
        for start in 0..STARTS {
            let port = Port::reserve().unwrap();
            let answer = serve(folder.path(), port.number(), &more);
            assert_eq!(answer.code, 2, "{}", answer.err);
            if start == 0 {
                shown.push_str(&plain(&answer.err, folder.path()));
            }
        }
    }
    assert!(!folder.path().join("data/log").exists());
    insta::assert_snapshot!(shown);
}

#[test]
fn what_fails_after_the_databases_are_open_closes_them_first() {
    let folder = tempfile::tempdir().unwrap();
    // The clone's folder cannot be made, and neither can the socket: both are found after the databases are open.
    for (blocked, more, reason) in [
        (
            "data/git",
            "repositories:\n  - {name: fleet, url: 'http://127.0.0.1:1/fleet.git', branch: main}\n",
            "error: FolderUnusable",
        ),
        ("data/admin.new", "", "error: CannotListen"),
    ] {
        std::fs::create_dir_all(folder.path().join("data")).unwrap();
        let blocked = folder.path().join(blocked);
        std::fs::write(&blocked, "").unwrap();
        for _ in 0..STARTS {
            let port = Port::reserve().unwrap();
            let answer = serve(folder.path(), port.number(), more);
            assert!(
                (1..=2).contains(&answer.code),
                "{}: {}",
                answer.code,
                answer.err
            );
            assert!(answer.err.contains(reason), "{}", answer.err);
        }
        std::fs::remove_file(&blocked).unwrap();
    }
}
