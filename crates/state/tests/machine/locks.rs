//! Locks: who gets one, how long, and what may be written under it.

use crate::harness::{Machine, SECOND};
use regraft_model::id::Fence;
use regraft_model::incident::Phase;
use regraft_model::source::Revision;
use regraft_model::time::{Seconds, Timestamp};
use regraft_state::command::{Command, RejectionReason, Response, Transition};

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
