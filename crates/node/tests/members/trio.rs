//! Three members as their own processes, with mutual TLS between them and to people.

use crate::support::{READY_BOUND, Trio, make_certificates, regraft};
use regraft_testbed::wait;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Elections take half a second; the rest is for builds that share the machine.
const ELECTION_BOUND: Duration = Duration::from_secs(15);

/// First bytes of HTTP/2 without TLS (RFC 9113, 3.4), with an empty frame of settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Type of the frame that a server of HTTP/2 begins with, in its fourth byte.
const SETTINGS: u8 = 4;

#[test]
fn any_member_answers_and_forwards_and_the_leader_may_die() {
    let mut trio = Trio::start();
    let leader = trio.leader(1).unwrap();
    let follower = leader % 3 + 1;

    let suspended = trio.regraft(
        follower,
        &["suspend", "--all", "--reason", "through a follower"],
    );
    assert_eq!(suspended.code, 0, "{}", suspended.err);
    for id in 1..=3 {
        let status = trio.regraft(id, &["status", "-o", "json"]).json();
        assert_eq!(
            status["suspensions"][0]["actor"], "user/alice",
            "member {id} reads what was acknowledged"
        );
    }

    trio.members[leader - 1].kill();
    wait::until("another member leads", ELECTION_BOUND, || {
        match trio.leader(follower) {
            Some(new) if new != leader => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .unwrap();
    let resumed = trio.regraft(follower, &["resume", "--all"]);
    assert_eq!(resumed.code, 0, "{}", resumed.err);

    trio.members[leader - 1].restart().unwrap();
    trio.wait_ready(leader);
    let status = trio.regraft(leader, &["status", "-o", "json"]).json();
    assert_eq!(
        status["suspensions"],
        serde_json::json!([]),
        "who was away knows what happened"
    );
    for member in &mut trio.members {
        assert!(member.stop(), "{}", member.log_tail());
    }
}

#[test]
fn without_a_majority_nothing_changes_and_people_are_told() {
    let mut trio = Trio::start();
    trio.members[1].kill();
    trio.members[2].kill();
    let answer = wait::until("the member notices", READY_BOUND, || {
        let answer = trio.regraft(1, &["get", "applications"]);
        if answer.code == 4 {
            Ok(answer)
        } else {
            Err(format!("exit {}: {}", answer.code, answer.err))
        }
    });
    let answer = answer.unwrap();
    assert!(answer.err.contains("error: NoLeader"), "{}", answer.err);
    assert_eq!(
        trio.regraft(1, &["get", "applications", "--stale"]).code,
        0,
        "what it has can be seen"
    );
    assert!(!answer.err.contains(['{', '[']), "{}", answer.err);
    let old = "! this may be old: member 1 has had no proof for ";
    wait::until("the proof is old", READY_BOUND, || {
        let status = trio.regraft(1, &["status", "--stale"]);
        match status.out.starts_with(old) {
            true => Ok(()),
            false => Err(status.out),
        }
    })
    .unwrap();
    let status = trio.regraft(1, &["status", "--stale", "-o", "json"]);
    assert_eq!(status.json()["stale"], true);
    wait::until("nobody else is called healthy", READY_BOUND, || {
        let members = trio.regraft(1, &["get", "members", "--stale", "-o", "json"]);
        assert!(members.err.starts_with(old), "{}", members.err);
        let members = members.json();
        let lost =
            |id: usize| members[id]["role"] == "unknown" && members[id]["contact"] != "Reachable";
        match members[0]["contact"] == "Reachable" && lost(1) && lost(2) {
            true => Ok(()),
            false => Err(members.to_string()),
        }
    })
    .unwrap();
    let refused = trio.regraft(1, &["suspend", "--all"]);
    assert_eq!(refused.code, 4, "{}", refused.err);
}

#[test]
fn only_the_right_certificates_are_answered() {
    let trio = Trio::start();
    let mut plain = TcpStream::connect(("127.0.0.1", trio.admin[0].number())).unwrap();
    plain.write_all(PREFACE).unwrap();
    let mut said = Vec::new();
    // A reset is as good as an end.
    let _ = plain.read_to_end(&mut said);
    assert_ne!(said.get(3), Some(&SETTINGS), "plain text is answered");
    let as_member = trio.regraft_as("member-2", 1, &["suspend", "--all"]);
    assert_eq!(as_member.code, 5, "{}", as_member.err);
    assert!(
        as_member.err.contains("speaks for no person"),
        "{}",
        as_member.err
    );
    assert_eq!(
        trio.regraft_as("member-2", 1, &["status"]).code,
        0,
        "members may read"
    );

    let others = trio.folder.path().join("others");
    let others = others.to_str().unwrap();
    assert_eq!(
        regraft(&["certs", "init", "--cluster", "trio", "--dir", others]).code,
        0
    );
    assert_eq!(
        regraft(&["certs", "client", "mallory", "--dir", others]).code,
        0
    );
    for file in ["client-mallory.pem", "client-mallory-key.pem"] {
        std::fs::copy(
            format!("{others}/{file}"),
            trio.folder.path().join("certs").join(file),
        )
        .unwrap();
    }
    let stranger = trio.regraft_as("client-mallory", 1, &["status"]);
    assert_eq!(
        stranger.code, 5,
        "a certificate of another authority: {}{}",
        stranger.out, stranger.err
    );
    assert!(
        stranger.err.contains("ConnectionRefused"),
        "{}",
        stranger.err
    );
}

#[test]
fn new_certificates_count_after_a_hangup_and_broken_ones_never() {
    let mut trio = Trio::start();
    let certs = trio.folder.path().join("certs");
    let own = certs.join("member-1.pem");
    let before = std::fs::read(&own).unwrap();
    std::fs::write(&own, "no certificate").unwrap();
    trio.hang_up(1, "the certificates cannot be used: the old ones stay");
    assert_eq!(trio.regraft(1, &["status"]).code, 0);
    std::fs::write(&own, before).unwrap();

    // All of it anew, as after a lost key.
    std::fs::remove_dir_all(&certs).unwrap();
    make_certificates(&certs);
    let early = trio.regraft(1, &["status"]);
    assert_eq!(early.code, 5, "{}{}", early.out, early.err);
    for id in 1..=3 {
        trio.hang_up(
            id,
            "connections are judged by the certificates as they are now",
        );
    }
    // One that starts knows only the new ones: to be ready it has to reach the others, and they it.
    trio.members[2].kill();
    trio.members[2].restart().unwrap();
    trio.wait_ready(3);
    let answer = trio.regraft(3, &["suspend", "--all"]);
    assert_eq!(answer.code, 0, "{}", answer.err);
}
