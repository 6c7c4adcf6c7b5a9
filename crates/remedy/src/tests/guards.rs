use super::scenario::{
    API, SETTINGS, Scenario, WEB, application, at, deployment, finding, put, repaired, revision,
    seconds, secret, settings,
};
use crate::{Decision, INCIDENT_TRAILER, PLAN_TRAILER, Storm, fingerprint};
use regraft_model::config::PartialFailure;
use regraft_model::finding::{Change, SyncState, Template};
use regraft_model::incident::Approval;
use regraft_model::plan::{Answer, Delivery};
use regraft_model::{Guard, GuardResult, Health, Mode, Phase, Plan, Timestamp, TreeId};

fn answer(guards: &[GuardResult], guard: Guard) -> GuardResult {
    guards
        .iter()
        .find(|one| one.guard == guard)
        .cloned()
        .unwrap_or_else(|| panic!("{guard} was not asked"))
}

/// A guard that is asked, whatever is decided.
struct Asked(Guard);

impl Asked {
    #[track_caller]
    fn check(&self, scenario: &Scenario, expected: Answer, part: &str) {
        let guard = self.0;
        let decision = scenario.decide();
        let guards = match &decision {
            Decision::Act(plan) => &plan.guards,
            Decision::Wait { guards, .. } | Decision::Escalate { guards, .. } => guards,
            other => panic!("{other:?}"),
        };
        assert!(guards.iter().any(|one| one.guard == guard), "{decision:?}");
        let result = answer(guards, guard);
        assert_eq!(result.answer, expected, "{}", result.message);
        assert!(result.message.contains(part), "{}", result.message);
        match (expected, &decision) {
            (Answer::Refused, Decision::Escalate { reason, .. }) => {
                assert_eq!(*reason, guard.to_string());
            }
            (
                Answer::Wait(until),
                Decision::Wait {
                    until: asked,
                    message,
                    ..
                },
            ) => {
                assert_eq!((*asked, message.contains(part)), (until, true), "{message}");
            }
            (Answer::Propose, Decision::Act(plan)) => assert_eq!(plan.delivery, Delivery::Propose),
            (Answer::Passed, Decision::Act(plan)) => assert_eq!(plan.delivery, Delivery::Push),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_pause_or_a_freeze_is_waited_for() {
    let mut scenario = Scenario::bad_release();
    Asked(Guard::Suspended).check(&scenario, Answer::Passed, "not paused");
    scenario.suspended = Some("maintenance".to_owned());
    Asked(Guard::Suspended).check(&scenario, Answer::Wait(at(1800)), "maintenance");
    scenario.suspended = None;
    scenario.application.suspend = true;
    Asked(Guard::Suspended).check(&scenario, Answer::Wait(at(1800)), "configuration");
    scenario.application.suspend = false;
    scenario.frozen = Some("history was rewritten".to_owned());
    Asked(Guard::Frozen).check(&scenario, Answer::Wait(at(1800)), "history was rewritten");
    // A moment to ask again is never in the past.
    scenario.now = at(5000);
    Asked(Guard::Frozen).check(&scenario, Answer::Wait(at(5010)), "");
}

#[test]
fn in_a_storm_nothing_is_touched() {
    let mut scenario = Scenario::bad_release();
    scenario.storm = Some(Storm {
        reason: "12 workloads".to_owned(),
        clusters: Default::default(),
        failing: 12,
        total: 20,
    });
    Asked(Guard::Storm).check(&scenario, Answer::Refused, "12 workloads");
}

#[test]
fn clusters_that_cannot_be_seen_are_waited_for_and_then_refused() {
    let asked = Asked(Guard::Evidence);
    for state in [SyncState::Unknown, SyncState::Unreachable] {
        let mut scenario = Scenario::bad_release();
        scenario.status("us-east", |status| status.sync.state = state);
        asked.check(&scenario, Answer::Wait(at(720)), "us-east");
        scenario.now = at(720);
        asked.check(&scenario, Answer::Refused, "unknown is not healthy");
    }
    let mut scenario = Scenario::bad_release();
    scenario.statuses.pop_last();
    asked.check(&scenario, Answer::Wait(at(1800)), "us-east");
    // A cluster that a person paused is not asked.
    scenario
        .fleet
        .clusters
        .get_mut(&"us-east".into())
        .expect("known")
        .suspend = true;
    asked.check(&scenario, Answer::Passed, "all clusters (1)");
}

#[test]
fn a_cluster_that_was_seen_a_moment_ago_is_waited_for_however_old_the_incident_is() {
    for mode in [Mode::Observe, Mode::Propose, Mode::Auto] {
        let mut scenario = Scenario::bad_release();
        scenario.application.mode = mode;
        scenario.now = at(1500);
        scenario.status("us-east", |status| {
            status.sync.state = SyncState::Unknown;
            status.health_since = at(1499);
        });
        Asked(Guard::Evidence).check(&scenario, Answer::Wait(at(2099)), "us-east");
    }
}

#[test]
fn evidence_for_another_cause_is_proposed_or_escalated() {
    let asked = Asked(Guard::Evidence);
    let mut scenario = Scenario::bad_release();
    asked.check(&scenario, Answer::Passed, "all clusters (2)");
    scenario.finding("eu-west").symptom.template = Template::AlsoOlder;
    asked.check(&scenario, Answer::Propose, "older template");

    let mut scenario = Scenario::bad_release();
    let mut other = finding("eu-west");
    other.change = Change::Unchanged;
    other.symptom.workload.name = "cart".to_owned();
    scenario.application.name = "cart".into();
    scenario.status("eu-west", |status| status.findings.push(other));
    scenario.application.name = "storefront".into();
    asked.check(&scenario, Answer::Refused, "shop/cart of cart");
}

#[test]
fn clusters_that_roll_the_suspect_out_are_waited_for() {
    let asked = Asked(Guard::PartialFailure);
    let mut scenario = Scenario::bad_release();
    asked.check(&scenario, Answer::Passed, "2 of 2");
    scenario.incident.targets.remove(&"us-east".into());
    // Its pods fail there, too; it only was not confirmed yet.
    asked.check(&scenario, Answer::Passed, "1 of 2");
    scenario.status("us-east", |status| status.health = Health::Progressing);
    asked.check(&scenario, Answer::Wait(at(720)), "us-east still rolls");
    scenario.now = at(720);
    asked.check(&scenario, Answer::Passed, "1 of 2");
    // The suspect did not arrive there at all.
    scenario.now = at(125);
    scenario.status("us-east", |status| {
        let applied = status.applied.as_mut().expect("applied");
        (applied.tree, applied.revision) = (TreeId("old".to_owned()), revision('0'));
        status.health = Health::Healthy;
    });
    asked.check(&scenario, Answer::Wait(at(720)), "us-east still rolls");
}

#[test]
fn a_suspect_that_is_healthy_elsewhere_is_left_to_a_person() {
    let asked = Asked(Guard::PartialFailure);
    let mut scenario = Scenario::bad_release();
    scenario.incident.targets.remove(&"us-east".into());
    scenario.status("us-east", |status| {
        status.health = Health::Healthy;
        status.health_since = at(60);
    });
    // Healthy for less time than a failure must hold.
    asked.check(&scenario, Answer::Wait(at(180)), "looks healthy");
    scenario.now = at(180);
    asked.check(&scenario, Answer::Propose, "healthy in us-east");
    scenario.application.policy.partial_failure = PartialFailure::Revert;
    asked.check(&scenario, Answer::Passed, "the policy says revert");
    // The same inputs under a later tree are the same suspect.
    scenario.application.policy.partial_failure = PartialFailure::Propose;
    scenario.commit(
        'b',
        "Release api 2",
        &[(API, Some(&deployment("api", "2")))],
    );
    scenario.status("us-east", |status| {
        let applied = status.applied.as_mut().expect("applied");
        (applied.tree, applied.revision) = (TreeId("later".to_owned()), revision('b'));
    });
    asked.check(&scenario, Answer::Propose, "healthy in us-east");
}

#[test]
fn delicate_objects_are_left_to_a_person() {
    let check_change =
        |path: &str, before: Option<&str>, after: Option<&str>, expected: Answer, part: &str| {
            let mut scenario = Scenario::quiet();
            put(&mut scenario.history.base, path, before);
            scenario.history.tip = scenario.history.base.clone();
            scenario.commit(
                'a',
                "Release web 2",
                &[(WEB, Some(&deployment("web", "2"))), (path, after)],
            );
            scenario.seen_at('a');
            Asked(Guard::DangerousObjects).check(&scenario, expected, part);
        };
    let one = "apps/storefront/one.yaml";
    let role = |verb: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: r}}\nrules:\n- apiGroups: \
             [\"\"]\n  resources: [pods]\n  verbs: [{verb}]\n"
        )
    };
    let namespace = |label: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {{a: {label}}}}}\n"
        )
    };
    let claim = |size: &str| {
        format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: d}}\nspec: {{resources: {{requests: {{storage: {size}}}}}}}\n"
        )
    };
    let stateful = |size: &str, image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: db}}\nspec:\n  template: {{spec: {{containers: \
             [{{name: db, image: {image}}}]}}}}\n  volumeClaimTemplates:\n  - metadata: {{name: d}}\n    spec: \
             {{resources: {{requests: {{storage: {size}}}}}}}\n"
        )
    };
    check_change(
        SETTINGS,
        Some(&settings("1")),
        Some(&settings("2")),
        Answer::Passed,
        "objects that change: 2",
    );
    check_change(
        one,
        None,
        Some(&settings("1").replace("settings", "extra")),
        Answer::Propose,
        "deletes ConfigMap shop/extra",
    );
    check_change(
        one,
        Some(&secret("1")),
        Some(&secret("2")),
        Answer::Propose,
        "changes Secret shop/keys",
    );
    check_change(
        one,
        Some(&secret("1")),
        None,
        Answer::Propose,
        "creates Secret shop/keys",
    );
    check_change(
        one,
        Some(&role("get")),
        Some(&role("list")),
        Answer::Propose,
        "changes Role.rbac.authorization.k8s.io",
    );
    check_change(
        one,
        Some(&namespace("x")),
        Some(&namespace("z")),
        Answer::Propose,
        "changes Namespace shop",
    );
    check_change(
        one,
        Some(&claim("1Gi")),
        Some(&claim("2Gi")),
        Answer::Propose,
        "changes PersistentVolumeClaim",
    );
    check_change(
        one,
        Some(&stateful("1Gi", "a")),
        Some(&stateful("2Gi", "a")),
        Answer::Propose,
        "changes StatefulSet.apps shop/db",
    );
    check_change(
        one,
        Some(&stateful("1Gi", "a")),
        Some(&stateful("1Gi", "b")),
        Answer::Passed,
        "",
    );
}

#[test]
fn files_that_another_application_reads_are_left_to_a_person() {
    let asked = Asked(Guard::SharedFiles);
    for (path, expected) in [
        ("apps/storefront", Answer::Propose),
        ("apps", Answer::Propose),
        ("", Answer::Propose),
        ("apps/storefront/sub", Answer::Passed),
        ("apps/store", Answer::Passed),
        ("apps/cart", Answer::Passed),
    ] {
        let mut scenario = Scenario::bad_release();
        let other = application("cart", path);
        scenario
            .fleet
            .applications
            .insert(other.name.clone(), other);
        asked.check(&scenario, expected, "");
    }
    let mut scenario = Scenario::bad_release();
    let mut other = application("cart", "apps");
    other.repository = "elsewhere".into();
    scenario
        .fleet
        .applications
        .insert(other.name.clone(), other);
    asked.check(&scenario, Answer::Passed, "");
}

#[test]
fn a_repair_that_a_person_undid_is_never_repeated() {
    let asked = Asked(Guard::Veto);
    let mut scenario = Scenario::bad_release();
    scenario.vetoes.insert(fingerprint(&scenario.plan().edits));
    asked.check(&scenario, Answer::Refused, "a person");
    // The next release is another repair.
    let mut next = Scenario::quiet();
    next.vetoes = scenario.vetoes;
    next.commit(
        'b',
        "Release web 3",
        &[(WEB, Some(&deployment("web", "3")))],
    );
    next.seen_at('b');
    asked.check(&next, Answer::Passed, "nobody");
}

#[test]
fn a_repair_never_undoes_on_the_way_what_a_person_said_must_stay() {
    let mut scenario = Scenario::bad_release();
    let plan = scenario.plan();
    scenario.vetoes.insert(fingerprint(&plan.edits));
    let mut forbidden = scenario.incident.clone();
    (forbidden.id, forbidden.plan) = ("storefront-3".into(), Some(plan));
    forbidden.phase = Phase::Ended;
    scenario.others.push(forbidden);
    scenario.commit(
        'b',
        "Release web 3",
        &[(WEB, Some(&deployment("web", "3")))],
    );
    scenario.seen_at('b');
    let asked = Asked(Guard::Veto);
    asked.check(&scenario, Answer::Refused, "also undo what storefront-3");
    scenario.vetoes.clear();
    asked.check(&scenario, Answer::Passed, "nobody");
}

#[test]
fn a_repair_that_was_undone_before_anybody_recorded_it_is_never_repeated() {
    let mut scenario = Scenario::bad_release();
    let ours = vec![
        (PLAN_TRAILER.to_owned(), "storefront-3.1".to_owned()),
        (INCIDENT_TRAILER.to_owned(), "storefront-3".to_owned()),
    ];
    scenario
        .commit(
            'b',
            "Roll back web",
            &[(WEB, Some(&deployment("web", "1")))],
        )
        .trailers = ours;
    let again = [(WEB, Some(deployment("web", "2")))];
    let again = again
        .each_ref()
        .map(|(path, text)| (*path, text.as_deref()));
    scenario.commit('c', "Revert the robot", &again);
    scenario.seen_at('c');
    Asked(Guard::Veto).check(&scenario, Answer::Refused, "put it back");
}

#[test]
fn inputs_that_somebody_put_back_are_not_repaired_again_whatever_else_changed_in_the_file() {
    let bad = Scenario::bad_release();
    let mut earlier = repaired("storefront-3", "storefront", 0, Some(60));
    earlier.plan = Some(bad.plan());
    let mut scenario = Scenario::quiet();
    scenario.others.push(earlier);
    let commented = format!("# on purpose\n{}", deployment("web", "2"));
    scenario.commit('b', "Web 2 all the same", &[(WEB, Some(&commented))]);
    scenario.seen_at('b');
    let asked = Asked(Guard::Veto);
    asked.check(&scenario, Answer::Refused, "storefront-3 was about exactly");
    // Neither committed nor forbidden: nobody said anything of it.
    scenario.others[0].committed = None;
    asked.check(&scenario, Answer::Passed, "nobody");
    let edits = scenario.others[0].plan.clone().expect("a plan").edits;
    scenario.vetoes.insert(fingerprint(&edits));
    asked.check(&scenario, Answer::Refused, "storefront-3 was about exactly");
}

#[test]
fn inputs_whose_repair_did_not_help_are_closed() {
    let asked = Asked(Guard::Ineffective);
    let mut scenario = Scenario::bad_release();
    scenario
        .closed
        .insert(("storefront".into(), TreeId("other".to_owned())));
    asked.check(&scenario, Answer::Passed, "");
    scenario
        .closed
        .insert(("storefront".into(), scenario.incident.suspect_tree.clone()));
    asked.check(&scenario, Answer::Refused, "closed until a person commits");
}

#[test]
fn one_service_is_under_repair_at_a_time() {
    let asked = Asked(Guard::ConcurrentRepairs);
    let mut scenario = Scenario::bad_release();
    for (phase, is_under_way) in [
        (Phase::Open, false),
        (Phase::Planned, true),
        (Phase::Locked, true),
        (Phase::Committed, true),
        (Phase::Proposed, false),
        (Phase::Ended, false),
    ] {
        let mut other = super::scenario::incident("cart-3", "cart");
        (other.phase, other.deadline) = (phase, at(400));
        scenario.others = vec![other];
        let expected = if is_under_way {
            Answer::Wait(at(400))
        } else {
            Answer::Passed
        };
        asked.check(&scenario, expected, "of at most 1 repairs");
    }
    scenario.others[0].phase = Phase::Locked;
    scenario.application.policy.max_concurrent_repairs = 2;
    asked.check(&scenario, Answer::Passed, "1 of at most 2");
}

#[test]
fn actions_in_an_hour_are_counted_in_each_cluster() {
    let asked = Asked(Guard::ActionRate);
    let mut scenario = Scenario::bad_release();
    let cart = application("cart", "apps/cart");
    scenario.fleet.applications.insert(cart.name.clone(), cart);
    scenario.others = vec![
        repaired("cart-1", "cart", -3000, Some(-2900)),
        repaired("cart-2", "cart", -2000, Some(-1900)),
        repaired("cart-0", "cart", -4000, Some(-3900)),
    ];
    asked.check(&scenario, Answer::Passed, "at most 2 of 3");
    scenario
        .others
        .push(repaired("cart-3", "cart", -1000, Some(-900)));
    asked.check(
        &scenario,
        Answer::Wait(at(600)),
        "3 of at most 3 actions in the last hour in eu-west",
    );
    scenario.now = at(600);
    asked.check(&scenario, Answer::Passed, "at most 2 of 3");
    // Elsewhere does not count.
    scenario.now = at(125);
    for other in &mut scenario.others {
        other.targets = [("ap-south".into(), vec![])].into();
    }
    scenario
        .fleet
        .applications
        .get_mut(&"cart".into())
        .expect("known")
        .clusters = vec!["ap-south".into()];
    asked.check(&scenario, Answer::Passed, "at most 0 of 3");
}

#[test]
fn the_same_action_is_done_twice_a_day_at_most() {
    let asked = Asked(Guard::SameAction);
    let mut scenario = Scenario::bad_release();
    scenario.application.policy.max_actions_per_hour = 100;
    scenario.others = vec![
        repaired("storefront-1", "storefront", -80_000, Some(-79_000)),
        repaired("cart-2", "cart", -70_000, Some(-69_000)),
    ];
    asked.check(&scenario, Answer::Passed, "1 of at most 2");
    scenario.others.push(repaired(
        "storefront-3",
        "storefront",
        -60_000,
        Some(-59_000),
    ));
    asked.check(&scenario, Answer::Refused, "2 of at most 2");
    scenario.now = Timestamp(at(-80_000).0 + 24 * 3600 * 1000);
    scenario.incident.opened_at = scenario.now;
    asked.check(&scenario, Answer::Passed, "1 of at most 2");
}

#[test]
fn what_a_person_approved_is_not_counted_as_the_same_action() {
    let asked = Asked(Guard::SameAction);
    let mut scenario = Scenario::bad_release();
    scenario.application.policy.max_same_action_per_day = 1;
    let mut before = repaired("storefront-1", "storefront", -80_000, Some(-79_000));
    // An earlier release: the same inputs again would be a veto.
    before.plan = Some(Plan {
        suspect_inputs: Default::default(),
        ..scenario.plan()
    });
    scenario.others = vec![before];
    asked.check(
        &scenario,
        Answer::Refused,
        "without a person in 24h: commit a fix, or raise maxSameActionPerDay of policy default",
    );
    scenario.others[0].approval = Some(Approval {
        actor: "user/bob".to_owned(),
        diff_hash: scenario.others[0].plan.clone().expect("a plan").diff_hash,
        at: at(-80_010),
    });
    asked.check(&scenario, Answer::Passed, "0 of at most 1");
}

#[test]
fn a_repair_is_followed_by_a_quiet_time() {
    let asked = Asked(Guard::Cooldown);
    let mut scenario = Scenario::bad_release();
    scenario.others = vec![repaired("storefront-1", "storefront", -600, Some(-300))];
    asked.check(&scenario, Answer::Wait(at(300)), "less than 10m ago");
    scenario.application.policy.cooldown = seconds(425);
    asked.check(&scenario, Answer::Passed, "");
    // An incident without a commit is none.
    scenario.application.policy.cooldown = seconds(600);
    scenario.others[0].committed = None;
    scenario.others[0].committed_at = None;
    asked.check(&scenario, Answer::Passed, "");
}

#[test]
fn no_is_stronger_than_later_and_later_than_a_proposal() {
    let mut scenario = Scenario::bad_release();
    scenario.application.mode = regraft_model::Mode::Propose;
    scenario.others = vec![repaired("storefront-1", "storefront", -600, Some(-300))];
    assert!(matches!(scenario.decide(), Decision::Wait { .. }));
    let inputs = (
        scenario.application.name.clone(),
        scenario.incident.suspect_tree.clone(),
    );
    scenario.closed.insert(inputs);
    assert!(matches!(
        scenario.decide(),
        Decision::Escalate { reason, .. } if reason == "Ineffective"
    ));
}

#[test]
fn another_installation_on_the_same_files_leaves_the_repair_to_a_person() {
    let mut scenario = Scenario::bad_release();
    let commit = scenario.commit('b', "revert(storefront): restore web.yaml", &[]);
    commit.trailers = vec![
        ("Regraft-Plan".to_owned(), "storefront-7.1".to_owned()),
        ("Regraft-Incident".to_owned(), "storefront-7".to_owned()),
        ("Regraft-Installation".to_owned(), "ffffffff".to_owned()),
    ];
    scenario.seen_at('b');
    assert_eq!(scenario.plan().delivery, Delivery::Propose);
    Asked(Guard::OtherInstallation).check(
        &scenario,
        Answer::Propose,
        "by regraft installation ffffffff",
    );
}

#[test]
fn what_failed_before_and_does_not_now_is_no_evidence() {
    let asked = Asked(Guard::Evidence);
    let mut scenario = Scenario::bad_release();
    for cluster in ["eu-west", "us-east"] {
        scenario.status(cluster, |status| status.health = Health::Progressing);
    }
    let part = "nothing of it fails just now";
    asked.check(&scenario, Answer::Wait(at(720)), part);
    let failing = finding("eu-west");
    scenario.status("eu-west", |status| status.findings = vec![failing]);
    let part = "only pods of the newest template fail";
    asked.check(&scenario, Answer::Passed, part);
}

#[test]
fn a_plan_says_in_which_mode_it_was_made() {
    for mode in [Mode::Observe, Mode::Propose, Mode::Auto] {
        let mut scenario = Scenario::bad_release();
        scenario.application.mode = mode;
        let Decision::Act(plan) = scenario.decide() else {
            panic!("{mode} plans");
        };
        assert_eq!(plan.mode, mode);
    }
}
