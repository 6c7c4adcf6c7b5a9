use super::scenario::{
    API, SETTINGS, Scenario, WEB, at, blob, deployment, put, revision, settings, web,
};
use crate::{Decision, check, restored};
use regraft_model::finding::Change;
use regraft_model::plan::Delivery;
use regraft_model::{Edit, Finding, Health, Mode};

#[track_caller]
fn escalated(scenario: &Scenario, word: &str, part: &str) {
    match scenario.decide() {
        Decision::Escalate {
            reason, message, ..
        } => {
            assert_eq!(reason, word, "{message}");
            assert!(message.contains(part), "{message}");
        }
        other => panic!("not escalated: {other:?}"),
    }
}

#[track_caller]
fn superseded(scenario: &Scenario, by: char) {
    match scenario.decide() {
        Decision::Superseded { by: commit, .. } => assert_eq!(commit, revision(by)),
        other => panic!("not superseded: {other:?}"),
    }
}

/// Paths with what they become, absent for a deletion.
#[track_caller]
fn restores(scenario: &Scenario, expected: &[(&str, Option<&str>)]) {
    let plan = scenario.plan();
    let edits: Vec<(&str, Option<_>)> = plan
        .edits
        .iter()
        .map(|edit| (edit.path.as_str(), edit.after.clone()))
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(path, text)| (*path, text.map(blob)))
        .collect();
    assert_eq!(edits, expected);
    assert_eq!(scenario.with(|case| check(&plan, case)), vec![]);
}

#[test]
fn a_bad_release_is_restored_byte_for_byte() {
    let scenario = Scenario::bad_release();
    let plan = scenario.plan();
    assert_eq!(plan.delivery, Delivery::Push);
    assert_eq!(plan.id.as_str(), "storefront-7.1");
    assert_eq!((plan.parent, plan.restores), (revision('a'), revision('0')));
    assert_eq!(plan.suspects, vec![revision('a')]);
    assert_eq!(
        plan.edits,
        vec![Edit {
            path: WEB.to_owned(),
            before: Some(blob(&deployment("web", "2"))),
            after: Some(blob(&deployment("web", "1"))),
            mode: Default::default(),
        }]
    );
    assert_eq!(plan.guards.len(), 15);
}

#[test]
fn everything_of_the_application_that_the_suspect_changed_is_restored() {
    let mut scenario = Scenario::quiet();
    let changes: &[(&str, Option<&str>)] = &[
        (WEB, Some(&deployment("web", "2"))),
        (SETTINGS, Some(&settings("2"))),
        ("apps/storefront/notes.txt", Some("new")),
    ];
    scenario.commit('a', "Release web 2", changes);
    scenario.seen_at('a');
    restores(
        &scenario,
        &[
            ("apps/storefront/notes.txt", None),
            (SETTINGS, Some(&settings("1"))),
            (WEB, Some(&deployment("web", "1"))),
        ],
    );
}

#[test]
fn a_change_of_what_the_pods_read_is_a_suspect_as_well() {
    let mut scenario = Scenario::quiet();
    scenario.commit('a', "Change a setting", &[(SETTINGS, Some(&settings("2")))]);
    scenario.seen_at('a');
    restores(&scenario, &[(SETTINGS, Some(&settings("1")))]);
}

#[test]
fn what_the_suspect_deleted_comes_back_and_what_it_added_goes() {
    let mut scenario = Scenario::quiet();
    let moved = "apps/storefront/web/deployment.yaml";
    scenario.commit(
        'a',
        "Move and release",
        &[(WEB, None), (moved, Some(&deployment("web", "2")))],
    );
    scenario.seen_at('a');
    restores(
        &scenario,
        &[(WEB, Some(&deployment("web", "1"))), (moved, None)],
    );
}

#[test]
fn later_good_commits_to_other_files_survive() {
    let mut scenario = Scenario::bad_release();
    scenario.commit(
        'b',
        "Release api 2",
        &[(API, Some(&deployment("api", "2")))],
    );
    restores(&scenario, &[(WEB, Some(&deployment("web", "1")))]);
    let plan = scenario.plan();
    assert_eq!(plan.parent, revision('b'));
    let after = restored(&scenario.history.tip, &scenario.history.base, &plan.edits);
    assert_eq!(after.files[API].blob, blob(&deployment("api", "2")));
    assert!(
        plan.rejected
            .iter()
            .any(|one| one.message.contains("1 later commits")),
        "{:?}",
        plan.rejected
    );
}

#[test]
fn earlier_good_commits_to_other_files_are_no_suspects() {
    let mut scenario = Scenario::quiet();
    scenario.commit(
        'b',
        "Release api 2",
        &[(API, Some(&deployment("api", "2")))],
    );
    scenario.commit(
        'a',
        "Release web 2",
        &[(WEB, Some(&deployment("web", "2")))],
    );
    scenario.seen_at('a');
    restores(&scenario, &[(WEB, Some(&deployment("web", "1")))]);
    assert_eq!(scenario.plan().suspects, vec![revision('a')]);
}

#[test]
fn several_suspects_are_undone_together() {
    let mut scenario = Scenario::bad_release();
    scenario.commit('b', "Change a setting", &[(SETTINGS, Some(&settings("2")))]);
    scenario.seen_at('b');
    restores(
        &scenario,
        &[
            (SETTINGS, Some(&settings("1"))),
            (WEB, Some(&deployment("web", "1"))),
        ],
    );
    assert_eq!(scenario.plan().suspects, vec![revision('a'), revision('b')]);
}

#[test]
fn suspects_that_were_undone_already_are_history() {
    let mut scenario = Scenario::bad_release();
    scenario.commit('b', "Undo", &[(WEB, Some(&deployment("web", "1")))]);
    scenario.commit(
        'c',
        "Release web 3",
        &[(WEB, Some(&deployment("web", "3")))],
    );
    scenario.seen_at('c');
    restores(&scenario, &[(WEB, Some(&deployment("web", "1")))]);
    assert_eq!(scenario.plan().suspects, vec![revision('c')]);
}

#[test]
fn a_later_change_to_the_same_file_is_never_destroyed() {
    let mut scenario = Scenario::quiet();
    let both =
        |web: &str, api: &str| format!("{}---\n{}", deployment("web", web), deployment("api", api));
    put(&mut scenario.history.base, WEB, Some(&both("1", "1")));
    put(&mut scenario.history.base, API, None);
    scenario.history.tip = scenario.history.base.clone();
    scenario.commit('a', "Release web 2", &[(WEB, Some(&both("2", "1")))]);
    scenario.seen_at('a');
    restores(&scenario, &[(WEB, Some(&both("1", "1")))]);
    scenario.commit('b', "Release api 2", &[(WEB, Some(&both("2", "2")))]);
    escalated(&scenario, "Conflict", "bbbbbbbb (Release api 2)");
}

#[test]
fn an_earlier_unverified_change_to_the_same_file_is_not_lost_either() {
    let mut scenario = Scenario::quiet();
    let commented = format!("# note\n{}", deployment("web", "1"));
    scenario.commit('b', "Explain", &[(WEB, Some(&commented))]);
    scenario.commit(
        'a',
        "Release web 2",
        &[(WEB, Some(&deployment("web", "2")))],
    );
    scenario.seen_at('a');
    escalated(&scenario, "Conflict", "bbbbbbbb (Explain)");
}

#[test]
fn without_a_commit_to_blame_nothing_is_reverted() {
    let mut scenario = Scenario::bad_release();
    for cluster in ["eu-west", "us-east"] {
        scenario.finding(cluster).change = Change::Unchanged;
    }
    escalated(&scenario, "NoCommitToBlame", "no commit since 00000000");
    // The findings say changed, the history does not.
    escalated(&Scenario::quiet(), "NoCommitToBlame", "no commit from");
}

#[test]
fn without_a_verified_revision_there_is_nothing_to_go_back_to() {
    let mut scenario = Scenario::bad_release();
    for cluster in ["eu-west", "us-east"] {
        scenario.finding(cluster).change = Change::Unknown;
    }
    escalated(&scenario, "NoVerifiedRevision", "ever verified in eu-west");
}

#[test]
fn the_same_failure_in_a_workload_nobody_changed_speaks_for_another_cause() {
    let mut scenario = Scenario::bad_release();
    let mut other: Finding = super::scenario::finding("eu-west");
    other.symptom.workload.name = "api".to_owned();
    other.change = Change::Unchanged;
    scenario
        .incident
        .targets
        .get_mut(&"eu-west".into())
        .expect("a target")
        .push(other.clone());
    escalated(&scenario, "NoCommitToBlame", "shop/api in eu-west");
    // One that fails since yesterday is another story.
    scenario
        .incident
        .targets
        .get_mut(&"eu-west".into())
        .expect("a target")[1]
        .since = at(-86_400);
    assert_eq!(scenario.plan().delivery, Delivery::Push);
}

#[test]
fn a_persons_fix_comes_first() {
    let mut scenario = Scenario::bad_release();
    scenario.commit('b', "Fix web", &[(WEB, Some(&deployment("web", "3")))]);
    superseded(&scenario, 'b');
    let mut scenario = Scenario::bad_release();
    scenario.commit('b', "Revert", &[(WEB, Some(&deployment("web", "1")))]);
    superseded(&scenario, 'b');
    let mut scenario = Scenario::bad_release();
    scenario.commit('b', "Remove web", &[(WEB, None)]);
    superseded(&scenario, 'b');
}

#[test]
fn a_persons_fix_comes_first_also_when_nothing_fails_any_more() {
    let mut scenario = Scenario::bad_release();
    scenario.commit('b', "Revert", &[(WEB, Some(&deployment("web", "1")))]);
    for cluster in ["eu-west", "us-east"] {
        scenario.status(cluster, |status| {
            status.health = Health::Healthy;
            status.findings.clear();
        });
    }
    superseded(&scenario, 'b');
    // Long after: what is waited for before a plan has no say in it.
    scenario.incident.opened_at = at(-86_400);
    superseded(&scenario, 'b');
}

#[test]
fn a_failure_seen_at_a_head_that_changed_nothing_here_still_has_its_suspect() {
    let mut scenario = Scenario::bad_release();
    scenario.seen_at('9');
    restores(&scenario, &[(WEB, Some(&deployment("web", "1")))]);
    // The parent of the next commit of the application names the state before it.
    scenario
        .commit('b', "Fix web", &[(WEB, Some(&deployment("web", "3")))])
        .parent = Some(revision('9'));
    superseded(&scenario, 'b');
    // Which of two changes it was seen with cannot be told: not acted on.
    scenario.seen_at('8');
    superseded(&scenario, 'b');
}

#[test]
fn a_fix_on_the_head_that_is_not_in_the_cluster_yet_comes_first() {
    let mut scenario = Scenario::bad_release();
    scenario.commit('b', "Fix web", &[(WEB, Some(&deployment("web", "3")))]);
    // The failure was confirmed when the head had the fix already.
    scenario.incident.seen_at = revision('b');
    superseded(&scenario, 'b');
    // What runs came with a head that the history does not name.
    scenario.runs('9');
    superseded(&scenario, 'b');

    // Nobody changed what fails; a fix is on its way and is no suspect.
    let mut scenario = Scenario::quiet();
    scenario.commit(
        'b',
        "Work around the outage",
        &[(WEB, Some(&deployment("web", "2")))],
    );
    scenario.incident.seen_at = revision('b');
    for running in ['0', '9'] {
        scenario.runs(running);
        for cluster in ["eu-west", "us-east"] {
            scenario.status(cluster, |status| {
                status.verified.clone_from(&status.applied)
            });
        }
        superseded(&scenario, 'b');
    }
}

#[test]
fn what_was_verified_in_one_cluster_and_fails_there_too_is_no_commit_on_its_way() {
    let mut scenario = Scenario::bad_release();
    scenario.status("us-east", |status| {
        status.verified.clone_from(&status.applied);
    });
    match scenario.decide() {
        Decision::Superseded { message, .. } => panic!("nothing is on its way: {message}"),
        Decision::Act(_) | Decision::Wait { .. } | Decision::Escalate { .. } => {}
        other @ Decision::AlreadyCommitted { .. } => panic!("{other:?}"),
    }
}

#[test]
fn our_own_commit_is_recognised_when_nobody_recorded_it() {
    let mut scenario = Scenario::bad_release();
    let trailers = |plan: &str| {
        vec![
            ("Regraft-Plan".to_owned(), plan.to_owned()),
            ("Regraft-Incident".to_owned(), "storefront-7".to_owned()),
            (
                "Regraft-Installation".to_owned(),
                super::scenario::INSTALLATION.to_owned(),
            ),
        ]
    };
    scenario
        .commit(
            'b',
            "revert(storefront)",
            &[(WEB, Some(&deployment("web", "1")))],
        )
        .trailers = trailers("storefront-7.1");
    assert_eq!(
        scenario.decide(),
        Decision::AlreadyCommitted {
            revision: revision('b')
        }
    );
    // One with another id is not this one.
    scenario.history.commits[1].trailers = trailers("storefront-7.2");
    superseded(&scenario, 'b');
}

#[test]
fn a_tree_that_cannot_be_rendered_is_no_ground_to_act_on() {
    let mut scenario = Scenario::bad_release();
    scenario.commit('b', "Break api", &[(API, Some("kind: [\n"))]);
    escalated(&scenario, "TipBroken", "apps/storefront/api.yaml");
    let mut scenario = Scenario::quiet();
    put(&mut scenario.history.base, API, Some("kind: [\n"));
    scenario.commit(
        'a',
        "Release web 2",
        &[(WEB, Some(&deployment("web", "2")))],
    );
    escalated(&scenario, "BaseBroken", "apps/storefront/api.yaml");
}

#[test]
fn a_restored_tree_that_breaks_is_not_committed() {
    // The suspect moved web to another file; since then a good commit put another web beside where it was.
    let mut scenario = Scenario::quiet();
    let moved = "apps/storefront/moved.yaml";
    scenario.commit(
        'a',
        "Drop api and break web",
        &[(API, None), (WEB, Some(&deployment("web", "2")))],
    );
    scenario.seen_at('a');
    scenario.commit(
        'b',
        "Bring api back elsewhere",
        &[(moved, Some(&deployment("api", "1")))],
    );
    escalated(&scenario, "RestoreBroken", "apps/storefront/");
}

#[test]
fn planning_again_on_a_new_head_keeps_the_plans_identity() {
    let mut scenario = Scenario::bad_release();
    let first = scenario.plan();
    scenario.commit(
        'b',
        "Release api 2",
        &[(API, Some(&deployment("api", "2")))],
    );
    let second = scenario.plan();
    assert_eq!(
        (first.id, first.diff_hash, first.edits),
        (second.id, second.diff_hash, second.edits)
    );
    assert_ne!(first.parent, second.parent);
}

#[test]
fn modes_decide_where_a_plan_goes() {
    let mut scenario = Scenario::bad_release();
    for (mode, delivery) in [
        (Mode::Auto, Delivery::Push),
        (Mode::Propose, Delivery::Propose),
        (Mode::Observe, Delivery::Observe),
    ] {
        scenario.application.mode = mode;
        assert_eq!(scenario.plan().delivery, delivery);
    }
}

#[test]
fn an_approval_of_this_diff_pushes_a_proposal_and_nothing_else() {
    let mut scenario = Scenario::bad_release();
    scenario.application.mode = Mode::Propose;
    scenario.approve();
    assert_eq!(scenario.plan().delivery, Delivery::Push);
    scenario
        .incident
        .approval
        .as_mut()
        .expect("approved")
        .diff_hash = "another".to_owned();
    assert_eq!(scenario.plan().delivery, Delivery::Propose);
    // Observing is not up to an approval.
    scenario.approve();
    scenario.application.mode = Mode::Observe;
    assert_eq!(scenario.plan().delivery, Delivery::Observe);
    // And every other guard is asked again.
    scenario.application.mode = Mode::Propose;
    scenario.frozen = Some("history was rewritten".to_owned());
    assert!(matches!(scenario.decide(), Decision::Wait { .. }));
    scenario.frozen = None;
    scenario
        .vetoes
        .insert(crate::fingerprint(&scenario.plan().edits));
    escalated(&scenario, "Veto", "a person");
}

#[test]
fn deciding_is_a_function_of_the_case() {
    let scenario = Scenario::bad_release();
    assert_eq!(scenario.decide(), scenario.decide());
    assert_eq!(scenario.plan().edits[0].path, WEB);
    assert_eq!(web().to_string(), "Deployment.apps shop/web");
}
