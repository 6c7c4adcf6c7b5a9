//! How a member ends, and what it leaves behind.

use crate::support::{Single, page};
use regraft_testbed::wait;
use std::time::{Duration, Instant};

/// An idle member has nothing to wait for; the rest is for builds that share the machine.
const IDLE_STOP_BOUND: Duration = Duration::from_secs(3);
const BOUND: Duration = Duration::from_secs(15);

#[test]
#[expect(clippy::disallowed_methods, reason = "the test measures a stop")]
fn an_idle_member_stops_at_once_and_leaves_no_word_of_trouble() {
    let mut single = Single::start();
    single.wait_ready();
    let begun = Instant::now();
    assert!(single.member.stop(), "SIGTERM ends it with success");
    let took = begun.elapsed();
    assert!(took < IDLE_STOP_BOUND, "{took:?}");
    let log = std::fs::read_to_string(single.member.log()).unwrap();
    assert!(log.contains("member stopped"), "{log}");
    for word in ["ERROR", "WARN", "still in use"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

#[test]
fn the_data_folder_is_its_owners_alone() {
    let mut single = Single::start();
    single.wait_ready();
    assert_eq!(single.mode_of("data"), 0o700);
}

#[test]
fn a_remote_that_is_away_is_told_in_the_log_the_metrics_and_the_status() {
    let single = Single::start_with(
        "repositories:\n  - {name: fleet, url: 'http://127.0.0.1:1/fleet.git', branch: main, pollInterval: 1s}\n",
    );
    let mut single = single;
    single.wait_ready();
    let status = wait::until("the problem is known", BOUND, || {
        let status = single.regraft(&["status", "-o", "json"]).json();
        match status["repositories"][0]["problem"].is_object() {
            true => Ok(status),
            false => Err(status.to_string()),
        }
    })
    .unwrap();
    let repository = &status["repositories"][0];
    assert_eq!(repository["name"], "fleet");
    assert_eq!(repository["url"], "http://127.0.0.1:1/fleet.git");
    assert_eq!(repository["problem"]["reason"], "Unreachable");
    assert_eq!(
        repository["problem"]["action"],
        "Check that the server is up and can be reached from the member."
    );
    let (_, metrics) = page(single.http.number(), "/metrics").unwrap();
    assert!(
        metrics.contains("regraft_repository_readable{repository=\"fleet\"} 0"),
        "{metrics}"
    );
    let log = std::fs::read_to_string(single.member.log()).unwrap();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("repository cannot be read"))
        .collect();
    assert_eq!(lines.len(), 1, "told once: {lines:?}");
    for word in ["fleet", "http://127.0.0.1:1/fleet.git", "next="] {
        assert!(lines[0].contains(word), "{word}: {}", lines[0]);
    }
}
