//! Real members killed with a real SIGKILL at exact moments of a repair: exactly one revert arrives each time.

use crate::SETTLE_BOUND;
use regraft_testbed::{Author, Fleet, FleetOptions, HoldPoint, WorkClone};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Until a repair is over, with an election and a change of executor on the way.
const REPAIR_BOUND: Duration = Duration::from_secs(120);
/// Until a repair's push reaches the server.
const PUSH_BOUND: Duration = Duration::from_secs(45);

/// When the member is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The lock is granted, the push has not reached Git.
    BeforePush,
    /// Git has accepted the push, nobody has recorded it.
    AfterPush,
    /// The repair is recorded and being verified.
    Verifying,
}

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Leader,
    Executor,
}

#[test]
fn a_repair_survives_the_death_of_leader_and_executor_at_every_moment() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gitops-examples");
    let options = FleetOptions {
        clusters: &["eu-west", "us-east", "ap-south"],
        members: 3,
        repository: &examples,
    };
    let mut fleet = Fleet::start("kill", &options).unwrap();
    let person = fleet.git.work_clone(&Author::named("alice")).unwrap();
    allow_many_actions(&person);
    fleet.wait_verified(SETTLE_BOUND).unwrap();

    let moments = [Moment::BeforePush, Moment::AfterPush, Moment::Verifying];
    let applications = ["storefront", "catalog", "payments"];
    let mut number = 0;
    for (moment, application) in moments.into_iter().zip(applications) {
        for victim in [Victim::Leader, Victim::Executor] {
            number += 1;
            println!("{number}: {victim:?} dies, {moment:?}, {application}");
            repair_with_a_death(&mut fleet, &person, application, number, moment, victim);
        }
    }
}

fn repair_with_a_death(
    fleet: &mut Fleet,
    person: &WorkClone,
    application: &str,
    number: usize,
    moment: Moment,
    victim: Victim,
) {
    let file = format!("apps/{application}/deployment.yaml");
    person.pull().unwrap();
    let good = person.read(&file).unwrap();
    match moment {
        Moment::BeforePush => fleet.git.hold_pushes(HoldPoint::BeforeAccept),
        Moment::AfterPush => fleet.git.hold_pushes(HoldPoint::AfterAccept),
        Moment::Verifying => {}
    }
    // Another image each time: putting the same one back would be a veto.
    person
        .write(
            &file,
            &with_image(
                &good,
                &format!("registry.example.com/shop/{application}:crash-{number}"),
            ),
        )
        .unwrap();
    person
        .publish(&format!("{application}: faster start {number}"))
        .unwrap();

    let known = match moment {
        Moment::Verifying => incident_in(fleet, application, "Committed"),
        Moment::BeforePush | Moment::AfterPush => {
            fleet.git.wait_held(PUSH_BOUND).unwrap();
            incident_in(fleet, application, "Locked")
        }
    };
    let dead = match victim {
        Victim::Leader => fleet.leader().unwrap(),
        Victim::Executor => usize::try_from(known["executor"].as_u64().unwrap()).unwrap(),
    };
    fleet.member(dead).kill();
    fleet.git.release();

    let incident = fleet.wait_ended(application, REPAIR_BOUND).unwrap();
    assert_eq!(incident["outcome"]["kind"], "Verified", "{incident:#}");
    let id = incident["id"].as_str().unwrap();
    assert_eq!(
        incident["id"], known["id"],
        "it is the same incident from beginning to end"
    );
    let commits = fleet
        .git
        .repository()
        .commits_with_trailer("Regraft-Incident", id)
        .unwrap();
    assert_eq!(commits.len(), 1, "exactly one revert: {commits:?}");
    assert_eq!(
        fleet.git.repository().file_at("main", &file).unwrap(),
        good,
        "byte for byte"
    );

    fleet.member(dead).restart().unwrap();
    fleet.wait_verified(SETTLE_BOUND).unwrap();
}

/// The newest incident of an application once it is in a phase, or beyond it.
fn incident_in(fleet: &Fleet, application: &str, phase: &str) -> Value {
    fleet
        .wait_for(phase, REPAIR_BOUND, &["get", "incidents"], |incidents| {
            let open = regraft_testbed::fleet::list(incidents)
                .find(|it| it["application"] == application && it["phase"] != "Ended")
                .ok_or("no open incident")?;
            if open["phase"] == phase {
                Ok(open.clone())
            } else {
                Err(open["phase"].to_string())
            }
        })
        .unwrap()
}

fn allow_many_actions(person: &WorkClone) {
    let limits = "maxActionsPerHour: 50\n  maxSameActionPerDay: 50\n  cooldown: 0s";
    person
        .replace(".regraft/policies.yaml", "cooldown: 10s", limits)
        .unwrap();
    person.publish("Allow many repairs in a row").unwrap();
}

fn with_image(manifest: &str, image: &str) -> String {
    let line = manifest
        .lines()
        .find(|line| line.trim_start().starts_with("image: "))
        .unwrap();
    let indent = &line[..line.len() - line.trim_start().len()];
    manifest.replace(line, &format!("{indent}image: {image}"))
}
