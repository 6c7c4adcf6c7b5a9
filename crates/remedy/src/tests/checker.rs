use super::scenario::{API, Scenario, WEB, deployment, revision, web};
use crate::{Violation, check};
use regraft_model::plan::{Answer, Delivery};
use regraft_model::{Edit, Guard, Mode, Plan};

/// Bends a good plan and names what the checker must say, among other things.
#[track_caller]
fn bent(scenario: &Scenario, expected: &Violation, bend: impl FnOnce(&mut Plan)) {
    let mut plan = scenario.plan();
    assert_eq!(scenario.with(|case| check(&plan, case)), vec![]);
    bend(&mut plan);
    let found = scenario.with(|case| check(&plan, case));
    assert!(found.contains(expected), "{found:?}");
}

fn api_edit(scenario: &Scenario) -> Edit {
    Edit {
        path: API.to_owned(),
        before: scenario
            .history
            .tip
            .files
            .get(API)
            .map(|file| file.blob.clone()),
        after: scenario
            .history
            .base
            .files
            .get(API)
            .map(|file| file.blob.clone()),
        mode: Default::default(),
    }
}

#[test]
fn every_promise_of_a_plan_is_checked() {
    let mut scenario = Scenario::bad_release();
    scenario.commit(
        'b',
        "Release api 2",
        &[(API, Some(&deployment("api", "2")))],
    );
    let good = &scenario;
    bent(good, &Violation::AnotherCase, |plan| {
        plan.branch = "other".into()
    });
    bent(good, &Violation::ParentIsNotTip, |plan| {
        plan.parent = revision('a')
    });
    bent(good, &Violation::RestoresAnotherRevision, |plan| {
        plan.restores = revision('a')
    });
    bent(good, &Violation::NoSuspect, |plan| plan.suspects.clear());
    bent(
        good,
        &Violation::SuspectOutsideHistory(revision('c')),
        |plan| plan.suspects.push(revision('c')),
    );
    bent(good, &Violation::NoEdits, |plan| plan.edits.clear());
    bent(good, &Violation::LeftUnrestored(WEB.to_owned()), |plan| {
        plan.edits.clear()
    });
    bent(good, &Violation::InputsDiffer(web()), |plan| {
        plan.edits.clear()
    });
    bent(good, &Violation::EditsOutOfOrder(WEB.to_owned()), |plan| {
        plan.edits.push(plan.edits[0].clone())
    });
    bent(
        good,
        &Violation::OutsideApplication("apps/storefrontier/x".to_owned()),
        |plan| {
            plan.edits[0].path = "apps/storefrontier/x".to_owned();
        },
    );
    bent(good, &Violation::StaleBefore(WEB.to_owned()), |plan| {
        plan.edits[0].before = None
    });
    bent(good, &Violation::NotRestored(WEB.to_owned()), |plan| {
        plan.edits[0].after = None
    });
    bent(good, &Violation::NotBySuspect(API.to_owned()), |plan| {
        plan.edits.insert(0, api_edit(good))
    });
    bent(
        good,
        &Violation::LosesChange {
            path: API.to_owned(),
            by: revision('b'),
        },
        |plan| {
            plan.edits.insert(0, api_edit(good));
        },
    );
    bent(
        &Scenario::bad_release(),
        &Violation::EditWithoutChange(API.to_owned()),
        |plan| {
            plan.edits.insert(0, api_edit(&Scenario::bad_release()));
        },
    );
    bent(good, &Violation::WrongDiffHash, |plan| {
        plan.diff_hash.push('0')
    });
    bent(good, &Violation::WrongTrailers, |plan| {
        plan.message.push_str("Signed-off-by: x\n")
    });
    bent(good, &Violation::WrongTrailers, |plan| {
        plan.message = "no".to_owned()
    });
    bent(good, &Violation::BadSubject, |plan| {
        plan.message.insert_str(0, &"x".repeat(72))
    });
    bent(good, &Violation::GuardNotAskedOnce(Guard::Veto), |plan| {
        plan.guards.retain(|one| one.guard != Guard::Veto)
    });
    bent(good, &Violation::AgainstGuard(Guard::Suspended), |plan| {
        plan.guards[0].answer = Answer::Refused
    });
    bent(good, &Violation::DeliveredTooFar, |plan| {
        plan.guards[0].answer = Answer::Propose
    });
}

#[test]
fn a_plan_goes_no_further_than_its_mode() {
    let mut scenario = Scenario::bad_release();
    scenario.application.mode = Mode::Propose;
    bent(&scenario, &Violation::DeliveredTooFar, |plan| {
        plan.delivery = Delivery::Push
    });
    scenario.application.mode = Mode::Observe;
    bent(&scenario, &Violation::DeliveredTooFar, |plan| {
        plan.delivery = Delivery::Propose
    });
}
