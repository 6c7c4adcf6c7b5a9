//! The machine through its one door: entries in, answers and state out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod harness;

use harness::{Machine, SECOND, application, end, fault, fleet, head, plan_for, target};
use prost::Message;
use regraft_model::config::Application;
use regraft_model::finding::{PendingDeletion, SyncState, TargetStatus};
use regraft_model::id::{Fence, MemberId};
use regraft_model::incident::{Incident, OutcomeKind, Phase};
use regraft_model::plan::{Answer, Guard, GuardResult, Rejected};
use regraft_model::source::Revision;
use regraft_model::time::{Seconds, Timestamp};
use regraft_state::audit::{AuditHead, BrokenChain, verify};
use regraft_state::command::{
    Command, Envelope, FORMAT, HeadRelation, RejectionReason, Response, Stamped, Transition,
};
use regraft_state::record::{AuditEntry, Confirmation, Subject};
use regraft_state::store::{Memory, Read as _, Walk};
use regraft_state::view::View;
use regraft_state::{Halt, apply};

#[test]
fn the_same_entry_twice_changes_the_state_once_and_is_answered_alike() {
    let mut machine = Machine::default();
    let fence = machine.assign("shop", "eu", 1);
    let entry = machine.entry(&fault("shop", "eu", "bad", fence));
    let first = machine.apply(&entry);
    let incidents = machine.view.incidents.clone();
    let again = machine.apply(&entry);
    assert_eq!(first, again);
    assert_eq!(machine.view.incidents, incidents);
}

#[test]
fn a_sequence_older_than_the_answers_kept_is_refused() {
    let mut machine = Machine::default();
    let first = machine.entry(&Command::Initialise {
        installation: "one".to_owned(),
    });
    machine.apply(&first);
    for _ in 0..200 {
        machine.run(Command::Suspend {
            subject: Subject::All,
            reason: "drill".to_owned(),
        });
    }
    let Response::Rejected(rejection) = machine.apply(&first) else {
        panic!("applied twice")
    };
    assert_eq!(rejection.reason, RejectionReason::StaleSequence);
}

#[test]
fn a_leader_with_a_slow_clock_does_not_turn_time_back() {
    let mut machine = Machine {
        now: 100 * SECOND,
        ..Machine::default()
    };
    let id = machine.open("shop");
    machine.plan(&id);
    machine.acquire(&id, 1);
    machine.now = 0;
    let other = machine.open("cart");
    assert_eq!(
        machine.view.incidents[&other].opened_at,
        Timestamp(100 * SECOND)
    );
}

#[test]
fn only_one_plan_gets_the_lock_while_the_budget_is_one() {
    let mut machine = Machine::default();
    let (shop, cart) = (machine.open("shop"), machine.open("cart"));
    machine.plan(&shop);
    machine.plan(&cart);
    let Response::Granted { fence } = machine.acquire(&shop, 1) else {
        panic!("not granted")
    };
    let Response::Rejected(refusal) = machine.acquire(&cart, 1) else {
        panic!("both granted")
    };
    assert_eq!(refusal.reason, RejectionReason::Busy);
    assert!(
        refusal.message.contains(shop.as_str()),
        "{}",
        refusal.message
    );

    let Response::Granted { fence: later } = machine.acquire(&cart, 2) else {
        panic!("budget")
    };
    assert!(later > fence, "fences only rise");
}

#[test]
fn a_lock_that_ran_out_is_free_for_others_and_cannot_be_renewed_then() {
    let mut machine = Machine::default();
    let (shop, cart) = (machine.open("shop"), machine.open("cart"));
    machine.plan(&shop);
    machine.plan(&cart);
    machine.acquire(&shop, 1);
    machine.now = 61 * SECOND;
    assert!(matches!(
        machine.acquire(&cart, 1),
        Response::Granted { .. }
    ));
    let fence = machine.view.incidents[&shop].executor_fence;
    let renew = Command::Renew {
        incident: shop,
        fence,
        lease: Seconds(60),
    };
    assert_eq!(machine.refused(renew), RejectionReason::Busy);
}

#[test]
fn a_lock_that_ran_out_lives_on_while_nobody_else_was_let_in() {
    let mut machine = Machine::default();
    let shop = machine.open("shop");
    machine.plan(&shop);
    machine.acquire(&shop, 1);
    machine.now = 61 * SECOND;
    let fence = machine.view.incidents[&shop].executor_fence;
    let renew = Command::Renew {
        incident: shop.clone(),
        fence,
        lease: Seconds(60),
    };
    assert_eq!(machine.run(renew), Response::Done);
    assert_eq!(
        machine.view.locks[&shop].expires_at,
        Timestamp(121 * SECOND)
    );
}

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
fn a_report_under_an_old_assignment_is_refused() {
    let mut machine = Machine::default();
    let old = machine.assign("shop", "eu", 1);
    machine.assign("shop", "eu", 2);
    let status = TargetStatus {
        key: target("shop", "eu"),
        member: MemberId(1),
        fence: old,
        ..TargetStatus::default()
    };
    let report = Command::Report {
        status: Box::new(status),
    };
    assert_eq!(machine.refused(report), RejectionReason::StaleFence);
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
fn a_commit_is_recorded_only_under_the_fence_of_the_lock() {
    let mut machine = Machine::default();
    let id = machine.open("shop");
    machine.plan(&id);
    machine.acquire(&id, 1);
    let lock = Fence(machine.view.locks[&id].fence.0 - 1);
    let (revision, deadline) = (Revision::from("c0ffee"), Timestamp(1));
    let stale = machine.advance(
        &id,
        Transition::Commit {
            revision,
            lock,
            deadline,
        },
    );
    assert!(matches!(stale, Response::Rejected(it) if it.reason == RejectionReason::StaleFence));
}

#[test]
fn planning_again_gives_the_lock_back() {
    let mut machine = Machine::default();
    let id = machine.open("shop");
    machine.plan(&id);
    machine.acquire(&id, 1);
    machine.advance(
        &id,
        Transition::Replan {
            message: "moved".to_owned(),
        },
    );
    assert!(machine.view.locks.is_empty());
    assert_eq!(machine.view.incidents[&id].phase, Phase::Open);
    let deadline = machine.view.incidents[&id].deadline;
    machine.now += 60 * SECOND;
    machine.plan(&id);
    assert_eq!(machine.view.incidents[&id].deadline, deadline, "shared");
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
fn a_head_that_does_not_descend_freezes_healing_until_a_person_resumes_it() {
    let mut machine = Machine::default();
    machine.run(head("a", None, HeadRelation::First));
    assert_eq!(
        machine.refused(head("c", Some("b"), HeadRelation::Descends)),
        RejectionReason::HeadMoved
    );
    machine.run(head("b", Some("a"), HeadRelation::Rewritten));
    assert!(machine.view.heads[&"fleet".into()].frozen.is_some());
    machine.run(head("c", Some("b"), HeadRelation::Descends));
    assert!(
        machine.view.heads[&"fleet".into()].frozen.is_some(),
        "a new commit thaws nothing"
    );
    machine.run(Command::Resume {
        subject: Subject::Repository("fleet".into()),
    });
    assert!(machine.view.heads[&"fleet".into()].frozen.is_none());
}

#[test]
fn what_left_git_is_retiring_until_every_cluster_is_clear() {
    let mut machine = Machine::default();
    machine.run(head("a", None, HeadRelation::First));
    let configure = |machine: &mut Machine, applications: &[Application]| {
        machine.run(Command::RecordConfiguration {
            repository: "fleet".into(),
            branch: "main".into(),
            revision: Revision::from("a"),
            fleet: fleet(applications),
        })
    };
    configure(
        &mut machine,
        &[
            application("shop", &["eu", "us"]),
            application("cart", &["eu"]),
        ],
    );
    configure(&mut machine, &[application("shop", &["eu"])]);
    let shop = machine.view.retiring[&"shop".into()].clusters.clone();
    assert_eq!(shop, vec!["us".into()]);
    configure(&mut machine, &[application("shop", &["eu", "us"])]);
    assert!(
        !machine.view.retiring.contains_key(&"shop".into()),
        "it came back"
    );
    machine.run(Command::Retired {
        target: target("cart", "eu"),
    });
    assert!(machine.view.retiring.is_empty());
}

#[test]
fn a_confirmation_names_exactly_the_list_that_waits_and_ends_with_it() {
    let mut machine = Machine::default();
    let (key, token) = (target("shop", "eu"), "of this list".to_owned());
    let mut status = TargetStatus {
        member: MemberId(1),
        fence: machine.assign("shop", "eu", 1),
        pending_deletion: Some(PendingDeletion {
            token: token.clone(),
            objects: vec![],
        }),
        key: key.clone(),
        ..TargetStatus::default()
    };
    let report = |status: &TargetStatus| Command::Report {
        status: Box::new(status.clone()),
    };
    let confirm = |token: String| {
        Command::ConfirmDelete(Confirmation {
            target: key.clone(),
            token,
        })
    };
    machine.run(report(&status));
    let other = machine.refused(confirm("of another list".to_owned()));
    assert_eq!(other, RejectionReason::DiffChanged);
    machine.run(confirm(token));
    assert!(machine.view.confirmations.contains_key(&key));
    status.pending_deletion = None;
    status.sync.state = SyncState::Synced;
    machine.run(report(&status));
    assert!(machine.view.confirmations.is_empty(), "it is done");
}

#[test]
fn another_cluster_behind_the_same_name_is_refused() {
    let mut machine = Machine::default();
    let register = |uid: &str| Command::RegisterCluster {
        cluster: "eu".into(),
        uid: uid.to_owned(),
    };
    machine.run(register("one"));
    assert_eq!(
        machine.refused(register("two")),
        RejectionReason::ClusterChanged
    );
    machine.run(Command::ForgetCluster {
        cluster: "eu".into(),
    });
    assert_eq!(machine.run(register("two")), Response::Done);
}

#[test]
fn a_spreading_that_another_one_overtook_is_void() {
    let mut machine = Machine::default();
    machine.assign("web", "eu", 1);
    let late = Command::Assign {
        after: Fence(0),
        grants: vec![],
        revoked: vec![target("web", "eu")],
    };
    assert_eq!(machine.refused(late), RejectionReason::AlreadyDone);
    assert_eq!(machine.view.assignments.len(), 1);
}

#[test]
fn an_unknown_command_halts_the_machine() {
    let envelope = Envelope {
        client: "new".to_owned(),
        sequence: 1,
        actor: "member/1".to_owned(),
        format: FORMAT,
        command: br#"{"teleport":{}}"#.to_vec(),
    };
    let entry = Stamped {
        stamped_ms: 0,
        command: envelope.encode_to_vec(),
    }
    .encode_to_vec();
    let halted = apply(&Memory::default(), 7, &entry);
    assert!(
        matches!(halted, Err(Halt::Unknown { index: 7, .. })),
        "{halted:?}"
    );
}

#[test]
fn the_audit_chain_shows_what_was_changed_or_taken_out() {
    let mut machine = Machine::default();
    let id = machine.open("shop");
    machine.plan(&id);
    machine.acquire(&id, 1);
    machine.commit(&id);
    let (head, entries) = chain(&machine.store);
    assert_eq!(verify(&head, &entries), Ok(()));

    let mut changed = entries.clone();
    changed[1].message = "nothing happened".to_owned();
    assert_eq!(verify(&head, &changed), Err(BrokenChain::Changed(2)));
    let mut shorter = entries.clone();
    shorter.remove(1);
    assert_eq!(verify(&head, &shorter), Err(BrokenChain::Missing(2)));
    let mut cut = entries;
    cut.pop();
    assert_eq!(verify(&head, &cut), Err(BrokenChain::Missing(head.newest)));
}

#[test]
fn a_view_restored_from_the_store_is_the_one_that_followed_every_write() {
    let mut machine = Machine::default();
    let id = machine.open("shop");
    machine.plan(&id);
    machine.acquire(&id, 1);
    machine.commit(&id);
    machine.run(Command::Suspend {
        subject: Subject::All,
        reason: "drill".to_owned(),
    });
    machine.run(Command::Resume {
        subject: Subject::All,
    });
    let pairs = machine
        .store
        .0
        .iter()
        .map(|(key, value)| (key.as_slice(), value.as_slice()));
    assert_eq!(View::restore(pairs).unwrap(), machine.view);
}

fn chain(store: &Memory) -> (AuditHead, Vec<AuditEntry>) {
    let head = store
        .get(regraft_state::table::AUDIT_HEAD.as_bytes())
        .unwrap()
        .unwrap();
    let mut entries = Vec::new();
    store
        .scan(
            regraft_state::table::prefix::AUDIT.as_bytes(),
            &mut |_, value| {
                entries.push(serde_json::from_slice(value).unwrap());
                Walk::Continue
            },
        )
        .unwrap();
    (serde_json::from_slice(&head).unwrap(), entries)
}

#[test]
fn a_sync_of_what_is_suspended_is_refused_with_who_suspended_it_and_what_to_do() {
    let sync = |machine: &mut Machine| {
        machine.run(Command::SyncNow {
            application: "shop".into(),
        })
    };
    let refusal = |response: Response| match response {
        Response::Rejected(rejection) => (rejection.reason, rejection.message),
        other => panic!("{other:?}"),
    };
    let mut machine = Machine::default();
    machine.run(Command::Suspend {
        subject: Subject::Application("shop".into()),
        reason: "drill".to_owned(),
    });
    let (reason, message) = refusal(sync(&mut machine));
    assert_eq!(reason, RejectionReason::Suspended);
    for part in ["member/1", "drill", "`regraft resume shop`"] {
        assert!(message.contains(part), "{message}");
    }
    machine.run(Command::Suspend {
        subject: Subject::All,
        reason: "flood".to_owned(),
    });
    let (_, message) = refusal(sync(&mut machine));
    assert!(message.contains("`regraft resume --all`"), "{message}");

    let mut machine = Machine::default();
    machine.run(head("aaa", None, HeadRelation::First));
    let mut paused = application("shop", &["eu"]);
    paused.suspend = true;
    machine.run(Command::RecordConfiguration {
        repository: "fleet".into(),
        branch: "main".into(),
        revision: Revision::from("aaa"),
        fleet: fleet(&[paused]),
    });
    let (_, message) = refusal(sync(&mut machine));
    assert!(message.contains("spec.suspend"), "{message}");
    assert!(machine.view.syncs.is_empty());
}

#[test]
fn only_the_newest_request_for_a_sync_is_answered_by_the_remote() {
    let mut machine = Machine::default();
    let request = |machine: &mut Machine| match machine.run(Command::SyncNow {
        application: "shop".into(),
    }) {
        Response::Requested { fence } => fence,
        other => panic!("{other:?}"),
    };
    let asked = |fence: Fence| Command::RemoteAsked {
        application: "shop".into(),
        fence,
    };
    let (first, second) = (request(&mut machine), request(&mut machine));
    assert_eq!(machine.refused(asked(first)), RejectionReason::AlreadyDone);
    assert!(!machine.view.syncs[&"shop".into()].asked);
    machine.run(asked(second));
    assert!(machine.view.syncs[&"shop".into()].asked);
    assert_eq!(machine.refused(asked(second)), RejectionReason::AlreadyDone);
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
        reason: reason.to_owned(),
    };
    let alternative = |reason: &str| Rejected {
        alternative: "restart the pods".to_owned(),
        reason: reason.to_owned(),
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
