//! What clusters share of what is normal: the greater register stays, whatever came first.

use crate::harness::{Machine, target};
use proptest::prelude::*;
use regraft_model::id::{Fence, MemberId};
use regraft_state::baseline::{
    AHEAD_MAX, BASELINE_BYTES_MAX, BASELINES_MAX, METRIC_BYTES_MAX, SHARED_MAX, WORKLOAD_BYTES_MAX,
};
use regraft_state::command::{Command, RejectionReason, Response, SharedBaselines};
use regraft_state::record::Baseline;
use regraft_state::store::Memory;
use regraft_state::table::prefix;
use regraft_state::view;
use std::collections::BTreeMap;

/// What the application `shop` of a cluster tells of its workload `cart`.
fn share<'a>(
    fence: Fence,
    cluster: &str,
    entries: impl IntoIterator<Item = (&'a str, u64, &'a [u8])>,
) -> SharedBaselines {
    let entry = |(metric, version, summary): (&str, u64, &[u8])| {
        (metric.to_owned(), baseline(version, summary))
    };
    SharedBaselines {
        target: target("shop", cluster),
        member: MemberId(1),
        fence,
        workload: "cart".to_owned(),
        entries: entries.into_iter().map(entry).collect(),
    }
}

fn baseline(version: u64, summary: &[u8]) -> Baseline {
    let summary = summary.to_vec();
    Baseline { version, summary }
}

fn known(machine: &Machine) -> BTreeMap<String, BTreeMap<String, Baseline>> {
    let baselines = view::baselines(&machine.store, &"shop".into(), "cart").unwrap();
    assert_eq!(baselines.unreadable, []);
    let known = baselines.known.into_iter();
    known
        .map(|(cluster, it)| (cluster.to_string(), it))
        .collect()
}

fn stored(store: &Memory) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let pairs = store.0.iter();
    pairs
        .filter(|(key, _)| key.starts_with(prefix::BASELINES.as_bytes()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[test]
fn every_cluster_has_its_own_register_of_a_metric_and_the_newest_stays() {
    let mut machine = Machine::default();
    let eu = machine.assign("shop", "eu", 1);
    let us = machine.assign("shop", "us", 1);
    let told = [("http/rate", 5, &b"five"[..]), ("errors", 5, b"none")];
    machine.run(Command::ShareBaselines(share(eu, "eu", told)));
    let other = [("http/rate", 1, &b"one"[..])];
    machine.run(Command::ShareBaselines(share(us, "us", other)));
    let older = [("http/rate", 4, &b"zzzz"[..])];
    let older = Command::ShareBaselines(share(eu, "eu", older));
    assert_eq!(machine.refused(older), RejectionReason::AlreadyDone);
    let known = known(&machine);
    assert_eq!(known["eu"]["http/rate"], baseline(5, b"five"));
    assert_eq!(known["eu"]["errors"], baseline(5, b"none"));
    assert_eq!(
        known["us"],
        [("http/rate".to_owned(), baseline(1, b"one"))].into()
    );
}

#[test]
fn only_the_member_that_holds_the_target_tells_what_its_cluster_knows() {
    let mut machine = Machine::default();
    let old = machine.assign("shop", "eu", 1);
    machine.assign("shop", "eu", 2);
    let told = Command::ShareBaselines(share(old, "eu", [("rate", 1, &b"x"[..])]));
    assert_eq!(machine.refused(told), RejectionReason::StaleFence);
    assert!(stored(&machine.store).is_empty());
}

#[test]
fn what_is_beyond_a_bound_is_refused_as_a_whole() {
    let mut machine = Machine::default();
    let fence = machine.assign("shop", "eu", 1);
    let mut check = |shared: SharedBaselines| {
        let told = Command::ShareBaselines(shared);
        assert_eq!(machine.refused(told), RejectionReason::OutOfBounds);
        assert!(stored(&machine.store).is_empty());
    };
    let bytes = vec![0; BASELINE_BYTES_MAX + 1];
    check(share(
        fence,
        "eu",
        [("fits", 1, &b"x"[..]), ("rate", 1, &bytes)],
    ));
    check(share(fence, "eu", [("", 1, &b"x"[..])]));
    let long = "m".repeat(METRIC_BYTES_MAX + 1);
    check(share(fence, "eu", [(long.as_str(), 1, &b"x"[..])]));
    let names: Vec<_> = (0..=SHARED_MAX).map(|it| it.to_string()).collect();
    let many = names.iter().map(|name| (name.as_str(), 1, &b"x"[..]));
    check(share(fence, "eu", many));
    for workload in ["", "cart/us", &"w".repeat(WORKLOAD_BYTES_MAX + 1)] {
        let mut shared = share(fence, "eu", [("rate", 1, &b"x"[..])]);
        shared.workload = workload.to_owned();
        check(shared);
    }
}

#[test]
fn a_version_far_ahead_of_the_leaders_time_is_refused_and_stops_no_later_one() {
    let mut machine = Machine {
        now: 1_700_000_000_000,
        ..Machine::default()
    };
    let fence = machine.assign("shop", "eu", 1);
    let newest = u64::try_from(machine.now + AHEAD_MAX.as_millis()).unwrap();
    let told = |version| {
        let entries = [("errors", 1, &b"x"[..]), ("rate", version, b"x")];
        Command::ShareBaselines(share(fence, "eu", entries))
    };
    for ahead in [newest + 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        assert_eq!(
            machine.refused(told(ahead)),
            RejectionReason::OutOfBounds,
            "{ahead}"
        );
        assert!(stored(&machine.store).is_empty());
    }
    assert_eq!(machine.run(told(newest)), Response::Done);
    // A leader with a slow clock does not turn time back.
    machine.now -= 3_600_000;
    let again = machine.refused(told(newest));
    assert_eq!(again, RejectionReason::AlreadyDone);
    machine.now += 3_600_001;
    assert_eq!(machine.run(told(newest + 1)), Response::Done);
    assert_eq!(known(&machine)["eu"]["rate"], baseline(newest + 1, b"x"));
}

#[test]
fn the_words_of_a_version_too_far_ahead_name_both_times() {
    let mut machine = Machine::default();
    let fence = machine.assign("shop", "eu", 1);
    let told = share(fence, "eu", [("rate", 400_000, &b"x"[..])]);
    let Response::Rejected(rejection) = machine.run(Command::ShareBaselines(told)) else {
        panic!("it is refused");
    };
    let words = "the baseline of rate is of 400000 ms, more than 5m after the leader's time 1970-01-01T00:00:00.000Z";
    assert_eq!(rejection.message, words);
}

#[test]
fn a_record_that_cannot_be_read_is_named_and_hides_no_other() {
    let mut machine = Machine::default();
    for cluster in ["eu", "us"] {
        let fence = machine.assign("shop", cluster, 1);
        let told = [("errors", 1, &b"x"[..]), ("rate", 1, b"x")];
        machine.run(Command::ShareBaselines(share(fence, cluster, told)));
    }
    let keys = [
        "baselines/shop/cart/eu/errors",
        "baselines/shop/cart/us/rate",
    ];
    let damaged = [
        &b"{\"version\":1,\"sum"[..],
        b"{\"version\":1,\"summary\":\"eA==\",\"newer\":1}",
    ];
    for (key, value) in keys.into_iter().zip(damaged) {
        let before = machine.store.0.insert(key.into(), value.to_vec());
        assert!(before.is_some(), "{key}");
    }
    let baselines = view::baselines(&machine.store, &"shop".into(), "cart").unwrap();
    let unreadable = baselines.unreadable.iter().map(|it| it.key.as_str());
    assert_eq!(unreadable.collect::<Vec<_>>(), keys);
    let left = |metric: &str| [(metric.to_owned(), baseline(1, b"x"))].into();
    let known = [("eu".into(), left("rate")), ("us".into(), left("errors"))];
    assert_eq!(baselines.known, known.into());
}

#[test]
fn the_most_in_one_command_is_no_larger_than_a_command_may_be() {
    let names: Vec<_> = (0..SHARED_MAX)
        .map(|it| format!("{it:0width$}", width = METRIC_BYTES_MAX))
        .collect();
    let bytes = [0xff; BASELINE_BYTES_MAX];
    let entries = names
        .iter()
        .map(|name| (name.as_str(), u64::MAX, &bytes[..]));
    let command = Command::ShareBaselines(share(Fence(u64::MAX), "eu", entries));
    let written = serde_json::to_vec(&command).unwrap();
    assert!(written.len() < 1 << 20, "{} bytes", written.len());
    assert_eq!(
        serde_json::from_slice::<Command>(&written).unwrap(),
        command
    );
}

#[test]
fn of_more_metrics_than_are_kept_the_newest_stay() {
    let mut machine = Machine::default();
    let fence = machine.assign("shop", "eu", 1);
    let names: Vec<_> = (0..BASELINES_MAX + 10)
        .map(|it| format!("{it:04}"))
        .collect();
    for some in names.chunks(SHARED_MAX) {
        let some = some.iter().map(|name| {
            let version = name.parse().unwrap();
            (name.as_str(), version, &b"x"[..])
        });
        let told = Command::ShareBaselines(share(fence, "eu", some));
        assert_eq!(machine.run(told), Response::Done);
    }
    let kept: Vec<_> = known(&machine)["eu"].keys().cloned().collect();
    assert_eq!(kept, names[10..]);
}

#[test]
fn a_cluster_that_is_forgotten_and_a_target_that_is_revoked_take_theirs_with_them() {
    let mut machine = Machine::default();
    for cluster in ["eu", "us", "ap"] {
        machine.run(Command::RegisterCluster {
            cluster: cluster.into(),
            uid: cluster.to_owned(),
        });
        let fence = machine.assign("shop", cluster, 1);
        let told = share(fence, cluster, [("rate", 1, &b"x"[..])]);
        machine.run(Command::ShareBaselines(told));
    }
    machine.run(Command::ForgetCluster {
        cluster: "eu".into(),
    });
    assert_eq!(
        known(&machine).into_keys().collect::<Vec<_>>(),
        ["ap", "us"]
    );
    machine.run(Command::Assign {
        after: machine.view.spread,
        grants: vec![],
        revoked: vec![target("shop", "us")],
    });
    assert_eq!(known(&machine).into_keys().collect::<Vec<_>>(), ["ap"]);
}

#[test]
fn bytes_that_are_no_base64_are_no_command() {
    let command = Command::ShareBaselines(share(Fence(1), "eu", [("rate", 1, &b"abc"[..])]));
    let text = serde_json::to_string(&command).unwrap();
    assert!(text.contains("YWJj"), "{text}");
    assert!(serde_json::from_str::<Command>(&text.replace("YWJj", "Y?Jj")).is_err());
}

fn any_baseline() -> impl Strategy<Value = Baseline> {
    let summary = prop::collection::vec(0_u8..3, 0..3);
    (0_u64..4, summary).prop_map(|(version, summary)| Baseline { version, summary })
}

/// What one of two clusters tells of up to three metrics.
fn any_share() -> impl Strategy<Value = (usize, BTreeMap<String, Baseline>)> {
    let metric = prop::sample::select(vec!["a", "b", "c/d"]).prop_map(str::to_owned);
    let entries = prop::collection::btree_map(metric, any_baseline(), 1..3);
    (0_usize..2, entries)
}

proptest! {
    #[test]
    fn joining_is_a_semilattice(one in any_baseline(), two in any_baseline(), three in any_baseline()) {
        let join = |one: &Baseline, two: &Baseline| one.clone().join(two.clone());
        prop_assert_eq!(join(&one, &one), one.clone());
        prop_assert_eq!(join(&one, &two), join(&two, &one));
        prop_assert_eq!(join(&join(&one, &two), &three), join(&one, &join(&two, &three)));
        prop_assert!(join(&one, &two).version >= one.version);
    }

    #[test]
    fn any_order_and_any_repeats_give_the_same_registers(
        (shares, orders) in prop::collection::vec(any_share(), 1..12).prop_flat_map(|shares| {
            let indexes: Vec<_> = (0..shares.len()).collect();
            let again = prop::collection::vec(0..shares.len(), 0..8);
            let order = (Just(indexes).prop_shuffle(), again)
                .prop_map(|(all, again)| [all, again].concat());
            (Just(shares), order)
        })
    ) {
        let apply = |order: &mut dyn Iterator<Item = usize>| {
            let mut machine = Machine::default();
            let clusters = ["eu", "us"];
            let fences = clusters.map(|cluster| machine.assign("shop", cluster, 1));
            for index in order {
                let (cluster, entries) = shares[index].clone();
                let mut shared = share(fences[cluster], clusters[cluster], []);
                shared.entries = entries;
                machine.run(Command::ShareBaselines(shared));
            }
            stored(&machine.store)
        };
        prop_assert_eq!(apply(&mut (0..shares.len())), apply(&mut orders.iter().copied()));
    }

    /// Also where more are told than are kept, in any order and some of them again.
    #[test]
    fn which_of_too_many_are_kept_does_not_depend_on_their_order(
        versions in prop::collection::vec(0_u64..6, BASELINES_MAX + 100),
        order in Just((0..7).collect::<Vec<_>>()).prop_shuffle(),
        again in prop::collection::vec(0_usize..7, 0..3),
    ) {
        let names: Vec<_> = (0..versions.len()).map(|it| it.to_string()).collect();
        let apply = |order: &[usize]| {
            let mut machine = Machine::default();
            let fence = machine.assign("shop", "eu", 1);
            for part in order {
                // Every seventh, so that old and new ones are in all of them, some of them twice.
                let part = (0..versions.len()).filter(|index| index % 7 == *part || index % 41 == *part);
                let entries: Vec<_> = part
                    .map(|index| (names[index].as_str(), versions[index], &b"x"[..]))
                    .collect();
                machine.run(Command::ShareBaselines(share(fence, "eu", entries)));
            }
            stored(&machine.store)
        };
        let kept = apply(&[0, 1, 2, 3, 4, 5, 6]);
        prop_assert_eq!(kept.len(), BASELINES_MAX);
        prop_assert_eq!(apply(&[order, again].concat()), kept);
    }
}
