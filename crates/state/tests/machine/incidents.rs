//! Incidents: opened once, moved on by their executor, decided on by people.

use crate::harness::{Machine, end, fault, plan_for};
use regraft_model::id::MemberId;
use regraft_model::incident::{Incident, OutcomeKind, Phase};
use regraft_model::plan::{Answer, Guard, GuardResult, Rejected};
use regraft_model::source::Revision;
use regraft_model::time::Timestamp;
use regraft_state::command::{Command, RejectionReason, Response, Transition};

#[test]
fn an_older_executor_changes_nothing_any_more() {
    let mut machine = Machine::default();
    let id = machine.open("shop");
    let old = machine.view.incidents[&id].executor_fence;
    machine.run(Command::AssignExecutor {
        incident: id.clone(),
        member: MemberId(2),
    });
    let before = machine.view.clone();
    let replan = end(OutcomeKind::Recovered, "", &[]);
    let late = Command::Advance {
        incident: id,
        fence: old,
        transition: Box::new(replan),
    };
    assert_eq!(machine.refused(late), RejectionReason::StaleFence);
    assert_eq!(machine.view, before);
}

#[test]
fn the_same_fault_in_three_clusters_is_one_incident() {
    let mut machine = Machine::default();
    let id = machine.open("shop");
    for cluster in ["us", "ap"] {
        let fence = machine.assign("shop", cluster, 1);
        let answer = machine.run(fault("shop", cluster, "bad", fence));
        assert_eq!(
            answer,
            Response::Opened {
                incident: id.clone()
            }
        );
    }
    assert_eq!(machine.view.incidents.len(), 1);
    assert_eq!(machine.view.incidents[&id].targets.len(), 3);
}

#[test]
fn a_fault_of_other_inputs_waits_until_the_open_incident_ends() {
    let mut machine = Machine::default();
    machine.open("shop");
    let fence = machine.assign("shop", "us", 1);
    let other = fault("shop", "us", "other", fence);
    assert_eq!(machine.refused(other), RejectionReason::OtherIncidentOpen);
}

#[test]
fn an_incident_goes_through_its_phases_and_its_end_releases_the_lock() {
    let mut machine = Machine::default();
    let id = machine.open("shop");
    machine.plan(&id);
    machine.acquire(&id, 1);
    assert_eq!(machine.commit(&id), Response::Done);
    assert_eq!(machine.view.incidents[&id].phase, Phase::Committed);
    assert_eq!(
        machine.view.incidents[&id].committed_at,
        Some(Timestamp(machine.now))
    );
    machine.advance(&id, end(OutcomeKind::Escalated, "did not help", &["bad"]));
    assert!(machine.view.locks.is_empty());
    assert_eq!(machine.view.incidents[&id].phase, Phase::Ended);
    let fence = machine.assign("shop", "us", 1);
    let again = fault("shop", "us", "bad", fence);
    assert_eq!(machine.refused(again), RejectionReason::Closed);
}

#[test]
fn an_approval_of_another_diff_is_refused() {
    let mut machine = Machine::default();
    let id = machine.open("shop");
    let plan = Box::new(plan_for(&id, "shop"));
    machine.advance(
        &id,
        Transition::Propose {
            plan,
            pushed_to: "regraft/x".into(),
            revision: Revision::from("c0ffee"),
            deadline: Timestamp(1),
        },
    );
    let approve = |diff: &str| Command::Approve {
        incident: id.clone(),
        diff_hash: diff.into(),
    };
    assert_eq!(
        machine.refused(approve("other")),
        RejectionReason::DiffChanged
    );
    assert_eq!(machine.run(approve("diff")), Response::Done);
    assert_eq!(
        machine.view.incidents[&id].approval.as_ref().unwrap().actor,
        "member/1"
    );
}

#[test]
fn a_veto_ends_the_incident_and_outlives_it() {
    let mut machine = Machine::default();
    let id = machine.open("shop");
    machine.run(Command::Veto {
        incident: id.clone(),
        fingerprint: Some("print".to_owned()),
        reason: "on purpose".to_owned(),
    });
    assert_eq!(
        machine.view.incidents[&id].outcome.as_ref().unwrap().kind,
        OutcomeKind::Vetoed
    );
    assert!(machine.view.vetoes.contains_key("print"));
}

#[test]
fn a_veto_of_a_repair_that_was_verified_is_a_step_of_its_incident() {
    let mut machine = Machine::default();
    let id = machine.open("shop");
    machine.advance(&id, end(OutcomeKind::Verified, "healthy", &[]));
    machine.run(Command::Veto {
        incident: id.clone(),
        fingerprint: Some("print".to_owned()),
        reason: "we want the new image".to_owned(),
    });
    let incident = &machine.view.incidents[&id];
    assert_eq!(
        incident.outcome.as_ref().unwrap().kind,
        OutcomeKind::Verified
    );
    let last = incident.steps.last().unwrap();
    assert_eq!(last.reason, "Vetoed");
    assert_eq!(
        last.message,
        "never again, by member/1: we want the new image"
    );
}

#[test]
fn an_incident_keeps_what_its_newest_decision_was_made_on() {
    let said = |reason: &str| GuardResult {
        guard: Guard::Evidence,
        answer: Answer::Passed,
        message: reason.to_owned(),
    };
    let alternative = |reason: &str| Rejected {
        alternative: "restart the pods".to_owned(),
        message: reason.to_owned(),
    };
    let wait = |guards: Vec<GuardResult>| Transition::Wait {
        reason: "Waiting".to_owned(),
        message: "for a cluster".to_owned(),
        plan: None,
        guards,
        rejected: vec![],
    };
    let mut machine = Machine::default();
    let id = machine.open("shop");
    machine.advance(&id, wait(vec![said("first")]));
    machine.advance(&id, wait(vec![]));
    let guards = |machine: &Machine| machine.view.incidents[&id].guards.clone();
    assert_eq!(guards(&machine), [said("first")], "no decision, no change");
    machine.advance(&id, wait(vec![said("many"); 100]));
    assert_eq!(guards(&machine).len(), Incident::MAX_GUARDS);
    machine.advance(
        &id,
        Transition::End {
            outcome: OutcomeKind::Escalated,
            message: String::new(),
            closed: vec![],
            guards: vec![said("last")],
            rejected: vec![alternative("it would not help"); 100],
        },
    );
    assert_eq!(guards(&machine), [said("last")]);
    assert_eq!(
        machine.view.incidents[&id].rejected.len(),
        Incident::MAX_REJECTED
    );
}
