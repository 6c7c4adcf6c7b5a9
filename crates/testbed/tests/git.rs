//! The Git servers serve what git serves, and hold pushes at the moment they are told to.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use regraft_testbed::{
    Author, Credentials, GitServer, HoldPoint, HttpOptions, SshServer, TestDir, WorkClone, wait,
};

const SOON: Duration = Duration::from_secs(30);

fn server(dir: &TestDir, options: HttpOptions) -> GitServer {
    let seed = dir.folder("seed-files").unwrap();
    std::fs::write(seed.join("README.md"), "a fleet\n").unwrap();
    let server = GitServer::http(dir.path(), options).unwrap();
    server.seed(&seed).unwrap();
    server
}

fn git(dir: &Path, home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .args(args)
        .env("HOME", home)
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    command
}

fn succeeds(command: &mut Command) -> bool {
    command.output().unwrap().status.success()
}

/// A clone with one new commit that is not pushed yet.
fn with_new_commit(server: &GitServer, name: &str) -> WorkClone {
    let clone = server.work_clone(&Author::named(name)).unwrap();
    clone.write("apps/shop/note.txt", name).unwrap();
    clone.commit(&format!("Leave a note by {name}")).unwrap();
    clone
}

#[test]
fn a_push_over_http_needs_the_right_password() {
    let dir = TestDir::new("git").unwrap();
    let credentials = Credentials {
        user: "bot".to_owned(),
        password: "s3cret".to_owned(),
    };
    let server = server(
        &dir,
        HttpOptions {
            credentials: Some(credentials.clone()),
        },
    );
    assert!(!format!("{credentials:?}").contains("s3cret"));
    let clone = with_new_commit(&server, "Ann Example");

    let push = |url: &str| succeeds(&mut git(clone.path(), dir.path(), &["push", url, "main"]));
    assert!(!push(&server.url()));
    assert!(!push(&server.url().replace("//", "//bot:wrong@")));
    assert!(push(&server.url().replace("//", "//bot:s3cret@")));
    assert_eq!(server.repository().head().unwrap(), clone.head().unwrap());
    let counts = server.counts();
    assert_eq!(counts.receive_pack, 1);
    assert!(counts.unauthorized >= 2, "{counts:?}");
}

#[test]
fn a_large_push_arrives_whole() {
    let dir = TestDir::new("git").unwrap();
    let server = server(&dir, HttpOptions::default());
    let clone = with_new_commit(&server, "Ann Example");
    // More than git's post buffer, and not compressible: it is sent in chunks after a probe.
    let mut noise = 1u64;
    let bytes: String = (0..600_000)
        .map(|_| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            format!("{:x}", noise >> 40)
        })
        .collect();
    clone.write("large.txt", &bytes).unwrap();
    let head = clone.commit("Add noise").unwrap();
    assert!(succeeds(&mut git(
        clone.path(),
        dir.path(),
        &["push", &server.url(), "main"]
    )));
    assert_eq!(server.repository().head().unwrap(), head);
    let copy = dir.path().join("copy");
    assert!(succeeds(&mut git(
        dir.path(),
        dir.path(),
        &["clone", "-q", &server.url(), &copy.display().to_string()]
    )));
    assert_eq!(
        std::fs::read_to_string(copy.join("large.txt")).unwrap(),
        bytes
    );
}

#[test]
fn a_push_is_held_before_or_after_git_takes_it() {
    let dir = TestDir::new("git").unwrap();
    let server = server(&dir, HttpOptions::default());
    let clone = with_new_commit(&server, "Ann Example");
    let url = server.url();
    let start = || {
        git(clone.path(), dir.path(), &["push", "-q", &url, "main"])
            .spawn()
            .unwrap()
    };
    let before = server.repository().head().unwrap();

    server.hold_pushes(HoldPoint::BeforeAccept);
    let mut pusher = start();
    server.wait_held(SOON).unwrap();
    assert_eq!(server.repository().head().unwrap(), before);
    server.drop_held();
    assert!(!pusher.wait().unwrap().success());
    assert_eq!(server.repository().head().unwrap(), before);

    server.hold_pushes(HoldPoint::AfterAccept);
    let mut pusher = start();
    server.wait_held(SOON).unwrap();
    assert_eq!(server.repository().head().unwrap(), clone.head().unwrap());
    assert!(pusher.try_wait().unwrap().is_none());
    server.release();
    assert!(pusher.wait().unwrap().success());
}

#[test]
fn the_next_request_fails_on_purpose_and_the_one_after_does_not() {
    let dir = TestDir::new("git").unwrap();
    let server = server(&dir, HttpOptions::default());
    let url = server.url();
    let list = || succeeds(&mut git(dir.path(), dir.path(), &["ls-remote", &url]));
    server.fail_next(503);
    assert!(!list());
    assert!(list());
    assert!(server.counts().refs_for_fetch >= 1);
}

#[test]
fn the_same_repository_is_served_over_ssh() {
    let dir = TestDir::new("git").unwrap();
    let server = server(&dir, HttpOptions::default());
    let ssh = SshServer::start(dir.path(), server.repository()).unwrap();
    let clone = with_new_commit(&server, "Ann Example");
    let command = |key: &Path| {
        format!(
            "ssh -F none -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes",
            key.display(),
            ssh.known_hosts().display()
        )
    };
    let push = |key: &Path| {
        git(clone.path(), dir.path(), &["push", ssh.url(), "main"])
            .env("GIT_SSH_COMMAND", command(key))
            .output()
            .unwrap()
    };
    let output = push(&ssh.private_key());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(server.repository().head().unwrap(), clone.head().unwrap());
    assert!(!push(&dir.path().join("no such key")).status.success());
}

#[test]
fn people_push_force_and_revert() {
    let dir = TestDir::new("git").unwrap();
    let server = server(&dir, HttpOptions::default());
    let first = server.repository().head().unwrap();
    let ann = with_new_commit(&server, "Ann Example");
    let note = ann.publish("unused").unwrap_err();
    assert!(note.to_string().contains("nothing to commit"), "{note}");
    ann.push().unwrap();
    let bob = server.work_clone(&Author::named("Bob Example")).unwrap();
    let undone = bob.revert(&ann.head().unwrap()).unwrap();
    bob.push().unwrap();
    assert_eq!(server.repository().head().unwrap(), undone);
    assert_eq!(
        server.repository().log("%an").unwrap(),
        ["Bob Example", "Ann Example", "Platform Team"]
    );
    bob.reset_hard(&first).unwrap();
    bob.force_push().unwrap();
    assert_eq!(server.repository().head().unwrap(), first);
}

#[test]
fn commits_are_found_by_their_trailer() {
    let dir = TestDir::new("git").unwrap();
    let server = server(&dir, HttpOptions::default());
    let clone = with_new_commit(&server, "Ann Example");
    clone.write("x", "y").unwrap();
    let commit = clone
        .commit("Restore the shop\n\nBecause.\n\nRegraft-Incident: i-7\nRegraft-Plan: i-7-1\n")
        .unwrap();
    clone.push().unwrap();
    assert_eq!(
        server
            .repository()
            .commits_with_trailer("Regraft-Incident", "i-7")
            .unwrap(),
        [commit]
    );
    assert!(
        server
            .repository()
            .commits_with_trailer("Regraft-Incident", "i-8")
            .unwrap()
            .is_empty()
    );
}

#[test]
fn dropping_the_server_lets_go_of_held_pushes() {
    let dir = TestDir::new("git").unwrap();
    let server = server(&dir, HttpOptions::default());
    let clone = with_new_commit(&server, "Ann Example");
    server.hold_pushes(HoldPoint::BeforeAccept);
    let mut pusher = git(
        clone.path(),
        dir.path(),
        &["push", "-q", &server.url(), "main"],
    )
    .spawn()
    .unwrap();
    server.wait_held(SOON).unwrap();
    drop(server);
    let ended = wait::until("the push fails", SOON, || {
        pusher.try_wait().ok().flatten().ok_or_else(String::new)
    });
    assert!(!ended.unwrap().success());
}
