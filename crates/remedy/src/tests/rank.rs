use crate::rank::{
    Against, Call, Input, Kind, Metric, Ranking, Reading, RecentChange, Service, Symptom, Verdict,
    Why, rank,
};
use proptest::prelude::*;

const NORMAL: usize = 20;
const ANOMALOUS: usize = 6;
const STEP_S: i64 = 60;
const BEGIN_S: i64 = 1_700_000_000;

/// A level with some unrest: a twentieth up and down by turns.
fn around(level: f64, samples: usize) -> Vec<f64> {
    [0.95, 1.0, 1.05, 1.0]
        .iter()
        .cycle()
        .take(samples)
        .map(|part| part * level)
        .collect()
}

fn metric(name: &str, normal: f64, anomalous: f64) -> Metric {
    Metric {
        name: name.to_owned(),
        normal: around(normal, NORMAL),
        anomalous: around(anomalous, ANOMALOUS),
    }
}

/// (service, its metrics with the levels of both windows)
type Row<'a> = (&'a str, &'a [(&'a str, f64, f64)]);

fn input(rows: &[Row<'_>], calls: &[(&str, &str)]) -> Input {
    let before = i64::try_from(NORMAL).expect("a small number");
    let after = i64::try_from(ANOMALOUS).expect("a small number");
    Input {
        normal_times_s: (0..before)
            .map(|row| BEGIN_S + (row - before) * STEP_S)
            .collect(),
        anomalous_times_s: (0..after).map(|row| BEGIN_S + row * STEP_S).collect(),
        services: rows
            .iter()
            .map(|(name, metrics)| Service {
                name: (*name).to_owned(),
                workload: None,
                metrics: metrics
                    .iter()
                    .map(|(name, normal, anomalous)| metric(name, *normal, *anomalous))
                    .collect(),
            })
            .collect(),
        calls: calls
            .iter()
            .map(|(caller, callee)| Call {
                caller: (*caller).to_owned(),
                callee: (*callee).to_owned(),
            })
            .collect(),
        ..Input::default()
    }
}

fn first(ranking: &Ranking) -> &str {
    &ranking.suspects.first().expect("a suspect").service
}

#[track_caller]
fn check(rows: &[Row<'_>], calls: &[(&str, &str)], expected: &str) {
    let ranking = rank(&input(rows, calls));
    assert_eq!(first(&ranking), expected, "{ranking}");
    assert_eq!(ranking.verdict, Verdict::Named, "{ranking}");
    assert_eq!(ranking.suspects.len(), rows.len());
}

#[test]
fn the_service_that_moved_beyond_its_unrest_comes_first() {
    check(
        &[
            (
                "cart",
                &[("cpu_usage", 0.2, 0.21), ("memory_rss", 5e8, 5.2e8)],
            ),
            (
                "pay",
                &[("cpu_usage", 0.2, 0.9), ("memory_rss", 5e8, 5.2e8)],
            ),
            (
                "mail",
                &[("cpu_usage", 0.2, 0.19), ("memory_rss", 5e8, 4.9e8)],
            ),
        ],
        &[],
        "pay",
    );
}

#[test]
fn an_idle_service_makes_no_large_change_of_nothing() {
    check(
        &[
            ("idle", &[("cpu_usage", 1e-5, 1e-3)]),
            ("busy", &[("cpu_usage", 0.4, 0.8)]),
            ("calm", &[("cpu_usage", 0.3, 0.3)]),
        ],
        &[],
        "busy",
    );
}

#[test]
fn many_metrics_of_one_kind_do_not_outvote_one_that_moved_more() {
    let some = ("latency_p50", 0.1, 0.3);
    check(
        &[
            (
                "a",
                &[some, ("latency_p90", 0.1, 0.3), ("latency_p95", 0.1, 0.3)],
            ),
            ("b", &[("latency_p50", 0.1, 0.6)]),
        ],
        &[],
        "b",
    );
}

#[test]
fn a_slow_callee_explains_its_slow_callers_also_around_a_cycle() {
    let rows: &[Row<'_>] = &[
        ("front", &[("latency_p99", 0.2, 3.0)]),
        ("orders", &[("latency_p99", 0.1, 2.8)]),
        ("store", &[("latency_p99", 0.05, 2.7)]),
        ("mail", &[("latency_p99", 0.05, 0.05)]),
    ];
    let chain = [("front", "orders"), ("orders", "store"), ("front", "mail")];
    check(rows, &chain, "store");
    let cycle = [
        ("front", "orders"),
        ("orders", "front"),
        ("orders", "store"),
        ("nobody", "store"),
    ];
    check(rows, &cycle, "store");
    let ranking = rank(&input(rows, &chain));
    let front = ranking
        .suspects
        .iter()
        .find(|one| one.service == "front")
        .expect("front");
    assert_eq!(
        front.against,
        [Against::Explained {
            by: "orders".to_owned(),
            share: 1.0
        }],
        "{ranking}"
    );
}

#[test]
fn who_stopped_calling_is_blamed_for_callees_without_work() {
    check(
        &[
            (
                "front",
                &[("requests", 100.3, 99.0), ("errors", 0.11, 0.11)],
            ),
            (
                "adverts",
                &[("requests", 50.3, 5.1), ("errors", 0.11, 0.11)],
            ),
            ("prices", &[("requests", 80.3, 9.1), ("errors", 0.11, 0.11)]),
        ],
        &[("front", "adverts"), ("front", "prices")],
        "front",
    );
}

#[test]
fn callers_that_wait_point_at_the_callee_they_share() {
    let waits = "client_latency_seconds";
    check(
        &[
            ("front", &[(waits, 0.1, 0.9)]),
            ("checkout", &[(waits, 0.1, 0.9)]),
            ("cart", &[("cpu_usage", 0.1, 0.1)]),
            ("adverts", &[("cpu_usage", 0.1, 0.1)]),
        ],
        &[
            ("front", "checkout"),
            ("front", "adverts"),
            ("front", "cart"),
            ("checkout", "cart"),
        ],
        "cart",
    );
}

#[test]
fn less_load_for_everybody_accuses_nobody() {
    let halved: &[_] = &[("requests_rate", 10.3, 5.1), ("network_bytes", 1e5, 5e4)];
    let ranking = rank(&input(
        &[("a", halved), ("b", halved), ("c", halved), ("d", halved)],
        &[],
    ));
    assert!(
        matches!(
            ranking.verdict,
            Verdict::Unknown {
                why: Why::NothingStandsOut { .. }
            }
        ),
        "{ranking}"
    );
    let excuses = &ranking.suspects[0].against;
    assert!(
        matches!(excuses.as_slice(), [Against::HappensToMost { .. }, ..]),
        "{ranking}"
    );
}

#[test]
fn what_was_so_right_before_is_no_onset() {
    let mut drifted = input(
        &[
            ("old", &[("memory_rss", 1e8, 4e8)]),
            ("new", &[("memory_rss", 1e8, 3e8)]),
        ],
        &[],
    );
    for sample in drifted.services[0].metrics[0].normal.iter_mut().skip(14) {
        *sample = 4e8;
    }
    // The same unrest for both, so that only the order in time differs.
    for sample in drifted.services[1].metrics[0].normal.iter_mut().take(6) {
        *sample = 4e8;
    }
    let ranking = rank(&drifted);
    assert_eq!(first(&ranking), "new", "{ranking}");
    assert_eq!(ranking.suspects[1].score, 0.0, "{ranking}");
    drifted.normal_times_s.clear();
    assert_eq!(
        first(&rank(&drifted)),
        "old",
        "without times all count alike"
    );
}

#[test]
fn the_symptom_tells_which_samples_belong_to_the_incident() {
    let mut late = input(
        &[
            ("front", &[("latency", 0.1, 0.1)]),
            ("store", &[("cpu_usage", 0.1, 0.1)]),
        ],
        &[],
    );
    for sample in [4, 5] {
        late.services[0].metrics[0].anomalous[sample] = 2.0;
        late.services[1].metrics[0].anomalous[sample] = 0.9;
    }
    assert_ne!(rank(&late).verdict, Verdict::Named);
    late.symptom = Some(Symptom {
        service: "front".to_owned(),
        metric: "latency".to_owned(),
    });
    late.calls.push(Call {
        caller: "front".to_owned(),
        callee: "store".to_owned(),
    });
    let ranking = rank(&late);
    assert!(
        ranking.suspects.iter().all(|one| one.score > 1.0),
        "{ranking}"
    );
}

#[test]
fn a_recent_change_decides_between_equals_and_accuses_nobody_alone() {
    let slow: &[_] = &[("cpu_usage", 0.1, 0.9)];
    let mut equals = input(
        &[("a", slow), ("b", slow), ("c", &[("cpu_usage", 0.1, 0.1)])],
        &[],
    );
    assert!(matches!(
        rank(&equals).verdict,
        Verdict::Unknown {
            why: Why::CannotTellApart { .. }
        }
    ));
    let change = |service: &str, ago_s: f64| RecentChange {
        service: service.to_owned(),
        ago_s,
    };
    equals.changes = vec![change("b", 300.0), change("c", 10.0), change("a", f64::NAN)];
    let ranking = rank(&equals);
    assert_eq!(first(&ranking), "b", "{ranking}");
    assert_eq!(ranking.verdict, Verdict::Named);
    assert_eq!(ranking.suspects[2].score, 0.0, "{ranking}");
    assert_eq!(ranking.suspects[2].changed_ago_s, Some(10.0));
}

#[test]
fn names_of_metrics_are_read_by_whole_words() {
    for (name, kind) in [
        ("http_request_duration_seconds", Kind::Latency),
        ("lat_90", Kind::Latency),
        ("PodClientLatencyP95(s)", Kind::ClientLatency),
        ("requests_failed_total", Kind::Failure),
        ("responses_5xx", Kind::Failure),
        ("CpuUsageRate(%)", Kind::Cpu),
        ("container_memory_rss", Kind::Memory),
        ("network_receive_bytes_total", Kind::Network),
        ("SyscallRead", Kind::Io),
        ("container_threads", Kind::Other),
        ("PodWorkload(Ops)", Kind::Traffic),
        ("platform_load", Kind::Other),
    ] {
        let ranking = rank(&input(&[("a", &[(name, 10.3, 90.0)])], &[]));
        assert_eq!(ranking.suspects[0].evidence[0].kind, kind, "{name}");
    }
}

#[test]
fn a_share_that_succeeds_is_read_as_a_share_that_fails() {
    let mut percent = input(&[("a", &[("availability", 1.0, 1.0)])], &[]);
    percent.services[0].metrics[0].normal = vec![100.0; NORMAL];
    percent.services[0].metrics[0].anomalous = vec![80.0; ANOMALOUS];
    let ranking = rank(&percent);
    let evidence = &ranking.suspects[0].evidence[0];
    assert_eq!(evidence.reading, Reading::FailingShare);
    assert_eq!((evidence.normal, evidence.anomalous), (0.0, 0.2));
    assert_eq!(ranking.verdict, Verdict::Named);
}

#[test]
fn more_packets_out_for_each_in_are_evidence_though_each_count_is_not() {
    let packets = |sent: f64| {
        let row: &[(&str, f64, f64)] = &[
            ("receive_packets", 10.0, 10.0),
            ("transmit_packets", 10.0, sent),
        ];
        rank(&input(&[("a", row), ("b", &[("cpu", 0.1, 0.1)])], &[]))
    };
    let ranking = packets(10.7);
    let evidence = &ranking.suspects[0].evidence;
    assert_eq!(evidence.len(), 1, "{ranking}");
    assert_eq!(evidence[0].kind, Kind::PacketRatio);
    assert_eq!(packets(10.0).suspects[0].score, 0.0);
}

#[test]
fn windows_that_are_too_short_make_it_unknown_but_everybody_is_listed() {
    let mut short = input(&[("b", &[("cpu", 0.1, 0.9)]), ("a", &[])], &[]);
    short.services[0].metrics[0].normal.truncate(4);
    let ranking = rank(&short);
    let why = Why::TooFewSamples { normal: 5 };
    assert_eq!(ranking.verdict, Verdict::Unknown { why });
    assert_eq!(first(&ranking), "a");
    assert_eq!(ranking.suspects.len(), 2);
    assert_eq!(rank(&Input::default()).verdict, Verdict::Unknown { why });
}

#[test]
fn a_ranking_reads_like_a_report() {
    let mut input = input(
        &[
            (
                "front",
                &[("latency_p99", 0.2, 3.0), ("requests", 90.3, 88.0)],
            ),
            (
                "orders",
                &[("latency_p99", 0.1, 2.8), ("availability", 1.0, 0.7)],
            ),
            (
                "store",
                &[("latency_p99", 0.05, 2.7), ("memory_rss", 5e8, 2.1e9)],
            ),
            ("mail", &[("latency_p99", 0.05, 0.05)]),
        ],
        &[("front", "orders"), ("orders", "store")],
    );
    input.changes.push(RecentChange {
        service: "store".to_owned(),
        ago_s: 420.0,
    });
    insta::assert_snapshot!(rank(&input), @r"
    The first is the likeliest cause.
    1. store, score 18.34
       for: latency_p99 0.0500 -> 2.70, +706.7 times its unrest, strength 3.51 (latency)
       for: memory_rss 5.00e8 -> 2.10e9, +64.0 times its unrest, strength 3.51 (memory)
       for: explains orders
       for: changed 7 min before
    2. orders, score 2.89
       for: latency_p99 0.1000 -> 2.80, +540.0 times its unrest, strength 3.51 (latency)
       for: availability (failing share) 0 -> 0.3000, +8.5 times its unrest, strength 1.73 (failures)
       for: explains front
       against: store explains 67 % of it
    and 2 more with less or no evidence
    ");
    input.services.truncate(1);
    input.services[0].metrics.truncate(0);
    insta::assert_snapshot!(rank(&input), @r"
    The cause is unknown: no metric has 5 samples from normal times and one from the incident.
    and 1 more with less or no evidence
    ");
}

fn absurd() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => -1e3..1e3f64,
        1 => prop::sample::select(vec![
            0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e308, 5e-324, 1e150, 100.0,
        ]),
    ]
}

fn any_metric() -> impl Strategy<Value = Metric> {
    let names = vec![
        "latency",
        "client_latency",
        "errors",
        "availability",
        "cpu",
        "memory",
        "receive_packets",
        "transmit_packets",
        "requests",
        "disk",
        "",
        "x",
    ];
    let window = || prop::collection::vec(absurd(), 0..12);
    (prop::sample::select(names), window(), window()).prop_map(|(name, normal, anomalous)| Metric {
        name: name.to_owned(),
        normal,
        anomalous,
    })
}

fn any_input() -> impl Strategy<Value = Input> {
    let name =
        || prop::sample::select(vec!["a", "b", "c", "d", "stranger"]).prop_map(str::to_owned);
    let metrics = prop::collection::vec(any_metric(), 0..6);
    let services = prop::collection::vec((name(), prop::option::of(name()), metrics), 0..6);
    let calls = prop::collection::vec((name(), name()), 0..8);
    let changes = prop::collection::vec((name(), absurd()), 0..3);
    let times = || prop::collection::vec(prop_oneof![0i64..100, any::<i64>()], 0..12);
    let symptom = prop::option::of((name(), Just("latency".to_owned())));
    (times(), times(), services, calls, changes, symptom).prop_map(
        |(normal_times_s, anomalous_times_s, services, calls, changes, symptom)| Input {
            normal_times_s,
            anomalous_times_s,
            services: services
                .into_iter()
                .map(|(name, workload, metrics)| Service {
                    name,
                    workload,
                    metrics,
                })
                .collect(),
            calls: calls
                .into_iter()
                .map(|(caller, callee)| Call { caller, callee })
                .collect(),
            changes: changes
                .into_iter()
                .map(|(service, ago_s)| RecentChange { service, ago_s })
                .collect(),
            symptom: symptom.map(|(service, metric)| Symptom { service, metric }),
        },
    )
}

proptest! {
    #[test]
    fn absurd_input_gives_finite_scores_in_order_and_the_same_again(input in any_input()) {
        let ranking = rank(&input);
        prop_assert_eq!(ranking.suspects.len(), input.services.len());
        prop_assert!(ranking.suspects.iter().all(|one| one.score.is_finite() && one.score >= 0.0));
        prop_assert!(ranking.suspects.windows(2).all(|pair| pair[0].score >= pair[1].score));
        prop_assert_eq!(ranking.to_string(), rank(&input).to_string());
    }

    #[test]
    fn evidence_is_handed_on_and_never_lost(input in any_input()) {
        // Waiting counts for every callee, so only inputs without it keep their sum.
        let mut input = input;
        input.changes.clear();
        for service in &mut input.services {
            service.metrics.retain(|metric| metric.name != "client_latency");
        }
        let sum = |input: &Input| -> f64 { rank(input).suspects.iter().map(|one| one.score).sum() };
        let with = sum(&input);
        input.calls.clear();
        let without = sum(&input);
        prop_assert!((with - without).abs() <= 1e-9 * (1.0 + without), "{} of {}", with, without);
    }
}
