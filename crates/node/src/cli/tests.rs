//! What people see: help, tables and the story of an incident.

use super::*;
use crate::document::{ApplicationDocument, DiffDocument, IncidentDocument, StatusDocument};
use clap::CommandFactory as _;
use regraft_model::time::Timestamp;
use serde_json::json;

const NOW: Timestamp = Timestamp(1_800_000_100_000);
const LOOK: listing::Look = listing::Look {
    now: NOW,
    width: table::Width::Endless,
};

/// Help as a person with a narrow terminal sees it.
fn help(path: &[&str]) -> String {
    let mut command = Cli::command().term_width(100);
    let mut found = &mut command;
    for name in path {
        found = found.find_subcommand_mut(name).unwrap();
    }
    let mut found = found.clone().term_width(100);
    found.render_help().to_string()
}

fn refused(line: &[&str]) -> String {
    let line = ["regraft"].iter().chain(line);
    match Cli::try_parse_from(line) {
        Ok(_) => panic!("accepted"),
        Err(error) => error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_lists_every_command_and_exit_code() {
    insta::assert_snapshot!(help(&[]));
}

#[test]
fn help_of_get_lists_kinds_and_formats() {
    insta::assert_snapshot!(help(&["get"]));
}

#[test]
fn bad_command_lines_say_what_is_wrong() {
    let shown = [
        refused(&["frobnicate"]),
        refused(&["get", "pods"]),
        refused(&["get", "applications", "-o", "xml"]),
        refused(&["suspend"]),
        refused(&["suspend", "shop", "--all"]),
        refused(&["approve", "shop-1"]),
        refused(&["veto", "shop-1"]),
        refused(&["health"]),
        refused(&["certs", "member", "one"]),
        refused(&["sync", "shop", "--timeout", "soon"]),
    ]
    .join("\n");
    insta::assert_snapshot!(shown);
}

#[test]
fn the_story_of_a_verified_incident_reads_from_fault_to_end() {
    let document: IncidentDocument = serde_json::from_value(verified_incident()).unwrap();
    insta::assert_snapshot!(story::incident(&document, NOW));
}

#[test]
fn a_proposal_says_how_to_approve_it() {
    let mut document = verified_incident();
    document["incident"]["phase"] = json!("Proposed");
    document["incident"]["outcome"] = json!(null);
    document["incident"]["endedAt"] = json!(null);
    let document: IncidentDocument = serde_json::from_value(document).unwrap();
    let story = story::incident(&document, NOW);
    let next = story.lines().last().unwrap_or_default();
    insta::assert_snapshot!(next, @"  a person: `regraft approve storefront-41 --diff 0123456789ab` or `regraft veto storefront-41 --reason ...`, before 2027-01-15T08:06:00.000Z");
}

#[test]
fn status_shows_what_needs_a_look_first() {
    let document: StatusDocument = serde_json::from_value(status()).unwrap();
    insta::assert_snapshot!(overview::status(&document, LOOK));
}

#[test]
fn a_full_disk_is_said_where_members_are_shown() {
    let mut document = status();
    let why = "12288 bytes are free in /srv/regraft/state, 64 MiB have to be";
    document["members"][0]["fullDisk"] = json!(why);
    let document: StatusDocument = serde_json::from_value(document).unwrap();
    let told = listing::full_disks(&document.members);
    insta::assert_snapshot!(told, @"! the disk of member 1 is full: 12288 bytes are free in /srv/regraft/state, 64 MiB have to be; it accepts nothing until there is room, then it goes on by itself");
    let text = overview::status(&document, LOOK);
    assert!(text.contains(&told), "{text}");
}

#[test]
fn what_may_be_old_is_said_first() {
    let mut document = status();
    document["stale"] = json!(true);
    document["confirmedAt"] = json!(NOW.0 - 12_000);
    let document: StatusDocument = serde_json::from_value(document).unwrap();
    let text = overview::status(&document, LOOK);
    insta::assert_snapshot!(text.lines().next().unwrap_or_default(), @"! this may be old: member 1 has had no proof for 12s that its state is the majority's; ask another, or again without --stale");
}

#[test]
fn a_terminal_of_eighty_columns_holds_every_row() {
    let document: StatusDocument = serde_json::from_value(status()).unwrap();
    let narrow = listing::Look {
        width: table::Width::Columns(80),
        ..LOOK
    };
    let mut incident: regraft_model::incident::Incident =
        serde_json::from_value(verified_incident()["incident"].clone()).unwrap();
    incident.phase = regraft_model::incident::Phase::Proposed;
    incident.outcome = None;
    incident.waits_for = "a person: `regraft approve storefront-41 --diff 0123456789ab`".to_owned();
    let shown = [
        listing::applications(document.applications.clone(), narrow),
        listing::incidents(vec![incident], narrow),
        listing::members(document.members.clone(), narrow),
        listing::clusters(document.clusters.clone(), narrow),
        listing::repositories(document.repositories.clone(), narrow),
    ]
    .join("\n");
    for line in shown.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_mode_that_was_not_recorded_is_not_told() {
    let mut document = verified_incident();
    document["mode"] = json!(null);
    document["incident"]["outcome"]["message"] = json!("");
    let document: IncidentDocument = serde_json::from_value(document).unwrap();
    let story = story::incident(&document, NOW);
    let head: Vec<&str> = story.lines().skip(2).take(2).collect();
    insta::assert_snapshot!(head.join("\n"), @r"
      executed by member 1, branch main of shop
      ended Verified after 20s, 1m10s ago
    ");
}

#[test]
fn exit_codes_are_told_alike_wherever_they_are_told() {
    let readme = include_str!("../../../../README.md");
    let operations = include_str!("../../../../docs/operations.md");
    for (code, meaning) in failure::EXIT_CODES {
        let row = format!("| {code} | {meaning} |");
        assert!(readme.contains(&row), "README lacks: {row}");
        assert!(operations.contains(&row), "docs/operations.md lacks: {row}");
    }
}

#[test]
fn tables_are_for_eyes_and_json_is_whole() {
    let rows = json!([
        application("Synced", "Healthy"),
        application("OutOfSync", "Degraded")
    ]);
    let table = output::render(&rows, Format::Table, |rows| {
        Ok(listing::applications(
            serde_json::from_value(rows.clone()).unwrap(),
            LOOK,
        ))
    });
    insta::assert_snapshot!(table.unwrap());
    let text = output::render(&rows, Format::Json, |_| unreachable!()).unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&text).unwrap(),
        crate::document::for_people(rows.clone())
    );
    let text = output::render(&rows, Format::Yaml, |_| unreachable!()).unwrap();
    assert!(text.contains("health: Degraded"), "{text}");
}

#[test]
fn a_wide_table_has_every_column() {
    let rows = json!([application("Synced", "Healthy")]);
    let look = listing::Look {
        width: table::Width::Full,
        ..LOOK
    };
    let rows = serde_json::from_value(rows).unwrap();
    insta::assert_snapshot!(listing::applications(rows, look), @r"
    NAME         CLUSTER   MODE   SYNC     HEALTH    AGE    HEAD       REVISION   VERIFIED   MEMBER   INCIDENT   REPOSITORY   PATH              MESSAGE
    storefront   eu-west   auto   Synced   Healthy   1m5s   bbbbbbbb   bbbbbbbb   aaaaaaaa   1        -          shop         apps/storefront   all 4 objects are current
    ");
}

#[test]
fn a_refused_configuration_is_told_once_for_a_repository() {
    let mut refused = application("Synced", "Healthy");
    refused["configuration"] =
        json!(".regraft/fleet.yaml:16:10: WrongType: a number stands where text belongs");
    let rows: Vec<ApplicationDocument> =
        serde_json::from_value(json!([refused, refused, application("Synced", "Healthy")]))
            .unwrap();
    insta::assert_snapshot!(listing::refused(&rows), @"! shop: the newest configuration was refused, the one before goes on: .regraft/fleet.yaml:16:10: WrongType: a number stands where text belongs");
}

#[test]
fn an_application_is_described_cluster_by_cluster() {
    let mut status: StatusDocument = serde_json::from_value(status()).unwrap();
    let mut target = application("OutOfSync", "Degraded");
    target["incident"] = json!("storefront-42");
    target["failures"] = json!(["Deployment.apps shop/storefront: ImagePull"]);
    target["suspended"] =
        json!("user/alice suspended all at 2027-01-15T08:00:00.000Z: maintenance");
    let report = status.report.as_mut().unwrap();
    for problems in report.problems.values_mut() {
        problems[0].location.file = "apps/storefront/deployment.yaml".to_owned();
    }
    let targets =
        serde_json::from_value(json!([application("Synced", "Healthy"), target])).unwrap();
    let story = read::application_story(targets, status);
    insta::assert_snapshot!(overview::application(&story, LOOK));
}

#[test]
fn a_cluster_is_described_with_what_is_in_it() {
    let document = || serde_json::from_value::<StatusDocument>(status()).unwrap();
    let story = read::cluster_story("eu-west", document()).unwrap();
    insta::assert_snapshot!(overview::cluster(&story, LOOK));
    assert!(read::cluster_story("mars", document()).is_none());
}

#[test]
fn a_comparison_says_by_its_code_what_it_came_to() {
    let target = |cluster: &str, outcome: &str, summary: &str| json!({"application": "shop", "cluster": cluster, "outcome": outcome, "summary": summary, "objects": []});
    let mut changed = target("eu-west", "Differs", "1 of 4 objects differ");
    changed["objects"] = json!([{"object": "Service shop/web", "change": "changes", "diff": "-port: 80\n+port: 81\n"}]);
    let same = target("ap-south", "Same", "all 4 objects are as Git says");
    let lost = target(
        "us-east",
        "Unreachable",
        "cannot be compared: cluster unreachable: connection refused",
    );
    let told = |documents: serde_json::Value| {
        let targets: Vec<DiffDocument> = serde_json::from_value(documents).unwrap();
        let failure = compare::differs(&targets);
        let (code, err) = failure.map_or((0, String::new()), |it| (it.exit as u8, it.to_string()));
        format!("{}{err}exit {code}\n", compare::differences(&targets))
    };
    let shown = [
        told(json!([same])),
        told(json!([same, changed])),
        told(json!([changed, lost])),
        told(json!([target(
            "eu-west",
            "Invalid",
            "cannot be compared: apps/shop is not there"
        )])),
    ];
    insta::assert_snapshot!(shown.join("--\n"));
}

#[test]
fn the_environment_fills_in_what_the_command_line_leaves_out() {
    let variables = |name: &str| match name {
        "REGRAFT_CONFIG" => Some("regraft.yaml".into()),
        "REGRAFT_ADDRESS" => Some("eu-1:7201".into()),
        "REGRAFT_CA" => Some("".into()),
        _ => None,
    };
    let line = ["regraft", "--address", "eu-2:7201", "status"];
    let connection = Cli::try_parse_from(line).unwrap().connection;
    let connection = connection.or_environment(variables);
    assert_eq!(connection.address.as_deref(), Some("eu-2:7201"));
    assert_eq!(connection.config, Some("regraft.yaml".into()));
    assert_eq!(connection.ca, None);
}

fn application(sync: &str, health: &str) -> serde_json::Value {
    json!({
        "name": "storefront", "cluster": "eu-west", "repository": "shop", "path": "apps/storefront",
        "mode": "auto", "member": 1, "head": "b".repeat(40), "revision": "b".repeat(40),
        "sync": sync, "reason": "Applied", "message": "all 4 objects are current", "health": health,
        "since": NOW.0 - 65_000, "appliedAt": NOW.0 - 70_000, "verified": "a".repeat(40),
        "verifiedAt": NOW.0 - 900_000, "workloads": 1, "failures": [], "incident": null,
        "suspended": null, "pendingDeletion": null,
    })
}

fn status() -> serde_json::Value {
    json!({
        "installation": "0a1b2c3d", "member": 1, "name": "eu-1", "version": "0.1.0",
        "startedAt": NOW.0 - 3_700_000, "leader": 1, "term": 3, "applied": 512, "confirmedAt": NOW.0,
        "heads": [{"repository": "shop", "branch": "main", "revision": "b".repeat(40),
            "recordedAt": NOW.0 - 70_000, "fence": 500, "frozen": null}],
        "members": [
            {"id": 1, "role": "leader", "address": "127.0.0.1:7101", "admin": "127.0.0.1:7201", "applied": 512, "contact": "Reachable", "lastContactMs": 0, "answering": true},
            {"id": 2, "role": "follower", "address": "127.0.0.1:7102", "admin": "127.0.0.1:7202", "applied": null, "contact": "Reachable", "lastContactMs": 40, "answering": false},
            {"id": 3, "role": "unknown", "address": "127.0.0.1:7103", "admin": "127.0.0.1:7203", "applied": null, "contact": "Unreachable", "lastContactMs": 61_000, "answering": false},
        ],
        "clusters": [
            {"name": "eu-west", "uid": "6a7b", "knownSince": NOW.0 - 3_000_000, "connection": "Ready", "message": "", "version": "v1.36.3", "suspend": false, "applications": 1, "member": 1},
            {"name": "us-east", "uid": "9c8d", "knownSince": NOW.0 - 3_000_000, "connection": "Lost", "message": "connection refused", "version": "v1.36.3", "suspend": false, "applications": 1, "member": 1},
        ],
        "applications": [application("Synced", "Healthy"), application("OutOfSync", "Degraded")],
        "incidents": [verified_incident()["incident"]],
        "suspensions": [{"subject": "all", "reason": "maintenance", "actor": "user/alice", "at": NOW.0 - 30_000}],
        "repositories": [
            {"name": "shop", "branch": "main", "head": "b".repeat(40), "recordedAt": NOW.0 - 70_000, "applications": 1, "configured": true, "frozen": null, "message": ""},
            {"name": "tools", "branch": "main", "head": null, "recordedAt": null, "applications": 0, "configured": false, "frozen": null, "message": "it has no `.regraft`"},
        ],
        "report": {"problems": {"shop": [{
                "location": {"file": ".regraft/fleet.yaml", "line": 16, "column": 10}, "severity": "error", "reason": "WrongType",
                "message": "a number stands where text belongs", "action": "quote it"}]},
            "clusters": {"eu-west": null, "us-east": "connection refused"}, "targets": 2, "unreadable": {}},
    })
}

fn verified_incident() -> serde_json::Value {
    let opened = NOW.0 - 90_000;
    let workload =
        json!({"group": "apps", "kind": "Deployment", "namespace": "shop", "name": "storefront"});
    let step = |after_ms: i64, actor: &str, reason: &str, message: &str| json!({"at": opened + after_ms, "actor": actor, "reason": reason, "message": message});
    json!({
        "incident": {
            "id": "storefront-41", "application": "storefront", "repository": "shop", "branch": "main",
            "class": "ImagePull", "seenAt": "b".repeat(40), "suspectTree": "t".repeat(40),
            "targets": {"eu-west": [{
                "symptom": {"workload": workload, "class": "ImagePull", "template": "newest", "evidence": [
                    {"object": {"group": "", "kind": "Pod", "namespace": "shop", "name": "storefront-7d9-x2"}, "at": opened,
                     "field": ".status.containerStatuses[0].state.waiting", "text": "ImagePullBackOff: shop/storefront:broken"}]},
                "since": opened - 3000, "change": "changed"}]},
            "openedAt": opened, "executor": 1, "executorFence": 40, "phase": "Ended", "phaseSince": opened + 20_000,
            "deadline": NOW.0 + 260_000, "waitsFor": "", "guards": [], "rejected": [],
            "plan": {
                "id": "storefront-41.1", "incident": "storefront-41", "application": "storefront",
                "installation": "0a1b2c3d", "repository": "shop", "branch": "main", "action": "rollback", "parent": "b".repeat(40),
                "restores": "a".repeat(40), "suspects": ["b".repeat(40)],
                "edits": [{"path": "apps/storefront/deployment.yaml", "before": "1".repeat(40), "after": "2".repeat(40), "mode": "regular"}],
                "message": "Roll storefront back", "diffHash": format!("0123456789ab{}", "0".repeat(52)), "mode": "auto", "delivery": "push",
                "guards": [{"guard": "Storm", "answer": "passed", "message": "1 of 12 workloads fails"}],
                "rejected": [{"alternative": "restart the pods", "message": "the image would be missing again"}]
            },
            "lock": 44, "committed": "c".repeat(40), "committedAt": opened + 900, "approval": null,
            "steps": [
                step(0, "member/1", "Opened", "ImagePull in eu-west"),
                step(250, "member/1", "LockGranted", "fence 44"),
                step(900, "member/1", "Committed", "cccccccc on main"),
                step(20_000, "member/1", "Verified", "healthy in all clusters for 10s"),
            ],
            "outcome": {"kind": "Verified", "message": "healthy in all clusters for 10s"}, "endedAt": opened + 20_000
        },
        "mode": "auto", "lock": null, "suspended": null, "targets": [],
        "diff": "--- a/apps/storefront/deployment.yaml\n+++ b/apps/storefront/deployment.yaml\n@@ -1 +1 @@\n-image: shop/storefront:broken\n+image: shop/storefront:1.0\n"
    })
}
