//! Whether the checker finds what cannot have been, and leaves alone what can.

use proptest::prelude::*;
use regraft_history::{
    Answer, Call, Decided, Freshness, History, Hold, Kind, Operation, Searched, Seen, check, search,
};

/// More than any of these histories needs.
const STEPS_MAX: usize = 200_000;
const KEY: &str = "k";

fn operation(times: (u64, u64), call: Call, answer: Answer) -> Operation {
    Operation {
        client: 1,
        begin_us: times.0,
        end_us: times.1,
        call,
        answer,
    }
}

fn put(value: &str) -> Call {
    put_if(value, None)
}

fn put_if(value: &str, expected: Option<u64>) -> Call {
    Call::Put {
        key: KEY.to_owned(),
        value: value.to_owned(),
        expected,
    }
}

fn delete() -> Call {
    Call::Delete {
        key: KEY.to_owned(),
        expected: None,
    }
}

fn get(freshness: Freshness) -> Call {
    Call::Get {
        key: KEY.to_owned(),
        freshness,
    }
}

fn written(revision: u64, previous: u64) -> Answer {
    Answer::Written { revision, previous }
}

fn read(revision: u64, record: Option<(&str, u64)>) -> Answer {
    let record = record.map(|(value, revision)| Seen {
        value: value.to_owned(),
        revision,
    });
    Answer::Read { revision, record }
}

fn kinds(operations: Vec<Operation>) -> Vec<Kind> {
    let history = History {
        operations,
        holds: vec![],
    };
    check(&history).iter().map(|it| it.kind).collect()
}

/// What the checker says, and that the search agrees that it cannot have been.
fn refused(operations: Vec<Operation>, kind: Kind) {
    let all: Vec<&Operation> = operations.iter().collect();
    assert_eq!(search(&all, STEPS_MAX), Searched::NotLinearizable);
    assert_eq!(kinds(operations).first(), Some(&kind));
}

const NEW: Freshness = Freshness::Linearizable;
const OLD: Freshness = Freshness::Stale;

/// Two puts after each other.
fn two() -> Vec<Operation> {
    vec![
        operation((10, 20), put("a"), written(3, 0)),
        operation((30, 40), put("b"), written(5, 3)),
    ]
}

fn and(mut operations: Vec<Operation>, operation: Operation) -> Vec<Operation> {
    operations.push(operation);
    operations
}

#[test]
fn what_one_state_can_have_answered_passes() {
    let operations = vec![
        operation((10, 20), put("a"), written(3, 0)),
        // Beside each other, and in the other order than they began.
        operation((30, 60), put("c"), written(6, 5)),
        operation((31, 50), put("b"), written(5, 3)),
        operation((35, 45), get(NEW), read(4, Some(("a", 3)))),
        operation((70, 80), put_if("d", Some(6)), written(9, 6)),
        operation(
            (70, 90),
            put_if("e", Some(6)),
            Answer::Changed {
                found: 9,
                decided: Decided::At(10),
            },
        ),
        operation((100, 110), get(OLD), read(5, Some(("b", 5)))),
        // Nobody knows of these; one of them was seen.
        operation((100, 200), put("f"), Answer::Unknown),
        operation((100, 200), delete(), Answer::Unknown),
        operation((100, 200), put("g"), Answer::Unknown),
        operation((250, 260), get(NEW), read(14, Some(("f", 12)))),
        operation((270, 280), get(NEW), read(16, None)),
        operation((300, 310), put("h"), written(20, 18)),
        operation((320, 330), put("i"), Answer::NotDone),
        operation((320, 330), delete(), written(21, 20)),
    ];
    let all: Vec<&Operation> = operations.iter().collect();
    assert_eq!(search(&all, STEPS_MAX), Searched::Linearizable);
    assert_eq!(kinds(operations), []);
}

#[test]
fn a_read_that_misses_what_was_answered_before_is_refused() {
    let stale = read(4, Some(("a", 3)));
    refused(
        and(two(), operation((50, 60), get(NEW), stale.clone())),
        Kind::StaleRead,
    );
    // Also one that says that it is new, ...
    let lying = read(6, Some(("a", 3)));
    refused(
        and(two(), operation((50, 60), get(NEW), lying)),
        Kind::LostWrite,
    );
    // ... but not one that may be old.
    assert_eq!(kinds(and(two(), operation((50, 60), get(OLD), stale))), []);
}

#[test]
fn a_write_that_was_answered_and_is_gone_is_refused() {
    let gone = operation((50, 60), get(NEW), read(7, None));
    refused(and(two(), gone), Kind::LostWrite);
    let overwritten = operation((50, 60), put("c"), written(8, 3));
    refused(and(two(), overwritten), Kind::LostWrite);
    let unmet = operation((50, 60), put_if("c", Some(3)), written(8, 5));
    refused(and(two(), unmet), Kind::WrongAnswer);
}

#[test]
fn a_request_with_two_effects_is_refused() {
    let again = operation((50, 60), get(NEW), read(9, Some(("a", 8))));
    refused(and(two(), again), Kind::DoubledEffect);
    // Also one of unknown outcome: it was seen before b, and after it.
    let mut operations = vec![operation((1, 100), put("u"), Answer::Unknown)];
    operations.push(operation((10, 20), get(NEW), read(4, Some(("u", 4)))));
    operations.push(operation((30, 40), put("b"), written(5, 4)));
    let passes = kinds(operations.clone());
    assert_eq!(passes, []);
    operations.push(operation((50, 60), get(NEW), read(7, Some(("u", 6)))));
    refused(operations, Kind::DoubledEffect);
}

#[test]
fn what_nobody_wrote_is_refused() {
    let invented = operation((50, 60), get(NEW), read(7, Some(("x", 6))));
    refused(and(two(), invented), Kind::Invented);
    let mut operations = and(two(), operation((45, 48), put("x"), Answer::NotDone));
    operations.push(operation((50, 60), get(NEW), read(7, Some(("x", 6)))));
    assert_eq!(kinds(operations).first(), Some(&Kind::Invented));
    // A revision that only another put could explain.
    let unseen = operation((50, 60), put("c"), written(8, 7));
    refused(and(two(), unseen.clone()), Kind::LostWrite);
    let unknown = operation((45, 48), put("u"), Answer::Unknown);
    assert_eq!(kinds(and(and(two(), unknown), unseen.clone())), []);
    // Not by one that began when all was over.
    let late = operation((70, 80), put("u"), Answer::Unknown);
    refused(and(and(two(), late), unseen), Kind::LostWrite);
}

#[test]
fn places_in_the_log_that_fall_are_refused() {
    let fell = vec![
        operation((10, 20), put("a"), written(5, 3)),
        operation((30, 40), put("b"), written(3, 0)),
    ];
    refused(fell, Kind::Disorder);
    let mut other = operation((30, 40), put("b"), written(3, 0));
    other.call = Call::Put {
        key: "other".to_owned(),
        value: "b".to_owned(),
        expected: None,
    };
    let of_two_keys = vec![operation((10, 20), put("a"), written(5, 0)), other];
    assert_eq!(kinds(of_two_keys), [Kind::Disorder]);
}

#[test]
fn a_refusal_of_another_revision_is_refused() {
    let with = |decided| {
        let changed = Answer::Changed { found: 3, decided };
        and(two(), operation((50, 60), put_if("c", Some(4)), changed))
    };
    refused(with(Decided::At(7)), Kind::WrongAnswer);
    refused(with(Decided::By(7)), Kind::WrongAnswer);
    refused(with(Decided::Untold), Kind::WrongAnswer);
    // Unless it may be of the time before b.
    let mut early = with(Decided::By(7));
    early[2].begin_us = 25;
    assert_eq!(kinds(early), []);
}

fn hold(session: u64, scope: &str, fence: u64, times: (u64, u64)) -> Hold {
    Hold {
        client: 1,
        session,
        scope: scope.to_owned(),
        fence,
        asked_us: times.0,
        from_us: times.0,
        until_us: times.1,
    }
}

fn locks(holds: Vec<Hold>) -> Vec<Kind> {
    let history = History {
        operations: vec![],
        holds,
    };
    check(&history).iter().map(|it| it.kind).collect()
}

#[test]
fn two_holders_at_a_time_are_refused() {
    let first = hold(1, "cluster/a", 3, (10, 50));
    let beside = |scope: &str| locks(vec![first.clone(), hold(2, scope, 5, (40, 60))]);
    for scope in ["cluster/a", "namespace/a/x", "service/a/x/y", "fleet"] {
        assert_eq!(beside(scope), [Kind::OverlappingLocks], "{scope}");
    }
    for scope in ["cluster/b", "namespace/b/a", "named/a"] {
        assert_eq!(beside(scope), [], "{scope}");
    }
    // One that was granted when nobody relied on it any more.
    let late = hold(3, "cluster/a", 4, (30, 30));
    assert_eq!(locks(vec![first.clone(), late]), []);
    assert_eq!(locks(vec![first, hold(2, "fleet", 5, (50, 60))]), []);
}

#[test]
fn a_later_holder_without_a_greater_fence_is_refused() {
    let with = |fence| {
        locks(vec![
            hold(1, "named/a", 3, (10, 20)),
            hold(2, "named/a", fence, (30, 40)),
        ])
    };
    assert_eq!(with(4), []);
    assert_eq!(with(3), [Kind::FenceNotRising]);
    assert_eq!(with(2), [Kind::FenceNotRising]);
}

/// One request of a made-up client.
#[derive(Clone, Debug)]
struct Request {
    kind: u8,
    /// Time before and after it takes effect.
    before: u64,
    after: u64,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// It is done, and nobody is told.
    Untold,
    /// It is not done, and nobody is told.
    Lost,
}

/// What goes wrong in a state that is not honest, at which request.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// It is answered as done, and is not.
    Forgets(usize),
    /// It is done again, so many requests later.
    Repeats(usize, usize),
    /// It is answered by what was so many requests before.
    LooksBack(usize, usize),
}

fn request() -> impl Strategy<Value = Request> {
    let fate = prop_oneof![
        6 => Just(Fate::Answered),
        1 => Just(Fate::Untold),
        1 => Just(Fate::Lost),
    ];
    (0..6_u8, 0..40_u64, 0..40_u64, fate).prop_map(|(kind, before, after, fate)| Request {
        kind,
        before,
        after,
        fate,
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0..12_usize).prop_map(Fault::Forgets),
        (0..12_usize, 1..6_usize).prop_map(|(at, later)| Fault::Repeats(at, later)),
        (0..12_usize, 1..6_usize).prop_map(|(at, back)| Fault::LooksBack(at, back)),
    ]
}

/// What clients see of a state, one request for each place in the log.
fn run(requests: &[Request], fault: Fault) -> Vec<Operation> {
    let mut states: Vec<Option<(String, u64)>> = vec![None];
    let mut operations = Vec::new();
    let mut repeated: Option<(usize, Option<String>)> = None;
    for (number, request) in requests.iter().enumerate() {
        let place = number as u64 + 1;
        let (point, value) = (100 + 10 * number as u64, format!("v{number}"));
        let mut state = states[number].clone();
        if let Some((_, effect)) = repeated.take_if(|(at, _)| *at == number) {
            state = effect.map(|value| (value, place));
        }
        let seen = match fault {
            Fault::LooksBack(at, back) if at == number => {
                states[number.saturating_sub(back)].clone()
            }
            _ => state.clone(),
        };
        let previous = seen.as_ref().map_or(0, |(_, revision)| *revision);
        let call = match request.kind {
            0 => put(&value),
            1 | 2 => put_if(
                &value,
                Some(previous + u64::from(request.kind == 2 && number % 3 == 0)),
            ),
            3 => delete(),
            4 => get(NEW),
            _ => get(OLD),
        };
        let mut answer = match &call {
            Call::Put { expected, .. } | Call::Delete { expected, .. } => match expected {
                Some(expected) if *expected != previous => Answer::Changed {
                    found: previous,
                    decided: Decided::At(place),
                },
                _ => written(place, previous),
            },
            Call::Get { .. } => read(
                place,
                seen.as_ref()
                    .map(|(value, revision)| (value.as_str(), *revision)),
            ),
        };
        let is_done = matches!(answer, Answer::Written { .. })
            && request.fate != Fate::Lost
            && !matches!(fault, Fault::Forgets(at) if at == number);
        if is_done {
            let effect = matches!(call, Call::Put { .. }).then_some(value);
            if let Fault::Repeats(at, later) = fault
                && at == number
            {
                repeated = Some((number + later, effect.clone()));
            }
            state = effect.map(|value| (value, place));
        }
        if request.fate != Fate::Answered {
            answer = Answer::Unknown;
        }
        let times = (point - request.before, point + request.after);
        operations.push(operation(times, call, answer));
        states.push(state);
    }
    operations
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_an_honest_state_answers_passes(requests in prop::collection::vec(request(), 1..14)) {
        let operations = run(&requests, Fault::None);
        let all: Vec<&Operation> = operations.iter().collect();
        prop_assert_eq!(search(&all, STEPS_MAX), Searched::Linearizable);
        let history = History { operations, holds: vec![] };
        prop_assert_eq!(check(&history), vec![]);
    }

    #[test]
    fn whatever_no_order_explains_is_refused(
        requests in prop::collection::vec(request(), 2..14),
        fault in fault(),
    ) {
        let operations = run(&requests, fault);
        let all: Vec<&Operation> = operations.iter().collect();
        let searched = search(&all, STEPS_MAX);
        let history = History { operations: operations.clone(), holds: vec![] };
        if searched == Searched::NotLinearizable {
            prop_assert_ne!(check(&history), vec![]);
        }
    }
}
