//! Who waits for a lock, and who gets it when it is given back.

use crate::client::{
    Client, budgeted, close, counted, expire, loose, queue_for, release, try_lock,
};
use crate::harness::{Machine, SECOND, end};
use prost::Message as _;
use regraft_model::incident::OutcomeKind;
use regraft_model::time::Seconds;
use regraft_state::command::{Command, RejectionReason, Response, Transition};
use regraft_state::operation::{LOCKS_PER_SESSION_MAX, Outcome, RefusalReason, WAITING_MAX, Wait};
use regraft_state::record::Subject;
use regraft_state::stored::Queue;
use regraft_state::view::sessions::{waiter, waiting};

/// A machine with clients `user/a`, `user/b` and so on.
fn with_clients<const COUNT: usize>() -> (Machine, [Client; COUNT]) {
    let mut machine = Machine::default();
    let names = "abcdefgh".chars();
    let clients: Vec<_> = names
        .take(COUNT)
        .map(|name| Client::open(&mut machine, &format!("user/{name}")))
        .collect();
    (machine, clients.try_into().unwrap())
}

#[track_caller]
fn check_holds(machine: &Machine, client: &Client, scope: &str, fence: u64) {
    let holders = machine.holders(scope);
    assert!(
        holders.contains(&(client.session, fence)),
        "{} under {fence}: {scope} is held by {holders:?}",
        client.session
    );
}

#[test]
fn who_waits_is_granted_in_order_by_the_command_that_gives_back() {
    let (mut machine, [mut a, mut b, mut c]) = with_clients();
    a.granted(&mut machine, try_lock("named/x"));
    let first = b.queued(&mut machine, queue_for("named/x"));
    assert_eq!(first, machine.index);
    let outcome = c.ask(&mut machine, queue_for("named/x"));
    assert!(matches!(outcome, Outcome::Queued(it) if it.ahead == 1));
    assert!(waiter(&machine.store, first).unwrap().is_some());

    a.release(&mut machine, "named/x");
    check_holds(&machine, &b, "named/x", machine.index);
    assert!(waiter(&machine.store, first).unwrap().is_none());
    let known = machine.index;
    machine.operate("member/1", loose(expire(b.session, known)));
    check_holds(&machine, &c, "named/x", machine.index);
    c.close(&mut machine);
    assert_eq!(machine.holders("named/x"), []);
    assert!(waiting(&machine.store).unwrap().is_empty());
}

#[test]
fn a_waiting_fleet_lock_is_not_overtaken_by_small_ones() {
    let (mut machine, [mut a, mut b, mut c]) = with_clients();
    a.granted(&mut machine, try_lock("service/eu/n/s"));
    b.queued(&mut machine, queue_for("fleet"));
    let (reason, message) = c.refused(&mut machine, try_lock("service/us/n/s"));
    assert_eq!(reason, RefusalReason::Busy);
    assert_eq!(
        message,
        "user/b waits for fleet since 1970-01-01T00:00:00.000Z and comes first"
    );
    c.queued(&mut machine, queue_for("service/us/n/s"));
    a.release(&mut machine, "service/eu/n/s");
    check_holds(&machine, &b, "fleet", machine.index);
    assert_eq!(machine.holders("service/us/n/s"), []);
    b.release(&mut machine, "fleet");
    check_holds(&machine, &c, "service/us/n/s", machine.index);
}

#[test]
fn who_waits_for_something_else_is_passed() {
    let (mut machine, [mut a, mut b, mut c, mut d]) = with_clients();
    a.granted(&mut machine, try_lock("cluster/eu"));
    b.queued(&mut machine, queue_for("namespace/eu/n"));
    c.granted(&mut machine, try_lock("cluster/us"));
    d.queued(&mut machine, queue_for("namespace/us/n"));
    d.granted(&mut machine, try_lock("named/x"));
    c.release(&mut machine, "cluster/us");
    check_holds(&machine, &d, "namespace/us/n", machine.index);
    assert_eq!(machine.holders("namespace/eu/n"), []);
}

#[test]
fn one_command_grants_to_all_that_it_makes_room_for() {
    let (mut machine, [mut a, mut b, mut c, mut d, mut e]) = with_clients();
    a.granted(&mut machine, try_lock("cluster/eu"));
    b.queued(&mut machine, queue_for("service/eu/n/s"));
    c.queued(&mut machine, queue_for("namespace/eu/n"));
    d.queued(&mut machine, queue_for("service/eu/n/t"));
    e.queued(&mut machine, queue_for("namespace/eu/m"));
    a.release(&mut machine, "cluster/eu");
    check_holds(&machine, &b, "service/eu/n/s", machine.index);
    check_holds(&machine, &e, "namespace/eu/m", machine.index);
    assert_eq!(machine.holders("namespace/eu/n"), []);
    assert_eq!(
        machine.holders("service/eu/n/t"),
        [],
        "behind the namespace"
    );
}

#[test]
fn who_gives_a_place_up_lets_those_behind_go_on() {
    let (mut machine, [mut a, mut b, mut c]) = with_clients();
    a.granted(&mut machine, try_lock("service/eu/n/s"));
    b.queued(&mut machine, queue_for("cluster/eu"));
    c.queued(&mut machine, queue_for("service/eu/n/t"));
    b.release(&mut machine, "cluster/eu");
    check_holds(&machine, &c, "service/eu/n/t", machine.index);
    let gone = b.refused(&mut machine, release("cluster/eu"));
    assert_eq!(gone.0, RefusalReason::NotHeld);
}

#[test]
fn who_ends_waiting_gives_locks_and_places_back_at_once() {
    let (mut machine, [mut a, mut b, mut c, mut d]) = with_clients();
    a.granted(&mut machine, try_lock("cluster/us"));
    a.granted(&mut machine, try_lock("named/x"));
    b.granted(&mut machine, try_lock("service/eu/n/s"));
    a.queued(&mut machine, queue_for("cluster/eu"));
    c.queued(&mut machine, queue_for("service/eu/n/t"));
    d.queued(&mut machine, queue_for("cluster/us"));
    a.close(&mut machine);
    check_holds(&machine, &c, "service/eu/n/t", machine.index);
    check_holds(&machine, &d, "cluster/us", machine.index);
    assert!(waiting(&machine.store).unwrap().is_empty());
}

#[test]
fn a_counted_lock_lets_the_next_one_in_for_each_permit_that_is_given_back() {
    let (mut machine, [mut a, mut b, mut c, mut d]) = with_clients();
    let request = || counted("named/x", 2, Wait::Queue);
    a.granted(&mut machine, request());
    b.granted(&mut machine, request());
    c.queued(&mut machine, request());
    d.queued(&mut machine, request());
    b.release(&mut machine, "named/x");
    check_holds(&machine, &c, "named/x", machine.index);
    a.release(&mut machine, "named/x");
    check_holds(&machine, &d, "named/x", machine.index);
}

#[test]
fn who_waits_for_a_budget_is_not_overtaken_below_its_level() {
    let (mut machine, [mut a, mut b, mut c, mut d]) = with_clients();
    a.granted(&mut machine, try_lock("service/eu/n/s"));
    b.queued(
        &mut machine,
        budgeted("service/us/n/s", &[("fleet", 1)], Wait::Queue),
    );
    // Nothing overlaps it, but it would take the place that b waits for.
    c.queued(&mut machine, queue_for("service/ap/n/s"));
    d.granted(&mut machine, try_lock("named/x"));
    a.release(&mut machine, "service/eu/n/s");
    check_holds(&machine, &b, "service/us/n/s", machine.index);
    // Once b is in, nothing keeps c out: it has no budget itself.
    check_holds(&machine, &c, "service/ap/n/s", machine.index);
}

#[test]
fn the_end_of_a_repair_grants_to_who_waits_for_it() {
    for replans in [true, false] {
        let mut machine = Machine::default();
        let shop = machine.open("shop");
        machine.plan(&shop);
        machine.acquire(&shop, 1);
        let mut ada = Client::open(&mut machine, "user/ada");
        ada.queued(&mut machine, queue_for("cluster/eu"));
        let transition = match replans {
            true => Transition::Replan {
                message: "moved".to_owned(),
            },
            false => end(OutcomeKind::Verified, "", &[]),
        };
        machine.advance(&shop, transition);
        check_holds(&machine, &ada, "cluster/eu", machine.index);
    }
}

#[test]
fn a_repair_does_not_overtake_who_waits() {
    let mut machine = Machine::default();
    let (shop, cart) = (machine.open("shop"), machine.open("cart"));
    machine.plan(&shop);
    machine.plan(&cart);
    machine.acquire(&shop, 9);
    let mut ada = Client::open(&mut machine, "user/ada");
    ada.queued(&mut machine, queue_for("cluster/eu"));
    let Response::Rejected(refusal) = machine.acquire(&cart, 9) else {
        panic!("it was overtaken")
    };
    assert_eq!(refusal.reason, RejectionReason::Busy);
    assert!(refusal.message.starts_with("user/ada waits for cluster/eu"));
    ada.release(&mut machine, "cluster/eu");
    assert!(matches!(
        machine.acquire(&cart, 9),
        Response::Granted { .. }
    ));
}

#[test]
fn a_lease_that_ran_out_lets_in_who_waits_with_the_next_command() {
    let setup = || {
        let mut machine = Machine::default();
        let shop = machine.open("shop");
        machine.plan(&shop);
        machine.acquire(&shop, 1);
        let mut ada = Client::open(&mut machine, "user/ada");
        ada.queued(&mut machine, queue_for("cluster/eu"));
        (machine, shop, ada)
    };
    // A command that has nothing to do with it, and one that is refused.
    for subject in [Subject::All, Subject::Application("shop".into())] {
        let (mut machine, _, ada) = setup();
        machine.run(Command::Suspend {
            subject: Subject::All,
            reason: "drill".to_owned(),
        });
        machine.now += 60 * SECOND - 1;
        machine.run(Command::Resume {
            subject: Subject::All,
        });
        assert_eq!(machine.holders("cluster/eu"), []);
        machine.now += 1;
        machine.run(Command::Resume { subject });
        check_holds(&machine, &ada, "cluster/eu", machine.index);
    }
    // The renewal that comes too late.
    let (mut machine, shop, ada) = setup();
    let renew = |machine: &Machine| Command::Renew {
        incident: shop.clone(),
        fence: machine.view.incidents[&shop].executor_fence,
        lease: Seconds(60),
    };
    machine.now += 60 * SECOND;
    let late = renew(&machine);
    assert_eq!(machine.refused(late), RejectionReason::Busy);
    check_holds(&machine, &ada, "cluster/eu", machine.index);
    // An operation on a lock.
    let (mut machine, _, ada) = setup();
    machine.now += 60 * SECOND;
    machine.operate("user/eve", loose(close(99)));
    check_holds(&machine, &ada, "cluster/eu", machine.index);
}

#[test]
fn a_lease_that_is_renewed_in_time_keeps_its_lock_and_is_looked_at_again() {
    let mut machine = Machine::default();
    let shop = machine.open("shop");
    machine.plan(&shop);
    machine.acquire(&shop, 1);
    let mut ada = Client::open(&mut machine, "user/ada");
    ada.queued(&mut machine, queue_for("cluster/eu"));
    machine.now += 30 * SECOND;
    let renew = Command::Renew {
        incident: shop.clone(),
        fence: machine.view.incidents[&shop].executor_fence,
        lease: Seconds(60),
    };
    machine.run(renew);
    let anything = |machine: &mut Machine| {
        machine.run(Command::Resume {
            subject: Subject::All,
        })
    };
    machine.now += 30 * SECOND;
    anything(&mut machine);
    assert_eq!(machine.holders("cluster/eu"), []);
    let queue = machine.store.0[regraft_state::table::QUEUE.as_bytes()].as_slice();
    let next = Queue::decode(queue).unwrap().lapses_ms;
    assert_eq!(
        next,
        Some(90 * SECOND),
        "not with every command from now on"
    );
    machine.now += 30 * SECOND;
    anything(&mut machine);
    check_holds(&machine, &ada, "cluster/eu", machine.index);
}

#[test]
fn a_repair_that_begins_while_somebody_waits_for_something_else_is_looked_at_too() {
    let mut machine = Machine::default();
    let shop = machine.open("shop");
    machine.plan(&shop);
    let (mut ada, mut bob) = (
        Client::open(&mut machine, "user/ada"),
        Client::open(&mut machine, "user/bob"),
    );
    ada.granted(&mut machine, try_lock("named/x"));
    bob.queued(&mut machine, queue_for("named/x"));
    machine.acquire(&shop, 1);
    bob.queued(&mut machine, queue_for("cluster/eu"));
    ada.release(&mut machine, "named/x");
    machine.now += 60 * SECOND;
    machine.run(Command::Resume {
        subject: Subject::All,
    });
    check_holds(&machine, &bob, "cluster/eu", machine.index);
}

#[test]
fn as_many_wait_as_may() {
    let (mut machine, [mut holder]) = with_clients();
    holder.granted(&mut machine, try_lock("fleet"));
    let mut places = 0;
    let mut client = Client::open(&mut machine, "user/z");
    while places < WAITING_MAX {
        if places % u64::try_from(LOCKS_PER_SESSION_MAX).unwrap() == 0 {
            client = Client::open(&mut machine, "user/z");
        }
        client.queued(&mut machine, queue_for(&format!("cluster/{places}")));
        places += 1;
    }
    let mut late = Client::open(&mut machine, "user/late");
    let full = late.refused(&mut machine, queue_for("cluster/late"));
    assert_eq!(full.0, RefusalReason::QueueFull);
    // What is free needs no place.
    late.granted(&mut machine, queue_for("named/x"));
    holder.release(&mut machine, "fleet");
    assert!(waiting(&machine.store).unwrap().is_empty());
    check_holds(&machine, &client, "cluster/1023", machine.index);
}
