//! What healing does and does not do, with real parts: on one control plane with one member modes, vetoes, a person's fix,
//! faults that no commit explains, drift, and prune; on three with three members, which are killed, exactly one revert.
//!
//! One binary, so that both run beside each other: most of their time they wait.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod heal;
mod kill;
mod reconcile;

use regraft_testbed::fleet::list;
use regraft_testbed::{Author, Fleet, FleetOptions, WorkClone};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Until a repair is over.
pub(crate) const REPAIR_BOUND: Duration = Duration::from_secs(90);
/// Until everything is applied, healthy and verified.
pub(crate) const SETTLE_BOUND: Duration = Duration::from_secs(90);
/// Until one commit is applied, or one edit put back.
pub(crate) const APPLY_BOUND: Duration = Duration::from_secs(30);
pub(crate) const CLUSTER: &str = "eu-west";

pub(crate) struct Stage {
    fleet: Fleet,
    person: WorkClone,
}

#[test]
fn healing_does_what_its_mode_says_and_no_more() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gitops-examples");
    let options = FleetOptions {
        clusters: &[CLUSTER],
        members: 1,
        repository: &examples,
    };
    let fleet = Fleet::start("scenarios", &options).unwrap();
    let person = fleet.git.work_clone(&Author::named("alice")).unwrap();
    let mut stage = Stage { fleet, person };
    stage.only_one_cluster_and_three_modes();
    stage.fleet.wait_verified(SETTLE_BOUND).unwrap();

    stage.drift_is_put_back_and_what_left_git_is_pruned();
    stage.a_diff_tells_deletions_and_no_secrets();
    stage.what_lives_outside_namespaces_is_kept_in_sync();
    stage.deletions_beyond_the_cap_wait_for_a_person();
    stage.a_late_autoscaler_owns_the_replicas();
    stage.observe_says_what_it_would_do_and_a_fix_supersedes();
    stage.a_proposal_waits_for_the_approval_of_its_diff();
    stage.a_veto_ends_a_proposal();
    stage.other_failures_that_a_commit_brings_are_reverted_as_well();
    stage.a_suspension_is_heard_until_the_push();
    stage.a_revert_of_our_commit_is_a_veto();
    stage.a_fault_without_a_commit_is_handed_to_a_person();
    stage.nothing_is_written_while_everything_is_in_sync();
}

impl Stage {
    fn only_one_cluster_and_three_modes(&self) {
        let file = ".regraft/applications.yaml";
        let text = self
            .person
            .read(file)
            .unwrap()
            .replace("[eu-west, us-east, ap-south]", "[eu-west]");
        let text = with_mode(
            &with_mode(&text, "catalog", "observe"),
            "payments",
            "propose",
        );
        self.person.write(file, &text).unwrap();
        let limits = "maxActionsPerHour: 50\n  maxSameActionPerDay: 50\n  cooldown: 0s";
        self.person
            .replace(".regraft/policies.yaml", "cooldown: 10s", limits)
            .unwrap();
        self.person.publish("One cluster, three modes").unwrap();
    }

    /// Waits until the newest commit is recorded, and storefront is in this state at it.
    fn wait_for_head(&self, sync: &str) {
        let head = self.person.head().unwrap();
        self.wait_for_applications("the head is recorded", |found| {
            let mut all = list(found);
            all.any(|it| {
                // A head is recorded before it is applied: until then what is Synced is the revision before.
                let is_at_head = sync != "Synced" || it["revision"] == head.as_str();
                it["name"] == "storefront"
                    && it["head"] == head.as_str()
                    && it["sync"] == sync
                    && is_at_head
            })
        });
    }

    /// Waits until what `get applications` lists is as wanted.
    fn wait_for_applications(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let question = ["get", "applications"];
        let look = |found: &Value| match is_so(found) {
            true => Ok(()),
            false => Err(found.to_string()),
        };
        self.fleet
            .wait_for(what, APPLY_BOUND, &question, look)
            .unwrap();
    }
}

fn with_mode(text: &str, application: &str, mode: &str) -> String {
    let start = text.find(&format!("name: {application}")).unwrap();
    let (head, tail) = text.split_at(start);
    format!(
        "{head}{}",
        tail.replacen("mode: auto", &format!("mode: {mode}"), 1)
    )
}
