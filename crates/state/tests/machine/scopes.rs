//! Locks of sessions: what excludes what, permits, budgets, and repairs beside them.

use crate::client::{
    Client, budgeted, counted, expire, lock, loose, queue_for, refusal, release, try_lock,
};
use crate::harness::{Machine, SECOND, end};
use regraft_model::id::LockScope;
use regraft_model::incident::OutcomeKind;
use regraft_model::time::Seconds;
use regraft_state::command::{Command, LockRequest, RejectionReason, Response};
use regraft_state::operation::{
    Acquire, Budget, LOCKS_PER_SESSION_MAX, Outcome, PERMITS_MAX, RefusalReason, Request, Wait,
};

/// Whether two scopes exclude each other, asked in either order by two sessions.
#[track_caller]
fn check(machine: &mut Machine, one: &str, other: &str, excluded: bool) {
    for (first, second) in [(one, other), (other, one)] {
        let mut ada = Client::open(machine, "user/ada");
        let mut bob = Client::open(machine, "user/bob");
        ada.granted(machine, try_lock(first));
        let outcome = bob.ask(machine, try_lock(second));
        match outcome {
            Outcome::Granted(_) => assert!(!excluded, "{first} and {second} are both held"),
            other => {
                let (reason, message) = refusal(other);
                assert!(excluded, "{first} keeps {second} out: {message}");
                assert_eq!(reason, RefusalReason::Busy);
                let told = format!("user/ada holds {first} since ");
                assert!(message.starts_with(&told), "{message}");
                let until = format!("until session {} ends", ada.session);
                assert!(message.ends_with(&until), "{message}");
            }
        }
        ada.close(machine);
        bob.close(machine);
    }
}

#[test]
fn what_is_above_excludes_what_is_below_and_siblings_do_not_exclude_each_other() {
    let mut machine = Machine::default();
    let line = ["fleet", "cluster/eu", "namespace/eu/a", "service/eu/a/s"];
    for one in line {
        for other in line {
            check(&mut machine, one, other, true);
        }
    }
    check(&mut machine, "cluster/eu", "cluster/us", false);
    check(&mut machine, "cluster/eu", "cluster/eu-1", false);
    check(&mut machine, "cluster/eu", "namespace/us/a", false);
    check(&mut machine, "cluster/eu", "service/eu-1/a/s", false);
    check(&mut machine, "namespace/eu/a", "namespace/eu/ab", false);
    check(&mut machine, "namespace/eu/a", "service/eu/ab/s", false);
    check(&mut machine, "service/eu/a/s", "service/eu/a/t", false);
    check(&mut machine, "service/eu/a/s", "service/us/a/s", false);
}

#[test]
fn an_application_excludes_what_it_runs_in_or_may_run_in() {
    let mut machine = Machine::default();
    machine.assign("shop", "eu", 1);
    machine.assign("shop", "us", 1);
    check(&mut machine, "application/shop", "fleet", true);
    check(&mut machine, "application/shop", "application/shop", true);
    check(&mut machine, "application/shop", "application/sho", false);
    for scope in ["cluster/eu", "namespace/us/a", "service/us/a/s"] {
        check(&mut machine, "application/shop", scope, true);
    }
    for scope in [
        "cluster/ap",
        "cluster/e",
        "namespace/ap/a",
        "service/ap/a/s",
    ] {
        check(&mut machine, "application/shop", scope, false);
        check(&mut machine, "application/nowhere", scope, true);
    }
}

#[test]
fn a_name_excludes_itself_only() {
    let mut machine = Machine::default();
    check(&mut machine, "named/a", "named/a", true);
    check(&mut machine, "named/a", "named/a/b", false);
    for scope in ["fleet", "cluster/a", "application/a"] {
        check(&mut machine, "named/a", scope, false);
    }
}

#[test]
fn a_lock_is_told_by_its_grant_and_free_after_its_release() {
    let mut machine = Machine::default();
    let mut ada = Client::open(&mut machine, "user/ada");
    let first = ada.granted(&mut machine, try_lock("cluster/eu"));
    assert_eq!(first, machine.index);
    assert_eq!(machine.holders("cluster/eu"), [(ada.session, first)]);
    ada.release(&mut machine, "cluster/eu");
    assert_eq!(machine.holders("cluster/eu"), []);
    assert!(ada.granted(&mut machine, try_lock("cluster/eu")) > first);
    let never = ada.refused(&mut machine, release("cluster/us"));
    assert_eq!(never.0, RefusalReason::NotHeld);
}

#[test]
fn a_session_does_not_get_in_its_own_way() {
    let mut machine = Machine::default();
    let mut ada = Client::open(&mut machine, "user/ada");
    let mut bob = Client::open(&mut machine, "user/bob");
    ada.granted(&mut machine, try_lock("cluster/eu"));
    bob.granted(&mut machine, try_lock("cluster/us"));
    for (scope, told) in [
        ("cluster/eu", "holds cluster/eu"),
        ("service/eu/a/s", "holds cluster/eu"),
        // It would wait for itself, also where another is in the way now.
        ("fleet", "holds cluster/eu"),
    ] {
        for request in [try_lock(scope), queue_for(scope)] {
            let (reason, message) = ada.refused(&mut machine, request);
            assert_eq!(reason, RefusalReason::AlreadyHeld);
            assert_eq!(message, format!("the session itself {told}"));
        }
    }
    ada.queued(&mut machine, queue_for("cluster/us"));
    let (reason, message) = ada.refused(&mut machine, queue_for("namespace/us/a"));
    assert_eq!(reason, RefusalReason::AlreadyHeld);
    assert_eq!(message, "the session itself waits for cluster/us");
}

#[test]
fn a_counted_lock_has_as_many_holders_as_it_has_permits() {
    let mut machine = Machine::default();
    let mut clients: Vec<_> = (0..4)
        .map(|number| Client::open(&mut machine, &format!("user/{number}")))
        .collect();
    let [first, second, third, other] = &mut clients[..] else {
        panic!()
    };
    first.granted(&mut machine, counted("named/build", 2, Wait::Try));
    for permits in [0, 1, 3] {
        for wait in [Wait::Try, Wait::Queue] {
            let request = counted("named/build", permits, wait);
            let (reason, message) = other.refused(&mut machine, request);
            assert_eq!(reason, RefusalReason::PermitsDiffer);
            assert_eq!(message, "named/build is held with 2 permits by user/0");
        }
    }
    second.granted(&mut machine, counted("named/build", 2, Wait::Try));
    let full = third.refused(&mut machine, counted("named/build", 2, Wait::Try));
    assert_eq!(full.0, RefusalReason::Busy);
    assert!(full.1.ends_with("and 1 more"), "{}", full.1);
    first.release(&mut machine, "named/build");
    third.granted(&mut machine, counted("named/build", 2, Wait::Try));
    second.release(&mut machine, "named/build");
    third.release(&mut machine, "named/build");
    other.granted(&mut machine, counted("named/build", 3, Wait::Try));
}

#[test]
fn a_counted_lock_excludes_what_overlaps_it_as_any_other() {
    let mut machine = Machine::default();
    let mut ada = Client::open(&mut machine, "user/ada");
    let mut bob = Client::open(&mut machine, "user/bob");
    ada.granted(&mut machine, counted("cluster/eu", 2, Wait::Try));
    let within = bob.refused(&mut machine, counted("namespace/eu/a", 2, Wait::Try));
    assert_eq!(within.0, RefusalReason::Busy);
}

#[test]
fn a_budget_bounds_the_locks_below_each_level_that_is_given() {
    let mut machine = Machine::default();
    machine.assign("shop", "eu", 1);
    let mut ada = Client::open(&mut machine, "user/ada");
    let mut bob = Client::open(&mut machine, "user/bob");
    ada.granted(&mut machine, try_lock("service/eu/a/s"));
    ada.granted(&mut machine, try_lock("service/us/a/s"));
    ada.granted(&mut machine, counted("namespace/eu/b", 3, Wait::Try));
    // What is not below.
    ada.granted(&mut machine, try_lock("named/x"));
    let mut check = |budgets: &[(&str, u32)], scope: &str, free: bool| {
        let outcome = bob.ask(&mut machine, budgeted(scope, budgets, Wait::Try));
        match outcome {
            Outcome::Granted(_) => {
                assert!(free, "{budgets:?} let {scope} in");
                bob.release(&mut machine, scope);
            }
            other => {
                let (reason, message) = refusal(other);
                assert_eq!(reason, RefusalReason::Busy, "{message}");
                assert!(!free, "{budgets:?} kept {scope} out: {message}");
                assert!(message.contains("held below"), "{message}");
            }
        }
    };
    let scope = "service/eu/a/t";
    check(&[("fleet", 3)], scope, false);
    check(&[("fleet", 4)], scope, true);
    check(&[("cluster/eu", 2)], scope, false);
    check(&[("cluster/eu", 3)], scope, true);
    check(&[("namespace/eu/a", 1)], scope, false);
    check(&[("namespace/eu/a", 2)], scope, true);
    check(&[(scope, 1)], scope, true);
    check(&[("fleet", 4), ("cluster/eu", 2)], scope, false);
    check(&[("fleet", 3), ("cluster/eu", 3)], scope, false);
    check(
        &[("fleet", 4), ("cluster/eu", 3), ("namespace/eu/a", 2)],
        scope,
        true,
    );
    check(&[("fleet", 3)], "service/ap/a/t", false);
    check(&[("cluster/ap", 1)], "service/ap/a/t", true);
}

#[test]
fn a_budget_counts_repairs_applications_and_each_holder_of_a_counted_lock() {
    let mut machine = Machine::default();
    let shop = machine.open("shop");
    machine.plan(&shop);
    machine.acquire(&shop, 1);
    machine.assign("cart", "us", 1);
    let mut ada = Client::open(&mut machine, "user/ada");
    let mut bob = Client::open(&mut machine, "user/bob");
    let mut eve = Client::open(&mut machine, "user/eve");
    ada.granted(&mut machine, try_lock("application/cart"));
    for client in [&mut ada, &mut bob] {
        client.granted(&mut machine, counted("namespace/ap/a", 2, Wait::Try));
    }
    // shop, cart, and two in ap.
    let service = "service/ap/b/s";
    let (reason, message) =
        eve.refused(&mut machine, budgeted(service, &[("fleet", 4)], Wait::Try));
    assert_eq!(reason, RefusalReason::Busy);
    assert_eq!(
        message,
        "4 locks, as many as there may be, are held below fleet"
    );
    eve.granted(&mut machine, budgeted(service, &[("fleet", 5)], Wait::Try));
    // An application lies below the clusters it runs in.
    machine.assign("blog", "us", 1);
    let blog = |most: u32| budgeted("application/blog", &[("cluster/us", most)], Wait::Try);
    assert_eq!(eve.refused(&mut machine, blog(1)).0, RefusalReason::Busy);
    eve.granted(&mut machine, blog(2));
}

#[test]
fn a_request_that_makes_no_sense_is_refused_by_what_is_wrong_with_it() {
    let mut machine = Machine::default();
    machine.assign("shop", "eu", 1);
    let mut ada = Client::open(&mut machine, "user/ada");
    let five = [("fleet", 9); 5];
    for request in [
        try_lock("planet/earth"),
        try_lock("cluster/"),
        try_lock(""),
        release("cluster/eu/x"),
        counted("named/x", PERMITS_MAX + 1, Wait::Try),
        budgeted("cluster/eu", &five, Wait::Try),
        budgeted("cluster/eu", &[("fleet", 0)], Wait::Try),
        budgeted("cluster/eu", &[("cluster/us", 1)], Wait::Try),
        budgeted("cluster/eu", &[("namespace/eu/a", 1)], Wait::Try),
        budgeted("named/x", &[("fleet", 1)], Wait::Try),
        budgeted("application/shop", &[("cluster/us", 1)], Wait::Try),
        budgeted("cluster/eu", &[("moon", 1)], Wait::Try),
    ] {
        let (reason, message) = ada.refused(&mut machine, request);
        assert_eq!(reason, RefusalReason::OutOfBounds, "{message}");
    }
}

#[test]
fn a_session_holds_as_much_as_it_may_and_gives_all_back_at_once() {
    let mut machine = Machine::default();
    let mut ada = Client::open(&mut machine, "user/ada");
    let mut bob = Client::open(&mut machine, "user/bob");
    for number in 0..LOCKS_PER_SESSION_MAX {
        ada.granted(&mut machine, try_lock(&format!("named/{number}")));
    }
    for request in [try_lock("named/more"), queue_for("named/more")] {
        let (reason, _) = ada.refused(&mut machine, request);
        assert_eq!(reason, RefusalReason::TooManyLocks);
    }
    ada.close(&mut machine);
    for number in 0..LOCKS_PER_SESSION_MAX {
        bob.granted(&mut machine, try_lock(&format!("named/{number}")));
    }
}

#[test]
fn a_person_who_holds_a_cluster_keeps_repairs_out_of_it_until_the_session_ends() {
    let mut machine = Machine::default();
    let shop = machine.open("shop");
    machine.plan(&shop);
    let mut ada = Client::open(&mut machine, "user/ada");
    let fence = ada.granted(&mut machine, try_lock("cluster/eu"));
    let Response::Rejected(refusal) = machine.acquire(&shop, 9) else {
        panic!("the repair was let in")
    };
    assert_eq!(refusal.reason, RejectionReason::Busy);
    assert_eq!(
        refusal.message,
        format!(
            "user/ada holds cluster/eu since 1970-01-01T00:00:00.000Z with fence {fence}, until session {} ends",
            ada.session
        )
    );
    let known = machine.index;
    machine.operate("member/1", loose(expire(ada.session, known)));
    let Response::Granted { fence: later } = machine.acquire(&shop, 1) else {
        panic!("the cluster is free")
    };
    assert!(later.0 > fence);
}

#[test]
fn a_repair_keeps_people_out_until_it_ends_or_its_lease_runs_out() {
    let mut machine = Machine::default();
    let (shop, cart) = (machine.open("shop"), machine.open("cart"));
    machine.plan(&shop);
    machine.plan(&cart);
    machine.acquire(&shop, 9);
    let mut ada = Client::open(&mut machine, "user/ada");
    for scope in ["fleet", "cluster/eu", "service/eu/a/s", "application/shop"] {
        let (reason, message) = ada.refused(&mut machine, try_lock(scope));
        assert_eq!(reason, RefusalReason::Busy);
        let told = format!("{shop} holds application/shop until 1970-01-01T00:01:00.000Z");
        assert_eq!(message, told);
    }
    ada.granted(&mut machine, try_lock("cluster/us"));
    machine.advance(&shop, end(OutcomeKind::Verified, "", &[]));
    ada.granted(&mut machine, try_lock("cluster/eu"));
    ada.release(&mut machine, "cluster/eu");

    machine.acquire(&cart, 9);
    machine.now += 60 * SECOND;
    ada.granted(&mut machine, try_lock("cluster/eu"));
    let renew = Command::Renew {
        incident: cart.clone(),
        fence: machine.view.incidents[&cart].executor_fence,
        lease: Seconds(60),
    };
    assert_eq!(machine.refused(renew), RejectionReason::Busy);
}

#[test]
fn locks_of_sessions_do_not_count_as_repairs_under_way() {
    let mut machine = Machine::default();
    let shop = machine.open("shop");
    machine.plan(&shop);
    let mut ada = Client::open(&mut machine, "user/ada");
    ada.granted(&mut machine, try_lock("cluster/us"));
    assert!(matches!(
        machine.acquire(&shop, 1),
        Response::Granted { .. }
    ));
}

#[test]
fn a_repair_is_locked_by_what_can_be_repaired() {
    let mut machine = Machine::default();
    let shop = machine.open("shop");
    machine.plan(&shop);
    let request = |machine: &Machine, scope: LockScope| {
        let incident = &machine.view.incidents[&shop];
        Command::Acquire(LockRequest {
            incident: shop.clone(),
            fence: incident.executor_fence,
            plan: incident.plan.as_ref().unwrap().id.clone(),
            scope,
            lease: Seconds(60),
            budget: 1,
        })
    };
    for scope in [
        LockScope::Named("shop".to_owned()),
        LockScope::Cluster("a/b".into()),
    ] {
        let command = request(&machine, scope);
        assert_eq!(machine.refused(command), RejectionReason::OutOfBounds);
    }
    let command = request(&machine, LockScope::Cluster("eu".into()));
    assert!(matches!(machine.run(command), Response::Granted { .. }));
    let mut ada = Client::open(&mut machine, "user/ada");
    let (_, message) = ada.refused(&mut machine, try_lock("service/eu/a/s"));
    assert!(message.contains("holds cluster/eu until"), "{message}");
    // What runs nowhere may run there.
    machine.assign("cart", "us", 1);
    ada.granted(&mut machine, try_lock("application/cart"));
}

#[test]
fn a_request_of_no_permits_is_one_of_one() {
    let mut machine = Machine::default();
    let mut ada = Client::open(&mut machine, "user/ada");
    let mut bob = Client::open(&mut machine, "user/bob");
    let plain = Request::Acquire(Acquire {
        scope: "named/x".to_owned(),
        budgets: vec![Budget {
            level: "named/x".to_owned(),
            most: 1,
        }],
        ..Acquire::default()
    });
    ada.granted(&mut machine, plain);
    let one = Request::Acquire(lock("named/x", Wait::Try));
    assert_eq!(bob.refused(&mut machine, one).0, RefusalReason::Busy);
}
